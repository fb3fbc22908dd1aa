//! Tags of subjects in a pass: whose data was found, in which record, under which rule.

use tidegate_core::batch::{Inspect as _, Record};
use tidegate_core::words::DataClass::{ApiSecret, Email, Iban};

use super::fields::target;
use super::*;
use crate::mask::pass::Subjects;
use crate::subject::SubjectKey;

fn key() -> SubjectKey {
    SubjectKey::new(1, &[5; 32]).unwrap()
}

fn subject(path: &str, name: &str) -> Target {
    let field = Field {
        selector: Selector::Path(Path::parse(path).unwrap()),
        class: None,
        subject: Some(name.into()),
        text: path.into(),
    };
    Target::Field(Arc::new(field))
}

/// Shows values as records 10, 11, … and yields the tags.
fn tags(plan: &MaskPlan, key: &SubjectKey, max: usize, values: &[&str]) -> Subjects {
    let mut pass = plan.begin().tagging(key, max, 0);
    for (offset, value) in (10..).zip(values) {
        let value = Some(value.as_bytes());
        let _ = pass.inspect(&Record { offset, timestamp_millis: 0, key: None, value, headers: Default::default() });
    }
    pass.tally().subjects.clone()
}

fn plan() -> MaskPlan {
    let observed = |target| MaskEntry { observes: true, ..MaskEntry::new(target, Operator::Redact, "seen") };
    MaskPlan::new([
        MaskEntry::new(Target::Class(Email), Operator::Redact, "mails"),
        MaskEntry::new(Target::Class(Iban), Operator::None, "exempt"),
        observed(subject("$.customer", "customer_id")),
        MaskEntry::new(target(Selector::Name("note".into())), Operator::Redact, "notes"),
        MaskEntry::new(Target::Class(ApiSecret), Operator::Redact, "secrets"),
    ])
}

#[test]
fn what_is_masked_seen_or_exempt_is_tagged_by_record() {
    let key = key();
    let (mail, customer) = (key.tag("email", "alice@example.com").unwrap(), key.tag("customer_id", "C-4711").unwrap());
    let iban = key.tag("iban", "DE89370400440532013000").unwrap();
    for (value, expected) in [
        (r#"{"a":"alice@example.com"}"#, vec![(mail, "mails")]),
        (r#"{"a":"ALICE@example.com","b":"alice\u0040example.com"}"#, vec![(mail, "mails")]),
        (r#"{"customer":"C-4711","x":"DE89 3704 0044 0532 0130 00"}"#, vec![(iban, "exempt"), (customer, "seen")]),
        (r#"{"customer":"C\u002d4711"}"#, vec![(customer, "seen")]),
        (r#"{"customer":{"id":"C-4711","ok":true,"none":null}}"#, vec![(customer, "seen")]),
        // Two in one place are two; a field that says nothing about whose it is, is nobody's.
        (
            r#"{"customer":"alice@example.com"}"#,
            vec![(mail, "mails"), (key.tag("customer_id", "alice@example.com").unwrap(), "seen")],
        ),
        (r#"{"note":"hello"}"#, vec![]),
        (r#"{"token":"ghp_0123456789abcdefghijABCDEFGHIJ012345"}"#, vec![]),
        ("nothing", vec![]),
    ] {
        let plan = plan();
        let found = tags(&plan, &key, 100, &["", value]);
        let found: Vec<(u64, &str)> = found
            .tags
            .iter()
            .map(|tag| {
                assert_eq!(tag.offset, 11);
                (tag.tag, &*plan.entries()[usize::from(tag.entry)].rule)
            })
            .collect();
        assert_eq!(found, expected, "{value}");
    }
}

#[test]
fn numbers_and_other_documents_are_tagged_too() {
    let key = key();
    let plan = MaskPlan::new([MaskEntry::new(subject("$..id", "order"), Operator::Redact, "r")]);
    let found = tags(&plan, &key, 100, &[r#"{"id":4711}"#, r#"{"in":"{\"id\":\"4711\"}"}"#]);
    let four = key.tag("order", "4711").unwrap();
    assert_eq!(found.tags.iter().map(|tag| (tag.offset, tag.tag)).collect::<Vec<_>>(), [(10, four), (11, four)]);
}

#[test]
fn the_most_is_kept_and_the_rest_counted() {
    let key = key();
    let values: Vec<String> = (0..50).map(|n| format!("a{n}@example.com b{n}@example.com")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let found = tags(&plan(), &key, 30, &values);
    assert_eq!((found.tags.len(), found.cut), (30, 70));
    let mut pass = plan();
    pass = MaskPlan::new(pass.entries().to_vec());
    let untagged = pass.begin().payload(b"alice@example.com");
    assert_eq!(untagged.as_deref(), Some(&b"[email]"[..]));
}

/// Tagging says nothing but tags: what becomes of records, and the counts, stay the same.
#[test]
fn tagging_changes_nothing_else() {
    let plan = plan();
    let key = key();
    for value in
        [r#"{"customer":"C-1","note":"n","m":"a@b.example DE89370400440532013000"}"#, "x a@b.example y", "{", ""]
    {
        let (mut plain, mut tagged) = (plan.begin(), plan.begin().tagging(&key, 9, 0));
        assert_eq!(plain.value(value.as_bytes()), tagged.value(value.as_bytes()), "{value}");
        let counts =
            |pass: &MaskPass<'_>| pass.counts().map(|(entry, count)| (entry.rule.clone(), count)).collect::<Vec<_>>();
        assert_eq!(counts(&plain), counts(&tagged), "{value}");
    }
}
