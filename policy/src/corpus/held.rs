//! The part of the corpus that is held out: other forms of values, other disguises, and in
//! [`surroundings`] other texts than those that validators and dictionaries were written with.
//!
//! It was written in one go before anything was changed for its sake; the README says what it showed
//! the first time. Whoever mends a class looks at the published definition and at the other part, not
//! at single samples of this one: the test prints none of them.

mod surroundings;

use tidegate_core::words::DataClass;

use super::random::Random;
use super::values::{self, Value, alone, grouped, text, with_word};

pub(super) use surroundings::{around, noise};

/// A value that is of `class`, written as people write it.
pub(super) fn valid(class: DataClass, random: &mut Random) -> Value {
    match class {
        DataClass::Email => alone(email(random)),
        DataClass::Phone => alone(phone(random)),
        DataClass::Iban => alone(iban(random)),
        DataClass::PaymentCard => alone(card(random)),
        DataClass::MacAddress => alone(mac(random)),
        DataClass::Ipv4 => {
            let network = random.pick(&["10.", "172.16.", "192.168.", "203.0.", "198.51.", "91."]);
            let missing = 4 - network.matches('.').count();
            let rest: Vec<String> = (0..missing).map(|_| random.below(255).to_string()).collect();
            alone(format!("{network}{}", rest.join(".")))
        }
        DataClass::Ipv6 => {
            let value = values::valid(class, random).text;
            alone(if random.below(3) == 0 { value.to_uppercase() } else { value })
        }
        DataClass::ItCodiceFiscale => {
            let value = values::valid(class, random).text;
            match random.below(5) {
                0 => with_word(value.to_lowercase()),
                // As the form of the tax authority parts it.
                1 => with_word(format!("{} {} {} {}", &value[..3], &value[3..6], &value[6..11], &value[11..])),
                _ => alone(value),
            }
        }
        DataClass::EsNif => {
            let value = values::valid(class, random).text;
            let (body, letter) = value.split_at(value.len() - 1);
            match (random.below(5), body.starts_with(|first: char| first.is_ascii_digit())) {
                (0, true) => with_word(format!("{}.{}.{}-{letter}", &body[..2], &body[2..5], &body[5..])),
                (0, false) => with_word(format!("{}-{}-{letter}", &body[..1], &body[1..])),
                (1, _) => with_word(format!("{body} {letter}")),
                (2, _) => alone(format!("{body}-{letter}")),
                _ => alone(value),
            }
        }
        DataClass::EuVat => {
            let value = values::valid(class, random).text;
            let (country, body) = value.split_at(2);
            let body: Vec<char> = body.chars().collect();
            match random.below(4) {
                0 => with_word(format!("{country} {}", body.iter().collect::<String>())),
                1 => with_word(format!(
                    "{country} {}",
                    body.chunks(3).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
                )),
                _ => alone(value),
            }
        }
        DataClass::UkNino => {
            let value = values::valid(class, random).text;
            with_word(if random.below(4) == 0 { value.to_lowercase() } else { value })
        }
        DataClass::UsSsn => {
            let value = values::valid(class, random).text.replace('-', "");
            let separator = random.pick(&["-", " ", "", "-", "."]);
            with_word(format!("{}{separator}{}{separator}{}", &value[..3], &value[3..5], &value[5..]))
        }
        _ if forms(class).is_empty() => values::valid(class, random),
        _ => {
            let digits = values::national(class, random);
            let forms = forms(class);
            let (lengths, separators) = forms[random.below(forms.len() as u64) as usize];
            // The forms that no other number has are told by the definition, not by what is found.
            let value = group(&digits, lengths, separators);
            with_word(value)
        }
    }
}

