//! A sealed segment's index: what it holds, roughly, in a small file beside it.
//!
//! `SEGMENT.tgx` lets a search skip segments: the times of the first and last entry, a Bloom filter of
//! the values of searchable fields, and the range of offsets of each topic's partition. It is built from
//! the segment, bound to it by the root in its seal, and can be removed at any time. It is no evidence
//! and nothing signs it: whoever could change it could make a search miss entries, so `verify` does not
//! look at it, and a search that must not be fooled ignores it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use prost::Message as _;
use tidegate_core::event::Event;

use crate::format::{FrameType, Parsed, SEAL_FRAME_BYTES, Seal, crc32c, parse_frame};
use crate::keys::write_atomically;
use crate::read::{SegmentReader, Step, read_at_most};
use crate::tree::Hash;

/// The ending of an index's name.
pub const INDEX_EXTENSION: &str = "tgx";

const MAGIC: [u8; 8] = *b"\x89TGX\r\n\x1a\n";
const VERSION: u64 = 1;
/// Bits of the filter per value, and how many each sets: one wrong answer in about a hundred.
const BITS_PER_VALUE: usize = 10;
const PROBES: u32 = 7;
/// The largest index that is read, in bytes.
const INDEX_BYTES_MAX: u64 = 64 << 20;
/// Partitions whose offsets are kept; a segment with more keeps none.
const PARTITIONS_MAX: usize = 65_536;

/// Fields that the filter knows, each with a letter of its own.
pub(crate) const PRINCIPAL: u8 = b'p';
pub(crate) const SESSION: u8 = b's';
pub(crate) const API: u8 = b'a';
pub(crate) const KIND: u8 = b'k';
pub(crate) const OUTCOME: u8 = b'd';
pub(crate) const TOPIC: u8 = b't';
pub(crate) const PARTITION: u8 = b'T';
pub(crate) const OPERATION: u8 = b'o';
pub(crate) const GRANT: u8 = b'g';
pub(crate) const PURPOSE: u8 = b'u';
pub(crate) const CLASS: u8 = b'c';

/// The 64 bits by which the filter knows a field's value: FNV-1a, mixed so that all bits count.
#[must_use]
pub(crate) fn key(field: u8, value: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in [field].iter().chain(value) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

/// The key of a topic's partition.
#[must_use]
pub(crate) fn partition_key(topic: &str, partition: i32) -> u64 {
    let mut value = partition.to_le_bytes().to_vec();
    value.extend_from_slice(topic.as_bytes());
    key(PARTITION, &value)
}

/// What a sealed segment holds, roughly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The root in the segment's seal.
    root: Hash,
    /// The earliest entry's time.
    pub first_micros: i64,
    /// The latest entry's time.
    pub last_micros: i64,
    /// The Bloom filter; empty where there is no entry.
    filter: Vec<u64>,
    /// First and last offset by partition key, in the keys' order; `None` where there were too many.
    offsets: Option<Vec<(u64, i64, i64)>>,
}

impl Index {
    /// Whether some entry may have that value; false means that none has.
    #[must_use]
    pub(crate) fn may_have(&self, key: u64) -> bool {
        probes(key, self.filter.len()).all(|(word, bit)| self.filter.get(word).is_some_and(|word| word >> bit & 1 == 1))
    }

    /// Whether some entry may have offsets of that partition within `wanted`.
    #[must_use]
    pub(crate) fn may_have_offsets(&self, partition: u64, wanted: &RangeInclusive<i64>) -> bool {
        let Some(offsets) = &self.offsets else { return true };
        match offsets.binary_search_by_key(&partition, |(key, ..)| *key) {
            Ok(place) => {
                offsets.get(place).is_none_or(|(_, first, last)| first <= wanted.end() && last >= wanted.start())
            }
            Err(_) => false,
        }
    }

