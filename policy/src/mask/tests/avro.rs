//! Records of Avro in the registry's framing: masked here, encoded and decoded by a reference that shares
//! no code with the walker.

use proptest::prelude::*;

use super::super::schema::{Lookup, Schema, SchemaId, Schemas};
use super::fields::target;
use super::*;

mod reference;

use reference::{Reference, Value};

/// A registry with one schema, of id 7 and a GUID.
#[derive(Debug)]
pub(super) struct Registry(pub(super) Arc<Schema>);

pub(super) const GUID: u128 = 0x89791762_2336_4186_9674_299b90a802e2;

impl Schemas for Registry {
    fn find(&self, id: SchemaId) -> Lookup {
        match id {
            SchemaId::Number(7) | SchemaId::Guid(GUID) => Lookup::Known(self.0.clone()),
            SchemaId::Number(8) => Lookup::Pending,
            _ => Lookup::Unusable("it is not there".into()),
        }
    }
}

const CUSTOMER: &str = r#"{"type": "record", "name": "Customer", "namespace": "shop", "fields": [
    {"name": "id", "type": "long"},
    {"name": "email", "type": ["null", "string"], "confluent:tags": ["PII"]},
    {"name": "note", "type": "string"},
    {"name": "born", "type": {"type": "int", "logicalType": "date"}},
    {"name": "seen", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "score", "type": "double"},
    {"name": "ratio", "type": "float"},
    {"name": "active", "type": "boolean"},
    {"name": "level", "type": {"type": "enum", "name": "Level", "symbols": ["LOW", "HIGH", "SECRET"], "default": "HIGH"}},
    {"name": "digest", "type": {"type": "fixed", "name": "Digest", "size": 4}},
    {"name": "blob", "type": "bytes"},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    {"name": "phones", "type": {"type": "array", "items": "string"}},
    {"name": "labels", "type": {"type": "map", "values": "string"}},
    {"name": "address", "type": ["null", {"type": "record", "name": "Address", "fields": [
        {"name": "street", "type": "string"}, {"name": "zip", "type": "int"}]}]},
    {"name": "next", "type": ["null", "Customer"]}
]}"#;

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn some(value: Value) -> Value {
    Value::Union(1, Box::new(value))
}