/// A value that almost is of `class`: two neighbouring digits exchanged, which every check digit was
/// invented against, else what the other part has.
pub(super) fn near_miss(class: DataClass, random: &mut Random) -> Value {
    let exchangeable = matches!(
        class,
        DataClass::PaymentCard
            | DataClass::Iban
            | DataClass::NlBsn
            | DataClass::UkNhs
            | DataClass::PlPesel
            | DataClass::ChAhv
            | DataClass::SePersonnummer
            | DataClass::NoFodselsnummer
    );
    if !exchangeable {
        return values::near_miss(class, random);
    }
    loop {
        let value = valid(class, random).text;
        let mut bytes = value.into_bytes();
        let at = bytes.len() - 2 - random.below(3) as usize;
        let (left, right) = (bytes[at], bytes[at + 1]);
        // Luhn's rule, and weights of 1 and 3, take some exchanges for the same number.
        let differ = left.is_ascii_digit() && right.is_ascii_digit() && left.abs_diff(right) % 5 != 0;
        if differ && left.abs_diff(right) != 9 {
            bytes.swap(at, at + 1);
            return with_word(String::from_utf8(bytes).unwrap_or_default());
        }
    }
}

/// The value as somebody writes it who does not want it to be found; other ways than the other part's.
pub(super) fn disguise(class: DataClass, value: &str, random: &mut Random) -> String {
    let each = |value: &str, of: &dyn Fn(char) -> Option<String>| -> String {
        value.chars().map(|character| of(character).unwrap_or_else(|| character.to_string())).collect()
    };
    let shifted = |zero: u32| {
        move |character: char| {
            let digit = character.to_digit(10)?;
            char::from_u32(zero + digit).map(String::from)
        }
    };
    match random.below(9) {
        // All of it as escapes, in capitals.
        0 => each(value, &|character| (character.is_ascii()).then(|| format!("\\u{:04X}", character as u32))),
        // Twice URL-encoded.
        1 => each(value, &|character| {
            matches!(character, '@' | '+' | ' ' | ':' | '/').then(|| format!("%25{:02X}", character as u32))
        }),
        // Devanagari, Thai, mathematical digits.
        2 => each(value, &shifted(0x966)),
        3 => each(value, &shifted(0xe50)),
        4 => each(value, &shifted(0x1d7ce)),
        // A thin space for each space, a dash of the width of a digit for each dash.
        5 => value.replace(' ', "\u{2009}").replace('-', "\u{2012}").replace('@', "\u{ff20}"),
        // A soft hyphen or a word joiner in two places.
        6 => {
            let joiner = random.pick(&["\u{ad}", "\u{2060}", "\u{feff}", "\u{200d}"]);
            let count = value.chars().count();
            let mut written = String::new();
            for (at, character) in value.chars().enumerate() {
                if at == count / 3 || at == count * 2 / 3 {
                    written.push_str(joiner);
                }
                written.push(character);
            }
            written
        }
        // Superscript and circled digits.
        7 if value.chars().any(|character| character.is_ascii_digit()) => each(value, &|character| {
            let digit = character.to_digit(10)?;
            Some(String::from(['⓪', '①', '②', '③', '④', '⑤', '⑥', '⑦', '⑧', '⑨'][digit as usize]))
        }),
        _ if matches!(class, DataClass::Email) => each(value, &|character| {
            character.is_ascii_alphabetic().then(|| character.to_ascii_uppercase().to_string())
        }),
        _ => each(value, &|character| {
            character
                .is_ascii_alphanumeric()
                .then(|| String::from(char::from_u32(character as u32 + 0xfee0).unwrap_or(character)))
        }),
    }
}

