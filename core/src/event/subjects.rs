//! Whose data an exchange carried: keyed tags of the values that were found, by record.
//!
//! A tag is 64 bits of an HMAC over the one spelling of a value (policy's `subject` makes them); without
//! the key it says nothing, and with it one value can be looked for, not listed. A list is written as
//! postings: per tag the distance to the record before in a varint, mostly one byte, then the tag.

use prost::Message;
use prost::encoding::{decode_varint, encode_varint};

/// Bytes of a tag.
const TAG_BYTES: usize = 8;

/// Tags of one class, found under one rule, in the records of one partition.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct SubjectTags {
    /// Which of the event's findings says class, topic, field, rule and operator: its index.
    #[prost(uint32, tag = "1")]
    pub finding: u32,
    /// The partition.
    #[prost(int32, tag = "2")]
    pub partition: i32,
    /// What the offsets in `postings` count from. Without it they are places in what a producer sent and
    /// the upstream has told no offset.
    #[prost(int64, optional, tag = "3")]
    pub base_offset: Option<i64>,
    /// See [`Postings`].
    #[prost(bytes = "vec", tag = "4")]
    pub postings: Vec<u8>,
}

impl SubjectTags {
    /// Offset and tag of each posting; relative offsets where the upstream told none.
    #[must_use]
    pub fn iter(&self) -> Postings<'_> {
        Postings::new(&self.postings, self.base_offset.unwrap_or(0))
    }
}

impl<'a> IntoIterator for &'a SubjectTags {
    type Item = (i64, u64);
    type IntoIter = Postings<'a>;

    fn into_iter(self) -> Postings<'a> {
        self.iter()
    }
}

/// Appends one posting; `before` is the offset of the one before, or the base.
pub fn push_posting(postings: &mut Vec<u8>, before: i64, offset: i64, tag: u64) {
    let distance = offset.wrapping_sub(before);
    // Zigzag: offsets ascend, but nobody has to believe that.
    encode_varint((distance << 1 ^ distance >> 63) as u64, postings);
    postings.extend_from_slice(&tag.to_le_bytes());
}

/// Reads postings. Ends where the bytes are none.
#[derive(Debug, Clone)]
pub struct Postings<'a> {
    bytes: &'a [u8],
    offset: i64,
}

impl<'a> Postings<'a> {
    /// Over `bytes`, counted from `base`.
    #[must_use]
    pub const fn new(bytes: &'a [u8], base: i64) -> Self {
        Self { bytes, offset: base }
    }

    /// The bytes that are not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

impl Iterator for Postings<'_> {
    type Item = (i64, u64);

    fn next(&mut self) -> Option<(i64, u64)> {
        let mut rest = self.bytes;
        let coded = decode_varint(&mut rest).ok()?;
        let (tag, rest) = rest.split_first_chunk::<TAG_BYTES>()?;
        let distance = (coded >> 1) as i64 ^ -((coded & 1) as i64);
        self.offset = self.offset.wrapping_add(distance);
        self.bytes = rest;
        Some((self.offset, u64::from_le_bytes(*tag)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn postings_survive(list in proptest::collection::vec(any::<(i64, u64)>(), 0..40), base in any::<i64>()) {
            let mut tags = SubjectTags { base_offset: Some(base), ..SubjectTags::default() };
            let mut before = base;
            for (offset, tag) in &list {
                push_posting(&mut tags.postings, before, *offset, *tag);
                before = *offset;
            }
            prop_assert_eq!(tags.iter().collect::<Vec<_>>(), list);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Postings::new(&bytes, 0).count() <= bytes.len() / 9);
        }
    }

    #[test]
    fn records_that_follow_each_other_take_nine_bytes_a_tag() {
        let mut postings = Vec::new();
        (0..1000).for_each(|n| push_posting(&mut postings, (n - 1).max(0), n, 7));
        assert_eq!(postings.len(), 9 * 1000);
    }
}
