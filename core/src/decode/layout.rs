//! Layouts: where lengths and counts stand in a message, and the walk that checks them.
//!
//! A layout is read from one line of [`super::table`]. Its fields, in the order of the wire:
//!
//! | in the table | on the wire |
//! | --- | --- |
//! | `4` | so many bytes |
//! | `s` | a string: its length in 16 bits, or compact |
//! | `b` | bytes: their length in 32 bits, or compact |
//! | `*4`, `*s` | an array of these: its count in 32 bits, or compact |
//! | `[…]` | an array of structures |
//! | `{…}` | a structure |
//! | `?{…}` | a structure or none: a byte, 1 where it follows |
//! | `#3:…` | a tagged field with this tag; in flexible versions, behind all others |
//! | `…@2..5` | only in versions 2 to 5; either end may be left out |
//!
//! From the message's flexible version on, lengths are compact and every structure ends in tagged
//! fields (KIP-482). As the decoder does, the walk takes a known tagged field by its structure, not
//! by its announced size.

use std::ops::RangeInclusive;

use super::DecodeError;

/// What one item takes in the decoder's memory, in bytes (64-bit targets; a test compares).
const TEXT_MEMORY: usize = 32;
const ARRAY_MEMORY: usize = 24;
const UNKNOWN_TAGS_MEMORY: usize = 24;
/// The first node of the map of unknown tagged fields, and each field's share of further ones.
const FIRST_UNKNOWN_TAG_MEMORY: usize = 512;
const UNKNOWN_TAG_MEMORY: usize = 128;

/// Where lengths and counts stand in a message, for each of its versions.
#[derive(Debug)]
pub struct Layout {
    version_min: i16,
    versions: Vec<Structure>,
}

/// A message, or a structure in it, in one version.
#[derive(Debug, Default)]
struct Structure {
    flexible: bool,
    fields: Vec<Field>,
    tagged: Vec<(u32, Field)>,
    /// The least bytes it takes on the wire.
    wire_bytes_min: usize,
    /// What it takes in memory, without what it points to.
    memory_bytes: usize,
}

#[derive(Debug)]
enum Field {
    Fixed(usize),
    Text,
    Blob,
    /// An array of items of so many bytes, without tagged fields.
    FixedItems(usize),
    TextItems,
    Array(Structure),
    Struct(Structure),
    Option(Structure),
}

impl Layout {
    /// Reads a line of the table. `flexible` is the first flexible version.
    ///
    /// # Panics
    /// Where the line is malformed: the table is ours, and a test reads all of it.
    pub(super) fn read(version_min: i16, version_max: i16, flexible: i16, line: &str) -> Self {
        let read = |version| {
            let mut reader = Reader { rest: line, version, flexible: version >= flexible };
            let structure = reader.structure();
            assert!(reader.rest.is_empty(), "`{}` is left of the layout `{line}`", reader.rest);
            structure
        };
        Self { version_min, versions: (version_min..=version_max).map(read).collect() }
    }

    /// Walks `body`. Afterwards, decoding it does not fail for want of bytes, nor allocate more than
    /// `memory_bytes_max`. Bytes behind the message are not looked at.
    ///
    /// # Errors
    /// [`DecodeError`], what cannot be decoded or not within the bound.
    pub fn walk(&self, body: &[u8], version: i16, memory_bytes_max: usize) -> Result<Walked, DecodeError> {
        let structure = self.version(version).ok_or(DecodeError::Version(version))?;
        let mut walk = Walk { rest: body, memory_left: memory_bytes_max, memory_bytes_max };
        walk.structure(structure)?;
        Ok(Walked { left: walk.rest.len(), memory_bytes: memory_bytes_max - walk.memory_left })
    }

    /// A body of this layout whose contents `draw` decides, for tests and fuzz targets; `None` where
    /// there is no such version. `draw` yields numbers below its argument. Nothing is null, and text is
    /// UTF-8, so the decoder takes it.
    pub fn sample(&self, version: i16, draw: &mut impl FnMut(usize) -> usize) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        self.version(version)?.sample(&mut body, draw);
        Some(body)
    }

    /// What the message itself takes in memory, in bytes, at most.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.versions.first().map_or(0, |structure| structure.memory_bytes)
    }

    /// The first and the last version.
    #[must_use]
    pub fn versions(&self) -> RangeInclusive<i16> {
        self.version_min..=self.version_min + self.versions.len() as i16 - 1
    }

    fn version(&self, version: i16) -> Option<&Structure> {
        let index = usize::try_from(i32::from(version) - i32::from(self.version_min)).ok()?;
        self.versions.get(index)
    }
}

/// What a walk saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Bytes behind the message.
    pub left: usize,
    /// What decoding allocates, in bytes, at most.
    pub memory_bytes: usize,
}

