//! Allocating the next segment ahead of time, and other slow work for another thread.
//!
//! The file is allocated under a temporary name and becomes a segment only when the log writes its
//! header and renames it. A chore that is late, dropped or fails costs nothing but the time that the
//! log then spends itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Disk, LogFile};
use super::notary::Notarisation;
use super::{CommitError, Durability, LogOptions, SyncHandle};
use crate::directory::allocate;

/// An allocated file that is no segment yet.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) path: PathBuf,
    pub(super) file: Arc<LogFile>,
}

/// The state of the next segment's allocation.
#[derive(Debug)]
pub(super) struct Preparing {
    plan: Plan,
    /// Numbers the temporary names, so that a late chore never meets the log's own allocation.
    count: u64,
    slot: Arc<Mutex<Slot>>,
    sealed_sync: u64,
}

#[derive(Debug, Clone)]
struct Plan {
    directory: PathBuf,
    bytes: u64,
    written: bool,
    disk: Disk,
}

#[derive(Debug)]
enum Slot {
    Empty,
    Underway,
    Ready(Next),
}

impl Preparing {
    pub(super) fn new(directory: &Path, options: &LogOptions) -> Self {
        let plan = Plan {
            directory: directory.to_owned(),
            bytes: options.segment_bytes,
            // Zeros on the disk make each sync cheaper; who never syncs needs only the room.
            written: options.durability == Durability::Durable,
            disk: options.disk.clone(),
        };
        Self { plan, count: 0, slot: Arc::new(Mutex::new(Slot::Empty)), sealed_sync: 0 }
    }

    /// The file prepared ahead, or else one allocated now.
    pub(super) fn take(&mut self) -> io::Result<Next> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *slot, Slot::Empty) {
            Slot::Ready(next) => return Ok(next),
            before => *slot = before,
        }
        drop(slot);
        let path = self.name();
        self.plan.allocate(path)
    }

    /// Removes the file prepared ahead, where there is one.
    fn discard(&mut self) {
        let before = std::mem::replace(&mut *self.slot.lock().unwrap_or_else(PoisonError::into_inner), Slot::Empty);
        if let Slot::Ready(next) = before {
            // What cannot be removed now is removed at the next opening.
            let _ = fs::remove_file(next.path);
        }
    }

    /// The allocation as work for another thread, where it is not done or under way.
    pub(super) fn chore(&mut self) -> Option<Chore> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*slot, Slot::Empty) {
            return None;
        }
        *slot = Slot::Underway;
        drop(slot);
        let allocation = Allocation { plan: self.plan.clone(), path: self.name(), slot: Arc::clone(&self.slot) };
        Some(Chore(Work::Allocate(allocation)))
    }

    /// Whether a chore for syncing the sealed segments up to `end` was handed out.
    pub(super) fn sealed_sync_underway(&self, end: u64) -> bool {
        self.sealed_sync >= end
    }

    pub(super) fn sealed_sync_begun(&mut self, end: u64) {
        self.sealed_sync = end;
    }

    fn name(&mut self) -> PathBuf {
        self.count += 1;
        self.plan.directory.join(format!("prepared-{}.tmp", self.count))
    }
}

impl Plan {
    fn allocate(&self, path: PathBuf) -> io::Result<Next> {
        let file = allocate(&path, self.bytes, self.written)?;
        Ok(Next { path, file: Arc::new(self.disk.file(file)) })
    }
}

/// Slow work that the log offers for another thread.
#[must_use = "a chore that is not run is done later by the log itself, while the shard waits"]
#[derive(Debug)]
pub struct Chore(Work);

#[derive(Debug)]
enum Work {
    Allocate(Allocation),
    Sync(SyncHandle),
    Notarise(Notarisation),
}

#[derive(Debug)]
struct Allocation {
    plan: Plan,
    path: PathBuf,
    slot: Arc<Mutex<Slot>>,
}

impl Chore {
    pub(super) fn sync(handle: SyncHandle) -> Self {
        Self(Work::Sync(handle))
    }

    pub(super) fn notarise(work: Notarisation) -> Self {
        Self(Work::Notarise(work))
    }

    /// Does it. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// What the operating system says, worth a warning. A failed allocation is tried again by the log; after
    /// a failed sync, or where the file was changed by somebody else, the log accepts nothing more.
    pub fn run(self) -> io::Result<()> {
        let plainly = |error| match error {
            CommitError::Sync(error) => error,
            other => io::Error::other(other),
        };
        match self.0 {
            Work::Sync(handle) => handle.sync().map(drop).map_err(plainly),
            Work::Notarise(work) => work.run().map_err(plainly),
            Work::Allocate(allocation) => {
                let next = allocation.plan.allocate(allocation.path.clone())?;
                let mut slot = allocation.slot.lock().unwrap_or_else(PoisonError::into_inner);
                match *slot {
                    // The log was given a file back meanwhile; one is enough.
                    Slot::Ready(_) => fs::remove_file(&next.path),
                    Slot::Empty | Slot::Underway => {
                        *slot = Slot::Ready(next);
                        Ok(())
                    }
                }
            }
        }
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        self.discard();
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*slot, Slot::Underway) {
            *slot = Slot::Empty;
        }
    }
}