/// How else a country's people write its number: lengths of groups and what stands between them.
#[allow(clippy::type_complexity, reason = "a table")]
fn forms(class: DataClass) -> &'static [(&'static [usize], &'static str)] {
    match class {
        DataClass::FrNir => &[
            (&[1, 2, 2, 2, 3, 3, 2], "      "),
            (&[1, 2, 2, 2, 3, 3, 2], "------"),
            (&[13, 2], " "),
            (&[3, 2, 2, 3, 3, 2], "     "),
            (&[15], ""),
        ],
        DataClass::NlBsn => &[(&[9], ""), (&[3, 3, 3], "  "), (&[3, 3, 3], ".."), (&[4, 2, 3], "..")],
        DataClass::PlPesel => &[(&[11], ""), (&[6, 5], " "), (&[6, 5], "-")],
        DataClass::DeSteuerId => &[(&[11], ""), (&[2, 3, 3, 3], "   "), (&[2, 3, 3, 3], "///")],
        DataClass::UkNhs => &[(&[10], ""), (&[3, 3, 4], "  "), (&[3, 3, 4], "--")],
        DataClass::BeNationalNumber => &[
            (&[2, 2, 2, 3, 2], "..-."),
            (&[11], ""),
            (&[6, 3, 2], "--"),
            (&[6, 3, 2], "  "),
            (&[2, 2, 2, 3, 2], "    "),
        ],
        DataClass::SePersonnummer => &[(&[6, 4], "-"), (&[10], ""), (&[6, 4], " ")],
        DataClass::DkCpr => &[(&[6, 4], "-"), (&[10], ""), (&[6, 4], " ")],
        DataClass::NoFodselsnummer => &[(&[11], ""), (&[6, 5], " "), (&[6, 5], "-")],
        DataClass::PtNif => &[(&[9], ""), (&[3, 3, 3], "  "), (&[3, 3, 3], ".."), (&[3, 3, 3], "--")],
        DataClass::AtSvnr => &[(&[4, 6], " "), (&[10], ""), (&[4, 6], "-"), (&[4, 6], "/"), (&[4, 2, 2, 2], "   ")],
        DataClass::HrOib => &[(&[11], "")],
        DataClass::ChAhv => &[(&[3, 4, 4, 2], "..."), (&[13], ""), (&[3, 4, 4, 2], "   ")],
        DataClass::CzRodneCislo => &[(&[6, 4], "/"), (&[10], ""), (&[6, 4], " ")],
        DataClass::RoCnp => &[(&[13], ""), (&[1, 6, 6], "  ")],
        DataClass::BgEgn => &[(&[10], ""), (&[6, 4], " ")],
        _ => &[],
    }
}

fn group(digits: &[u32], lengths: &[usize], separators: &str) -> String {
    let mut rest = digits;
    let mut written = String::new();
    let mut separators = separators.chars();
    for length in lengths {
        let (group, after) = rest.split_at(*length);
        rest = after;
        written.push_str(&text(group));
        if !rest.is_empty() {
            written.extend(separators.next());
        }
    }
    written
}

fn email(random: &mut Random) -> String {
    let first = random.pick(&[
        "katrin",
        "sébastien",
        "wouter",
        "agnieszka",
        "giulia",
        "iñaki",
        "tiago",
        "åsa",
        "mikkel",
        "väinö",
        "niamh",
        "radek",
        "ΓΙΩΡΓΟΣ",
        "dimitri",
        "Q",
        "r2d2",
        "no-reply",
        "buchhaltung",
        "sales",
    ]);
    let last = random.pick(&[
        "weiß",
        "lefèvre",
        "de.vries",
        "zieliński",
        "d'angelo",
        "garcía",
        "gonçalves",
        "öberg",
        "sørensen",
        "mäkinen",
        "o'neill",
        "dvořák",
    ]);
    let local = match random.below(6) {
        0 => format!("{first}.{last}"),
        1 => format!("{first}_{last}{}", random.between(1950, 2010)),
        2 => format!("{first}+{}-{}", random.word("abcdef", 5), random.below(100)),
        3 => format!("{first}-{last}"),
        4 => format!("{}{}", random.below(10_000), first),
        _ => first.to_owned(),
    };
    let domain = random.pick(&[
        "beispiel.de",
        "exemple.fr",
        "voorbeeld.nl",
        "przyklad.com.pl",
        "esempio.it",
        "ejemplo.es",
        "exemplo.pt",
        "exempel.se",
        "eksempel.dk",
        "esimerkki.fi",
        "example.ie",
        "priklad.cz",
        "post.university.education",
        "a-b.c-d.technology",
        "2b.io",
        "bücher.example",
        "xn--bcher-kva.example",
        "παράδειγμα.ελ",
        "EXAMPLE.COM",
        "srv-01.eu-central-1.cloud.example.net",
    ]);
    format!("{local}@{domain}")
}

