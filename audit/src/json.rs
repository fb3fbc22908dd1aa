//! An entry as JSON: what `tidegate audit tail --output json` prints, one object a line.
//!
//! Enumerations and Kafka's error codes are names, times are RFC 3339 with microseconds in UTC.
//! What is empty is left out, except where its absence could be misread: an exchange always has its
//! sizes, latency and broker, a resource always says whether it was allowed. Keys are the event's field names and stay as they are.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tidegate_core::event::{Event, FindingCount, Kind, Outcome, RecordingAct, RecordingNote, ResourceUse};

mod kafka_errors;
pub use kafka_errors::kafka_error_name;

/// The name of an entry's kind, for instance `session_start`; `unknown` for one of a newer Tidegate.
#[must_use]
pub fn kind_name(kind: i32) -> &'static str {
    match Kind::try_from(kind) {
        Ok(Kind::Unspecified) | Err(_) => "unknown",
        Ok(Kind::Exchange) => "exchange",
        Ok(Kind::SessionStart) => "session_start",
        Ok(Kind::SessionEnd) => "session_end",
        Ok(Kind::AuthenticationFailure) => "authentication_failure",
        Ok(Kind::ConnectionRefused) => "connection_refused",
        Ok(Kind::Start) => "start",
        Ok(Kind::Stop) => "stop",
        Ok(Kind::PolicyLoaded) => "policy_loaded",
        Ok(Kind::PolicyRefused) => "policy_refused",
        Ok(Kind::Gap) => "gap",
        Ok(Kind::Reconfigured) => "reconfigured",
        Ok(Kind::Control) => "control",
        Ok(Kind::TokenIssued) => "token_issued",
        Ok(Kind::TokenRefused) => "token_refused",
        Ok(Kind::TokenRevoked) => "token_revoked",
        Ok(Kind::DeviceAgreed) => "device_agreed",
        Ok(Kind::AdminCall) => "admin_call",
        Ok(Kind::EvidenceKey) => "evidence_key",
        Ok(Kind::SubjectIndex) => "subject_index",
        Ok(Kind::Retention) => "retention",
        Ok(Kind::Recording) => "recording",
    }
}

/// The name of an outcome, for instance `partly_denied`; empty where none applies, `unknown` for one
/// of a newer Tidegate.
#[must_use]
pub fn outcome_name(outcome: i32) -> &'static str {
    match Outcome::try_from(outcome) {
        Ok(Outcome::Unspecified) => "",
        Ok(Outcome::Allowed) => "allowed",
        Ok(Outcome::Denied) => "denied",
        Ok(Outcome::PartlyDenied) => "partly_denied",
        Ok(Outcome::Malformed) => "malformed",
        Ok(Outcome::UpstreamFailed) => "upstream_failed",
        Err(_) => "unknown",
    }
}

/// The outcome that a name means, for filters.
#[must_use]
pub fn outcome_from_name(name: &str) -> Option<Outcome> {
    [Outcome::Allowed, Outcome::Denied, Outcome::PartlyDenied, Outcome::Malformed, Outcome::UpstreamFailed]
        .into_iter()
        .find(|outcome| outcome_name(*outcome as i32) == name)
}

/// A time as RFC 3339 with microseconds, in UTC; the bare number where it is out of the calendar's range.
#[must_use]
pub fn time_text(time_micros: i64) -> String {
    match Timestamp::from_microsecond(time_micros) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => time_micros.to_string(),
    }
}

/// An entry as one line of JSON, without a line end: first when and where, then who, then what.
#[must_use]
pub fn event_json_line(event: &Event, shard: u32, sequence: u64) -> String {
    // Nothing in a view can fail to be JSON: no maps, no numbers but integers.
    serde_json::to_string(&View::new(event, shard, sequence)).unwrap_or_default()
}

/// An entry as a JSON object.
#[must_use]
pub fn event_json(event: &Event, shard: u32, sequence: u64) -> Value {
    serde_json::to_value(View::new(event, shard, sequence)).unwrap_or_default()
}