/// A walk through a body under way.
struct Walk<'b> {
    rest: &'b [u8],
    memory_left: usize,
    memory_bytes_max: usize,
}

impl Walk<'_> {
    fn structure(&mut self, structure: &Structure) -> Result<(), DecodeError> {
        for field in &structure.fields {
            self.field(field, structure.flexible)?;
        }
        if structure.flexible { self.tagged_fields(structure) } else { Ok(()) }
    }

    fn field(&mut self, field: &Field, flexible: bool) -> Result<(), DecodeError> {
        match field {
            Field::Fixed(bytes) => self.skip(*bytes),
            Field::Text => {
                let bytes = if flexible { self.compact()? } else { i16::from_be_bytes(self.take()?).max(0) as usize };
                self.skip(bytes)
            }
            Field::Blob => {
                let bytes = self.length(flexible)?;
                self.skip(bytes)
            }
            Field::FixedItems(bytes) => {
                let count = self.items(flexible, *bytes, *bytes)?;
                self.skip(count * bytes)
            }
            Field::TextItems => {
                let count = self.items(flexible, if flexible { 1 } else { 2 }, TEXT_MEMORY)?;
                (0..count).try_for_each(|_| self.field(&Field::Text, flexible))
            }
            Field::Array(item) => {
                let count = self.items(flexible, item.wire_bytes_min, item.memory_bytes)?;
                (0..count).try_for_each(|_| self.structure(item))
            }
            Field::Struct(structure) => self.structure(structure),
            Field::Option(structure) => match self.take()? {
                [1] => self.structure(structure),
                _ => Ok(()),
            },
        }
    }

    fn tagged_fields(&mut self, structure: &Structure) -> Result<(), DecodeError> {
        let mut unknown = false;
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let size = self.varint()?;
            match structure.tagged.iter().find(|(known, _)| *known == tag) {
                Some((_, field)) => self.field(field, true)?,
                None => {
                    self.allocate(if unknown { UNKNOWN_TAG_MEMORY } else { FIRST_UNKNOWN_TAG_MEMORY })?;
                    self.skip(size as usize)?;
                    unknown = true;
                }
            }
        }
        Ok(())
    }

    /// An array's count, whose items take at least `wire_bytes_min` each here, and `memory_bytes` there.
    fn items(&mut self, flexible: bool, wire_bytes_min: usize, memory_bytes: usize) -> Result<usize, DecodeError> {
        let count = self.length(flexible)?;
        let remaining = self.rest.len();
        if count.checked_mul(wire_bytes_min).is_none_or(|bytes| bytes > remaining) {
            return Err(DecodeError::Count { count, remaining });
        }
        self.allocate(count.saturating_mul(memory_bytes))?;
        Ok(count)
    }

    fn allocate(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let left = self.memory_left.checked_sub(bytes);
        self.memory_left = left.ok_or(DecodeError::Memory { bytes_max: self.memory_bytes_max })?;
        Ok(())
    }

    /// A length or count in 32 bits, or compact. Null, and negative ones, which the decoder refuses, are 0.
    fn length(&mut self, flexible: bool) -> Result<usize, DecodeError> {
        if flexible { self.compact() } else { Ok(i32::from_be_bytes(self.take()?).max(0) as usize) }
    }

    /// A compact length: one more than the length, 0 for null.
    fn compact(&mut self) -> Result<usize, DecodeError> {
        Ok((self.varint()? as usize).saturating_sub(1))
    }

    fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.rest = self.rest.get(bytes..).ok_or(DecodeError::Truncated)?;
        Ok(())
    }
}

/// Reads a line of the table for one version.
struct Reader<'t> {
    rest: &'t str,
    version: i16,
    flexible: bool,
}

