//! Puts the masked in the place of the found.
//!
//! Three kinds of payload are told apart, once something was found in it:
//! - Text, JSON strings included: the finding becomes the operator's text. Neither markers nor
//!   replacements hold a character that JSON escapes, and escapes in a finding go with it.
//! - A bare number in a JSON document (a card number without quotes) stays a number of the document:
//!   `redact` makes it 0, `keep_last` 1, then zeros, then the digits kept, and `replace` its text
//!   where that is a number itself, else 0. A payload that is nothing but a number counts as text.
//! - Binary (not UTF-8, or with control characters): every byte of the finding is overwritten and the
//!   length kept, so that length-prefixed formats can still be read.

use tidegate_core::words::DataClass;

use super::{MaskPlan, Operator};
use crate::scan::{Finding, is_binary, looks_like_json, unescape};

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
        if binary {
            overwrite(operator, found, &mut out);
        } else if bare {
            number(operator, found, &mut out);
        } else {
            text(*class, operator, found, &mut out);
        }
        copied = span.end;
    }
    out.extend_from_slice(&bytes[copied..]);
    Some(out)
}

fn text(class: DataClass, operator: &Operator, found: &[u8], out: &mut Vec<u8>) {
    match operator {
        Operator::None => out.extend_from_slice(found),
        Operator::Redact => {
            out.push(b'[');
            out.extend_from_slice(class.name().as_bytes());
            out.push(b']');
        }
        Operator::Replace(text) => out.extend_from_slice(text.as_bytes()),
        Operator::KeepLast(count) => {
            let mut unescaped = Vec::new();
            let found = if found.contains(&b'\\') && unescape(found, &mut unescaped) { &unescaped } else { found };
            keep_last(*count, &String::from_utf8_lossy(found), out);
        }
    }
}

fn keep_last(count: u8, found: &str, out: &mut Vec<u8>) {
    let total = found.chars().filter(|character| character.is_alphanumeric()).count();
    let mut masked = total - usize::from(count).min(total / 2);
    for character in found.chars() {
        let mask = masked > 0 && character.is_alphanumeric();
        masked -= usize::from(mask);
        let character = if mask { '*' } else { character };
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn number(operator: &Operator, found: &[u8], out: &mut Vec<u8>) {
    match operator {
        Operator::None => out.extend_from_slice(found),
        Operator::KeepLast(count) => {
            let masked = found.len() - usize::from(*count).min(found.len() / 2);
            out.push(b'1');
            out.extend(std::iter::repeat_n(b'0', masked - 1));
            out.extend_from_slice(&found[masked..]);
        }
        Operator::Replace(text) if serde_json::from_str::<serde_json::Number>(text).is_ok() => {
            out.extend_from_slice(text.as_bytes());
        }
        Operator::Redact | Operator::Replace(_) => out.push(b'0'),
    }
}

fn overwrite(operator: &Operator, found: &[u8], out: &mut Vec<u8>) {
    let kept = match operator {
        Operator::None => found.len(),
        Operator::KeepLast(count) => usize::from(*count).min(found.len() / 2),
        Operator::Redact | Operator::Replace(_) => 0,
    };
    let (masked, kept) = found.split_at(found.len() - kept);
    out.extend(std::iter::repeat_n(b'*', masked.len()));
    out.extend_from_slice(kept);
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
