//! Records of Protobuf in the registry's framing: masked here, encoded and decoded by `prost`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;

use super::super::schema::Schema;
use super::avro::{Registry, by_schema};
use super::fields::target;
use super::*;

/// The descriptor of this file, as `protoc` and a registry (`format=serialized`) give it:
///
/// ```proto
/// syntax = "proto3";
/// package shop;
/// message Other { string text = 1; }
/// message Customer {
///   enum Level { LOW = 0; HIGH = 1; SECRET = 2; }
///   message Address { string street = 1; uint32 zip = 2; }
///   int64 id = 1;
///   string email_address = 2 [(confluent.field_meta).tags = "PII"];
///   string note = 3;
///   Level level = 4;
///   repeated string phones = 5;
///   Address address = 6;
///   map<string, string> labels = 7;
///   repeated sint32 numbers = 8;
///   double score = 9;
///   bool active = 10;
///   fixed32 code = 11;
///   bytes blob = 12;
///   Customer next = 13;
///   float ratio = 14;
/// }
/// ```
const DESCRIPTOR: &str = "\
    CgpzaG9wLnByb3RvEgRzaG9wIhsKBU90aGVyEhIKBHRleHQYASABKAlSBHRleHQiugQKCEN1c3RvbWVyEg4KAmlkGAEgASgDUgJp\
    ZBItCg1lbWFpbF9hZGRyZXNzGAIgASgJQgiCRAUaA1BJSVIMZW1haWxBZGRyZXNzEhIKBG5vdGUYAyABKAlSBG5vdGUSKgoFbGV2\
    ZWwYBCABKA4yFC5zaG9wLkN1c3RvbWVyLkxldmVsUgVsZXZlbBIWCgZwaG9uZXMYBSADKAlSBnBob25lcxIhCgdhZGRyZXNzGAYg\
    ASgLMgdBZGRyZXNzUgdhZGRyZXNzEjIKBmxhYmVscxgHIAMoCzIaLnNob3AuQ3VzdG9tZXIuTGFiZWxzRW50cnlSBmxhYmVscxIY\
    CgdudW1iZXJzGAggAygRUgdudW1iZXJzEhQKBXNjb3JlGAkgASgBUgVzY29yZRIWCgZhY3RpdmUYCiABKAhSBmFjdGl2ZRISCgRj\
    b2RlGAsgASgHUgRjb2RlEhIKBGJsb2IYDCABKAxSBGJsb2ISIgoEbmV4dBgNIAEoCzIOLnNob3AuQ3VzdG9tZXJSBG5leHQSFAoF\
    cmF0aW8YDiABKAJSBXJhdGlvGjMKB0FkZHJlc3MSFgoGc3RyZWV0GAEgASgJUgZzdHJlZXQSEAoDemlwGAIgASgNUgN6aXAaOQoL\
    TGFiZWxzRW50cnkSEAoDa2V5GAEgASgJUgNrZXkSFAoFdmFsdWUYAiABKAlSBXZhbHVlOgI4ASImCgVMZXZlbBIHCgNMT1cQABII\
    CgRISUdIEAESCgoGU0VDUkVUEAJiBnByb3RvMw==";

#[derive(Clone, PartialEq, prost::Message)]
struct Customer {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(string, tag = "2")]
    email_address: String,
    #[prost(string, tag = "3")]
    note: String,
    #[prost(int32, tag = "4")]
    level: i32,
    #[prost(string, repeated, tag = "5")]
    phones: Vec<String>,
    #[prost(message, optional, tag = "6")]
    address: Option<Address>,
    #[prost(btree_map = "string, string", tag = "7")]
    labels: BTreeMap<String, String>,
    #[prost(sint32, repeated, tag = "8")]
    numbers: Vec<i32>,
    #[prost(double, tag = "9")]
    score: f64,
    #[prost(bool, tag = "10")]
    active: bool,
    #[prost(fixed32, tag = "11")]
    code: u32,
    #[prost(bytes = "vec", tag = "12")]
    blob: Vec<u8>,
    #[prost(message, optional, boxed, tag = "13")]
    next: Option<Box<Customer>>,
    #[prost(float, tag = "14")]
    ratio: f32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Address {
    #[prost(string, tag = "1")]
    street: String,
    #[prost(uint32, tag = "2")]
    zip: u32,
}

