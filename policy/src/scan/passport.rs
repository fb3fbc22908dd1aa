//! Passports and identity cards: their numbers behind a word that says so, and their machine-readable
//! zones, whose check digits say it themselves.
//!
//! Sources: ICAO Doc 9303, parts 4 to 6 (zones, check digits); the Council's PRADO register of
//! travel documents for how countries number theirs.

use tidegate_core::words::DataClass;

use super::{Sink, begins_at, context, ends_at};

const CONFIDENCE: u8 = 85;
/// Four check digits.
const ZONE: u8 = 99;
const NUMBER_BYTES: std::ops::RangeInclusive<usize> = 7..=10;
/// A line of the longest zone.
const LINE: usize = 44;

/// Notes the number that the word around `at` is; says where it ends.
pub(super) fn find(text: &[u8], at: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric();
    let max = *NUMBER_BYTES.end() + 1;
    let start = at - text[..at].iter().rev().take(max).take_while(is_part).count();
    // The letter of an escape is no part of it.
    let start = if begins_at(text, start + 1) { start + 1 } else { start };
    let rest = text.get(start..)?;
    let length = rest.iter().take(max).take_while(is_part).count();
    let end = start + length;
    super::looks_at(length);
    let plausible = NUMBER_BYTES.contains(&length) && begins_at(text, start) && ends_at(text, end);
    (plausible
        && is_number(&rest[..length])
        && context::speaks_of(DataClass::Passport, text, start)
        && sink.note(DataClass::Passport, start..end, CONFIDENCE))
    .then_some(end)
}

/// Whether a country numbers its passports so: `A` for letters, `9` for digits, `X` for either.
pub(super) fn is_number(word: &[u8]) -> bool {
    const FORMS: [&[u8]; 17] = [
        b"9999999",    // Malta
        b"99999999",   // Sweden, Czechia, Lithuania, Norway, Romania
        b"999999999",  // United Kingdom, Denmark, Croatia, Bulgaria, United States
        b"A999999",    // Portugal
        b"A9999999",   // Austria, Switzerland, Estonia
        b"A99999999",  // United States, Cyprus, Germany until 2007
        b"AA999999",   // Belgium, Portugal, Hungary, Canada
        b"AA9999999",  // Italy, Poland, Finland, Ireland, Greece, Latvia, Slovakia, Slovenia, Estonia, Hungary
        b"AAA999999",  // Spain
        b"AAA99999",   // Norway
        b"99AA99999",  // France
        b"AAXXXXXX9",  // The Netherlands
        b"AXXXXXXXX",  // Germany, without and with its check digit
        b"AXXXXXXXX9", //
        b"AX999999",   // Iceland, Luxembourg
        b"AXXXXXX9",   // Luxembourg
        b"A999999A",   // Liechtenstein and others
    ];
    let fits = |form: &&[u8]| {
        form.len() == word.len()
            && form.iter().zip(word).all(|(kind, byte)| match kind {
                b'A' => byte.is_ascii_alphabetic(),
                b'9' => byte.is_ascii_digit(),
                _ => byte.is_ascii_alphanumeric(),
            })
    };
    word.iter().filter(|byte| byte.is_ascii_digit()).count() >= 3 && FORMS.iter().any(fits)
}

/// Notes the machine-readable zone that the long word at `word` is part of; says where it ends.
pub(super) fn zone(text: &[u8], word: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let is_part = |byte: u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'<');
    let start = word - text[..word].iter().rev().take(LINE).take_while(|byte| is_part(**byte)).count();
    let rest = text.get(start..)?;
    // The tag that ends an element of XML is no filler.
    let is_tag = |at: usize| rest.get(at..).is_some_and(|rest| rest.starts_with(b"</"));
    let length =
        rest.iter().take(LINE + 1).enumerate().take_while(|(at, byte)| is_part(**byte) && !is_tag(*at)).count();
    let line = text.get(start..start + length)?;
    super::looks_at(LINE + length);
    let end = start + length;
    let (before, lines) = match length {
        44 if passport(line) => (previous(text, start, 44), 2),
        36 if identity_card(line, 35) => (previous(text, start, 36), 2),
        30 => (previous(text, start, 30).filter(|first| small_card(&text[*first..*first + 30], line)), 3),
        _ => return None,
    };
    // The last of three lines is a name.
    let end = match lines {
        3 => before.and_then(|_| following(text, end, 30)).unwrap_or(end),
        _ => end,
    };
    if lines == 3 && before.is_none() {
        return None;
    }
    sink.note(DataClass::Passport, before.unwrap_or(start)..end, ZONE).then_some(end)
}

/// The lower line of a passport's zone.
fn passport(line: &[u8]) -> bool {
    let optional = line[28..42].iter().all(|byte| *byte == b'<') && line[42] == b'<';
    checked(line, 0..9, 9)
        && checked(line, 13..19, 19)
        && checked(line, 21..27, 27)
        && (optional || checked(line, 28..42, 42))
        && composite(line, &[0..10, 13..20, 21..43], 43)
}

/// The lower line of a visa's or larger card's zone.
fn identity_card(line: &[u8], last: usize) -> bool {
    checked(line, 0..9, 9)
        && checked(line, 13..19, 19)
        && checked(line, 21..27, 27)
        && composite(line, &[0..10, 13..20, 21..35], last)
}

/// The two upper lines of a card's zone.
fn small_card(upper: &[u8], lower: &[u8]) -> bool {
    let number = checked(upper, 5..14, 14) || upper.get(14) == Some(&b'<');
    let both = [upper, lower].concat();
    number
        && checked(lower, 0..6, 6)
        && checked(lower, 8..14, 14)
        && composite(&both, &[5..30, 30..37, 38..45, 48..59], 59)
}

fn checked(line: &[u8], field: std::ops::Range<usize>, at: usize) -> bool {
    composite(line, &[field], at)
}

/// ICAO 9303-3, 4.9: weights 7, 3, 1; letters count from 10, the filler 0.
fn composite(line: &[u8], fields: &[std::ops::Range<usize>], at: usize) -> bool {
    let bytes = fields.iter().filter_map(|field| line.get(field.clone())).flatten();
    let sum: u32 = bytes
        .zip([7, 3, 1].iter().cycle())
        .map(|(byte, weight)| {
            weight
                * match byte {
                    b'0'..=b'9' => u32::from(byte - b'0'),
                    b'A'..=b'Z' => u32::from(byte - b'A') + 10,
                    _ => 0,
                }
        })
        .sum();
    line.get(at).is_some_and(|check| u32::from(check.wrapping_sub(b'0')) == sum % 10)
}

/// Where the line of `length` before `start` begins, beyond a line break as text or JSON has it.
fn previous(text: &[u8], start: usize, length: usize) -> Option<usize> {
    let before = text.get(..start)?;
    let before = BREAKS.iter().find_map(|end| before.strip_suffix(*end))?;
    let first = before.len().checked_sub(length)?;
    is_line(before.get(first..)?).then_some(first)
}

/// Where the line of `length` behind `end` ends.
fn following(text: &[u8], end: usize, length: usize) -> Option<usize> {
    let rest = text.get(end..)?;
    let width = BREAKS.iter().find(|begin| rest.starts_with(begin))?.len();
    is_line(rest.get(width..width + length)?).then_some(end + width + length)
}

/// Longer ones first.
const BREAKS: [&[u8]; 5] = [b"\\r\\n", b"\r\n", b"\\n", b"\n", b" "];

fn is_line(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'<'))
}