/// International numbers, as letterheads, signatures and forms have them.
fn phone(random: &mut Random) -> String {
    // Country code, first digits that the country gives out, digits in all after the code.
    let countries: [(&str, &str, usize); 16] = [
        ("49", "176", 11),
        ("49", "30", 10),
        ("33", "6", 9),
        ("31", "6", 9),
        ("48", "601", 9),
        ("39", "347", 10),
        ("34", "612", 9),
        ("351", "912", 9),
        ("46", "70", 9),
        ("45", "20", 8),
        ("358", "40", 9),
        ("44", "7911", 10),
        ("420", "602", 9),
        ("353", "87", 9),
        ("43", "664", 10),
        ("41", "79", 9),
    ];
    let (code, first, length) = countries[random.below(16) as usize];
    let national = format!("{first}{}", random.word("0123456789", length - first.len()));
    let (area, rest) = national.split_at(first.len());
    let (half, other) = rest.split_at(rest.len() / 2);
    match random.below(9) {
        0 => format!("+{code}{national}"),
        1 => format!("+{code} {area} {half} {other}"),
        2 => format!("+{code} ({area}) {rest}"),
        3 => format!("+{code} (0){area} {half}-{other}"),
        4 => format!("+{code}-{area}-{half}-{other}"),
        5 => format!("+{code} {area}/{half} {other}"),
        6 => format!("+{code} {area}{rest}"),
        7 => format!("+{code}.{area}.{half}.{other}"),
        _ => {
            let pairs: Vec<String> =
                rest.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect();
            format!("+{code} {area} {}", pairs.join(" "))
        }
    }
}

/// Every country of the registry, by its own account numbers' lengths, digits only where it has so.
fn iban(random: &mut Random) -> String {
    let solid = values::valid(DataClass::Iban, random).text.replace(' ', "");
    let groups = |separator: &str| {
        solid
            .as_bytes()
            .chunks(4)
            .map(|group| String::from_utf8_lossy(group).into_owned())
            .collect::<Vec<_>>()
            .join(separator)
    };
    match random.below(6) {
        0 => groups(" "),
        1 => groups("-"),
        2 => solid.to_lowercase(),
        // The country apart, as forms in two boxes are copied.
        3 => format!("{} {}", &solid[..4], &solid[4..]),
        4 => groups("."),
        _ => solid,
    }
}

fn card(random: &mut Random) -> String {
    // Prefix and length of networks, from ISO/IEC 7812 registrations as the networks publish them.
    let networks: [(&[u32], usize); 14] = [
        (&[4, 5, 3, 9], 16),
        (&[4, 9, 1, 6], 16),
        (&[4, 0, 0], 19),
        (&[5, 3], 16),
        (&[2, 7, 0, 1], 16),
        (&[2, 3], 16),
        (&[3, 4], 15),
        (&[3, 0, 2], 14),
        (&[3, 8], 14),
        (&[6, 5, 1], 16),
        (&[6, 4, 5], 16),
        (&[3, 5, 6, 0], 16),
        (&[6, 2, 4], 17),
        (&[6, 7, 5, 9, 0, 0], 16),
    ];
    let (prefix, length) = networks[random.below(14) as usize];
    let mut digits = [prefix, &random.digits(length - 1 - prefix.len())].concat();
    digits.push(values::luhn_digit(&digits));
    let lengths: &[usize] = match length {
        19 => &[4, 4, 4, 4, 3],
        17 => &[4, 4, 4, 5],
        16 => &[4, 4, 4, 4],
        15 => &[4, 6, 5],
        _ => &[4, 6, 4],
    };
    let separator = random.pick(&["", " ", "-", "", " "]);
    if separator.is_empty() { text(&digits) } else { grouped(&digits, lengths, separator) }
}

fn mac(random: &mut Random) -> String {
    let pairs: Vec<String> = (0..6).map(|_| format!("{:02x}", random.between(1, 254))).collect();
    match random.below(4) {
        0 => pairs.join(":").to_uppercase(),
        1 => pairs.join("-").to_uppercase(),
        // As Cisco's devices print them.
        2 => format!("{}{}.{}{}.{}{}", pairs[0], pairs[1], pairs[2], pairs[3], pairs[4], pairs[5]),
        _ => pairs.join(":"),
    }
}