    /// Builds the index of a segment; `None` where it is not sealed or cannot be read to its seal.
    #[must_use]
    pub fn build(segment: &Path) -> Option<Self> {
        sealed_root(segment)?;
        let mut reader = SegmentReader::open(segment).ok()?;
        let mut values = Values::default();
        let root = loop {
            match reader.next().ok()? {
                Step::Frame(frame) if frame.kind == FrameType::Event => {
                    // An entry that cannot be decoded must be seen by every search.
                    values.add(&Event::decode(frame.body).ok()?);
                }
                Step::Frame(_) => {}
                Step::Sealed(seal) => break seal.root,
                Step::End | Step::Torn(_) => return None,
            }
        };
        Some(values.index(root))
    }

    /// Reads the index beside a segment; `None` where there is none that belongs to it.
    #[must_use]
    pub fn load(segment: &Path) -> Option<Self> {
        let path = index_path(segment);
        if fs::metadata(&path).ok()?.len() > INDEX_BYTES_MAX {
            return None;
        }
        let index = Self::parse(&fs::read(path).ok()?)?;
        (sealed_root(segment)? == index.root).then_some(index)
    }

    /// Writes the index beside its segment.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn store(&self, segment: &Path) -> io::Result<()> {
        write_atomically(&index_path(segment), &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.root);
        bytes.extend_from_slice(&self.first_micros.to_le_bytes());
        bytes.extend_from_slice(&self.last_micros.to_le_bytes());
        bytes.extend_from_slice(&(self.filter.len() as u64).to_le_bytes());
        let count = self.offsets.as_ref().map_or(u64::MAX, |offsets| offsets.len() as u64);
        bytes.extend_from_slice(&count.to_le_bytes());
        self.filter.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        for (key, first, last) in self.offsets.iter().flatten() {
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&first.to_le_bytes());
            bytes.extend_from_slice(&last.to_le_bytes());
        }
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        if u32::from_le_bytes(*crc) != crc32c(content) {
            return None;
        }
        let rest = content.strip_prefix(&MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?;
        let (root, rest) = rest.split_first_chunk::<32>()?;
        let (words, left) = rest.as_chunks::<8>();
        let (&[first, last, filter, count], words) = words.split_first_chunk::<4>()?;
        let (filter, words) = words.split_at_checked(usize::try_from(u64::from_le_bytes(filter)).ok()?)?;
        let count = u64::from_le_bytes(count);
        let (triples, spare) = words.as_chunks::<3>();
        let told = if count == u64::MAX { 0 } else { count };
        if !left.is_empty() || !spare.is_empty() || triples.len() as u64 != told {
            return None;
        }
        let offsets = triples.iter().map(|[key, first, last]| {
            (u64::from_le_bytes(*key), i64::from_le_bytes(*first), i64::from_le_bytes(*last))
        });
        Some(Self {
            root: *root,
            first_micros: i64::from_le_bytes(first),
            last_micros: i64::from_le_bytes(last),
            filter: filter.iter().map(|word| u64::from_le_bytes(*word)).collect(),
            offsets: (count != u64::MAX).then(|| offsets.collect()),
        })
    }
}

/// Where a key's bits are in a filter of so many words: the word and the bit.
fn probes(key: u64, words: usize) -> impl Iterator<Item = (usize, u32)> {
    let bits = (words as u64 * 64).max(1);
    let (start, step) = (key, key.rotate_left(32) | 1);
    (0..PROBES).map(move |probe| {
        let place = start.wrapping_add(step.wrapping_mul(u64::from(probe))) % bits;
        ((place / 64) as usize, (place % 64) as u32)
    })
}

/// The values of a segment, while its index is built.
#[derive(Default)]
struct Values {
    keys: HashSet<u64>,
    offsets: HashMap<u64, (i64, i64)>,
    times: Option<(i64, i64)>,
}

