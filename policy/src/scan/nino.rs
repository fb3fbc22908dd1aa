//! The United Kingdom's National Insurance number: two letters, six digits, a letter from A to D.
//! There is no check digit, so it needs a word before it.
//!
//! Source: HMRC, National Insurance Manual NIM39110.

use tidegate_core::words::DataClass;

use super::{Sink, begins_at, context, ends_at};

const WITH_CONTEXT: u8 = 85;

/// Notes the number whose digits begin at `digits`.
pub(super) fn find(text: &[u8], digits: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let before = text.get(..digits)?;
    let unparted = before.strip_suffix(b" ").or_else(|| before.strip_suffix(b"-")).unwrap_or(before);
    let start = unparted.len().checked_sub(2)?;
    let [first, second] = *unparted.last_chunk::<2>()?;
    if !is_prefix(first.to_ascii_uppercase(), second.to_ascii_uppercase()) || !begins_at(text, start) {
        return None;
    }
    let (mut at, mut count) = (digits, 0);
    while count < 6 {
        match text.get(at)? {
            b'0'..=b'9' => count += 1,
            b' ' | b'-' if count > 0 && count % 2 == 0 => {}
            _ => return None,
        }
        at += 1;
    }
    at += usize::from(matches!(text.get(at)?, b' ' | b'-'));
    let end = at + 1;
    if !matches!(text.get(at)?.to_ascii_uppercase(), b'A'..=b'D') || !ends_at(text, end) {
        return None;
    }
    let confidence = if context::speaks_of(DataClass::UkNino, text, start) { WITH_CONTEXT } else { 50 };
    sink.note(DataClass::UkNino, start..end, confidence).then_some(end)
}

fn is_prefix(first: u8, second: u8) -> bool {
    let allowed = |letter: u8| letter.is_ascii_uppercase() && !b"DFIQUV".contains(&letter);
    let reserved = [*b"BG", *b"GB", *b"NK", *b"KN", *b"TN", *b"NT", *b"ZZ"];
    allowed(first) && allowed(second) && second != b'O' && !reserved.contains(&[first, second])
}
