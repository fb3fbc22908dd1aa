//! Payment card numbers (ISO/IEC 7812): 13 to 19 digits, alone or in groups parted by single spaces
//! or dashes, that begin as an issuer's do, have a length that issuer uses, and pass Luhn's check.
//!
//! The issuer's range is what makes it bearable: a tenth of all numbers pass Luhn, so every tenth
//! timestamp in milliseconds (13 digits) would be a card otherwise. Cards of 13 digits are no longer
//! issued, and every tenth barcode (EAN-13) of Germany and Japan looks like one, so they need a word
//! before them.

use std::ops::Range;

use tidegate_core::words::DataClass;

use super::checksum::luhn;
use super::{begins_at, context, ends_at};

/// Range, length and check digit agree; a stray identifier still may.
pub(super) const CONFIDENCE: u8 = 90;
pub(super) const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;
/// E.164, 6.2.1.
const PHONE_DIGITS_MAX: usize = 15;
/// The longest card number that begins with the digits at `start..end`.
pub(super) fn at(text: &[u8], start: usize, end: usize) -> Option<Range<usize>> {
    if end - start > DIGITS_MAX || !begins_at(text, start) || is_fraction(text, start) {
        return None;
    }
    // Behind a '+' stands a telephone number, unless it is too long for one. Every tenth German
    // mobile number would be a Visa card of 13 digits.
    let digits_min = if text[..start].ends_with(b"+") { PHONE_DIGITS_MAX + 1 } else { DIGITS_MIN };
    let mut digits = [0u8; DIGITS_MAX];
    let mut count = 0;
    let mut group = start..end;
    let mut separator = None;
    let mut regular = true;
    let mut longest = None;
    while let Some(room) = digits.get_mut(count..count + group.len()) {
        room.iter_mut().zip(&text[group.clone()]).for_each(|(digit, byte)| *digit = byte - b'0');
        count += group.len();
        super::looks_at(group.len() + 1);
        let ends = ends_at(text, group.end) && !goes_on(text, group.end);
        let spoken = |count: usize| count > DIGITS_MIN || context::speaks_of(DataClass::PaymentCard, text, start);
        if ends && count >= digits_min && is_card(&digits[..count]) && spoken(count) {
            longest = Some(start..group.end);
        }
        let next = text.get(group.end).copied().filter(|byte| matches!(byte, b' ' | b'-'));
        if next.is_none() || separator.is_some_and(|separator| next != Some(separator)) {
            break;
        }
        separator = next;
        let begin = group.end + 1;
        // Groups of less than four digits are a card's only where all are as short: `1 84 12 76 …` is
        // a number of something else.
        regular &= group.len() >= 4 || group.len() == end - start;
        if !regular {
            break;
        }
        // A longer run is no group; not walked to its end from here.
        let length = text[begin..].iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            break;
        }
        group = begin..begin + length;
    }
    longest
}

/// Whether the digits at `start` stand behind a decimal point: `0.4111111111111111` is a number.
pub(super) fn is_fraction(text: &[u8], start: usize) -> bool {
    matches!(text[..start], [.., before, b'.'] if before.is_ascii_digit())
}

/// Whether a decimal point and more digits follow.
pub(super) fn goes_on(text: &[u8], end: usize) -> bool {
    text.get(end) == Some(&b'.') && text.get(end + 1).is_some_and(u8::is_ascii_digit)
}

fn is_card(digits: &[u8]) -> bool {
    let prefix = digits.iter().take(6).fold(0u32, |prefix, digit| prefix * 10 + u32::from(*digit));
    is_issued(prefix, digits.len()) && luhn(digits)
}

/// Whether an issuer uses these first six digits with this length.
fn is_issued(prefix: u32, length: usize) -> bool {
    match prefix {
        // Visa.
        400_000..=499_999 => matches!(length, 13 | 16 | 19),
        // Mastercard, its 2-series too.
        510_000..=559_999 | 222_100..=272_099 => length == 16,
        // American Express.
        340_000..=349_999 | 370_000..=379_999 => length == 15,
        // Diners Club.
        300_000..=305_999 | 309_500..=309_599 | 360_000..=369_999 | 380_000..=399_999 => (14..=19).contains(&length),
        // JCB.
        352_800..=358_999 => (16..=19).contains(&length),
        // Discover, UnionPay, RuPay.
        601_100..=601_199 | 644_000..=659_999 | 620_000..=629_999 | 810_000..=829_999 | 600_000..=600_999 => {
            (16..=19).contains(&length)
        }
        508_000..=508_999 => length == 16,
        // Elo, Hipercard, InterPayment, UzCard, Humo, BORICA.
        504_175 | 506_699..=506_778 | 509_000..=509_999 | 606_282 | 860_000..=860_099 | 986_000..=986_099 => {
            length == 16
        }
        220_500..=220_599 => length == 16,
        636_000..=636_999 => (16..=19).contains(&length),
        // Maestro.
        501_800..=501_899
        | 502_000..=502_099
        | 503_800..=503_899
        | 589_300..=589_399
        | 630_400..=630_499
        | 675_900..=675_999
        | 676_100..=676_399 => (DIGITS_MIN..=DIGITS_MAX).contains(&length),
        // Mir, Verve, Troy.
        220_000..=220_499 | 506_099..=506_198 | 979_200..=979_299 => (16..=19).contains(&length),
        _ => false,
    }
}
