//! The log's notary: keeps the tree of what was written and signs it, away from the writer's thread.
//!
//! The writer hands over copies of the frames it wrote. The notary reads the same place of the file
//! again, compares, hashes the frames into the tree and, when a checkpoint is due, syncs the files and
//! signs. So nothing is signed that does not stand in the file, is not on the disk, or is not what the
//! gateway meant to write. The checkpoint goes back to the writer, who alone writes to segments.
//!
//! Two locks: the queue's is held for moments only; the ledger's for as long as the work takes. The
//! writer takes the ledger's only at rotation and where the queue has grown beyond its bound.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::disk::{Disk, LogFile};
use super::{CommitError, SyncState};
use crate::format::{FRAME_PREFIX_BYTES, FrameType};
use crate::note::{Checkpoint, Signer, tree_name};
use crate::read::read_at_most;
use crate::tree::{CompactRange, leaf_hash};

/// The last checkpoint's file beside the segments.
pub const CHECKPOINT_FILE: &str = "checkpoint";

/// Written bytes after which hashing them is due.
const HASH_BYTES: usize = 1 << 20;
/// Written bytes after which the writer hashes itself, because nobody else does.
const BACKLOG_BYTES_MAX: usize = 8 << 20;

/// Frames that were written: whole ones, one after the other in one file.
#[derive(Debug)]
struct Written {
    file: Arc<LogFile>,
    path: PathBuf,
    offset: u64,
    bytes: Vec<u8>,
}

/// A checkpoint that was signed and waits for being written into the segment.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) size: u64,
    pub(super) note: String,
}

#[derive(Debug)]
struct Ledger {
    tree: CompactRange,
    /// The size of the last checkpoint.
    signed: u64,
    /// Files that hold leaves which are not known to be on the disk.
    unsynced: Vec<Arc<LogFile>>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    tree_name: String,
    signer: Option<Arc<Signer>>,
    queue: Mutex<Vec<Written>>,
    ledger: Mutex<Ledger>,
    /// Checkpoints to be written.
    ready: Mutex<Option<Signed>>,
    underway: AtomicBool,
    sync: Arc<SyncState>,
    disk: Disk,
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Notary {
    shared: Arc<Shared>,
    interval: Duration,
    entries_max: u64,
    queued_bytes: usize,
    /// Entries written since the last checkpoint was asked for, and when that was.
    unsigned: u64,
    asked: Instant,
}

/// What a notary continues.
pub(super) struct Continued<'a> {
    pub(super) directory: &'a Path,
    pub(super) origin: &'a str,
    pub(super) shard: u32,
    pub(super) tree: CompactRange,
    pub(super) signed: u64,
    pub(super) sync: Arc<SyncState>,
    pub(super) disk: Disk,
}

impl Notary {
    pub(super) fn new(from: Continued<'_>, signer: Option<Arc<Signer>>, interval: Duration, entries_max: u64) -> Self {
        let unsigned = from.tree.size() - from.signed.min(from.tree.size());
        let shared = Shared {
            directory: from.directory.to_owned(),
            tree_name: tree_name(from.origin, from.shard),
            signer,
            queue: Mutex::new(Vec::new()),
            ledger: Mutex::new(Ledger { tree: from.tree, signed: from.signed, unsynced: Vec::new() }),
            ready: Mutex::new(None),
            underway: AtomicBool::new(false),
            sync: from.sync,
            disk: from.disk,
        };
        Self { shared: Arc::new(shared), interval, entries_max, queued_bytes: 0, unsigned, asked: Instant::now() }
    }

    /// Takes note of frames that were written.
    pub(super) fn wrote(&mut self, file: &Arc<LogFile>, path: &Path, offset: u64, bytes: &[u8], entries: u64) {
        let mut queue = lock(&self.shared.queue);
        if queue.is_empty() {
            self.queued_bytes = 0;
        }
        self.queued_bytes += bytes.len();
        self.unsigned += entries;
        match queue.last_mut() {
            Some(last) if Arc::ptr_eq(&last.file, file) && last.offset + last.bytes.len() as u64 == offset => {
                last.bytes.extend_from_slice(bytes);
            }
            _ => {
                // All of what is mostly handed over at once: growing step by step would copy it again and again.
                let mut gathered = Vec::with_capacity(HASH_BYTES.max(bytes.len()));
                gathered.extend_from_slice(bytes);
                queue.push(Written { file: Arc::clone(file), path: path.to_owned(), offset, bytes: gathered });
            }
        }
    }

    /// Whether the writer must hash by itself before it goes on.
    pub(super) fn is_behind(&self) -> bool {
        self.queued_bytes > BACKLOG_BYTES_MAX
    }

    /// Work for another thread, where it is due and not under way.
    pub(super) fn due(&mut self) -> Option<Notarisation> {
        let sign = self.unsigned > 0
            && self.shared.signer.is_some()
            && (self.unsigned >= self.entries_max || self.asked.elapsed() >= self.interval);
        if !sign && self.queued_bytes < HASH_BYTES || self.shared.underway.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.queued_bytes = 0;
        if sign {
            self.unsigned = 0;
            self.asked = Instant::now();
        }
        Some(Notarisation { shared: Arc::clone(&self.shared), sign })
    }