/// A customer with fields that the schema does not know.
#[derive(Clone, PartialEq, prost::Message)]
struct Newer {
    #[prost(string, tag = "2")]
    email_address: String,
    #[prost(string, tag = "99")]
    more: String,
    #[prost(message, optional, tag = "100")]
    nested: Option<Address>,
}

fn customer() -> Customer {
    Customer {
        id: 4_111_111_111_111_111,
        email_address: "jane.doe@example.com".to_owned(),
        note: "nothing".to_owned(),
        level: 2,
        phones: vec!["+49 30 123456".to_owned(), "none".to_owned()],
        address: Some(Address { street: "Main Street 1".to_owned(), zip: 10115 }),
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        numbers: vec![-3, 70_000],
        score: 0.5,
        active: true,
        code: 4711,
        blob: vec![0xff, 0, 1],
        next: None,
        ratio: 0.25,
    }
}

/// In the framing; the message is the second of its file.
fn framed(message: &impl prost::Message) -> Vec<u8> {
    [&[0, 0, 0, 0, 7, 2, 2][..], &message.encode_to_vec()].concat()
}

fn decoded(framed: &[u8]) -> Customer {
    assert_eq!(framed[..7], [0, 0, 0, 0, 7, 2, 2]);
    Customer::decode(&framed[7..]).unwrap()
}

fn registry() -> Registry {
    Registry(Arc::new(Schema::compile(Some("PROTOBUF"), DESCRIPTOR, &[]).unwrap()))
}

fn path(path: &str) -> Target {
    target(Selector::Path(Path::parse(path).unwrap()))
}

#[track_caller]
fn masked(came: &Customer, entries: Vec<MaskEntry>) -> Customer {
    let plan = MaskPlan::new(entries);
    let registry = registry();
    let sent = framed(came);
    let became = plan.begin().with_schemas(&registry).value(&sent).unwrap();
    decoded(&became.unwrap_or(sent))
}

#[track_caller]
fn check_field(target: Target, operator: Operator, expected: impl FnOnce(&mut Customer)) {
    let mut became = customer();
    expected(&mut became);
    assert_eq!(masked(&customer(), vec![by_schema(target, operator)]), became);
}

#[test]
fn a_masked_field_keeps_its_type() {
    use Operator::{KeepLast, Nullify, Redact};
    check_field(path("$.email_address"), Redact, |c| c.email_address = "[field]".to_owned());
    check_field(path("$.email_address"), Nullify, |c| c.email_address.clear());
    check_field(path("$.address"), Nullify, |c| c.address = Some(Address::default()));
    check_field(path("$.id"), KeepLast(4), |c| c.id = 1_000_000_000_001_111);
    check_field(path("$.level"), Redact, |c| c.level = 0);
    check_field(path("$.level"), replace("HIGH"), |c| c.level = 1);
    check_field(path("$.numbers"), Redact, |c| c.numbers = vec![0, 0]);
    check_field(path("$.numbers[1]"), replace("-9"), |c| c.numbers = vec![-3, -9]);
    check_field(path("$.score"), replace("1.5"), |c| c.score = 1.5);
    check_field(path("$.ratio"), Redact, |c| c.ratio = 0.0);
    check_field(path("$.active"), Redact, |c| c.active = false);
    check_field(path("$.code"), Redact, |c| c.code = 0);
    check_field(path("$.blob"), Redact, |c| c.blob = b"[field]".to_vec());
}

#[test]
fn paths_names_numbers_and_tags_lead_to_fields() {
    let redact = || Operator::Redact;
    let email = |c: &mut Customer| c.email_address = "[field]".to_owned();
    for to_email in ["$.email_address", "$.emailAddress", "$['2']"] {
        check_field(path(to_email), redact(), email);
    }
    check_field(target(Selector::Name("EmailAddress".into())), redact(), email);
    check_field(target(Selector::Tag("PII".into())), redact(), email);
    check_field(target(Selector::NamesOf(Email)), redact(), |c| c.email_address = "[email]".to_owned());
    check_field(path("$.address.street"), redact(), |c| c.address.as_mut().unwrap().street = "[field]".to_owned());
    check_field(path("$..zip"), redact(), |c| c.address.as_mut().unwrap().zip = 0);
    check_field(path("$.phones[1]"), redact(), |c| c.phones[1] = "[field]".to_owned());
    check_field(path("$.phones[*]"), Operator::Nullify, |c| c.phones = vec![String::new(), String::new()]);
    check_field(path("$.labels.a"), redact(), |c| drop(c.labels.insert("a".to_owned(), "[field]".to_owned())));
    check_field(path("$.labels.b"), redact(), |_| {});
    let deep = |email: &str| {
        let inner = Customer { email_address: email.to_owned(), ..customer() };
        Customer { next: Some(Box::new(Customer { next: Some(Box::new(inner)), ..customer() })), ..customer() }
    };
    let became = masked(&deep("x"), vec![by_schema(path("$.next.next.email_address"), redact())]);
    assert_eq!(became, deep("[field]"), "every length around it");
}

