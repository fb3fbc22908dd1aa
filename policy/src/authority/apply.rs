//! From an event to the next state. Total, and without the policy: what the log holds was decided when it was
//! written, and reads the same ever after.

use std::sync::Arc;

use tidegate_core::words::Timestamp;

use super::approval::{Approval, Question, State, Status, Vote};
use super::event::{
    Actor, ApprovalId, Change, ControlEvent, DecidedBy, Decision, GrantId, GrantRequest, HeldOperation,
};
use super::grant::{GrantRevoked, RunGrant};
use super::{Authority, Revoked};

/// How long the revocation of a session is remembered, in milliseconds: longer than any session lasts.
const SESSION_REVOCATION_MILLIS: i64 = 31 * 24 * 3600 * 1000;
/// Every so many events what has lapsed is forgotten.
const FORGET_EVERY: u64 = 256;

/// What an event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// What it says.
    Took,
    /// Nothing: another event of the same log came first, and the first wins.
    Late,
}

/// An event that cannot stand where it does. The log was changed, or is another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// An event is missing, twice there, or at another place.
    #[error("event {found} stands where event {expected} belongs")]
    Order {
        /// The sequence number that belongs here.
        expected: u64,
        /// The one that stands here.
        found: u64,
    },
    /// Something begins that is there already.
    #[error("{0} begins a second time")]
    Duplicate(String),
    /// Something is decided on or used that never began.
    #[error("{0} never began")]
    Unknown(String),
    /// No rule could have let this be written.
    #[error("{0}")]
    Forbidden(String),
}

impl Authority {
    /// Takes over an event. On an error nothing has changed.
    ///
    /// # Errors
    /// [`Inconsistent`]: the event does not follow from those before it.
    pub fn apply(&mut self, sequence: u64, event: &ControlEvent) -> Result<Applied, Inconsistent> {
        let expected = self.sequence + 1;
        if sequence != expected {
            return Err(Inconsistent::Order { expected, found: sequence });
        }
        let applied = self.apply_change(sequence, event)?;
        self.sequence = sequence;
        self.time = self.time.max(event.time);
        self.close_lapsed();
        // Forgetting looks at everything, so it waits until there is something to forget.
        let kept_max = self.bounds.approvals_kept_max;
        if sequence.is_multiple_of(FORGET_EVERY) || self.approvals.len() > kept_max.saturating_add(kept_max / 10) {
            self.forget();
        }
        Ok(applied)
    }

    fn apply_change(&mut self, sequence: u64, event: &ControlEvent) -> Result<Applied, Inconsistent> {
        let (time, actor) = (event.time, &event.actor);
        match &event.change {
            Change::GrantRequested(request) => self.grant_requested(sequence, time, request),
            Change::OperationHeld(held) => self.operation_held(sequence, time, held),
            Change::Decided { approval, decision, reason, by, quorum } => {
                let vote = Vote {
                    time,
                    actor: actor.clone(),
                    decision: *decision,
                    reason: reason.as_str().into(),
                    by: by.clone(),
                };
                self.decided(sequence, approval, vote, *quorum)
            }
            Change::Used { approval, session } => self.used(time, approval, session),
            Change::GrantRevoked { grant, reason } => self.grant_revoked(time, actor, grant, reason),
            Change::SessionRevoked { session, reason } => {
                let until = time.plus_millis(SESSION_REVOCATION_MILLIS);
                let revoked = Revoked { since: time, until, reason: reason.as_str().into(), by: actor.clone() };
                // Ids are compared as the UUIDs' own lower case.
                Ok(put_new(&mut self.sessions, session.to_lowercase().into(), revoked))
            }
            Change::TokenRevoked { token_id, until, reason } => {
                let revoked = Revoked { since: time, until: *until, reason: reason.as_str().into(), by: actor.clone() };
                Ok(put_new(&mut self.tokens, token_id.as_str().into(), revoked))
            }
            Change::PrincipalRevoked { issuer, name, until, reason } => {
                let until = until.unwrap_or(Timestamp::MAX);
                let revoked = Revoked { since: time, until, reason: reason.as_str().into(), by: actor.clone() };
                self.principals.insert((name.clone(), issuer.clone()), revoked);
                Ok(Applied::Took)
            }
            Change::PrincipalRestored { issuer, name, .. } => {
                Ok(took(self.principals.remove(&(name.clone(), issuer.clone())).is_some()))
            }
            Change::BreakGlassOpened(opened) => {
                self.new_grant_id(&opened.grant)?;
                let question = Question::BreakGlass(opened.clone());
                let made = RunGrant::of(&question, sequence, time);
                self.ask(sequence, time, opened.id.clone(), question, opened.review_by)?;
                if let Some(grant) = made {
                    self.grants.insert(grant.id.clone(), Arc::new(grant));
                }
                Ok(Applied::Took)
            }
            Change::BreakGlassReviewed { id, reason } => self.reviewed(time, actor, id, reason),
            Change::KeyPublished(key) => {
                if self.keys.contains_key(&key.kid) {
                    return Err(Inconsistent::Duplicate(format!("key {}", key.kid)));
                }
                self.keys.insert(key.kid.clone(), key.clone());
                Ok(Applied::Took)
            }
            Change::KeyRetired { kid } => Ok(took(self.keys.remove(kid).is_some())),
        }
    }

