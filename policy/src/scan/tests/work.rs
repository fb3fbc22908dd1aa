//! How much validators do: counted, not timed. What nearly is data, over and over, must not make them look at
//! the same bytes again and again.

use proptest::prelude::*;

use super::super::{ClassSet, Extras, Finding, Scanner, portable, work};

/// What the scanner looks at for each byte of a text, at most: candidates may follow each other closely, and
/// each may have its words looked at for several classes.
const WORK_PER_BYTE_MAX: u64 = 400;

fn with_all() -> Extras {
    let regions = super::super::region::Regions::new(["DE", "FR", "GB", "US"]).unwrap();
    Extras { regions: Some(std::sync::Arc::new(regions)), base64_depth: 3 }
}

/// The bytes that validators looked at in `unit`, repeated.
fn work_of(unit: &[u8], bytes: usize) -> u64 {
    let text = unit.repeat(bytes / unit.len());
    work::take();
    Scanner::new(with_all()).scan(&text, ClassSet::ALL, &mut Vec::new());
    work::take()
}

#[test]
fn near_misses_cost_linear_work() {
    let units: &[&[u8]] = &[
        b"1",
        b"1 ",
        b"12 ",
        b"1-2.",
        b"4111 1111 1111 1112 ",
        b"4111",
        b"@",
        b"a@",
        b"a.",
        b"a@b.",
        b"+",
        b"+1",
        b"+1 ",
        b"+49 ",
        b"1.",
        b"1.1.1.1.",
        b":",
        b"::",
        b":1",
        b"a:",
        b"ab:",
        b"abcd:",
        b"aa-",
        b"DE89 ",
        b"DE89",
        b"AB12",
        b"FR7630006000 ",
        b"eyJ",
        b"eyJaaaaaaaaaaaa.",
        b"eyJaaaaaaaaaaaa-",
        b"ghp_aaaaaaaaaaaaaa",
        b"sk-aaaaaaaaaaaaaaaa",
        b"AKIA",
        b"-----BEGIN ",
        b"\\n-----BEGIN PRIVATE KEY-----\\naaaaaaaaaaaaaa",
        b"a",
        b"aaaaaaaaaaaaaa ",
        b"aaaaaaaaaaaaaa_",
        b"0x",
        b"0x0000000000000000000",
        b"1A1zP1eP5QGefi2DMPTfTL5SLmv7Div ",
        b"bc1q",
        b"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5 ",
        b"ltc1qar0srrr7xfkvy5l643lydnw9re59gtzz ",
        b"P<UTO",
        b"L898902C36UTO7408122F1204159ZE184226B<<<<<11\n",
        b"<",
        b"<<<<<<<<A1",
        b"AB1234567 ",
        b"passport AB123456 ",
        b"passport ",
        b"passport passport 123456789 ",
        b"dob 12.13.1985 ",
        b"geboren 12.12.1985 ",
        b"bsn 111222334 ",
        b"bsn bsn bsn 12345 ",
        b"Tel. 030 ",
        b"tel 0 ",
        b"Tel. (030) 1234567 ",
        b"030 123 456 ",
        b"YWxpY2VAZXhhbXBsZS5jb20=",
        b"YWxpY2U",
        b"YWxp/",
        b"YWxp-",
        b"=",
        b"\\",
        b"\\\\\\\\",
        b"\\u",
        b"\\u0040",
        b"\\\\u0031",
        b"%",
        b"%4",
        b"%40",
        b"%2540",
        b"\xef\xbc\x91",
        b"\xe2\x91\xa0",
        b"\xc2\xad",
        b"\xf0\x9d\x9f\x8e",
        b"\xff",
        b"\xc2",
        b"\xe2\x80",
        b"131052-308U ",
        b"131052-",
        b"1 84 12 2A ",
        b"1 84 12 76 451 089 47 ",
        b"X1234567 ",
        b"12345678 ",
        b"IE6433435 ",
        b"ATU1358562 ",
        b"NL004495445B0 ",
        b"00-1b-44-11-3a-",
        b"00:1b:44:11:3a:",
        b"{\"a\":",
        b"[",
        b"{\"dob\":\"",
        b"\"",
        b"\n",
        b"\0",
    ];
    for unit in units {
        let (once, twice) = (work_of(unit, 20_000), work_of(unit, 40_000));
        let shown = String::from_utf8_lossy(unit);
        assert!(once <= WORK_PER_BYTE_MAX * 20_000, "{shown:?}: {once}");
        assert!(twice <= once * 21 / 10 + 1000, "{shown:?}: {once}, then {twice}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 3000, ..ProptestConfig::default() })]

    /// Whatever reads the windows, the findings are the same: of values of all classes, nearly such values
    /// and disguises, at any place in a window.
    #[test]
    fn findings_do_not_depend_on_the_instructions(
        pieces in proptest::collection::vec(prop_oneof![
            "[ -~]{0,20}", "[0-9 ./-]{1,24}", "[A-Z0-9<]{1,44}", "[a-f0-9:-]{2,40}", "[A-Za-z0-9+/=_-]{12,50}",
            Just("alice@example.com".to_owned()), Just("+49 30 12345678".to_owned()), Just("4111 1111 1111 1111".to_owned()),
            Just("DE89370400440532013000".to_owned()), Just("passport no. AB1234567".to_owned()), Just("geboren am 12.03.1985".to_owned()),
            Just("Tel. 030 12345678".to_owned()), Just("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".to_owned()),
            Just("L898902C36UTO7408122F1204159ZE184226B<<<<<10".to_owned()), Just("PPS number 6433435F".to_owned()),
            Just("YWxpY2VAZXhhbXBsZS5jb20=".to_owned()), Just("\\u0040".to_owned()), Just("\u{ff11}".to_owned()), Just("é".to_owned()),
            Just("kennitala 120174-3399".to_owned()), Just("FR40303265045".to_owned()), Just("131052-308T".to_owned()),
        ], 0..8),
        before in 0..70usize,
    ) {
        let text = " ".repeat(before) + &pieces.join(" ");
        let scan = || {
            let mut findings: Vec<Finding> = Vec::new();
            Scanner::new(with_all()).scan(text.as_bytes(), ClassSet::ALL, &mut findings);
            findings
        };
        let chosen = scan();
        let plain = portable(scan);
        prop_assert_eq!(chosen, plain, "{}", text);
    }

    /// Anything may come, with all that may be asked for.
    #[test]
    fn anything_may_be_scanned_with_all_on(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'<'), Just(b'1'), Just(b' '), Just(b'A'), Just(b'.'), Just(b'\\'), Just(b'=')], 0..200),
    ) {
        let mut findings = Vec::new();
        Scanner::new(with_all()).scan(&bytes, ClassSet::ALL, &mut findings);
        for finding in &findings {
            prop_assert!(finding.span.start < finding.span.end && finding.span.end <= bytes.len());
        }
    }
}

#[test]
fn a_record_of_100_megabytes_is_scanned_to_its_end() {
    let line = br#"{"id":"5f0c8b1e-0b51-4b42-9f5e-000000000012","ts":1772361296789,"note":"a clean line"}"#;
    let mut text = line.repeat(100_000_000 / line.len());
    text.extend_from_slice(b"[".repeat(100_000).as_slice());
    text.extend_from_slice(b"\xff\xfe alice@example.com");
    let mut findings = Vec::new();
    let mut scanner = Scanner::default();
    scanner.scan(&text, ClassSet::ALL, &mut findings);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].span, text.len() - 17..text.len());
}
