//! [`ShardLog`]: the one writer of one shard's evidence.
//!
//! `append` encodes into memory; `commit` writes all that is pending with one system call. Both are
//! called on the shard's thread alone; slow work (syncing, allocating the next segment) is offered as
//! values that can be run on another thread: [`SyncHandle`] and [`Chore`]. Whoever runs none of
//! them loses speed and timely checkpoints, never safety.
//!
//! Here: what callers use. [`options`] and [`errors`]: what can be set and go wrong. [`segment`]: the file being written
//! and the one after it. [`sync`]: what is on the disk. [`prepare`]: work ahead. [`notary`]: hashing and signing.
//! [`lock`]: one writer a directory. [`disk`]: the disk, or one that fails on purpose.
//!
//! Invariants:
//! - Bytes of the file before `segment.offset` are whole frames and never change again.
//! - `pending` holds the frames `written..next_sequence`, in order and whole.
//! - The tree's leaves are the events before `written`, in order; `notary` is behind at most.
//! - A checkpoint frame's size is at most the sequence number it bears, and sizes only grow.
//! - A failed commit changes neither: it can be repeated as it is, and until it succeeds nothing
//!   that waits for it may be released.
//! - After a failed sync nothing is accepted any more: the kernel may have dropped the very pages
//!   that could not be written, so a later success would prove nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidegate_core::event::Entry;
use tidegate_core::words::Timestamp;

use crate::directory::shard_directory;
use crate::entry::append_event;
use crate::format::Header;
use crate::note::Signer;
use crate::recover::{Last, Recovery, recover, remove_prepared};
use crate::tree::CompactRange;

pub mod disk;
mod errors;
mod lock;
mod notary;
mod options;
mod prepare;
mod segment;
mod sync;
use disk::LogFile;
pub use errors::{CommitError, OpenError};
use lock::{LOCK_TRIES, lock};
pub use notary::CHECKPOINT_FILE;
use notary::{Continued, Notary};
use options::check;
pub use options::{Durability, LogOptions};
pub use prepare::Chore;
use prepare::Preparing;
use segment::{Segment, begin};
use sync::SyncState;
pub use sync::{SyncHandle, Watermark};

/// The writer of one shard's evidence. See the module's description.
pub struct ShardLog {
    directory: PathBuf,
    origin: String,
    shard: u32,
    options: LogOptions,
    segment: Segment,
    pending: Vec<u8>,
    /// Pending bytes before this are written already.
    pending_start: usize,
    next_sequence: u64,
    written: u64,
    last_time_micros: i64,
    /// Sealed segments that are not known to be synced, with the first sequence number after each.
    unsynced: Vec<(u64, Arc<LogFile>)>,
    directory_unsynced: bool,
    /// Segments that were sealed and that nobody asked about yet.
    sealed_paths: Vec<PathBuf>,
    sync: Arc<SyncState>,
    preparing: Preparing,
    notary: Notary,
    /// Holds the advisory lock until the log is dropped.
    _lock: File,
}

impl ShardLog {
    /// Opens a shard's log below `root`, creating it where there is none, repairing the end that a
    /// crash left, and locking it until the value is dropped.
    ///
    /// # Errors
    /// [`OpenError`]. Evidence is never overwritten: what cannot be read is an error.
    pub fn open(
        root: &Path,
        shard: u32,
        origin: &str,
        options: LogOptions,
        now: Timestamp,
    ) -> Result<(Self, Recovery), OpenError> {
        check(origin, &options)?;
        let directory = shard_directory(root, shard);
        let io = |source| OpenError::Io { directory: directory.clone(), source };
        fs::create_dir_all(&directory).map_err(io)?;
        let lock = lock(&directory, LOCK_TRIES)?;
        remove_prepared(&directory).map_err(io)?;
        let (last, mut recovery) = recover(&directory, shard)?;
        let (tree, signed) = last.as_ref().map(|last| (last.tree.clone(), last.signed)).unwrap_or_default();
        let key = options.signer.as_ref().map(|signer| signer.verifier().clone());
        let mut preparing = Preparing::new(&directory, &options);
        let (segment, sealed) = match last {
            Some(Last { file, path, header, offset, sealed, checkpoint, .. }) => {
                let capacity = file.metadata().map_err(io)?.len();
                // What it has of its time already, so that restarts do not put its end off.
                let age = u64::try_from(now.0.saturating_sub(header.created_micros)).unwrap_or_default();
                let begun = Instant::now().checked_sub(Duration::from_micros(age)).or_else(|| Some(Instant::now()));
                let begun = begun.filter(|_| recovery.next_sequence > header.first_sequence);
                let file = Arc::new(options.disk.file(file));
                (Segment { file, path, header, offset, capacity, sealed, checkpoint, begun, dirty_end: 0 }, sealed)
            }
            None => {
                let header = Header {
                    origin: origin.to_owned(),
                    shard,
                    number: 0,
                    first_sequence: 0,
                    created_micros: now.0,
                    segment_bytes: options.segment_bytes,
                    tree: CompactRange::default(),
                    signer: key.clone(),
                    index_key: options.index_key,
                };
                let next = preparing.take().map_err(io)?;
                (begin(&options.disk, &directory, &next, header).map_err(io)?, false)
            }
        };
        options.disk.sync_directory(&directory).and_then(|()| options.disk.sync_directory(root)).map_err(io)?;

        let other_origin = segment.header.origin != origin;
        recovery.origin_before = other_origin.then(|| segment.header.origin.clone());
        // A segment's tags are of one key.
        let other_index_key = segment.header.index_key != options.index_key;
        let other_signer = segment.header.signer != key;
        recovery.signer_before = segment.header.signer.clone().filter(|_| other_signer);
        // Recovery has synced what it found.
        let sync = Arc::new(SyncState { synced: AtomicU64::new(recovery.next_sequence), ..SyncState::default() });
        let continued = Continued {
            directory: &directory,
            origin,
            shard,
            tree,
            signed,
            sync: Arc::clone(&sync),
            disk: options.disk.clone(),
        };
        let notary =
            Notary::new(continued, options.signer.clone(), options.checkpoint_interval, options.checkpoint_entries_max);
        let mut log = Self {
            directory: directory.clone(),
            origin: origin.to_owned(),
            shard,
            options,
            segment,
            pending: Vec::new(),
            pending_start: 0,
            next_sequence: recovery.next_sequence,
            written: recovery.next_sequence,
            last_time_micros: now.0,
            unsynced: Vec::new(),
            directory_unsynced: false,
            sealed_paths: Vec::new(),
            sync,
            preparing,
            notary,
            _lock: lock,
        };
        if sealed || other_origin || other_signer || other_index_key {
            log.rotate().map_err(io)?;
        }
        Ok((log, recovery))
    }