/// The object's fields, in the order in which they are written.
#[derive(Serialize)]
struct View<'a> {
    time: String,
    shard: u32,
    sequence: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    outcome: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    principal: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    issuer: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    session: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_address: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_version: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<ResourceView<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    resources_cut: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<FindingView<'a>>,
    /// How many; the tags themselves say nothing to anybody without the key.
    #[serde(skip_serializing_if = "is_zero")]
    subject_tags: u64,
    #[serde(skip_serializing_if = "is_zero")]
    subject_tags_cut: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstream_errors: Vec<ErrorView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_micros: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<RecordingView<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    approval: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

#[derive(Serialize)]
struct ResourceView<'a> {
    kind: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    operation: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    purpose: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct FindingView<'a> {
    topic: &'a str,
    class: &'a str,
    operator: &'a str,
    count: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    field: &'a str,
}

/// A note on a recording.
#[derive(Serialize)]
struct RecordingView<'a> {
    act: &'static str,
    part: u32,
    chunk: u32,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    bytes: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    sha256: String,
    #[serde(skip_serializing_if = "is_zero")]
    exchanges: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mode: &'a str,
}

impl<'a> RecordingView<'a> {
    fn new(note: &'a RecordingNote) -> Self {
        Self {
            act: RecordingAct::try_from(note.act).map_or("unknown", RecordingAct::name),
            part: note.part,
            chunk: note.chunk,
            offset: note.offset,
            bytes: note.bytes,
            sha256: note.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            exchanges: note.exchanges,
            rule: &note.rule,
            mode: &note.mode,
        }
    }
}