    fn grant_requested(
        &mut self,
        sequence: u64,
        time: Timestamp,
        request: &GrantRequest,
    ) -> Result<Applied, Inconsistent> {
        if request.extends {
            let grant = self.grants.get(&request.grant).ok_or_else(|| unknown_grant(&request.grant))?;
            if grant.principal != request.principal && !grant.principal.is(&request.principal.principal()) {
                return Err(Inconsistent::Forbidden(format!("{} is extended for another", request.grant)));
            }
        } else {
            self.new_grant_id(&request.grant)?;
        }
        let question = Question::Grant(request.clone());
        self.ask(sequence, time, request.id.clone(), question, request.expires)
    }

    fn new_grant_id(&self, id: &GrantId) -> Result<(), Inconsistent> {
        if self.grants.contains_key(id) {
            return Err(Inconsistent::Duplicate(format!("grant {id}")));
        }
        Ok(())
    }

    fn operation_held(
        &mut self,
        sequence: u64,
        time: Timestamp,
        held: &HeldOperation,
    ) -> Result<Applied, Inconsistent> {
        if let Some(before) = self.by_key.get(&held.key).and_then(|id| self.approval(id))
            && before.id != held.id
            && matches!(before.status(time), Status::Pending | Status::Approved)
            && matches!(&before.question, Question::Operation(other) if other.policy_fingerprint == held.policy_fingerprint)
        {
            return Ok(Applied::Late);
        }
        self.ask(sequence, time, held.id.clone(), Question::Operation(held.clone()), held.expires)?;
        self.by_key.insert(held.key, held.id.clone());
        Ok(Applied::Took)
    }

    fn ask(
        &mut self,
        sequence: u64,
        asked: Timestamp,
        id: ApprovalId,
        question: Question,
        until: Timestamp,
    ) -> Result<Applied, Inconsistent> {
        if self.approvals.contains_key(&id) {
            return Err(Inconsistent::Duplicate(format!("approval {id}")));
        }
        self.asked.insert(sequence, id.clone());
        let state = State::Open { until };
        self.put(Approval { id, sequence, asked, question, votes: Vec::new(), state });
        Ok(Applied::Took)
    }

    /// Replaces a question, and keeps what finds it in step.
    fn put(&mut self, approval: Approval) {
        if let Some(before) = self.approvals.get(&approval.id).cloned() {
            if let Some(deadline) = before.deadline() {
                self.deadlines.remove(&(deadline, before.id.clone()));
            }
            if let Some(until) = before.undecided() {
                self.closed((until, before.id.clone()), before.asker_key());
            }
        }
        if let Some(deadline) = approval.deadline() {
            self.deadlines.insert((deadline, approval.id.clone()));
        }
        if let Some(until) = approval.undecided() {
            let entry = (until, approval.id.clone());
            self.open_by.entry(approval.asker_key()).or_default().insert(entry.clone());
            self.open.insert(entry);
        }
        self.approvals.insert(approval.id.clone(), Arc::new(approval));
    }

    /// Takes a question out of those that wait for a decision.
    pub(super) fn closed(&mut self, entry: (Timestamp, ApprovalId), asker: Arc<str>) {
        self.open.remove(&entry);
        if let Some(own) = self.open_by.get_mut(&asker) {
            own.remove(&entry);
            if own.is_empty() {
                self.open_by.remove(&asker);
            }
        }
    }

    fn known(&self, id: &ApprovalId) -> Result<&Approval, Inconsistent> {
        self.approval(id).ok_or_else(|| Inconsistent::Unknown(format!("approval {id}")))
    }

