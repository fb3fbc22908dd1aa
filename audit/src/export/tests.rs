//! What is exported: complete, in order, at least once; and valid by the schema's own lists.

use std::sync::Arc;

use tidegate_core::event::{FindingCount, Kind, Outcome, ResourceUse};
use tidegate_core::words::Timestamp;

use super::*;
use crate::log::{LogOptions, ShardLog};
use crate::note::Signer;

/// Of the published schema what events are checked against; see `extract.py` beside it.
const SCHEMA: &str = include_str!("../../tests/ocsf/ocsf-1.8.0.json");

fn check(value: &Value) {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let class = value["class_uid"].as_u64().unwrap();
    let mut problems = Vec::new();
    check_part(&schema, &schema["classes"][class.to_string()], value, "event", &mut problems);
    assert_eq!(problems, Vec::<String>::new(), "{value}");
    assert_eq!(value["category_uid"].as_u64(), Some(class / 1000));
    assert_eq!(value["type_uid"].as_u64(), Some(class * 100 + value["activity_id"].as_u64().unwrap()));
    assert_eq!((&value["metadata"]["version"], &schema["version"]), (&json!(OCSF_VERSION), &json!(OCSF_VERSION)));
    let profiles = value["metadata"]["profiles"].as_array().unwrap();
    assert!(profiles.iter().all(|profile| schema["profiles"].as_array().unwrap().contains(profile)));
}

/// Compares an event or object with its part of the schema: names, what is required, types, values of enumerations.
fn check_part(schema: &Value, part: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    let (Some(attributes), Some(fields)) = (part["attributes"].as_object(), value.as_object()) else {
        return problems.push(format!("{at}: no object, or none that the schema's extract has"));
    };
    for (name, attribute) in attributes {
        if attribute["required"] == true && value[name].is_null() {
            problems.push(format!("{at}: {name} is required"));
        }
    }
    if let Some(names) = part["at_least_one"].as_array()
        && names.iter().all(|name| value[name.as_str().unwrap()].is_null())
    {
        problems.push(format!("{at}: one of {names:?} is required"));
    }
    for (name, field) in fields {
        let (at, attribute) = (format!("{at}.{name}"), &attributes.get(name).cloned().unwrap_or_default());
        let values = if attribute["list"] == true { field.as_array() } else { None };
        if attribute.is_null() || attribute["list"] == true && values.is_none() {
            problems.push(format!("{at}: not in the schema, or not a list"));
            continue;
        }
        for one in values.map_or(std::slice::from_ref(field), Vec::as_slice) {
            check_value(schema, attribute, one, &at, problems);
        }
    }
}

fn check_value(schema: &Value, attribute: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    if let Some(object) = attribute["object"].as_str() {
        // Of `unmapped` the schema says nothing more.
        return if object != "object" {
            check_part(schema, &schema["objects"][object], value, at, problems)
        };
    }
    let fits = match attribute["type"].as_str().unwrap() {
        "string" => value.as_str().is_some_and(|text| !text.is_empty()),
        "integer" | "long" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "json" => true,
        other => panic!("{at}: {other}"),
    };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let known = attribute["enum"].as_array().is_none_or(|all| all.contains(&Value::String(text)));
    if !fits || !known {
        problems.push(format!("{at}: {value} is none of {attribute}"));
    }
}

fn exchange(api: &str) -> Event {
    Event {
        time_micros: 1_700_000_000_123_456,
        kind: Kind::Exchange as i32,
        api: api.into(),
        principal: "anna".into(),
        subject: "a-1".into(),
        issuer: "https://id".into(),
        groups: vec!["staff".into()],
        session: "018c".into(),
        client_address: "10.0.0.7:5000".into(),
        outcome: Outcome::PartlyDenied as i32,
        resources: vec![ResourceUse { kind: "topic".into(), name: "orders".into(), ..Default::default() }],
        findings: vec![FindingCount {
            class: "email".into(),
            count: 3,
            operator: "redact".into(),
            ..Default::default()
        }],
        ..Event::default()
    }
}

#[test]
fn every_kind_is_valid_by_the_schema() {
    let apis = ["Fetch", "Produce", "CreateTopics", "DeleteRecords", "AlterConfigs", "Metadata", "Heartbeat"];
    let mut events: Vec<Event> = apis.iter().map(|api| exchange(api)).collect();
    events.extend((1..100).filter(|kind| Kind::try_from(*kind).is_ok()).flat_map(|kind| {
        let bare = Event { kind, ..Event::default() };
        [bare.clone(), Event { kind, detail: "why".into(), ..exchange("") }]
    }));
    for event in &events {
        check(&ocsf(&Entry { shard: 1, sequence: 7, event: event.clone() }, "gw"));
    }
    // The check itself sees what is missing, misnamed, mistyped or made up.
    let good = ocsf(&Entry { shard: 1, sequence: 7, event: exchange("Fetch") }, "gw");
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for (pointer, wrong) in [
        ("/actor", Value::Null),
        ("/table/name", Value::Null),
        ("/activity_id", json!(77)),
        ("/time", json!("now")),
        ("/src_endpoint", json!({"address": "10.0.0.7"})),
        ("/metadata/data_classifications", json!({})),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = wrong;
        let mut problems = Vec::new();
        check_part(&schema, &schema["classes"]["6005"], &bad, "event", &mut problems);
        assert!(!problems.is_empty(), "{pointer}");
    }
    let read = ocsf(&Entry { shard: 1, sequence: 7, event: exchange("Fetch") }, "gw");
    assert_eq!((&read["class_uid"], &read["activity_name"]), (&json!(6005), &json!("Read")));
    assert_eq!(read["time"], json!(1_700_000_000_123_u64));
    assert_eq!((&read["status"], &read["action_id"]), (&json!("Failure"), &json!(2)));
    assert_eq!(
        read["actor"]["user"],
        json!({"name": "anna", "uid": "a-1", "type_id": 0, "domain": "https://id", "groups": [{"name": "staff"}]})
    );
    let found = &read["metadata"]["data_classifications"][0]["discovery_details"][0];
    assert_eq!(*found, json!({"type": "email", "count": 3, "value": "redact"}));
    assert_eq!(read["actor"]["session"], json!({"uid": "018c"}));
    assert_eq!(read["src_endpoint"], json!({"ip": "10.0.0.7", "port": 5000}));
    assert_eq!(read["unmapped"]["session"], "018c", "nothing is lost by mapping");
}

