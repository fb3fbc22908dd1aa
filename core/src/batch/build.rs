//! Builds record batches: for tests, benches and the demo, which need batches with every codec and
//! flag without a producer at hand. The gateway itself only rewrites batches that exist.

use bytes::Bytes;

use super::BatchError;
use super::codec::{Codec, Codecs, SnappyFraming};
use super::rewrite::seal;
use super::varint::{write_i32, write_i64};
use super::walk::{CONTROL, DELETE_HORIZON, LOG_APPEND_TIME, MAGIC, TRANSACTIONAL};

/// One record to be encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Offset, counted from the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds after the batch's base timestamp.
    pub timestamp_delta_millis: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Header keys and values, in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A batch to be encoded: the header's fields as they will stand in it, and its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchBuilder {
    /// Offset of the first record.
    pub base_offset: i64,
    /// The leader epoch; -1 in what producers send.
    pub partition_leader_epoch: i32,
    /// How the records are compressed.
    pub codec: Codec,
    /// The framing, where the codec is snappy.
    pub snappy_framing: SnappyFraming,
    /// Whether the record times are the time of the append.
    pub log_append_time: bool,
    /// Whether the batch is part of a transaction.
    pub transactional: bool,
    /// Whether its records are control records.
    pub control: bool,
    /// Whether the base timestamp is the delete horizon.
    pub delete_horizon: bool,
    /// The last offset delta; `None` for that of the last record.
    pub last_offset_delta: Option<i32>,
    /// The time that the records' deltas count from, in milliseconds since the epoch.
    pub base_timestamp_millis: i64,
    /// The largest time; `None` for that of the records.
    pub max_timestamp_millis: Option<i64>,
    /// The producer's id, -1 for none.
    pub producer_id: i64,
    /// The producer's epoch, -1 for none.
    pub producer_epoch: i16,
    /// The sequence number of the first record, -1 for none.
    pub base_sequence: i32,
    /// The record count that the header states; `None` for the true one.
    pub count: Option<i32>,
    /// The records.
    pub records: Vec<OwnedRecord>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self {
            base_offset: 0,
            partition_leader_epoch: -1,
            codec: Codec::None,
            snappy_framing: SnappyFraming::default(),
            log_append_time: false,
            transactional: false,
            control: false,
            delete_horizon: false,
            last_offset_delta: None,
            base_timestamp_millis: 0,
            max_timestamp_millis: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: None,
            records: Vec::new(),
        }
    }
}

impl BatchBuilder {
    /// An empty batch that begins at `base_offset`.
    #[must_use]
    pub fn new(base_offset: i64) -> Self {
        Self { base_offset, ..Self::default() }
    }

    /// Sets the codec.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Adds a record with the next offset and no headers.
    #[must_use]
    pub fn record(mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let offset_delta = self.records.last().map_or(0, |last| last.offset_delta.saturating_add(1));
        self.records.push(OwnedRecord {
            offset_delta,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            ..OwnedRecord::default()
        });
        self
    }

    /// Adds records with values and no keys.
    #[must_use]
    pub fn values<'a>(self, values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        values.into_iter().fold(self, |batch, value| batch.record(None, Some(value)))
    }

    /// Encodes the batch.
    ///
    /// # Errors
    /// [`BatchError::OverLimit`] where a length does not fit the format's 31 bits, and
    /// [`BatchError::Compress`] where the codec fails.
    pub fn build(&self) -> Result<Bytes, BatchError> {
        let mut plain = Vec::new();
        for record in &self.records {
            record.encode(&mut plain);
        }
        let attributes = [
            (self.log_append_time, LOG_APPEND_TIME),
            (self.transactional, TRANSACTIONAL),
            (self.control, CONTROL),
            (self.delete_horizon, DELETE_HORIZON),
        ]
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(self.codec as i16, |attributes, (_, bit)| attributes | bit);
        let last_delta = self.records.last().map_or(0, |record| record.offset_delta);
        let max_delta = self.records.iter().map(|record| record.timestamp_delta_millis).max().unwrap_or(0);
        let max_timestamp = self.base_timestamp_millis.saturating_add(max_delta);

        let mut out = Vec::with_capacity(super::walk::HEADER_BYTES + plain.len());
        out.extend_from_slice(&self.base_offset.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.partition_leader_epoch.to_be_bytes());
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&attributes.to_be_bytes());
        out.extend_from_slice(&self.last_offset_delta.unwrap_or(last_delta).to_be_bytes());
        out.extend_from_slice(&self.base_timestamp_millis.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp_millis.unwrap_or(max_timestamp).to_be_bytes());
        out.extend_from_slice(&self.producer_id.to_be_bytes());
        out.extend_from_slice(&self.producer_epoch.to_be_bytes());
        out.extend_from_slice(&self.base_sequence.to_be_bytes());
        let count = self.count.unwrap_or(i32::try_from(self.records.len()).unwrap_or(i32::MAX));
        out.extend_from_slice(&count.to_be_bytes());
        if !plain.is_empty() {
            Codecs::default()
                .compress(self.codec, self.snappy_framing, &plain, &mut out)
                .map_err(|error| BatchError::Compress(error.to_string()))?;
        }
        seal(&mut out)?;
        Ok(out.into())
    }
}

impl OwnedRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut body = vec![0];
        write_i64(&mut body, self.timestamp_delta_millis);
        write_i32(&mut body, self.offset_delta);
        put(self.key.as_deref(), &mut body);
        put(self.value.as_deref(), &mut body);
        write_i64(&mut body, self.headers.len() as i64);
        for (key, value) in &self.headers {
            put(Some(key), &mut body);
            put(value.as_deref(), &mut body);
        }
        write_i64(out, body.len() as i64);
        out.extend_from_slice(&body);
    }
}

fn put(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => write_i32(out, -1),
        Some(bytes) => {
            write_i64(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

/// Stores the right checksum in a batch whose other bytes were changed by hand.
///
/// # Errors
/// [`BatchError::Malformed`] where the bytes are shorter than a batch's header.
pub fn reseal(batch: &mut [u8]) -> Result<(), BatchError> {
    if batch.len() < super::walk::HEADER_BYTES {
        return Err(BatchError::Malformed("shorter than a batch's header"));
    }
    seal(batch)
}
