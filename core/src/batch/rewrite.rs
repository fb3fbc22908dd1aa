//! A batch with edited records, encoded anew.
//!
//! Kept as they were: every byte of records that nobody edited, and of edited ones the attributes,
//! timestamp delta, offset delta and header keys; of the header everything but the batch length and
//! the checksum. So base offset, last offset delta, timestamps and their type, leader epoch,
//! producer id, epoch and sequence, transactional and delete-horizon bits, codec and record count
//! all survive.
//!
//! Where the payload is not compressed and every edit keeps its field's length, the batch is copied
//! once and patched in place. Otherwise runs of untouched records are copied as they are between
//! the edited ones, and the whole is compressed again.

use std::ops::Range;

use super::codec::{Codec, Codecs, SnappyFraming};
use super::varint::write_i32;
use super::walk::{HEADER_BYTES, PREFIX_BYTES, RawRecord, at, field};
use super::{BatchError, FieldEdit, RecordEdit};

/// One record and what it becomes.
#[derive(Debug)]
pub(super) struct Edited {
    pub(super) raw: RawRecord,
    pub(super) edit: RecordEdit,
}

impl Edited {
    /// `None` where the edit says what the record already is.
    pub(super) fn new(payload: &[u8], raw: RawRecord, mut edit: RecordEdit) -> Option<Self> {
        edit.key.take_if(|key| same(payload, raw.key.as_ref(), key));
        edit.value.take_if(|value| same(payload, raw.value.as_ref(), value));
        if !edit.headers.is_empty() {
            edit.headers.sort_by_key(|(index, _)| *index);
            let mut values = header_values(payload, &raw).enumerate();
            edit.headers.retain(|(index, edit)| {
                let value = values.find(|(at, _)| at == index).map(|(_, value)| value);
                debug_assert!(value.is_some(), "an edited header exists and is edited once");
                value.is_some_and(|value| !same(payload, value.as_ref(), edit))
            });
        }
        (edit != RecordEdit::default()).then_some(Self { raw, edit })
    }

    /// Calls `patch` with where each edited field stands and its new bytes, as long as all edits
    /// keep their field's length. Whether they did.
    fn patches(&self, payload: &[u8], mut patch: impl FnMut(Range<usize>, &[u8])) -> bool {
        let mut fits = |old: Option<&Range<usize>>, new: Option<&FieldEdit>| match (old, new) {
            (_, None) => true,
            (Some(old), Some(FieldEdit::Bytes(new))) if old.len() == new.len() => {
                patch(old.clone(), new);
                true
            }
            _ => false,
        };
        fits(self.raw.key.as_ref(), self.edit.key.as_ref())
            && fits(self.raw.value.as_ref(), self.edit.value.as_ref())
            && header_values(payload, &self.raw).enumerate().all(|(index, old)| {
                let new = self.edit.headers.iter().find(|(at, _)| *at == index).map(|(_, new)| new);
                fits(old.as_ref(), new)
            })
    }

    /// Appends the record as it becomes. `body` is a buffer to work in.
    fn encode(&self, payload: &[u8], body: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), BatchError> {
        body.clear();
        body.extend_from_slice(&payload[self.raw.fixed.clone()]);
        put(payload, self.raw.key.as_ref(), self.edit.key.as_ref(), body)?;
        put(payload, self.raw.value.as_ref(), self.edit.value.as_ref(), body)?;
        // At most as many as the limit allows, which fits.
        write_i32(body, self.raw.header_count as i32);
        let mut position = self.raw.headers.start;
        let mut edits = self.edit.headers.iter().peekable();
        for (index, value) in header_values(payload, &self.raw).enumerate() {
            // The key with its length stands between the last value's end and this one's length.
            let mut key_end = position;
            field(payload, &mut key_end);
            body.extend_from_slice(&payload[position..key_end]);
            let edit = edits.next_if(|(at, _)| *at == index).map(|(_, edit)| edit);
            put(payload, value.as_ref(), edit, body)?;
            position = key_end;
            field(payload, &mut position);
        }
        write_i32(out, length(body.len())?);
        out.extend_from_slice(body);
        Ok(())
    }
}

