//! Puts the masked in the place of the found.
//!
//! Of what was recognised by itself, three kinds of payload are told apart:
//! - Text, JSON strings included: the finding becomes the operator's text. Neither markers nor
//!   replacements hold a character that JSON escapes, and escapes in a finding go with it.
//! - A bare number in a JSON document (a card number without quotes) stays a number of the document:
//!   `redact` makes it 0, `keep_last` 1, then zeros, then the digits kept, `replace` its text where
//!   that is a number itself, else 0, `truncate` the digits kept and zeros, `pseudonym` and `encrypt`
//!   another number of as many digits; only `nullify` makes it `null`, as it does with a string that
//!   is nothing but the finding. A payload that is nothing but a number counts as text.
//! - Binary (not UTF-8, or with control characters): every byte of the finding is overwritten and the
//!   length kept, so that length-prefixed formats can still be read.
//!
//! Named fields change whole and keep their type: a string stays a string, a number a number (what
//! an operator cannot do to it becomes 0), true becomes false; only `nullify` makes them `null`, and
//! a field of CSV empty.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{self, Scalar};
use super::pass::{Form, Place};
use super::{MaskEntry, MaskPlan, Operator, value};
use crate::scan::{is_binary, looks_like_json};

/// What `bytes` become; `None` where no place is masked. `places` are ordered and apart.
pub(super) fn operate(bytes: &[u8], places: &[Place], plan: &MaskPlan) -> Option<Vec<u8>> {
    if !places.iter().any(|place| plan.masks(place.slot)) {
        return None;
    }
    let found = places.iter().any(|place| place.form == Form::Found);
    let binary = found && is_binary(bytes);
    let json = found && !binary && looks_like_json(bytes);
    let mut strings = Strings::default();
    let mut out = Vec::with_capacity(bytes.len() + 16 * places.len());
    let mut copied = 0;
    for Place { span, slot, form, .. } in places {
        let Some(entry) = plan.deciding(*slot).filter(|entry| entry.masks()) else { continue };
        out.extend_from_slice(&bytes[copied..span.start]);
        let found = &bytes[span.clone()];
        copied = span.end;
        match form {
            Form::Json(Scalar::String, quote) => {
                if entry.operator == Operator::Nullify {
                    // The quotation marks go with it.
                    out.truncate(out.len() - quote);
                    out.extend_from_slice(b"null");
                    copied += quote;
                } else {
                    string(entry, found, *quote, &mut out);
                }
            }
            Form::Json(Scalar::Number, _) => value::number_field(entry.class(), &entry.operator, found, &mut out),
            Form::Json(Scalar::Bool, _) => {
                let becomes: &[u8] = if entry.operator == Operator::Nullify { b"null" } else { b"false" };
                out.extend_from_slice(becomes);
            }
            Form::Csv(separator) => cell(entry, found, *separator, &mut out),
            Form::Found if binary => value::binary(entry.class(), &entry.operator, found, &mut out),
            Form::Found => {
                // The document is followed from string to string only where a number asks for it.
                let bare = json
                    && found.iter().all(u8::is_ascii_digit)
                    && is_element(bytes, span.start, span.end)
                    && !strings.inside(bytes, span.start);
                let operator = &entry.operator;
                if bare {
                    if matches!(operator, Operator::Nullify | Operator::DropRecord) && out.ends_with(b"-") {
                        out.pop();
                    }
                    value::number(entry.class(), operator, found, &mut out);
                } else if *operator == Operator::Nullify && json && is_whole_string(bytes, span) {
                    // The quotation marks go with it.
                    out.pop();
                    out.extend_from_slice(b"null");
                    copied += 1;
                } else {
                    value::text(entry.class(), operator, found, &mut out);
                }
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    Some(out)
}

/// Writes what the content of a string becomes. Within a string of a string it is escaped twice, and
/// so on, which the length of its quotation marks tells.
fn string(entry: &MaskEntry, found: &[u8], quote: usize, out: &mut Vec<u8>) {
    value::text(entry.class(), &entry.operator, &plain_string(found, quote), out);
}

/// A string's content without its escapes. Control characters are spaces: they would have to be escaped
/// again.
pub(super) fn plain_string(found: &[u8], quote: usize) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', found).is_none() {
        return Cow::Borrowed(found);
    }
    let mut plain = found.to_vec();
    for _ in 0..=quote.max(1).ilog2() {
        let mut text = Vec::with_capacity(plain.len());
        json::unescape(&plain, &mut text);
        plain = text;
    }
    plain.iter_mut().filter(|byte| **byte < b' ').for_each(|byte| *byte = b' ');
    Cow::Owned(plain)
}

/// Writes what a field of a CSV line becomes, in quotation marks where it had them or needs them.
fn cell(entry: &MaskEntry, found: &[u8], separator: u8, out: &mut Vec<u8>) {
    if entry.operator == Operator::Nullify {
        return;
    }
    let inner = found.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
    let start = out.len();
    value::text(entry.class(), &entry.operator, inner.unwrap_or(found), out);
    let needs = out[start..].iter().any(|byte| *byte == separator || matches!(byte, b'\r' | b'\n'));
    if inner.is_some() || needs {
        out.insert(start, b'"');
        out.push(b'"');
    }
}

/// Whether `span` is all that a string of a JSON document holds, as an element or member value.
fn is_whole_string(bytes: &[u8], span: &Range<usize>) -> bool {
    bytes[..span.start].ends_with(b"\"")
        && bytes[span.end..].starts_with(b"\"")
        && is_element(bytes, span.start - 1, span.end + 1)
}

/// Whether what stands at `start..end` is a whole element or member value of a JSON document.
fn is_element(bytes: &[u8], start: usize, end: usize) -> bool {
    let before = bytes[..start].trim_ascii_end();
    let before = before.strip_suffix(b"-").unwrap_or(before).trim_ascii_end();
    matches!(before, [.., b':' | b'[' | b','])
        && matches!(bytes[end..].trim_ascii_start().first(), None | Some(b',' | b']' | b'}'))
}

/// Follows a JSON document from string to string.
#[derive(Default)]
struct Strings {
    at: usize,
    inside: bool,
}

impl Strings {
    /// Whether `to` stands in a string. Called with ascending positions.
    fn inside(&mut self, bytes: &[u8], to: usize) -> bool {
        while let Some(next) = memchr::memchr2(b'"', b'\\', &bytes[self.at.min(to)..to]) {
            self.at += next + 1;
            match bytes[self.at - 1] {
                b'"' => self.inside = !self.inside,
                // What follows is escaped.
                _ => self.at += 1,
            }
        }
        self.at = self.at.max(to);
        self.inside
    }
}
