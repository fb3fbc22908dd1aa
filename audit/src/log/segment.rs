//! The segment that is being written: beginning, filling, cleaning, sealing and following it.
//!
//! Whatever fails in between, the same can be tried again: the segment in use changes only once the next one is in place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::ShardLog;
use super::disk::{Disk, LogFile};
use super::errors::CommitError;
use super::notary::Signed;
use super::options::{Durability, reserve};
use super::prepare::Next;
use crate::directory::segment_path;
use crate::format::{
    CHECKPOINT_FRAME_BYTES_MAX, FRAME_PREFIX_BYTES, FrameType, HEADER_BYTES, Header, SEAL_FRAME_BYTES, Seal,
    begin_frame, finish_frame,
};
use crate::tree::Hash;

/// The segment being written.
pub(super) struct Segment {
    pub(super) file: Arc<LogFile>,
    pub(super) path: PathBuf,
    pub(super) header: Header,
    /// The end of the last frame.
    pub(super) offset: u64,
    /// How far the file may be filled, seal included.
    pub(super) capacity: u64,
    /// A seal was, or may have been, written at `offset`: nothing else may go there.
    pub(super) sealed: bool,
    /// Where the last checkpoint frame begins; 0 where there is none.
    pub(super) checkpoint: u64,
    /// When its first entry was written; `None` where it has none.
    pub(super) begun: Option<Instant>,
    /// Up to here bytes of entries that were given up may stand after `offset`.
    pub(super) dirty_end: u64,
}

impl ShardLog {
    /// Writes a checkpoint frame at the segment's end, unless there is no room: then the one that comes
    /// with the seal will do. Nothing may be pending.
    pub(super) fn write_checkpoint(&mut self, signed: &Signed) -> Result<(), CommitError> {
        let frame = checkpoint_frame(signed, self.written, self.last_time_micros);
        let Segment { file, path, header, offset, capacity, sealed, checkpoint, .. } = &mut self.segment;
        // A checkpoint of everything may use the room of the one that would come with the seal.
        let kept = if signed.size == self.written { SEAL_FRAME_BYTES as u64 } else { reserve(&self.options) };
        let end = capacity.saturating_sub(kept);
        if *sealed || signed.size < header.first_sequence || *offset + frame.len() as u64 > end {
            return Ok(());
        }
        file.write_all_at(&frame, *offset).map_err(|source| CommitError::Write { path: path.clone(), source })?;
        *checkpoint = *offset;
        *offset += frame.len() as u64;
        Ok(())
    }

    /// How much of what is pending fits into the segment: whole frames, in bytes and entries.
    pub(super) fn fitting(&self) -> (usize, u64) {
        let end = self.segment.capacity.saturating_sub(reserve(&self.options));
        let room = end.saturating_sub(self.segment.offset);
        let pending = &self.pending[self.pending_start..];
        if pending.len() as u64 <= room {
            return (pending.len(), self.next_sequence - self.written);
        }
        let (mut bytes, mut entries) = (0, 0);
        while let Some(length) = pending.get(bytes..).and_then(|rest| rest.first_chunk::<4>()) {
            let frame = FRAME_PREFIX_BYTES + u32::from_le_bytes(*length) as usize;
            if (bytes + frame) as u64 > room {
                break;
            }
            bytes += frame;
            entries += 1;
        }
        (bytes, entries)
    }

