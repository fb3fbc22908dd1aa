//! Where things stand in a record batch: its header, and one record after the other.
//!
//! Nothing is copied or allocated here, and every position is checked against the bytes. The walk
//! is strict: a record must fill its length exactly and the last one must end where the payload
//! ends, because a client that reads on past a lying count would otherwise see unscanned bytes.

use std::ops::Range;

use super::codec::Codec;
use super::varint::{read_i32, read_i64};
use super::{BatchError, Headers, Record};
use crate::limits::Limits;

/// Bytes of a batch's header; its records follow.
pub(super) const HEADER_BYTES: usize = 61;
/// Base offset and batch length, which the batch length itself does not count.
pub(super) const PREFIX_BYTES: usize = 12;
/// Where the header's fields stand.
pub(super) mod at {
    /// `i32`: the bytes that follow it.
    pub(in crate::batch) const BATCH_LENGTH: usize = 8;
    /// `i32`
    pub(in crate::batch) const LEADER_EPOCH: usize = 12;
    /// `i8`
    pub(in crate::batch) const MAGIC: usize = 16;
    /// `u32`: CRC-32C of all that follows it.
    pub(in crate::batch) const CRC: usize = 17;
    /// `i16`: the checksum covers the bytes from here on.
    pub(in crate::batch) const ATTRIBUTES: usize = 21;
    /// `i32`
    pub(in crate::batch) const LAST_OFFSET_DELTA: usize = 23;
    /// `i64`
    pub(in crate::batch) const BASE_TIMESTAMP: usize = 27;
    /// `i64`
    pub(in crate::batch) const MAX_TIMESTAMP: usize = 35;
    /// `i32`
    pub(in crate::batch) const COUNT: usize = 57;
}
/// The only message format walked.
pub(super) const MAGIC: i8 = 2;
/// Attribute bit: every record's time is the time of the append, in the maximum timestamp's place.
pub(super) const LOG_APPEND_TIME: i16 = 1 << 3;
/// Attribute bit: part of a transaction.
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
/// Attribute bit: control records, which no consumer's application sees.
pub(super) const CONTROL: i16 = 1 << 5;
/// Attribute bit: the base timestamp is the time from which tombstones may go.
pub(super) const DELETE_HORIZON: i16 = 1 << 6;

/// What a batch's header says, as far as the walk needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchHeader {
    pub(super) base_offset: i64,
    /// Bytes of the whole batch, header included.
    pub(super) total: usize,
    pub(super) crc: u32,
    pub(super) attributes: i16,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) count: u32,
}

impl BatchHeader {
    pub(super) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(super) fn codec(&self) -> Result<Codec, BatchError> {
        Codec::from_attributes(self.attributes)
    }

