//! Records and batches from a seed: JSON as services write it, of a wanted size, with personal data
//! in a wanted share of records, and labels that say where.
//!
//! A [`Pool`] holds a few thousand records in encoded batches, made once. What leaves is a copy with
//! its own base timestamp ([`stamp`]): it makes every batch on the wire a different one, so that
//! nothing between can answer from memory, and it tells the oracle who sent which batch ([`Identity`]),
//! whatever the codec. Reading order: this file, then `random`, `value`.

mod random;
mod value;

use bytes::Bytes;
use tidegate_core::batch::build::{BatchBuilder, OwnedRecord};
use tidegate_core::batch::{BatchError, Codec};

pub use random::Random;
pub use value::{Label, REDACTED, Value};

use crate::profile::{Keys, Profile};

/// Records that a pool aims at, so that small shares of personal data are hit.
const POOL_RECORDS: usize = 4096;
/// Bytes that a pool holds at most: over a core's cache, far under its memory.
const POOL_BYTES_MAX: usize = 32 << 20;
/// Batches that a pool holds at least.
const POOL_BATCHES_MIN: usize = 8;

/// Where the fields of a batch's header stand that a stamp touches (KIP-98).
mod at {
    pub(super) const BASE_OFFSET: usize = 0;
    pub(super) const CRC: usize = 17;
    pub(super) const ATTRIBUTES: usize = 21;
    pub(super) const BASE_TIMESTAMP: usize = 27;
    pub(super) const MAX_TIMESTAMP: usize = 35;
    pub(super) const HEADER_BYTES: usize = 61;
}

/// A record and where personal data stands in its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value, labelled.
    pub value: Value,
}

/// An encoded batch with base offset and timestamp 0.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its records.
    pub records: u32,
}

/// Batches to choose from.
#[derive(Debug)]
pub struct Pool {
    batches: Vec<Batch>,
    records: Vec<Record>,
    records_per_batch: usize,
}

impl Pool {
    /// The pool of a profile: the same profile, the same bytes.
    ///
    /// # Errors
    /// Where a batch cannot be encoded.
    pub fn new(profile: &Profile) -> Result<Self, BatchError> {
        let record_bytes = usize::try_from(profile.record.bytes.0).unwrap_or(usize::MAX);
        let batch_bytes = usize::try_from(profile.batch.bytes.0).unwrap_or(usize::MAX);
        let records_per_batch = (batch_bytes / record_bytes).max(1);
        let fitting = POOL_BYTES_MAX / (records_per_batch * record_bytes);
        let count = POOL_RECORDS.div_ceil(records_per_batch).min(fitting).max(POOL_BATCHES_MIN);
        let records = records(profile, record_bytes, count * records_per_batch);
        let batches = records
            .chunks(records_per_batch)
            .map(|records| encode(records, profile.batch.codec.into()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { batches, records, records_per_batch })
    }

    /// How many batches there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Records of every batch.
    #[must_use]
    pub fn records_per_batch(&self) -> u32 {
        u32::try_from(self.records_per_batch).unwrap_or(u32::MAX)
    }

    /// The largest batch, in bytes.
    #[must_use]
    pub fn batch_bytes_max(&self) -> usize {
        self.batches.iter().map(|batch| batch.bytes.len()).max().unwrap_or(0)
    }

    /// The batch that stands for `number`; numbers wrap around.
    #[must_use]
    pub fn batch(&self, number: u64) -> &Batch {
        &self.batches[self.index(number)]
    }

    /// The records of [`Pool::batch`].
    #[must_use]
    pub fn records(&self, number: u64) -> &[Record] {
        let first = self.index(number) * self.records_per_batch;
        &self.records[first..first + self.records_per_batch]
    }

    fn index(&self, number: u64) -> usize {
        // Never empty, and the remainder is under the length.
        (number % self.batches.len() as u64) as usize
    }

    /// Appends batch `number` to `out`, stamped.
    pub fn put(&self, number: u64, base_offset: i64, timestamp: i64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.batch(number).bytes);
        stamp(&mut out[start..], base_offset, timestamp);
    }
}

