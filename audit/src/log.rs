//! [`ShardLog`]: the one writer of one shard's evidence.
//!
//! `append` encodes into memory; `commit` writes all that is pending with one system call. Both are
//! called on the shard's thread alone; slow work (syncing, allocating the next segment) is offered as
//! values that can be run on another thread: [`SyncHandle`] and [`Chore`]. Whoever runs none of
//! them loses speed and timely checkpoints, never safety.
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

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidegate_core::event::Entry;
use tidegate_core::words::Timestamp;

use crate::directory::{segment_path, shard_directory};
use crate::entry::{ENTRY_BYTES_MIN, append_event};
use crate::format::{
    CHECKPOINT_FRAME_BYTES_MAX, FRAME_BYTES_MAX, FRAME_PREFIX_BYTES, FrameType, HEADER_BYTES, Header, IndexKeyId,
    ORIGIN_BYTES_MAX, SEAL_FRAME_BYTES, Seal, begin_frame, finish_frame,
};
use crate::note::Signer;
use crate::recover::{Last, RecoverError, Recovery, recover, remove_prepared};
use crate::tree::{CompactRange, Hash};

pub mod disk;
mod notary;
mod prepare;
use disk::{Disk, LogFile};
pub use notary::CHECKPOINT_FILE;
use notary::{Continued, Notary, Signed};
pub use prepare::Chore;
use prepare::{Next, Preparing};

/// When an entry counts as evidence, and what was waiting for it may be released.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once written to the operating system: survives a crash of the process.
    #[default]
    Written,
    /// Once synced to the disk: survives a loss of power.
    Durable,
    /// Nobody waits: what is not yet written is lost with the process.
    Async,
}

/// How a shard's log is written.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Bytes allocated for a segment; it is sealed when the next entry does not fit.
    pub segment_bytes: u64,
    /// How long after its first entry a segment is sealed, however little is in it; never where `None`.
    pub segment_age_max: Option<Duration>,
    /// Largest entry, in bytes; over it the entry's resources are cut (`limits.evidence_entry_bytes_max`).
    pub entry_bytes_max: u32,
    /// When an entry counts as evidence.
    pub durability: Durability,
    /// What signs checkpoints; without it there are none.
    pub signer: Option<Arc<Signer>>,
    /// How long after the last checkpoint the next one is due, where there are new entries.
    pub checkpoint_interval: Duration,
    /// After how many entries one is due, however early.
    pub checkpoint_entries_max: u64,
    /// Which key makes the tags of subjects in entries, where they have some.
    pub index_key: Option<IndexKeyId>,
    /// The disk; another than the machine\'s in tests only.
    pub disk: Disk,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            segment_age_max: None,
            entry_bytes_max: 1024 * 1024,
            durability: Durability::Written,
            signer: None,
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_entries_max: 100_000,
            disk: Disk::default(),
            index_key: None,
        }
    }
}

/// How often, and after which pause, a lock is tried for again that this very process seems to hold.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// How far the evidence reaches: every entry before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(u64);

impl Watermark {
    /// Whether the entry with this sequence number is part of it.
    #[must_use]
    pub const fn covers(self, sequence: u64) -> bool {
        sequence < self.0
    }

    /// The first sequence number that is not: how many entries there are.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.0
    }

    /// The last entry's sequence number; `None` where there is no entry yet.
    #[must_use]
    pub const fn last(self) -> Option<u64> {
        self.0.checked_sub(1)
    }
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes there.
    #[error("{} is in use by another process{holder}: every gateway needs an evidence directory of its own", directory.display())]
    Locked {
        /// The shard's directory.
        directory: PathBuf,
        /// ` (pid N)`, where the lock file tells.
        holder: String,
    },
    /// What is there cannot be continued.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A file or directory cannot be created or written.
    #[error("cannot open the evidence in {}: {source}", directory.display())]
    Io {
        /// The shard's directory.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
}

/// Why entries are not evidence yet. They stay pending.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Writing failed; the same commit can be tried again.
    #[error("evidence cannot be written to {}: {source}", path.display())]
    Write {
        /// The segment.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The next segment cannot be begun; the same commit can be tried again.
    #[error("the next evidence segment cannot be begun in {}: {source}", directory.display())]
    Rotate {
        /// The shard's directory.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Syncing failed. What the disk holds is not known: the log must be opened anew.
    #[error("evidence cannot be synced to the disk: {0}; the gateway must be restarted")]
    Sync(io::Error),
    /// An earlier sync failed, or the file was changed.
    #[error("an earlier sync or check of the evidence failed; the gateway must be restarted")]
    SyncLost,
    /// Before signing, the file was read again, and something else stands there than was written.
    #[error(
        "{} was changed by somebody else after byte {offset}; nothing of it is signed, and the gateway must be restarted",
        path.display()
    )]
    Changed {
        /// The segment.
        path: PathBuf,
        /// Where the part that differs begins.
        offset: u64,
    },
}

/// The segment being written.
struct Segment {
    file: Arc<LogFile>,
    path: PathBuf,
    header: Header,
    /// The end of the last frame.
    offset: u64,
    /// How far the file may be filled, seal included.
    capacity: u64,
    /// A seal was, or may have been, written at `offset`: nothing else may go there.
    sealed: bool,
    /// Where the last checkpoint frame begins; 0 where there is none.
    checkpoint: u64,
    /// When its first entry was written; `None` where it has none.
    begun: Option<Instant>,
    /// Up to here bytes of entries that were given up may stand after `offset`.
    dirty_end: u64,
}

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

