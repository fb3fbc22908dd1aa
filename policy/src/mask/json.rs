//! Walks JSON and says where the values of named fields stand, without building anything: so what no
//! rule names keeps its very bytes.
//!
//! Documents are RFC 8259's; several may follow each other, as in JSON lines. Control characters in
//! strings are let be, for readers let them be. Strings that hold a JSON document are walked as well,
//! where a path or name may lead on into them, up to [`NESTED_MAX`] deep; places in them are mapped
//! back to the bytes of the outermost.

use std::ops::Range;

use super::automaton::{DEAD, START};
use super::fields::{Fields, Keys};
use super::plan::Slot;

/// Objects and arrays within each other.
pub const DEPTH_MAX: usize = 256;
/// Documents within strings of documents.
const NESTED_MAX: usize = 3;

/// Why a value is no JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("not JSON: {expected} expected at byte {at}")]
    Expected { expected: &'static str, at: usize },
    #[error("JSON nested deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("the policy has more paths than can be followed")]
    TooManyPaths,
}

/// What kind of value stands in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    /// A string; the place is within its quotation marks.
    String,
    Number,
    Bool,
}

/// A value of a named field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldPlace {
    pub(super) span: Range<usize>,
    pub(super) slot: Slot,
    pub(super) scalar: Scalar,
    /// Bytes of the quotation mark on each side; more than one in strings of strings.
    pub(super) quote: usize,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    state: u16,
    /// What whoever named this object or array says about all in it.
    slot: Slot,
    /// The index of the element under way; `None` in an object.
    index: Option<u32>,
}

/// Buffers of a walk.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    stack: Vec<Frame>,
    nested: [(Vec<u8>, Vec<u32>); NESTED_MAX],
}

/// Appends the places of all named values in `text`, in order.
pub(super) fn walk(
    text: &[u8],
    fields: &Fields,
    keys: &mut Keys,
    buffers: &mut Buffers,
    places: &mut Vec<FieldPlace>,
) -> Result<(), Malformed> {
    walk_from(text, fields, keys, START, buffers, places)
}

/// As [`walk`], for a text that stands where `state` is of.
pub(super) fn walk_from(
    text: &[u8],
    fields: &Fields,
    keys: &mut Keys,
    state: u16,
    buffers: &mut Buffers,
    places: &mut Vec<FieldPlace>,
) -> Result<(), Malformed> {
    let Some(automaton) = &fields.automaton else { return Err(Malformed::TooManyPaths) };
    let Buffers { stack, nested } = buffers;
    stack.clear();
    let mut walk = Walk { fields, automaton, keys, stack, places };
    let text_start = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    walk.documents(text, text_start, None, state, nested)
}

/// Whether a text may be a JSON document that holds members or elements.
pub(super) fn may_hold_fields(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    matches!(text.trim_ascii_start(), [b'{', ..] | [b'[', ..])
}

struct Walk<'a> {
    fields: &'a Fields,
    automaton: &'a super::automaton::Automaton,
    keys: &'a mut Keys,
    stack: &'a mut Vec<Frame>,
    places: &'a mut Vec<FieldPlace>,
}

