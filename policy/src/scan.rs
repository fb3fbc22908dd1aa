//! Finds personal data in bytes: e-mail addresses, telephone numbers, payment cards.
//!
//! Two steps, as the budget of a gateway wants it: a cheap filter that most bytes never pass ('@',
//! '+', runs of digits), then a validator per class that looks around what the filter found. Bytes
//! without a candidate cost neither an allocation nor a copy.
//!
//! Text that carries JSON's `\uXXXX` escapes is unescaped into a buffer first and findings are
//! mapped back, so `alice\u0040example.com` hides nothing. Spans always count in the bytes as they
//! came and never begin or end within an escape.
//!
//! This is the seam for the line-rate engine: callers know [`Scanner`], [`ClassSet`] and
//! [`Finding`] only.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2_iter};
use tidegate_core::words::DataClass;

mod card;
mod email;
mod phone;
#[cfg(test)]
mod tests;
mod unescape;

pub(crate) use unescape::unescape;

/// Personal data at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its class.
    pub class: DataClass,
    /// Where it stands in the scanned bytes.
    pub span: Range<usize>,
    /// How sure the validator is, in per cent.
    pub confidence: u8,
}

/// A set of data classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassSet(u8);

impl ClassSet {
    /// Every class.
    pub const ALL: Self = Self((1 << DataClass::ALL.len()) - 1);

    /// Adds a class.
    pub const fn insert(&mut self, class: DataClass) {
        self.0 |= 1 << class as u8;
    }

    /// Whether a class is in it.
    #[must_use]
    pub const fn contains(self, class: DataClass) -> bool {
        self.0 & (1 << class as u8) != 0
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<DataClass> for ClassSet {
    fn from_iter<I: IntoIterator<Item = DataClass>>(classes: I) -> Self {
        let mut set = Self::default();
        classes.into_iter().for_each(|class| set.insert(class));
        set
    }
}

/// Appends what is found of `classes` in `bytes`, ordered by where it begins, longer ones first.
/// Findings of different classes may overlap.
///
/// For scanning record after record, a [`Scanner`] keeps its buffers.
pub fn scan(bytes: &[u8], classes: ClassSet, findings: &mut Vec<Finding>) {
    Scanner::default().scan(bytes, classes, findings);
}

/// Scans, and keeps its buffers between calls.
#[derive(Debug, Default)]
pub struct Scanner {
    text: Vec<u8>,
    /// Where each byte of `text`, and its end, stands in what was scanned.
    origins: Vec<u32>,
}

impl Scanner {
    /// As [`scan`].
    pub fn scan(&mut self, bytes: &[u8], classes: ClassSet, findings: &mut Vec<Finding>) {
        let first = findings.len();
        if has_escape(bytes) && unescape(bytes, &mut self.text, Some(&mut self.origins)) {
            scan_plain(&self.text, classes, findings);
            let origin = |at: usize| self.origins.get(at).map_or(bytes.len(), |&origin| origin as usize);
            for finding in &mut findings[first..] {
                finding.span = origin(finding.span.start)..origin(finding.span.end);
            }
        } else {
            scan_plain(bytes, classes, findings);
        }
        findings[first..].sort_by_key(|finding| (finding.span.start, usize::MAX - finding.span.end, finding.class));
    }
}

fn has_escape(bytes: &[u8]) -> bool {
    memchr_iter(b'\\', bytes).any(|at| bytes.get(at + 1) == Some(&b'u'))
}

fn scan_plain(text: &[u8], classes: ClassSet, findings: &mut Vec<Finding>) {
    let emails = classes.contains(DataClass::Email);
    let phones = classes.contains(DataClass::Phone);
    let mut note = |class, confidence, span: Option<Range<usize>>| {
        findings.extend(span.map(|span| Finding { class, span, confidence }));
    };
    if emails && phones {
        for at in memchr2_iter(b'@', b'+', text) {
            if text[at] == b'@' {
                note(DataClass::Email, email::CONFIDENCE, email::around(text, at));
            } else {
                note(DataClass::Phone, phone::CONFIDENCE, phone::from(text, at));
            }
        }
    } else if emails {
        memchr_iter(b'@', text).for_each(|at| note(DataClass::Email, email::CONFIDENCE, email::around(text, at)));
    } else if phones {
        memchr_iter(b'+', text).for_each(|at| note(DataClass::Phone, phone::CONFIDENCE, phone::from(text, at)));
    }
    if classes.contains(DataClass::PaymentCard) {
        card::find(text, |span| note(DataClass::PaymentCard, card::CONFIDENCE, Some(span)));
    }
}

/// Whether a number may begin at `at`: not within a word. The letter of a JSON escape (`\n`) is no
/// part of a word.
fn begins_at(text: &[u8], at: usize) -> bool {
    match text[..at] {
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., before] => !before.is_ascii_alphanumeric(),
        [] => true,
    }
}

/// Whether a number may end at `at`: not within a word or an e-mail address.
fn ends_at(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|after| !after.is_ascii_alphanumeric() && *after != b'@')
}

/// Whether a JSON text is possible: it begins with a brace or bracket.
pub(crate) fn looks_like_json(bytes: &[u8]) -> bool {
    matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// Whether the bytes are binary: no UTF-8, or control characters that text does not have.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    memchr(0, bytes).is_some()
        || std::str::from_utf8(bytes).is_err()
        || bytes.iter().any(|byte| *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0x1b))
}
