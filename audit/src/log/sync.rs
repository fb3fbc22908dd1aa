//! How far the evidence reaches on the disk, and reaching further: on another thread where that is wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::disk::LogFile;
use super::errors::CommitError;

/// How far the evidence reaches: every entry before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub(super) u64);

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

/// What the log and its handles share.
#[derive(Debug, Default)]
pub(super) struct SyncState {
    /// Every entry before this is on the disk.
    pub(super) synced: AtomicU64,
    /// A sync failed: nothing is accepted any more.
    pub(super) failed: AtomicBool,
}

/// Files to be synced: what makes everything before its watermark survive a loss of power.
#[derive(Debug)]
pub struct SyncHandle {
    pub(super) files: Vec<Arc<LogFile>>,
    pub(super) watermark: Watermark,
    pub(super) state: Arc<SyncState>,
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
