//! International bank account numbers: country, two check digits, and as many characters as the
//! country's have; the whole is 1 modulo 97.
//!
//! Source: ISO 13616-1 and SWIFT's IBAN registry (release 99).

use tidegate_core::words::DataClass;

use super::checksum::mod_97;
use super::{Sink, begins_at, ends_at};

/// Country, length and 97 agree.
const CONFIDENCE: u8 = 99;
const LENGTH_MAX: usize = 33;

/// Length in characters of each country's, in the registry's order.
const LENGTHS: [(&[u8; 2], u8); 89] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// [`LENGTHS`] by the place of a country's letters in the alphabet; 0 where there is none.
static BY_LETTERS: [u8; 26 * 26] = {
    let mut lengths = [0; 26 * 26];
    let mut at = 0;
    while at < LENGTHS.len() {
        let ([first, second], length) = (*LENGTHS[at].0, LENGTHS[at].1);
        lengths[(first - b'A') as usize * 26 + (second - b'A') as usize] = length;
        at += 1;
    }
    lengths
};

/// How many characters an IBAN of `country` has.
fn length_of(country: [u8; 2]) -> Option<usize> {
    let [first, second] = country.map(|letter| usize::from((letter | 0x20).wrapping_sub(b'a')));
    let length = BY_LETTERS.get(first * 26 + second).filter(|length| second < 26 && **length > 0)?;
    Some(usize::from(*length))
}

/// Notes the IBAN whose country's letters stand at `start`, solid or in groups. Says where it ends.
pub(super) fn find(text: &[u8], start: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let length = length_of(*text.get(start..)?.first_chunk()?)?;
    let (characters, at) = read(text, start, length, b' ')?;
    let (country, account) = characters.get(..length)?.split_at(4);
    // 00, 01 and 99 are never computed as check digits.
    let valid = mod_97(account.iter().chain(country).copied()) == 1 && !matches!(&country[2..], b"00" | b"01" | b"99");
    // Upper and lower case side by side are words or codes, not an account's.
    let mixed = |is: fn(&u8) -> bool| characters.iter().any(is);
    let mixed = mixed(u8::is_ascii_uppercase) && mixed(u8::is_ascii_lowercase);
    (valid && !mixed && ends_at(text, at) && sink.note(DataClass::Iban, start..at, CONFIDENCE)).then_some(at)
}

/// The characters of what looks like an IBAN of `length` characters, and where it ends. The separator
/// `loose` may stand anywhere, others only between groups of four.
fn read(text: &[u8], start: usize, length: usize, loose: u8) -> Option<([u8; LENGTH_MAX + 1], usize)> {
    let mut characters = [0u8; LENGTH_MAX + 1];
    let mut count = 0;
    let mut at = start;
    while count < length {
        match *text.get(at)? {
            character @ (b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z') => {
                *characters.get_mut(count)? = character;
                count += 1;
            }
            // One separator at a time, and other ones than a space between groups of four only: the
            // parts of a UUID are longer.
            separator @ (b' ' | b'-' | b'.')
                if count >= 4 && text.get(at - 1).is_some_and(u8::is_ascii_alphanumeric) =>
            {
                let regular = count % 4 == 0 && text.get(start + 4) == Some(&separator);
                if separator != loose && !regular {
                    return None;
                }
            }
            _ => return None,
        }
        at += 1;
    }
    super::looks_at(at - start);
    Some((characters, at))
}

/// Whether the digits at `at` are within what has the form of an IBAN, be its check digits right or
/// not: then they are no number of their own.
pub(super) fn encloses(text: &[u8], at: usize) -> bool {
    const REACH: usize = 44;
    let floor = at.saturating_sub(REACH);
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | b'.');
    let before = text[floor..at].iter().rev().take_while(|byte| is_part(byte)).count();
    super::looks_at(before);
    (at - before..=at).any(|start| {
        let Some([first, second, third, fourth]) = text.get(start..).and_then(<[u8]>::first_chunk) else {
            return false;
        };
        let is_head = first.is_ascii_uppercase() && second.is_ascii_uppercase() && third.is_ascii_digit();
        is_head
            && fourth.is_ascii_digit()
            && begins_at(text, start)
            && length_of([*first, *second])
                .and_then(|length| read(text, start, length, 0))
                .is_some_and(|(_, end)| end > at && ends_at(text, end) && !goes_on(text, end))
    })
}

/// Whether another group follows.
fn goes_on(text: &[u8], end: usize) -> bool {
    text.get(end) == Some(&b' ') && text.get(end + 1).is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_sorted() {
        assert!(LENGTHS.is_sorted());
        assert_eq!(length_of(*b"de"), Some(22));
        assert_eq!(length_of(*b"XX"), None);
        assert!(LENGTHS.iter().all(|(_, length)| usize::from(*length) <= LENGTH_MAX));
    }
}
