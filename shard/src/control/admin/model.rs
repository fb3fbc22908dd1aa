//! The admin API's JSON: what is answered. Every type has its schema in the OpenAPI document.
//!
//! Times are RFC 3339 in UTC. What does not apply is left out. The command line reads the same types,
//! so both sides of the wire are written down once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_core::words::Timestamp;
use tidegate_policy::authority::{
    Actor, Approval, DecidedBy, Decision, GrantSpan, Question, Revoked, RunGrant, State, Status, Vote,
};
use tidegate_policy::file::{OperationRule, ResourceRule};

use crate::shared::LiveSession;

/// A time as RFC 3339.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0)
        .map_or_else(|_| "9999-12-31T23:59:59Z".to_owned(), |time| time.to_string())
}

fn until(time: Timestamp) -> Option<String> {
    (time != Timestamp::MAX).then(|| rfc3339(time))
}

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// What to give as `after` for the next page; left out on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Somebody, as an issuer vouches for him.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// The name that policy and evidence use.
    pub name: String,
    /// The issuer.
    pub issuer: String,
    /// The subject at the issuer.
    pub subject: String,
}

impl From<&Actor> for Person {
    fn from(actor: &Actor) -> Self {
        Self { name: actor.name.to_string(), issuer: actor.issuer.to_string(), subject: actor.subject.to_string() }
    }
}

/// Who calls, as the gateway sees him.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// Who.
    pub person: Person,
    /// His groups.
    pub groups: Vec<String>,
    /// His roles here: `admin`, `approver`, `auditor`, `operator`.
    pub roles: Vec<String>,
}

/// Where a question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    /// Nobody has decided, or not enough.
    Pending,
    /// Approved, and not used yet where it is an operation.
    Approved,
    /// An operation passed on it.
    Used,
    /// Denied.
    Denied,
    /// It lapsed undecided, or approved but unused.
    Expired,
    /// A break-glass that waits for its review.
    ReviewDue,
    /// A break-glass whose review is late.
    ReviewOverdue,
    /// A break-glass that was reviewed.
    Reviewed,
}

impl ApprovalStatus {
    /// The status of this API for the authority's.
    #[must_use]
    pub const fn of(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Approved => Self::Approved,
            Status::Used => Self::Used,
            Status::Denied => Self::Denied,
            Status::Expired => Self::Expired,
            Status::ReviewDue => Self::ReviewDue,
            Status::ReviewOverdue => Self::ReviewOverdue,
            Status::Reviewed => Self::Reviewed,
        }
    }

    /// The authority's status for this API's.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Pending => Status::Pending,
            Self::Approved => Status::Approved,
            Self::Used => Status::Used,
            Self::Denied => Status::Denied,
            Self::Expired => Status::Expired,
            Self::ReviewDue => Status::ReviewDue,
            Self::ReviewOverdue => Status::ReviewOverdue,
            Self::Reviewed => Status::Reviewed,
        }
    }
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A grant that was asked for.
    Grant,
    /// An operation that waits.
    Operation,
    /// Something opened in an emergency.
    BreakGlass,
}

impl About {
    /// The name, as in the control log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Operation => "operation",
            Self::BreakGlass => "break_glass",
        }
    }
}

/// A question to approvers, and its story so far.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalView {
    /// Its id, `ap-…`.
    pub id: String,
    /// What it is about.
    pub about: About,
    /// Where it stands now.
    pub status: ApprovalStatus,
    /// Who asked.
    pub asked_by: Person,
    /// When.
    pub asked_at: String,
    /// The policy's rule that it was asked under.
    pub rule: String,
    /// When it lapses, or when its review is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What is asked, in one sentence.
    pub summary: String,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The grant, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<AskedGrant>,
    /// The operation, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<AskedOperation>,
    /// What was decided, in order.
    pub decisions: Vec<DecisionView>,
    /// When an operation passed on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<String>,
    /// The session in which it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_in: Option<String>,
}

/// The grant that a question is about.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AskedGrant {
    /// The grant's id, `gr-…`.
    pub id: String,
    /// Whether it exists and is to last longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extends: bool,
    /// On what.
    pub resources: Vec<ResourceRule>,
    /// Which operations.
    pub operations: Vec<OperationRule>,
    /// How long, in seconds, from its approval on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// From when on, where that is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Until when, where that is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// What for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub purpose: String,
}

/// The operation that a question is about.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AskedOperation {
    /// The Kafka API, for instance `DeleteTopics`.
    pub api: String,
    /// What it touches.
    pub resources: Vec<NamedResource>,
    /// The session that asked first.
    pub session: String,
    /// How long an approval may be used, in seconds.
    pub valid_seconds: u64,
}