    /// Seals the segment and begins the next. Whatever fails, it can be called again: the segment in
    /// use changes only once the next one is in place.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        if self.written == self.segment.header.first_sequence {
            return self.renew_empty();
        }
        // A sync of sealed segments that nobody did ahead is done now, so that they never pile up.
        self.forget_synced();
        if !self.unsynced.is_empty() && self.options.durability != Durability::Durable {
            for (_, file) in &self.unsynced {
                file.sync_data().inspect_err(|_| self.sync.failed.store(true, Ordering::Release))?;
            }
            self.unsynced.clear();
        }
        let tree = self.notary.catch_up().map_err(io::Error::other)?;
        debug_assert_eq!(tree.size(), self.written);
        let next = self.preparing.take()?;
        let header = Header {
            origin: self.origin.clone(),
            shard: self.shard,
            number: self.segment.header.number + 1,
            first_sequence: self.written,
            created_micros: self.last_time_micros,
            segment_bytes: self.options.segment_bytes,
            signer: self.options.signer.as_ref().map(|signer| signer.verifier().clone()),
            index_key: self.options.index_key,
            tree,
        };
        let begun = self.seal(header.tree.root()).and_then(|()| self.begin_next(&next, header));
        match begun {
            Ok(segment) => {
                let sealed = std::mem::replace(&mut self.segment, segment);
                self.sealed_paths.push(sealed.path);
                self.unsynced.push((self.written, sealed.file));
                self.directory_unsynced = true;
                Ok(())
            }
            Err(error) => {
                // Not given back: where its sync failed, nobody knows what is on the disk of it.
                let _ = fs::remove_file(&next.path);
                Err(error)
            }
        }
    }

    /// Begins the segment after one that was sealed.
    fn begin_next(&self, next: &Next, header: Header) -> io::Result<Segment> {
        if self.options.durability == Durability::Durable {
            // A segment never outlives the end of the one before it: after a loss of power that would look as if
            // entries had been removed.
            self.segment.file.sync_data().inspect_err(|_| self.sync.failed.store(true, Ordering::Release))?;
        }
        begin(&self.options.disk, &self.directory, next, header)
    }

    /// Writes the last checkpoint and the seal. `root`: of the tree of everything written.
    pub(super) fn seal(&mut self, root: Hash) -> io::Result<()> {
        if self.segment.sealed {
            // Recovered as sealed, or sealed by an attempt whose second half failed. Writing the same
            // place again would be harmless, but another time would stand in it.
            return Ok(());
        }
        let signed = self.notary.sign_now().map_err(io::Error::other)?;
        let Segment { file, header, offset, capacity, sealed, checkpoint, .. } = &mut self.segment;
        let mut frames =
            signed.map_or_else(Vec::new, |signed| checkpoint_frame(&signed, self.written, self.last_time_micros));
        if *offset + (frames.len() + SEAL_FRAME_BYTES) as u64 > *capacity {
            // A segment of a gateway that did not sign keeps less room; the next checkpoint covers it too.
            frames.clear();
        }
        let seal_offset = *offset + frames.len() as u64;
        let last_checkpoint = if frames.is_empty() { *checkpoint } else { *offset };
        let seal = Seal {
            first_sequence: header.first_sequence,
            entries: self.written - header.first_sequence,
            offset: seal_offset,
            root,
            checkpoint: last_checkpoint,
        };
        frames.extend_from_slice(&seal.encode(self.last_time_micros));
        file.write_all_at(&frames, *offset)?;
        file.set_len(*offset + frames.len() as u64)?;
        (*offset, *checkpoint, *sealed) = (seal_offset, last_checkpoint, true);
        Ok(())
    }

    /// An empty segment cannot be followed, its successor would bear the same name: it gets the
    /// header and the size that the next one would have had.
    fn renew_empty(&mut self) -> io::Result<()> {
        let signer = self.options.signer.as_ref().map(|signer| signer.verifier().clone());
        let index_key = self.options.index_key;
        let Segment { file, header, offset, capacity, sealed, .. } = &mut self.segment;
        let wanted = self.options.segment_bytes.max(*capacity);
        file.fill_with_zeros(*capacity, wanted)?;
        let renewed =
            Header { origin: self.origin.clone(), segment_bytes: wanted, signer, index_key, ..header.clone() };
        file.write_all_at(&renewed.encode(), 0)?;
        if *sealed {
            // Nobody seals an empty segment, but nothing says that one cannot be found.
            *offset = HEADER_BYTES as u64;
            file.fill_with_zeros(*offset, *offset + SEAL_FRAME_BYTES as u64)?;
        }
        file.sync_all()?;
        (*header, *capacity, *sealed) = (renewed, wanted, false);
        Ok(())
    }

    /// Zeroes what entries that were given up may have left after the last frame.
    pub(super) fn clean_up(&mut self) -> Result<(), CommitError> {
        let Segment { file, path, offset, dirty_end, sealed, .. } = &mut self.segment;
        if *dirty_end > *offset && !*sealed {
            file.fill_with_zeros(*offset, *dirty_end)
                .map_err(|source| CommitError::Write { path: path.clone(), source })?;
        }
        *dirty_end = 0;
        Ok(())
    }
}

fn checkpoint_frame(signed: &Signed, next_sequence: u64, time_micros: i64) -> Vec<u8> {
    let mut frame = Vec::with_capacity(CHECKPOINT_FRAME_BYTES_MAX);
    let start = begin_frame(&mut frame, FrameType::Checkpoint, next_sequence, time_micros);
    frame.extend_from_slice(signed.note.as_bytes());
    finish_frame(&mut frame, start);
    debug_assert!(signed.size <= next_sequence && frame.len() <= CHECKPOINT_FRAME_BYTES_MAX);
    frame
}

/// Writes the header and gives the file its name: from then on it is a segment.
pub(super) fn begin(disk: &Disk, directory: &Path, next: &Next, header: Header) -> io::Result<Segment> {
    let path = segment_path(directory, header.first_sequence);
    next.file.write_all_at(&header.encode(), 0)?;
    next.file.sync_all()?;
    // The lock keeps other gateways out, so a file of that name is not from here: never replace it.
    if path.try_exists()? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists already", path.display())));
    }
    disk.rename(&next.path, &path)?;
    Ok(Segment {
        file: Arc::clone(&next.file),
        path,
        capacity: header.segment_bytes,
        header,
        offset: HEADER_BYTES as u64,
        sealed: false,
        checkpoint: 0,
        begun: None,
        dirty_end: 0,
    })
}
