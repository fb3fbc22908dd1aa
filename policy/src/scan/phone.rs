//! Telephone numbers in international form: '+', a country code, 8 to 15 digits in all (E.164),
//! grouped by spaces, dashes, dots, slashes or parentheses, as people write them.
//!
//! National forms have no mark of their own and are not looked for without a context.

use std::ops::Range;

use super::{begins_at, ends_at};

/// A '+' before a long number is mostly a telephone number, and sometimes a difference.
pub(super) const CONFIDENCE: u8 = 80;
/// The shortest national numbers with their country code.
const DIGITS_MIN: usize = 8;
/// E.164, 6.2.1.
const DIGITS_MAX: usize = 15;
/// As in `+49 (0) 30`: a space and a parenthesis.
const SEPARATORS_MAX: usize = 2;

/// The number whose '+' stands at `plus`.
pub(super) fn from(text: &[u8], plus: usize) -> Option<Range<usize>> {
    if !begins_at(text, plus) {
        return None;
    }
    // No country code begins with 0; time zones (`+02:00`) do.
    let mut at = plus + 1;
    if text.get(at) == Some(&b'(') {
        at += 1;
    }
    if !matches!(text.get(at), Some(b'1'..=b'9')) {
        return None;
    }
    let mut digits = 0;
    let mut end = None;
    loop {
        let group = group_length(&text[at..]);
        super::looks_at(group + 1);
        digits += group;
        if group == 0 || digits > DIGITS_MAX {
            break;
        }
        at += group;
        if digits >= DIGITS_MIN && ends_at(text, at) {
            end = Some(at);
            // A number written without groups ends here; what follows is something else.
            if group >= DIGITS_MIN {
                break;
            }
        }
        let separators = text[at..].iter().take_while(|byte| is_separator(**byte)).count();
        if !(1..=SEPARATORS_MAX).contains(&separators) {
            break;
        }
        at += separators;
    }
    end.map(|end| plus..end)
}

/// Digits that `text` begins with, counted only as far as it matters.
fn group_length(text: &[u8]) -> usize {
    text.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count()
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(' | b')')
}
