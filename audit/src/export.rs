//! Entries for other systems: as OCSF events for a SIEM, or in CloudEvents' envelope; and where an export is.
//!
//! Mapping is pure. [`Source`] reads each shard from a place on, and [`Cursor`] is that place as a file: who writes
//! it only after the other side has what was read gets everything at least once, and each entry's id says where it
//! was met before.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;
use serde_json::{Value, json};
use tidegate_core::event::Event;

use crate::directory::{FileError, segment_path, segments, shards};
use crate::format::FrameType;
use crate::json::{event_json, kind_name, time_text};
use crate::keys::write_atomically;
use crate::read::{ReadError, SegmentReader, Step};
use crate::tail::Entry;

mod ocsf;
pub use ocsf::{OCSF_VERSION, ocsf};

/// An entry in CloudEvents' envelope, version 1.0, structured mode. `source` and `id` together name it for ever.
#[must_use]
pub fn cloud_event(entry: &Entry, origin: &str) -> Value {
    let Entry { shard, sequence, event } = entry;
    json!({
        "specversion": "1.0",
        "id": format!("{shard:03}-{sequence}"),
        "source": format!("//{origin}/shard-{shard:03}"),
        "type": format!("tidegate.evidence.{}", kind_name(event.kind)),
        "time": time_text(event.time_micros),
        "datacontenttype": "application/json",
        "sequence": format!("{sequence:020}"),
        "data": event_json(event, *shard, *sequence),
    })
}

/// How far an export is: the next entry of each shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<u32, u64>);

/// Why an export cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file or directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The cursor's file is none.
    #[error("{}: this is no cursor of an export", path.display())]
    Cursor {
        /// The file.
        path: PathBuf,
    },
    /// A segment cannot be written as a Parquet file.
    #[error("{}: cannot be written as Parquet: {why}", path.display())]
    Parquet {
        /// The segment.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Entries are damaged.
    #[error("{}: shard {shard}, entry {sequence} is damaged: {why}; look at it with `tidegate audit verify`", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// The shard.
        shard: u32,
        /// The entry.
        sequence: u64,
        /// What is wrong.
        why: String,
    },
}

impl Cursor {
    /// Reads a cursor; one at the beginning where there is no file.
    ///
    /// # Errors
    /// [`ExportError`]: a file that is no cursor is not taken for the beginning.
    pub fn load(path: &Path) -> Result<Self, ExportError> {
        match fs::read(path) {
            Ok(bytes) => Self::parse(&bytes, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(FileError::at(path)(source).into()),
        }
    }

    /// From a cursor's bytes; `path` is where they are from.
    ///
    /// # Errors
    /// [`ExportError::Cursor`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, ExportError> {
        serde_json::from_slice(bytes).map(Self).map_err(|_| ExportError::Cursor { path: path.to_owned() })
    }

    /// A cursor's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // A map of numbers is always JSON.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn store(&self, path: &Path) -> Result<(), FileError> {
        write_atomically(path, &self.encode()).map_err(FileError::at(path))
    }

    /// The next entry of a shard.
    #[must_use]
    pub fn of(&self, shard: u32) -> u64 {
        self.0.get(&shard).copied().unwrap_or_default()
    }

    /// Passes an entry.
    pub fn pass(&mut self, entry: &Entry) {
        self.pass_to(entry.shard, entry.sequence.saturating_add(1));
    }

    /// Passes all entries of a shard before `next`.
    pub fn pass_to(&mut self, shard: u32, next: u64) {
        let place = self.0.entry(shard).or_default();
        *place = (*place).max(next);
    }
}

/// Entries from a cursor on, shard by shard, each shard in order.
#[derive(Debug)]
pub struct Source {
    root: PathBuf,
    cursor: Cursor,
    readers: BTreeMap<u32, SegmentReader>,
    /// The gateway's name, from the segment read last.
    origin: String,
}