/// A resource by kind and name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NamedResource {
    /// `topic`, `cluster`, …
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A decision.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DecisionView {
    /// When.
    pub at: String,
    /// Who; the gateway where a rule decided.
    pub by: Person,
    /// `approve` or `deny`.
    pub decision: DecisionWord,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The rule whose automated approver decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic: Option<String>,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecisionWord {
    /// For it.
    Approve,
    /// Against it.
    Deny,
}

impl From<&Vote> for DecisionView {
    fn from(vote: &Vote) -> Self {
        Self {
            at: rfc3339(vote.time),
            by: Person::from(&vote.actor),
            decision: match vote.decision {
                Decision::Approve => DecisionWord::Approve,
                Decision::Deny => DecisionWord::Deny,
            },
            reason: vote.reason.to_string(),
            automatic: match &vote.by {
                DecidedBy::Person => None,
                DecidedBy::Automatic { rule } => Some(rule.clone()),
            },
        }
    }
}

impl ApprovalView {
    /// An approval as it stands at `now`.
    #[must_use]
    pub fn of(approval: &Approval, now: Timestamp) -> Self {
        let (about, summary, reason, grant, operation) = match &approval.question {
            Question::Grant(request) => {
                let (seconds, window) = match request.span {
                    GrantSpan::Millis(millis) => (Some(millis / 1000), None),
                    GrantSpan::Between(from, to) => (None, Some((from, to))),
                };
                let what = described(&request.operations, &request.resources);
                let verb = if request.extends { "keep" } else { "have" };
                let grant = AskedGrant {
                    id: request.grant.to_string(),
                    extends: request.extends,
                    resources: request.resources.clone(),
                    operations: request.operations.clone(),
                    seconds,
                    not_before: window.map(|(from, _)| rfc3339(from)),
                    not_after: window.map(|(_, to)| rfc3339(to)),
                    purpose: request.purpose.clone(),
                };
                let summary = format!("{} asks to {verb} {what}", request.principal.name);
                (About::Grant, summary, request.reason.clone(), Some(grant), None)
            }
            Question::Operation(held) => {
                let resources = held.resources.iter();
                let operation = AskedOperation {
                    api: held.api.clone(),
                    resources: resources
                        .map(|resource| NamedResource { kind: resource.kind.clone(), name: resource.name.clone() })
                        .collect(),
                    session: held.session.clone(),
                    valid_seconds: held.valid_millis / 1000,
                };
                (About::Operation, held.summary.clone(), String::new(), None, Some(operation))
            }
            Question::BreakGlass(opened) => {
                let what = described(&opened.operations, &opened.resources);
                let grant = AskedGrant {
                    id: opened.grant.to_string(),
                    extends: false,
                    resources: opened.resources.clone(),
                    operations: opened.operations.clone(),
                    seconds: None,
                    not_before: Some(rfc3339(opened.not_before)),
                    not_after: Some(rfc3339(opened.not_after)),
                    purpose: String::new(),
                };
                let summary = format!("{} opened {what} in an emergency", opened.principal.name);
                (About::BreakGlass, summary, opened.reason.clone(), Some(grant), None)
            }
        };
        let (used_at, used_in) = match &approval.state {
            State::Used { at, session } => (Some(rfc3339(*at)), Some(session.to_string())),
            _ => (None, None),
        };
        Self {
            id: approval.id.to_string(),
            about,
            status: ApprovalStatus::of(approval.status(now)),
            asked_by: Person::from(approval.asked_by()),
            asked_at: rfc3339(approval.asked),
            rule: approval.rule().to_owned(),
            until: approval.deadline().and_then(until),
            summary,
            reason,
            grant,
            operation,
            decisions: approval.votes.iter().map(DecisionView::from).collect(),
            used_at,
            used_in,
        }
    }
}

/// Operations and resources in words: `read on topic orders-*, group analysts-*`.
#[must_use]
pub fn described(operations: &[OperationRule], resources: &[ResourceRule]) -> String {
    let word = |operation: &OperationRule| match operation {
        OperationRule::One(operation) => operation.name().to_owned(),
        OperationRule::All(_) => "everything".to_owned(),
    };
    let operations: Vec<String> = operations.iter().map(word).collect();
    let resources: Vec<String> = resources.iter().map(resource_text).collect();
    format!("{} on {}", operations.join(", "), resources.join(", "))
}

/// A resource in words: `topic orders`, `group analysts-*`, `cluster`.
#[must_use]
pub fn resource_text(resource: &ResourceRule) -> String {
    use tidegate_policy::file::NameRule;
    let named = [
        ("topic", &resource.topic),
        ("group", &resource.group),
        ("transactional_id", &resource.transactional_id),
        ("delegation_token", &resource.delegation_token),
        ("user", &resource.user),
    ];
    let name = named.iter().find_map(|(kind, rule)| rule.as_ref().map(|rule| (kind, rule)));
    match name {
        Some((kind, NameRule::Literal(name))) => format!("{kind} {name}"),
        Some((kind, NameRule::Prefixed(rule))) => format!("{kind} {}*", rule.prefix),
        None => "cluster".to_owned(),
    }
}

/// Where a run-time grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantStatus {
    /// It holds now.
    Active,
    /// It will hold.
    Upcoming,
    /// It has ended by itself.
    Ended,
    /// Somebody ended it.
    Revoked,
}

