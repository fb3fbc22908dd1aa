//! Walks Protobuf's wire format (protobuf.dev, "Encoding") by a schema.
//!
//! Fields that the schema does not know, and known ones in another wire type than theirs, are what a
//! reader keeps as unknown: their bytes are scanned, and what is found is overwritten without changing
//! their length, since there may be a message in them; their varints are scanned as unsigned numbers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::super::automaton::{DEAD, START};
use super::super::fields::Fields;
use super::super::json;
use super::super::operate::operate;
use super::super::pass::Place;
use super::super::plan::Slot;
use super::super::schema::protobuf::{Kind as Of, MessageId, Number, Protobuf, Wire};
use super::super::{Class, MaskPlan, Operator, value};
use super::splice::{Container, Edits, Leaf};
use super::{DEPTH_MAX, Format, Malformed, Walked};

/// Messages with what is matched on the way to them, of one schema.
const NODES_MAX: usize = 65_536;
/// Indexes that name a message.
const INDEXES_MAX: usize = 32;
/// Digits from which on a number is scanned: shorter ones are no number of anybody's.
const SCANNED_FROM: u128 = 100_000;

/// The state at a value, and who speaks about it.
type Matched = (u16, Slot);

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    of: Scalar,
    /// Where its field begins, if the field may be left out.
    field: Option<usize>,
}

/// A type without fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    Number(Number),
    Bool,
    Enum(u32),
    Float,
    Double,
    String,
    Bytes,
    /// Bytes of a field that the schema does not know.
    Unknown,
}

/// What a plan's fields come to in a schema.
#[derive(Debug, Default)]
pub(super) struct Bound {
    nodes: Vec<Node>,
    known: HashMap<(MessageId, u16, Slot), u32>,
}

/// A message, and what is matched on the way to it and to its fields.
#[derive(Debug)]
struct Node {
    message: MessageId,
    state: u16,
    slot: Slot,
    fields: Box<[(u16, Slot)]>,
}

impl Bound {
    fn node(
        &mut self,
        schema: &Protobuf,
        fields: Option<&Fields>,
        (message, state, slot): (MessageId, u16, Slot),
    ) -> Result<u32, Malformed> {
        if let Some(node) = self.known.get(&(message, state, slot)) {
            return Ok(*node);
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(Malformed::TooManyStates);
        }
        let Some(of) = schema.get(message) else { return Err(Malformed::Expected { what: "a message", at: 0 }) };
        let below = of.fields.iter().map(|field| {
            let Some(fields) = fields else { return (DEAD, Slot::NONE) };
            if of.is_entry {
                // What the key says is known only in the record.
                return (state, slot);
            }
            let number = field.number.to_string();
            let names = [field.name.as_bytes(), field.json_name.as_bytes(), number.as_bytes()];
            let (state, slot) = fields.member_known_as(state, slot, &names);
            let tags = of.tags.iter().chain(&field.tags);
            (state, tags.fold(slot, |slot, tag| slot.and(fields.tag(tag))))
        });
        let below = below.collect();
        let at = self.nodes.len() as u32;
        self.nodes.push(Node { message, state, slot, fields: below });
        self.known.insert((message, state, slot), at);
        Ok(at)
    }
}

/// Walks the payload that begins at `from`, message indexes first, and must end where `bytes` do.
pub(super) fn walk(
    schema: &Protobuf,
    bound: &mut Bound,
    fields: Option<&Fields>,
    bytes: &[u8],
    from: usize,
    walked: &mut Walked<Kind>,
) -> Result<(), Malformed> {
    let mut walk = Walk { schema, bound, fields, bytes, at: from, walked, container: None };
    let root = walk.root()?;
    let state = if fields.is_some() { START } else { DEAD };
    let node = walk.bound.node(schema, fields, (root, state, Slot::NONE))?;
    walk.message(node, bytes.len(), None, 0)
}