    /// Hashes everything here and now.
    pub(super) fn catch_up(&mut self) -> Result<CompactRange, CommitError> {
        self.queued_bytes = 0;
        let mut ledger = lock(&self.shared.ledger);
        self.shared.work_off(&mut ledger)?;
        Ok(ledger.tree.clone())
    }

    /// Hashes everything and signs it here and now, where there is something new. Syncs nothing.
    pub(super) fn sign_now(&mut self) -> Result<Option<Signed>, CommitError> {
        self.catch_up()?;
        self.unsigned = 0;
        self.asked = Instant::now();
        // The other thread signs and puts a checkpoint where it waits in one hold of the ledger: looked at
        // before that, it could sign all of this and leave nothing here to be written.
        let mut ledger = lock(&self.shared.ledger);
        let signed = self.shared.sign(&mut ledger);
        let waiting = lock(&self.shared.ready).take();
        // What waits is older than what is signed now, if anything is.
        Ok(signed.or(waiting))
    }

    /// Gives a checkpoint back that could not be written yet.
    pub(super) fn put_back(&self, signed: Signed) {
        lock(&self.shared.ready).get_or_insert(signed);
    }

    /// A checkpoint that waits for being written.
    pub(super) fn take_ready(&self) -> Option<Signed> {
        lock(&self.shared.ready).take()
    }

    pub(super) fn is_ready(&self) -> bool {
        lock(&self.shared.ready).is_some()
    }

    /// Puts a checkpoint beside the segments. To be called once what it covers is on the disk.
    pub(super) fn publish(&self, signed: &Signed) -> Result<(), CommitError> {
        self.shared.publish(signed)
    }
}

/// Hashing, and signing where it is due, as work for another thread.
#[derive(Debug)]
pub(super) struct Notarisation {
    shared: Arc<Shared>,
    sign: bool,
}

impl Notarisation {
    /// Does it.
    pub(super) fn run(self) -> Result<(), CommitError> {
        let mut ledger = lock(&self.shared.ledger);
        // A sync that succeeds after one that failed proves nothing.
        if self.shared.sync.failed.load(Ordering::Acquire) {
            return Err(CommitError::SyncLost);
        }
        self.shared.work_off(&mut ledger)?;
        if !self.sign {
            return Ok(());
        }
        for file in std::mem::take(&mut ledger.unsynced) {
            if let Err(error) = file.sync_data() {
                self.shared.sync.failed.store(true, Ordering::Release);
                return Err(CommitError::Sync(error));
            }
        }
        let Some(signed) = self.shared.sign(&mut ledger) else { return Ok(()) };
        let published = self.shared.publish(&signed);
        *lock(&self.shared.ready) = Some(signed);
        published
    }
}

impl Drop for Notarisation {
    fn drop(&mut self) {
        self.shared.underway.store(false, Ordering::Release);
    }
}

impl Shared {
    /// Compares and hashes what is queued.
    fn work_off(&self, ledger: &mut Ledger) -> Result<(), CommitError> {
        let written = std::mem::take(&mut *lock(&self.queue));
        let mut buffer = Vec::new();
        for part in written {
            buffer.resize(part.bytes.len(), 0);
            let read = read_at_most(&part.file, &mut buffer, part.offset)
                .map_err(|source| CommitError::Write { path: part.path.clone(), source });
            let same = read.as_ref().is_ok_and(|read| *read == part.bytes.len()) && buffer == part.bytes;
            if !same {
                // The tree can no longer be continued, whatever the reason.
                self.sync.failed.store(true, Ordering::Release);
                read?;
                return Err(CommitError::Changed { path: part.path, offset: part.offset });
            }
            hash_frames(&part.bytes, &mut ledger.tree);
            if ledger.unsynced.last().is_none_or(|last| !Arc::ptr_eq(last, &part.file)) {
                ledger.unsynced.push(part.file);
            }
        }
        Ok(())
    }

    fn sign(&self, ledger: &mut Ledger) -> Option<Signed> {
        let signer = self.signer.as_ref()?;
        let size = ledger.tree.size();
        if size <= ledger.signed {
            return None;
        }
        ledger.signed = size;
        let checkpoint = Checkpoint { origin: self.tree_name.clone(), size, root: ledger.tree.root() };
        Some(Signed { size, note: signer.sign(&checkpoint.text()) })
    }

    fn publish(&self, signed: &Signed) -> Result<(), CommitError> {
        let path = self.directory.join(CHECKPOINT_FILE);
        self.disk.replace(&path, signed.note.as_bytes()).map_err(|source| CommitError::Write { path, source })
    }
}

/// Hashes the event frames among `frames`, which are whole.
fn hash_frames(frames: &[u8], tree: &mut CompactRange) {
    let mut rest = frames;
    while let Some(length) = rest.first_chunk::<4>() {
        let bytes = FRAME_PREFIX_BYTES + u32::from_le_bytes(*length) as usize;
        let Some((frame, after)) = rest.split_at_checked(bytes) else { break };
        if frame.get(FRAME_PREFIX_BYTES) == Some(&FrameType::Event.byte()) {
            tree.append(leaf_hash(frame));
        }
        rest = after;
    }
}

/// A thread that panicked while it held a lock left the state as it was between two frames.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
