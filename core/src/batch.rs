//! Kafka record batches (magic 2), walked over their raw bytes.
//!
//! Layout: KIP-98, "Message Format", and Kafka's `DefaultRecordBatch`. Reading order: `walk` (where
//! things stand), `inspection` (from batch to batch, in steps), `codec` (bounded decompression),
//! `rewrite` (edited batches), `build` (batches for tests and the demo), `varint`.
//!
//! Invariants: every byte that a client could read as a data record was shown to [`Inspect`]; a
//! batch that nobody edits leaves as the very bytes that came; nothing is allocated per record on
//! the way there; the memory a batch may claim is bounded by [`Limits`], whatever it declares.

use std::iter::FusedIterator;

use bytes::Bytes;

pub mod build;
mod codec;
mod inspection;
mod rewrite;
#[cfg(test)]
mod tests;
mod varint;
mod walk;

pub use codec::{Codec, SnappyFraming};
pub use inspection::{Inspection, Inspector};
use walk::BatchHeader;

use crate::limits::Limits;

/// One record, borrowed from the batch's (decompressed) bytes. Every front end yields this.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The record's absolute offset (as the producer numbered it, on Produce).
    pub offset: i64,
    /// The record's timestamp in milliseconds since the Unix epoch.
    pub timestamp_millis: i64,
    /// The key; `None` where null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` where null (a tombstone).
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
}

/// A record's headers, still encoded; iterate to read them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: u32,
}

impl<'a> Headers<'a> {
    /// How many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The encoded headers, without their count.
    #[must_use]
    pub fn encoded(&self) -> &'a [u8] {
        self.bytes
    }

    /// Key and value of each, in order; a value may be null.
    #[must_use]
    pub fn iter(&self) -> HeaderIter<'a> {
        HeaderIter { bytes: self.bytes, at: 0, left: self.count }
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

/// Iterates over a record's headers.
#[derive(Debug, Clone)]
pub struct HeaderIter<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let key = walk::field(self.bytes, &mut self.at)??;
        let value = walk::field(self.bytes, &mut self.at)?;
        Some((self.bytes.get(key)?, value.and_then(|range| self.bytes.get(range))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

impl FusedIterator for HeaderIter<'_> {}

/// What a field becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldEdit {
    /// Null.
    Null,
    /// These bytes.
    Bytes(Vec<u8>),
}

/// What a record becomes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordEdit {
    /// The new key.
    pub key: Option<FieldEdit>,
    /// The new value.
    pub value: Option<FieldEdit>,
    /// New header values, by the header's index in the record; each index at most once.
    pub headers: Vec<(usize, FieldEdit)>,
}

/// Looks at each record and says what it becomes. `None`, the common case, costs no allocation.
pub trait Inspect {
    /// Called once per data record in order; control batches are not shown.
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit>;

    /// Why the record whose edit [`Inspect::inspect`] just returned must not pass at all; asked after
    /// every edit. The inspection then ends there, as at a batch that cannot be walked.
    fn refusal(&mut self) -> Option<BatchError> {
        None
    }

    /// What is known already of a batch, asked before it is checked and decompressed. Where there is an
    /// answer, its records are not shown.
    ///
    /// `content` is the batch from its magic on: all that checks and records depend on. What stands before
    /// (base offset, length, leader epoch) only says where in the log it is, and is kept; offsets of
    /// records count from `base_offset`.
    fn recall(&mut self, _base_offset: i64, _content: &[u8]) -> Option<Known> {
        None
    }

    /// All records of the batch with this content were shown without a refusal, and it became one with
    /// the content `became`, or stays as it is. Called before another batch is asked about.
    fn learn(&mut self, _base_offset: i64, _content: &[u8], _became: Option<&[u8]>) {}
}

/// What a batch becomes, known from before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It passes as it is.
    Same,
    /// This is its content, from the magic on, checksum included.
    Became(Bytes),
}

/// What the records of one partition amount to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Whole batches.
    pub batches: u64,
    /// Records as the batches' headers count them, control records left out.
    pub records: u64,
    /// Bytes of whole batches.
    pub bytes: u64,
    /// Base offset of the first batch.
    pub first_offset: Option<i64>,
    /// Last offset of the last batch (base offset plus last offset delta).
    pub last_offset: Option<i64>,
}

impl Summary {
    fn add(&mut self, header: &BatchHeader) {
        self.batches += 1;
        self.bytes += header.total as u64;
        if !header.is_control() {
            self.records += u64::from(header.count);
        }
        self.first_offset.get_or_insert(header.base_offset);
        self.last_offset = Some(header.last_offset());
    }
}

/// What came of an inspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The bytes to pass on. Where nothing changed they share memory with the input.
    pub records: Bytes,
    /// Whether any byte differs from the input (a cut partial tail counts).
    pub changed: bool,
    /// What the records amount to.
    pub summary: Summary,
}

/// Why a batch could not be walked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// An older message set.
    #[error("message format v{0} is not accepted; only record batches (v2) are")]
    Magic(i8),
    /// The stored checksum is not that of the bytes.
    #[error("the batch's CRC-32C is wrong")]
    Crc,
    /// Lengths, counts or varints do not fit the bytes.
    #[error("the batch is malformed: {0}")]
    Malformed(&'static str),
    /// The compression codec is unknown.
    #[error("compression codec {0} is unknown")]
    Codec(u8),
    /// The compressed bytes do not decompress.
    #[error("the batch does not decompress: {0}")]
    Decompress(String),
    /// The edited records do not compress: a fault of ours.
    #[error("the edited batch does not compress: {0}")]
    Compress(String),
    /// A record that is to be masked cannot be understood.
    #[error("the record at offset {offset} cannot be parsed: {reason}")]
    Record {
        /// Its offset.
        offset: i64,
        /// What is wrong with it; nothing of its content.
        reason: String,
    },
    /// What it takes to understand a record is being fetched: look at it again soon.
    #[error("the record at offset {offset} waits for its schema")]
    Waiting {
        /// Its offset.
        offset: i64,
    },
    /// A bound of [`Limits`] was exceeded.
    #[error("the batch is over the limit {limit} of {max}")]
    OverLimit {
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        max: u64,
    },
}

/// Counts batches, records and offsets from batch headers alone: no decompression, no CRC. A partial
/// tail is not counted.
///
/// # Errors
/// [`BatchError`] where the headers do not add up or name an older message format.
pub fn summarise(records: &Bytes) -> Result<Summary, BatchError> {
    match summarise_intact(records) {
        (summary, None) => Ok(summary),
        (_, Some(error)) => Err(error),
    }
}

/// As [`summarise`], for the evidence about records that were refused: counts the batches before
/// the first one whose header does not add up, and says what is wrong with that.
#[must_use]
pub fn summarise_intact(records: &[u8]) -> (Summary, Option<BatchError>) {
    let mut summary = Summary::default();
    let mut rest = records;
    loop {
        match walk::header(rest) {
            Ok(Some(header)) => {
                summary.add(&header);
                rest = &rest[header.total..];
            }
            Ok(None) => return (summary, None),
            Err(error) => return (summary, Some(error)),
        }
    }
}

/// Walks every batch in `records`, shows every data record to `inspect`, and rewrites what it edits.
///
/// For a shard that does so all day, an [`Inspector`] keeps the decompression buffer.
///
/// # Errors
/// [`BatchError`] at the first batch that cannot be walked.
pub fn inspect(records: &Bytes, limits: &Limits, inspect: &mut dyn Inspect) -> Result<Inspected, BatchError> {
    Inspector::default().inspect(records, limits, inspect)
}
