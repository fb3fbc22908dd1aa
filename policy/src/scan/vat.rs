//! VAT numbers of the EU's member states and Northern Ireland, with their country's prefix.
//!
//! Sources: European Commission, VIES, "Structure of VAT identification numbers", and the check
//! digits that the states publish (collected in the Commission's "VAT number check algorithms").

use tidegate_core::words::DataClass;

use super::checksum::{luhn, mod_11_10, mod_97, value, weighted};
use super::{Sink, begins_at, context, ends_at, iban};

/// Prefix, length and check digit agree.
const CONFIDENCE: u8 = 80;
const WITH_CONTEXT: u8 = 97;
/// Prefix and nine characters may stand before the digits: `FR XX 123…`, `ATU 123…`.
const BEFORE_BYTES_MAX: usize = 6;
const BODY_MAX: usize = 12;

/// Notes the number whose digits, or some of them, begin at `digits`; says where it ends.
pub(super) fn before_digits(text: &[u8], digits: usize, sink: &mut Sink<'_>) -> Option<usize> {
    (2..=BEFORE_BYTES_MAX).find_map(|back| find(text, digits.checked_sub(back)?, sink))
}

/// Notes the number whose prefix stands at `start`; says where it ends.
pub(super) fn find(text: &[u8], start: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let prefix = text.get(start..)?.first_chunk::<2>()?;
    if !prefix.iter().all(u8::is_ascii_alphabetic) {
        return None;
    }
    let country = prefix.map(|letter| letter.to_ascii_uppercase());
    let lengths = lengths(country);
    if lengths.is_empty() || !begins_at(text, start) {
        return None;
    }
    let mut body = [0u8; BODY_MAX];
    let (mut count, mut at) = (0, start + 2);
    let mut found = None;
    while let Some(byte) = text.get(at) {
        super::looks_at(1);
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' if count < BODY_MAX => {
                body[count] = byte.to_ascii_uppercase();
                count += 1;
                let whole = lengths.contains(&count) && ends_at(text, at + 1);
                if whole && is_valid(country, &body[..count]) {
                    found = Some(at + 1);
                }
            }
            b' ' | b'-' | b'.' if text.get(at - 1).is_some_and(u8::is_ascii_alphanumeric) => {}
            _ => break,
        }
        at += 1;
    }
    let end = found?;
    if iban::encloses(text, start) {
        return None;
    }
    let confidence =
        match (context::speaks_of(DataClass::EuVat, text, start), prefix.iter().all(u8::is_ascii_uppercase)) {
            (true, _) => WITH_CONTEXT,
            (false, true) => CONFIDENCE,
            (false, false) => 50,
        };
    sink.note(DataClass::EuVat, start..end, confidence).then_some(end)
}

/// How many characters follow the prefix; none where the country is no member.
fn lengths(country: [u8; 2]) -> &'static [usize] {
    match &country {
        b"LU" | b"MT" | b"HU" | b"DK" | b"FI" | b"SI" => &[8],
        b"AT" | b"CY" | b"DE" | b"EE" | b"EL" | b"ES" | b"PT" | b"XI" => &[9],
        b"IE" => &[8, 9],
        b"BG" => &[9, 10],
        b"CZ" => &[8, 10],
        b"BE" | b"PL" | b"SK" => &[10],
        b"FR" | b"HR" | b"IT" | b"LV" => &[11],
        b"LT" => &[9, 12],
        b"NL" | b"SE" => &[12],
        // Shorter ones exist, and are too short to tell from words.
        b"RO" => &[7, 8, 9, 10],
        _ => &[],
    }
}

fn is_valid(country: [u8; 2], body: &[u8]) -> bool {
    match &country {
        b"AT" => body.first() == Some(&b'U') && all_digits(&body[1..]).is_some_and(|digits| austria(&digits[..8])),
        b"CY" => cyprus(body),
        b"ES" => spain(body),
        b"FR" => france(body),
        b"IE" => ireland(body),
        b"NL" => netherlands(body),
        _ => all_digits(body).is_some_and(|digits| is_valid_number(country, &digits[..body.len()])),
    }
}