struct Walk<'a> {
    schema: &'a Protobuf,
    bound: &'a mut Bound,
    fields: Option<&'a Fields>,
    bytes: &'a [u8],
    at: usize,
    walked: &'a mut Walked<Kind>,
    container: Option<u32>,
}

impl<'a> Walk<'a> {
    fn expected(&self, what: &'static str) -> Malformed {
        Malformed::Expected { what, at: self.at }
    }

    /// The message that the payload's indexes name.
    fn root(&mut self) -> Result<MessageId, Malformed> {
        let start = self.at;
        let wrong = Malformed::Expected { what: "the indexes of a message", at: start };
        let count = usize::try_from(un_zigzag(self.varint("the indexes of a message")?)).unwrap_or(usize::MAX);
        if count > INDEXES_MAX {
            return Err(wrong);
        }
        // None at all is short for the first.
        let mut indexes = [0; INDEXES_MAX];
        for index in indexes.iter_mut().take(count) {
            let read = un_zigzag(self.varint("the indexes of a message")?);
            *index = usize::try_from(read).unwrap_or(usize::MAX);
        }
        self.schema.at(indexes.get(..count.max(1)).unwrap_or_default()).ok_or(wrong)
    }

    /// Walks the fields of a message up to `end`, or up to the end of `group`.
    fn message(&mut self, node: u32, end: usize, group: Option<u32>, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed::TooDeep);
        }
        let Some(&Node { message, .. }) = self.bound.nodes.get(node as usize) else {
            return Err(self.expected("a message"));
        };
        let schema = self.schema;
        let Some(of) = schema.get(message) else { return Err(self.expected("a message")) };
        let entry = if of.is_entry { Some(self.entry(node, end)?) } else { None };
        let mut met: Vec<u32> = Vec::new();
        while self.at < end {
            let field_start = self.at;
            let (number, wire) = self.key()?;
            if wire == 4 {
                return if group == Some(number) { Ok(()) } else { Err(self.expected("a field")) };
            }
            let index = of.index(number);
            let Some((index, field)) = index.and_then(|index| Some((index, of.fields.get(index)?))) else {
                self.unknown(number, wire, end, Slot::NONE, depth)?;
                continue;
            };
            let below = self.bound.nodes.get(node as usize).and_then(|node| node.fields.get(index)).copied();
            let below = below.unwrap_or((DEAD, Slot::NONE));
            let packs = wire == 2 && field.repeated && packed(field.kind).is_some();
            // What a map's key says counts for its value.
            let is_element = field.repeated && !packs && !self.is_entry(field.kind);
            let (state, slot) = match &entry {
                Some(_) if field.number == 1 => (DEAD, Slot::NONE),
                Some((matched, _)) => *matched,
                None if is_element => self.element(below, index, &mut met),
                None => below,
            };
            let optional = (!field.repeated && !field.required && !of.is_entry).then_some(field_start);
            let name = field.name.as_bytes();
            let start = self.at;
            let outer = match &entry {
                Some((_, key)) if field.number == 2 => self.walked.enter(key),
                Some(_) => self.walked.here(),
                None => self.walked.enter(name),
            };
            if is_element && let Some(count) = met.get(index) {
                self.walked.enter_element(count.saturating_sub(1));
            }
            match (field.kind, wire) {
                (Of::Message(below), 2) => {
                    let (head, body) = self.sized()?;
                    let node = self.bound.node(schema, self.fields, (below, state, slot))?;
                    self.within(head, body, |walk, end| walk.message(node, end, None, depth + 1))?;
                }
                (Of::Group(below), 3) => {
                    let node = self.bound.node(schema, self.fields, (below, state, slot))?;
                    self.message(node, end, Some(number), depth + 1)?;
                }
                (Of::String | Of::Bytes, 2) => {
                    let (_, body) = self.sized()?;
                    self.at = body.end;
                    // What is none would be read as something else by whoever is lenient.
                    if field.kind == Of::String && std::str::from_utf8(&self.bytes[body.clone()]).is_err() {
                        return Err(Malformed::Expected { what: "UTF-8", at: body.start });
                    }
                    let of = if field.kind == Of::String { Scalar::String } else { Scalar::Bytes };
                    self.leaf(start, body, Kind { of, field: optional }, (state, slot), name)?;
                }
                (kind, 2) if packs => {
                    let (head, body) = self.sized()?;
                    self.within(head, body, |walk, end| {
                        while walk.at < end {
                            let matched = walk.element(below, index, &mut met);
                            let outer =
                                walk.walked.enter_element(met.get(index).map_or(0, |count| count.saturating_sub(1)));
                            walk.number(kind, packed(kind).unwrap_or(0), None, matched, name)?;
                            walk.walked.leave(outer);
                        }
                        Ok(())
                    })?;
                }
                (kind, wire) if packed(kind) == Some(wire) => {
                    self.number(kind, wire, optional, (state, slot), name)?;
                }
                _ => self.unknown(number, wire, end, slot, depth)?,
            }
            self.walked.leave(outer);
            if self.at > end {
                return Err(self.expected("the end of a message"));
            }
        }
        if group.is_some() { Err(self.expected("the end of a group")) } else { Ok(()) }
    }

    /// What is matched at the next element of a repeated field; `met` counts them by field.
    fn element(&self, (state, slot): (u16, Slot), index: usize, met: &mut Vec<u32>) -> (u16, Slot) {
        if self.fields.is_none() && self.walked.trail.is_none() {
            return (DEAD, Slot::NONE);
        }
        met.resize(met.len().max(index + 1), 0);
        let Some(count) = met.get_mut(index) else { return (DEAD, Slot::NONE) };
        let element = self.fields.map_or((DEAD, Slot::NONE), |fields| fields.element(state, slot, *count));
        *count = count.saturating_add(1);
        element
    }

    fn is_entry(&self, kind: Of) -> bool {
        matches!(kind, Of::Message(id) if self.schema.get(id).is_some_and(|message| message.is_entry))
    }

    /// What counts for the value of a map's entry, and its key.
    fn entry(&mut self, node: u32, end: usize) -> Result<(Matched, Cow<'a, [u8]>), Malformed> {
        let mut key: Cow<'a, [u8]> = Cow::Borrowed(b"");
        let Some(&Node { state, slot, .. }) = self.bound.nodes.get(node as usize) else {
            return Err(self.expected("an entry of a map"));
        };
        let bytes = self.bytes;
        let start = self.at;
        while self.at < end {
            let (number, wire) = self.key()?;
            let at = self.at;
            match wire {
                0 => {
                    let value = self.varint("a number")?;
                    if number == 1 {
                        key = Cow::Owned(value.to_string().into_bytes());
                    }
                }
                1 => self.skip(8)?,
                2 => {
                    let (_, body) = self.sized()?;
                    self.at = body.end;
                    if number == 1 {
                        key = Cow::Borrowed(&bytes[body]);
                    }
                }
                5 => self.skip(4)?,
                _ => return Err(Malformed::Expected { what: "an entry of a map", at }),
            }
        }
        self.at = start;
        let matched = self.fields.map_or((DEAD, Slot::NONE), |fields| fields.member(state, slot, &key));
        Ok((matched, key))
    }

    /// Walks what stands in a length-delimited body.
    fn within(
        &mut self,
        head: Range<usize>,
        body: Range<usize>,
        inner: impl FnOnce(&mut Self, usize) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let outer = self.container;
        self.container = Some(self.walked.containers.len() as u32);
        let end = body.end;
        self.walked.containers.push(Container { head, body, parent: outer, count: 0 });
        inner(self, end)?;
        self.container = outer;
        if self.at == end { Ok(()) } else { Err(self.expected("the end of a message")) }
    }

    /// A number, boolean or symbol in its own wire type.
    fn number(
        &mut self,
        kind: Of,
        wire: u32,
        field: Option<usize>,
        matched: (u16, Slot),
        name: &[u8],
    ) -> Result<(), Malformed> {
        let start = self.at;
        match wire {
            0 => drop(self.varint("a number")?),
            1 => self.skip(8)?,
            _ => self.skip(4)?,
        }
        let of = match kind {
            Of::Number(number) => Scalar::Number(number),
            Of::Bool => Scalar::Bool,
            Of::Enum(id) => Scalar::Enum(id),
            Of::Float => Scalar::Float,
            Of::Double => Scalar::Double,
            _ => return Err(Malformed::Expected { what: "a number", at: start }),
        };
        self.scalar(start, Kind { of, field }, matched, name)
    }

    /// Notes a number, boolean or symbol that begins at `start`.
    fn scalar(&mut self, start: usize, kind: Kind, (state, slot): (u16, Slot), name: &[u8]) -> Result<(), Malformed> {
        let content = start..self.at;
        let scanned = match kind.of {
            Scalar::Number(number) if self.walked.scans => Some(read(number, &self.bytes[content.clone()])),
            _ => None,
        };
        let text = match scanned.filter(|found| found.unsigned_abs() >= SCANNED_FROM) {
            Some(found) => self.walked.write(name, found.to_string().as_bytes()),
            None => 0..0,
        };
        let container = self.container;
        self.walked.leaf(Leaf { whole: content.clone(), content, kind, slot, state, text, container }, false)
    }

    /// A field that is not known, or not so.
    fn unknown(&mut self, number: u32, wire: u32, end: usize, slot: Slot, depth: usize) -> Result<(), Malformed> {
        let start = self.at;
        let number_of = |wire, wide| Kind { of: Scalar::Number(Number { wire, signed: false, wide }), field: None };
        match wire {
            0 => {
                self.varint("a number")?;
                self.scalar(start, number_of(Wire::Varint, true), (DEAD, slot), b"")?;
            }
            1 => {
                self.skip(8)?;
                self.unknown_fixed(start, number_of(Wire::Fixed, true), slot)?;
            }
            2 => {
                let (_, body) = self.sized()?;
                self.at = body.end;
                self.leaf(start, body, Kind { of: Scalar::Unknown, field: None }, (DEAD, slot), b"")?;
            }
            3 => {
                if depth > DEPTH_MAX {
                    return Err(Malformed::TooDeep);
                }
                loop {
                    if self.at >= end {
                        return Err(self.expected("the end of a group"));
                    }
                    let (inner, wire) = self.key()?;
                    if wire == 4 {
                        return if inner == number { Ok(()) } else { Err(self.expected("the end of a group")) };
                    }
                    self.unknown(inner, wire, end, slot, depth + 1)?;
                }
            }
            5 => {
                self.skip(4)?;
                self.unknown_fixed(start, number_of(Wire::Fixed, false), slot)?;
            }
            _ => return Err(self.expected("a field")),
        }
        Ok(())
    }

    /// Eight or four bytes may be anything, so they are not scanned: only who masks the field counts.
    fn unknown_fixed(&mut self, start: usize, kind: Kind, slot: Slot) -> Result<(), Malformed> {
        let (content, container) = (start..self.at, self.container);
        let leaf = Leaf { whole: content.clone(), content, kind, slot, state: DEAD, text: 0..0, container };
        self.walked.leaf(leaf, false)
    }

    fn leaf(
        &mut self,
        start: usize,
        content: Range<usize>,
        kind: Kind,
        (state, slot): (u16, Slot),
        name: &[u8],
    ) -> Result<(), Malformed> {
        let value = &self.bytes[content.clone()];
        let text = self.walked.write(name, value);
        let is_text = matches!(kind.of, Scalar::String | Scalar::Bytes);
        let may_hold_fields = is_text && self.fields.is_some() && json::may_hold_fields(value);
        let container = self.container;
        let leaf = Leaf { whole: start..self.at, content, kind, slot, state, text, container };
        self.walked.leaf(leaf, may_hold_fields)
    }

    /// The number and the wire type of a field.
    fn key(&mut self) -> Result<(u32, u32), Malformed> {
        let start = self.at;
        let key = self.varint("a field")?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(Malformed::Expected { what: "a field", at: start })?;
        Ok((number, key as u32 & 7))
    }

    /// A length: where it stands, and the bytes that it counts.
    fn sized(&mut self) -> Result<(Range<usize>, Range<usize>), Malformed> {
        let start = self.at;
        let length = usize::try_from(self.varint("a length")?).ok();
        let end = length.and_then(|length| self.at.checked_add(length)).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Malformed::Expected { what: "a length", at: start })?;
        Ok((start..self.at, self.at..end))
    }

    fn skip(&mut self, length: usize) -> Result<(), Malformed> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or_else(|| self.expected("more bytes"))?;
        Ok(())
    }

    #[inline]
    fn varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let Some(&byte) = self.bytes.get(self.at) else { return Err(self.expected(what)) };
            if shift == 63 && byte > 1 {
                return Err(self.expected(what));
            }
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }
}

