//! Each class: published samples that must be found, alone and in their forms, and near misses.

use tidegate_core::words::DataClass::{self, *};

use super::{ClassSet, found_of, scan};

/// Checks that of all classes exactly `class` is found, as `value`.
#[track_caller]
fn is_found(class: DataClass, text: &str, value: &str) {
    assert_eq!(found_of(&DataClass::ALL, text), [(class, value)], "in {text:?}");
}

#[track_caller]
fn nothing(text: &str) {
    assert_eq!(found_of(&DataClass::ALL, text), [], "in {text:?}");
}

/// Values that need no word before them: found in a field, in text, behind an escape; not within a word.
#[track_caller]
fn stands_alone(class: DataClass, value: &str) {
    is_found(class, value, value);
    is_found(class, &format!(r#"{{"reference":"{value}"}}"#), value);
    is_found(class, &format!("It is {value}, as you said."), value);
    is_found(class, &format!(r#"{{"note":"first\n{value}\nlast"}}"#), value);
    nothing(&format!("{value}Q7"));
    nothing(&format!("q{value}"));
}

/// Values that need a word before them.
#[track_caller]
fn needs_context(class: DataClass, word: &str, value: &str) {
    nothing(&format!(r#"{{"reference":"{value}"}}"#));
    nothing(value);
    is_found(class, &format!(r#"{{"{word}":"{value}","n":1}}"#), value);
    is_found(class, &format!("{word}: {value}"), value);
    is_found(class, &format!("{word}={value}&b=1"), value);
    nothing(&format!(r#"{{"{word}":"","order":"{value}"}}"#));
}

#[test]
fn ibans() {
    // The registry's own examples.
    for iban in [
        "AD1200012030200359100100",
        "AE070331234567890123456",
        "AL47212110090000000235698741",
        "AT611904300234573201",
        "AZ21NABZ00000000137010001944",
        "BA391290079401028494",
        "BE68539007547034",
        "BG80BNBG96611020345678",
        "BH67BMAG00001299123456",
        "BR1800360305000010009795493C1",
        "CH9300762011623852957",
        "CR05015202001026284066",
        "CY17002001280000001200527600",
        "CZ6508000000192000145399",
        "DE89370400440532013000",
        "DK5000400440116243",
        "DO28BAGR00000001212453611324",
        "EE382200221020145685",
        "ES9121000418450200051332",
        "FI2112345600000785",
        "FO6264600001631634",
        "FR1420041010050500013M02606",
        "GB29NWBK60161331926819",
        "GE29NB0000000101904917",
        "GI75NWBK000000007099453",
        "GL8964710001000206",
        "GR1601101250000000012300695",
        "GT82TRAJ01020000001210029690",
        "HR1210010051863000160",
        "HU42117730161111101800000000",
        "IE29AIBK93115212345678",
        "IL620108000000099999999",
        "IS140159260076545510730339",
        "IT60X0542811101000000123456",
        "KW81CBKU0000000000001234560101",
        "KZ86125KZT5004100100",
        "LB62099900000001001901229114",
        "LI21088100002324013AA",
        "LT121000011101001000",
        "LU280019400644750000",
        "LV80BANK0000435195001",
        "MC5811222000010123456789030",
        "MD24AG000225100013104168",
        "ME25505000012345678951",
        "MK07250120000058984",
        "MR1300020001010000123456753",
        "MT84MALT011000012345MTLCAST001S",
        "MU17BOMM0101101030300200000MUR",
        "NL91ABNA0417164300",
        "NO9386011117947",
        "PK36SCBL0000001123456702",
        "PL61109010140000071219812874",
        "PS92PALS000000000400123456702",
        "PT50000201231234567890154",
        "QA58DOHB00001234567890ABCDEFG",
        "RO49AAAA1B31007593840000",
        "RS35260005601001611379",
        "SA0380000000608010167519",
        "SE4550000000058398257466",
        "SI56263300012039086",
        "SK3112000000198742637541",
        "SM86U0322509800000000270100",
        "TN5910006035183598478831",
        "TR330006100519786457841326",
        "UA213223130000026007233566001",
        "VG96VPVG0000012345678901",
        "XK051212012345678906",
    ] {
        stands_alone(Iban, iban);
        is_found(Iban, &iban.to_lowercase(), &iban.to_lowercase());
        let grouped: Vec<&str> = iban.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap()).collect();
        let grouped = grouped.join(" ");
        is_found(Iban, &format!("to {grouped} please"), &grouped);
        // One digit off, one character short, one more.
        let last = if iban.ends_with('1') { "2" } else { "1" };
        let missed = format!("{}{last}", &iban[..iban.len() - 1]);
        for text in [&missed, &iban[..iban.len() - 1], &format!("{iban}0")] {
            assert_eq!(found_of(&[Iban], text), [], "in {text:?}");
        }
    }
    nothing("XX89370400440532013000");
    nothing("DE89  3704  0044  0532  0130  00");
}

#[test]
fn addresses_of_networks() {
    for (class, value) in [
        (Ipv4, "203.0.113.17"),
        (Ipv4, "8.8.8.8"),
        (Ipv4, "192.168.1.1"),
        (Ipv6, "2001:db8::1"),
        (Ipv6, "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
        (Ipv6, "2001:db8:0:0:1:0:0:1"),
        (Ipv6, "fe80::1ff:fe23:4567:890a"),
        (Ipv6, "::ffff:203.0.113.17"),
        (Ipv6, "2001:db8:85a3::"),
        (MacAddress, "00:1B:44:11:3A:B7"),
        (MacAddress, "00-1b-44-11-3a-b7"),
    ] {
        is_found(class, value, value);
        is_found(class, &format!(r#"{{"from":"{value}"}}"#), value);
        is_found(class, &format!("from {value}, yesterday"), value);
        is_found(class, &format!("ends with {value}."), value);
    }
    is_found(Ipv4, "203.0.113.17:8080", "203.0.113.17");
    is_found(Ipv4, "http://203.0.113.17/x", "203.0.113.17");
    is_found(Ipv4, "203.0.113.0/24", "203.0.113.0");
    is_found(Ipv6, "[2001:db8::1]:443", "2001:db8::1");
    is_found(Ipv6, r#"{"t":"\n2001:db8::1"}"#, "2001:db8::1");
    for text in [
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.256",
        "v1.2.3.4",
        "01.02.03.04",
        "version 1.2.3.4",
        "0.0.0.0",
        "127.0.0.1",
        "255.255.255.0",
        "12:34:56",
        "12:34:56:78",
        "::1",
        "::",
        "std::fmt::Debug",
        "dead::beef",
        "a::b",
        "2001:db8::1::2",
        "2001:db8",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "00:1B:44:11:3A",
        "00:1B:44:11:3A:B7:11",
        "00-1B-44-11-3A:B7",
        "2024-01-02",
        "2026-03-01T12:34:56.789+02:00",
        "10.99",
        "1/2/3/4",
    ] {
        nothing(text);
    }
}

#[test]
fn numbers_that_stand_alone() {
    for (class, values) in [
        (FrNir, &["1 84 12 76 451 089 46", "1 84 12 2A 451 089 33"][..]),
        (BeNationalNumber, &["85.07.30-033.28"]),
        (NoFodselsnummer, &["151086 95088"]),
        (FiHetu, &["131052-308T", "131052A308T", "010594Y9021"]),
        (SePersonnummer, &["19811218-9876"]),
        (ItCodiceFiscale, &["RSSMRA85T10A562S", "MRTMTT25D09F205Z"]),
        (EsNif, &["12345678Z", "X1234567L", "Y1234567X"]),
        (ChAhv, &["756.9217.0769.85"]),
        (CzRodneCislo, &["710319/2745"]),
        (
            BtcAddress,
            &[
                "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
                "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
                "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
                "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
            ],
        ),
    ] {
        for value in values {
            stands_alone(class, value);
        }
    }
    for text in [
        "1 84 12 76 451 089 47",
        "85.07.30-033.29",
        "151086 95089",
        "131052-308U",
        "19811218-9877",
        "RSSMRA85T10A562T",
        "RSSMRA85T40A562S",
        "12345678A",
        "X1234567M",
        "756.9217.0769.86",
        "710319/2746",
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdz",
    ] {
        nothing(text);
    }
}

#[test]
fn numbers_that_need_a_word() {
    for (class, word, values) in [
        (FrNir, "nir", &["184127645108946"][..]),
        (NlBsn, "bsn", &["111222333", "1112.22.333"]),
        (PlPesel, "pesel", &["44051401359", "02070803628"]),
        (DeSteuerId, "steuerId", &["86095742719", "86 095 742 719", "65929970489"]),
        (UkNhs, "nhs_number", &["9434765919", "943 476 5919"]),
        (BeNationalNumber, "rijksregisternummer", &["85073003328"]),
        (SePersonnummer, "personnummer", &["811218-9876"]),
        (DkCpr, "cpr", &["211062-5629"]),
        (NoFodselsnummer, "fodselsnummer", &["15108695088"]),
        (PtNif, "contribuinte", &["501964843", "501 964 843"]),
        (AtSvnr, "svnr", &["1237 010180", "1237010180"]),
        (UsSsn, "ssn", &["536-90-4399", "536904399"]),
        (UkNino, "nationalInsuranceNumber", &["AB123456C", "AB 12 34 56 C"]),
        (HrOib, "oib", &["33392005961"]),
        (ChAhv, "ahv", &["7569217076985"]),
        (CzRodneCislo, "rodneCislo", &["7103192745"]),
        (RoCnp, "cnp", &["1630615123457"]),
        (BgEgn, "egn", &["7523169263"]),
        (EsNif, "dni", &["12345678z"]),
    ] {
        for value in values {
            needs_context(class, word, value);
        }
    }
    // Wrong check digits, dates and ranges are no findings even with the word.
    for text in [
        "nir: 184127645108947",
        "bsn: 111222334",
        "pesel: 44051401358",
        "pesel: 44151401359",
        "steuerId: 86095742718",
        "steuerId: 11111111111",
        "nhs: 9434765918",
        "personnummer: 811218-9875",
        "cpr: 321062-5629",
        "fodselsnummer: 15108695089",
        "contribuinte: 501964842",
        "svnr: 1238 010180",
        "ssn: 000-12-3456",
        "ssn: 666-12-3456",
        "ssn: 900-12-3456",
        "ssn: 536-00-4399",
        "ssn: 536-90-0000",
        "nino: BG123456C",
        "nino: AB123456E",
        "nino: QQ123456C",
        "oib: 33392005962",
        "ahv: 7569217076986",
        "rodneCislo: 7103192746",
        "cnp: 1630615123458",
        "egn: 7523169262",
    ] {
        nothing(text);
    }
}

#[test]
fn vat_numbers() {
    for value in [
        "ATU13585627",
        "BE0428759497",
        "BG175074752",
        "CZ25123891",
        "DE136695976",
        "DK13585628",
        "EE100931558",
        "EL094259216",
        "ESA13585625",
        "FI20774740",
        "FR40303265045",
        "FRK7399859412",
        "HR33392005961",
        "HU12892312",
        "IE6433435F",
        "IE6433435OA",
        "IT00743110157",
        "LT119511515",
        "LU15027442",
        "LV40003521600",
        "MT11679112",
        "NL004495445B01",
        "PL8567346215",
        "PT501964843",
        "RO18547290",
        "SE123456789701",
        "SI50223054",
        "SK2022749619",
        "CY10259033P",
    ] {
        stands_alone(EuVat, value);
        let lower = value.to_lowercase();
        nothing(&format!(r#"{{"reference":"{lower}"}}"#));
        is_found(EuVat, &format!(r#"{{"vatId":"{lower}"}}"#), &lower);
        let digit = value.rfind(|character: char| character.is_ascii_digit()).unwrap();
        let other = if &value[digit..=digit] == "3" { "4" } else { "3" };
        let missed = format!("{}{other}{}", &value[..digit], &value[digit + 1..]);
        // The last digits of the Dutch and Swedish ones only number branches.
        if !value.starts_with("NL") && !value.starts_with("SE") {
            assert_eq!(found_of(&[EuVat], &missed), [], "{missed}");
        }
    }
    is_found(EuVat, "BE 0428.759.497", "BE 0428.759.497");
    is_found(EuVat, "DE 136 695 976", "DE 136 695 976");
    nothing("US136695976");
}

/// Put together at run time: a literal would look like a leak to whoever scans this repository.
fn secret(prefix: &str, body: &str) -> String {
    format!("{prefix}{body}")
}

#[test]
fn secrets() {
    let letters = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY1zA2bC3dE4fG5hI6jK7lM8nO9pQ0rS1tU2";
    let values = [
        secret("AKIA", "IOSFODNN7EXAMPLE"),
        secret("ghp_", &letters[..36]),
        secret("github_pat_", &format!("{}_{}", &letters[..22], &letters[..59])),
        secret("glpat-", &letters[..20]),
        secret("xoxb-", &format!("123456789012-1234567890123-{}", &letters[..24])),
        secret("sk_live_", &letters[..24]),
        secret("AIza", &letters[..35]),
        secret("npm_", &letters[..36]),
        secret("SG.", &format!("{}.{}", &letters[..22], &letters[..43])),
        secret("hf_", &letters[..34]),
    ];
    for value in &values {
        is_found(ApiSecret, value, value);
        is_found(ApiSecret, &format!(r#"{{"k":"{value}"}}"#), value);
        is_found(ApiSecret, &format!("key={value};"), value);
        is_found(ApiSecret, &format!(r#"{{"t":"a\n{value}\n"}}"#), value);
        // Those of variable length are cut well below the shortest.
        nothing(&value[..8 + value.len() / 4]);
    }
    let jwt =
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    is_found(Jwt, jwt, jwt);
    is_found(Jwt, &format!("Authorization: Bearer {jwt}"), jwt);
    is_found(Jwt, &format!(r#"{{"token":"{jwt}"}}"#), jwt);
    nothing(&jwt[..36]);
    nothing("eyJzdWIiOiIxMjM0NTY3ODkwIn0.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N");
    let body = "MC4CAQAwBQYDK2VwBCIEIHXEvK/ZXL8P6J2mY0h3eS8tVvG1aHkq0oYb3fLmN2pQ";
    let pem =
        format!("{}\n{body}\n{}", secret("-----BEGIN ", "PRIVATE KEY-----"), secret("-----END ", "PRIVATE KEY-----"));
    is_found(ApiSecret, &format!("a {pem} b"), &pem);
    let escaped = pem.replace('\n', "\\n");
    is_found(ApiSecret, &format!(r#"{{"key":"{escaped}"}}"#), &escaped);
    nothing(&format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----"));
}

#[test]
fn what_services_write_holds_nothing() {
    for text in [
        r#"{"id":"5f0c8b1e-0b51-4b42-9f5e-000000000012","ts":1772361296789,"created":"2026-03-01T12:34:56.789+02:00"}"#,
        r#"{"trace":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","sha":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#,
        r#"{"price":1234567.89,"lat":52.520008,"lon":13.404954,"order":"ORD-2024-000123","sku":"TG-123456-A"}"#,
        "2026-03-01 12:34:56.123456 INFO worker-12 took 1234 ms, 10.5 % of 1 000 000",
        "GET /v1/items/123456789/lines?page=12&size=100 HTTP/1.1",
        "1.2.3-rc.1+build.20260301",
    ] {
        nothing(text);
    }
}

#[test]
fn evasions_are_undone() {
    for (class, text, value) in [
        (PaymentCard, "４１１１１１１１１１１１１１１１", "４１１１１１１１１１１１１１１１"),
        (PaymentCard, "4111%201111%201111%201111", "4111%201111%201111%201111"),
        (PaymentCard, "4111\u{a0}1111\u{a0}1111\u{a0}1111", "4111\u{a0}1111\u{a0}1111\u{a0}1111"),
        (PaymentCard, "4111–1111–1111–1111", "4111–1111–1111–1111"),
        (PaymentCard, "4111\u{200b}1111\u{200b}1111\u{200b}1111", "4111\u{200b}1111\u{200b}1111\u{200b}1111"),
        (PaymentCard, "٤١١١١١١١١١١١١١١١", "٤١١١١١١١١١١١١١١١"),
        (Email, "q=alice%40example.com&b=1", "alice%40example.com"),
        (Email, "alice＠example．com", "alice＠example．com"),
        (Email, "alice﹫example.com", "alice﹫example.com"),
        (Email, r#"{"a":"{\"b\":\"alice\\u0040example.com\"}"}"#, r"alice\\u0040example.com"),
        (Email, "alice%2540example.com", "alice%2540example.com"),
        (Email, r"alice\u002540example.com", r"alice\u002540example.com"),
        (Email, "ALICE@EXAMPLE.COM", "ALICE@EXAMPLE.COM"),
        (Email, "\u{feff}alice@example.com", "alice@example.com"),
        (Phone, "%2B4915112345678", "%2B4915112345678"),
        (Phone, "＋49 151 12345678", "＋49 151 12345678"),
        (Iban, "DE89-3704-0044-0532-0130-00", "DE89-3704-0044-0532-0130-00"),
        (Iban, "ＤＥ８９３７０４００４４０５３２０１３０００", "ＤＥ８９３７０４００４４０５３２０１３０００"),
        (Ipv4, "203%2e0%2e113%2e17", "203%2e0%2e113%2e17"),
        (UsSsn, r#"{\"ssn\":\"５３６-９０-４３９９\"}"#, "５３６-９０-４３９９"),
    ] {
        is_found(class, text, value);
    }
}

#[test]
fn long_runs_of_what_validators_look_at_take_linear_time() {
    for unit in [
        "1.",
        "1.1.1.1.",
        ":1",
        "::",
        "a:",
        "aa-",
        "DE89 ",
        "DE89",
        "eyJaaaaaaaaaaaaaa-",
        "eyJaaaaaaaaaaaaaa.",
        "aaaaaaaaaaaaaaa ",
        "bsn 111222333 ",
        "ABCDEF12A34B567C ",
        "X1234567 ",
        "\\n-----BEGIN PRIVATE KEY-----\\naaaaaaaaaaaaaa",
        "%41",
        "１",
        "\u{a0}",
        "AB12 ",
        "131052-308T",
        "1 84 12 2A ",
    ] {
        let text = unit.repeat(200_000 / unit.len());
        let mut findings = Vec::new();
        // Quadratic time would be many minutes.
        scan(text.as_bytes(), ClassSet::ALL, &mut findings);
    }
}
