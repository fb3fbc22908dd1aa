//! How a shard's log is written, and whether that is possible.

use std::sync::Arc;
use std::time::Duration;

use super::disk::Disk;
use super::errors::OpenError;
use crate::entry::ENTRY_BYTES_MIN;
use crate::format::{
    CHECKPOINT_FRAME_BYTES_MAX, FRAME_BYTES_MAX, HEADER_BYTES, IndexKeyId, ORIGIN_BYTES_MAX, SEAL_FRAME_BYTES,
};
use crate::note::Signer;

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

/// Whether a log can be written so.
///
/// # Errors
/// [`OpenError::Options`], in a sentence.
pub(super) fn check(origin: &str, options: &LogOptions) -> Result<(), OpenError> {
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
pub(super) fn reserve(options: &LogOptions) -> u64 {
    let checkpoint = if options.signer.is_some() { CHECKPOINT_FRAME_BYTES_MAX } else { 0 };
    (SEAL_FRAME_BYTES + checkpoint) as u64
}
