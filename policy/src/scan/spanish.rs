//! Spain's NIF: the DNI's eight digits, the NIE of foreigners (X, Y, Z and seven digits) and the
//! numbers of minors and others without a DNI (K, L, M), each with a check letter.
//!
//! Source: Orden EHA/451/2008 and Real Decreto 1065/2007, art. 19 and 20.

use std::ops::Range;

use tidegate_core::words::DataClass;

use super::{Sink, begins_at, context, ends_at};

const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
/// One letter in 23 is right by chance, so the number must look like one.
const PLAIN: u8 = 65;
const NIE: u8 = 85;
const WITH_CONTEXT: u8 = 95;

/// Notes the DNI whose digits stand at `span`.
pub(super) fn dni(text: &[u8], span: Range<usize>, sink: &mut Sink<'_>) -> Option<usize> {
    let number = digits(text.get(span.clone())?);
    let (letter, end) = check_letter(text, span.end)?;
    if !is_check(number, letter) || !begins_at(text, span.start) {
        return None;
    }
    // Part of a longer identifier, as in `ORD-2024-12345678Z`, is no DNI.
    let joined = matches!(text.get(..span.start)?.last(), Some(b'-' | b'_' | b'/' | b'.' | b'#'));
    let spoken = context::speaks_of(DataClass::EsNif, text, span.start);
    let confidence = match (spoken, joined || letter.is_ascii_lowercase()) {
        (true, _) => WITH_CONTEXT,
        (false, true) => 40,
        (false, false) => PLAIN,
    };
    sink.note(DataClass::EsNif, span.start..end, confidence).then_some(end)
}

/// Notes the NIE, or the NIF with a letter before it, whose digits stand at `span`.
pub(super) fn nie(text: &[u8], span: Range<usize>, sink: &mut Sink<'_>) -> Option<usize> {
    let before = text.get(..span.start)?;
    let unparted = before.strip_suffix(b"-").unwrap_or(before);
    let start = unparted.len().checked_sub(1)?;
    let first = unparted.last()?.to_ascii_uppercase();
    let high = match first {
        b'X' | b'K' | b'L' | b'M' => 0,
        b'Y' => 10_000_000,
        b'Z' => 20_000_000,
        _ => return None,
    };
    let (letter, end) = check_letter(text, span.end)?;
    if !begins_at(text, start) || !is_check(high + digits(text.get(span.clone())?), letter) {
        return None;
    }
    let spoken = context::speaks_of(DataClass::EsNif, text, start);
    let confidence = match (spoken, first, letter.is_ascii_lowercase()) {
        (true, ..) => WITH_CONTEXT,
        (false, b'X' | b'Y' | b'Z', false) => NIE,
        _ => 50,
    };
    sink.note(DataClass::EsNif, start..end, confidence).then_some(end)
}

fn digits(bytes: &[u8]) -> u32 {
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0u32, |number, digit| number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
}

/// The letter at `at`, or behind a single separator there, and where it ends.
fn check_letter(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let at = if matches!(text.get(at)?, b'-' | b' ') { at + 1 } else { at };
    let letter = text.get(at).copied().filter(u8::is_ascii_alphabetic)?;
    ends_at(text, at + 1).then_some((letter, at + 1))
}

fn is_check(number: u32, letter: u8) -> bool {
    LETTERS.get((number % 23) as usize) == Some(&letter.to_ascii_uppercase())
}