#[derive(Debug, Default)]
struct SyncState {
    synced: AtomicU64,
    failed: AtomicBool,
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

    /// Writes a checkpoint frame at the segment's end, unless there is no room: then the one that comes
    /// with the seal will do. Nothing may be pending.
    fn write_checkpoint(&mut self, signed: &Signed) -> Result<(), CommitError> {
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
    fn fitting(&self) -> (usize, u64) {
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
    fn rotate(&mut self) -> io::Result<()> {
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
    fn seal(&mut self, root: Hash) -> io::Result<()> {
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
    fn clean_up(&mut self) -> Result<(), CommitError> {
        let Segment { file, path, offset, dirty_end, sealed, .. } = &mut self.segment;
        if *dirty_end > *offset && !*sealed {
            file.fill_with_zeros(*offset, *dirty_end)
                .map_err(|source| CommitError::Write { path: path.clone(), source })?;
        }
        *dirty_end = 0;
        Ok(())
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

/// Files to be synced: what makes everything before its watermark survive a loss of power.
#[derive(Debug)]
pub struct SyncHandle {
    files: Vec<Arc<LogFile>>,
    watermark: Watermark,
    state: Arc<SyncState>,
}

impl SyncHandle {
    /// What will be on the disk once [`SyncHandle::sync`] has succeeded.
    #[must_use]
    pub const fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// Syncs. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`CommitError::Sync`]; the log accepts nothing more after that.
    pub fn sync(&self) -> Result<Watermark, CommitError> {
        for file in &self.files {
            if let Err(error) = file.sync_data() {
                self.state.failed.store(true, Ordering::Release);
                return Err(CommitError::Sync(error));
            }
        }
        self.state.synced.fetch_max(self.watermark.0, Ordering::AcqRel);
        Ok(self.watermark)
    }
}

fn check(origin: &str, options: &LogOptions) -> Result<(), OpenError> {
    let entry = options.entry_bytes_max as usize;
    if origin.is_empty() || origin.len() > ORIGIN_BYTES_MAX {
        return Err(OpenError::Options(format!("the evidence's origin must have 1 to {ORIGIN_BYTES_MAX} bytes")));
    }
    if !(ENTRY_BYTES_MIN..=FRAME_BYTES_MAX).contains(&entry) {
        return Err(OpenError::Options(format!(
            "limits.evidence_entry_bytes_max must be {ENTRY_BYTES_MIN} to {FRAME_BYTES_MAX}, not {entry}"
        )));
    }
    if options.signer.as_ref().is_some_and(|signer| signer.verifier().name().len() > ORIGIN_BYTES_MAX) {
        return Err(OpenError::Options(format!("the signing key's name must have at most {ORIGIN_BYTES_MAX} bytes")));
    }
    let least = (HEADER_BYTES + entry) as u64 + reserve(options);
    if options.segment_bytes < least {
        return Err(OpenError::Options(format!(
            "an evidence segment of {} bytes cannot hold an entry of {entry}: it needs at least {least}",
            options.segment_bytes
        )));
    }
    Ok(())
}

/// Bytes kept free at a segment's end for its seal and the checkpoint before that.
fn reserve(options: &LogOptions) -> u64 {
    let checkpoint = if options.signer.is_some() { CHECKPOINT_FRAME_BYTES_MAX } else { 0 };
    (SEAL_FRAME_BYTES + checkpoint) as u64
}

fn checkpoint_frame(signed: &Signed, next_sequence: u64, time_micros: i64) -> Vec<u8> {
    let mut frame = Vec::with_capacity(CHECKPOINT_FRAME_BYTES_MAX);
    let start = begin_frame(&mut frame, FrameType::Checkpoint, next_sequence, time_micros);
    frame.extend_from_slice(signed.note.as_bytes());
    finish_frame(&mut frame, start);
    debug_assert!(signed.size <= next_sequence && frame.len() <= CHECKPOINT_FRAME_BYTES_MAX);
    frame
}

/// Takes the shard's advisory lock and leaves the process id for whoever is refused.
fn lock(directory: &Path, patience: u32) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { directory: directory.to_owned(), source };
    let path = directory.join("lock");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = (&file).take(20).read_to_string(&mut pid);
            // A child of ours that is about to become another program holds what we held, for a moment.
            if pid.trim() == std::process::id().to_string() && patience > 0 {
                std::thread::sleep(LOCK_PAUSE);
                return lock(directory, patience - 1);
            }
            let holder = if pid.trim().is_empty() { String::new() } else { format!(" (pid {})", pid.trim()) };
            return Err(OpenError::Locked { directory: directory.to_owned(), holder });
        }
        Err(fs::TryLockError::Error(source)) => return Err(io(source)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
    Ok(file)
}

/// Writes the header and gives the file its name: from then on it is a segment.
fn begin(disk: &Disk, directory: &Path, next: &Next, header: Header) -> io::Result<Segment> {
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

#[cfg(test)]
mod tests;
