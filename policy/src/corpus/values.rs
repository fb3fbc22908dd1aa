//! Valid values of each class, and values that just are not. Check digits are computed forwards.

use std::net::Ipv6Addr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidegate_core::words::DataClass;

use super::random::Random;
use super::{documents, registers};

/// A value as written, and whether a word must stand before it.
pub(super) struct Value {
    pub text: String,
    pub needs_word: bool,
}

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

pub(super) fn alone(text: String) -> Value {
    Value { text, needs_word: false }
}

pub(super) fn with_word(text: String) -> Value {
    Value { text, needs_word: true }
}

pub(super) fn text(digits: &[u32]) -> String {
    digits.iter().map(u32::to_string).collect()
}

/// The digits in groups of these lengths.
pub(super) fn grouped(digits: &[u32], lengths: &[usize], separator: &str) -> String {
    let mut rest = digits;
    let groups = lengths.iter().map(|length| {
        let (group, after) = rest.split_at(*length);
        rest = after;
        text(group)
    });
    groups.collect::<Vec<_>>().join(separator)
}

pub(super) fn number(digits: &[u32]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(*digit))
}

pub(super) fn sum(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

pub(super) fn two(number: u64) -> [u32; 2] {
    [(number / 10 % 10) as u32, (number % 10) as u32]
}

pub(super) fn luhn_digit(digits: &[u32]) -> u32 {
    let doubled = |digit: u32| digit * 2 / 10 + digit * 2 % 10;
    let sum: u32 =
        digits.iter().rev().enumerate().map(|(at, digit)| if at % 2 == 0 { doubled(*digit) } else { *digit }).sum();
    (10 - sum % 10) % 10
}

pub(super) fn mod_11_10_digit(digits: &[u32]) -> u32 {
    let mut product = 10;
    for digit in digits {
        let mut sum = (product + digit) % 10;
        if sum == 0 {
            sum = 10;
        }
        product = sum * 2 % 11;
    }
    (11 - product) % 10
}

/// Repeats `make` until it makes something.
pub(super) fn until<T>(random: &mut Random, make: impl Fn(&mut Random) -> Option<T>) -> T {
    loop {
        if let Some(made) = make(random) {
            return made;
        }
    }
}

/// Day, month and two digits of the year.
pub(super) fn date(random: &mut Random) -> (u64, u64, u64) {
    (random.between(1, 28), random.between(1, 12), random.below(100))
}

fn join(parts: &[&[u32]]) -> Vec<u32> {
    parts.concat()
}

/// The digits of a national number, check digit included.
pub(super) fn national(class: DataClass, random: &mut Random) -> Vec<u32> {
    let (day, month, year) = date(random);
    let (dd, mm, yy) = (two(day), two(month), two(year));
    until(random, |random| {
        let mut digits = match class {
            DataClass::NlBsn => [&[1 + random.below(9) as u32], &random.digits(7)[..]].concat(),
            DataClass::PtNif => [&[[1, 2, 3, 5][random.below(4) as usize]], &random.digits(7)[..]].concat(),
            DataClass::UkNhs => [&[4 + random.below(3) as u32], &random.digits(8)[..]].concat(),
            DataClass::SePersonnummer => join(&[&yy, &mm, &dd, &random.digits(3)]),
            DataClass::DkCpr | DataClass::NoFodselsnummer => join(&[&dd, &mm, &yy, &random.digits(3)]),
            DataClass::PlPesel => join(&[&yy, &two(month + 20 * random.below(2)), &dd, &random.digits(4)]),
            DataClass::BgEgn => join(&[&yy, &two(month + 40 * random.below(2)), &dd, &random.digits(3)]),
            DataClass::CzRodneCislo => join(&[&yy, &two(month + 50 * random.below(2)), &dd, &random.digits(3)]),
            DataClass::RoCnp => join(&[
                &[1 + random.below(8) as u32],
                &yy,
                &mm,
                &dd,
                &two(random.between(1, 46)),
                &two(random.between(1, 99)),
                &random.digits(1),
            ]),
            DataClass::BeNationalNumber => join(&[&yy, &mm, &dd, &random.digits(3)]),
            DataClass::HrOib => random.digits(10),
            DataClass::ChAhv => [&[7, 5, 6], &random.digits(9)[..]].concat(),
            DataClass::FrNir => join(&[
                &[1 + random.below(2) as u32],
                &yy,
                &mm,
                &two(random.between(1, 95)),
                &random.digits(3),
                &random.digits(3),
            ]),
            DataClass::DeSteuerId => {
                // All but one of the ten digits, one of them twice.
                let mut pool: Vec<u32> = (0..10).collect();
                let mut digits = Vec::new();
                while digits.len() < 9 {
                    digits.push(pool.remove(random.below(pool.len() as u64) as usize));
                }
                digits.insert(random.between(1, 9) as usize, digits[random.below(9) as usize]);
                if digits[0] == 0 {
                    return None;
                }
                digits
            }
            DataClass::AtSvnr => join(&[&[1 + random.below(9) as u32], &random.digits(2), &dd, &mm, &yy]),
            _ => random.digits(9),
        };
        let eleven = |remainder: u32| (remainder != 10).then_some(remainder);
        match class {
            DataClass::NlBsn => digits.push(eleven(sum(&digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11)?),
            DataClass::PtNif => {
                let rest = sum(&digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
                digits.push(if rest < 2 { 0 } else { 11 - rest });
            }
            DataClass::UkNhs => {
                digits.push(eleven((11 - sum(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11)?);
            }
            DataClass::SePersonnummer => digits.push(luhn_digit(&digits)),
            DataClass::DkCpr => digits.push(random.below(10) as u32),
            DataClass::NoFodselsnummer => {
                digits.push(eleven((11 - sum(&digits, &[3, 7, 6, 1, 8, 9, 4, 5, 2]) % 11) % 11)?);
                digits.push(eleven((11 - sum(&digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11)?);
            }
            DataClass::PlPesel => {
                digits.push((10 - sum(&digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10);
            }
            DataClass::BgEgn => digits.push(sum(&digits, &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10),
            DataClass::CzRodneCislo => digits.push(eleven((number(&digits) % 11) as u32)?),
            DataClass::RoCnp => {
                let rest = sum(&digits, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
                digits.push(if rest == 10 { 1 } else { rest });
            }
            DataClass::BeNationalNumber => {
                let born_after = if year < 26 { 2_000_000_000 } else { 0 };
                digits.extend(two(97 - (born_after + number(&digits)) % 97));
            }
            DataClass::HrOib | DataClass::DeSteuerId => digits.push(mod_11_10_digit(&digits)),
            DataClass::ChAhv => digits.push((10 - sum(&digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]) % 10) % 10),
            DataClass::FrNir => digits.extend(two(97 - number(&digits) % 97)),
            DataClass::AtSvnr => {
                let check = eleven(sum(&digits, &[3, 7, 9, 5, 8, 4, 2, 1, 6]) % 11)?;
                digits.insert(3, check);
            }
            _ => {}
        }
        Some(digits)
    })
}

/// The digits as the country writes them.
fn written(class: DataClass, digits: &[u32], random: &mut Random) -> Value {
    let form = random.below(2) == 0;
    match class {
        DataClass::FrNir if form => alone(grouped(digits, &[1, 2, 2, 2, 3, 3, 2], " ")),
        DataClass::BeNationalNumber if form => {
            let date = grouped(&digits[..6], &[2, 2, 2], ".");
            alone(format!("{date}-{}", grouped(&digits[6..], &[3, 2], ".")))
        }
        DataClass::ChAhv if form => alone(grouped(digits, &[3, 4, 4, 2], ".")),
        DataClass::CzRodneCislo if form => alone(grouped(digits, &[6, 4], "/")),
        DataClass::NoFodselsnummer if form => alone(grouped(digits, &[6, 5], " ")),
        DataClass::NlBsn if form => with_word(grouped(digits, &[4, 2, 3], ".")),
        DataClass::PtNif if form => with_word(grouped(digits, &[3, 3, 3], " ")),
        DataClass::UkNhs if form => with_word(grouped(digits, &[3, 3, 4], " ")),
        DataClass::DeSteuerId if form => with_word(grouped(digits, &[2, 3, 3, 3], " ")),
        DataClass::AtSvnr if form => with_word(grouped(digits, &[4, 6], " ")),
        DataClass::SePersonnummer | DataClass::DkCpr if form => with_word(grouped(digits, &[6, 4], "-")),
        _ => with_word(text(digits)),
    }
}

/// A value that is of `class`.
pub(super) fn valid(class: DataClass, random: &mut Random) -> Value {
    if let Some(value) = documents::valid(class, random).or_else(|| registers::valid(class, random)) {
        return value;
    }
    match class {
        DataClass::Email => alone(email(random)),
        DataClass::Phone => alone(phone(random)),
        DataClass::PaymentCard => alone(card(random)),
        DataClass::Iban => alone(iban(random)),
        DataClass::Ipv4 => {
            let first = until(random, |random| Some(random.between(1, 223)).filter(|first| *first != 127));
            alone(format!("{first}.{}.{}.{}", random.below(256), random.below(256), random.below(256)))
        }
        DataClass::Ipv6 => {
            let mut segments: [u16; 8] = std::array::from_fn(|_| random.below(0x1_0000) as u16);
            segments[0] = random.between(0x2001, 0x2fff) as u16;
            if random.below(2) == 0 {
                segments[3..7].fill(0);
            }
            let address = Ipv6Addr::from(segments);
            let long = segments.map(|segment| format!("{segment:04x}")).join(":");
            alone(if random.below(3) == 0 { long } else { address.to_string() })
        }
        DataClass::MacAddress => {
            let separator = random.pick(&[":", "-"]);
            let pairs = (0..6).map(|_| format!("{:02x}", random.between(1, 254)));
            alone(pairs.collect::<Vec<_>>().join(separator))
        }
        DataClass::ItCodiceFiscale => alone(codice_fiscale(random)),
        DataClass::EsNif => {
            let letters = b"TRWAGMYFPDXBNJZSQVHLCKE";
            if random.below(2) == 0 {
                let number = random.between(1_000_000, 99_999_999);
                return alone(format!("{number:08}{}", letters[(number % 23) as usize] as char));
            }
            let (first, number) = (random.below(3), random.below(10_000_000));
            let letter = letters[((first * 10_000_000 + number) % 23) as usize] as char;
            alone(format!("{}{number:07}{letter}", ["X", "Y", "Z"][first as usize]))
        }
        DataClass::FiHetu => alone(hetu(random)),
        DataClass::EuVat => alone(super::vat::vat(random)),
        DataClass::UsSsn => {
            let area = until(random, |random| Some(random.between(1, 899)).filter(|area| *area != 666));
            let (group, serial) = (random.between(1, 99), random.between(1, 9999));
            let separator = random.pick(&["-", "-", ""]);
            with_word(format!("{area:03}{separator}{group:02}{separator}{serial:04}"))
        }
        DataClass::UkNino => {
            // Not `GB`, which is reserved.
            let (first, second) = (random.word("ACEGHJLMPRSW", 1), random.word("ACEHJLMPRSX", 1));
            let (digits, last) = (random.digits(6), random.word("ABCD", 1));
            match random.below(2) {
                0 => with_word(format!("{first}{second}{}{last}", text(&digits))),
                _ => with_word(format!("{first}{second} {} {last}", grouped(&digits, &[2, 2, 2], " "))),
            }
        }
        DataClass::BtcAddress => alone(bitcoin(random)),
        DataClass::ApiSecret => alone(secret(random)),
        DataClass::Jwt => {
            let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let header =
                encode(random.pick(&[r#"{"alg":"RS256","typ":"JWT"}"#, r#"{"typ":"JWT","alg":"HS256","kid":"1"}"#]));
            let payload =
                encode(&format!(r#"{{"sub":"{}","exp":{}}}"#, random.word(ALNUM, 8), random.below(2_000_000_000)));
            alone(format!("{header}.{payload}.{}", random.word(ALNUM, 43)))
        }
        _ => {
            let digits = national(class, random);
            written(class, &digits, random)
        }
    }
}

/// A value that almost is of `class`.
pub(super) fn near_miss(class: DataClass, random: &mut Random) -> Value {
    if let Some(value) = documents::near_miss(class, random).or_else(|| registers::near_miss(class, random)) {
        return value;
    }
    let value = valid(class, random).text;
    let last_changed = |value: &str| {
        let at = value.rfind(|character: char| character.is_ascii_digit()).unwrap_or(0);
        let digit = value[at..].chars().next().and_then(|digit| digit.to_digit(10)).unwrap_or(0);
        let other = if digit < 9 { digit + 1 } else { 8 };
        format!("{}{other}{}", &value[..at], &value[at + 1..])
    };
    with_word(match class {
        DataClass::Email => value.rsplit_once('.').map_or_else(String::new, |(before, _)| before.replace('.', "_")),
        DataClass::Phone => format!("+{}", random.between(10, 999_999)),
        DataClass::Ipv4 => value.rsplit_once('.').map_or_else(String::new, |(before, _)| format!("{before}.300")),
        DataClass::Ipv6 => format!("{}:{:x}", random.word("0123456789abcdef", 4), random.below(0x1_0000)),
        DataClass::MacAddress => value[..14].to_owned(),
        DataClass::UsSsn => format!("{:03}-{:02}-0000", random.between(1, 665), random.between(1, 99)),
        DataClass::UkNino => format!("{}E", &value[..value.len() - 1]),
        DataClass::DkCpr => {
            format!("{:02}13{}-{}", random.between(1, 28), text(&random.digits(2)), text(&random.digits(4)))
        }
        // The last digits of some only number branches.
        DataClass::EuVat => format!("{}{}", last_changed(&value[..6]), &value[6..]),
        DataClass::ApiSecret => value[..value.len().min(12)].to_owned(),
        DataClass::Jwt => value.replace("eyJ", "eyX"),
        DataClass::ItCodiceFiscale | DataClass::EsNif | DataClass::FiHetu | DataClass::BtcAddress => {
            let last = value.chars().next_back().unwrap_or('A');
            let other = random.word(UPPER, 1).chars().next().filter(|other| *other != last).unwrap_or('Q');
            let other = if other == last { 'R' } else { other };
            format!("{}{other}", &value[..value.len() - 1])
        }
        _ => last_changed(&value),
    })
}

fn email(random: &mut Random) -> String {
    let names = [
        "anna",
        "jan.kowalski",
        "maria_rossi",
        "o'brien",
        "jürgen.müller",
        "zoë",
        "luís.da-silva",
        "k.nielsen",
        "søren",
        "eva.nováková",
        "pekka",
        "j.dupont",
        "michael.o.connor",
        "x",
        "ελένη",
        "info",
    ];
    let domains = [
        "example.com",
        "mail.example.org",
        "example.co.uk",
        "firma-berlin.example.de",
        "exämple.de",
        "poczta.example.pl",
        "xn--mnchen-3ya.de",
        "sub.sub.example.museum",
        "uni.example.ac.at",
        "x.io",
    ];
    let name = random.pick(&names);
    let tag = match random.below(4) {
        0 => format!("+{}", random.word("abcdefgh", 4)),
        1 => random.below(10_000).to_string(),
        _ => String::new(),
    };
    format!("{name}{tag}@{}", random.pick(&domains))
}

fn phone(random: &mut Random) -> String {
    // Country code, then the lengths of the groups in which the country writes its numbers.
    let countries: [(&str, &[usize]); 14] = [
        ("49", &[3, 8]),
        ("49", &[2, 4, 4]),
        ("33", &[1, 2, 2, 2, 2]),
        ("31", &[1, 8]),
        ("48", &[3, 3, 3]),
        ("39", &[3, 7]),
        ("34", &[3, 3, 3]),
        ("351", &[3, 3, 3]),
        ("46", &[2, 3, 2, 2]),
        ("45", &[2, 2, 2, 2]),
        ("358", &[2, 3, 4]),
        ("44", &[2, 4, 4]),
        ("420", &[3, 3, 3]),
        ("1", &[3, 3, 4]),
    ];
    let (code, lengths) = countries[random.below(14) as usize];
    let mut digits = random.digits(lengths.iter().sum());
    digits[0] = 1 + digits[0] % 9;
    let separator = random.pick(&[" ", "-", "", ".", " "]);
    let prefix = if random.below(8) == 0 && !separator.is_empty() { " (0)" } else { "" };
    let parted = if prefix.is_empty() { separator } else { " " };
    format!("+{code}{prefix}{parted}{}", grouped(&digits, lengths, separator))
}

fn card(random: &mut Random) -> String {
    let networks: [(&[u32], usize); 9] = [
        (&[4], 16),
        (&[5, 1], 16),
        (&[5, 5], 16),
        (&[2, 2, 2, 1], 16),
        (&[3, 7], 15),
        (&[3, 6], 14),
        (&[6, 0, 1, 1], 16),
        (&[3, 5, 2, 8], 16),
        (&[6, 2, 0, 5], 16),
    ];
    let (prefix, length) = networks[random.below(9) as usize];
    let mut digits = [prefix, &random.digits(length - 1 - prefix.len())].concat();
    digits.push(luhn_digit(&digits));
    let lengths: &[usize] = match length {
        16 => &[4, 4, 4, 4],
        15 => &[4, 6, 5],
        _ => &[4, 6, 4],
    };
    match random.below(3) {
        0 => text(&digits),
        1 => grouped(&digits, lengths, " "),
        _ => grouped(&digits, lengths, "-"),
    }
}

fn iban(random: &mut Random) -> String {
    // Digits as `n`, letters as `a`, either as `c`, from the registry's BBAN structures.
    let (country, structure) = [
        ("DE", "n18"),
        ("FR", "n10c11n2"),
        ("GB", "a4n14"),
        ("NL", "a4n10"),
        ("ES", "n20"),
        ("IT", "a1n10c12"),
        ("PL", "n24"),
        ("PT", "n21"),
        ("SE", "n20"),
        ("DK", "n14"),
        ("FI", "n14"),
        ("CZ", "n20"),
        ("BE", "n12"),
        ("AT", "n16"),
        ("NO", "n11"),
        ("CH", "n5c12"),
        ("MT", "a4n5c18"),
        ("RO", "a4c16"),
        ("IE", "a4n14"),
        ("GR", "n7c16"),
        ("HU", "n24"),
        ("LU", "n3c13"),
        ("HR", "n17"),
        ("BG", "a4n6c8"),
    ][random.below(24) as usize];
    let mut account = String::new();
    let parts = structure.split_inclusive(|character: char| character.is_ascii_digit());
    let mut kind = ' ';
    let mut count = 0;
    let flush = |kind: char, count: usize, account: &mut String, random: &mut Random| match kind {
        'n' => account.push_str(&random.word("0123456789", count)),
        'a' => account.push_str(&random.word(UPPER, count)),
        'c' => account.push_str(&random.word("ABCDEFGHIJ0123456789", count)),
        _ => {}
    };
    for character in parts.flat_map(str::chars) {
        match character.to_digit(10) {
            Some(digit) => count = count * 10 + digit as usize,
            None => {
                flush(kind, count, &mut account, random);
                (kind, count) = (character, 0);
            }
        }
    }
    flush(kind, count, &mut account, random);
    let expanded: String = format!("{account}{country}00")
        .chars()
        .map(|character| character.to_digit(36).map_or_else(String::new, |value| value.to_string()))
        .collect();
    let rest = expanded.bytes().fold(0, |rest: u32, digit| (rest * 10 + u32::from(digit - b'0')) % 97);
    let solid = format!("{country}{:02}{account}", 98 - rest);
    if random.below(2) == 0 {
        return solid;
    }
    let groups: Vec<String> = solid.chars().collect::<Vec<_>>().chunks(4).map(|group| group.iter().collect()).collect();
    groups.join(" ")
}

fn codice_fiscale(random: &mut Random) -> String {
    let consonants = "BCDFGLMNPRSTVZ";
    let (day, _, year) = date(random);
    let day = day + 40 * random.below(2);
    let body = format!(
        "{}{year:02}{}{day:02}{}{:03}",
        random.word(consonants, 6),
        random.word("ABCDEHLMPRST", 1),
        random.word("ABCDEFGHIL", 1),
        random.between(1, 999)
    );
    let odd = |character: char| -> u32 {
        match character {
            '0' | 'A' => 1,
            '1' | 'B' => 0,
            '2' | 'C' => 5,
            '3' | 'D' => 7,
            '4' | 'E' => 9,
            '5' | 'F' => 13,
            '6' | 'G' => 15,
            '7' | 'H' => 17,
            '8' | 'I' => 19,
            '9' | 'J' => 21,
            other => [2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23][other as usize - 'K' as usize],
        }
    };
    let even = |character: char| character.to_digit(10).unwrap_or_else(|| character as u32 - 'A' as u32);
    let sum: u32 = body
        .chars()
        .enumerate()
        .map(|(at, character)| if at % 2 == 0 { odd(character) } else { even(character) })
        .sum();
    format!("{body}{}", char::from(b'A' + (sum % 26) as u8))
}

fn hetu(random: &mut Random) -> String {
    let (day, month, year) = date(random);
    let century = random.pick(&["-", "-", "A", "+"]);
    let serial = random.between(2, 899);
    let number = ((day * 100 + month) * 100 + year) * 1000 + serial;
    let check = b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(number % 31) as usize] as char;
    format!("{day:02}{month:02}{year:02}{century}{serial:03}{check}")
}

fn bitcoin(random: &mut Random) -> String {
    let hash: Vec<u8> = (0..20).map(|_| random.below(256) as u8).collect();
    if random.below(2) == 0 {
        return base58_checked(&[&[[0u8, 5][random.below(2) as usize]], &hash[..]].concat());
    }
    // Version 0 and the hash in groups of five bits.
    let bits: Vec<u8> = hash.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let mut values = vec![0u32];
    values.extend(bits.chunks(5).map(|group| group.iter().fold(0, |value, bit| value << 1 | u32::from(*bit))));
    let polymod = |values: &[u32]| {
        values.iter().fold(1u32, |sum, value| {
            let top = sum >> 25;
            let mut next = (sum & 0x1ff_ffff) << 5 ^ value;
            for (bit, generator) in [0x3b6a57b2u32, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3].iter().enumerate() {
                if top >> bit & 1 == 1 {
                    next ^= generator;
                }
            }
            next
        })
    };
    let sum = polymod(&[&[3, 3, 0, 2, 3], &values[..], &[0; 6]].concat()) ^ 1;
    values.extend((0..6).map(|at| sum >> (5 * (5 - at)) & 31));
    let alphabet = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    format!("bc1{}", values.iter().map(|value| alphabet[*value as usize] as char).collect::<String>())
}

/// With four bytes of its double hash behind it.
pub(super) fn base58_checked(payload: &[u8]) -> String {
    let check = digest(&SHA256, digest(&SHA256, payload).as_ref());
    base58(&[payload, &check.as_ref()[..4]].concat())
}

fn base58(bytes: &[u8]) -> String {
    let alphabet = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits: Vec<u32> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % 58;
            carry /= 58;
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = std::iter::repeat_n(0, zeros).chain(digits.into_iter().rev());
    digits.map(|digit| alphabet[digit as usize] as char).collect()
}

fn secret(random: &mut Random) -> String {
    match random.below(7) {
        0 => format!("AKIA{}", random.word("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
        1 => format!("ghp_{}", random.word(ALNUM, 36)),
        2 => format!("sk_live_{}", random.word(ALNUM, 24)),
        3 => format!("xoxb-{}-{}-{}", text(&random.digits(12)), text(&random.digits(13)), random.word(ALNUM, 24)),
        4 => format!("AIza{}", random.word(&format!("{ALNUM}-_"), 35)),
        5 => format!("npm_{}", random.word(ALNUM, 36)),
        _ => format!("glpat-{}", random.word(ALNUM, 20)),
    }
}
