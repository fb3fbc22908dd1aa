//! The one task that writes the control log. Commands that wait together share one fsync and one publication, each
//! decided by the state that those before it left.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use tidegate_core::event::Outcome;
use tidegate_core::words::Timestamp;
use tidegate_policy::authority::{
    Applied, Approvals, Authority, Bounds, Change, Command, ControlEvent, Question, RefusalKind, RequestKey,
};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::super::metrics::ControlMetrics;
use super::super::now;
use super::super::reload::next_version;
use super::log::{ControlLog, FileLog, Replayed};
use super::{COMMANDS_MAX, Done, EVENTS_MAX, Handle, Logged, Submission, SubmitError, evidence, refused};
use crate::config::Config;
use crate::shared::Shared;

/// Commands that share one fsync.
const BATCH_MAX: usize = 256;
/// The least time between two looks at what has lapsed: what lapses close together is published once. A view ends a
/// grant at its very moment all the same.
const EXPIRY_PAUSE: Duration = Duration::from_millis(20);
/// The longest time between two looks, should the clock be set forward meanwhile.
const EXPIRY_LOOK: Duration = Duration::from_secs(60);
/// How long shards are told that a question was refused.
const REFUSED_MILLIS: i64 = 30_000;
/// Refused questions that shards are told of. Beyond it whoever waits learns it by waiting.
const REFUSED_MAX: usize = 1024;

/// A control log that has been replayed.
pub(in super::super) struct Opened {
    log: Box<dyn ControlLog>,
    authority: Authority,
    replayed: Replayed,
    /// Where it lies; starts that it refused are noted there.
    directory: Option<PathBuf>,
}

/// Opens and replays the control log that the configuration names.
///
/// # Errors
/// Where it cannot be read or was changed, with the place.
pub(in super::super) fn open(config: &Config) -> anyhow::Result<Opened> {
    let directory = &config.authority.directory;
    let log = FileLog::open(directory).context("control log")?;
    match Opened::replay(Box::new(log), Bounds::of(&config.limits)) {
        Ok(opened) => Ok(Opened { directory: Some(directory.clone()), ..opened }),
        Err(error) => {
            refused::note(directory, now(), &error.to_string());
            Err(error).context("control log")
        }
    }
}

impl Opened {
    /// Replays `log` from its beginning.
    ///
    /// # Errors
    /// Where its events do not follow from each other.
    pub(super) fn replay(mut log: Box<dyn ControlLog>, bounds: Bounds) -> anyhow::Result<Self> {
        let mut authority = Authority::new(bounds);
        let replayed = log.replay(&mut |sequence, event| authority.apply(sequence, &event).map(drop))?;
        Ok(Self { log, authority, replayed, directory: None })
    }