    /// A segment that was sealed since it was last asked, for whoever makes something of sealed segments.
    pub fn take_sealed(&mut self) -> Option<PathBuf> {
        self.sealed_paths.pop()
    }

    /// Encodes an entry into memory and returns its sequence number. It is evidence once a
    /// [`Watermark`] covers that.
    pub fn append(&mut self, event: &impl Entry) -> u64 {
        let sequence = self.next_sequence;
        append_event(&mut self.pending, event, sequence, self.options.entry_bytes_max as usize);
        self.next_sequence += 1;
        self.last_time_micros = event.time_micros();
        sequence
    }

    /// Gives up what is pending, which cannot be written, and returns how many entries that were: their sequence
    /// numbers go to the next ones. For a caller that rather goes on without evidence than waits.
    pub fn shed(&mut self) -> u64 {
        let shed = self.next_sequence - self.written;
        if shed > 0 && !self.segment.sealed {
            // A part of it may have been written: nothing may be read there before other frames stand in its place.
            let end = self.segment.offset + self.pending_bytes() as u64;
            self.segment.dirty_end = self.segment.dirty_end.max(end.min(self.segment.capacity));
        }
        self.pending.clear();
        self.pending_start = 0;
        self.next_sequence = self.written;
        shed
    }

    /// The sequence number that the next entry gets.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// What signs the checkpoints.
    #[must_use]
    pub fn signer(&self) -> Option<Arc<Signer>> {
        self.options.signer.clone()
    }