/// The wire type of what may be packed.
fn packed(kind: Of) -> Option<u32> {
    match kind {
        Of::Number(Number { wire: Wire::Fixed, wide, .. }) => Some(if wide { 1 } else { 5 }),
        Of::Number(_) | Of::Bool | Of::Enum(_) => Some(0),
        Of::Double => Some(1),
        Of::Float => Some(5),
        _ => None,
    }
}

fn un_zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number that was encoded; the walk has read it before.
fn read(number: Number, bytes: &[u8]) -> i128 {
    let raw = match number.wire {
        Wire::Fixed => bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte)),
        _ => bytes.iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f)),
    };
    match (number.wire, number.signed, number.wide) {
        (Wire::ZigZag, _, _) => i128::from(un_zigzag(raw)),
        (_, true, true) => i128::from(raw as i64),
        (_, true, false) => i128::from(raw as i32),
        (_, false, true) => i128::from(raw),
        (_, false, false) => i128::from(raw as u32),
    }
}

fn write(number: Number, value: i128, out: &mut Vec<u8>) {
    let fits = match (number.signed, number.wide) {
        (true, true) => i64::try_from(value).is_ok(),
        (true, false) => i32::try_from(value).is_ok(),
        (false, true) => u64::try_from(value).is_ok(),
        (false, false) => u32::try_from(value).is_ok(),
    };
    let value = if fits { value } else { 0 };
    match (number.wire, number.wide) {
        (Wire::Varint, _) => write_varint(value as u64, out),
        (Wire::ZigZag, _) => {
            let value = value as i64;
            write_varint(((value << 1) ^ (value >> 63)) as u64, out);
        }
        (Wire::Fixed, true) => out.extend_from_slice(&(value as u64).to_le_bytes()),
        (Wire::Fixed, false) => out.extend_from_slice(&(value as u32).to_le_bytes()),
    }
}