impl Walk<'_> {
    /// Walks one document after the other.
    fn documents(
        &mut self,
        text: &[u8],
        from: usize,
        origins: Option<&[u32]>,
        state: u16,
        nested: &mut [(Vec<u8>, Vec<u32>)],
    ) -> Result<(), Malformed> {
        let mut at = space(text, from);
        while at < text.len() {
            at = space(text, self.document(text, at, origins, state, nested)?);
        }
        Ok(())
    }

    /// Walks the document that begins at `at`; where it ends.
    fn document(
        &mut self,
        text: &[u8],
        mut at: usize,
        origins: Option<&[u32]>,
        mut state: u16,
        nested: &mut [(Vec<u8>, Vec<u32>)],
    ) -> Result<usize, Malformed> {
        let base = self.stack.len();
        let mut slot = self.automaton.slot(state);
        loop {
            // A value.
            match text.get(at) {
                Some(b'"') => {
                    let end = string_end(text, at + 1).ok_or(expected("the end of a string", text.len()))?;
                    if !slot.is_none() && end > at + 1 {
                        let (start, end) = (origin(origins, at + 1), origin(origins, end));
                        let quote = start - origin(origins, at);
                        self.places.push(FieldPlace { span: start..end, slot, scalar: Scalar::String, quote });
                    } else if matches!(text[at + 1], b'{' | b'[' | b' ' | b'\\')
                        && (state != DEAD || !self.fields.names.is_empty())
                    {
                        self.nested(&text[at + 1..end], at + 1, origins, state, nested)?;
                    }
                    at = end + 1;
                }
                Some(open @ (b'{' | b'[')) => {
                    if self.stack.len() >= DEPTH_MAX {
                        return Err(Malformed::TooDeep);
                    }
                    let is_object = *open == b'{';
                    self.stack.push(Frame { state, slot, index: (!is_object).then_some(0) });
                    at = space(text, at + 1);
                    if text.get(at) == Some(if is_object { &b'}' } else { &b']' }) {
                        self.stack.pop();
                        at += 1;
                    } else if is_object {
                        (at, state, slot) = self.member(text, at, state, slot)?;
                        continue;
                    } else {
                        (state, slot) = self.element(state, slot, 0);
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => {
                    let end = number_end(text, at);
                    self.note(at..end, origins, slot, Scalar::Number);
                    at = end;
                }
                Some(b't') if text[at..].starts_with(b"true") => {
                    self.note(at..at + 4, origins, slot, Scalar::Bool);
                    at += 4;
                }
                Some(b'f') if text[at..].starts_with(b"false") => {
                    self.note(at..at + 5, origins, slot, Scalar::Bool);
                    at += 5;
                }
                Some(b'n') if text[at..].starts_with(b"null") => at += 4,
                _ => return Err(expected("a value", at)),
            }
            // What follows it.
            loop {
                if self.stack.len() == base {
                    return Ok(at);
                }
                let Some(frame) = self.stack.last_mut() else { return Ok(at) };
                at = space(text, at);
                match (text.get(at), &mut frame.index) {
                    (Some(b','), None) => {
                        let Frame { state: parent, slot: inherited, .. } = *frame;
                        (at, state, slot) = self.member(text, space(text, at + 1), parent, inherited)?;
                        break;
                    }
                    (Some(b','), Some(index)) => {
                        *index = index.saturating_add(1);
                        let (parent, inherited, index) = (frame.state, frame.slot, *index);
                        (state, slot) = self.element(parent, inherited, index);
                        at = space(text, at + 1);
                        break;
                    }
                    (Some(b'}'), None) | (Some(b']'), Some(_)) => {
                        self.stack.pop();
                        at += 1;
                    }
                    (_, None) => return Err(expected("a comma or a closing brace", at)),
                    (_, Some(_)) => return Err(expected("a comma or a closing bracket", at)),
                }
            }
        }
    }

    /// Reads the key that begins at `at`: where its value begins, and what is known of that.
    #[inline]
    fn member(
        &mut self,
        text: &[u8],
        at: usize,
        parent: u16,
        inherited: Slot,
    ) -> Result<(usize, u16, Slot), Malformed> {
        if text.get(at) != Some(&b'"') {
            return Err(expected("a key", at));
        }
        let end = string_end(text, at + 1).ok_or(expected("the end of a key", text.len()))?;
        let meaning = self.keys.meaning(self.fields, &text[at + 1..end]);
        let colon = space(text, end + 1);
        if text.get(colon) != Some(&b':') {
            return Err(expected("a colon", colon));
        }
        let state = self.automaton.member(parent, meaning.name);
        let slot = inherited.and(meaning.slot).and(self.automaton.slot(state));
        Ok((space(text, colon + 1), state, slot))
    }

    fn element(&self, parent: u16, inherited: Slot, index: u32) -> (u16, Slot) {
        let state = self.automaton.element(parent, index);
        (state, inherited.and(self.automaton.slot(state)))
    }

    #[inline]
    fn note(&mut self, span: Range<usize>, origins: Option<&[u32]>, slot: Slot, scalar: Scalar) {
        if !slot.is_none() {
            let span = origin(origins, span.start)..origin(origins, span.end);
            self.places.push(FieldPlace { span, slot, scalar, quote: 0 });
        }
    }

    /// Walks what a string holds, if it is a document. `content` stands at `start`.
    fn nested(
        &mut self,
        content: &[u8],
        start: usize,
        origins: Option<&[u32]>,
        state: u16,
        nested: &mut [(Vec<u8>, Vec<u32>)],
    ) -> Result<(), Malformed> {
        let Some(((text, places), deeper)) = nested.split_first_mut() else { return Ok(()) };
        unescape_with_origins(content, text, places);
        if !may_hold_fields(text) {
            return Ok(());
        }
        for place in places.iter_mut() {
            *place = origin(origins, start + *place as usize) as u32;
        }
        let (known, depth) = (self.places.len(), self.stack.len());
        match self.documents(text, 0, Some(places), state, deeper) {
            // A path leads into it, so it has to be understood.
            Err(error) if self.automaton.leads_on(state) => Err(error),
            Err(_) => {
                // A string that only begins like a document.
                self.places.truncate(known);
                self.stack.truncate(depth);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn expected(expected: &'static str, at: usize) -> Malformed {
    Malformed::Expected { expected, at }
}

fn origin(origins: Option<&[u32]>, at: usize) -> usize {
    match origins {
        None => at,
        Some(origins) => origins.get(at).or(origins.last()).map_or(at, |origin| *origin as usize),
    }
}

/// Past white space.
#[inline]
fn space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// Where the number that begins at `at` ends. Whether it is one is left to its reader: nothing that
/// could hide a field fits into it.
fn number_end(text: &[u8], at: usize) -> usize {
    let length = text[at..].iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
    at + length.count()
}

/// The quotation mark that ends the string whose content begins at `at`.
#[inline]
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    loop {
        // Eight bytes at a time, as most strings are short.
        while let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*bytes);
            let hits = zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64));
            if hits != 0 {
                at += hits.trailing_zeros() as usize / 8;
                break;
            }
            at += 8;
        }
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Appends a string's content without its escapes to `out`. What is no escape stays as it is.
pub(super) fn unescape(content: &[u8], out: &mut Vec<u8>) {
    unescape_each(content, |bytes, _| out.extend_from_slice(bytes));
}

/// Writes a string's content without its escapes, and where each byte of it came from, the end
/// included.
fn unescape_with_origins(content: &[u8], out: &mut Vec<u8>, origins: &mut Vec<u32>) {
    out.clear();
    origins.clear();
    unescape_each(content, |bytes, from| {
        // Runs come as they are, escapes by the place that they begin at.
        let is_run = content.get(from) != Some(&b'\\');
        origins.extend((0..bytes.len()).map(|at| (if is_run { from + at } else { from }) as u32));
        out.extend_from_slice(bytes);
    });
    origins.push(content.len() as u32);
}

/// Yields runs without escapes, and what each escape stands for, with where they begin.
fn unescape_each(content: &[u8], mut each: impl FnMut(&[u8], usize)) {
    let mut at = 0;
    while at < content.len() {
        let run = memchr::memchr(b'\\', &content[at..]).unwrap_or(content.len() - at);
        if run > 0 {
            each(&content[at..at + run], at);
            at += run;
            continue;
        }
        let (character, length) = escape(&content[at..]);
        match character {
            Some(character) => each(character.encode_utf8(&mut [0; 4]).as_bytes(), at),
            None => each(&content[at..at + length], at),
        }
        at += length;
    }
}

/// What the escape that `bytes` begin with stands for, and its length.
fn escape(bytes: &[u8]) -> (Option<char>, usize) {
    let code = |at: usize| -> Option<u32> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
    };
    match bytes.get(1) {
        Some(plain @ (b'"' | b'\\' | b'/')) => (Some(char::from(*plain)), 2),
        Some(b'n') => (Some('\n'), 2),
        Some(b't') => (Some('\t'), 2),
        Some(b'r') => (Some('\r'), 2),
        Some(b'b') => (Some('\u{8}'), 2),
        Some(b'f') => (Some('\u{c}'), 2),
        Some(b'u') => match code(0) {
            Some(high @ 0xd800..=0xdbff) => match code(6) {
                Some(low @ 0xdc00..=0xdfff) => (char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12),
                _ => (Some('\u{fffd}'), 6),
            },
            Some(other) => (Some(char::from_u32(other).unwrap_or('\u{fffd}')), 6),
            None => (None, 1),
        },
        _ => (None, 1),
    }
}
