//! Classes that lean on the words before them, documents with zones, and what is opt-in: regions, Base64.

use std::sync::Arc;

use tidegate_core::words::DataClass::{self, *};

use super::super::region::{self, Regions};
use super::super::{ClassSet, Extras, Scanner};
use super::found_of;

#[track_caller]
fn is_found(class: DataClass, text: &str, value: &str) {
    assert_eq!(found_of(&DataClass::ALL, text), [(class, value)], "in {text:?}");
}

#[track_caller]
fn nothing(text: &str) {
    assert_eq!(found_of(&DataClass::ALL, text), [], "in {text:?}");
}

/// What a scanner with extras finds.
fn found_with<'a>(extras: &Extras, text: &'a str) -> Vec<(DataClass, &'a str)> {
    let mut findings = Vec::new();
    Scanner::new(extras.clone()).scan(text.as_bytes(), ClassSet::ALL, &mut findings);
    findings.into_iter().map(|finding| (finding.class, &text[finding.span])).collect()
}

#[test]
fn more_national_numbers() {
    for (class, word, values) in [
        (EeIsikukood, "isikukood", &["37605030299"][..]),
        (LtAsmensKodas, "asmens kodas", &["33309240064"]),
        (LvPersonasKods, "personas kods", &["161175-19997", "16117519997", "320000-12345"]),
        (SiEmso, "EMŠO", &["0101006500006"]),
        (HuTaj, "TAJ szám", &["111 111 110", "111111110"]),
        (GrAmka, "ΑΜΚΑ", &["01013099997"]),
        (IePpsn, "PPS number", &["6433435F", "6433435OA", "6433435f"]),
        (IsKennitala, "kennitala", &["120174-3399", "1201743399"]),
        (UaRnokpp, "РНОКПП", &["1759013776"]),
        (TrKimlik, "T.C. Kimlik No", &["17291716060"]),
    ] {
        for value in values {
            nothing(&format!(r#"{{"reference":"{value}"}}"#));
            for text in [format!("{word}: {value}"), format!(r#"{{"{word}":"{value}","n":1}}"#)] {
                is_found(class, &text, value);
            }
            // The last digit is the century in Iceland, and a new number has no check in Latvia.
            let last = if class == IsKennitala { value.len() - 2 } else { value.len() - 1 };
            let digit = value[..=last].rfind(|character: char| character.is_ascii_digit()).unwrap();
            let other = if &value[digit..=digit] == "5" { "6" } else { "5" };
            let missed = format!("{word}: {}{other}{}", &value[..digit], &value[digit + 1..]);
            if !value.starts_with("32") {
                assert_eq!(found_of(&[class], &missed), [], "{missed}");
            }
        }
    }
}

#[test]
fn dates_are_of_birth_where_a_word_says_so() {
    for (text, date) in [
        ("geboren am 12.03.1985 in Köln", "12.03.1985"),
        ("Geb.-Datum: 1.3.1985", "1.3.1985"),
        ("born 12/03/1985", "12/03/1985"),
        ("DOB 03/25/1985", "03/25/1985"),
        ("née le 12-03-1985", "12-03-1985"),
        ("nacido el 12/3/1985", "12/3/1985"),
        ("data di nascita 12.03.85", "12.03.85"),
        ("data urodzenia: 1985-03-12", "1985-03-12"),
        ("född 19850312", "19850312"),
        ("syntynyt 12.3.1985.", "12.3.1985"),
        ("Jan Novák, nar. 12.3.1985", "12.3.1985"),
        (r#"{"ur":"12.03.1985"}"#, "12.03.1985"),
        (r#"{"birthDate":"1985-03-12","created":"2026-03-01"}"#, "1985-03-12"),
        (r#"{"dateOfBirth":"1985-03-12T00:00:00Z"}"#, "1985-03-12"),
        (r#"{"birthdate":19850312}"#, "19850312"),
    ] {
        is_found(DateOfBirth, text, date);
    }
    for text in [
        "am 12.03.1985 in Köln",
        "geboren am 32.03.1985",
        "geboren am 12.13.1885",
        "dob: 12.03.1985.17",
        "born 1985",
        "när 12.03.1985",
        "utdrag ur 2026-03-01",
        r#"{"birthDate":"","created":"1985-03-12"}"#,
        r#"{"birth_event_ts":1772361296789}"#,
    ] {
        nothing(text);
    }
}

#[test]
fn passports_behind_a_word() {
    for (text, number) in [
        ("passport no. 925665416", "925665416"),
        ("Reisepass: C01X00T47 vorgelegt", ""),
        (r#"{"passportNumber":"AB1234567"}"#, "AB1234567"),
        ("passaporto YA1234567", "YA1234567"),
        ("nr paszportu: ZS0000177", "ZS0000177"),
        ("passport A12345678,", "A12345678"),
        (r#"{"t":"a\nAB1234567","passport":1}"#, ""),
        ("passeport 12AB34567", ""),
        (r#"{"passport":"x\nAB1234567\n"}"#, "AB1234567"),
    ] {
        match number {
            // Known limits: no trigger of the one pass, or the word stands behind.
            "" => nothing(text),
            _ => is_found(Passport, text, number),
        }
    }
    for text in [
        "AB1234567",
        "passport: 12345",
        "passport holder since 2019-03-01",
        "passport 1234567890123",
        "order AB1234567",
    ] {
        assert_eq!(found_of(&[Passport], text), [], "{text}");
    }
}

#[test]
fn machine_readable_zones() {
    // ICAO 9303's own specimens.
    let book = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10";
    let card = "I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<";
    let larger = "I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nD231458907UTO7408122F1204159<<<<<<<6";
    for zone in [book, card, larger] {
        is_found(Passport, zone, zone);
        is_found(Passport, &format!("Scan:\n{zone}\nend"), zone);
        let escaped = zone.replace('\n', "\\n");
        is_found(Passport, &format!(r#"{{"mrz":"{escaped}"}}"#), &escaped);
        let crlf = zone.replace('\n', "\r\n");
        is_found(Passport, &crlf, &crlf);
        let digit = zone.find("7408122").unwrap() + 6;
        nothing(&format!("{}9{}", &zone[..digit], &zone[digit + 1..]));
    }
    let lower = &book[45..];
    is_found(Passport, lower, lower);
    nothing(&book[..44]);
}

#[test]
fn addresses_of_cryptocurrencies() {
    for address in [
        // EIP-55's own.
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
        "DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L",
        "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh",
        "t1VpYecBW4UudbGcy4ufh61eWxQCoFaUrPs",
        // CIP-19's.
        "addr1vx2fxv2umyhttkxyxp8x0dlpdt3k6cwng5pxj3jhsydzers66hrl8",
    ] {
        is_found(CryptoAddress, address, address);
        is_found(CryptoAddress, &format!(r#"{{"to":"{address}","value":1}}"#), address);
        let (first, last) = address.split_at(address.len() - 1);
        let other =
            if address.starts_with("0x") { last.to_uppercase().replace(last, "0") } else { "z".replace(last, "y") };
        if !last.chars().all(|character| character.is_ascii_digit()) || !address.starts_with("0x") {
            nothing(&format!("{first}{other}"));
        }
    }
    let lower = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";
    nothing(&format!(r#"{{"id":"{lower}"}}"#));
    is_found(CryptoAddress, &format!(r#"{{"wallet":"{lower}"}}"#), lower);
    nothing(&format!("{lower}00"));
}

#[test]
fn national_phones_of_the_regions_that_are_given() {
    let of = |names: &[&str]| Extras {
        regions: Some(Arc::new(Regions::new(names.iter().copied()).unwrap())),
        ..Extras::default()
    };
    let german = of(&["DE"]);
    for (text, number) in [
        ("Tel. 030 12345678", "030 12345678"),
        ("Tel.: (030) 1234567", "(030) 1234567"),
        ("Telefon 0151 / 23456789 (abends)", "0151 / 23456789"),
        (r#"{"phone":"0151-23456789"}"#, "0151-23456789"),
        (r#"{"mobil":"015123456789"}"#, "015123456789"),
    ] {
        assert_eq!(found_with(&german, text), [(Phone, number)], "{text}");
        assert_eq!(found_of(&DataClass::ALL, text), [], "{text}");
        assert_eq!(found_with(&of(&["US"]), text), [], "{text}");
    }
    for text in [
        "Bestellung 030 12345678",
        "Tel. 000 12345678",
        "Tel. 12",
        "Telefon am 12.03.2026",
        r#"{"phone":"","id":"015123456789"}"#,
    ] {
        assert_eq!(found_with(&german, text), [], "{text}");
    }
    for (region, text, number) in [
        ("FR", "tél. 06 12 34 56 78", "06 12 34 56 78"),
        ("IT", "cellulare 347 1234567", "347 1234567"),
        ("ES", "móvil 612 345 678", "612 345 678"),
        ("GB", "phone: 020 7946 0958", "020 7946 0958"),
        ("DK", "tlf. 20 12 34 56", "20 12 34 56"),
        ("US", "call 202-456-1111", "202-456-1111"),
        ("us", "phone (202) 456-1111", "(202) 456-1111"),
    ] {
        assert_eq!(found_with(&of(&[region]), text), [(Phone, number)], "{text}");
        assert_eq!(found_with(&of(&["DE", region]), text), [(Phone, number)], "{text}");
    }
    assert!(Regions::new(["ZZ"]).is_err());
    assert!(region::is_region("de") && !region::is_region("ZZ") && !region::is_region("001"));
}

#[test]
fn base64_is_opened_where_it_is_asked_for() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let deep = |base64_depth| Extras { base64_depth, ..Extras::default() };
    let once = STANDARD.encode(r#"{"user":"Zoë","email":"alice@example.com","bsn":"111222333"}"#);
    let twice = STANDARD.encode(&once);
    let text = format!(r#"{{"blob":"{once}","n":1}}"#);
    assert_eq!(found_with(&deep(0), &text), []);
    assert_eq!(found_with(&deep(1), &text), [(Email, once.as_str()), (NlBsn, &once)]);
    let text = format!(r#"{{"blob":"{twice}"}}"#);
    assert_eq!(found_with(&deep(1), &text), []);
    assert_eq!(found_with(&deep(2), &text), [(Email, twice.as_str()), (NlBsn, &twice)]);
    let url_safe = URL_SAFE_NO_PAD.encode("??>>??>> card 4111 1111 1111 1111");
    assert_eq!(found_with(&deep(1), &format!("data:,{url_safe} x")), [(PaymentCard, url_safe.as_str())]);
    // In an escape, beside others, and what only looks like it.
    let text = format!(r#"{{"a":"x\n{once}\ny","sha":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934c"}}"#);
    assert_eq!(found_with(&deep(3), &text), [(Email, once.as_str()), (NlBsn, &once)]);
    let disguised = format!("{}\u{ff20}", once.replace('=', "%3D"));
    assert_eq!(found_with(&deep(1), &disguised).len(), 2);
}
