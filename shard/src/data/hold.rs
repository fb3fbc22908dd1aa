//! Hold: the stage between authorise and forward. What the policy's `holds` name waits for an
//! approver, and passes once it has one.
//!
//! A request that policy allows is looked at for what it would change ([`subject`]); each rule that
//! names any of it makes a question, bound to this principal and this very request. The control
//! thread keeps questions and answers in its log and publishes their states; a session looks them
//! up, asks what was not asked yet, and waits. Every look begins anew: rights, policy, questions.
//! So what passes was allowed, approved and unchanged at the moment of passing.
//!
//! Reading order: this file (one request through the stage), [`question`] (what is asked, and what
//! its states mean), [`subject`], [`current`] (exemptions by a setting's present value), [`first`]
//! (a principal's first use of a topic), [`answer`] (the refusal), [`revoke`] (rights that end while
//! a connection is open).
//!
//! Invariants:
//! - A held request goes to the upstream only after the control log says that its approval is used
//!   up, by this session and for this wait. Used up means: nothing else passes by it, ever.
//! - A request waits as a whole, though a rule names only part of it; what authorisation refused
//!   is not part of it.
//! - Only the connection that asked waits. Where the wait ends otherwise (time, drain, close), the
//!   client is answered or gone, the evidence has an entry, and the question stays open for a retry.
//! - Where no rule names the principal, a request costs one comparison.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tidegate_core::event::Outcome;
use tidegate_core::words::Timestamp;
use tidegate_policy::authority::{ApprovalId, HoldRule, RequestKey};
use tidegate_policy::view::View;

use super::session::{Exchange, Held, HeldFor, Session};
use super::shard::Shard;
use super::stage::{Draft, Progress, Request, StageError, Verdict};
use crate::shared::ShardMetrics;

mod answer;
mod current;
mod first;
mod question;
mod revoke;
mod subject;
#[cfg(test)]
mod tests;

pub use first::FirstUses;
pub(super) use first::uses_topics;
pub(super) use tidegate_policy::file::HeldKind as Kind;

use current::Current;
use question::{Consulted, Question};

/// Longest sentence for people about one operation, in bytes.
const SUMMARY_BYTES_MAX: usize = 1024;
/// After this many milliseconds a question is put again that the control thread shows no state of:
/// its queue may have been full.
const AGAIN_MILLIS: i64 = 500;
/// How much longer a request waits whose approval is being used up, in milliseconds: an answer now
/// would waste it. An append to the control log takes some milliseconds.
const USE_MILLIS_MAX: i64 = 3_000;

/// What the evidence cites as the reason why a resource of a held request was not touched.
const HELD_RULE: &str = "held for approval";

/// What a session knows about its one request in this stage, from its first look to its end.
pub struct Waiting {
    /// When the client gets its answer, approved or not.
    until: Timestamp,
    /// When to look again, though nothing changed.
    again: Timestamp,
    /// The versions of approvals and policy that were looked at last.
    seen: (u64, u64),
    /// What was asked, under the id drawn for it. The log may know it under an earlier one.
    asked: Vec<Asked>,
    /// What this request is using up.
    using: Vec<ApprovalId>,
    /// Settings as the broker has them.
    current: Current,
    /// For the evidence, should the client not wait.
    exchange: Option<Exchange>,
    /// Its place among those that wait; `None` until it does.
    counted: Option<Counted>,
}

/// A question that was put to the control thread.
struct Asked {
    key: RequestKey,
    id: ApprovalId,
    /// The fingerprint of the policy that it was asked under.
    under: String,
}

impl Waiting {
    fn new() -> Self {
        Self {
            until: Timestamp::MAX,
            again: Timestamp::MAX,
            seen: (0, 0),
            asked: Vec::new(),
            using: Vec::new(),
            current: Current::default(),
            exchange: None,
            counted: None,
        }
    }

    /// Whether there is anything new to look at.
    pub(super) fn is_due(&self, shard: &Shard, now: Timestamp) -> bool {
        now >= self.until.min(self.again) || self.seen != versions(shard) || shard.shared.is_draining()
    }

    /// When it has to be looked at, though nothing changes.
    pub(super) fn deadline(&self) -> Timestamp {
        self.until.min(self.again)
    }
}

/// Counts a request as waiting for as long as it lives, however it ends.
struct Counted(Arc<ShardMetrics>);