/// The values of digits; `None` where another character stands among them.
fn all_digits(body: &[u8]) -> Option<[u8; BODY_MAX]> {
    let mut digits = [0; BODY_MAX];
    for (digit, byte) in digits.iter_mut().zip(body) {
        *digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
    }
    Some(digits)
}

/// The numbers that are digits only.
fn is_valid_number(country: [u8; 2], digits: &[u8]) -> bool {
    let number = value(digits);
    let last = u32::from(*digits.last().unwrap_or(&0));
    let sum = |weights: &[u8]| weighted(digits, weights);
    if number == 0 {
        return false;
    }
    match &country {
        b"BE" => number / 100 % 97 + number % 100 == 97 && digits[0] < 2,
        b"BG" if digits.len() == 9 => match sum(&[1, 2, 3, 4, 5, 6, 7, 8]) % 11 {
            10 => sum(&[3, 4, 5, 6, 7, 8, 9, 10]) % 11 % 10 == last,
            check => check == last,
        },
        b"BG" => {
            sum(&[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == last
                || sum(&[21, 19, 17, 13, 11, 9, 7, 3, 1]) % 10 == last
                || (11 - sum(&[4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11 == last
        }
        b"CZ" if digits.len() == 8 => match 11 - sum(&[8, 7, 6, 5, 4, 3, 2]) % 11 {
            10 => last == 0,
            11 => last == 1,
            check => check == last,
        },
        b"CZ" | b"SK" => number.is_multiple_of(11),
        b"DE" | b"HR" => mod_11_10(digits),
        b"DK" => sum(&[2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11),
        b"EE" => sum(&[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10),
        b"EL" => {
            let sum: u32 =
                digits.iter().take(8).enumerate().map(|(index, digit)| u32::from(*digit) << (8 - index)).sum();
            sum % 11 % 10 == last
        }
        b"FI" => (11 - sum(&[7, 9, 10, 5, 8, 4, 2]) % 11) % 11 == last,
        b"HU" => (10 - sum(&[9, 7, 3, 1, 9, 7, 3]) % 10) % 10 == last,
        b"IT" => luhn(digits),
        b"LT" => lithuania(digits, last),
        b"LU" => number / 100 % 89 == number % 100,
        b"LV" => {
            let rest = sum(&[9, 1, 4, 8, 3, 10, 2, 5, 7, 6]) % 11;
            // Persons have a date instead of a check digit.
            digits[0] > 3 && rest != 4 && (14 - rest) % 11 == last
        }
        b"MT" => 37 - sum(&[3, 4, 6, 7, 8, 9]) % 37 == (number % 100) as u32,
        b"PL" => sum(&[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == last,
        b"PT" => (11 - sum(&[9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11 % 10 == last && digits[0] != 0,
        b"RO" => {
            let weights = &[7, 5, 3, 2, 1, 7, 5, 3, 2][10 - digits.len()..];
            sum(weights) * 10 % 11 % 10 == last
        }
        b"SE" => luhn(&digits[..10]) && (1..=94).contains(&(number % 100)),
        b"SI" => {
            digits[0] != 0
                && matches!(11 - sum(&[8, 7, 6, 5, 4, 3, 2]) % 11, check if check != 11 && check % 10 == last)
        }
        b"XI" => {
            let sum = sum(&[8, 7, 6, 5, 4, 3, 2]) + (number % 100) as u32;
            sum.is_multiple_of(97) || (sum + 55).is_multiple_of(97)
        }
        _ => false,
    }
}

fn austria(digits: &[u8]) -> bool {
    let doubled = |digit: u8| u32::from(digit / 5 + digit * 2 % 10);
    let sum: u32 = digits[..7]
        .iter()
        .enumerate()
        .map(|(index, digit)| if index % 2 == 0 { u32::from(*digit) } else { doubled(*digit) })
        .sum();
    (10 - (sum + 4) % 10) % 10 == u32::from(digits[7])
}

fn cyprus(body: &[u8]) -> bool {
    const ODD: [u32; 10] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
    let Some((letter, rest)) = body.split_last() else { return false };
    let Some(digits) = all_digits(rest) else { return false };
    let sum: u32 = digits[..8]
        .iter()
        .enumerate()
        .map(|(index, digit)| if index % 2 == 0 { ODD[usize::from(*digit) % 10] } else { u32::from(*digit) })
        .sum();
    u32::from(*letter) == u32::from(b'A') + sum % 26
}

/// Companies' numbers, and persons' as [`super::spanish`] has them.
fn spain(body: &[u8]) -> bool {
    const PERSONS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let [first, middle @ .., last] = body else { return false };
    let Some(digits) = all_digits(middle) else { return false };
    let digits = &digits[..7];
    let person = |high: u64| PERSONS[((high * 10_000_000 + value(digits)) % 23) as usize] == *last;
    match first {
        b'0'..=b'9' => person(u64::from(first - b'0')),
        b'X' | b'K' | b'L' | b'M' => person(0),
        b'Y' => person(1),
        b'Z' => person(2),
        b'A'..=b'H' | b'J' | b'N' | b'P'..=b'S' | b'U' | b'V' | b'W' => {
            let doubled = |digit: u8| u32::from(digit / 5 + digit * 2 % 10);
            let odd: u32 = digits.iter().step_by(2).map(|digit| doubled(*digit)).sum();
            let even: u32 = digits.iter().skip(1).step_by(2).map(|digit| u32::from(*digit)).sum();
            let check = (10 - (odd + even) % 10) % 10;
            u32::from(*last) == u32::from(b'0') + check || *last == b"JABCDEFGHI"[check as usize]
        }
        _ => false,
    }
}

/// Two characters, which are a key where they are digits, and the SIREN.
fn france(body: &[u8]) -> bool {
    let Some(siren) = body.get(2..).and_then(all_digits) else { return false };
    let siren = &siren[..9];
    let key = all_digits(&body[..2]).map(|key| value(&key[..2]));
    let letters = body[..2].iter().all(|byte| !matches!(byte, b'I' | b'O'));
    luhn(siren) && value(siren) != 0 && key.map_or(letters, |key| key == (12 + 3 * (value(siren) % 97)) % 97)
}

/// Companies' numbers and persons', which are their PPSN: a check letter behind seven digits, and at times
/// a second letter.
pub(super) fn ireland(body: &[u8]) -> bool {
    let Some(digits) = body.get(..7).and_then(all_digits) else { return false };
    let second = match body.get(8) {
        None | Some(b'W') => 0,
        Some(letter @ b'A'..=b'I') => u32::from(letter - b'A' + 1),
        Some(_) => return false,
    };
    let sum = weighted(&digits[..7], &[8, 7, 6, 5, 4, 3, 2]) + 9 * second;
    body.get(7) == Some(&b"WABCDEFGHIJKLMNOPQRSTUV"[(sum % 23) as usize])
}

/// Companies' numbers by the "elfproef", sole traders' by 97 since 2020.
fn netherlands(body: &[u8]) -> bool {
    let (Some(nine), Some(suffix)) = (body.get(..9).and_then(all_digits), body.get(10..).and_then(all_digits)) else {
        return false;
    };
    let eleven = weighted(&nine[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11 == u32::from(nine[8]);
    let whole = b"NL".iter().chain(body).copied();
    body.get(9) == Some(&b'B') && value(&suffix[..2]) != 0 && (eleven || mod_97(whole) == 1)
}

fn lithuania(digits: &[u8], last: u32) -> bool {
    let count = digits.len() - 1;
    let weights = |first: usize| -> [u8; 11] { std::array::from_fn(|index| ((index + first - 1) % 9 + 1) as u8) };
    let sum = |first: usize| weighted(&digits[..count], &weights(first)[..count]) % 11;
    let check = match sum(1) {
        10 => sum(3) % 10,
        check => check,
    };
    check == last
}