fn none() -> Value {
    Value::Union(0, Box::new(Value::Null))
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A customer; what is given takes the place of what stands there.
fn customer(given: &[(&str, Value)]) -> Value {
    let mut fields = vec![
        ("id", Value::Long(4_111_111_111_111_111)),
        ("email", some(text("jane.doe@example.com"))),
        ("note", text("nothing")),
        // 1980-05-17
        ("born", Value::Date(3789)),
        ("seen", Value::TimestampMillis(1_767_268_800_000)),
        ("score", Value::Double(0.5)),
        ("ratio", Value::Float(0.25)),
        ("active", Value::Boolean(true)),
        ("level", Value::Enum(2, "SECRET".to_owned())),
        ("digest", Value::Fixed(4, vec![1, 2, 3, 4])),
        ("blob", Value::Bytes(vec![0xff, 0, 1])),
        ("price", Value::Decimal(vec![1, 2])),
        ("phones", Value::Array(vec![text("+49 30 123456"), text("none")])),
        ("labels", Value::Map([("a".to_owned(), text("b"))].into())),
        ("address", some(record(vec![("street", text("Main Street 1")), ("zip", Value::Int(10115))]))),
        ("next", none()),
    ];
    for (name, value) in given {
        if let Some(field) = fields.iter_mut().find(|(known, _)| known == name) {
            field.1 = value.clone();
        }
    }
    record(fields)
}

fn framed(schema: &str, value: Value) -> Vec<u8> {
    [&[0, 0, 0, 0, 7][..], &Reference::new(schema).encode(&value)].concat()
}

fn decoded(schema: &str, framed: &[u8]) -> Value {
    Reference::new(schema).decode(&framed[5..])
}

fn registry(schema: &str) -> Registry {
    Registry(Arc::new(Schema::compile(None, schema, &[]).unwrap()))
}

pub(super) fn by_schema(target: Target, operator: Operator) -> MaskEntry {
    MaskEntry { framed: true, ..MaskEntry::new(target, operator, "r") }
}

fn path(path: &str) -> Target {
    target(Selector::Path(Path::parse(path).unwrap()))
}

/// Masks a customer and says what became of it.
#[track_caller]
fn masked(given: &[(&str, Value)], entries: Vec<MaskEntry>) -> (Value, Vec<(String, u64)>) {
    let plan = MaskPlan::new(entries);
    let registry = registry(CUSTOMER);
    let mut pass = plan.begin().with_schemas(&registry);
    let sent = framed(CUSTOMER, customer(given));
    let became = pass.value(&sent).unwrap().unwrap_or_else(|| sent.clone());
    let counts = pass.counts().map(|(entry, count)| (entry.class_name().to_owned(), count)).collect();
    (decoded(CUSTOMER, &became), counts)
}

#[track_caller]
fn check_field(target: Target, operator: Operator, given: &[(&str, Value)], expected: &[(&str, Value)]) {
    let (became, counts) = masked(given, vec![by_schema(target, operator)]);
    assert_eq!(became, customer(&[given, expected].concat()));
    assert!(counts.iter().all(|(_, count)| *count > 0));
}

#[test]
fn a_masked_field_keeps_its_type() {
    use Operator::{Generalise, KeepLast, Nullify, Redact};
    let of_class = |path: &str, class| {
        let Target::Field(field) = self::path(path) else { unreachable!() };
        Target::Field(Arc::new(Field { class: Some(FieldClass::Known(class)), ..(*field).clone() }))
    };
    check_field(path("$.email"), Redact, &[], &[("email", some(text("[field]")))]);
    check_field(path("$.email"), Nullify, &[], &[("email", none())]);
    check_field(path("$.email"), KeepLast(3), &[], &[("email", some(text("****.***@*******.com")))]);
    check_field(path("$.note"), Nullify, &[], &[("note", text(""))]);
    check_field(path("$.id"), Redact, &[], &[("id", Value::Long(0))]);
    check_field(path("$.id"), KeepLast(4), &[], &[("id", Value::Long(1_000_000_000_001_111))]);
    check_field(path("$.born"), Redact, &[], &[("born", Value::Date(0))]);
    check_field(of_class("$.born", DataClass::DateOfBirth), Generalise, &[], &[("born", Value::Date(3652))]);
    check_field(
        of_class("$.born", DataClass::DateOfBirth),
        Generalise,
        &[("born", Value::Date(-1))],
        &[("born", Value::Date(-365))],
    );
    check_field(
        of_class("$.seen", DataClass::DateOfBirth),
        Generalise,
        &[],
        &[("seen", Value::TimestampMillis(1_767_225_600_000))],
    );
    check_field(path("$.score"), Redact, &[], &[("score", Value::Double(0.0))]);
    check_field(path("$.score"), replace("1.5"), &[], &[("score", Value::Double(1.5))]);
    check_field(path("$.ratio"), Redact, &[], &[("ratio", Value::Float(0.0))]);
    check_field(path("$.active"), Redact, &[], &[("active", Value::Boolean(false))]);
    check_field(path("$.level"), Redact, &[], &[("level", Value::Enum(1, "HIGH".to_owned()))]);
    check_field(path("$.level"), replace("LOW"), &[], &[("level", Value::Enum(0, "LOW".to_owned()))]);
    check_field(path("$.digest"), Redact, &[], &[("digest", Value::Fixed(4, b"****".to_vec()))]);
    check_field(path("$.blob"), Redact, &[], &[("blob", Value::Bytes(b"[field]".to_vec()))]);
    check_field(path("$.price"), Redact, &[], &[("price", Value::Decimal(vec![0]))]);
}

#[test]
fn paths_names_and_tags_lead_to_fields() {
    let redact = || Operator::Redact;
    let address = |street: &str, zip| some(record(vec![("street", text(street)), ("zip", Value::Int(zip))]));
    check_field(path("$.address.street"), redact(), &[], &[("address", address("[field]", 10115))]);
    // All in it.
    check_field(path("$.address"), redact(), &[], &[("address", address("[field]", 0))]);
    check_field(path("$..zip"), redact(), &[], &[("address", address("Main Street 1", 0))]);
    let phones = |first: &str, second: &str| Value::Array(vec![text(first), text(second)]);
    check_field(path("$.phones[1]"), redact(), &[], &[("phones", phones("+49 30 123456", "[field]"))]);
    check_field(path("$.phones[*]"), redact(), &[], &[("phones", phones("[field]", "[field]"))]);
    let labels = |a: &str| Value::Map([("a".to_owned(), text(a))].into());
    check_field(path("$.labels.a"), redact(), &[], &[("labels", labels("[field]"))]);
    check_field(target(Selector::Name("Street".into())), redact(), &[], &[("address", address("[field]", 10115))]);
    check_field(target(Selector::NamesOf(Email)), redact(), &[], &[("email", some(text("[email]")))]);
    check_field(target(Selector::Tag("PII".into())), redact(), &[], &[("email", some(text("[field]")))]);
    check_field(target(Selector::Tag("NPI".into())), redact(), &[], &[]);
    // Down the chain, where the schema names itself.
    let chain = |email: &str| some(customer(&[("email", some(text(email)))]));
    check_field(path("$.next.email"), redact(), &[("next", chain("a@b.cc"))], &[("next", chain("[field]"))]);
    // A document within a string.
    check_field(
        path("$.note.a"),
        redact(),
        &[("note", text(r#"{"a":"x","b":1}"#))],
        &[("note", text(r#"{"a":"[field]","b":1}"#))],
    );
}

#[test]
fn what_is_recognised_by_itself_is_masked_wherever_it_stands() {
    let entries = || {
        vec![
            by_schema(Target::Class(Email), Operator::Redact),
            by_schema(Target::Class(Phone), Operator::KeepLast(2)),
            by_schema(Target::Class(PaymentCard), Operator::Redact),
            by_schema(Target::Class(DataClass::UkNino), Operator::Redact),
        ]
    };
    let (became, counts) = masked(&[("note", text("write to jane@example.com"))], entries());
    let expected = customer(&[
        ("id", Value::Long(0)),
        ("email", some(text("[email]"))),
        ("note", text("write to [email]")),
        ("phones", Value::Array(vec![text("+** ** ****56"), text("none")])),
    ]);
    assert_eq!(became, expected);
    assert_eq!(counts, [("email".to_owned(), 2), ("phone".to_owned(), 1), ("payment_card".to_owned(), 1)]);
    // The field's name is context; a map's key may be what is looked for.
    let schema = r#"{"type":"record","name":"R","fields":[
        {"name":"ninoNumber","type":"string"},{"name":"other","type":"string"},
        {"name":"by","type":{"type":"map","values":"int"}}]}"#;
    let plan = MaskPlan::new(entries());
    let registry = registry(schema);
    let value = |nino: &str, key: &str| {
        let by = Value::Map([(key.to_owned(), Value::Int(1))].into());
        record(vec![("ninoNumber", text(nino)), ("other", text("AB123456C")), ("by", by)])
    };
    let sent = framed(schema, value("AB123456C", "jane@example.com"));
    let became = plan.begin().with_schemas(&registry).value(&sent).unwrap().unwrap();
    assert_eq!(decoded(schema, &became), value("[uk_nino]", "[email]"));
}

#[test]
fn what_is_not_masked_keeps_its_bytes() {
    let plan = MaskPlan::new([
        by_schema(path("$.missing"), Operator::Redact),
        by_schema(Target::Class(Email), Operator::None),
    ]);
    let registry = registry(CUSTOMER);
    let sent = framed(CUSTOMER, customer(&[]));
    let mut pass = plan.begin().with_schemas(&registry);
    assert_eq!(pass.value(&sent), Ok(None));
    assert_eq!(pass.counts().map(|(_, count)| count).collect::<Vec<_>>(), [1]);
}

#[test]
fn blocks_with_a_length_are_read_and_written_without() {
    let schema = r#"{"type":"array","items":{"type":"array","items":"string"}}"#;
    // Two blocks, one of them with its length, in each of two arrays.
    let inner = |a: &[u8], b: &[u8]| {
        [&[2, a.len() as u8 * 2][..], a, &[1, b.len() as u8 * 2 + 2, b.len() as u8 * 2], b, &[0]].concat()
    };
    let (first, second) = (inner(b"x", b"jane@example.com"), inner(b"y", b"z"));
    let body = [first.clone(), second.clone()].concat();
    let sent = [&[0, 0, 0, 0, 7, 3, body.len() as u8 * 2][..], &body, &[0]].concat();
    let value = decoded(schema, &sent);
    assert_eq!(
        value,
        Value::Array(vec![
            Value::Array(vec![text("x"), text("jane@example.com")]),
            Value::Array(vec![text("y"), text("z")]),
        ])
    );
    let plan = MaskPlan::new([by_schema(Target::Class(Email), Operator::Redact)]);
    let registry = registry(schema);
    let became = plan.begin().with_schemas(&registry).value(&sent).unwrap().unwrap();
    assert_eq!(
        decoded(schema, &became),
        Value::Array(vec![Value::Array(vec![text("x"), text("[email]")]), Value::Array(vec![text("y"), text("z")]),])
    );
    // What was not touched has its block as it came.
    assert!(became.windows(second.len()).any(|window| window == second));
    // A length that lies is not believed.
    let mut lying = sent.clone();
    lying[6] += 2;
    assert!(plan.begin().with_schemas(&registry).value(&lying).is_err());
}

#[test]
fn what_does_not_fit_its_schema_or_has_none_is_not_passed() {
    let entries = || [by_schema(Target::Class(Email), Operator::Redact)];
    let registry = registry(CUSTOMER);
    let sent = framed(CUSTOMER, customer(&[]));
    let run = |plan: &MaskPlan, bytes: &[u8]| plan.begin().with_schemas(&registry).value(bytes);
    let plan = MaskPlan::new(entries());
    for cut in [6, 20, sent.len() - 1] {
        assert!(run(&plan, &sent[..cut]).unwrap_err().contains("not encoded by its schema"), "{cut}");
    }
    assert!(run(&plan, &[&sent[..], &[0]].concat()).unwrap_err().contains("the end expected"));
    let other = |id: u8| [&[0, 0, 0, 0, id][..], &sent[5..]].concat();
    assert_eq!(run(&plan, &other(9)).unwrap_err(), "schema 9: it is not there");
    assert!(run(&plan, &other(8)).unwrap_err().contains("not there yet"));
    assert!(plan.begin().value(&sent).unwrap_err().contains("no schema registry is configured"));
    // What the policy says of what cannot be parsed.
    let whole = MaskPlan::compile(entries(), OnUnparseable::MaskWholeValue);
    assert_eq!(run(&whole, &other(9)).unwrap().unwrap(), b"[unparseable]");
    let pass = MaskPlan::compile(entries(), OnUnparseable::Pass);
    let became = run(&pass, &other(9)).unwrap().unwrap();
    assert!(!became.windows(8).any(|window| window == b"jane.doe"), "what is recognised is masked all the same");
    // Never passed as long as its schema is on its way.
    assert!(run(&pass, &other(8)).is_err());
    // Text is text.
    assert_eq!(run(&plan, b"jane@example.com").unwrap().unwrap(), b"[email]");
    let tagged = MaskPlan::new([by_schema(target(Selector::Tag("PII".into())), Operator::Redact)]);
    assert!(run(&tagged, b"{}").unwrap_err().contains("names no schema"));
}

#[test]
fn json_with_a_schema_is_json_behind_its_framing() {
    let registry = Registry(Arc::new(Schema::compile(Some("JSON"), "{}", &[]).unwrap()));
    let plan = MaskPlan::new([by_schema(path("$.email"), Operator::Redact)]);
    let run = |bytes: &[u8]| plan.begin().with_schemas(&registry).value(bytes);
    let became = run(b"\0\0\0\0\x07{\"email\": \"x\", \"n\": 1.0}").unwrap().unwrap();
    assert_eq!(became, b"\0\0\0\0\x07{\"email\": \"[field]\", \"n\": 1.0}");
    assert!(run(b"\0\0\0\0\x07nothing").is_err());
}

#[test]
fn a_header_may_name_the_schema() {
    let plan = MaskPlan::new([by_schema(Target::Class(Email), Operator::Redact)]);
    let registry = registry(CUSTOMER);
    let payload = framed(CUSTOMER, customer(&[])).split_off(5);
    let header = [&[1][..], &GUID.to_be_bytes()].concat();
    let record = OwnedRecord {
        value: Some(payload.clone()),
        headers: vec![(b"__value_schema_id".to_vec(), Some(header))],
        ..OwnedRecord::default()
    };
    let mut batch = BatchBuilder::new(5);
    batch.records.push(record);
    let mut pass = plan.begin().with_schemas(&registry);
    let inspected = inspect(&batch.build().unwrap(), &Limits::default(), &mut pass).unwrap();
    let mut seen = Vec::new();
    struct See<'a>(&'a mut Vec<u8>);
    impl tidegate_core::batch::Inspect for See<'_> {
        fn inspect(&mut self, record: &tidegate_core::batch::Record<'_>) -> Option<tidegate_core::batch::RecordEdit> {
            self.0.extend_from_slice(record.value.unwrap_or_default());
            None
        }
    }
    inspect(&inspected.records, &Limits::default(), &mut See(&mut seen)).unwrap();
    let became = decoded(CUSTOMER, &[&[0; 5][..], &seen].concat());
    assert_eq!(became, customer(&[("email", some(text("[email]")))]));
    // And waits as long as it is not there.
    let mut batch = BatchBuilder::new(5);
    batch.records.push(OwnedRecord { value: Some(vec![0, 0, 0, 0, 8, 1]), ..OwnedRecord::default() });
    let mut pass = plan.begin().with_schemas(&registry);
    let error = inspect(&batch.build().unwrap(), &Limits::default(), &mut pass).unwrap_err();
    assert_eq!(error, tidegate_core::batch::BatchError::Waiting { offset: 5 });
}

#[test]
fn hostile_schemas_and_messages_cost_what_their_bytes_do() {
    // Records of nothing within records of nothing: 2^40 of them in no byte.
    let mut fields = r#"{"type":"record","name":"R0","fields":[{"name":"a","type":"null"}]}"#.to_owned();
    for at in 1..40 {
        fields = format!(
            r#"{{"type":"record","name":"R{at}","fields":[{{"name":"a","type":{fields}}},{{"name":"b","type":"R{}"}}]}}"#,
            at - 1
        );
    }
    let plan = MaskPlan::new([by_schema(Target::Class(Email), Operator::Redact)]);
    let run = |schema: &str, payload: &[u8]| {
        let registry = registry(schema);
        plan.begin().with_schemas(&registry).value(&[&[0, 0, 0, 0, 7][..], payload].concat())
    };
    assert!(run(&fields, &[]).is_err());
    assert!(run(r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#, &[]).is_err());
    // An array of as many nulls as there are numbers.
    let most = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0];
    assert_eq!(run(r#"{"type":"array","items":"null"}"#, &most), Ok(None));
    // A length beyond what there is.
    assert!(run(r#""string""#, &most).is_err());
    // A list within a list, on and on.
    let chain = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
    assert!(run(chain, &[2; 100_000]).unwrap_err().contains("nested"));
}

/// Any customer.
fn any_customer() -> impl Strategy<Value = Value> {
    let words =
        || prop_oneof![Just("jane@example.com".to_owned()), "[ -~]{0,20}", Just("+49 30 1234567, a@b.cc".to_owned())];
    let texts = (words(), proptest::option::of(words()), proptest::collection::vec(words(), 0..5));
    let map = proptest::collection::hash_map("[a-z@.]{0,8}", words(), 0..4);
    let rest = (any::<i64>(), any::<i32>(), any::<[u8; 4]>(), proptest::collection::vec(any::<u8>(), 0..40));
    (texts, map, rest, any::<bool>()).prop_map(|((note, email, phones), labels, (id, zip, digest, blob), deep)| {
        let inner = customer(&[
            ("id", Value::Long(id)),
            ("note", text(&note)),
            ("email", email.map_or_else(none, |email| some(text(&email)))),
            ("phones", Value::Array(phones.iter().map(|phone| text(phone)).collect())),
            ("labels", Value::Map(labels.into_iter().map(|(key, value)| (key, text(&value))).collect())),
            ("digest", Value::Fixed(4, digest.to_vec())),
            ("blob", Value::Bytes(blob)),
            ("address", some(record(vec![("street", text(&note)), ("zip", Value::Int(zip))]))),
        ]);
        if deep { customer(&[("next", some(inner))]) } else { inner }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_masked_decodes_and_the_rest_stays(value in any_customer(), operator in 0usize..6) {
        let operator = [Operator::Redact, Operator::KeepLast(2), Operator::Nullify, replace("x"), Operator::Generalise, Operator::Truncate(1)][operator].clone();
        let plan = MaskPlan::new(
            [path("$..id"), path("$.phones[0]"), target(Selector::NamesOf(Email)), path("$..digest"), Target::Class(Email), Target::Class(Phone)]
                .map(|target| by_schema(target, operator.clone())),
        );
        let registry = registry(CUSTOMER);
        let sent = framed(CUSTOMER, value.clone());
        let became = plan.begin().with_schemas(&registry).value(&sent).unwrap().unwrap_or(sent);
        let Value::Record(after) = decoded(CUSTOMER, &became) else { panic!("a record") };
        let Value::Record(before) = value else { panic!("a record") };
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            if ["born", "seen", "score", "ratio", "active", "level", "price"].contains(&name.as_str()) {
                prop_assert_eq!(before, after);
            }
        }
        let all = String::from_utf8_lossy(&became);
        prop_assert!(!all.contains("jane@example.com"));
    }

    #[test]
    fn any_bytes_are_walked_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), value in any_customer(), at in any::<usize>(), with in any::<u8>()) {
        let plan = MaskPlan::new([by_schema(Target::Class(Email), Operator::Redact), by_schema(path("$..street"), Operator::Nullify)]);
        let registry = registry(CUSTOMER);
        let mut sent = framed(CUSTOMER, value);
        let at = 5 + at % (sent.len() - 5);
        sent[at] = with;
        bytes.splice(0..0, [0, 0, 0, 0, 7]);
        for bytes in [bytes, sent] {
            if let Ok(Some(became)) = plan.begin().with_schemas(&registry).value(&bytes) {
                // What was read is read again.
                prop_assert!(plan.begin().with_schemas(&registry).value(&became).is_ok());
            }
        }
    }
}