/// A Kafka error by name, or by number where this Tidegate does not know the name.
#[derive(Serialize)]
#[serde(untagged)]
enum ErrorView {
    Name(&'static str),
    Code(i32),
}

impl<'a> View<'a> {
    fn new(event: &'a Event, shard: u32, sequence: u64) -> Self {
        let exchange = event.kind == Kind::Exchange as i32;
        let counted = |count: u64| (exchange || count > 0).then_some(count);
        Self {
            time: time_text(event.time_micros),
            shard,
            sequence,
            kind: kind_name(event.kind),
            outcome: outcome_name(event.outcome),
            principal: &event.principal,
            issuer: &event.issuer,
            subject: &event.subject,
            groups: &event.groups,
            session: &event.session,
            client_address: &event.client_address,
            client_id: &event.client_id,
            api: &event.api,
            api_version: (!event.api.is_empty()).then_some(event.api_version),
            policy_version: (event.policy_version > 0).then_some(event.policy_version),
            resources: event.resources.iter().map(ResourceView::new).collect(),
            resources_cut: event.resources_cut,
            findings: event.findings.iter().map(FindingView::new).collect(),
            subject_tags: event.subjects.iter().map(|group| group.iter().count() as u64).sum(),
            subject_tags_cut: event.subjects_cut,
            upstream_errors: event.upstream_errors.iter().map(|code| ErrorView::new(*code)).collect(),
            broker: exchange.then_some(event.broker),
            request_bytes: counted(event.request_bytes),
            response_bytes: counted(event.response_bytes),
            latency_micros: counted(event.latency_micros),
            recording: event.recording.as_deref().map(RecordingView::new),
            approval: &event.approval,
            detail: &event.detail,
        }
    }
}

impl<'a> ResourceView<'a> {
    fn new(resource: &'a ResourceUse) -> Self {
        let carried = resource.records > 0 || resource.bytes > 0;
        Self {
            kind: &resource.kind,
            name: &resource.name,
            partition: resource.partition,
            operation: &resource.operation,
            allowed: resource.allowed,
            rule: &resource.rule,
            purpose: &resource.purpose,
            first_offset: resource.first_offset,
            last_offset: resource.last_offset,
            records: carried.then_some(resource.records),
            bytes: carried.then_some(resource.bytes),
        }
    }
}

impl<'a> FindingView<'a> {
    fn new(finding: &'a FindingCount) -> Self {
        Self {
            topic: &finding.topic,
            class: &finding.class,
            operator: &finding.operator,
            count: finding.count,
            rule: &finding.rule,
            field: &finding.field,
        }
    }
}

impl ErrorView {
    fn new(code: i32) -> Self {
        kafka_error_name(code).map_or(Self::Code(code), Self::Name)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_exchange() {
        let event = Event {
            time_micros: 1_700_000_000_123_456,
            kind: Kind::Exchange as i32,
            session: "018c".into(),
            principal: "anna".into(),
            groups: vec!["analysts".into()],
            client_address: "10.0.0.7:5000".into(),
            api: "Fetch".into(),
            api_version: 0,
            outcome: Outcome::PartlyDenied as i32,
            resources: vec![
                ResourceUse {
                    kind: "topic".into(),
                    name: "orders".into(),
                    partition: Some(0),
                    operation: "Read".into(),
                    allowed: true,
                    rule: "analysts-read".into(),
                    purpose: "billing".into(),
                    first_offset: Some(0),
                    last_offset: Some(9),
                    records: 10,
                    bytes: 2000,
                },
                ResourceUse { kind: "topic".into(), name: "hr".into(), operation: "Read".into(), ..Default::default() },
            ],
            resources_cut: true,
            policy_version: 3,
            findings: vec![FindingCount {
                class: "email".into(),
                operator: "redact".into(),
                count: 3,
                topic: "orders".into(),
                rule: "contacts".into(),
                field: "$.mail".into(),
            }],
            upstream_errors: vec![29, -1, 9999],
            ..Event::default()
        };
        let expected = json!({
            "time": "2023-11-14T22:13:20.123456Z", "shard": 2, "sequence": 41, "kind": "exchange", "session": "018c",
            "principal": "anna", "groups": ["analysts"], "client_address": "10.0.0.7:5000", "api": "Fetch",
            "api_version": 0, "outcome": "partly_denied",
            "resources": [
                {"kind": "topic", "name": "orders", "partition": 0, "operation": "Read", "allowed": true,
                 "rule": "analysts-read", "purpose": "billing", "first_offset": 0, "last_offset": 9, "records": 10,
                 "bytes": 2000},
                {"kind": "topic", "name": "hr", "operation": "Read", "allowed": false},
            ],
            "resources_cut": true, "policy_version": 3,
            "findings": [{"topic": "orders", "class": "email", "operator": "redact", "count": 3,
                "rule": "contacts", "field": "$.mail"}],
            "upstream_errors": ["TOPIC_AUTHORIZATION_FAILED", "UNKNOWN_SERVER_ERROR", 9999],
            "latency_micros": 0, "request_bytes": 0, "response_bytes": 0, "broker": 0,
        });
        assert_eq!(event_json(&event, 2, 41), expected);
        let line = event_json_line(&event, 2, 41);
        assert!(
            line.starts_with(r#"{"time":"2023-11-14T22:13:20.123456Z","shard":2,"sequence":41,"kind":"exchange""#),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
    }

    #[test]
    fn what_is_no_exchange_says_only_what_it_has() {
        let event = Event { kind: Kind::Start as i32, time_micros: 0, detail: "0.1.0".into(), ..Event::default() };
        let expected = json!({"time": "1970-01-01T00:00:00.000000Z", "shard": 0, "sequence": 0, "kind": "start", "detail": "0.1.0"});
        assert_eq!(event_json(&event, 0, 0), expected);
    }

    #[test]
    fn names_of_everything() {
        let kinds: Vec<&str> = (1..100).filter(|kind| Kind::try_from(*kind).is_ok()).map(kind_name).collect();
        assert!(kinds.len() >= 16 && !kinds.contains(&"unknown"), "{kinds:?}");
        assert_eq!(kinds.iter().collect::<std::collections::BTreeSet<_>>().len(), kinds.len(), "all differ: {kinds:?}");
        for outcome in 1..=5 {
            assert_eq!(outcome_from_name(outcome_name(outcome)).map(|outcome| outcome as i32), Some(outcome));
        }
        assert_eq!(
            (outcome_name(0), outcome_name(99), outcome_from_name("unknown"), outcome_from_name("")),
            ("", "unknown", None, None)
        );
        assert_eq!(time_text(i64::MAX), i64::MAX.to_string());
    }
}
