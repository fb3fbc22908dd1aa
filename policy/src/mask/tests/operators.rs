//! The operators that change a value's shape, and those that need a key.

use tidegate_core::words::DataClass::{EuVat, Iban, Ipv4, Ipv6, MacAddress, UsSsn};

use super::*;

fn key() -> MaskKey {
    MaskKey::new("customers", 3, b"0123456789abcdef0123456789abcdef").unwrap()
}

#[test]
fn nullify() {
    for (payload, expected) in [
        (r#"{"e":"alice@example.com","n":1}"#, r#"{"e":null,"n":1}"#),
        (r#"{"e":"alice\u0040example.com"}"#, r#"{"e":null}"#),
        (r#"["alice@example.com" , 4111111111111111]"#, "[null , null]"),
        (r#"{"e":"to alice@example.com!"}"#, r#"{"e":"to !"}"#),
        (r#"{"alice@example.com":1}"#, r#"{"":1}"#),
        (r#"{"t":"{\"e\":\"alice@example.com\"}"}"#, r#"{"t":"{\"e\":\"\"}"}"#),
        ("to alice@example.com!", "to !"),
    ] {
        check(&Operator::Nullify, payload.as_bytes(), expected.as_bytes());
    }
    check(&Operator::Nullify, b"\x00\x22alice@example.com\x02", b"\x00\x22*****************\x02");
}

#[test]
fn truncate() {
    for (payload, expected) in [
        ("4111 1111 1111 1111 x", "4111 1 x"),
        ("+49 151 12345678", "+49 15"),
        (r#"{"e":"alice\u0040example.com"}"#, r#"{"e":"alice"}"#),
        (r#"{"c":4111111111111111}"#, r#"{"c":4111100000000000}"#),
    ] {
        let count = if payload.contains("49") { 4 } else { 5 };
        check(&Operator::Truncate(count), payload.as_bytes(), expected.as_bytes());
    }
    // Half at most is left.
    check(&Operator::Truncate(60), b"+4915112345678", b"+491511");
    check(&Operator::Truncate(2), b"\x00+4915112345678", b"\x00+4************");
}

#[test]
fn generalise() {
    for (payload, expected) in [
        ("from 203.0.113.17 port 80", "from 203.0.113.0 port 80"),
        ("2001:db8:85a3::8a2e:370:7334", "2001:db8:85a3::"),
        ("00-1b-44-11-3a-b7", "00-1b-44-00-00-00"),
        ("alice@example.com", "*@example.com"),
        (r#"{"e":"alice\u0040example.com"}"#, r#"{"e":"*@example.com"}"#),
        ("4111 1111 1111 1111", "4111 11** **** ****"),
        (r#"{"c":4111111111111111}"#, r#"{"c":4111110000000000}"#),
        ("DE89 3704 0044 0532 0130 00", "DE"),
        ("IT00743110157", "IT"),
        ("+4915112345678", "[phone]"),
    ] {
        check(&Operator::Generalise, payload.as_bytes(), expected.as_bytes());
    }
    for class in DataClass::ALL {
        assert_eq!(
            can_generalise(class),
            [DataClass::DateOfBirth, Email, EuVat, Iban, Ipv4, Ipv6, MacAddress, PaymentCard].contains(&class)
        );
    }
}

#[test]
fn pseudonyms_join_whatever_the_spelling() {
    let plan = plan(&Operator::Pseudonym(key()));
    let masked = |payload: &str| String::from_utf8(plan.begin().payload(payload.as_bytes()).unwrap()).unwrap();
    for spellings in [
        &["alice@example.com", "ALICE@example.com", "alice%40example.com", "alice＠example.com"][..],
        &["+49 (0) 151 12345678", "+4915112345678", "＋49-151-12345678"],
        &["4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111"],
        &["DE89 3704 0044 0532 0130 00", "de89370400440532013000"],
        &["2001:db8::1", "2001:0DB8:0:0:0:0:0:1"],
    ] {
        let first = masked(spellings[0]);
        assert!(first.contains("_3_"), "{first}");
        for spelling in spellings {
            assert_eq!(masked(spelling), first, "{spelling}");
        }
    }
    assert_ne!(masked("alice@example.com"), masked("alice@example.org"));
    // A second pass finds nothing in them.
    assert_eq!(plan.begin().payload(masked("alice@example.com 4111111111111111").as_bytes()), None);
    // A number stays a number, of as many digits, and the same everywhere.
    let number = masked(r#"{"c":4111111111111111}"#);
    let digits = number.strip_prefix(r#"{"c":"#).and_then(|rest| rest.strip_suffix('}')).unwrap();
    assert!(digits.len() == 16 && digits.parse::<u64>().is_ok() && digits != "4111111111111111", "{number}");
    assert_eq!(masked(r#"{"c":4111111111111111}"#), number);
    // Binary keeps its length.
    let binary = plan.begin().payload(b"\x00\x22alice@example.com\x02").unwrap();
    assert_eq!(binary.len(), 20);
    assert!(binary.iter().skip(2).take(17).all(u8::is_ascii_hexdigit));
}

#[test]
fn encryption_keeps_the_form_and_can_be_undone() {
    let plan = plan(&Operator::Encrypt(key()));
    let masked = |payload: &str| String::from_utf8(plan.begin().payload(payload.as_bytes()).unwrap()).unwrap();
    let form = |text: &str| text.replace(|character: char| character.is_ascii_digit(), "0");
    for text in ["4111 1111 1111 1111", "+49 151 12345678", "DE89370400440532013000", "ssn: 536-90-4399"] {
        let encrypted = masked(text);
        assert_ne!(encrypted, text);
        assert_eq!(form(&encrypted), form(text));
    }
    let decrypt = |class: DataClass, text: &str| {
        let mut digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect();
        assert!(key().decrypt(class.name(), &mut digits));
        digits.iter().map(u8::to_string).collect::<String>()
    };
    assert_eq!(decrypt(PaymentCard, &masked("4111 1111 1111 1111")), "4111111111111111");
    assert_eq!(decrypt(UsSsn, &masked("ssn: 536904399")), "536904399");
    // In a JSON number no zero may stand first: the walk goes on past it, both ways.
    for card in ["4111111111111111", "5555555555554444", "4012888888881881", "6011111111111117", "378282246310005"] {
        let document = masked(&format!(r#"{{"c":{card}}}"#));
        let number: serde_json::Value = serde_json::from_str(&document).unwrap();
        let mut undone = decrypt(PaymentCard, &number["c"].to_string());
        while undone.starts_with('0') {
            undone = decrypt(PaymentCard, &undone);
        }
        assert_eq!(undone, card);
    }
    // What has no six digits is not let through.
    assert_eq!(masked("alice@example.com"), "[email]");
    assert!(!can_encrypt(Email) && can_encrypt(PaymentCard));
}

#[test]
fn a_dropped_record_is_emptied_and_keeps_its_offset() {
    let entries = [entry(PaymentCard, Operator::DropRecord), entry(Email, Operator::Redact)];
    let came = records();
    let mut expected = came.clone();
    // The card stands in a header of the first record; the others are let be.
    expected.records[0].value = None;
    expected.records[0].headers.iter_mut().for_each(|header| header.1 = None);
    let (inspected, masked, counts) = through(&MaskPlan::new(entries), &came.build().unwrap());
    assert_eq!(inspected.records, expected.build().unwrap());
    assert_eq!((masked, counts), (1, [1, 0, 1]));
    let plan = plan(&Operator::DropRecord);
    let mut pass = plan.begin();
    assert_eq!(pass.payload(b"to a@b.cc"), Some(Vec::new()));
    assert_eq!(pass.payload(b"clean"), None);
}