/// Gives a batch its base offset, its time, and the checksum that goes with them.
pub fn stamp(batch: &mut [u8], base_offset: i64, timestamp: i64) {
    debug_assert!(batch.len() >= at::HEADER_BYTES);
    batch[at::BASE_OFFSET..at::BASE_OFFSET + 8].copy_from_slice(&base_offset.to_be_bytes());
    batch[at::BASE_TIMESTAMP..at::BASE_TIMESTAMP + 8].copy_from_slice(&timestamp.to_be_bytes());
    batch[at::MAX_TIMESTAMP..at::MAX_TIMESTAMP + 8].copy_from_slice(&timestamp.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&batch[at::ATTRIBUTES..]);
    batch[at::CRC..at::CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Who sent a batch and the how manieth of his it was in its partition, as a timestamp that any
/// Kafka accepts: between 1970 and 2004, so never in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The connection, unique in a run.
    pub writer: u32,
    /// Counts from 0 in each partition.
    pub sequence: u32,
}

const SEQUENCE_BITS: u32 = 25;

impl Identity {
    /// Writers there may be.
    pub const WRITERS_MAX: u32 = 1 << 15;
    /// After so many a writer begins again at 0.
    pub const SEQUENCES: u32 = 1 << SEQUENCE_BITS;

    /// As a timestamp.
    #[must_use]
    pub fn timestamp(self) -> i64 {
        i64::from(self.writer % Self::WRITERS_MAX) << SEQUENCE_BITS | i64::from(self.sequence % Self::SEQUENCES)
    }

    /// From a timestamp; `None` where it is none of these.
    #[must_use]
    pub fn of(timestamp: i64) -> Option<Self> {
        let writer = u32::try_from(timestamp >> SEQUENCE_BITS).ok().filter(|writer| *writer < Self::WRITERS_MAX)?;
        let sequence = u32::try_from(timestamp & i64::from(Self::SEQUENCES - 1)).ok()?;
        Some(Self { writer, sequence })
    }

    /// Which batch of the pool a writer sends under this identity.
    #[must_use]
    pub fn number(self) -> u64 {
        // Writers begin at different places of the pool.
        u64::from(self.writer) * 31 + u64::from(self.sequence)
    }
}

fn records(profile: &Profile, bytes: usize, count: usize) -> Vec<Record> {
    let mut random = Random::new(profile.seed ^ 0x7469_6465_6761_7465);
    let share = profile.record.personal_data_percent / 100.0;
    let spread = u64::from(profile.record.spread_percent);
    (0..count)
        .map(|index| {
            let deviation = bytes as u64 * spread / 100;
            let size = bytes as u64 - deviation + random.below(2 * deviation + 1);
            // Spread evenly, so that every stretch of records has the wanted share.
            let personal = ((index + 1) as f64 * share).floor() > (index as f64 * share).floor();
            let key = match profile.record.keys {
                Keys::None => None,
                Keys::Few => Some(format!("key-{}", random.below(1000)).into_bytes()),
                Keys::Unique => Some(format!("key-{index}-{}", random.below(1 << 30)).into_bytes()),
            };
            Record { key, value: Value::new(index, size as usize, personal, &mut random) }
        })
        .collect()
}

fn encode(records: &[Record], codec: Codec) -> Result<Batch, BatchError> {
    let owned = |(index, record): (usize, &Record)| OwnedRecord {
        offset_delta: i32::try_from(index).unwrap_or(i32::MAX),
        timestamp_delta_millis: 0,
        key: record.key.clone(),
        value: Some(record.value.bytes.clone()),
        headers: Vec::new(),
    };
    let records_count = u32::try_from(records.len()).unwrap_or(u32::MAX);
    let builder =
        BatchBuilder { codec, records: records.iter().enumerate().map(owned).collect(), ..BatchBuilder::new(0) };
    Ok(Batch { bytes: builder.build()?, records: records_count })
}

#[cfg(test)]
mod tests;