impl Values {
    fn add(&mut self, event: &Event) {
        let time = event.time_micros;
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
        for (field, value) in [(PRINCIPAL, &event.principal), (SESSION, &event.session), (API, &event.api)] {
            self.keys.insert(key(field, value.as_bytes()));
        }
        self.keys.insert(key(KIND, &event.kind.to_le_bytes()));
        self.keys.insert(key(OUTCOME, &event.outcome.to_le_bytes()));
        self.keys.extend(event.findings.iter().map(|finding| key(CLASS, finding.class.as_bytes())));
        for resource in &event.resources {
            for (field, value) in
                [(OPERATION, &resource.operation), (GRANT, &resource.rule), (PURPOSE, &resource.purpose)]
            {
                self.keys.insert(key(field, value.as_bytes()));
            }
            if resource.kind != "topic" {
                continue;
            }
            self.keys.insert(key(TOPIC, resource.name.as_bytes()));
            let Some(partition) = resource.partition else { continue };
            let place = partition_key(&resource.name, partition);
            self.keys.insert(place);
            if let (Some(first), Some(last)) = (resource.first_offset, resource.last_offset) {
                let known = self.offsets.entry(place).or_insert((first, last));
                *known = (known.0.min(first), known.1.max(last));
            }
        }
    }

    fn index(self, root: Hash) -> Index {
        let mut filter = vec![0u64; (self.keys.len() * BITS_PER_VALUE).div_ceil(64)];
        for key in &self.keys {
            for (word, bit) in probes(*key, filter.len()) {
                if let Some(word) = filter.get_mut(word) {
                    *word |= 1 << bit;
                }
            }
        }
        let mut offsets: Vec<_> = self.offsets.into_iter().map(|(key, (first, last))| (key, first, last)).collect();
        offsets.sort_unstable();
        // Without an entry there is no time that could be asked for.
        let (first_micros, last_micros) = self.times.unwrap_or((i64::MAX, i64::MIN));
        Index { root, first_micros, last_micros, filter, offsets: (offsets.len() <= PARTITIONS_MAX).then_some(offsets) }
    }
}

/// The index's file of a segment.
#[must_use]
pub fn index_path(segment: &Path) -> PathBuf {
    segment.with_extension(INDEX_EXTENSION)
}

/// The root in a segment's seal, read at the file's end; `None` where it is not sealed.
pub(crate) fn sealed_root(segment: &Path) -> Option<Hash> {
    seal(segment).map(|seal| seal.root)
}

/// A segment's seal, read at the file's end; `None` where it is not sealed.
pub(crate) fn seal(segment: &Path) -> Option<Seal> {
    let file = File::open(segment).ok()?;
    let start = file.metadata().ok()?.len().checked_sub(SEAL_FRAME_BYTES as u64)?;
    let mut bytes = [0; SEAL_FRAME_BYTES];
    read_at_most(&file, &mut bytes, start).ok()?;
    match parse_frame(&bytes) {
        Parsed::Frame(frame) if frame.kind == FrameType::Seal => Seal::parse(frame.body),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_survive_encoding_and_nothing_else_is_one() {
        let mut values = Values::default();
        for n in 0..1000 {
            values.add(&Event { time_micros: n, principal: format!("p{n}"), ..Event::default() });
        }
        let index = values.index([7; 32]);
        assert_eq!((index.first_micros, index.last_micros), (0, 999));
        let bytes = index.encode();
        assert_eq!(Index::parse(&bytes).as_ref(), Some(&index));
        for offset in (0..bytes.len()).step_by(17) {
            let mut changed = bytes.clone();
            changed[offset] ^= 1;
            assert_eq!(Index::parse(&changed), None, "{offset}");
            assert_eq!(Index::parse(&bytes[..offset]), None, "{offset}");
        }
        // A filter longer than the file, with a right CRC.
        let mut huge = bytes[..bytes.len() - 4].to_vec();
        huge[64..72].copy_from_slice(&u64::MAX.to_le_bytes());
        let crc = crc32c(&huge);
        huge.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(Index::parse(&huge), None);
    }

    #[test]
    fn the_filter_has_no_false_no_and_few_false_yes() {
        let mut values = Values::default();
        for n in 0..5000 {
            values.add(&Event { session: format!("session-{n}"), ..Event::default() });
        }
        let index = values.index([0; 32]);
        assert!((0..5000).all(|n| index.may_have(key(SESSION, format!("session-{n}").as_bytes()))));
        let wrong = (0..20_000).filter(|n| index.may_have(key(SESSION, format!("other-{n}").as_bytes()))).count();
        assert!(wrong < 500, "{wrong} of 20000");
        assert!(!Values::default().index([0; 32]).may_have(key(SESSION, b"x")));
    }
}
