//! What approvers are asked, and what the states of their answers mean for a request that waits.

use std::sync::Arc;

use tidegate_core::words::{Principal, Timestamp};
use tidegate_policy::authority::{
    Actor, ApprovalId, ApprovalState, Approvals, HeldOperation, HeldResource, HoldRule, RequestKey, RequestSecret,
};

use super::super::session::Session;
use super::super::shard::Shard;
use super::subject::Subject;
use super::{AGAIN_MILLIS, Asked, Kind, USE_MILLIS_MAX, Waiting, versions};
use crate::shared::Ask;

/// Resources that a question names; what is over stands in its summary.
const RESOURCES_MAX: usize = 64;

/// One question: may this principal do this very thing?
#[derive(Debug)]
pub(super) struct Question {
    /// What an approval is bound to.
    pub(super) key: RequestKey,
    /// The same in control logs of before keys were made with a secret. Nothing is asked by it any more.
    former: RequestKey,
    /// The rule that asks.
    rule: Arc<HoldRule>,
    api: String,
    summary: String,
    resources: Vec<HeldResource>,
    /// Once approved and used, it is answered for good: a first use happens once.
    for_good: bool,
}

/// What there is to say to a request, given the states of its questions.
#[derive(Debug)]
pub(super) enum Consulted {
    /// It passes, by these approvals.
    Passes(Vec<ApprovalId>),
    /// It waits for these.
    Waits(Vec<ApprovalId>),
    /// It is refused, with these words.
    Refused(Vec<ApprovalId>, String),
}

impl Question {
    /// May the request pass that does what `subject` says? Each rule that names it asks for itself:
    /// its approvers are others.
    pub(super) fn of_request(
        secret: &RequestSecret,
        rule: &Arc<HoldRule>,
        principal: &Principal,
        api: &str,
        subject: &Subject,
    ) -> Self {
        let mut canonical = Vec::with_capacity(8 + rule.name.len() + subject.canonical.len());
        canonical.extend_from_slice(&(rule.name.len() as u64).to_be_bytes());
        canonical.extend_from_slice(rule.name.as_bytes());
        canonical.extend_from_slice(&subject.canonical);
        let mut resources: Vec<HeldResource> = Vec::new();
        for item in &subject.items {
            let resource = match &item.topic {
                Some(topic) => HeldResource { kind: "topic".to_owned(), name: topic.clone() },
                None => HeldResource { kind: "cluster".to_owned(), name: "kafka-cluster".to_owned() },
            };
            if resources.len() < RESOURCES_MAX && !resources.contains(&resource) {
                resources.push(resource);
            }
        }
        Self {
            key: RequestKey::of(secret, principal, api, &canonical),
            former: RequestKey::unkeyed(principal, api, &canonical),
            rule: rule.clone(),
            api: api.to_owned(),
            summary: subject.summary.clone(),
            resources,
            for_good: false,
        }
    }

    /// May the principal use this topic at all?
    pub(super) fn of_first_use(
        secret: &RequestSecret,
        rule: &Arc<HoldRule>,
        principal: &Principal,
        kind: Kind,
        topic: &str,
    ) -> Self {
        let (api, does) = match kind {
            Kind::FirstProduce => (HeldOperation::FIRST_PRODUCE, "produce to"),
            _ => (HeldOperation::FIRST_CONSUME, "consume from"),
        };
        Self {
            key: RequestKey::of(secret, principal, api, topic.as_bytes()),
            former: RequestKey::unkeyed(principal, api, topic.as_bytes()),
            rule: rule.clone(),
            api: api.to_owned(),
            summary: format!("{does} topic {topic} for the first time"),
            resources: vec![HeldResource { kind: "topic".to_owned(), name: topic.to_owned() }],
            for_good: true,
        }
    }

    /// Where it stands; `None` where it was not asked under this policy.
    pub(super) fn state<'a>(&self, approvals: &'a Approvals, fingerprint: &str) -> Option<&'a ApprovalState> {
        approvals.get(&self.key, fingerprint).or_else(|| approvals.get(&self.former, fingerprint))
    }

    /// The approval by which it was answered for good, under whichever policy.
    fn answered<'a>(&self, approvals: &'a Approvals) -> Option<&'a ApprovalId> {
        approvals.used(&self.key).or_else(|| approvals.used(&self.former)).filter(|_| self.for_good)
    }

    fn operation(&self, id: &ApprovalId, session: &Session, fingerprint: &str, now: Timestamp) -> HeldOperation {
        HeldOperation {
            id: id.clone(),
            key: self.key,
            api: self.api.clone(),
            summary: self.summary.clone(),
            resources: self.resources.clone(),
            principal: session.principal.as_deref().map_or_else(|| Actor::from(&Principal::anonymous()), Actor::from),
            session: session.id.to_string(),
            rule: self.rule.name.to_string(),
            policy_fingerprint: fingerprint.to_owned(),
            // The control thread goes by the rule.
            expires: now,
            valid_millis: 0,
        }
    }
}

