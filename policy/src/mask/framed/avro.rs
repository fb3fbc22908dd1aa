//! Walks Avro's binary encoding (Apache Avro 1.12, "Binary Encoding") by a schema.
//!
//! What the plan's paths, names and tags come to at each type is worked out once per schema and plan
//! ([`Bound`]), so a record costs no look-ups but those of a map's keys.

use std::collections::HashMap;
use std::ops::Range;

use super::super::automaton::{DEAD, START};
use super::super::fields::{Fields, Keys};
use super::super::json;
use super::super::plan::Slot;
use super::super::schema::avro::{Avro, Logical, Type, TypeId};
use super::splice::{Container, Leaf};
use super::{DEPTH_MAX, Malformed, Walked};

/// Types with what is matched on the way to them, of one schema.
const NODES_MAX: usize = 65_536;
/// Values that a message may have beside one a byte: records of nothing take none.
const VISITS_SPARE: usize = 65_536;
/// Digits from which on a number is scanned: shorter ones are no number of anybody's.
const SCANNED_FROM: u64 = 100_000;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) of: Scalar,
    /// Where the union's branch stands and which of its branches is null, where there is one.
    pub(super) null: Option<(usize, u64)>,
}

/// A type without types in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Boolean,
    Int(Logical),
    Long(Logical),
    Float,
    Double,
    Bytes,
    String,
    Fixed,
    /// A number as bytes.
    Decimal,
    /// The same with a fixed length.
    DecimalFixed,
    /// By its type.
    Enum(TypeId),
}

/// What a plan's fields come to in a schema.
#[derive(Debug, Default)]
pub(super) struct Bound {
    nodes: Vec<Node>,
    known: HashMap<(TypeId, u16, Slot), u32>,
}

/// A type, and what is matched on the way to it.
#[derive(Debug)]
struct Node {
    of: TypeId,
    state: u16,
    slot: Slot,
    /// A record's fields, a union's branches, or what an array's elements are where none is named.
    below: Box<[u32]>,
}

impl Bound {
    fn node(
        &mut self,
        schema: &Avro,
        fields: Option<&Fields>,
        (of, state, slot): (TypeId, u16, Slot),
    ) -> Result<u32, Malformed> {
        let known = |bound: &Self| bound.known.get(&(of, state, slot)).copied();
        if let Some(node) = known(self) {
            return Ok(node);
        }
        let first = self.nodes.len();
        let mut open = vec![self.add(of, state, slot)?];
        while let Some(at) = open.pop() {
            let Node { of, state, slot, .. } = self.nodes[at as usize];
            let mut below = Vec::new();
            let mut reach = |bound: &mut Self, of, state, slot| -> Result<u32, Malformed> {
                if let Some(node) = bound.known.get(&(of, state, slot)) {
                    return Ok(*node);
                }
                let node = bound.add(of, state, slot)?;
                open.push(node);
                Ok(node)
            };
            match schema.get(of) {
                Some(Type::Record(members)) => {
                    for member in members {
                        let (state, slot) = match fields {
                            Some(fields) => {
                                let (state, slot) = fields.member(state, slot, member.name.as_bytes());
                                (state, member.tags.iter().fold(slot, |slot, tag| slot.and(fields.tag(tag))))
                            }
                            None => (DEAD, Slot::NONE),
                        };
                        below.push(reach(self, member.of, state, slot)?);
                    }
                }
                Some(Type::Union { branches, .. }) => {
                    for branch in branches {
                        below.push(reach(self, *branch, state, slot)?);
                    }
                }
                _ => {}
            }
            self.nodes[at as usize].below = below.into();
        }
        Ok(first as u32)
    }

    fn add(&mut self, of: TypeId, state: u16, slot: Slot) -> Result<u32, Malformed> {
        if self.nodes.len() >= NODES_MAX {
            return Err(Malformed::TooManyStates);
        }
        let at = self.nodes.len() as u32;
        self.nodes.push(Node { of, state, slot, below: Box::default() });
        self.known.insert((of, state, slot), at);
        Ok(at)
    }
}

/// Walks the message that begins at `from` and must end where `bytes` do.
pub(super) fn walk(
    schema: &Avro,
    bound: &mut Bound,
    names: Option<(&Fields, &mut Keys)>,
    bytes: &[u8],
    from: usize,
    walked: &mut Walked<Kind>,
) -> Result<(), Malformed> {
    let (fields, keys) = names.map_or((None, None), |(fields, keys)| (Some(fields), Some(keys)));
    let state = if fields.is_some() { START } else { DEAD };
    let root = bound.node(schema, fields, (schema.root, state, Slot::NONE))?;
    let visits = bytes.len().saturating_add(VISITS_SPARE);
    let mut walk = Walk { schema, bound, fields, keys, bytes, at: from, walked, container: None, visits };
    walk.value(root, b"", None, 0)?;
    if walk.at == bytes.len() { Ok(()) } else { Err(walk.expected("the end")) }
}