impl Reader<'_> {
    /// Fields up to the line's end or a closing bracket, which is left.
    fn structure(&mut self) -> Structure {
        let mut structure = Structure { flexible: self.flexible, ..Structure::default() };
        structure.memory_bytes = UNKNOWN_TAGS_MEMORY;
        structure.wire_bytes_min = usize::from(self.flexible);
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() || self.rest.starts_with(['}', ']']) {
                break;
            }
            let tag = self.accept("#").then(|| {
                let tag = self.number().expect("a tag is a number");
                assert!(self.accept(":"), "`:` is missing before `{}`", self.rest);
                tag as u32
            });
            let field = self.field();
            let (from, to) = self.range();
            structure.memory_bytes += field.memory_bytes();
            if !(from..=to).contains(&self.version) {
                continue;
            }
            match tag {
                Some(tag) => structure.tagged.push((tag, field)),
                None => {
                    structure.wire_bytes_min += field.wire_bytes_min(self.flexible);
                    structure.push(field);
                }
            }
        }
        // An item of no bytes would let a count of any size pass.
        structure.wire_bytes_min = structure.wire_bytes_min.max(1);
        structure.memory_bytes = structure.memory_bytes.next_multiple_of(8);
        structure
    }

    fn field(&mut self) -> Field {
        if self.accept("s") {
            return Field::Text;
        }
        if self.accept("b") {
            return Field::Blob;
        }
        if self.accept("*s") {
            return Field::TextItems;
        }
        if self.accept("*") {
            return Field::FixedItems(self.number().expect("an item has a size"));
        }
        for (open, close, kind) in
            [("[", "]", Field::Array as fn(Structure) -> Field), ("{", "}", Field::Struct), ("?{", "}", Field::Option)]
        {
            if self.accept(open) {
                let structure = self.structure();
                assert!(self.accept(close), "`{close}` is missing before `{}`", self.rest);
                return kind(structure);
            }
        }
        Field::Fixed(self.number().expect("a field is one of the kinds above"))
    }

    fn range(&mut self) -> (i16, i16) {
        if !self.accept("@") {
            return (i16::MIN, i16::MAX);
        }
        let from = self.number().map_or(i16::MIN, |from| from as i16);
        assert!(self.accept(".."), "`..` is missing before `{}`", self.rest);
        (from, self.number().map_or(i16::MAX, |to| to as i16))
    }

    fn number(&mut self) -> Option<usize> {
        let digits = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        number.parse().ok()
    }

    fn accept(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

impl Structure {
    fn sample(&self, body: &mut Vec<u8>, draw: &mut impl FnMut(usize) -> usize) {
        for field in &self.fields {
            field.sample(self.flexible, body, draw);
        }
        if !self.flexible {
            return;
        }
        let known: Vec<&(u32, Field)> = self.tagged.iter().filter(|_| draw(2) == 0).collect();
        let unknown = if draw(4) == 0 { draw(20) } else { 0 };
        put_varint(body, (known.len() + unknown) as u32);
        for (tag, field) in known {
            let mut value = Vec::new();
            field.sample(true, &mut value, draw);
            put_varint(body, *tag);
            put_varint(body, value.len() as u32);
            body.extend(value);
        }
        for tag in 0..unknown {
            put_varint(body, 100 + tag as u32);
            let length = draw(4);
            put_varint(body, length as u32);
            put_letters(length, body, draw);
        }
    }

    /// Adds a field; neighbours of fixed size become one.
    fn push(&mut self, field: Field) {
        match (self.fields.last_mut(), field) {
            (Some(Field::Fixed(bytes)), Field::Fixed(more)) => *bytes += more,
            (_, field) => self.fields.push(field),
        }
    }
}

impl Field {
    fn sample(&self, flexible: bool, body: &mut Vec<u8>, draw: &mut impl FnMut(usize) -> usize) {
        let put_length = |body: &mut Vec<u8>, length: usize| match (flexible, self) {
            (true, _) => put_varint(body, length as u32 + 1),
            (false, Self::Text) => body.extend((length as u16).to_be_bytes()),
            (false, _) => body.extend((length as u32).to_be_bytes()),
        };
        match self {
            Self::Fixed(bytes) => put_letters(*bytes, body, draw),
            Self::Text | Self::Blob => {
                let length = if draw(50) == 0 { draw(300) } else { draw(8) };
                put_length(body, length);
                put_letters(length, body, draw);
            }
            Self::FixedItems(bytes) => {
                let count = draw(4);
                put_length(body, count);
                put_letters(count * bytes, body, draw);
            }
            Self::TextItems => {
                let count = draw(4);
                put_length(body, count);
                (0..count).for_each(|_| Self::Text.sample(flexible, body, draw));
            }
            Self::Array(item) => {
                let count = draw(4);
                put_length(body, count);
                (0..count).for_each(|_| item.sample(body, draw));
            }
            Self::Struct(structure) => structure.sample(body, draw),
            Self::Option(structure) => {
                let present = draw(2);
                body.push(present as u8);
                if present == 1 {
                    structure.sample(body, draw);
                }
            }
        }
    }

    fn wire_bytes_min(&self, flexible: bool) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Option(_) => 1,
            Self::Struct(structure) => structure.wire_bytes_min,
            _ if flexible => 1,
            Self::Text => 2,
            Self::Blob | Self::FixedItems(_) | Self::TextItems | Self::Array(_) => 4,
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Text | Self::Blob => TEXT_MEMORY,
            Self::FixedItems(_) | Self::TextItems | Self::Array(_) => ARRAY_MEMORY,
            Self::Struct(structure) => structure.memory_bytes,
            Self::Option(structure) => structure.memory_bytes + 8,
        }
    }
}

pub(super) fn put_varint(body: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        body.push(value as u8 | 0x80);
        value >>= 7;
    }
    body.push(value as u8);
}

fn put_letters(count: usize, body: &mut Vec<u8>, draw: &mut impl FnMut(usize) -> usize) {
    body.extend((0..count).map(|_| b'a' + draw(26) as u8));
}