impl Session {
    /// Looks up what has become of a request's questions, asks those that nobody asked yet, and has
    /// its approvals used up where all are there. It waits as long as its rules say, and no longer than
    /// its client does where that is known: an answer must find somebody.
    pub(super) fn consult(
        &mut self,
        shard: &Shard,
        questions: &[Question],
        patience_millis: Option<u64>,
        now: Timestamp,
    ) -> Consulted {
        let mut waiting = self.hold.take().unwrap_or_else(|| Box::new(Waiting::new()));
        if waiting.until == Timestamp::MAX {
            let hold = questions.iter().map(|question| question.rule.hold_millis).min().unwrap_or_default();
            let hold = hold.min(u64::from(shard.limits.hold_millis_max)).min(patience_millis.unwrap_or(u64::MAX));
            waiting.until = now.plus_millis(i64::try_from(hold).unwrap_or_default());
        }
        let consulted = self.consult_within(&mut waiting, shard, questions, now);
        self.hold = Some(waiting);
        consulted
    }

    fn consult_within(
        &self,
        waiting: &mut Waiting,
        shard: &Shard,
        questions: &[Question],
        now: Timestamp,
    ) -> Consulted {
        // Before the states: what changes after is looked at again.
        waiting.seen = versions(shard);
        let policy = shard.policy();
        let fingerprint = policy.fingerprint();
        let session = self.id.to_string();
        let approvals = shard.shared.approvals.load();
        let (mut passes, mut approved, mut pending, mut unasked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for question in questions {
            // A first use happens once, whatever the policy says by now.
            if let Some(id) = question.answered(&approvals) {
                passes.push(id.clone());
                continue;
            }
            match question.state(&approvals, fingerprint) {
                Some(ApprovalState::Used { id, session: by }) if **by == *session && waiting.using.contains(id) => {
                    passes.push(id.clone());
                }
                Some(ApprovalState::Approved { id }) => approved.push(id.clone()),
                Some(ApprovalState::Pending { id }) => pending.push(id.clone()),
                Some(ApprovalState::Denied { id, reason }) => {
                    let message = format!("approval {id} was denied: {reason}");
                    return Consulted::Refused(vec![id.clone()], message);
                }
                state @ (Some(ApprovalState::Used { .. } | ApprovalState::Expired { .. }) | None) => {
                    if let Some(why) = approvals.refused(&question.key) {
                        return Consulted::Refused(Vec::new(), format!("its approval cannot be asked for: {why}"));
                    }
                    unasked.push((question, state.is_some()));
                }
            }
        }
        drop(approvals);
        let is_over = now >= waiting.until || shard.shared.is_draining();
        if pending.is_empty() && unasked.is_empty() {
            if approved.is_empty() {
                return Consulted::Passes(passes);
            }
            return use_up(waiting, shard, approved, &session, is_over, now);
        }
        waiting.again = Timestamp::MAX;
        if self.has_no_place(waiting, shard) {
            return Consulted::Refused(pending, "too many requests wait for approval here; try again later".to_owned());
        }
        for (question, lapsed) in unasked {
            // The same id again only where the control thread may have missed the question: one that has
            // lapsed, or was asked under another policy, is a new one.
            waiting.asked.retain(|asked| asked.key != question.key || asked.under == fingerprint && !lapsed);
            let known = waiting.asked.iter().find(|asked| asked.key == question.key).map(|asked| asked.id.clone());
            let id = known.unwrap_or_else(|| {
                let id = draw_id();
                waiting.asked.push(Asked { key: question.key, id: id.clone(), under: fingerprint.to_owned() });
                id
            });
            let operation = question.operation(&id, self, fingerprint, now);
            if !shard.shared.ask(Ask::Hold(Box::new(operation))) {
                tracing::warn!(session = %self.id, "the control thread's queue is full; asking again");
            }
            waiting.again = now.plus_millis(AGAIN_MILLIS);
            pending.push(id);
        }
        if is_over {
            let rule = questions.first().map_or("", |question| &question.rule.name);
            let message = refusal_message(&pending, rule);
            return Consulted::Refused(pending, message);
        }
        Consulted::Waits(pending)
    }

    /// Whether the shard has as many requests that wait as it may.
    fn has_no_place(&self, waiting: &Waiting, shard: &Shard) -> bool {
        waiting.counted.is_none() && shard.metrics.held_now.get() >= i64::from(shard.limits.held_requests_per_shard_max)
    }
}

/// Has approvals used up. They pass the request when the control log says so.
fn use_up(
    waiting: &mut Waiting,
    shard: &Shard,
    approved: Vec<ApprovalId>,
    session: &str,
    is_over: bool,
    now: Timestamp,
) -> Consulted {
    let begins = !approved.iter().all(|id| waiting.using.contains(id));
    if begins {
        waiting.until = waiting.until.max(now.plus_millis(USE_MILLIS_MAX));
    } else if is_over && now >= waiting.until {
        let message = "the control log took no note of the approval's use; try again".to_owned();
        return Consulted::Refused(approved, message);
    }
    for id in &approved {
        if !waiting.using.contains(id) {
            waiting.using.push(id.clone());
        }
        shard.shared.ask(Ask::Use { approval: id.clone(), session: Arc::from(session) });
    }
    waiting.again = now.plus_millis(AGAIN_MILLIS);
    Consulted::Waits(approved)
}

/// What the client is told whose time is over.
fn refusal_message(ids: &[ApprovalId], rule: &str) -> String {
    let names = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let first = ids.first().map(ToString::to_string).unwrap_or_default();
    format!(
        "held by rule {rule}: waits for approval {names}. Ask an approver to look at it with `tidegate approval show \
         {first}`, then send the same request again"
    )
}

/// An id for a new question.
fn draw_id() -> ApprovalId {
    let mut random = [0; 10];
    // Where the system has no randomness there is no TLS either; a fixed id is then refused as taken.
    let _ = aws_lc_rs::rand::fill(&mut random);
    ApprovalId::of(random)
}
