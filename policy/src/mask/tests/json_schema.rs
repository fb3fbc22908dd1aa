//! JSON in the registry's framing: what its schema tags is masked where it stands.

use super::super::schema::Schema;
use super::avro::{Registry, by_schema};
use super::fields::target;
use super::*;

const SCHEMA: &str = r##"{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {
    "name": {"type": "string", "confluent:tags": ["PII"]},
    "note": {"type": "string"},
    "orders": {"type": "array", "items": {"$ref": "#/definitions/Order"}}},
  "definitions": {"Order": {"type": "object", "properties": {
    "phone": {"type": "string", "confluent:tags": ["PII", "CONTACT"]}, "total": {"type": "number"}}}}}"##;

fn tag(tag: &str, operator: Operator) -> MaskEntry {
    by_schema(target(Selector::Tag(tag.into())), operator)
}

#[track_caller]
fn masked(schema: &str, entries: Vec<MaskEntry>, payload: &str) -> Result<String, String> {
    let registry = Registry(Arc::new(Schema::compile(Some("JSON"), schema, &[]).unwrap()));
    let plan = MaskPlan::new(entries);
    let sent = [&[0, 0, 0, 0, 7][..], payload.as_bytes()].concat();
    let mut pass = plan.begin().with_schemas(&registry);
    let became = pass.value(&sent)?.unwrap_or(sent);
    // Places count from the beginning of the record.
    assert!(pass.places().all(|(span, _)| span.start >= 5));
    Ok(String::from_utf8(became[5..].to_vec()).unwrap())
}

#[test]
fn tags_of_a_schema_are_paths() {
    let payload = r#"{"name": "Jane", "note": "to a@b.cc", "orders": [{"phone": "1", "total": 1.50}]}"#;
    let entries = vec![tag("PII", Operator::Redact), by_schema(Target::Class(Email), Operator::Redact)];
    assert_eq!(
        masked(SCHEMA, entries, payload).unwrap(),
        r#"{"name": "[field]", "note": "to [email]", "orders": [{"phone": "[field]", "total": 1.50}]}"#
    );
    assert_eq!(
        masked(SCHEMA, vec![tag("CONTACT", Operator::Nullify)], payload).unwrap(),
        r#"{"name": "Jane", "note": "to a@b.cc", "orders": [{"phone": null, "total": 1.50}]}"#
    );
    assert_eq!(masked(SCHEMA, vec![tag("OTHER", Operator::Redact)], payload).unwrap(), payload);
}

#[test]
fn where_tags_cannot_be_told_nothing_passes() {
    let schema = r#"{"properties": {"a": {"$ref": "gone.json"}}}"#;
    let error = masked(schema, vec![tag("PII", Operator::Redact)], "{}").unwrap_err();
    assert!(error.contains("gone.json"), "{error}");
    // Rules of other kinds need no tags.
    assert!(masked(schema, vec![by_schema(Target::Class(Email), Operator::Redact)], "{}").is_ok());
    assert!(masked(SCHEMA, vec![tag("PII", Operator::Redact)], "{\"name\": ").is_err());
}