/// The length of the message that `bytes` begin with.
pub(super) fn length(
    schema: &Avro,
    bound: &mut Bound,
    bytes: &[u8],
    walked: &mut Walked<Kind>,
) -> Result<usize, Malformed> {
    let root = bound.node(schema, None, (schema.root, DEAD, Slot::NONE))?;
    let visits = bytes.len().saturating_add(VISITS_SPARE);
    let mut walk = Walk { schema, bound, fields: None, keys: None, bytes, at: 0, walked, container: None, visits };
    walk.value(root, b"", None, 0)?;
    Ok(walk.at)
}

/// Writes the head of an array's or map's block whose length changed: without a length, which is as
/// valid.
pub(super) fn head(container: &Container, _length: u64, out: &mut Vec<u8>) {
    write_long(i64::try_from(container.count).unwrap_or(i64::MAX), out);
}

/// Appends an Avro `int` or `long`.
pub(super) fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

struct Walk<'a, 's> {
    schema: &'s Avro,
    bound: &'a mut Bound,
    fields: Option<&'a Fields>,
    keys: Option<&'a mut Keys>,
    bytes: &'a [u8],
    at: usize,
    walked: &'a mut Walked<Kind>,
    container: Option<u32>,
    /// Values that may still be met.
    visits: usize,
}

