//! Erasing a subject's data: a plan is asked about as a whole, decided by somebody else, begun once, and each of its steps
//! put on record. What is done goes through the gateway's front door, by whoever asked, within his grants.
//!
//! The gateway does not see the plan: a question is bound to its SHA-256 and to the topics that it names, and shown to
//! approvers with both. Invariants: nobody may erase where no rule of `holds` with the operation `erase` says who approves;
//! one rule answers for all of a plan; an approval begins one run, which may be taken up again and no other; only who
//! asked runs it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tidegate_core::words::{Direction, Timestamp};
use tidegate_policy::authority::{
    Approval, ApprovalId, Command, HeldOperation, HeldResource, HoldRule, Question, RequestKey, State as Stands, Status,
};
use tidegate_policy::file::HeldKind;

use super::Admin;
use super::caller::Caller;
use super::extract::{Body, Named};
use super::gate::Note;
use super::model::{ApprovalView, Recorded};
use super::problem::Problem;
use super::requests::{AskErasure, BeginErasure, ErasureStep};
use super::route::Route;
use crate::control::{authority, now};

/// What stands as the API of an erasure.
const API: &str = "Erase";
/// Topics of one plan.
const TOPICS_MAX: usize = 64;
/// Bytes of each text.
const TEXT_BYTES_MAX: usize = 1000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post::<ApprovalView>("/v1/erasures", "askErasure", "Ask to erase a subject's data by a plan")
            .body::<AskErasure>()
            .created()
            .refuses(&[404, 409, 422])
            .handler(ask),
        Route::post::<ApprovalView>(
            "/v1/erasures/{approval}/begin",
            "beginErasure",
            "Begin, or take up, an approved plan",
        )
        .body::<BeginErasure>()
        .refuses(&[404, 409, 422])
        .handler(begin),
        Route::post::<Recorded>("/v1/erasures/{approval}/steps", "recordErasureStep", "Put a step of a plan on record")
            .body::<ErasureStep>()
            .refuses(&[404, 409, 422])
            .handler(step),
    ]
}

/// A plan, as the gateway knows it.
struct Plan<'a> {
    digest: &'a str,
    topics: &'a [String],
}

impl Plan<'_> {
    fn check(&self) -> Result<(), Problem> {
        let hexadecimal = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hexadecimal(self.digest) {
            return Err(Problem::unacceptable("`digest` is the plan's SHA-256 in 64 lower-case hexadecimal digits"));
        }
        if self.topics.is_empty() || self.topics.len() > TOPICS_MAX {
            return Err(Problem::unacceptable(format!("a plan is about 1 to {TOPICS_MAX} topics; make several")));
        }
        let in_order = self.topics.windows(2).all(|pair| pair.first() < pair.last());
        let named = |topic: &String| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            (1..=249).contains(&topic.len()) && topic.bytes().all(allowed)
        };
        if !in_order || !self.topics.iter().all(named) {
            return Err(Problem::unacceptable("`topics` are Kafka's names, in order, each once"));
        }
        Ok(())
    }

    fn canonical(&self) -> Vec<u8> {
        // Neither a digest nor a topic's name has a zero byte.
        let mut canonical = self.digest.as_bytes().to_vec();
        for topic in self.topics {
            canonical.push(0);
            canonical.extend_from_slice(topic.as_bytes());
        }
        canonical
    }
}

impl Admin {
    /// The one rule that says who approves the plan.
    fn erasure_rule(&self, caller: &Caller, plan: &Plan<'_>) -> Result<Arc<HoldRule>, Problem> {
        let view = self.shared.policy.load().view(&caller.principal);
        let mut rules: Vec<Arc<HoldRule>> = Vec::new();
        for topic in plan.topics {
            let Some(rule) = view.hold_rule(HeldKind::Erase, Some(topic), None) else {
                return Err(Problem::forbidden(format!(
                    "no rule of `holds` with the operation `erase` says who approves it in topic {topic}"
                )));
            };
            if !rules.iter().any(|known| known.name == rule.name) {
                rules.push(rule.clone());
            }
            let masks_keys = |direction| view.mask(topic, direction).is_some_and(|plan| plan.masks_keys());
            if masks_keys(Direction::Fetch) || masks_keys(Direction::Produce) {
                return Err(Problem::forbidden(format!(
                    "keys of topic {topic} are masked towards you, and a record is erased by its key: name yourself in \
                     the mask's `except`"
                )));
            }
        }
        match (rules.pop(), rules.is_empty()) {
            (Some(rule), true) => Ok(rule),
            _ => Err(Problem::unacceptable("the plan's topics are under several rules: make a plan for each")),
        }
    }