#[test]
fn what_is_recognised_by_itself_is_masked_wherever_it_stands() {
    let entries =
        || [Email, Phone, PaymentCard].map(|class| by_schema(Target::Class(class), Operator::Redact)).to_vec();
    let came = Customer {
        note: "to a@b.cc".to_owned(),
        labels: BTreeMap::from([("x@y.cc".to_owned(), "1".to_owned())]),
        ..customer()
    };
    let expected = Customer {
        id: 0,
        email_address: "[email]".to_owned(),
        note: "to [email]".to_owned(),
        phones: vec!["[phone]".to_owned(), "none".to_owned()],
        labels: BTreeMap::from([("[email]".to_owned(), "1".to_owned())]),
        ..customer()
    };
    assert_eq!(masked(&came, entries()), expected);
    // What the schema does not know is overwritten, and keeps its length.
    let newer = |email: &str, more: &str, street: &str| Newer {
        email_address: email.to_owned(),
        more: more.to_owned(),
        nested: Some(Address { street: street.to_owned(), zip: 7 }),
    };
    let plan = MaskPlan::new(entries());
    let registry = registry();
    let sent = framed(&newer("a@b.cc", "jane@example.com", "x@example.com"));
    let became = plan.begin().with_schemas(&registry).value(&sent).unwrap().unwrap();
    assert_eq!(Newer::decode(&became[7..]).unwrap(), newer("[email]", &"*".repeat(16), &"*".repeat(13)));
}

#[test]
fn the_message_is_named_by_indexes() {
    let plan =
        MaskPlan::new([by_schema(path("$.text"), Operator::Redact), by_schema(path("$.street"), Operator::Redact)]);
    let registry = registry();
    let run = |bytes: &[u8]| plan.begin().with_schemas(&registry).value(bytes);
    let text =
        |indexes: &[u8], content: &[u8]| [&[0, 0, 0, 0, 7][..], indexes, &[10, content.len() as u8], content].concat();
    // None is short for the first of the file; 1, 0 is the first in the second.
    for indexes in [&[0][..], &[2, 0], &[4, 2, 0]] {
        assert_eq!(run(&text(indexes, b"x")).unwrap().unwrap(), text(indexes, b"[field]"), "{indexes:?}");
    }
    for indexes in [&[2, 9][..], &[1], &[200, 1], &[]] {
        assert!(run(&text(indexes, b"x")).is_err(), "{indexes:?}");
    }
}

#[test]
fn what_does_not_fit_is_not_passed() {
    let plan = MaskPlan::new([by_schema(Target::Class(Email), Operator::Redact)]);
    let registry = registry();
    let sent = framed(&customer());
    let run = |bytes: &[u8]| plan.begin().with_schemas(&registry).value(bytes);
    for cut in [6, 8, 30, sent.len() - 1] {
        assert!(run(&sent[..cut]).is_err(), "{cut}");
    }
    // Field 0, an unknown wire type, an end without a group, a group without an end.
    for bad in [&[2, 1, 1][..], &[15], &[12], &[0xa3, 6, 8, 1]] {
        assert!(run(&[&sent[..7], bad].concat()).is_err(), "{bad:?}");
    }
    let chain = (0..300).fold(Vec::new(), |inner: Vec<u8>, _| {
        let mut outer = vec![0x6a];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        [outer, inner].concat()
    });
    assert!(run(&[&sent[..7], &chain].concat()).unwrap_err().contains("nested"));
    // Not UTF-8 in a string; bytes may be anything.
    assert!(run(&[&sent[..7], &[18, 1, 0xff]].concat()).unwrap_err().contains("UTF-8"));
    assert!(run(&[&sent[..7], &[98, 1, 0xff]].concat()).is_ok());
}