    fn decided(&mut self, sequence: u64, id: &ApprovalId, vote: Vote, quorum: u32) -> Result<Applied, Inconsistent> {
        let approval = self.known(id)?;
        let person = vote.by == DecidedBy::Person;
        if matches!(approval.question, Question::BreakGlass(_)) {
            return Err(Inconsistent::Forbidden(format!("{id} is a break-glass, which nobody decides on")));
        }
        if person && vote.actor.is_same_as(approval.asked_by()) {
            return Err(Inconsistent::Forbidden(format!("{} decided on his own request {id}", vote.actor.name)));
        }
        if person == vote.actor.is_gateway() {
            return Err(Inconsistent::Forbidden(format!("{} cannot decide on {id} in this way", vote.actor.name)));
        }
        let voted = approval.votes.iter().any(|before| before.actor.is_same_as(&vote.actor));
        if approval.status(vote.time) != Status::Pending || voted {
            return Ok(Applied::Late);
        }
        let mut approval = approval.clone();
        let (time, decision) = (vote.time, vote.decision);
        approval.votes.push(vote);
        match decision {
            Decision::Deny => approval.state = State::Denied { at: time },
            Decision::Approve if person && approval.votes.len() < quorum.max(1) as usize => {}
            Decision::Approve => {
                let until = self.take_effect(sequence, time, &approval.question);
                approval.state = State::Approved { since: time, until };
            }
        }
        self.put(approval);
        Ok(Applied::Took)
    }

    /// What an approval opens; until when it may be used.
    fn take_effect(&mut self, sequence: u64, time: Timestamp, question: &Question) -> Timestamp {
        match question {
            Question::Operation(held) => time.plus_millis(i64::try_from(held.valid_millis).unwrap_or(i64::MAX)),
            Question::Grant(request) if request.extends => {
                // One that was revoked meanwhile stays so.
                if let Some(grant) = self.grants.get(&request.grant).filter(|grant| grant.is_live(time)) {
                    let extended = grant.extend(request.span.window(time).1, &request.id);
                    self.grants.insert(request.grant.clone(), Arc::new(extended));
                }
                Timestamp::MAX
            }
            Question::Grant(_) | Question::BreakGlass(_) => {
                if let Some(grant) = RunGrant::of(question, sequence, time) {
                    // Of two requests for the same id the first that is approved has it.
                    self.grants.entry(grant.id.clone()).or_insert_with(|| Arc::new(grant));
                }
                Timestamp::MAX
            }
        }
    }

    fn used(&mut self, time: Timestamp, id: &ApprovalId, session: &str) -> Result<Applied, Inconsistent> {
        let approval = self.known(id)?;
        if !matches!(approval.question, Question::Operation(_)) {
            return Err(Inconsistent::Forbidden(format!("{id} is no operation that could be used")));
        }
        if approval.status(time) != Status::Approved {
            return Ok(Applied::Late);
        }
        let mut approval = approval.clone();
        approval.state = State::Used { at: time, session: session.into() };
        self.put(approval);
        Ok(Applied::Took)
    }

    fn grant_revoked(
        &mut self,
        time: Timestamp,
        actor: &Actor,
        id: &GrantId,
        reason: &str,
    ) -> Result<Applied, Inconsistent> {
        let grant = self.grants.get(id).ok_or_else(|| unknown_grant(id))?;
        if grant.revoked.is_some() {
            return Ok(Applied::Late);
        }
        let mut revoked = RunGrant::clone(grant);
        revoked.revoked = Some(GrantRevoked { at: time, reason: reason.into(), by: actor.clone() });
        self.grants.insert(id.clone(), Arc::new(revoked));
        Ok(Applied::Took)
    }

    fn reviewed(
        &mut self,
        time: Timestamp,
        actor: &Actor,
        id: &ApprovalId,
        reason: &str,
    ) -> Result<Applied, Inconsistent> {
        let approval = self.known(id)?;
        if !matches!(approval.question, Question::BreakGlass(_)) {
            return Err(Inconsistent::Forbidden(format!("{id} is no break-glass")));
        }
        if actor.is_same_as(approval.asked_by()) {
            return Err(Inconsistent::Forbidden(format!("{} reviewed his own break-glass {id}", actor.name)));
        }
        if matches!(approval.state, State::Reviewed { .. }) {
            return Ok(Applied::Late);
        }
        let mut approval = approval.clone();
        let vote = Vote {
            time,
            actor: actor.clone(),
            decision: Decision::Approve,
            reason: reason.into(),
            by: DecidedBy::Person,
        };
        approval.votes.push(vote);
        approval.state = State::Reviewed { at: time };
        self.put(approval);
        Ok(Applied::Took)
    }
}

fn unknown_grant(id: &GrantId) -> Inconsistent {
    Inconsistent::Unknown(format!("grant {id}"))
}

const fn took(changed: bool) -> Applied {
    if changed { Applied::Took } else { Applied::Late }
}

/// Keeps the first revocation; one that reaches further replaces it.
fn put_new(revocations: &mut std::collections::BTreeMap<Arc<str>, Revoked>, id: Arc<str>, revoked: Revoked) -> Applied {
    match revocations.get_mut(&id) {
        Some(before) if before.until >= revoked.until => Applied::Late,
        Some(before) => {
            before.until = revoked.until;
            Applied::Took
        }
        None => {
            revocations.insert(id, revoked);
            Applied::Took
        }
    }
}