    /// The question that `caller` asked about this plan.
    fn erasure(&self, caller: &Caller, id: &str, plan: Option<&Plan<'_>>) -> Result<Arc<Approval>, Problem> {
        let state = self.authority.read();
        let unknown = || Problem::not_found(format!("there is no erasure {id} of yours"));
        let approval = state.approval(&ApprovalId::from(id)).ok_or_else(unknown)?;
        let Question::Operation(held) = &approval.question else { return Err(unknown()) };
        if held.api != API || !held.principal.is(&caller.principal) {
            return Err(unknown());
        }
        if plan.is_some_and(|plan| held.key != self.erasure_key(caller, plan)) {
            return Err(Problem::conflict(format!("{id} is about another plan: it was changed, or is another file")));
        }
        Ok(Arc::new(approval.clone()))
    }

    fn erasure_key(&self, caller: &Caller, plan: &Plan<'_>) -> RequestKey {
        RequestKey::of(&self.shared.request_secret.load(), &caller.principal, API, &plan.canonical())
    }
}

async fn ask(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Body(asked): Body<AskErasure>,
) -> Result<Response, Problem> {
    let AskErasure { digest, topics, steps, reason } = asked;
    let plan = Plan { digest: &digest, topics: &topics };
    plan.check()?;
    text(&reason, "reason")?;
    let rule = admin.erasure_rule(&caller, &plan)?;
    let id = authority::draw_approval();
    let resources = topics.iter().map(|name| HeldResource { kind: "topic".to_owned(), name: name.clone() }).collect();
    let held = HeldOperation {
        id: id.clone(),
        key: admin.erasure_key(&caller, &plan),
        api: API.to_owned(),
        summary: format!("erase a subject's data in {steps} steps by the plan sha256:{digest} ({reason})"),
        resources,
        principal: caller.actor.clone(),
        session: String::new(),
        rule: rule.name.to_string(),
        policy_fingerprint: admin.shared.policy.load().fingerprint().to_owned(),
        // The rule decides.
        expires: Timestamp::MAX,
        valid_millis: 0,
    };
    admin.authority.submit(caller.actor, Command::Hold(held)).await?;
    admin.asked(id)
}

async fn begin(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(id): Named,
    Body(asked): Body<BeginErasure>,
) -> Result<Response, Problem> {
    let BeginErasure { digest, topics, run } = asked;
    let plan = Plan { digest: &digest, topics: &topics };
    plan.check()?;
    run_id(&run)?;
    admin.erasure_rule(&caller, &plan)?;
    let approval = admin.erasure(&caller, &id, Some(&plan))?;
    let taken_up = matches!(&approval.state, Stands::Used { session, .. } if **session == *run);
    if !taken_up {
        if approval.status(now()) == Status::Used {
            return Err(Problem::conflict(format!("{id} was begun by another run, and is good for one")));
        }
        let command = Command::Use { approval: approval.id.clone(), session: run };
        admin.authority.submit(caller.actor, command).await?;
    }
    admin.stands(approval.id.clone(), StatusCode::OK)
}

async fn step(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Named(id): Named,
    Body(asked): Body<ErasureStep>,
) -> Result<Response, Problem> {
    let ErasureStep { run, step, of, what, outcome } = asked;
    run_id(&run)?;
    text(&what, "what")?;
    text(&outcome, "outcome")?;
    let approval = admin.erasure(&caller, &id, None)?;
    if !matches!(&approval.state, Stands::Used { session, .. } if **session == *run) {
        return Err(Problem::conflict(format!("{id} was not begun by this run")));
    }
    let detail = format!("step {step} of {of}: {what}: {outcome}");
    let mut response = Json(Recorded { recorded: true }).into_response();
    response.extensions_mut().insert(Note { approval: Some(approval.id.clone()), detail, ..Note::default() });
    Ok(response)
}

fn run_id(run: &str) -> Result<(), Problem> {
    if (16..=64).contains(&run.len()) && run.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(());
    }
    Err(Problem::unacceptable("`run` has 16 to 64 letters, digits and `-`"))
}

fn text(text: &str, what: &str) -> Result<(), Problem> {
    if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX || text.contains(char::is_control) {
        return Err(Problem::unacceptable(format!(
            "`{what}` is one line of at most {TEXT_BYTES_MAX} bytes, without control characters"
        )));
    }
    Ok(())
}
