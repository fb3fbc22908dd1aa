//! An inspection of record batches, in one go or in steps.
//!
//! A shard serves its connections on one thread, so what takes longer than a fraction of a
//! millisecond has to be done in parts: an [`Inspection`] says how far it has come, and
//! [`Inspector::step`] goes on with it until its share of work is used up. A step ends between two
//! records. What cannot be divided is one batch's checksum, decompression and compression, and the
//! scan of a batch that decompresses to more than [`RETAINED_BYTES_MAX`]: its plain bytes are not
//! kept between steps, or as many connections could hold as many of them.

use bytes::Bytes;

use super::codec::{self, Codec, Codecs, Plain};
use super::rewrite::{self, Edited};
use super::walk::{self, BatchHeader, HEADER_BYTES, RawRecord};
use super::{BatchError, Inspect, Inspected, Known, Summary};
use crate::limits::Limits;

/// Decompression buffers above this are let go after use, so that one large batch does not weigh
/// on the shard for ever.
const RETAINED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a record costs besides its bytes, counted in bytes scanned.
const RECORD_WORK: usize = 32;
/// What an edited record costs besides its bytes.
const EDIT_WORK: usize = 256;
/// A checksum and a copy are that many times cheaper than a scan.
const COPY_SHARE: usize = 8;
/// Compressing a byte costs as much as scanning that many.
const COMPRESS_WORK: usize = 4;

/// Records on their way through an [`Inspector`], and how far they have come.
#[derive(Debug)]
pub struct Inspection {
    records: Bytes,
    /// Where the batch under way begins: all before it is done.
    at: usize,
    /// What the batches that are done amount to.
    summary: Summary,
    /// They, as they became; empty as long as nothing is edited.
    rewritten: Vec<u8>,
    open: Option<Open>,
}

/// A batch under way.
#[derive(Debug)]
struct Open {
    header: BatchHeader,
    codec: Codec,
    /// Its records decompressed; `None` where they stand in the batch as they are.
    plain: Option<Plain>,
    /// Where the next record begins in the payload.
    at: usize,
    /// Records still to be shown.
    left: u32,
    edits: Vec<Edited>,
}

/// What comes next in an inspection.
enum Next {
    Batch(Open),
    /// The work is used up.
    Later,
    End,
}

impl Inspection {
    /// Begins with the batches in `records`.
    #[must_use]
    pub fn new(records: Bytes) -> Self {
        Self { records, at: 0, summary: Summary::default(), rewritten: Vec::new(), open: None }
    }

    /// What came of the batches that are done: of all of them once [`Inspector::step`] said so, of
    /// those before the one that it failed at otherwise. What is behind them is cut off.
    #[must_use]
    pub fn finish(self) -> Inspected {
        let Self { records, at, summary, rewritten, .. } = self;
        let changed = !rewritten.is_empty() || at < records.len();
        let records = if rewritten.is_empty() { records.slice(..at) } else { rewritten.into() };
        Inspected { records, changed, summary }
    }
}

/// Walks and rewrites record batches, and keeps its buffers between them.
#[derive(Debug, Default)]
pub struct Inspector {
    codecs: Codecs,
    pub(super) plain: Plain,
}

impl Inspector {
    /// Walks every batch in `records`, shows every data record to `inspect`, and rewrites what it
    /// edits. Control batches pass as they are and unseen; a partial tail is cut off.
    ///
    /// # Errors
    /// [`BatchError`] at the first batch that cannot be walked. Records before it have been shown.
    pub fn inspect(
        &mut self,
        records: &Bytes,
        limits: &Limits,
        inspect: &mut dyn Inspect,
    ) -> Result<Inspected, BatchError> {
        let mut inspection = Inspection::new(records.clone());
        let mut work = usize::MAX;
        while !self.step(&mut inspection, limits, inspect, &mut work)? {
            work = usize::MAX;
        }
        Ok(inspection.finish())
    }

    /// Goes on with `inspection` as [`Inspector::inspect`] would, until it is done or `work` is used
    /// up. Returns whether it is done. `work` is counted in bytes scanned, and what was done is
    /// taken off it; a step with any work left gets at least one record further.
    ///
    /// # Errors
    /// [`BatchError`] at the first batch that cannot be walked. The inspection is over then;
    /// [`Inspection::finish`] yields the batches before it.
    pub fn step(
        &mut self,
        inspection: &mut Inspection,
        limits: &Limits,
        inspect: &mut dyn Inspect,
        work: &mut usize,
    ) -> Result<bool, BatchError> {
        loop {
            let mut open = match inspection.open.take() {
                Some(open) => open,
                None => match self.open(inspection, limits, inspect, work)? {
                    Next::Batch(open) => open,
                    Next::Later => return Ok(false),
                    Next::End => return Ok(true),
                },
            };
            if !show(&inspection.records[inspection.at..], &mut open, limits, inspect, work)? {
                inspection.open = Some(open);
                return Ok(false);
            }
            self.close(inspection, open, inspect, work)?;
        }
    }

