//! Masked payloads, each case a line; whole batches through the walker.

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_core::batch::build::{BatchBuilder, OwnedRecord};
use tidegate_core::batch::{Codec, Inspected, inspect};
use tidegate_core::limits::Limits;
use tidegate_core::words::DataClass::{self, Email, PaymentCard, Phone};

use crate::file::OnUnparseable;

use super::*;

mod avro;
mod fields;
mod json_schema;
mod operators;
mod protobuf;
mod split;
mod subjects;

fn entry(class: DataClass, operator: Operator) -> MaskEntry {
    MaskEntry::new(Target::Class(class), operator, format!("mask {}", class.name()))
}

fn plan(operator: &Operator) -> MaskPlan {
    MaskPlan::new(DataClass::ALL.map(|class| entry(class, operator.clone())))
}

fn replace(text: &str) -> Operator {
    Operator::Replace(text.into())
}

#[track_caller]
fn check(operator: &Operator, payload: &[u8], expected: &[u8]) {
    let plan = plan(operator);
    let masked = plan.begin().payload(payload).unwrap_or_else(|| payload.to_vec());
    assert_eq!(String::from_utf8_lossy(&masked), String::from_utf8_lossy(expected));
    if serde_json::from_slice::<serde_json::Value>(payload).is_ok() && payload.starts_with(b"{") {
        serde_json::from_slice::<serde_json::Value>(&masked).expect("is JSON still");
    }
}

#[test]
fn a_fingerprint_covers_all_that_a_plan_says() {
    let key = |epoch, byte| MaskKey::new("k", epoch, &[byte; 32]).unwrap();
    let one = |entry: MaskEntry| MaskPlan::new([entry]).fingerprint();
    let plans = [
        one(entry(Email, Operator::Redact)),
        one(entry(Phone, Operator::Redact)),
        one(MaskEntry { keys: true, ..entry(Email, Operator::Redact) }),
        one(MaskEntry { rule: "other".into(), ..entry(Email, Operator::Redact) }),
        one(MaskEntry { observes: true, ..entry(Email, Operator::Redact) }),
        one(MaskEntry {
            csv: Some(Arc::new(CsvForm { separator: b',', header: true, columns: Vec::new() })),
            ..entry(Email, Operator::Redact)
        }),
        one(MaskEntry::new(fields::target(Selector::Path(Path::parse("$.a").unwrap())), Operator::Redact, "r")),
        one(MaskEntry::new(fields::target(Selector::Path(Path::parse("$.b").unwrap())), Operator::Redact, "r")),
        one(MaskEntry::new(fields::target(Selector::Name("a".into())), Operator::Redact, "r")),
        one(MaskEntry::new(fields::target(Selector::Column(1)), Operator::Redact, "r")),
        MaskPlan::compile([entry(Email, Operator::Redact)], OnUnparseable::Pass).fingerprint(),
        one(entry(Email, Operator::None)),
        one(entry(Email, Operator::KeepLast(4))),
        one(entry(Email, Operator::KeepLast(5))),
        one(entry(Email, Operator::Truncate(4))),
        one(entry(Email, replace("x"))),
        one(entry(Email, replace("y"))),
        one(entry(Email, Operator::Pseudonym(key(1, 1)))),
        one(entry(Email, Operator::Pseudonym(key(1, 2)))),
        one(entry(Email, Operator::Pseudonym(key(2, 1)))),
        one(entry(PaymentCard, Operator::Encrypt(key(1, 1)))),
        MaskPlan::new([entry(Email, Operator::Redact), entry(Phone, Operator::Redact)]).fingerprint(),
        MaskPlan::default().fingerprint(),
    ];
    for (at, plan) in plans.iter().enumerate() {
        assert!(!plans[..at].contains(plan), "plan {at}");
    }
    assert_eq!(one(entry(Email, Operator::Redact)), plans[0]);
}

