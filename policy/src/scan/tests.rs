//! What is found and what is left alone, each case a line.

use proptest::prelude::*;
use tidegate_core::words::DataClass::{Email, PaymentCard, Phone};

use super::*;

mod classes;
mod more;
mod work;

/// The classes that the first tests are about; the others have theirs in [`classes`].
fn found(text: &str) -> Vec<(DataClass, &str)> {
    found_of(&[Email, Phone, PaymentCard], text)
}

fn found_of<'a>(classes: &[DataClass], text: &'a str) -> Vec<(DataClass, &'a str)> {
    let mut findings = Vec::new();
    scan(text.as_bytes(), classes.iter().copied().collect(), &mut findings);
    findings.into_iter().map(|finding| (finding.class, &text[finding.span])).collect()
}

#[track_caller]
fn check(text: &str, expected: &[(DataClass, &str)]) {
    assert_eq!(found(text), expected, "in {text:?}");
}

#[test]
fn emails() {
    for (text, address) in [
        ("alice@example.com", "alice@example.com"),
        ("write to <Bob.Smith+tag@mail.example.co.uk>, please", "Bob.Smith+tag@mail.example.co.uk"),
        (r#"{"email":"a_b-c%d@sub-domain.example.org"}"#, "a_b-c%d@sub-domain.example.org"),
        ("mailto:x@y.de?subject=hi", "x@y.de"),
        ("email=alice@example.com&next=1", "alice@example.com"),
        ("'o'brien@example.ie'", "o'brien@example.ie"),
        ("It was alice@example.com.", "alice@example.com"),
        ("alice@example.com.2024-01-01", "alice@example.com"),
        ("alice@example.com-2024", "alice@example.com"),
        ("alice@example.com-", "alice@example.com"),
        ("...alice@example.com", "alice@example.com"),
        ("müller@exämple.de", "müller@exämple.de"),
        ("a@xn--mnchen-3ya.xn--p1ai", "a@xn--mnchen-3ya.xn--p1ai"),
        (r#"{"t":"one\nalice@example.com\ttwo"}"#, "alice@example.com"),
        (r#""{\"t\":\"one\\nalice@example.com\\ttwo\"}""#, "alice@example.com"),
        (r"DOMAIN\\alice@example.com", "alice@example.com"),
        ("4111111111111111.alice@example.com", "4111111111111111.alice@example.com"),
    ] {
        let emails: Vec<_> = found(text).into_iter().filter(|(class, _)| *class == Email).collect();
        assert_eq!(emails, [(Email, address)], "in {text:?}");
    }
    for text in [
        "@example.com",
        "alice@",
        "alice@localhost",
        "alice@example",
        "alice @ example.com",
        "alice.@example.com",
        "alice@-example.com",
        "alice@example-.com",
        "alice@.com",
        "alice@example.c",
        "alice@10.0.0.1",
        "@",
        "@@@@",
        "",
        "user@host.123",
        r"\n@example.com",
    ] {
        check(text, &[]);
    }
    // A local part beyond the longest is cut to the longest.
    let long = format!("{}@example.com", "a".repeat(100));
    assert_eq!(found(&long), [(Email, &long[36..])]);
    check("a@b.cc,d@e.ff", &[(Email, "a@b.cc"), (Email, "d@e.ff")]);
}

#[test]
fn escapes_hide_nothing_and_stay_whole() {
    for text in [
        r#"{"e":"alice\u0040example.com"}"#,
        r#"{"e":"alice\u0040example\u002ecom"}"#,
        r#"{"e":"\u0061lice@example.co\u006D"}"#,
        r#""{\"e\":\"alice\\u0040example.com\"}""#,
        r#"{"e":"m\u00fcller@example.com"}"#,
    ] {
        let findings = found(text);
        assert_eq!(findings.len(), 1, "in {text:?}");
        let (class, address) = findings[0];
        assert_eq!(class, Email);
        let whole = text
            .split("\\\"")
            .nth(3)
            .map_or_else(|| text.split('"').nth(3), |inner| Some(inner.trim_end_matches('\\')));
        assert_eq!(Some(address), whole, "in {text:?}");
    }
    check(r#"["\u002B49 30 1234567"]"#, &[(Phone, r"\u002B49 30 1234567")]);
    check(r#"["4111\u0031111\u00201111 1111"]"#, &[(PaymentCard, r"4111\u0031111\u00201111 1111")]);
    check(r#"["4111\u002011111111\u00201111"]"#, &[(PaymentCard, r"4111\u002011111111\u00201111")]);
    check(r#"["\u00a04111111111111111"]"#, &[(PaymentCard, "4111111111111111")]);
    // No escapes after all.
    check(r"C:\users\x \uZZZZ \u12 \ud83d alice@example.com \u", &[(Email, "alice@example.com")]);
}

#[test]
fn phones() {
    for (text, number) in [
        ("+4915112345678", "+4915112345678"),
        ("call +49 (0) 30 1234567 now", "+49 (0) 30 1234567"),
        ("tel:+1-202-555-0123;ext=1", "+1-202-555-0123"),
        ("+44 20 7946 0958", "+44 20 7946 0958"),
        ("+33.1.23.45.67.89", "+33.1.23.45.67.89"),
        ("+(49)30/1234567", "+(49)30/1234567"),
        (r#"{"t":"a\n+4915112345678\n"}"#, "+4915112345678"),
        ("+4915112345678 12 items", "+4915112345678"),
        ("+123456789012345", "+123456789012345"),
    ] {
        check(text, &[(Phone, number)]);
    }
    for text in [
        "2024-01-01T00:00:00+02:00",
        "2024-01-01T00:00:00.000+1000",
        "+0491511234567",
        "+1234567",
        "+1234567890123456",
        "1+12345678901",
        "abc+4915112345678",
        "+49151123456ab",
        "+12345678@",
        "+",
        "++",
        "+ 49 30 1234567",
        "+49---30---1234567",
    ] {
        check(text, &[]);
    }
}

#[test]
fn cards() {
    for (text, number) in [
        ("4111111111111111", "4111111111111111"),
        ("card: 4111 1111 1111 1111 exp 12/30", "4111 1111 1111 1111"),
        ("4111-1111-1111-1111", "4111-1111-1111-1111"),
        ("visa 4222222222222", "4222222222222"),
        ("5555555555554444,", "5555555555554444"),
        // Mastercard's 2-series.
        ("2223003122003222", "2223003122003222"),
        ("2720 9999 9999 9996", "2720 9999 9999 9996"),
        ("378282246310005", "378282246310005"),
        ("3782 822463 10005", "3782 822463 10005"),
        ("30569309025904", "30569309025904"),
        ("3530111333300000", "3530111333300000"),
        ("6011111111111117", "6011111111111117"),
        ("6205500000000000004", "6205500000000000004"),
        (r#"{"card":4111111111111111}"#, "4111111111111111"),
        (r#"{"card":"n\n4111111111111111"}"#, "4111111111111111"),
        ("id 1234 4111111111111111", "4111111111111111"),
        ("1,4111111111111111,2", "4111111111111111"),
        ("paid with 4111111111111111.", "4111111111111111"),
        ("+4111111111111111", "4111111111111111"),
    ] {
        check(text, &[(PaymentCard, number)]);
    }
    for text in [
        "4222222222222",
        "4111111111111112",
        "1234567812345670",
        "411111111111",
        "41111111111111111111",
        "a4111111111111111",
        "4111111111111111b",
        "0.4111111111111111",
        "4111111111111111.5",
        "4111--1111--1111--1111",
        "4111 1111-1111 1111",
        "2220999999999999",
        "5655555555555559",
        "2024-01-15 10:30:00.123456",
        "4111_1111_1111_1111",
    ] {
        check(text, &[]);
    }
    check("4111111111111111 5555555555554444", &[(PaymentCard, "4111111111111111"), (PaymentCard, "5555555555554444")]);
}

#[test]
fn a_card_is_found_at_every_place() {
    for before in 0..40 {
        for after in 0..6 {
            let text = format!("{}4111 1111 1111 1111{}", " ".repeat(before), " ".repeat(after));
            check(&text, &[(PaymentCard, "4111 1111 1111 1111")]);
        }
    }
}

#[test]
fn times_are_no_cards() {
    // Milliseconds from 2001 to 2096, microseconds and nanoseconds of our time.
    let millis = (1_000_000_000_000u64..3_999_999_999_999).step_by(7_777_777_777);
    let micros = (1_600_000_000_000_000u64..1_999_999_999_999_999).step_by(1_234_567_890_123);
    let nanos = (1_600_000_000_000_000_000u64..1_999_999_999_999_999_999).step_by(1_234_567_890_123_457);
    for time in millis.chain(micros).chain(nanos) {
        check(&format!(r#"{{"ts":{time}}}"#), &[]);
    }
}

#[test]
fn classes_that_are_not_asked_for_are_not_found() {
    let text = b"alice@example.com +4915112345678 4111111111111111";
    for class in [Email, Phone, PaymentCard] {
        let mut findings = Vec::new();
        scan(text, [class].into_iter().collect(), &mut findings);
        assert_eq!(findings.iter().map(|finding| finding.class).collect::<Vec<_>>(), [class]);
    }
    let mut findings = Vec::new();
    scan(text, ClassSet::default(), &mut findings);
    assert!(findings.is_empty());
}

#[test]
fn long_runs_take_linear_time() {
    for unit in ["1", "@", "+", "a@", "1 ", "1234 ", "+1", "\\", "\\u0040", "\\\\u0031", "a.", "4111 1111 1111 1111 "] {
        let text = unit.repeat(400_000 / unit.len());
        let mut findings = Vec::new();
        // Quadratic time would be many minutes.
        scan(text.as_bytes(), ClassSet::ALL, &mut findings);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn anything_may_be_scanned(text in "[a1@+. \\-\\\\u0049\u{fc}\"'(n]{0,80}", tail in proptest::collection::vec(any::<u8>(), 0..20)) {
        let bytes = [text.as_bytes(), &tail].concat();
        let mut findings = Vec::new();
        scan(&bytes, ClassSet::ALL, &mut findings);
        for finding in &findings {
            prop_assert!(finding.span.start < finding.span.end && finding.span.end <= bytes.len());
        }
        prop_assert!(findings.is_sorted_by_key(|finding| finding.span.start));
    }

    #[test]
    fn planted_data_is_found(before in "[a-z :,{\"]{0,30}[ :,\"]", after in "[ ,\"}][a-z :,{\"]{0,30}", kind in 0..3usize) {
        let (class, data) = [(Email, "alice@example.com"), (Phone, "+4915112345678"), (PaymentCard, "5555-5555-5555-4444")][kind];
        let text = format!("{before}{data}{after}");
        prop_assert_eq!(found(&text), [(class, data)]);
    }
}