    /// Bytes that wait for being written (`limits.evidence_pending_bytes_max` bounds them, by the caller).
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending.len() - self.pending_start
    }

    /// The shard.
    #[must_use]
    pub const fn shard(&self) -> u32 {
        self.shard
    }

    /// When an entry counts as evidence.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.options.durability
    }

    /// How far entries are written to the operating system.
    #[must_use]
    pub const fn written(&self) -> Watermark {
        Watermark(self.written)
    }

    /// Makes everything pending evidence, as the options' durability demands, and returns how far it reaches.
    /// Blocks; with [`Durability::Durable`] for a sync of the disk.
    ///
    /// # Errors
    /// [`CommitError`]; the entries stay pending.
    pub fn commit(&mut self) -> Result<Watermark, CommitError> {
        let written = self.commit_written()?;
        match self.options.durability {
            Durability::Durable => self.sync_handle().sync(),
            Durability::Written | Durability::Async => Ok(written),
        }
    }

    /// Writes everything pending to the operating system, one system call a segment, and returns how
    /// far the evidence reaches there. For [`Durability::Durable`], go on with [`ShardLog::sync_handle`].
    ///
    /// # Errors
    /// [`CommitError`]; what is not written stays pending.
    pub fn commit_written(&mut self) -> Result<Watermark, CommitError> {
        if self.sync.failed.load(Ordering::Acquire) {
            return Err(CommitError::SyncLost);
        }
        if self.notary.is_behind() {
            self.notary.catch_up()?;
        }
        self.clean_up()?;
        while self.pending_start < self.pending.len() {
            self.settle_directory()?;
            let (bytes, entries) = if self.segment.sealed { (0, 0) } else { self.fitting() };
            if bytes == 0 {
                self.rotate().map_err(|source| self.rotate_error(source))?;
                continue;
            }
            let frames = &self.pending[self.pending_start..self.pending_start + bytes];
            self.segment
                .file
                .write_all_at(frames, self.segment.offset)
                .map_err(|source| CommitError::Write { path: self.segment.path.clone(), source })?;
            self.notary.wrote(&self.segment.file, &self.segment.path, self.segment.offset, frames, entries);
            self.segment.offset += bytes as u64;
            self.segment.begun.get_or_insert_with(Instant::now);
            self.pending_start += bytes;
            self.written += entries;
        }
        self.pending.clear();
        self.pending_start = 0;
        if let Some(signed) = self.notary.take_ready()
            && let Err(error) = self.write_checkpoint(&signed)
        {
            self.notary.put_back(signed);
            return Err(error);
        }
        if self.is_rotation_due() {
            self.rotate().map_err(|source| self.rotate_error(source))?;
            self.settle_directory()?;
        }
        Ok(self.written())
    }

    /// Whether the segment is as old as it may become: the next commit, of nothing if need be, seals it.
    #[must_use]
    pub fn is_rotation_due(&self) -> bool {
        let age = self.segment.begun.filter(|_| !self.segment.sealed).map(|begun| begun.elapsed());
        age.zip(self.options.segment_age_max).is_some_and(|(age, max)| age >= max)
    }

    /// What must be synced so that everything written so far survives a loss of power. Can be sent
    /// to another thread; the log goes on meanwhile.
    #[must_use]
    pub fn sync_handle(&mut self) -> SyncHandle {
        self.forget_synced();
        let mut files: Vec<Arc<LogFile>> = self.unsynced.iter().map(|(_, file)| Arc::clone(file)).collect();
        files.push(Arc::clone(&self.segment.file));
        SyncHandle { files, watermark: Watermark(self.written), state: Arc::clone(&self.sync) }
    }

    /// Slow work that is due and can be run on another thread: allocating the next segment, syncing
    /// sealed ones. Ask after each commit; what nobody does ahead, the log does itself when it must.
    #[must_use]
    pub fn chore(&mut self) -> Option<Chore> {
        if let Some(notarisation) = self.notary.due() {
            return Some(Chore::notarise(notarisation));
        }
        self.forget_synced();
        if self.options.durability != Durability::Durable
            && let Some((end, _)) = self.unsynced.last()
            && !self.preparing.sealed_sync_underway(*end)
        {
            let files = self.unsynced.iter().map(|(_, file)| Arc::clone(file)).collect();
            let handle = SyncHandle { files, watermark: Watermark(*end), state: Arc::clone(&self.sync) };
            self.preparing.sealed_sync_begun(*end);
            return Some(Chore::sync(handle));
        }
        let half = self.segment.capacity / 2;
        if self.segment.offset > half { self.preparing.chore() } else { None }
    }

    /// Commits what is pending and syncs everything, whatever the durability.
    ///
    /// # Errors
    /// [`CommitError`]; what was not written is lost with the process.
    pub fn close(mut self) -> Result<Watermark, CommitError> {
        self.finish()
    }

    /// What [`ShardLog::close`] does, for a log that cannot be moved: commits, syncs, signs a last
    /// checkpoint and puts it beside the segments.
    ///
    /// # Errors
    /// [`CommitError`], as there.
    pub fn finish(&mut self) -> Result<Watermark, CommitError> {
        self.commit_written()?;
        let signed = self.notary.sign_now()?;
        if let Some(signed) = &signed {
            self.write_checkpoint(signed)?;
        }
        let synced = self.sync_handle().sync()?;
        match signed {
            Some(signed) => self.notary.publish(&signed).map(|()| synced),
            None => Ok(synced),
        }
    }

    /// The tree of everything written.
    ///
    /// # Errors
    /// [`CommitError`]: what was written is not in the file any more.
    pub fn tree(&mut self) -> Result<CompactRange, CommitError> {
        self.notary.catch_up()
    }

    /// Whether a checkpoint waits for the next commit.
    #[must_use]
    pub fn has_checkpoint(&self) -> bool {
        self.notary.is_ready()
    }

    /// A new segment's name must be on the disk before an entry in it counts.
    fn settle_directory(&mut self) -> Result<(), CommitError> {
        if self.directory_unsynced {
            self.options.disk.sync_directory(&self.directory).map_err(|source| self.rotate_error(source))?;
            self.directory_unsynced = false;
        }
        Ok(())
    }

    fn rotate_error(&self, source: io::Error) -> CommitError {
        CommitError::Rotate { directory: self.directory.clone(), source }
    }

    fn forget_synced(&mut self) {
        let synced = self.sync.synced.load(Ordering::Acquire);
        self.unsynced.retain(|(end, _)| *end > synced);
    }
}

#[cfg(test)]
mod tests;