impl Format for Protobuf {
    type Kind = Kind;

    fn is_text(kind: Kind) -> bool {
        matches!(kind.of, Scalar::String | Scalar::Bytes)
    }

    fn text_of<'c>(leaf: &Leaf<Kind>, content: &'c [u8]) -> Cow<'c, [u8]> {
        match leaf.kind.of {
            Scalar::String | Scalar::Bytes | Scalar::Unknown => Cow::Borrowed(content),
            Scalar::Number(number) => Cow::Owned(read(number, content).to_string().into_bytes()),
            _ => Cow::Borrowed(&[]),
        }
    }

    fn replace(&self, leaf: &Leaf<Kind>, (class, operator): (Class<'_>, &Operator), message: &[u8], edits: &mut Edits) {
        if *operator == Operator::Nullify
            && let Some(start) = leaf.kind.field
        {
            // What is not there has its default.
            return edits.replace(start..leaf.whole.end, leaf.container, |_| {});
        }
        let content = &message[leaf.content.clone()];
        edits.replace(leaf.whole.clone(), leaf.container, |out| match leaf.kind.of {
            Scalar::String | Scalar::Bytes => {
                let mut text = Vec::new();
                value::text(class, operator, content, &mut text);
                sized(&text, out);
            }
            Scalar::Unknown => {
                let mut bytes = Vec::new();
                value::binary(class, operator, content, &mut bytes);
                sized(&bytes, out);
            }
            Scalar::Number(number) => {
                let mut text = Vec::new();
                value::number_field(class, operator, read(number, content).to_string().as_bytes(), &mut text);
                let becomes = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
                write(number, becomes, out);
            }
            Scalar::Bool => out.push(0),
            Scalar::Float => out.extend_from_slice(&(super::value::real(operator) as f32).to_le_bytes()),
            Scalar::Double => out.extend_from_slice(&super::value::real(operator).to_le_bytes()),
            Scalar::Enum(id) => {
                let symbols = self.symbols(id);
                let wanted = match operator {
                    Operator::Replace(text) => symbols.iter().find(|(name, _)| **name == **text),
                    _ => None,
                };
                let first = || symbols.first().map_or(0, |(_, number)| *number);
                let zero = if symbols.iter().any(|(_, number)| *number == 0) { 0 } else { first() };
                let number = wanted.map_or(zero, |(_, number)| *number);
                write_varint(i64::from(number) as u64, out);
            }
        });
    }

    fn replace_within(&self, leaf: &Leaf<Kind>, plan: &MaskPlan, places: &[Place], message: &[u8], edits: &mut Edits) {
        let content = &message[leaf.content.clone()];
        let deciding = |place: &Place| plan.deciding(place.slot).filter(|entry| entry.masks());
        match leaf.kind.of {
            Scalar::String | Scalar::Bytes => {
                if let Some(text) = operate(content, places, plan) {
                    edits.replace(leaf.whole.clone(), leaf.container, |out| sized(&text, out));
                }
            }
            Scalar::Unknown => {
                for (place, entry) in places.iter().filter_map(|place| Some((place, deciding(place)?))) {
                    let span = leaf.content.start + place.span.start..leaf.content.start + place.span.end;
                    edits.replace(span, leaf.container, |out| {
                        value::binary(entry.class(), &entry.operator, &content[place.span.clone()], out);
                    });
                }
            }
            // A number is a finding as a whole.
            _ => {
                if let Some(entry) = places.iter().find_map(deciding) {
                    self.replace(leaf, (entry.class(), &entry.operator), message, edits);
                }
            }
        }
    }

    fn head(_container: &Container, length: u64, out: &mut Vec<u8>) {
        write_varint(length, out);
    }

    fn shown(&self, leaf: &Leaf<Kind>, content: &[u8]) -> String {
        let bits = || content.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        match leaf.kind.of {
            Scalar::String | Scalar::Bytes | Scalar::Unknown => String::from_utf8_lossy(content).into_owned(),
            Scalar::Number(number) => read(number, content).to_string(),
            Scalar::Bool => content.iter().any(|byte| byte & 0x7f != 0).to_string(),
            Scalar::Float => f32::from_bits(bits() as u32).to_string(),
            Scalar::Double => f64::from_bits(bits()).to_string(),
            Scalar::Enum(id) => {
                let number = read(Number { wire: Wire::Varint, signed: true, wide: false }, content);
                let symbol = self.symbols(id).iter().find(|(_, known)| i128::from(*known) == number);
                symbol.map_or_else(|| number.to_string(), |(name, _)| name.to_string())
            }
        }
    }
}

fn sized(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