fn same(payload: &[u8], old: Option<&Range<usize>>, new: &FieldEdit) -> bool {
    match (old, new) {
        (None, FieldEdit::Null) => true,
        (Some(old), FieldEdit::Bytes(new)) => payload[old.clone()] == **new,
        _ => false,
    }
}

/// Where each header's value stands. The walk has checked that they do.
fn header_values<'a>(payload: &'a [u8], raw: &RawRecord) -> impl Iterator<Item = Option<Range<usize>>> + 'a {
    let mut position = raw.headers.start;
    (0..raw.header_count).map(move |_| {
        field(payload, &mut position);
        field(payload, &mut position).flatten()
    })
}

fn put(
    payload: &[u8],
    old: Option<&Range<usize>>,
    new: Option<&FieldEdit>,
    out: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let bytes = match new {
        Some(FieldEdit::Null) => None,
        Some(FieldEdit::Bytes(bytes)) => Some(bytes.as_slice()),
        None => old.map(|range| &payload[range.clone()]),
    };
    match bytes {
        None => write_i32(out, -1),
        Some(bytes) => {
            write_i32(out, length(bytes.len())?);
            out.extend_from_slice(bytes);
        }
    }
    Ok(())
}

fn length(bytes: usize) -> Result<i32, BatchError> {
    i32::try_from(bytes)
        .map_err(|_| BatchError::OverLimit { limit: "rewritten batch length in 31 bits", max: i32::MAX as u64 })
}

/// Appends `batch` as it becomes with `edits` (ascending, at least one) to `out`. `payload` is the
/// batch's decompressed records; for [`Codec::None`] they are the batch's own bytes.
pub(super) fn rewrite(
    batch: &[u8],
    (codec, framing): (Codec, SnappyFraming),
    payload: &[u8],
    edits: &[Edited],
    codecs: &mut Codecs,
    out: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let start = out.len();
    if codec != Codec::None || !patch(batch, payload, edits, out) {
        out.truncate(start);
        out.extend_from_slice(&batch[..HEADER_BYTES]);
        if codec == Codec::None {
            splice(payload, edits, out)?;
        } else {
            let mut plain = Vec::with_capacity(payload.len() + payload.len() / 8);
            splice(payload, edits, &mut plain)?;
            codecs.compress(codec, framing, &plain, out).map_err(|error| BatchError::Compress(error.to_string()))?;
        }
    }
    seal(&mut out[start..])
}

/// Appends a patched copy of an uncompressed batch; `false` where an edit changes a length.
fn patch(batch: &[u8], payload: &[u8], edits: &[Edited], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(batch);
    let copy = &mut out[start + HEADER_BYTES..];
    edits.iter().all(|edited| edited.patches(payload, |range, new| copy[range].copy_from_slice(new)))
}

/// Appends the payload with the edited records in place of the old.
fn splice(payload: &[u8], edits: &[Edited], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let mut body = Vec::new();
    let mut copied = 0;
    for edited in edits {
        out.extend_from_slice(&payload[copied..edited.raw.whole.start]);
        edited.encode(payload, &mut body, out)?;
        copied = edited.raw.whole.end;
    }
    out.extend_from_slice(&payload[copied..]);
    Ok(())
}

/// Appends a batch with `content`, its magic and all that follows, in the `place` of another: what stands
/// before that one's magic, its length excepted.
pub(super) fn relocate(place: &[u8], content: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let length = length(place.len() + content.len() - PREFIX_BYTES)?;
    let start = out.len();
    out.extend_from_slice(place);
    out[start + at::BATCH_LENGTH..start + at::LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
    out.extend_from_slice(content);
    Ok(())
}

/// Writes the length and the checksum of a whole batch into its header.
pub(super) fn seal(batch: &mut [u8]) -> Result<(), BatchError> {
    let length = length(batch.len() - PREFIX_BYTES)?;
    batch[at::BATCH_LENGTH..at::LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&batch[at::ATTRIBUTES..]);
    batch[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    Ok(())
}
