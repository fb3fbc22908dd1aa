//! Dates of birth: dates in digits behind a word that says so.
//!
//! Without the word every date would be one. The forms are those of twelve European locales and of
//! ISO 8601: day, month and year in either order, parted by dots, slashes, dashes or spaces, or the
//! eight digits of `19850312`. Sources: CLDR's short and medium date formats; ISO 8601-1, 5.2.2.

use tidegate_core::words::DataClass;

use super::checksum::is_date;
use super::{Sink, begins_at, context, ends_at};

const CONFIDENCE: u8 = 85;
/// Nobody who lives was born before; a later year is a deadline.
const YEARS: std::ops::RangeInclusive<u32> = 1900..=2039;

/// Notes the date that begins at `start`; says where it ends.
pub(super) fn find(text: &[u8], start: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let end = date(text, start)?;
    ((context::speaks_of(DataClass::DateOfBirth, text, start) || is_abbreviated(text, start))
        && sink.note(DataClass::DateOfBirth, start..end, CONFIDENCE))
    .then_some(end)
}

/// Whether right before the date stands what Czech and Polish write for "born", `nar.` and `ur.`: with what
/// marks it as an abbreviation or a name, for `när` and `ur` are words elsewhere.
fn is_abbreviated(text: &[u8], start: usize) -> bool {
    let before = text.get(start.saturating_sub(16)..start).unwrap_or_default();
    let is_mark = |byte: &u8| !byte.is_ascii_alphanumeric() && byte.is_ascii();
    let marks = before.iter().rev().take_while(|byte| is_mark(byte)).count();
    let (word, marks) = before.split_at(before.len() - marks);
    let letters = word.iter().rev().take_while(|byte| byte.is_ascii_alphabetic() || **byte >= 0x80).count();
    let word = &word[word.len() - letters..];
    let marked = marks.first().is_some_and(|mark| matches!(mark, b'.' | b'_' | b':' | b'"' | b'=' | b'>' | b'\''));
    marked && (word.eq_ignore_ascii_case(b"nar") || word.eq_ignore_ascii_case(b"ur"))
}

/// Where the date ends that begins at `start`.
fn date(text: &[u8], start: usize) -> Option<usize> {
    if !begins_at(text, start) {
        return None;
    }
    let (first, digits, at) = number(text, start)?;
    if digits == 8 {
        let (begin, end) = (first / 10_000, first % 10_000);
        let by_year = YEARS.contains(&begin) && is_date(end % 100, end / 100);
        let by_day = YEARS.contains(&end) && is_date(begin / 100, begin % 100);
        return ((by_year || by_day) && ends_here(text, at)).then_some(at);
    }
    let separator = *text.get(at).filter(|byte| matches!(byte, b'.' | b'/' | b'-' | b' '))?;
    let (second, second_digits, at) = number(text, after(text, at, separator)?)?;
    let (third, third_digits, end) = number(text, after(text, at, separator)?)?;
    let valid = match (digits, second_digits, third_digits) {
        (4, 1..=2, 1..=2) => YEARS.contains(&first) && is_date(third, second),
        // Day first in Europe, month first in the United States.
        (1..=2, 1..=2, 4) => YEARS.contains(&third) && (is_date(first, second) || is_date(second, first)),
        (1..=2, 1..=2, 2) => separator != b' ' && (is_date(first, second) || is_date(second, first)),
        _ => false,
    };
    (valid && ends_here(text, end)).then_some(end)
}

/// The number at `at` of up to eight digits, how many they are, and where it ends.
fn number(text: &[u8], at: usize) -> Option<(u32, usize, usize)> {
    let rest = text.get(at..)?;
    super::looks_at(9);
    let digits = rest.iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
    let value = rest[..digits].iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    (1..=8).contains(&digits).then_some((value, digits, at + digits))
}

/// Where the next number begins: a dot may have a space behind it.
fn after(text: &[u8], at: usize, separator: u8) -> Option<usize> {
    if text.get(at) != Some(&separator) {
        return None;
    }
    Some(at + 1 + usize::from(separator == b'.' && text.get(at + 1) == Some(&b' ')))
}

/// A time may follow.
fn ends_here(text: &[u8], end: usize) -> bool {
    let joined = matches!(text.get(end..), Some([b'.' | b'/' | b'-', b'0'..=b'9', ..]));
    !joined && (ends_at(text, end) || text.get(end) == Some(&b'T'))
}
