//! Values that are split across fields.

use super::fields::target;
use super::*;

fn split(paths: &[&str], class: DataClass, operator: &Operator) -> MaskEntry {
    let parsed = paths.iter().map(|path| Path::parse(path).unwrap()).collect();
    let split = Split { paths: parsed, class, text: paths.join(" + ").into() };
    MaskEntry::new(Target::Split(Arc::new(split)), Split::operator(operator), "split")
}

#[track_caller]
fn masked(plan: &MaskPlan, payload: &str, expected: &str) {
    let masked = plan.begin().value(payload.as_bytes()).unwrap();
    let masked = masked.map_or(payload.to_owned(), |bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(masked, expected, "{payload}");
}

#[test]
fn parts_of_one_value_are_masked_together() {
    let plan = MaskPlan::new([
        split(&["$.card.a", "$.card.b", "$.card.c", "$.card.d"], DataClass::PaymentCard, &Operator::KeepLast(4)),
        split(&["$.cards[*].first", "$.cards[*].rest"], DataClass::PaymentCard, &Operator::Redact),
        split(&["$.mail.user", "$.mail.host"], DataClass::Email, &Operator::Redact),
        split(&["$.born.y", "$.born.m", "$.born.d"], DataClass::DateOfBirth, &Operator::Redact),
        split(&["$.bsn[0]", "$.bsn[1]"], DataClass::NlBsn, &Operator::Redact),
    ]);
    for (payload, expected) in [
        (
            r#"{"card":{"d":"1111","a":"4111","b":1111,"c":"1111"},"n":1}"#,
            r#"{"card":{"d":"[payment_card]","a":"[payment_card]","b":0,"c":"[payment_card]"},"n":1}"#,
        ),
        // No card.
        (
            r#"{"card":{"a":"4111","b":1111,"c":"1111","d":"1112"}}"#,
            r#"{"card":{"a":"4111","b":1111,"c":"1111","d":"1112"}}"#,
        ),
        // Each object of a list for itself.
        (
            r#"{"cards":[{"first":"41111111","rest":"11111111"},{"first":"41111111","rest":"11111112"},{"first":"5555 5555","rest":"5555 4444"}]}"#,
            r#"{"cards":[{"first":"[payment_card]","rest":"[payment_card]"},{"first":"41111111","rest":"11111112"},{"first":"[payment_card]","rest":"[payment_card]"}]}"#,
        ),
        (r#"{"mail":{"user":"alice","host":"example.com"}}"#, r#"{"mail":{"user":"[email]","host":"[email]"}}"#),
        (r#"{"mail":{"user":"al\u0069ce"}}"#, r#"{"mail":{"user":"al\u0069ce"}}"#),
        (r#"{"born":{"d":12,"m":"03","y":1985}}"#, r#"{"born":{"d":0,"m":"[date_of_birth]","y":0}}"#),
        (r#"{"bsn":["1112","22333"]}"#, r#"{"bsn":["[nl_bsn]","[nl_bsn]"]}"#),
        ("41111111 and 11111111", "41111111 and 11111111"),
        (r#"{"card":{"a":"#, r#"{"card":{"a":"#),
    ] {
        masked(&plan, payload, expected);
    }
    // A field that another rule masks stays that rule's.
    let plan = MaskPlan::new([
        MaskEntry::new(target(Selector::Path(Path::parse("$.a").unwrap())), Operator::Replace("x".into()), "path"),
        split(&["$.a", "$.b"], DataClass::PaymentCard, &Operator::Redact),
    ]);
    let masked = plan.begin().value(br#"{"a":"41111111","b":"11111111"}"#).unwrap().unwrap();
    let masked = String::from_utf8(masked).unwrap();
    assert!(masked.contains(r#""b":"[payment_card]""#) && !masked.contains("4111"), "{masked}");
}

#[test]
fn what_is_split_is_part_of_the_fingerprint() {
    let plan = |paths: &[&str], class| MaskPlan::new([split(paths, class, &Operator::Redact)]).fingerprint();
    let one = plan(&["$.a", "$.b"], DataClass::Email);
    assert_ne!(one, plan(&["$.a", "$.c"], DataClass::Email));
    assert_ne!(one, plan(&["$.a", "$.b"], DataClass::Phone));
    let entry = || MaskEntry::new(Target::Class(DataClass::Phone), Operator::Redact, "r");
    let mut with = entry();
    with.extras.base64_depth = 1;
    let mut regions = entry();
    regions.extras.regions = Some(Arc::new(crate::scan::region::Regions::new(["DE"]).unwrap()));
    let prints = [entry(), with, regions].map(|entry| MaskPlan::new([entry]).fingerprint());
    assert!(prints[0] != prints[1] && prints[1] != prints[2] && prints[0] != prints[2]);
}
