//! Kafka record batches (magic 2), walked over their raw bytes.
//!
//! Interface; see the functions. Layout: KIP-98, "Message Format", and Kafka's `DefaultRecordBatch`.

use bytes::Bytes;

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

    /// The encoded headers.
    #[must_use]
    pub fn encoded(&self) -> &'a [u8] {
        self.bytes
    }
}

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
    /// New header values, by the header's index in the record, ascending.
    pub headers: Vec<(usize, FieldEdit)>,
}

/// Looks at each record and says what it becomes. `None`, the common case, costs no allocation.
pub trait Inspect {
    /// Called once per data record in order; control batches are not shown.
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit>;
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
    /// A bound of [`Limits`] was exceeded.
    #[error("the batch is over the limit {limit} of {max}")]
    OverLimit {
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        max: u64,
    },
}

/// Counts batches, records and offsets from batch headers alone: no decompression, no CRC.
///
/// # Errors
/// [`BatchError`] where the headers do not add up.
pub fn summarise(_records: &Bytes) -> Result<Summary, BatchError> {
    Err(BatchError::Malformed("unimplemented"))
}

/// Walks every batch in `records`, shows every data record to `inspect`, and rewrites what it edits.
///
/// # Errors
/// [`BatchError`] at the first batch that cannot be walked.
pub fn inspect(_records: &Bytes, _limits: &Limits, _inspect: &mut dyn Inspect) -> Result<Inspected, BatchError> {
    Err(BatchError::Malformed("unimplemented"))
}
