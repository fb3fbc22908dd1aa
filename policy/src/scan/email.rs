//! E-mail addresses: a dot-atom before the '@' and a domain name of two labels or more behind it
//! (RFC 5321, with RFC 6531's letters beyond ASCII).
//!
//! Of the characters that RFC 5322 allows in an atom only those are taken that addresses really
//! have; the others (`=`, `&`, `/`, `|`…) more often delimit an address than belong to it.

use std::ops::Range;

/// The grammar leaves little to doubt.
pub(super) const CONFIDENCE: u8 = 95;
/// RFC 5321, 4.5.3.1.1.
const LOCAL_BYTES_MAX: usize = 64;
/// RFC 5321, 4.5.3.1.2.
const DOMAIN_BYTES_MAX: usize = 255;
/// RFC 1035, 2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// The address whose '@' stands at `at`.
pub(super) fn around(text: &[u8], at: usize) -> Option<Range<usize>> {
    let start = local(text, at)?;
    super::looks_at(at - start);
    let end = domain(text, at + 1)?;
    Some(start..end)
}

fn local(text: &[u8], at: usize) -> Option<usize> {
    let floor = at.saturating_sub(LOCAL_BYTES_MAX);
    let mut start = at;
    while start > floor && in_local(text, start - 1) {
        start -= 1;
    }
    // The letter of an escape belongs to what it escapes: `\nalice@…` is a line break and an address.
    if matches!(text[..start], [.., b'\\']) && matches!(text[start], b'n' | b'r' | b't' | b'b' | b'f') {
        start += 1;
    }
    // Punctuation around the address, as in `...alice@…` or `-alice@…`.
    while start < at && matches!(text[start], b'.' | b'-') {
        start += 1;
    }
    // The cut at the longest length may have gone through a character.
    while start < at && text[start] & 0xc0 == 0x80 {
        start += 1;
    }
    (start < at && text[at - 1] != b'.').then_some(start)
}

fn in_local(text: &[u8], at: usize) -> bool {
    let byte = text[at];
    if byte == b'\'' {
        // O'Brien's apostrophe, not a quotation mark.
        let letter = |at: usize| text.get(at).is_some_and(u8::is_ascii_alphabetic);
        return at > 0 && letter(at - 1) && letter(at + 1);
    }
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-')
}

fn domain(text: &[u8], start: usize) -> Option<usize> {
    let rest = &text[start..text.len().min(start + DOMAIN_BYTES_MAX)];
    let length = rest.iter().position(|byte| !in_domain(*byte)).unwrap_or(rest.len());
    super::looks_at(length);
    // From the right: `example.com.` and `example.com.2024` end with their last label that can be a
    // top-level domain.
    let mut name = &rest[..length];
    while let Some(dot) = name.iter().rposition(|byte| *byte == b'.') {
        let top = top_level(&name[dot + 1..]);
        if top > 0 && labels_are_valid(&name[..dot]) {
            return Some(start + dot + 1 + top);
        }
        name = &name[..dot];
    }
    None
}

fn in_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'.' | b'-')
}

/// How much of `label` is a top-level domain, 0 where it is none. A dash ends it (`com-2024`),
/// except where it is an internationalised one.
fn top_level(label: &[u8]) -> usize {
    let international = label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"xn--"));
    let is_part = |byte: &u8| byte.is_ascii_alphabetic() || *byte >= 0x80 || international;
    let length = label.iter().take_while(|byte| is_part(byte)).count();
    let ends = matches!(label.get(length), None | Some(b'-'));
    if ends && (2..=LABEL_BYTES_MAX).contains(&length) { length } else { 0 }
}

fn labels_are_valid(name: &[u8]) -> bool {
    name.split(|byte| *byte == b'.').all(|label| {
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.first() != Some(&b'-') && label.last() != Some(&b'-')
    })
}