    /// The state that the log adds up to.
    pub(in super::super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Starts the task, on the runtime that this is called in.
    pub(in super::super) fn start(self, shared: Arc<Shared>, metrics: Arc<ControlMetrics>) -> Handle {
        let (commands, submissions) = mpsc::channel(COMMANDS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let Self { log, authority, replayed, directory } = self;
        let version = shared.policy.load().version();
        let time = now();
        let note = |outcome, detail| shared.notices.put(evidence::of_the_log(time, outcome, detail, version));
        if let Some(directory) = directory {
            for start in refused::read(&directory) {
                note(Outcome::Malformed, format!("a start was refused for the control log: {start}"));
            }
            refused::clear(&directory);
        }
        if replayed.torn_bytes > 0 {
            let bytes = replayed.torn_bytes;
            let torn =
                format!("a write to the control log was torn by a crash: {bytes} bytes of no whole event were cut off");
            tracing::warn!("{torn}");
            note(Outcome::Malformed, torn);
        }
        tracing::info!(events = replayed.events, "control log replayed");
        let state = Arc::new(Mutex::new(Arc::new(authority.clone())));
        let handle = Handle { commands, state: state.clone(), events: events.clone() };
        let actor = ActorTask { log, authority, state, shared, metrics, events, refused: HashMap::new(), dead: None };
        actor.shared.publish_approvals(Arc::new(actor.authority.approvals(now())));
        tokio::spawn(actor.run(submissions));
        handle
    }
}

struct ActorTask {
    log: Box<dyn ControlLog>,
    authority: Authority,
    state: Arc<Mutex<Arc<Authority>>>,
    shared: Arc<Shared>,
    metrics: Arc<ControlMetrics>,
    events: broadcast::Sender<Logged>,
    /// Questions that could not be asked, since when and why.
    refused: HashMap<RequestKey, (Timestamp, Arc<str>)>,
    /// Why the log cannot be written any more.
    dead: Option<String>,
}

/// A command that is in the log, and whoever waits for it.
struct Appended {
    sequence: u64,
    event: Arc<ControlEvent>,
    applied: Applied,
    head: String,
    reply: oneshot::Sender<Result<Done, SubmitError>>,
}

impl ActorTask {
    async fn run(mut self, mut submissions: mpsc::Receiver<Submission>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let wait = self.until_expiry();
            tokio::select! {
                received = submissions.recv_many(&mut batch, BATCH_MAX) => {
                    if received == 0 {
                        return;
                    }
                    self.carry_out(batch.drain(..));
                    // The evidence takes every event; it is read by a shard's timer.
                    while self.shared.notices.is_crowded() && !self.shared.is_draining() {
                        tokio::time::sleep(EXPIRY_PAUSE).await;
                    }
                }
                () = tokio::time::sleep(wait) => self.expire(),
            }
        }
    }

    fn until_expiry(&self) -> Duration {
        let now = now();
        let refused = self.refused.values().map(|(since, _)| since.plus_millis(REFUSED_MILLIS)).min();
        let next = self.authority.next_expiry(now).into_iter().chain(refused).min();
        let micros = next.map_or(i64::MAX, |next| next.0.saturating_sub(now.0));
        Duration::from_micros(u64::try_from(micros).unwrap_or(0)).clamp(EXPIRY_PAUSE, EXPIRY_LOOK)
    }

    /// Publishes what time has changed.
    fn expire(&mut self) {
        let now = now();
        self.refused.retain(|_, (since, _)| now < since.plus_millis(REFUSED_MILLIS));
        if self.shared.policy.load().standing().has_ended(now) {
            self.publish_standing(now);
        }
        self.publish_approvals(now);
    }

    fn carry_out(&mut self, batch: impl Iterator<Item = Submission>) {
        let mut appended = Vec::new();
        for submission in batch {
            self.decide(submission, &mut appended);
        }
        if !appended.is_empty()
            && self.dead.is_none()
            && let Err(error) = self.log.sync()
        {
            self.die(&error);
        }
        if let Some(dead) = &self.dead {
            for Appended { reply, .. } in appended {
                let _ = reply.send(Err(SubmitError::Log(dead.clone())));
            }
            return;
        }
        self.take_effect(appended);
    }

    /// Decides one command and appends its event, or refuses it.
    fn decide(&mut self, submission: Submission, appended: &mut Vec<Appended>) {
        let Submission { actor, command, reply } = submission;
        if let Some(dead) = &self.dead {
            let _ = reply.send(Err(SubmitError::Log(dead.clone())));
            return;
        }
        let now = now().max(self.authority.time());
        let (wanted, approval) = (name(&command), about(&command));
        let key = match &command {
            Command::Hold(held) => Some(held.key),
            _ => None,
        };
        let policy = self.shared.policy.load();
        let change = match self.authority.decide(command, &actor, &policy, now) {
            Ok(change) => change,
            Err(refusal) => {
                self.metrics.control_event("refused");
                tracing::info!(actor = %actor.name, "{wanted} refused: {refusal}");
                let version = policy.version();
                self.shared.notices.put(evidence::refused(now, &actor, wanted, approval, &refusal, version));
                if let Some(key) = key
                    && refusal.kind != RefusalKind::AlreadyAsked
                    && self.refused.len() < REFUSED_MAX
                {
                    self.refused.insert(key, (now, refusal.sentence.as_str().into()));
                    self.publish_approvals(now);
                }
                let _ = reply.send(Err(refusal.into()));
                return;
            }
        };
        let event = Arc::new(ControlEvent::new(now, actor, change));
        let sequence = match self.log.append(&event) {
            Ok(sequence) => sequence,
            Err(error) => {
                self.die(&error);
                let _ = reply.send(Err(SubmitError::Log(error.to_string())));
                return;
            }
        };
        match self.authority.apply(sequence, &event) {
            Ok(applied) => appended.push(Appended { sequence, event, applied, head: self.log.head(), reply }),
            // Cannot be: it was just decided by this very state. If it is, nothing may follow it.
            Err(error) => {
                self.die(&error);
                let _ = reply.send(Err(SubmitError::Log(error.to_string())));
            }
        }
    }

    /// Publishes what is durable now, has the evidence say so, and tells whoever waits.
    fn take_effect(&mut self, appended: Vec<Appended>) {
        if appended.is_empty() {
            return;
        }
        *self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(self.authority.clone());
        let now = now();
        if appended.iter().any(|appended| self.changes_standing(&appended.event.change)) {
            self.publish_standing(now);
        }
        self.publish_approvals(now);
        let policy_version = self.shared.policy.load().version();
        for Appended { sequence, event, applied, head, reply } in appended {
            tracing::info!(sequence, kind = event.change.kind(), actor = %event.actor.name, "control log");
            self.metrics.control_event(event.change.kind());
            self.shared.notices.put(evidence::logged(sequence, &event, applied, &head, policy_version));
            // Nobody may be listening.
            let _ = self.events.send(Logged { sequence, event: event.clone() });
            let done = Done { sequence, change: event.change.clone(), policy_version };
            // Whoever asked may have gone; it counts all the same.
            let _ = reply.send(Ok(done));
        }
    }

    /// Whether an event changes what the log adds to the policy. Every session compiles its view anew for it.
    fn changes_standing(&self, change: &Change) -> bool {
        match change {
            Change::Decided { approval, .. } => {
                let approval = self.authority.approval(approval);
                approval.is_none_or(|approval| !matches!(approval.question, Question::Operation(_)))
            }
            Change::GrantRequested(_)
            | Change::OperationHeld(_)
            | Change::Used { .. }
            | Change::BreakGlassReviewed { .. }
            | Change::KeyPublished(_)
            | Change::KeyRetired { .. } => false,
            _ => true,
        }
    }

    /// Only the control thread publishes policies, and nothing is awaited between reading the one in force and
    /// replacing it: neither a reload nor this loses what the other published.
    fn publish_standing(&self, now: Timestamp) {
        let in_force = self.shared.policy.load();
        let version = next_version(in_force.version());
        let policy = in_force.with_standing(version, self.authority.standing(now));
        self.shared.publish_policy(Arc::new(policy));
        self.metrics.policy_version(version);
    }

    fn publish_approvals(&self, now: Timestamp) {
        let approvals = self.authority.approvals(now);
        let refused = self.refused.iter().map(|(key, (_, sentence))| (*key, sentence.clone()));
        let approvals: Approvals = approvals.with_refused(refused.collect());
        if **self.shared.approvals.load() != approvals {
            self.shared.publish_approvals(Arc::new(approvals));
        }
    }

    fn die(&mut self, error: &dyn std::fmt::Display) {
        tracing::error!("the control log cannot be written, nothing is granted, decided or revoked any more: {error}");
        self.metrics.control_log_failed();
        self.dead = Some(error.to_string());
    }
}

/// What a command is called in log and evidence.
fn name(command: &Command) -> &'static str {
    match command {
        Command::RequestGrant { .. } => "request for a grant",
        Command::ExtendGrant { .. } => "request for a longer grant",
        Command::Hold(_) => "question about an operation",
        Command::Approve { .. } => "approval",
        Command::Deny { .. } => "denial",
        Command::DecideAutomatically { .. } => "automatic decision",
        Command::Use { .. } => "use of an approval",
        Command::RevokeGrant { .. } => "revocation of a grant",
        Command::RevokeSession { .. } => "revocation of a session",
        Command::RevokeToken { .. } => "revocation of a token",
        Command::RevokePrincipal { .. } => "revocation of a principal",
        Command::RestorePrincipal { .. } => "restoring a principal",
        Command::BreakGlass { .. } => "break-glass",
        Command::Review { .. } => "review of a break-glass",
        Command::PublishKey(_) => "publication of a key",
        Command::RetireKey { .. } => "retirement of a key",
    }
}

/// The approval that a command is about.
fn about(command: &Command) -> Option<String> {
    match command {
        Command::Hold(held) => Some(held.id.to_string()),
        Command::Approve { approval, .. }
        | Command::Deny { approval, .. }
        | Command::DecideAutomatically { approval, .. }
        | Command::Use { approval, .. } => Some(approval.to_string()),
        Command::RequestGrant { id, .. }
        | Command::ExtendGrant { id, .. }
        | Command::BreakGlass { id, .. }
        | Command::Review { id, .. } => Some(id.to_string()),
        _ => None,
    }
}
