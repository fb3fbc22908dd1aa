//! What the evidence says of the control log: an entry an event, and one a command that was refused.

use tidegate_core::event::{Event, Kind, Outcome, ResourceUse};
use tidegate_core::words::Timestamp;
use tidegate_policy::authority::{Actor, Applied, Change, ControlEvent, DecidedBy, Decision, Refusal};
use tidegate_policy::document::text::Moment;
use tidegate_policy::file::{NameRule, OperationRule, ResourceRule};

/// The entry of an event; `head` is the log's hash up to it.
pub(super) fn logged(sequence: u64, event: &ControlEvent, applied: Applied, head: &str, policy_version: u64) -> Event {
    let mut entry = entry(event.time, &event.actor, policy_version);
    let said = sentence(&event.change);
    let late = if applied == Applied::Late { "; it came too late and changes nothing" } else { "" };
    entry.detail = format!("{said}{late} (control log entry {sequence}, {head})");
    entry.approval = event.change.approval().map(ToString::to_string).unwrap_or_default();
    let denied = matches!(event.change, Change::Decided { decision: Decision::Deny, .. }) || applied == Applied::Late;
    entry.outcome = if denied { Outcome::Denied } else { Outcome::Allowed } as i32;
    match &event.change {
        Change::GrantRequested(request) => entry.resources = uses(&request.resources, &request.operations),
        Change::BreakGlassOpened(opened) => entry.resources = uses(&opened.resources, &opened.operations),
        Change::OperationHeld(held) => {
            entry.session.clone_from(&held.session);
            entry.api.clone_from(&held.api);
            let resource = |resource: &tidegate_policy::authority::HeldResource| ResourceUse {
                kind: resource.kind.clone(),
                name: resource.name.clone(),
                rule: held.rule.clone(),
                ..ResourceUse::default()
            };
            entry.resources = held.resources.iter().map(resource).collect();
        }
        Change::Used { session, .. } | Change::SessionRevoked { session, .. } => entry.session.clone_from(session),
        _ => {}
    }
    entry
}

/// The entry of a command that was refused.
pub(super) fn refused(
    now: Timestamp,
    actor: &Actor,
    wanted: &str,
    approval: Option<String>,
    refusal: &Refusal,
    policy_version: u64,
) -> Event {
    let mut entry = entry(now, actor, policy_version);
    entry.outcome = Outcome::Denied as i32;
    entry.approval = approval.unwrap_or_default();
    entry.detail = format!("{wanted} refused ({}): {}", refusal.kind.name(), refusal.sentence);
    entry
}

/// The entry of something about the log itself.
pub(super) fn of_the_log(time: Timestamp, outcome: Outcome, detail: String, policy_version: u64) -> Event {
    Event { outcome: outcome as i32, detail, ..entry(time, &Actor::gateway(), policy_version) }
}

fn entry(time: Timestamp, actor: &Actor, policy_version: u64) -> Event {
    Event {
        time_micros: time.0,
        kind: Kind::Control as i32,
        principal: actor.name.to_string(),
        issuer: actor.issuer.to_string(),
        subject: actor.subject.to_string(),
        groups: actor.groups.iter().map(ToString::to_string).collect(),
        policy_version,
        broker: -1,
        ..Event::default()
    }
}

/// What happened, for people.
fn sentence(change: &Change) -> String {
    match change {
        Change::GrantRequested(request) if request.extends => {
            format!("asked for {} to last longer under {}: {}", request.grant, request.rule, request.reason)
        }
        Change::GrantRequested(request) => {
            format!("asked for {} under {} for {}: {}", request.grant, request.rule, request.purpose, request.reason)
        }
        Change::OperationHeld(held) => format!("{} waits under {}: {}", held.api, held.rule, held.summary),
        Change::Decided { decision, reason, by, .. } => {
            let decided = match decision {
                Decision::Approve => "approved",
                Decision::Deny => "denied",
            };
            match by {
                DecidedBy::Person => format!("{decided}: {reason}"),
                DecidedBy::Automatic { rule } => format!("{decided} by the automated approver of {rule}: {reason}"),
            }
        }
        Change::Used { .. } => "used: the operation passes".to_owned(),
        Change::GrantRevoked { grant, reason } => format!("revoked grant {grant}: {reason}"),
        Change::SessionRevoked { session, reason } => format!("revoked session {session}: {reason}"),
        Change::TokenRevoked { token_id, reason, .. } => format!("revoked token {token_id}: {reason}"),
        Change::PrincipalRevoked { issuer, name, until, reason } => {
            let at = issuer.as_ref().map(|issuer| format!(" of {issuer}")).unwrap_or_default();
            let until = until.map(|until| format!(" until {}", Moment(until))).unwrap_or_default();
            format!("revoked principal {name}{at}{until}: {reason}")
        }
        Change::PrincipalRestored { name, reason, .. } => format!("restored principal {name}: {reason}"),
        Change::BreakGlassOpened(opened) => {
            let (until, review) = (Moment(opened.not_after), Moment(opened.review_by));
            format!(
                "opened {} in an emergency under {} until {until}, to be reviewed by {review}: {}",
                opened.grant, opened.rule, opened.reason
            )
        }
        Change::BreakGlassReviewed { reason, .. } => format!("reviewed: {reason}"),
        Change::KeyPublished(key) => {
            format!("published key {} ({}), in use from {}", key.kid, key.algorithm, Moment(key.not_before))
        }
        Change::KeyRetired { kid } => format!("retired key {kid}"),
    }
}

fn uses(resources: &[ResourceRule], operations: &[OperationRule]) -> Vec<ResourceUse> {
    let operation = operations
        .iter()
        .map(|operation| match operation {
            OperationRule::One(operation) => operation.name(),
            OperationRule::All(_) => "all",
        })
        .collect::<Vec<_>>()
        .join(",");
    let named = |kind: &str, rule: &NameRule| {
        let name = match rule {
            NameRule::Literal(name) => name.clone(),
            NameRule::Prefixed(rule) => format!("{}*", rule.prefix),
        };
        ResourceUse {
            kind: kind.to_owned(),
            name,
            operation: operation.clone(),
            allowed: true,
            ..ResourceUse::default()
        }
    };
    let of = |resource: &ResourceRule| {
        let names = [
            ("topic", &resource.topic),
            ("group", &resource.group),
            ("transactional_id", &resource.transactional_id),
            ("delegation_token", &resource.delegation_token),
            ("user", &resource.user),
        ];
        let mut uses: Vec<ResourceUse> =
            names.into_iter().filter_map(|(kind, name)| Some(named(kind, name.as_ref()?))).collect();
        if resource.cluster == Some(true) {
            uses.push(named("cluster", &NameRule::Literal("kafka-cluster".to_owned())));
        }
        uses
    };
    resources.iter().flat_map(of).collect()
}
