//! An entry as JSON: what `tidegate audit tail --output json` prints, one object a line.
//!
//! Enumerations and Kafka's error codes are names, times are RFC 3339 with microseconds in UTC.
//! What is empty is left out, except where its absence could be misread: `outcome`, `allowed` and
//! counts beside them always stand. Keys are the event's field names and stay as they are.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_core::event::{Event, FindingCount, Kind, Outcome, ResourceUse};

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

/// An entry as a JSON object.
#[must_use]
pub fn event_json(event: &Event, shard: u32, sequence: u64) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            _ => false,
        };
        if !empty {
            object.insert(key.to_owned(), value);
        }
    };
    let exchange = event.kind == Kind::Exchange as i32;
    let counted = |count: u64| if exchange || count > 0 { json!(count) } else { Value::Null };

    put("time", time_text(event.time_micros).into());
    put("shard", shard.into());
    put("sequence", sequence.into());
    put("kind", kind_name(event.kind).into());
    put("session", event.session.as_str().into());
    put("principal", event.principal.as_str().into());
    put("issuer", event.issuer.as_str().into());
    put("subject", event.subject.as_str().into());
    put("groups", json!(event.groups));
    put("client_address", event.client_address.as_str().into());
    put("client_id", event.client_id.as_str().into());
    put("api", event.api.as_str().into());
    put("api_version", if event.api.is_empty() { Value::Null } else { event.api_version.into() });
    put("outcome", outcome_name(event.outcome).into());
    put("resources", event.resources.iter().map(resource_json).collect());
    put("resources_cut", if event.resources_cut { true.into() } else { Value::Null });
    put("policy_version", if event.policy_version == 0 { Value::Null } else { event.policy_version.into() });
    put("findings", event.findings.iter().map(finding_json).collect());
    put("upstream_errors", event.upstream_errors.iter().map(|code| error_json(*code)).collect());
    put("latency_micros", counted(event.latency_micros));
    put("request_bytes", counted(event.request_bytes));
    put("response_bytes", counted(event.response_bytes));
    put("broker", if exchange { event.broker.into() } else { Value::Null });
    put("detail", event.detail.as_str().into());
    Value::Object(object)
}

fn resource_json(resource: &ResourceUse) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("kind", resource.kind.as_str().into());
    put("name", resource.name.as_str().into());
    if let Some(partition) = resource.partition {
        put("partition", partition.into());
    }
    put("operation", resource.operation.as_str().into());
    put("allowed", resource.allowed.into());
    for (key, text) in [("rule", &resource.rule), ("purpose", &resource.purpose)] {
        if !text.is_empty() {
            put(key, text.as_str().into());
        }
    }
    for (key, offset) in [("first_offset", resource.first_offset), ("last_offset", resource.last_offset)] {
        if let Some(offset) = offset {
            put(key, offset.into());
        }
    }
    if resource.records > 0 || resource.bytes > 0 {
        put("records", resource.records.into());
        put("bytes", resource.bytes.into());
    }
    Value::Object(object)
}

fn finding_json(finding: &FindingCount) -> Value {
    json!({ "topic": finding.topic, "class": finding.class, "operator": finding.operator, "count": finding.count })
}

fn error_json(code: i32) -> Value {
    match kafka_error_name(code) {
        Some(name) => name.into(),
        None => code.into(),
    }
}

#[cfg(test)]
mod tests {
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
            "findings": [{"topic": "orders", "class": "email", "operator": "redact", "count": 3}],
            "upstream_errors": ["TOPIC_AUTHORIZATION_FAILED", "UNKNOWN_SERVER_ERROR", 9999],
            "latency_micros": 0, "request_bytes": 0, "response_bytes": 0, "broker": 0,
        });
        assert_eq!(event_json(&event, 2, 41), expected);
    }

    #[test]
    fn what_is_no_exchange_says_only_what_it_has() {
        let event = Event { kind: Kind::Start as i32, time_micros: 0, detail: "0.1.0".into(), ..Event::default() };
        let expected = json!({"time": "1970-01-01T00:00:00.000000Z", "shard": 0, "sequence": 0, "kind": "start", "detail": "0.1.0"});
        assert_eq!(event_json(&event, 0, 0), expected);
    }

    #[test]
    fn names_of_everything() {
        let kinds: Vec<&str> = (0..=11).map(kind_name).collect();
        assert_eq!(kinds.iter().collect::<std::collections::BTreeSet<_>>().len(), 11, "all differ: {kinds:?}");
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
