//! Who may, for how long, and on whose word: the state that the control log materialises, and the rules by which
//! it changes. No I/O, no clock: time, ids and randomness are arguments.
//!
//! Reading order:
//! 1. [`event`]: the log's words.
//! 2. [`command`]: what somebody wants, and why he is refused.
//! 3. `decide`: from a command to an event, by the policy's rules. Nothing changes by it.
//! 4. `apply`: from an event to the next state, without the policy, so that replaying the log gives the same state
//!    whatever the policy says by then.
//! 5. [`request_key`]: what binds an approval to one request. [`approval`]: one question and where it stands; [`grant`]: run-time grants.
//! 6. [`standing`] and [`approvals`]: what shards are told of it. [`rules`]: the policy's sections, compiled.
//!
//! Invariants: nobody decides on his own request; one denial wins; the first decision in the log's order wins; an
//! approval of an operation is used once, under the policy that it was asked under, or not at all; everything
//! ends; everything is bounded ([`Bounds`]); the state depends on the events alone.

pub mod approval;
pub mod approvals;
pub mod command;
pub mod event;
pub mod grant;
pub mod request_key;
pub mod rules;
pub mod standing;

mod apply;
mod decide;
mod expiry;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_core::limits::Limits;
use tidegate_core::words::Timestamp;

pub use self::apply::{Applied, Inconsistent};
pub use self::approval::{Approval, Filter, Question, State, Status, Vote};
pub use self::approvals::{ApprovalState, Approvals};
pub use self::command::{Command, Refusal, RefusalKind};
pub use self::event::{
    Actor, ApprovalId, BreakGlass, Change, ControlEvent, DecidedBy, Decision, GrantId, GrantRequest, GrantSpan,
    HeldOperation, HeldResource, PublishedKey,
};
pub use self::grant::RunGrant;
pub use self::request_key::{REQUEST_SECRET_BYTES, RequestKey, RequestSecret};
pub use self::rules::{Automatic, HoldRule, Role};
pub use self::standing::Standing;
pub use crate::file::HeldKind;

/// How much the state may hold. What is over is refused, or forgotten where it is history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Questions that nobody has decided.
    pub pending_max: usize,
    /// Of these, one principal's.
    pub pending_per_principal_max: usize,
    /// Run-time grants in force or to come.
    pub grants_max: usize,
    /// Sessions, tokens and principals revoked, each.
    pub revocations_max: usize,
    /// Questions that are remembered, decided ones included; the oldest are forgotten.
    pub approvals_kept_max: usize,
}

impl Bounds {
    /// As the gateway's limits have them.
    #[must_use]
    pub fn of(limits: &Limits) -> Self {
        Self {
            pending_max: limits.pending_approvals_max as usize,
            pending_per_principal_max: limits.pending_approvals_per_principal_max as usize,
            grants_max: limits.run_time_grants_max as usize,
            revocations_max: limits.revocations_max as usize,
            approvals_kept_max: (limits.pending_approvals_max as usize).saturating_mul(5),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::of(&Limits::default())
    }
}

/// The state that the control log adds up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Authority {
    bounds: Bounds,
    /// Of the last event; 0 before the first.
    sequence: u64,
    /// The latest time of an event.
    time: Timestamp,
    approvals: BTreeMap<ApprovalId, Arc<Approval>>,
    /// By the sequence of the question: the order of lists, and of forgetting.
    asked: BTreeMap<u64, ApprovalId>,
    /// When what is pending or approved lapses.
    deadlines: BTreeSet<(Timestamp, ApprovalId)>,
    /// What waits for a decision, by when it lapses.
    open: BTreeSet<(Timestamp, ApprovalId)>,
    /// The same by the asker's name, in lower case.
    open_by: HashMap<Arc<str>, BTreeSet<(Timestamp, ApprovalId)>>,
    /// The latest question about a request.
    by_key: HashMap<RequestKey, ApprovalId>,
    grants: BTreeMap<GrantId, Arc<RunGrant>>,
    sessions: BTreeMap<Arc<str>, Revoked>,
    tokens: BTreeMap<Arc<str>, Revoked>,
    /// By name and issuer.
    principals: BTreeMap<(Arc<str>, Option<Arc<str>>), Revoked>,
    keys: BTreeMap<String, PublishedKey>,
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Revoked {
    /// Since when.
    pub since: Timestamp,
    /// Until when; [`Timestamp::MAX`] where it has no end.
    pub until: Timestamp,
    /// Why.
    pub reason: Arc<str>,
    /// By whom.
    pub by: Actor,
}

impl Authority {
    /// The state of an empty log, under these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// The sequence number of the last event; 0 before the first.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The latest time that an event carries. Nothing is decided before it: a clock that was set back must not
    /// bring back what has lapsed.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// A question.
    #[must_use]
    pub fn approval(&self, id: &ApprovalId) -> Option<&Approval> {
        self.approvals.get(id).map(|approval| &**approval)
    }

    /// The questions that `filter` lets through, the newest first: at most `limit`, and of those asked before the
    /// one with the sequence number `before` where a list goes on.
    #[must_use]
    pub fn list(&self, filter: &Filter, before: Option<u64>, limit: usize, now: Timestamp) -> Vec<&Approval> {
        let asked = self.asked.range(..before.unwrap_or(u64::MAX)).rev();
        let approvals = asked.filter_map(|(_, id)| self.approval(id));
        approvals.filter(|approval| filter.lets_through(approval, now)).take(limit).collect()
    }

    /// A run-time grant, ended ones included as long as they are remembered.
    #[must_use]
    pub fn grant(&self, id: &GrantId) -> Option<&RunGrant> {
        self.grants.get(id).map(|grant| &**grant)
    }

    /// Run-time grants, the newest first.
    #[must_use]
    pub fn grants(&self) -> Vec<&RunGrant> {
        let mut grants: Vec<&RunGrant> = self.grants.values().map(|grant| &**grant).collect();
        grants.sort_by_key(|grant| std::cmp::Reverse(grant.sequence));
        grants
    }

    /// Revoked sessions, by id.
    #[must_use]
    pub fn revoked_sessions(&self) -> &BTreeMap<Arc<str>, Revoked> {
        &self.sessions
    }

    /// Revoked tokens, by id (`jti`).
    #[must_use]
    pub fn revoked_tokens(&self) -> &BTreeMap<Arc<str>, Revoked> {
        &self.tokens
    }

    /// Revoked principals, by name and issuer.
    #[must_use]
    pub fn revoked_principals(&self) -> &BTreeMap<(Arc<str>, Option<Arc<str>>), Revoked> {
        &self.principals
    }

    /// The token issuer's published keys that are not retired, by id.
    #[must_use]
    pub fn keys(&self) -> &BTreeMap<String, PublishedKey> {
        &self.keys
    }
}

#[cfg(test)]
mod tests;