impl<'a, 's: 'a> Walk<'a, 's> {
    fn expected(&self, what: &'static str) -> Malformed {
        Malformed::Expected { what, at: self.at }
    }

    /// Walks one value. `null` is where its union's branch stands, and which branch is null.
    fn value(&mut self, node: u32, name: &'a [u8], null: Option<(usize, u64)>, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed::TooDeep);
        }
        self.visits = self.visits.checked_sub(1).ok_or(Malformed::TooMany)?;
        let Some(&Node { of, state, slot, .. }) = self.bound.nodes.get(node as usize) else {
            return Err(self.expected("a type"));
        };
        let Some(kind) = self.schema.get(of) else { return Err(self.expected("a type")) };
        let start = self.at;
        match kind {
            Type::Null => {}
            Type::Boolean => {
                if !matches!(self.take(1)?, [0 | 1]) {
                    return Err(Malformed::Expected { what: "a boolean", at: start });
                }
                self.leaf(start, start..self.at, (Scalar::Boolean, null), (state, slot), None)?;
            }
            Type::Int(logical) => {
                let number = self.long("an int")?;
                if i32::try_from(number).is_err() {
                    return Err(Malformed::Expected { what: "an int", at: start });
                }
                self.number(start, (Scalar::Int(*logical), null), (state, slot), *logical, number, name)?;
            }
            Type::Long(logical) => {
                let number = self.long("a long")?;
                self.number(start, (Scalar::Long(*logical), null), (state, slot), *logical, number, name)?;
            }
            Type::Float => {
                self.take(4)?;
                self.leaf(start, start..self.at, (Scalar::Float, null), (state, slot), None)?;
            }
            Type::Double => {
                self.take(8)?;
                self.leaf(start, start..self.at, (Scalar::Double, null), (state, slot), None)?;
            }
            Type::Bytes { decimal } => {
                let content = self.sized("bytes")?;
                let of = if *decimal { Scalar::Decimal } else { Scalar::Bytes };
                self.leaf(start, content, (of, null), (state, slot), (!decimal).then_some(name))?;
            }
            Type::String => {
                let content = self.sized("a string")?;
                // What is none would be read as something else by whoever is lenient.
                if std::str::from_utf8(&self.bytes[content.clone()]).is_err() {
                    return Err(Malformed::Expected { what: "UTF-8", at: content.start });
                }
                self.leaf(start, content, (Scalar::String, null), (state, slot), Some(name))?;
            }
            Type::Fixed { size, decimal } => {
                self.take(*size)?;
                let of = if *decimal { Scalar::DecimalFixed } else { Scalar::Fixed };
                self.leaf(start, start..self.at, (of, null), (state, slot), (!decimal).then_some(name))?;
            }
            Type::Enum { symbols, .. } => {
                let index = self.long("an enum")?;
                if usize::try_from(index).is_ok_and(|index| index < symbols.len()) {
                    self.leaf(start, start..self.at, (Scalar::Enum(of), null), (state, slot), None)?;
                } else {
                    return Err(Malformed::Expected { what: "a symbol of the enum", at: start });
                }
            }
            Type::Union { null, .. } => {
                let index = self.long("a branch of the union")?;
                let branch = usize::try_from(index).ok().and_then(|index| {
                    self.bound.nodes.get(node as usize).and_then(|node| node.below.get(index)).copied()
                });
                let branch = branch.ok_or(Malformed::Expected { what: "a branch of the union", at: start })?;
                self.value(branch, name, null.map(|null| (start, null as u64)), depth + 1)?;
            }
            Type::Record(members) => {
                for (index, member) in members.iter().enumerate() {
                    let below = self.bound.nodes.get(node as usize).and_then(|node| node.below.get(index)).copied();
                    let below = below.ok_or_else(|| self.expected("a field"))?;
                    let outer = self.walked.enter(member.name.as_bytes());
                    self.value(below, member.name.as_bytes(), None, depth + 1)?;
                    self.walked.leave(outer);
                }
            }
            Type::Array(items) => {
                let mut index: u32 = 0;
                self.blocks(|walk| {
                    let (state, slot) = match walk.fields {
                        Some(fields) => fields.element(state, slot, index),
                        None => (DEAD, Slot::NONE),
                    };
                    let outer = walk.walked.enter_element(index);
                    index = index.saturating_add(1);
                    let node = walk.bound.node(walk.schema, walk.fields, (*items, state, slot))?;
                    walk.value(node, name, None, depth + 1)?;
                    walk.walked.leave(outer);
                    Ok(())
                })?;
            }
            Type::Map(values) => self.blocks(|walk| {
                let start = walk.at;
                let key = walk.sized("a key")?;
                walk.leaf(start, key.clone(), (Scalar::String, None), (DEAD, Slot::NONE), Some(b""))?;
                let key = &walk.bytes[key];
                let (state, slot) = match (walk.fields, &mut walk.keys) {
                    (Some(fields), Some(keys)) => {
                        let meaning = keys.meaning(fields, key);
                        fields.member_of(state, slot, meaning)
                    }
                    _ => (DEAD, Slot::NONE),
                };
                let node = walk.bound.node(walk.schema, walk.fields, (*values, state, slot))?;
                let outer = walk.walked.enter(key);
                walk.value(node, key, None, depth + 1)?;
                walk.walked.leave(outer);
                Ok(())
            })?,
        }
        Ok(())
    }

    /// Walks the blocks of an array or map.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        loop {
            let head = self.at;
            let count = self.long("a count")?;
            if count == 0 {
                return Ok(());
            }
            let outer = self.container;
            let mut end = None;
            if count < 0 {
                let length = self.long("a block's length")?;
                let length = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
                let stop = length.filter(|end| *end <= self.bytes.len());
                let stop = stop.ok_or(Malformed::Expected { what: "a block's length", at: head })?;
                end = Some(stop);
                self.container = Some(self.walked.containers.len() as u32);
                self.walked.containers.push(Container {
                    head: head..self.at,
                    body: self.at..stop,
                    parent: outer,
                    count: count.unsigned_abs(),
                });
            }
            for _ in 0..count.unsigned_abs() {
                let before = self.at;
                item(self)?;
                // What takes no bytes is the same however often it is there.
                if self.at == before {
                    break;
                }
            }
            self.container = outer;
            if end.is_some_and(|end| end != self.at) {
                return Err(self.expected("the end of a block"));
            }
        }
    }

    fn number(
        &mut self,
        start: usize,
        (of, null): (Scalar, Option<(usize, u64)>),
        (state, slot): (u16, Slot),
        logical: Logical,
        number: i64,
        name: &[u8],
    ) -> Result<(), Malformed> {
        let scanned = self.walked.scans && logical == Logical::None && number.unsigned_abs() >= SCANNED_FROM;
        let text = if scanned { self.walked.write(name, number.to_string().as_bytes()) } else { 0..0 };
        let (kind, container) = (Kind { of, null }, self.container);
        let content = start..self.at;
        self.walked.leaf(Leaf { whole: content.clone(), content, kind, slot, state, text, container }, false)
    }

    /// Notes a value that begins at `start`. It is scanned where it has a `name`.
    fn leaf(
        &mut self,
        start: usize,
        content: Range<usize>,
        (of, null): (Scalar, Option<(usize, u64)>),
        (state, slot): (u16, Slot),
        name: Option<&[u8]>,
    ) -> Result<(), Malformed> {
        let text = match name {
            Some(name) => self.walked.write(name, &self.bytes[content.clone()]),
            None => 0..0,
        };
        let (kind, container) = (Kind { of, null }, self.container);
        let is_text = matches!(of, Scalar::String | Scalar::Bytes);
        let may_hold_fields = is_text && self.fields.is_some() && json::may_hold_fields(&self.bytes[content.clone()]);
        self.walked.leaf(Leaf { whole: start..self.at, content, kind, slot, state, text, container }, may_hold_fields)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.expected("more bytes"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// A length and as many bytes.
    fn sized(&mut self, what: &'static str) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        let length = self.long(what)?;
        let length = usize::try_from(length).map_err(|_| Malformed::Expected { what, at: start })?;
        let from = self.at;
        self.take(length)?;
        Ok(from..self.at)
    }

    #[inline]
    fn long(&mut self, what: &'static str) -> Result<i64, Malformed> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let Some(&byte) = self.bytes.get(self.at) else { return Err(self.expected(what)) };
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(self.expected(what));
            }
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
        }
    }
}