/// The same as [`DESCRIPTOR`], as a registry serves it: a text that imports another.
const TEXT: &str = r#"
    // A comment.
    syntax = "proto3";
    package shop;
    import "confluent/meta.proto";
    import "shop/level.proto";
    import "google/protobuf/timestamp.proto";
    message Other { string text = 1; google.protobuf.Timestamp at = 2; }
    message Customer {
      message Address { string street = 1; uint32 zip = 2; }
      int64 id = 1;
      string email_address = 2 [(confluent.field_meta) = {doc: "where {", tags: ["PII", "X"]}];
      string note = 3;
      shop.levels.Level level = 4;
      repeated string phones = 5;
      Address address = 6;
      map<string, string> labels = 7;
      repeated sint32 numbers = 8;
      double score = 9;
      bool active = 10;
      fixed32 code = 11;
      bytes blob = 12;
      Customer next = 13;
      float ratio = 14;
      oneof way { string post = 15; int32 branch = 16; }
    }"#;
const LEVEL: &str = r#"syntax = "proto3"; package shop.levels; enum Level { LOW = 0; HIGH = 1; SECRET = 2; }"#;

#[test]
fn a_text_and_what_it_imports_say_the_same_as_a_descriptor() {
    let level = ("shop/level.proto".to_owned(), LEVEL.to_owned());
    let schema = Schema::compile(Some("PROTOBUF"), TEXT, &[level]).unwrap();
    let schemas = [Registry(Arc::new(schema)), registry()];
    for (target, operator) in [
        (path("$.emailAddress"), Operator::Redact),
        (target(Selector::Tag("PII".into())), Operator::Nullify),
        (path("$.labels.a"), Operator::KeepLast(1)),
        (path("$.level"), replace("HIGH")),
        (path("$..zip"), Operator::Redact),
        (path("$.numbers[0]"), replace("-70000")),
        (Target::Class(Phone), Operator::Redact),
    ] {
        let plan = MaskPlan::new([by_schema(target, operator)]);
        let [by_text, by_descriptor] =
            [0, 1].map(|at| plan.begin().with_schemas(&schemas[at]).value(&framed(&customer())).unwrap());
        assert!(by_text.is_some());
        assert_eq!(by_text, by_descriptor);
    }
    let error = Schema::compile(Some("PROTOBUF"), TEXT, &[]).unwrap_err();
    assert!(error.contains("shop/level.proto"), "{error}");
}

#[test]
fn groups_oneofs_and_required_fields_of_proto2() {
    let text = r#"syntax = "proto2"; message M {
        required string must = 1;
        repeated group Line = 2 { optional string phone = 3; repeated int32 packs = 4 [packed = true]; }
        oneof way { string post = 5; fixed64 branch = 6; }
        extensions 100 to 200;
    }
    extend M { optional string more = 100; }"#;
    let registry = Registry(Arc::new(Schema::compile(Some("PROTOBUF"), text, &[]).unwrap()));
    let run = |target, operator, message: &[u8]| {
        let plan = MaskPlan::new([by_schema(target, operator)]);
        let sent = [&[0, 0, 0, 0, 7, 0][..], message].concat();
        plan.begin().with_schemas(&registry).value(&sent).unwrap().map(|became| became[6..].to_vec())
    };
    // A group: its fields between its two keys.
    let line = |phone: &[u8]| [&[19, 26, phone.len() as u8][..], phone, &[34, 2, 1, 2, 20]].concat();
    let message = |must: &[u8], lines: &[&[u8]], rest: &[u8]| {
        let lines: Vec<u8> = lines.iter().flat_map(|phone| line(phone)).collect();
        [&[10, must.len() as u8][..], must, &lines, rest].concat()
    };
    let post = [&[42, 6][..], b"a@b.cc"].concat();
    let came = message(b"x", &[b"1", b"2"], &post);
    use Operator::{Nullify, Redact};
    let expected = message(b"x", &[b"1", b"[field]"], &post);
    assert_eq!(run(path("$.line[1].phone"), Redact, &came), Some(expected));
    assert_eq!(run(path("$.must"), Nullify, &came), Some(message(b"", &[b"1", b"2"], &post)), "it must be there");
    assert_eq!(run(path("$.post"), Nullify, &came), Some(message(b"x", &[b"1", b"2"], b"")), "none of them is");
    let marked = [&[42, 7][..], b"[email]"].concat();
    assert_eq!(run(Target::Class(Email), Redact, &came), Some(message(b"x", &[b"1", b"2"], &marked)));
    // An extension is unknown to a message, and keeps its length.
    let more = |text: &[u8]| [&[0xa2, 6, text.len() as u8][..], text].concat();
    let came = message(b"x", &[], &more(b"to a@b.cc"));
    assert_eq!(run(Target::Class(Email), Redact, &came), Some(message(b"x", &[], &more(b"to ******"))));
    // Known fields in another wire type are nobody's fields, and masked all the same.
    let came = message(b"x", &[], &[40, 7]);
    assert_eq!(run(path("$.post"), Redact, &came), Some(message(b"x", &[], &[40, 0])));
    let came = message(b"x", &[], &[41, 7, 7, 7, 7, 7, 7, 7, 7]);
    assert_eq!(run(path("$.post"), Redact, &came), Some(message(b"x", &[], &[41, 0, 0, 0, 0, 0, 0, 0, 0])));
}