impl Counted {
    fn new(metrics: &Arc<ShardMetrics>) -> Self {
        metrics.held.increment();
        metrics.held_now.add(1);
        Self(metrics.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.held_now.add(-1);
    }
}

/// The versions of approvals and policy that are published now.
fn versions(shard: &Shard) -> (u64, u64) {
    (shard.shared.approvals_version.load(std::sync::atomic::Ordering::Acquire), shard.policy_version())
}

/// What the rules make of a request.
enum Found {
    /// No rule names it, or rules exempt it for the reasons given.
    Free(Vec<String>),
    /// Whether a rule exempts it depends on settings that the broker is to be asked about.
    Unclear(Vec<(String, String)>),
    /// It waits for these, and no longer than so many milliseconds where its client says how long that waits.
    Held(Vec<Question>, Option<u64>),
}

impl Session {
    /// Shows the stage what is about to go to the upstream. Gives it back where it may go; else it
    /// waits, or was answered.
    pub(super) fn hold_back(
        &mut self,
        shard: &Shard,
        request: Request,
        verdict: Verdict,
        mut exchange: Exchange,
        now: Timestamp,
    ) -> Option<(Request, Verdict, Exchange)> {
        let (version, body) = match &verdict {
            Verdict::Forward | Verdict::ForwardThen(_) => (request.version(), request.body()),
            Verdict::Rewrite { version, body, .. } => (*version, body.clone()),
            // Nothing goes to the upstream, or not yet; records have [`first`].
            _ => return Some((request, verdict, exchange)),
        };
        if !subject::is_known(request.api()) {
            return Some((request, verdict, exchange));
        }
        let Some(view) = self.view.take() else { return self.close_none() };
        let found = self.find(shard, &view, request.api(), version, &body);
        self.view = Some(view);
        let (questions, patience) = match found {
            Ok(Found::Free(reasons)) => {
                self.hold = None;
                reasons.iter().for_each(|reason| say(&mut exchange.draft, reason));
                return Some((request, verdict, exchange));
            }
            Ok(Found::Unclear(settings)) => {
                self.ask_settings(shard, request, settings, exchange, now);
                return None;
            }
            Ok(Found::Held(questions, patience)) => (questions, patience),
            Err(reason) => {
                let error = StageError::Request { api: request.api(), version: request.version(), reason };
                self.refuse_stage(shard, exchange, &error, now);
                return None;
            }
        };
        match self.consult(shard, &questions, patience, now) {
            Consulted::Passes(ids) => {
                self.hold = None;
                shard.metrics.held_passed.increment();
                approved(&mut exchange.draft, &ids);
                Some((request, verdict, exchange))
            }
            Consulted::Waits(ids) => {
                self.wait(shard, request, exchange, &ids);
                None
            }
            Consulted::Refused(ids, message) => {
                self.hold = None;
                shard.metrics.held_refused.increment();
                refused(&mut exchange.draft, &ids, &message);
                self.answer_held(shard, &request, verdict, (version, &body), exchange, &message, now);
                None
            }
        }
    }

    fn close_none<T>(&mut self) -> Option<T> {
        self.close();
        None
    }

    /// Which rules name what the request would change.
    fn find(&self, shard: &Shard, view: &View, api: ApiKey, version: i16, body: &Bytes) -> Result<Found, String> {
        let Some(subject) = subject::subject(api, version, body, &shard.topics.borrow())? else {
            return Ok(Found::Free(Vec::new()));
        };
        let Some(principal) = &self.principal else { return Ok(Found::Free(Vec::new())) };
        let known = self.hold.as_ref().map(|waiting| &waiting.current);
        let (mut reasons, mut unclear) = (Vec::new(), Vec::new());
        let mut rules: Vec<&Arc<HoldRule>> = Vec::new();
        for item in &subject.items {
            let setting = item.config.as_ref().map(|setting| setting.name.as_str());
            let Some(rule) = view.hold_rule(item.kind, item.topic.as_deref(), setting) else { continue };
            match current::exemption(rule, item, known) {
                current::Exempt::Yes(reason) => reasons.push(reason),
                current::Exempt::Ask(topic, setting) => unclear.push((topic, setting)),
                current::Exempt::No if rules.iter().any(|known| Arc::ptr_eq(known, rule)) => {}
                current::Exempt::No => rules.push(rule),
            }
        }
        if !unclear.is_empty() {
            return Ok(Found::Unclear(unclear));
        }
        if rules.is_empty() {
            return Ok(Found::Free(reasons));
        }
        let api = format!("{api:?}");
        let secret = shard.shared.request_secret.load();
        let question = |rule| Question::of_request(&secret, rule, principal, &api, &subject);
        Ok(Found::Held(rules.into_iter().map(question).collect(), subject.patience_millis))
    }