    pub(super) fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Reads the header of the batch that `bytes` begins with. `None` where the bytes end before the
/// batch does: the partial tail that a fetch limit leaves.
pub(super) fn header(bytes: &[u8]) -> Result<Option<BatchHeader>, BatchError> {
    // All message formats have the magic in the same place, so an old one is told apart even where
    // the rest of it is missing.
    if let Some(&magic) = bytes.get(at::MAGIC)
        && magic as i8 != MAGIC
    {
        return Err(BatchError::Magic(magic as i8));
    }
    let Some(length) = array(bytes, at::BATCH_LENGTH).map(i32::from_be_bytes) else {
        return Ok(None);
    };
    let total = usize::try_from(length).ok().and_then(|length| length.checked_add(PREFIX_BYTES));
    let Some(total) = total.filter(|&total| total >= HEADER_BYTES) else {
        return Err(BatchError::Malformed("batch length"));
    };
    if bytes.len() < total {
        return Ok(None);
    }
    fields(bytes, total).map(Some).ok_or(BatchError::Malformed("record count"))
}

fn fields(bytes: &[u8], total: usize) -> Option<BatchHeader> {
    Some(BatchHeader {
        base_offset: i64::from_be_bytes(array(bytes, 0)?),
        total,
        crc: u32::from_be_bytes(array(bytes, at::CRC)?),
        attributes: i16::from_be_bytes(array(bytes, at::ATTRIBUTES)?),
        last_offset_delta: i32::from_be_bytes(array(bytes, at::LAST_OFFSET_DELTA)?),
        base_timestamp: i64::from_be_bytes(array(bytes, at::BASE_TIMESTAMP)?),
        max_timestamp: i64::from_be_bytes(array(bytes, at::MAX_TIMESTAMP)?),
        count: u32::try_from(i32::from_be_bytes(array(bytes, at::COUNT)?)).ok()?,
    })
}

/// Where one record's parts stand in the payload.
#[derive(Debug, Clone)]
pub(super) struct RawRecord {
    /// All of it, its length included.
    pub(super) whole: Range<usize>,
    /// Attributes, timestamp delta and offset delta: what no edit touches.
    pub(super) fixed: Range<usize>,
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<Range<usize>>,
    pub(super) value: Option<Range<usize>>,
    /// The encoded headers, without their count.
    pub(super) headers: Range<usize>,
    pub(super) header_count: u32,
}

impl RawRecord {
    /// Reads the record at `start` of `payload`.
    pub(super) fn read(payload: &[u8], start: usize, limits: &Limits) -> Result<Self, BatchError> {
        const MALFORMED: BatchError = BatchError::Malformed("a record's fields do not fit its length");
        let mut at = start;
        let length = read_i32(payload, &mut at).ok_or(BatchError::Malformed("record length"))?;
        let length = usize::try_from(length).map_err(|_| BatchError::Malformed("record length"))?;
        let end = at.checked_add(length).filter(|&end| end <= payload.len());
        let end = end.ok_or(BatchError::Malformed("a record is longer than its batch"))?;
        // Nothing of a record is read beyond its own end.
        let bytes = &payload[..end];

        let fixed_start = at;
        at += 1;
        let timestamp_delta = read_i64(bytes, &mut at).ok_or(MALFORMED)?;
        let offset_delta = read_i32(bytes, &mut at).ok_or(MALFORMED)?;
        let fixed = fixed_start..at;
        let key = field(bytes, &mut at).ok_or(MALFORMED)?;
        let value = field(bytes, &mut at).ok_or(MALFORMED)?;
        let header_count = read_i32(bytes, &mut at).ok_or(MALFORMED)?;
        let header_count = u32::try_from(header_count).map_err(|_| BatchError::Malformed("header count"))?;
        if header_count > limits.record_headers_max {
            return Err(BatchError::OverLimit {
                limit: "record_headers_max",
                max: u64::from(limits.record_headers_max),
            });
        }
        let headers_start = at;
        for _ in 0..header_count {
            // A header's key is never null.
            field(bytes, &mut at).flatten().ok_or(BatchError::Malformed("header key"))?;
            field(bytes, &mut at).ok_or(BatchError::Malformed("header value"))?;
        }
        if at != end {
            return Err(MALFORMED);
        }
        let headers = headers_start..end;
        Ok(Self { whole: start..end, fixed, timestamp_delta, offset_delta, key, value, headers, header_count })
    }

    /// The record as front ends show it.
    pub(super) fn borrow<'a>(&self, payload: &'a [u8], header: &BatchHeader) -> Record<'a> {
        let timestamp_millis = if header.attributes & LOG_APPEND_TIME != 0 {
            header.max_timestamp
        } else {
            header.base_timestamp.wrapping_add(self.timestamp_delta)
        };
        Record {
            offset: header.base_offset.wrapping_add(i64::from(self.offset_delta)),
            timestamp_millis,
            key: self.key.clone().map(|range| &payload[range]),
            value: self.value.clone().map(|range| &payload[range]),
            headers: Headers { bytes: &payload[self.headers.clone()], count: self.header_count },
        }
    }
}

/// Reads a length (-1 is null) and skips as many bytes. `None` where they do not fit.
#[inline]
pub(super) fn field(bytes: &[u8], at: &mut usize) -> Option<Option<Range<usize>>> {
    let length = read_i32(bytes, at)?;
    if length == -1 {
        return Some(None);
    }
    let end = at.checked_add(usize::try_from(length).ok()?).filter(|&end| end <= bytes.len())?;
    let range = *at..end;
    *at = end;
    Some(Some(range))
}
