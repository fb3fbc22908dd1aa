//! What time does to the state: what shards are told at a moment, when that changes next, and what is forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_core::words::{SessionId, Timestamp};

use super::approval::{Approval, Question, State, Status};
use super::approvals::{ApprovalState, Approvals};
use super::standing::Standing;
use super::{Authority, Revoked};

/// How long shards are told of a question that was used or has lapsed, in milliseconds: long enough for the
/// session that waits to see it.
const TOLD_MILLIS: i64 = 10 * 60 * 1000;

impl Authority {
    /// What the log adds to the policy at `now`: grants in force or to come, and revocations.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Arc<Standing> {
        let now = now.max(self.time);
        let mut standing = Standing::default();
        let (live_grants, revocations) = self.ends(now);
        standing.ends = live_grants.chain(revocations).filter(|end| *end < Timestamp::MAX).min();
        let mut grants: Vec<_> = self.grants.values().filter(|grant| grant.is_live(now)).collect();
        grants.sort_by_key(|grant| grant.sequence);
        for grant in grants {
            let of_name = standing.grants.entry(grant.principal.name.clone()).or_default();
            of_name.push((grant.principal.clone(), grant.compiled()));
        }
        for (session, revoked) in self.sessions.iter().filter(|(_, revoked)| revoked.counts(now)) {
            if let Ok(id) = session.parse() {
                standing.session_ids.insert(SessionId(id), revoked.reason.clone());
            }
            standing.sessions.insert(session.clone(), revoked.reason.clone());
        }
        for (token, revoked) in self.tokens.iter().filter(|(_, revoked)| revoked.counts(now)) {
            standing.tokens.insert(token.clone(), revoked.reason.clone());
        }
        for ((name, issuer), revoked) in self.principals.iter().filter(|(_, revoked)| revoked.counts(now)) {
            let of_name = standing.principals.entry(name.clone()).or_default();
            of_name.push((issuer.clone(), revoked.reason.clone()));
        }
        Arc::new(standing)
    }

    /// What shards are told of held operations at `now`.
    #[must_use]
    pub fn approvals(&self, now: Timestamp) -> Approvals {
        let now = now.max(self.time);
        let mut approvals = Approvals::default();
        for (key, id) in &self.by_key {
            let Some(approval) = self.approval(id).filter(|approval| is_told(approval, now)) else { continue };
            let Question::Operation(held) = &approval.question else { continue };
            let id = id.clone();
            let state = match (&approval.state, approval.status(now)) {
                (State::Used { session, .. }, _) => ApprovalState::Used { id, session: session.clone() },
                (State::Denied { .. }, _) if now < held.expires => {
                    let reason = approval.votes.last().map_or_else(|| Arc::from(""), |vote| vote.reason.clone());
                    ApprovalState::Denied { id, reason }
                }
                (_, Status::Pending) => ApprovalState::Pending { id },
                (_, Status::Approved) => ApprovalState::Approved { id },
                _ => ApprovalState::Expired { id },
            };
            approvals.put(*key, held.policy_fingerprint.as_str().into(), state);
        }
        approvals
    }

    /// The next moment after `now` at which [`Authority::standing`] or [`Authority::approvals`] changes by itself.
    #[must_use]
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let now = now.max(self.time);
        let deadline = self.deadlines.range((now.plus_micro(), super::ApprovalId::from(""))..).next();
        let (grants, revocations) = self.ends(now);
        let all = deadline.map(|(deadline, _)| *deadline).into_iter().chain(grants).chain(revocations);
        all.filter(|time| *time < Timestamp::MAX).min()
    }

    /// When what counts at `now` ends: grants, and revocations.
    fn ends(&self, now: Timestamp) -> (impl Iterator<Item = Timestamp>, impl Iterator<Item = Timestamp>) {
        let grants = self.grants.values().filter(move |grant| grant.is_live(now)).map(|grant| grant.not_after);
        let revocations = self.tokens.values().chain(self.principals.values()).chain(self.sessions.values());
        (grants, revocations.filter(move |revoked| revoked.counts(now)).map(|revoked| revoked.until))
    }

    /// How many questions nobody has decided at `now`, and how many of them the actor asked.
    pub(super) fn pending(&self, actor: &super::Actor, now: Timestamp) -> (usize, usize) {
        // What has lapsed since the last event still stands at the front.
        let first = (now.plus_micro(), super::ApprovalId::from(""));
        let open = |all: &BTreeSet<_>| all.len() - all.range(..first.clone()).count();
        let own = self.open_by.get(actor.name.to_lowercase().as_str());
        (open(&self.open), own.map_or(0, open))
    }

    /// Takes what has lapsed by the log's own time out of what waits for a decision.
    pub(super) fn close_lapsed(&mut self) {
        while let Some((until, id)) = self.open.first().filter(|(until, _)| *until <= self.time).cloned() {
            let asker = self.approval(&id).map_or_else(|| Arc::from(""), Approval::asker_key);
            self.closed((until, id), asker);
        }
    }

    /// Forgets what has lapsed, by the log's own time: the same for everyone who replays it.
    pub(super) fn forget(&mut self) {
        let now = self.time;
        self.sessions.retain(|_, revoked| revoked.counts(now));
        self.tokens.retain(|_, revoked| revoked.counts(now));
        self.principals.retain(|_, revoked| revoked.counts(now));
        let approvals = &self.approvals;
        self.by_key.retain(|_, id| approvals.get(id).is_some_and(|approval| is_told(approval, now)));
        self.deadlines.retain(|(deadline, id)| {
            // A review that is overdue is still due.
            *deadline > now || approvals.get(id).is_some_and(|approval| approval.status(now) == Status::ReviewOverdue)
        });

        let mut over = self.approvals.len().saturating_sub(self.bounds.approvals_kept_max);
        let mut forgotten = Vec::new();
        for (sequence, id) in &self.asked {
            if over == 0 {
                break;
            }
            if self.approval(id).is_none_or(|approval| !self.matters(approval, now)) {
                forgotten.push((*sequence, id.clone()));
                over -= 1;
            }
        }
        for (sequence, id) in forgotten {
            self.asked.remove(&sequence);
            self.approvals.remove(&id);
        }
        let approvals = &self.approvals;
        self.by_key.retain(|_, id| approvals.contains_key(id));
        let over = self.grants.len().saturating_sub(self.bounds.approvals_kept_max);
        if over > 0 {
            let ended = self.grants.values().filter(|grant| !grant.is_live(now));
            let mut ended: Vec<_> = ended.map(|grant| (grant.sequence, grant.id.clone())).collect();
            ended.sort();
            for (_, id) in ended.into_iter().take(over) {
                self.grants.remove(&id);
            }
        }
    }

    /// Whether a question may still change, or something that holds stands on it.
    fn matters(&self, approval: &Approval, now: Timestamp) -> bool {
        let grant = match &approval.question {
            Question::Grant(request) => self.grant(&request.grant),
            Question::BreakGlass(opened) => self.grant(&opened.grant),
            Question::Operation(_) => None,
        };
        let open = matches!(approval.status(now), Status::Pending | Status::ReviewDue | Status::ReviewOverdue);
        let usable = matches!(approval.question, Question::Operation(_)) && approval.status(now) == Status::Approved;
        let for_good = matches!(&approval.question, Question::Operation(held) if held.is_for_good())
            && approval.status(now) == Status::Used;
        open || usable || for_good || grant.is_some_and(|grant| grant.is_live(now))
    }
}

impl Revoked {
    fn counts(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

/// Whether a session may still want to know: a question that is open, that was denied and would be open, or that
/// ended lately.
fn is_told(approval: &Approval, now: Timestamp) -> bool {
    let Question::Operation(held) = &approval.question else { return false };
    // What is answered for good is told for as long as it is remembered.
    if held.is_for_good() && matches!(approval.state, State::Used { .. }) {
        return true;
    }
    let ended = match approval.state {
        State::Open { until } | State::Approved { until, .. } => until,
        State::Denied { at } => at.max(held.expires),
        State::Used { .. } | State::Reviewed { .. } => approval.changed(),
    };
    now < ended.plus_millis(TOLD_MILLIS)
}

/// The smallest later moment.
trait PlusMicro {
    fn plus_micro(self) -> Self;
}

impl PlusMicro for Timestamp {
    fn plus_micro(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
