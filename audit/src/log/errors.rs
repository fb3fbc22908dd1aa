//! Why a log cannot be opened, and why entries are not evidence yet.

use std::io;
use std::path::PathBuf;

use crate::recover::RecoverError;

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