    /// Opens the next batch that has records to show; passes those that have none or are known.
    fn open(
        &mut self,
        inspection: &mut Inspection,
        limits: &Limits,
        inspect: &mut dyn Inspect,
        work: &mut usize,
    ) -> Result<Next, BatchError> {
        while *work > 0 {
            let Some(header) = walk::header(&inspection.records[inspection.at..])? else { return Ok(Next::End) };
            let batch = &inspection.records[inspection.at..inspection.at + header.total];
            *work = work.saturating_sub(RECORD_WORK + batch.len() / COPY_SHARE);
            let known =
                if header.is_control() { None } else { inspect.recall(header.base_offset, &batch[walk::at::MAGIC..]) };
            match known {
                Some(Known::Same) => {
                    inspection.pass(&header);
                    continue;
                }
                Some(Known::Became(content)) => {
                    inspection.replace(&header, &content)?;
                    continue;
                }
                None => {}
            }
            if crc_fast::crc32_iscsi(&batch[walk::at::ATTRIBUTES..]) != header.crc {
                return Err(BatchError::Crc);
            }
            if header.count > limits.batch_records_max {
                let max = u64::from(limits.batch_records_max);
                return Err(BatchError::OverLimit { limit: "batch_records_max", max });
            }
            let stored = &batch[HEADER_BYTES..];
            // What compaction leaves of a batch that lost its last record is a header alone.
            if header.is_control() || (header.count == 0 && stored.is_empty()) {
                inspection.pass(&header);
                continue;
            }
            let codec = header.codec()?;
            let mut plain = None;
            if codec != Codec::None {
                let limit = limits.batch_decompressed_bytes_max as usize;
                if let Err(error) = self.codecs.decompress(codec, stored, limit, &mut self.plain) {
                    self.plain.shrink(RETAINED_BYTES_MAX);
                    return Err(error);
                }
                *work = work.saturating_sub(self.plain.written().len());
                plain = Some(std::mem::take(&mut self.plain));
            }
            return Ok(Next::Batch(Open { header, codec, plain, at: 0, left: header.count, edits: Vec::new() }));
        }
        Ok(Next::Later)
    }

    /// Ends a batch whose records were all shown: appends it as it became.
    fn close(
        &mut self,
        inspection: &mut Inspection,
        open: Open,
        inspect: &mut dyn Inspect,
        work: &mut usize,
    ) -> Result<(), BatchError> {
        let Open { header, codec, plain, edits, .. } = open;
        let batch = inspection.records.slice(inspection.at..inspection.at + header.total);
        let content = &batch[walk::at::MAGIC..];
        if edits.is_empty() {
            inspection.pass(&header);
            inspect.learn(header.base_offset, content, None);
        } else {
            let stored = &batch[HEADER_BYTES..];
            let payload = plain.as_ref().map_or(stored, Plain::written);
            let cost = if codec == Codec::None { payload.len() / COPY_SHARE } else { payload.len() * COMPRESS_WORK };
            *work = work.saturating_sub(cost);
            let out = inspection.rewritten(batch.len());
            let start = out.len();
            let form = (codec, codec::framing(stored));
            if let Err(error) = rewrite::rewrite(&batch, form, payload, &edits, &mut self.codecs, out) {
                out.truncate(start);
                return Err(error);
            }
            inspect.learn(header.base_offset, content, out.get(start + walk::at::MAGIC..));
            inspection.done(&header);
        }
        if let Some(plain) = plain {
            self.plain = plain;
            self.plain.shrink(RETAINED_BYTES_MAX);
        }
        Ok(())
    }
}

impl Inspection {
    /// What the batches that are done became, with room for the next of `bytes` or so.
    fn rewritten(&mut self, bytes: usize) -> &mut Vec<u8> {
        if self.rewritten.is_empty() {
            self.rewritten.reserve(self.at + bytes);
            self.rewritten.extend_from_slice(&self.records[..self.at]);
        }
        &mut self.rewritten
    }

    /// The batch under way becomes one with this content.
    fn replace(&mut self, header: &BatchHeader, content: &[u8]) -> Result<(), BatchError> {
        let records = self.records.clone();
        let place = &records[self.at..self.at + walk::at::MAGIC];
        rewrite::relocate(place, content, self.rewritten(header.total))?;
        self.done(header);
        Ok(())
    }

    /// The batch under way passes as it is.
    fn pass(&mut self, header: &BatchHeader) {
        if !self.rewritten.is_empty() {
            self.rewritten.extend_from_slice(&self.records[self.at..self.at + header.total]);
        }
        self.done(header);
    }

    fn done(&mut self, header: &BatchHeader) {
        self.summary.add(header);
        self.at += header.total;
    }
}

/// Shows the records of the batch that `rest` begins with and gathers what is to be edited, until
/// all are shown (true) or the work is used up (false).
fn show(
    rest: &[u8],
    open: &mut Open,
    limits: &Limits,
    inspect: &mut dyn Inspect,
    work: &mut usize,
) -> Result<bool, BatchError> {
    let Open { header, plain, at, left, edits, .. } = open;
    let payload = plain.as_ref().map_or(&rest[HEADER_BYTES..header.total], Plain::written);
    let at_once = plain.is_some() && payload.len() > RETAINED_BYTES_MAX;
    while *left > 0 {
        if *work == 0 && !at_once {
            return Ok(false);
        }
        let raw = RawRecord::read(payload, *at, limits)?;
        *at = raw.whole.end;
        *left -= 1;
        *work = work.saturating_sub(RECORD_WORK + raw.whole.len());
        if let Some(edit) = inspect.inspect(&raw.borrow(payload, header)) {
            if let Some(error) = inspect.refusal() {
                return Err(error);
            }
            *work = work.saturating_sub(EDIT_WORK);
            edits.extend(Edited::new(payload, raw, edit));
        }
    }
    if *at != payload.len() {
        return Err(BatchError::Malformed("more bytes than the counted records"));
    }
    Ok(true)
}
