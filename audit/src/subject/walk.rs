//! Tags of an entry, read from its bytes without decoding the rest: most of an entry is of no use to a
//! search for a subject, and most entries have no tags at all.

use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tidegate_core::event::{FindingCount, Postings, SubjectTags};

/// Field numbers of `Event`.
const FINDINGS: u32 = 16;
const SUBJECTS: u32 = 24;
const SUBJECTS_CUT: u32 = 25;

/// What an entry says of subjects.
#[derive(Debug, Default)]
pub(super) struct Tags<'a> {
    /// Encoded groups, in order.
    groups: Vec<&'a [u8]>,
    /// Encoded findings, in order.
    findings: Vec<&'a [u8]>,
    /// Tags that a limit left out.
    pub(super) cut: u64,
}

impl<'a> Tags<'a> {
    /// Reads an event's body; `None` where it is none. One without tags need not be an event.
    pub(super) fn read(mut body: &'a [u8]) -> Option<Self> {
        let mut tags = Self::default();
        if !may_have_tags(body) {
            return Some(tags);
        }
        while !body.is_empty() {
            let (field, wire) = decode_key(&mut body).ok()?;
            match (field, wire) {
                (FINDINGS | SUBJECTS, WireType::LengthDelimited) => {
                    let length = usize::try_from(decode_varint(&mut body).ok()?).ok()?;
                    let (message, rest) = body.split_at_checked(length)?;
                    body = rest;
                    if field == SUBJECTS { tags.groups.push(message) } else { tags.findings.push(message) }
                }
                (SUBJECTS_CUT, WireType::Varint) => tags.cut = decode_varint(&mut body).ok()?,
                _ => skip_field(wire, field, &mut body, DecodeContext::default()).ok()?,
            }
        }
        Some(tags)
    }

    /// Whether there is a tag, or was one.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.cut == 0
    }

    /// The classes of all findings; those of tags are among them.
    pub(super) fn classes(&self) -> impl Iterator<Item = String> {
        self.findings.iter().filter_map(|finding| Some(FindingCount::decode(*finding).ok()?.class))
    }

    /// Yields each tag, without offset.
    pub(super) fn each(&self, mut each: impl FnMut(u64)) {
        for group in &self.groups {
            if let Some(postings) = postings(group) {
                Postings::new(postings, 0).for_each(|(_, tag)| each(tag));
            }
        }
    }
}

/// Whether the keys of fields that tell of tags stand anywhere in an event's body. Most have none, and looking
/// for two bytes takes a tenth of the time that walking the fields does.
fn may_have_tags(body: &[u8]) -> bool {
    // Both fields' numbers are above 15, so that their keys take two bytes, and the second is the same.
    const KEYS: [[u8; 2]; 2] = [key(SUBJECTS, WireType::LengthDelimited), key(SUBJECTS_CUT, WireType::Varint)];
    const _: () = assert!(KEYS[0][1] == KEYS[1][1]);
    let mut places = memchr::memchr2_iter(KEYS[0][0], KEYS[1][0], body);
    places.any(|at| body.get(at + 1) == Some(&KEYS[0][1]))
}

/// A field's key on the wire, of two bytes.
const fn key(field: u32, wire: WireType) -> [u8; 2] {
    let key = field << 3 | wire as u32;
    assert!(key >= 0x80 && key < 0x4000);
    [key as u8 | 0x80, (key >> 7) as u8]
}

/// The postings of an encoded [`SubjectTags`], where they lie.
fn postings(mut group: &[u8]) -> Option<&[u8]> {
    let mut found: &[u8] = &[];
    while !group.is_empty() {
        let (field, wire) = decode_key(&mut group).ok()?;
        if field == 4 && wire == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut group).ok()?).ok()?;
            (found, group) = group.split_at_checked(length)?;
        } else {
            skip_field(wire, field, &mut group, DecodeContext::default()).ok()?;
        }
    }
    Some(found)
}

// What is read here by hand is that message.
const _: fn(&SubjectTags) -> &Vec<u8> = |group| &group.postings;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_core::event::{Event, push_posting};

    use super::*;

    fn group(tags: &[u64]) -> SubjectTags {
        let mut group = SubjectTags { finding: 1, partition: 3, base_offset: Some(-9), postings: Vec::new() };
        tags.iter().for_each(|tag| push_posting(&mut group.postings, 5, 6, *tag));
        group
    }

    proptest! {
        #[test]
        fn it_sees_what_decoding_sees(lists in proptest::collection::vec(proptest::collection::vec(any::<u64>(), 0..9), 0..4), cut: u64) {
            let event = Event {
                time_micros: 5,
                principal: "anna".into(),
                findings: vec![FindingCount { class: "email".into(), ..FindingCount::default() }],
                subjects: lists.iter().map(|tags| group(tags)).collect(),
                subjects_cut: cut,
                broker: -1,
                ..Event::default()
            };
            let bytes = event.encode_to_vec();
            let tags = Tags::read(&bytes).unwrap();
            let mut seen = Vec::new();
            tags.each(|tag| seen.push(tag));
            prop_assert_eq!(seen, lists.concat());
            prop_assert_eq!((tags.cut, tags.is_empty()), (cut, lists.is_empty() && cut == 0));
            let classes: Vec<_> = tags.classes().collect();
            prop_assert!(tags.is_empty() || classes == ["email"]);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(tags) = Tags::read(&bytes) {
                tags.each(drop);
                tags.classes().for_each(drop);
            }
        }
    }
}
