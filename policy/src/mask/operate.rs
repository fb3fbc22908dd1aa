//! Puts the masked in the place of the found.
//!
//! Three kinds of payload are told apart, once something was found in it:
//! - Text, JSON strings included: the finding becomes the operator's text. Neither markers nor
//!   replacements hold a character that JSON escapes, and escapes in a finding go with it.
//! - A bare number in a JSON document (a card number without quotes) stays a number of the document:
//!   `redact` makes it 0, `keep_last` 1, then zeros, then the digits kept, `replace` its text where
//!   that is a number itself, else 0, `truncate` the digits kept and zeros, `pseudonym` and `encrypt`
//!   another number of as many digits; only `nullify` makes it `null`, as it does with a string that
//!   is nothing but the finding. A payload that is nothing but a number counts as text.
//! - Binary (not UTF-8, or with control characters): every byte of the finding is overwritten and the
//!   length kept, so that length-prefixed formats can still be read.

use std::ops::Range;

use super::{MaskPlan, Operator, value};
use crate::scan::{Finding, is_binary, looks_like_json};

/// What `bytes` become; `None` where no finding is masked. `findings` are ordered and apart.
pub(super) fn operate(bytes: &[u8], findings: &[Finding], plan: &MaskPlan) -> Option<Vec<u8>> {
    let operator = |class| plan.entry(class).map(|entry| &entry.operator).filter(|operator| operator.masks());
    if !findings.iter().any(|finding| operator(finding.class).is_some()) {
        return None;
    }
    let binary = is_binary(bytes);
    let mut strings = (!binary && looks_like_json(bytes)).then(Strings::default);
    let mut out = Vec::with_capacity(bytes.len() + 16 * findings.len());
    let mut copied = 0;
    for Finding { class, span, .. } in findings {
        let Some(operator) = operator(*class) else { continue };
        out.extend_from_slice(&bytes[copied..span.start]);
        let found = &bytes[span.clone()];
        let bare = strings.as_mut().is_some_and(|strings| {
            !strings.inside(bytes, span.start)
                && found.iter().all(u8::is_ascii_digit)
                && is_element(bytes, span.start, span.end)
        });
        copied = span.end;
        if binary {
            value::binary(*class, operator, found, &mut out);
        } else if bare {
            if matches!(operator, Operator::Nullify | Operator::DropRecord) && out.ends_with(b"-") {
                out.pop();
            }
            value::number(*class, operator, found, &mut out);
        } else if *operator == Operator::Nullify && strings.is_some() && is_whole_string(bytes, span) {
            // The quotation marks go with it.
            out.pop();
            out.extend_from_slice(b"null");
            copied += 1;
        } else {
            value::text(*class, operator, found, &mut out);
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    Some(out)
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