#[test]
fn values_have_their_paths() {
    let registry = registry();
    let sent = framed(&Customer { next: Some(Box::new(customer())), ..customer() });
    let plan =
        MaskPlan::new([by_schema(Target::Class(Phone), Operator::Redact), by_schema(path("$.id"), replace("1"))]);
    let mut pass = plan.begin().with_schemas(&registry);
    pass.value(&sent).unwrap();
    let values = registry.0.values(&sent, 5).unwrap().unwrap();
    let shown: Vec<String> = values.iter().map(|value| format!("{}={}", value.path, value.text)).collect();
    for expected in [
        "$.id=4111111111111111",
        "$.level=SECRET",
        "$.phones[1]=none",
        "$.address.zip=10115",
        "$.labels.a=b",
        "$.numbers[0]=-3",
        "$.numbers[1]=70000",
        "$.score=0.5",
        "$.active=true",
        "$.next.ratio=0.25",
    ] {
        assert!(shown.iter().any(|shown| shown == expected), "{expected} in {shown:?}");
    }
    let places: Vec<&str> = pass
        .places()
        .map(|(span, _)| values.iter().find(|value| value.span.contains(&span.start)).unwrap().path.as_str())
        .collect();
    assert_eq!(places, ["$.id", "$.phones[0]", "$.next.phones[0]"]);
}

fn any_customer() -> impl Strategy<Value = Customer> {
    let words = || prop_oneof![Just("jane@example.com".to_owned()), "[ -~]{0,20}"];
    let lists = (proptest::collection::vec(words(), 0..4), proptest::collection::vec(any::<i32>(), 0..5));
    let map = proptest::collection::btree_map("[a-z]{0,4}", words(), 0..3);
    (words(), words(), lists, map, any::<i64>(), any::<u32>(), any::<bool>()).prop_map(
        |(email_address, note, (phones, numbers), labels, id, zip, deep)| {
            let address = Some(Address { street: note.clone(), zip });
            let inner = Customer { email_address, note, phones, numbers, labels, id, address, ..customer() };
            if deep { Customer { next: Some(Box::new(inner)), ..customer() } } else { inner }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_masked_decodes_and_the_rest_stays(came in any_customer(), operator in 0usize..5) {
        let operators = [Operator::Redact, Operator::KeepLast(2), Operator::Nullify, replace("x"), Operator::Truncate(1)];
        let plan = MaskPlan::new(
            [path("$..id"), path("$.phones[0]"), path("$..zip"), Target::Class(Email)]
                .map(|target| by_schema(target, operators[operator].clone())),
        );
        let registry = registry();
        let sent = framed(&came);
        let became = plan.begin().with_schemas(&registry).value(&sent).unwrap().unwrap_or(sent);
        let after = decoded(&became);
        prop_assert_eq!((after.score, after.active, after.level, &after.numbers), (came.score, came.active, came.level, &came.numbers));
        prop_assert_eq!(after.phones.len(), came.phones.len());
        prop_assert!(!String::from_utf8_lossy(&became).contains("jane@example.com"));
    }

    #[test]
    fn any_bytes_are_walked_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), came in any_customer(), at in any::<usize>(), with in any::<u8>()) {
        let plan = MaskPlan::new([by_schema(Target::Class(Email), Operator::Redact), by_schema(path("$..street"), Operator::Nullify)]);
        let registry = registry();
        let mut sent = framed(&came);
        let at = 5 + at % (sent.len() - 5);
        sent[at] = with;
        bytes.splice(0..0, [0, 0, 0, 0, 7, 0]);
        for bytes in [bytes, sent] {
            if let Ok(Some(became)) = plan.begin().with_schemas(&registry).value(&bytes) {
                prop_assert!(plan.begin().with_schemas(&registry).value(&became).is_ok());
            }
        }
    }
}
