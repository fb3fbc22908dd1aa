//! Passports, dates of birth, and addresses of cryptocurrencies.

use sha3::{Digest as _, Keccak256};
use tidegate_core::words::DataClass;

use super::random::Random;
use super::values::{Value, alone, base58_checked, with_word};

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";

/// A valid value of `class`; `None` where it is not of this file.
pub(super) fn valid(class: DataClass, random: &mut Random) -> Option<Value> {
    Some(match class {
        DataClass::Passport if random.below(3) == 0 => {
            alone(if random.below(2) == 0 { book(random) } else { card(random) })
        }
        DataClass::Passport => with_word(passport(random)),
        DataClass::DateOfBirth => with_word(birth(random)),
        DataClass::CryptoAddress => alone(address(random)),
        _ => return None,
    })
}

/// A value that almost is of `class`.
pub(super) fn near_miss(class: DataClass, random: &mut Random) -> Option<Value> {
    Some(with_word(match class {
        DataClass::Passport if random.below(2) == 0 => {
            // Its number's check digit.
            let zone = book(random);
            let at = zone.len() - 44 + 9;
            let digit = u32::from(zone.as_bytes()[at] - b'0');
            format!("{}{}{}", &zone[..at], (digit + 1) % 10, &zone[at + 1..])
        }
        DataClass::Passport => format!("{}-{}", random.word(UPPER, 6), random.word(DIGITS, 2)),
        DataClass::DateOfBirth => {
            format!("{}.{}.19{}", random.between(32, 60), random.between(1, 12), random.between(10, 99))
        }
        DataClass::CryptoAddress => {
            let address = ethereum(random);
            let at = address.char_indices().skip(2).find(|(_, character)| character.is_ascii_alphabetic());
            let (at, letter) = at.unwrap_or((2, 'a'));
            let other =
                if letter.is_ascii_uppercase() { letter.to_ascii_lowercase() } else { letter.to_ascii_uppercase() };
            format!("{}{other}{}", &address[..at], &address[at + 1..])
        }
        _ => return None,
    }))
}

/// As PRADO shows the countries' numbers.
fn passport(random: &mut Random) -> String {
    match random.below(9) {
        // Poland, Finland, Italy; Spain has three letters and no trigger of the one pass.
        0..=2 => format!("{}{}", random.word(UPPER, 2), random.word(DIGITS, 7)),
        3 => random.word(DIGITS, 9),
        4 => random.word(DIGITS, 8),
        5 => format!("{}{}", random.word(UPPER, 1), random.word(DIGITS, 8)),
        6 => format!("{}{}", random.word(UPPER, 1), random.word(DIGITS, 7)),
        _ => format!("{}{}", random.word(UPPER, 2), random.word(DIGITS, 6)),
    }
}

/// ICAO 9303-3, 4.9.
fn check_digit(text: &str) -> u32 {
    let value = |character: char| match character {
        '<' => 0,
        character => character.to_digit(36).unwrap_or(0),
    };
    text.chars().zip([7, 3, 1].into_iter().cycle()).map(|(character, weight)| value(character) * weight).sum::<u32>()
        % 10
}

fn checked(text: &str) -> String {
    format!("{text}{}", check_digit(text))
}

fn six(random: &mut Random) -> String {
    format!("{:02}{:02}{:02}", random.below(100), random.between(1, 12), random.between(1, 28))
}

fn padded(text: &str, length: usize) -> String {
    format!("{text:<<length$}")
}

/// The two lines of a passport.
fn book(random: &mut Random) -> String {
    let country = random.pick(&["D<<", "FRA", "ITA", "ESP", "POL", "GBR", "NLD", "PRT", "SWE", "CZE", "DNK", "FIN"]);
    let name = random.pick(&[
        "WEISS<<KATRIN",
        "DE<VRIES<<WOUTER<JAN",
        "ZIELINSKA<<AGNIESZKA",
        "O<NEILL<<NIAMH",
        "GARCIA<LOPEZ<<INAKI",
    ]);
    let upper = padded(&format!("P<{country}{name}"), 44);
    let number = checked(&format!("{}{}", random.word(UPPER, 2), random.word(DIGITS, 7)));
    let (birth, expiry) = (checked(&six(random)), checked(&six(random)));
    let optional = if random.below(2) == 0 { padded("", 14) } else { padded(&random.word(DIGITS, 9), 14) };
    let optional_check = if optional.starts_with('<') { "<".to_owned() } else { check_digit(&optional).to_string() };
    let sex = random.pick(&["F", "M", "<"]);
    let composite = check_digit(&format!("{number}{birth}{expiry}{optional}{optional_check}"));
    format!("{upper}\n{number}{country}{birth}{sex}{expiry}{optional}{optional_check}{composite}")
}

/// The three lines of an identity card.
fn card(random: &mut Random) -> String {
    let country = random.pick(&["D<<", "ITA", "ESP", "POL", "NLD", "PRT", "SWE", "CZE", "FIN"]);
    let number = checked(&format!("{}{}", random.word(UPPER, 3), random.word(DIGITS, 6)));
    let upper = padded(&format!("I<{country}{number}"), 30);
    let (birth, expiry) = (checked(&six(random)), checked(&six(random)));
    let middle = format!("{birth}F{expiry}{country}<<<<<<<<<<<");
    let composite = check_digit(&format!("{}{birth}{expiry}<<<<<<<<<<<", &upper[5..]));
    format!("{upper}\n{middle}{composite}\n{}", padded("WEISS<<KATRIN", 30))
}

/// As the twelve locales write dates in digits, and ISO 8601.
fn birth(random: &mut Random) -> String {
    let (day, month, year) = (random.between(1, 28), random.between(1, 12), random.between(1930, 2012));
    match random.below(8) {
        0 => format!("{day:02}.{month:02}.{year}"),
        1 => format!("{day:02}/{month:02}/{year}"),
        2 => format!("{day:02}-{month:02}-{year}"),
        3 => format!("{year}-{month:02}-{day:02}"),
        4 => format!("{year}{month:02}{day:02}"),
        5 => format!("{day:02}.{month:02}.{:02}", year % 100),
        6 => format!("{month:02}/{day:02}/{year}"),
        _ => format!("{year}/{month:02}/{day:02}"),
    }
}

fn ethereum(random: &mut Random) -> String {
    let lower = random.word("0123456789abcdef", 40);
    let hash = Keccak256::digest(&lower);
    let written: String = lower
        .chars()
        .enumerate()
        .map(|(at, character)| {
            let half = hash[at / 2] >> (4 * (1 - at % 2)) & 15;
            if half > 7 { character.to_ascii_uppercase() } else { character }
        })
        .collect();
    format!("0x{written}")
}

fn address(random: &mut Random) -> String {
    let hash: Vec<u8> = (0..20).map(|_| random.below(256) as u8).collect();
    match random.below(3) {
        0 => {
            // Litecoin, Dogecoin, Dash, Tron; Zcash has two bytes.
            let version: &[u8] = [&[48u8][..], &[30], &[76], &[65], &[0x1c, 0xb8]][random.below(5) as usize];
            base58_checked(&[version, &hash].concat())
        }
        _ => ethereum(random),
    }
}