#[test]
fn cloud_events_have_what_the_specification_requires() {
    let event = cloud_event(&Entry { shard: 1, sequence: 7, event: exchange("Fetch") }, "gw");
    for name in ["specversion", "id", "source", "type"] {
        assert!(event[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {event}");
    }
    assert_eq!((&event["type"], &event["source"]), (&json!("tidegate.evidence.exchange"), &json!("//gw/shard-001")));
    assert_eq!((&event["time"], &event["data"]["principal"]), (&json!("2023-11-14T22:13:20.123456Z"), &json!("anna")));
}

fn open(root: &Path, shard: u32) -> ShardLog {
    let options = LogOptions {
        segment_bytes: 14 * 1024,
        entry_bytes_max: crate::entry::ENTRY_BYTES_MIN as u32,
        signer: Some(Arc::new(Signer::from_seed("gw", &[1; 32]).unwrap())),
        ..LogOptions::default()
    };
    ShardLog::open(root, shard, "gw", options, Timestamp(0)).unwrap().0
}

fn append(log: &mut ShardLog, entries: u64) {
    for _ in 0..entries {
        log.append(&Event { detail: "x".repeat(700), ..exchange("Fetch") });
        log.commit().unwrap();
    }
}

/// Reads everything new, in portions, with the cursor stored and loaded between, and one portion twice, as after a
/// crash before the cursor was stored.
fn export(root: &Path, file: &Path) -> Vec<(u32, u64)> {
    let mut seen = Vec::new();
    loop {
        let mut source = Source::new(root, Cursor::load(file).unwrap());
        let first = source.read(7).unwrap();
        let again = Source::new(root, Cursor::load(file).unwrap()).read(7).unwrap();
        assert_eq!(first, again, "what was not acknowledged comes again");
        if first.is_empty() {
            return seen;
        }
        seen.extend(first.iter().map(|entry| (entry.shard, entry.sequence)));
        source.cursor().store(file).unwrap();
    }
}

#[test]
fn everything_is_read_once_acknowledged_and_in_order() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("cursor");
    let (mut zero, mut one) = (open(root.path(), 0), open(root.path(), 1));
    append(&mut zero, 40);
    append(&mut one, 3);
    let expected: Vec<(u32, u64)> = (0..40).map(|n| (0, n)).chain((0..3).map(|n| (1, n))).collect();
    assert_eq!(export(root.path(), &file), expected);
    // While the gateway goes on, with one reader, through the ends of segments.
    let mut source = Source::new(root.path(), Cursor::load(&file).unwrap());
    for n in 40..70 {
        append(&mut zero, 1);
        let new: Vec<u64> = source.read(100).unwrap().iter().map(|entry| entry.sequence).collect();
        assert_eq!(new, [n]);
    }
    assert_eq!((source.origin(), source.cursor().of(0), source.cursor().of(1)), ("gw", 70, 3));
    source.cursor().store(&file).unwrap();
    assert_eq!(export(root.path(), &file), []);
    fs::write(&file, "nonsense").unwrap();
    assert!(matches!(Cursor::load(&file), Err(ExportError::Cursor { .. })));
}

#[test]
fn damage_stops_an_export_and_removed_segments_do_not() {
    let root = tempfile::tempdir().unwrap();
    let mut log = open(root.path(), 0);
    append(&mut log, 60);
    drop(log);
    let directory = crate::directory::shard_directory(root.path(), 0);
    let firsts = segments(&directory).unwrap();
    let second = segment_path(&directory, firsts[1]);
    let whole = fs::read(&second).unwrap();
    let mut bytes = whole.clone();
    bytes[4096 + 40] ^= 1;
    fs::write(&second, bytes).unwrap();
    let mut source = Source::new(root.path(), Cursor::default());
    let error = source.read(1000).unwrap_err();
    assert!(matches!(&error, ExportError::Damaged { sequence, .. } if *sequence == firsts[1]), "{error}");
    fs::write(&second, whole).unwrap();
    fs::remove_file(segment_path(&directory, firsts[0])).unwrap();
    let read = Source::new(root.path(), Cursor::default()).read(1000).unwrap();
    assert_eq!((read[0].sequence, read.len() as u64), (firsts[1], 60 - firsts[1]));
}
