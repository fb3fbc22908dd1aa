//! Recordings: what sessions asked and were answered, kept by rule, so that it can be looked at again.
//!
//! One file a part of a session's recording, `shard-NNN/recordings/SESSION-PPP.tgrec`, written by the shard that
//! serves the session: a header, chunks, and an end frame ([`format`]). Each chunk is compressed by itself, so that
//! a crash costs what was not written yet and nothing before it. The shard appends an entry with the hash of the header
//! and of each chunk to its evidence ([`tidegate_core::event::RecordingNote`]); by these entries [`check`] tells an
//! altered recording from a whole one.
//!
//! Reading order: [`format`] (bytes, pure), [`seal`] (originals, for auditors alone), [`write`], [`read`],
//! [`ledger`] (what the evidence says), [`check`], [`expire`] (when their time has come), [`watch`] (who looked, where
//! no gateway could be told).
//!
//! Invariants: a reader believes no length that it reads; a chunk is written before the entry that commits to it, so
//! evidence never speaks of what a crash lost; the gateway holds no key that opens what is sealed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::directory::{shard_directory, shards};

pub mod check;
pub mod expire;
pub mod format;
pub mod ledger;
pub mod read;
pub mod seal;
#[cfg(test)]
mod tests;
pub mod watch;
pub mod write;

/// The ending of a recording's name.
pub const RECORDING_EXTENSION: &str = "tgrec";
/// The folder of recordings within a shard's.
const RECORDINGS: &str = "recordings";

/// Which recording: the session and the part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordingId {
    /// The session's id.
    pub session: String,
    /// The part, from 1.
    pub part: u32,
}

impl std::fmt::Display for RecordingId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:03}", self.session, self.part)
    }
}

impl RecordingId {
    /// From a name without its ending; `None` where it is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (session, part) = name.rsplit_once('-')?;
        let digits = part.len() >= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
        let part = part.parse().ok().filter(|part| *part > 0 && digits)?;
        let id = Self { session: uuid::Uuid::try_parse(session).ok()?.to_string(), part };
        // One name only: no capitals, no braces, no other number of digits.
        (id.to_string() == name).then_some(id)
    }
}

/// The folder of a shard's recordings.
#[must_use]
pub fn recordings_directory(root: &Path, shard: u32) -> PathBuf {
    shard_directory(root, shard).join(RECORDINGS)
}

/// The file of a recording.
#[must_use]
pub fn recording_path(root: &Path, shard: u32, id: &RecordingId) -> PathBuf {
    recordings_directory(root, shard).join(format!("{id}.{RECORDING_EXTENSION}"))
}

/// A recording's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The shard.
    pub shard: u32,
    /// Which recording its name says it is; `None` for a name that is none.
    pub id: Option<RecordingId>,
    /// The file.
    pub path: PathBuf,
}

/// The files of a shard's recordings, in the order of their names.
///
/// # Errors
/// What the operating system says; a folder that is not there is empty.
pub fn of_shard(root: &Path, shard: u32) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(recordings_directory(root, shard)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != RECORDING_EXTENSION) {
            continue;
        }
        let id = path.file_stem().and_then(|stem| RecordingId::parse(stem.to_str()?));
        found.push(Found { shard, id, path });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The files of all recordings below `root`.
///
/// # Errors
/// What the operating system says.
pub fn list(root: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for (shard, _) in shards(root)? {
        found.extend(of_shard(root, shard)?);
    }
    Ok(found)
}