#[test]
fn redact() {
    let cases = [
        ("alice@example.com", "[email]"),
        ("a@b.cc +4915112345678 4111111111111111 end", "[email] [phone] [payment_card] end"),
        (r#"{"e":"alice\u0040example.com","n":1}"#, r#"{"e":"[email]","n":1}"#),
        (r#"{"t":"line\nalice@example.com\ttab"}"#, r#"{"t":"line\n[email]\ttab"}"#),
        // JSON within JSON stays JSON.
        (r#"{"t":"{\"t\":\"line\\nalice@example.com\"}"}"#, r#"{"t":"{\"t\":\"line\\n[email]\"}"}"#),
        (r#"{"card":4111111111111111}"#, r#"{"card":0}"#),
        (r#"{"card": -4111111111111111 , "x":[4111111111111111]}"#, r#"{"card": -0 , "x":[0]}"#),
        (r#"{"card":"4111111111111111"}"#, r#"{"card":"[payment_card]"}"#),
        (r#"{"t":"n:4111111111111111,","q\"":4111111111111111}"#, r#"{"t":"n:[payment_card],","q\"":0}"#),
        ("4111111111111111", "[payment_card]"),
        ("[INFO] paid with 4111111111111111", "[INFO] paid with [payment_card]"),
        ("nothing here", "nothing here"),
    ];
    for (payload, expected) in cases {
        check(&Operator::Redact, payload.as_bytes(), expected.as_bytes());
    }
}

#[test]
fn keep_last() {
    let cases = [
        (4, "4111111111111234 no, 4111 1111 1111 1111", "4111111111111234 no, **** **** **** 1111"),
        (2, "+49 151 12345678", "+** *** ******78"),
        (3, "alice@example.com", "*****@*******.com"),
        // Half at least is masked.
        (200, "+4915112345678", "+*******345678"),
        (0, "a@b.cc", "*@*.**"),
        (2, "müller@example.de", "******@*******.de"),
        (4, r#"{"e":"alice\u0040example.com"}"#, r#"{"e":"*****@******e.com"}"#),
        (4, r#"{"card":4111111111111111}"#, r#"{"card":1000000000001111}"#),
        (0, r#"{"card":4111111111111111}"#, r#"{"card":1000000000000000}"#),
    ];
    for (count, payload, expected) in cases {
        check(&Operator::KeepLast(count), payload.as_bytes(), expected.as_bytes());
    }
}

#[test]
fn replacements() {
    check(&replace("xxx"), b"to alice@example.com!", b"to xxx!");
    check(&replace(""), b"to alice@example.com!", b"to !");
    check(&replace("xxx"), br#"{"card":4111111111111111}"#, br#"{"card":0}"#);
    check(&replace("42"), br#"{"card":4111111111111111}"#, br#"{"card":42}"#);
    // What would need escaping is refused by the check and, should it get here, left out.
    assert!(is_replacement("<hidden> für immer"));
    for text in ["a\"b", "a\\b", "a\nb", "a\u{85}b"] {
        assert!(!is_replacement(text));
        check(&replace(text), br#"{"e":"alice@example.com"}"#, br#"{"e":"ab"}"#);
    }
}

#[test]
fn binary_keeps_its_length() {
    let avro = b"\x00\x00\x00\x00\x07\x22alice@example.com\x02".as_slice();
    check(&Operator::Redact, avro, b"\x00\x00\x00\x00\x07\x22*****************\x02");
    check(&Operator::KeepLast(4), avro, b"\x00\x00\x00\x00\x07\x22*************.com\x02");
    check(&replace("a rather long replacement"), avro, b"\x00\x00\x00\x00\x07\x22*****************\x02");
    check(&Operator::Redact, b"alice@example.com \xff", b"***************** \xff");
}

#[test]
fn the_first_entry_of_a_class_decides() {
    let plan =
        MaskPlan::new([entry(Email, Operator::None), entry(Email, Operator::Redact), entry(Phone, Operator::Redact)]);
    let mut pass = plan.begin();
    let masked = pass.payload(b"a@b.cc +4915112345678 c@d.ee");
    assert_eq!(masked.as_deref(), Some(&b"a@b.cc [phone] c@d.ee"[..]));
    // Only exempt findings: nothing changes, yet they are counted.
    assert_eq!(pass.payload(b"a@b.cc"), None);
    let counts: Vec<_> = pass
        .counts()
        .map(|(entry, count)| (entry.class_name().to_owned(), entry.outcome().to_owned(), count))
        .collect();
    assert_eq!(counts, [("email".to_owned(), "none".to_owned(), 3), ("phone".to_owned(), "redact".to_owned(), 1)]);
    assert!(plan.entry(PaymentCard).is_none());
    assert!(!plan.is_empty() && MaskPlan::default().is_empty());
}

#[test]
fn findings_that_overlap_are_masked_as_one() {
    // The card begins within the telephone number and ends behind it.
    let text = b"+49 151 4111 1111 1111 1111 x";
    let masked = plan(&Operator::Redact).begin().payload(text);
    assert_eq!(masked.as_deref(), Some(&b"[payment_card] x"[..]));
    // An exemption from one class leaves nothing of the other.
    let plan = MaskPlan::new([entry(PaymentCard, Operator::None), entry(Phone, Operator::Redact)]);
    let mut pass = plan.begin();
    assert_eq!(pass.payload(text).as_deref(), Some(&b"[phone] x"[..]));
    assert_eq!((pass.count(Phone), pass.count(PaymentCard)), (1, 0));
}

fn records() -> BatchBuilder {
    let header = |value: &str| (b"a@b.cc".to_vec(), Some(value.as_bytes().to_vec()));
    BatchBuilder {
        records: vec![
            OwnedRecord {
                key: Some(b"alice@example.com".to_vec()),
                value: Some(br#"{"email":"alice@example.com","phone":"+4915112345678"}"#.to_vec()),
                headers: vec![header("clean"), header("4111111111111111"), (b"null".to_vec(), None)],
                ..OwnedRecord::default()
            },
            OwnedRecord { offset_delta: 1, key: Some(b"a@b.cc".to_vec()), value: None, ..OwnedRecord::default() },
            OwnedRecord { offset_delta: 2, value: Some(b"clean".to_vec()), ..OwnedRecord::default() },
        ],
        ..BatchBuilder::new(10)
    }
}

const FIRST: [DataClass; 3] = [Email, Phone, PaymentCard];

fn through(plan: &MaskPlan, records: &Bytes) -> (Inspected, u64, [u64; 3]) {
    let mut pass = plan.begin();
    let inspected = inspect(records, &Limits::default(), &mut pass).unwrap();
    (inspected, pass.tally().records_masked, FIRST.map(|class| pass.count(class)))
}

#[test]
fn batches_are_masked_in_every_codec() {
    for codec in Codec::ALL {
        let came = records().codec(codec);
        let mut expected = came.clone();
        expected.records[0].value = Some(br#"{"email":"[email]","phone":"[phone]"}"#.to_vec());
        expected.records[0].headers[1].1 = Some(b"[payment_card]".to_vec());
        let (inspected, masked, counts) = through(&plan(&Operator::Redact), &came.build().unwrap());
        assert!(inspected.changed);
        assert_eq!(inspected.records, expected.build().unwrap(), "{codec:?}");
        assert_eq!((masked, counts), (1, [1, 1, 1]));
    }
}

#[test]
fn keys_are_masked_where_the_rule_says_so() {
    let entries = DataClass::ALL.map(|class| MaskEntry { keys: class == Email, ..entry(class, Operator::Redact) });
    let mut expected = records();
    expected.records[0].key = Some(b"[email]".to_vec());
    expected.records[0].value = Some(br#"{"email":"[email]","phone":"[phone]"}"#.to_vec());
    expected.records[0].headers[1].1 = Some(b"[payment_card]".to_vec());
    expected.records[1].key = Some(b"[email]".to_vec());
    let (inspected, masked, counts) = through(&MaskPlan::new(entries), &records().build().unwrap());
    assert_eq!(inspected.records, expected.build().unwrap());
    assert_eq!((masked, counts), (2, [3, 1, 1]));
}

#[test]
fn an_exempt_reader_gets_the_bytes_that_came() {
    let came = records().codec(Codec::Zstd).build().unwrap();
    let (inspected, masked, counts) = through(&plan(&Operator::None), &came);
    assert!(!inspected.changed);
    assert_eq!(inspected.records.as_ptr(), came.as_ptr());
    assert_eq!((masked, counts), (0, [1, 1, 1]));
}

#[test]
fn tallies_add_up() {
    let plan = plan(&Operator::Redact);
    let mut total = pass::Tally::default();
    for _ in 0..3 {
        let mut pass = plan.begin();
        inspect(&records().build().unwrap(), &Limits::default(), &mut pass).unwrap();
        total.add(pass.tally());
    }
    let counts: Vec<(&str, u64)> = total.counts(&plan).map(|(entry, count)| (entry.class_name(), count)).collect();
    assert_eq!((total.records_masked, counts), (3, vec![("email", 3), ("phone", 3), ("payment_card", 3)]));
}

/// JSON documents full of what is looked for, in strings, keys, numbers and nested documents.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let text =
        "(a@b\\.cc |\\+4915112345678 |4111111111111111 |alice@example\\.com |[a-z ,:\"\\\\\n\u{fc}{}\\[\\]-]){0,6}";
    let leaf = prop_oneof![
        text.prop_map(serde_json::Value::String),
        Just(serde_json::json!(4_111_111_111_111_111_u64)),
        Just(serde_json::json!(-4_111_111_111_111_111_i64)),
        any::<f64>().prop_map(|number| serde_json::json!(number)),
        any::<bool>().prop_map(serde_json::Value::Bool),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
            proptest::collection::hash_map(text, inner.clone(), 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            inner.prop_map(|value| serde_json::Value::String(value.to_string())),
        ]
    })
    .prop_map(|value| serde_json::json!({ "document": value }))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_stays_json_and_clean(document in json(), escaped in any::<bool>(), operator in 0..9usize) {
        let key = MaskKey::new("k", 1, &[7; 32]).unwrap();
        let operator = [
            Operator::Redact, Operator::KeepLast(4), replace("xxx"), replace("7"), Operator::Nullify, Operator::DropRecord,
            Operator::Truncate(4), Operator::Pseudonym(key.clone()), Operator::Encrypt(key),
        ][operator].clone();
        let mut payload = document.to_string();
        if escaped {
            payload = payload.replace('@', "\\u0040").replace("+4915", "\\u002b4915").replace('\u{fc}', "\\u00fc");
        }
        let plan = plan(&operator);
        let masked = plan.begin().payload(payload.as_bytes()).unwrap_or_else(|| payload.clone().into_bytes());
        if operator == Operator::DropRecord {
            prop_assert!(masked.is_empty() || masked == payload.as_bytes());
            return Ok(());
        }
        let parsed = serde_json::from_slice::<serde_json::Value>(&masked);
        prop_assert!(parsed.is_ok(), "{payload} became {}", String::from_utf8_lossy(&masked));
        // A second pass finds nothing that the first has left; what is kept of tiny addresses may be one.
        if !matches!(operator, Operator::KeepLast(_) | Operator::Truncate(_) | Operator::Pseudonym(_) | Operator::Encrypt(_)) {
            let again = plan.begin().payload(&masked);
            prop_assert_eq!(again, None, "{} became {}", payload, String::from_utf8_lossy(&masked));
        }
    }

    #[test]
    fn anything_may_be_masked(bytes in proptest::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), operator in 0..3usize) {
        let operator = [Operator::Redact, Operator::KeepLast(3), replace("x")][operator].clone();
        let at = at.index(bytes.len() + 1);
        let payload = [&bytes[..at], b" alice@example.com ", &bytes[at..]].concat();
        // Without the classes that ask for JSON where a brace begins.
        let plan = MaskPlan::new(FIRST.map(|class| entry(class, operator.clone())));
        let masked = plan.begin().payload(&payload);
        let masked = masked.expect("an address is in it");
        prop_assert!(memchr::memmem::find(&masked, b"alice@example.com").is_none());
        prop_assert_eq!(std::str::from_utf8(&payload).is_ok(), std::str::from_utf8(&masked).is_ok());
    }
}