impl Source {
    /// Reads what is below `root` from `cursor` on.
    #[must_use]
    pub fn new(root: &Path, cursor: Cursor) -> Self {
        Self { root: root.to_owned(), cursor, readers: BTreeMap::new(), origin: String::new() }
    }

    /// Where the next entries begin.
    #[must_use]
    pub const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The gateway's name, once an entry was read.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Up to `most` entries; none where there is nothing more at the moment.
    ///
    /// # Errors
    /// [`ExportError`]. Where entries are damaged nothing is passed over: an export that lacked some would not show it.
    pub fn read(&mut self, most: usize) -> Result<Vec<Entry>, ExportError> {
        let mut entries = Vec::new();
        let root = self.root.clone();
        let found = shards(&root).map_err(FileError::at(&root))?;
        for (shard, directory) in found {
            while entries.len() < most && self.step(shard, &directory, &mut entries, most)? {}
        }
        Ok(entries)
    }

    /// Reads on in a shard's segment; false where there is nothing more in the shard.
    fn step(
        &mut self,
        shard: u32,
        directory: &Path,
        entries: &mut Vec<Entry>,
        most: usize,
    ) -> Result<bool, ExportError> {
        let next = self.cursor.of(shard);
        let mut reader = match self.readers.remove(&shard) {
            Some(reader) => reader,
            None => match open(directory, next)? {
                Some(reader) => reader,
                None => return Ok(false),
            },
        };
        self.origin.clone_from(&reader.header().origin);
        let mut looked_again = false;
        loop {
            if entries.len() >= most {
                self.readers.insert(shard, reader);
                return Ok(true);
            }
            let path = reader.path().to_owned();
            let damaged = |sequence, why: String| ExportError::Damaged { path: path.clone(), shard, sequence, why };
            let (first, expected) = (reader.header().first_sequence, reader.next_sequence());
            // Why the segment has no seal, where it has none.
            let unsealed = match reader.next()? {
                Step::Frame(frame) if frame.kind == FrameType::Event => {
                    let sequence = frame.sequence;
                    let event = Event::decode(frame.body).map_err(|error| damaged(sequence, error.to_string()))?;
                    // Before the cursor, in the segment where it lies.
                    if sequence >= next {
                        let entry = Entry { shard, sequence, event };
                        self.cursor.pass(&entry);
                        entries.push(entry);
                    }
                    continue;
                }
                Step::Frame(_) => continue,
                Step::Sealed(_) => None,
                Step::End => Some("the segment was never sealed".to_owned()),
                Step::Torn(damage) => Some(damage.to_string()),
            };
            if !follows(directory, first)? {
                // A write under way, or the next segment is not there yet: asked again later.
                self.readers.insert(shard, reader);
                return Ok(false);
            }
            if let Some(why) = unsealed {
                // The look may have been before the last frames and the seal; only a second one is the last word.
                if looked_again {
                    return Err(damaged(expected, why));
                }
                looked_again = true;
                continue;
            }
            self.cursor.pass_to(shard, expected);
            return Ok(true);
        }
    }
}

/// Whether a segment follows the one that begins there.
fn follows(directory: &Path, first: u64) -> Result<bool, ExportError> {
    let all = segments(directory).map_err(FileError::at(directory))?;
    Ok(all.last().is_some_and(|last| *last > first))
}

/// The segment with the entry, or the first one after it, where retention removed that.
fn open(directory: &Path, sequence: u64) -> Result<Option<SegmentReader>, ExportError> {
    let all = segments(directory).map_err(FileError::at(directory))?;
    let place = all.iter().rposition(|first| *first <= sequence);
    let mut from = place.and_then(|place| all.get(place..)).unwrap_or(&all).iter();
    for first in from.by_ref() {
        match SegmentReader::open(&segment_path(directory, *first)) {
            // Removed since it was listed.
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
            // The cursor may be behind a gap's beginning: the segment before ends before it.
            Ok(reader) => return Ok(Some(reader)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