/// A run-time grant.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GrantView {
    /// Its id, `gr-…`, and its name in evidence.
    pub id: String,
    /// Where it stands now.
    pub status: GrantStatus,
    /// For whom.
    pub principal: Person,
    /// The approval that it stands on.
    pub approval: String,
    /// The policy's rule.
    pub rule: String,
    /// On what.
    pub resources: Vec<ResourceRule>,
    /// Which operations.
    pub operations: Vec<OperationRule>,
    /// What for.
    pub purpose: String,
    /// From when on.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// Whether it was opened in an emergency.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// How it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<RevocationView>,
}

/// That something was revoked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RevocationView {
    /// When.
    pub at: String,
    /// By whom.
    pub by: Person,
    /// Why.
    pub reason: String,
    /// Until when it counts, where it has an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl From<&Revoked> for RevocationView {
    fn from(revoked: &Revoked) -> Self {
        Self {
            at: rfc3339(revoked.since),
            by: Person::from(&revoked.by),
            reason: revoked.reason.to_string(),
            until: until(revoked.until),
        }
    }
}

impl GrantView {
    /// A grant as it stands at `now`.
    #[must_use]
    pub fn of(grant: &RunGrant, now: Timestamp) -> Self {
        let status = match &grant.revoked {
            Some(_) => GrantStatus::Revoked,
            None if now >= grant.not_after => GrantStatus::Ended,
            None if now < grant.not_before => GrantStatus::Upcoming,
            None => GrantStatus::Active,
        };
        let revoked = grant.revoked.as_ref().map(|revoked| RevocationView {
            at: rfc3339(revoked.at),
            by: Person::from(&revoked.by),
            reason: revoked.reason.to_string(),
            until: None,
        });
        Self {
            id: grant.id.to_string(),
            status,
            principal: Person::from(&grant.principal),
            approval: grant.approval.to_string(),
            rule: grant.rule.clone(),
            resources: grant.resources.clone(),
            operations: grant.operations.clone(),
            purpose: grant.purpose.clone(),
            not_before: rfc3339(grant.not_before),
            not_after: rfc3339(grant.not_after),
            break_glass: grant.break_glass,
            revoked,
        }
    }
}

/// An open session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// Its id, as in evidence.
    pub id: String,
    /// Who.
    pub principal: Person,
    /// The client's address.
    pub client_address: String,
    /// The `client.id` that the client gave.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// The listener.
    pub listener: String,
    /// The broker's node id, where the connection is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<i32>,
    /// The rule by which it is recorded, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<String>,
    /// When it authenticated last.
    pub since: String,
    /// When it has to authenticate anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The id (`jti`) of the token that it was opened with, where that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// The login (`sid`) that the token is part of, where it is part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

impl From<&LiveSession> for SessionView {
    fn from(session: &LiveSession) -> Self {
        Self {
            id: session.id.to_string(),
            principal: Person::from(&Actor::from(&*session.principal)),
            client_address: session.client_address.to_string(),
            client_id: session.client_id.to_string(),
            listener: session.listener.to_string(),
            broker: (session.broker >= 0).then_some(session.broker),
            recorded: session.recorded.as_ref().map(ToString::to_string),
            since: rfc3339(session.since),
            expires: session.expires.and_then(until),
            token_id: session.token_id.as_ref().map(ToString::to_string),
            login: session.login.as_ref().map(ToString::to_string),
        }
    }
}

/// That something was put on record.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Recorded {
    /// Always.
    pub recorded: bool,
}

/// That something was done, and its place in the control log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// The sequence number of the event in the control log.
    pub sequence: u64,
    /// What happened, as the control log names it, for instance `session_revoked`.
    pub event: String,
    /// What it does not do, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// What a reload did.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Whether everything was taken over.
    pub ok: bool,
    /// The version of the policy in force.
    pub policy_version: u64,
    /// What was refused, a sentence each.
    pub problems: Vec<String>,
}
