//! The control log and the one task that writes it: commands in, events appended, policy published.
//!
//! Reading order: [`Handle`] is how everybody else asks; `actor` decides, appends, applies and publishes, one
//! command after the other; [`log`] keeps the events, [`secret`] what their requests are told apart by; `refused`
//! remembers starts that the log did not let happen.
//!
//! Invariants: an event is durable before it takes effect, and published before its command returns, so that what a
//! revocation forbids is forbidden when the revocation returns. Where the log cannot be written, nothing changes
//! any more until the gateway is started anew; what was published stays.

pub mod log;
pub mod secret;

mod actor;
mod evidence;
mod refused;

use std::sync::{Arc, Mutex, PoisonError};

use tidegate_policy::authority::{Actor, ApprovalId, Authority, Change, Command, ControlEvent, GrantId, Refusal};
use tokio::sync::{broadcast, mpsc, oneshot};

pub(super) use self::actor::{Opened, open};

/// Commands that wait for the log. Whoever comes when it is full waits.
const COMMANDS_MAX: usize = 1024;
/// Events that a slow listener may be behind.
const EVENTS_MAX: usize = 1024;

/// How everybody on the control thread asks the authority.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Submission>,
    state: Arc<Mutex<Arc<Authority>>>,
    events: broadcast::Sender<Logged>,
}

/// An event that took effect.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its place in the log, from 1.
    pub sequence: u64,
    /// What happened.
    pub event: Arc<ControlEvent>,
}

/// A command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The event's place in the log.
    pub sequence: u64,
    /// What changed.
    pub change: Change,
    /// The version of the policy that is in force since.
    pub policy_version: u64,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The policy or the state does not let it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The control log cannot be written; nothing changes until the gateway is started anew.
    #[error("the control log cannot be written: {0}")]
    Log(String),
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

struct Submission {
    actor: Actor,
    command: Command,
    reply: oneshot::Sender<Result<Done, SubmitError>>,
}

/// A new approval's id, at random.
#[must_use]
pub fn draw_approval() -> ApprovalId {
    ApprovalId::of(draw())
}

/// A new run-time grant's id, at random.
#[must_use]
pub fn draw_grant() -> GrantId {
    GrantId::of(draw())
}

fn draw() -> [u8; 10] {
    let mut random = [0; 10];
    // Where the system has no randomness, nothing of the gateway works; an id that is there already is refused.
    let _ = aws_lc_rs::rand::fill(&mut random);
    random
}

impl Handle {
    /// Has a command carried out: decided, in the log, durable, applied and published by the time this returns.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing has changed then.
    pub async fn submit(&self, actor: Actor, command: Command) -> Result<Done, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Submission { actor, command, reply }).await.map_err(|_| SubmitError::Stopping)?;
        answer.await.map_err(|_| SubmitError::Stopping)?
    }

    /// Has a command carried out without waiting for it. Where too many wait it is dropped: whoever needs it asks
    /// again.
    pub(super) fn post(&self, actor: Actor, command: Command) {
        let (reply, _) = oneshot::channel();
        let _ = self.commands.try_send(Submission { actor, command, reply });
    }

    /// The state as it is now, for lists.
    #[must_use]
    pub fn read(&self) -> Arc<Authority> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Events as they take effect, from now on. Who falls behind by many misses some.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Logged> {
        self.events.subscribe()
    }
}

#[cfg(test)]
mod tests;