    /// Keeps the request until something changes.
    fn wait(&mut self, shard: &Shard, request: Request, mut exchange: Exchange, ids: &[ApprovalId]) {
        let started = exchange.started;
        let names = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let reason = format!("the connection ended while the request was held for {names}");
        refused(&mut exchange.draft, ids, &reason);
        let mut waiting = self.hold.take().unwrap_or_else(|| Box::new(Waiting::new()));
        waiting.exchange = Some(exchange);
        if waiting.counted.is_none() {
            waiting.counted = Some(Counted::new(&shard.metrics));
            tracing::info!(session = %self.id, principal = self.principal_name(), approval = %names, "request held");
        }
        let until = waiting.deadline();
        self.hold = Some(waiting);
        self.held = Some(Held { request, started, reason: HeldFor::Approval, until, decide: None });
    }

    /// Answers a held request that may not pass, as its upstream would.
    #[allow(clippy::too_many_arguments, reason = "the parts of one request on their way to its answer")]
    fn answer_held(
        &mut self,
        shard: &Shard,
        request: &Request,
        verdict: Verdict,
        (version, body): (i16, &Bytes),
        mut exchange: Exchange,
        message: &str,
        now: Timestamp,
    ) {
        let broken = |reason| StageError::Request { api: request.api(), version: request.version(), reason };
        let answer = match answer::refusal(request.api(), version, body, message) {
            Ok(answer) => answer,
            Err(reason) => return self.refuse_stage(shard, exchange, &broken(reason), now),
        };
        let respond = match verdict {
            Verdict::ForwardThen(respond) | Verdict::Rewrite { respond, .. } => Some(respond),
            _ => None,
        };
        let answer = match respond {
            None => answer,
            Some(respond) => {
                let Some(view) = self.view.take() else { return self.close() };
                let draft = &mut exchange.draft;
                let shown = Self::in_scope(&view, shard, self.listener, now, false, &mut self.work, |scope| {
                    respond.respond(answer.clone(), scope, draft)
                });
                self.view = Some(view);
                match shown {
                    Ok(Progress::Done(None)) => answer,
                    Ok(Progress::Done(Some(answer))) => answer,
                    Ok(Progress::Again(_)) => {
                        let error = broken("its refusal takes more than one turn".to_owned());
                        return self.refuse_stage(shard, exchange, &error, now);
                    }
                    Err(error) => return self.refuse_stage(shard, exchange, &error, now),
                }
            }
        };
        // The upstream was not asked.
        exchange.draft.upstream_errors.clear();
        self.answer(shard, request, &answer, exchange, now);
    }

    /// Writes the entry of a request that still waited when its connection ended.
    pub(super) fn abandon_hold(&mut self, shard: &Shard, now: Timestamp) {
        if let Some(exchange) = self.hold.take().and_then(|waiting| waiting.exchange) {
            self.record_as(shard, &exchange, Outcome::Denied, 0, now);
        }
    }
}

/// Notes by which approvals a request passes.
fn approved(draft: &mut Draft, ids: &[ApprovalId]) {
    let Some(first) = ids.first() else { return };
    draft.approval = first.to_string();
    let names = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    say(draft, &format!("approved: {names}"));
}

/// Notes that nothing of a request passes, and why.
fn refused(draft: &mut Draft, ids: &[ApprovalId], reason: &str) {
    if let Some(first) = ids.first() {
        draft.approval = first.to_string();
    }
    for resource in draft.resources.iter_mut().filter(|resource| resource.allowed) {
        resource.allowed = false;
        resource.rule = HELD_RULE.into();
        resource.purpose = Default::default();
    }
    say(draft, reason);
}

fn say(draft: &mut Draft, sentence: &str) {
    if !draft.detail.is_empty() {
        draft.detail.push_str("; ");
    }
    draft.detail.push_str(sentence);
}
