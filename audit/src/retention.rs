//! Retention: removing the oldest segments of a shard, by age or size, unless a legal hold keeps them.
//!
//! Three steps, each by its caller, so that no entry is gone before it is written down that it will be: [`plan`]
//! says which segments are due; the gateway logs that as an entry and waits until it is evidence; [`Plan::carry_out`]
//! puts a signed note ([`removed`]) in their place and then removes the files. A crash in between leaves files that
//! the next run removes. The segment that is written is never removed, nor is the last sealed one: its end is where
//! the tree goes on.
//!
//! Deciding reads the header of each segment. An entry's age is that of its segment's end, which is when the next
//! segment began. Whatever cannot be read is kept, with all that holds it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_core::words::Timestamp;

use crate::directory::{FileError, segment_path, segments, shard_directory, sync_directory};
use crate::format::Header;
use crate::index::INDEX_EXTENSION;
use crate::keys::write_atomically;
use crate::note::{NoteError, Signer, sign_with, tree_name};
use crate::read::{ReadError, SegmentReader};

pub mod hold;
pub mod removed;

use hold::{Hold, HoldError};
use removed::{Edge, Removed, removed_notes, removed_path};

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Entries older than that are removed.
    pub age_max: Option<Duration>,
    /// Bytes of segments that a shard keeps; over it the oldest are removed.
    pub bytes_max: Option<u64>,
}

impl Policy {
    /// Whether anything is ever removed.
    #[must_use]
    pub const fn removes(&self) -> bool {
        self.age_max.is_some() || self.bytes_max.is_some()
    }
}

/// Why retention does nothing.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// A file or directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The legal holds cannot be read: then everything is held.
    #[error("nothing is removed while the legal holds cannot be read: {0}")]
    Hold(#[from] HoldError),
    /// The note of an earlier removal cannot be used.
    #[error("{}: {source}", path.display())]
    Note {
        /// The note.
        path: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
}

/// Segments that follow each other and are due.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    start: Edge,
    end: Edge,
    bytes: u64,
    /// Times of the earliest and the latest entry, nearly.
    times: (i64, i64),
    files: Vec<PathBuf>,
}

/// What is to be removed from a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    directory: PathBuf,
    tree: String,
    runs: Vec<Run>,
    held: usize,
}

struct Segment {
    header: Header,
    path: PathBuf,
    bytes: u64,
}

/// What is due in a shard below `root` by `policy`, at this time. Reads headers, removes nothing.
///
/// # Errors
/// [`RetentionError`]; then nothing is due.
pub fn plan(root: &Path, shard: u32, policy: &Policy, now: Timestamp) -> Result<Plan, RetentionError> {
    let directory = shard_directory(root, shard);
    let holds = hold::active(root)?;
    let mut all = Vec::new();
    for first in segments(&directory).map_err(FileError::at(&directory))? {
        let path = segment_path(&directory, first);
        let bytes = fs::metadata(&path).map_err(FileError::at(&path))?.len();
        all.push(Segment { header: SegmentReader::open(&path)?.header().clone(), path, bytes });
    }
    let gaps: Vec<Removed> = removed_notes(&directory)
        .map_err(FileError::at(&directory))?
        .iter()
        .filter_map(|(_, note)| Removed::peek(note).ok())
        .collect();
    let mut total: u64 = all.iter().map(|segment| segment.bytes).sum();
    let mut plan = Plan { tree: String::new(), directory, runs: Vec::new(), held: 0 };
    // The last two always stay: the one that is written, and the one whose end is known only by it.
    for pair in all.windows(2).take(all.len().saturating_sub(2)) {
        let [segment, next] = pair else { continue };
        plan.tree = tree_name(&segment.header.origin, shard);
        let times = (segment.header.created_micros, next.header.created_micros.max(segment.header.created_micros));
        let old = policy.age_max.is_some_and(|age| {
            let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
            times.1 < now.0.saturating_sub(age)
        });
        if !old && policy.bytes_max.is_none_or(|max| total <= max) {
            continue;
        }
        if holds.iter().any(|hold: &Hold| hold.overlaps(times.0, times.1)) {
            plan.held += 1;
            continue;
        }
        // What follows is the next segment, or a gap. Where it is neither, something is wrong, and nothing is removed.
        let follows = |edge: &Edge| edge.number == segment.header.number + 1;
        let end = Some(edge(&next.header)).into_iter().chain(gaps.iter().map(|gap| gap.start)).find(follows);
        let Some(end) = end else { continue };
        total -= segment.bytes;
        plan.add(segment, end, times);
    }
    Ok(plan)
}

fn edge(header: &Header) -> Edge {
    Edge { number: header.number, sequence: header.first_sequence, root: header.tree.root() }
}

impl Plan {
    fn add(&mut self, segment: &Segment, end: Edge, times: (i64, i64)) {
        let start = edge(&segment.header);
        match self.runs.last_mut().filter(|run| run.end == start) {
            Some(run) => {
                run.end = end;
                run.bytes += segment.bytes;
                run.times.1 = times.1;
                run.files.push(segment.path.clone());
            }
            None => {
                let files = vec![segment.path.clone()];
                self.runs.push(Run { start, end, bytes: segment.bytes, times, files });
            }
        }
    }

    /// Whether nothing is due.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Segments that are due but held.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Segments that are due.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.runs.iter().map(|run| run.end.number - run.start.number).sum()
    }

    /// What will be removed, in a sentence, for the entry that says so.
    #[must_use]
    pub fn sentence(&self) -> String {
        let time = |micros| crate::json::time_text(micros);
        let runs: Vec<String> = self
            .runs
            .iter()
            .map(|run| {
                format!(
                    "entries {} to {} ({} segments, {} bytes, {} to {}, tree root at the end {})",
                    run.start.sequence,
                    run.end.sequence.saturating_sub(1),
                    run.end.number - run.start.number,
                    run.bytes,
                    time(run.times.0),
                    time(run.times.1),
                    crate::note::base64(&run.end.root),
                )
            })
            .collect();
        format!("removed by retention: {}", runs.join("; "))
    }

    /// Leaves the notes and removes the files. To be called once the entry that says so is evidence.
    ///
    /// # Errors
    /// [`RetentionError`]; what is left is removed by the next run.
    pub fn carry_out(&self, signer: &Signer, now: Timestamp) -> Result<(), RetentionError> {
        for run in &self.runs {
            let mut gap = Removed {
                tree: self.tree.clone(),
                start: run.start,
                end: run.end,
                bytes: run.bytes,
                time_micros: now.0,
            };
            // Gaps that touch become one: the first one's name stays.
            let mut swallowed = Vec::new();
            for (path, note) in removed_notes(&self.directory).map_err(FileError::at(&self.directory))? {
                let keys = std::slice::from_ref(signer.verifier());
                // What this key has not signed stays as it is, and is never signed by being merged.
                let Ok((other, _)) = Removed::parse(&note, keys) else { continue };
                if other.end == gap.start {
                    gap = Removed { start: other.start, bytes: gap.bytes + other.bytes, ..gap };
                } else if other.start == gap.end {
                    gap = Removed { end: other.end, bytes: gap.bytes + other.bytes, ..gap };
                } else {
                    continue;
                }
                swallowed.push(path);
            }
            let path = removed_path(&self.directory, gap.start.sequence);
            write_atomically(&path, sign_with(&gap.text(), &[signer]).as_bytes())
                .and_then(|()| sync_directory(&self.directory))
                .map_err(FileError::at(&path))?;
            for file in swallowed.iter().filter(|other| **other != path).chain(&run.files) {
                remove(file).map_err(FileError::at(file))?;
            }
        }
        sync_directory(&self.directory).map_err(FileError::at(&self.directory))?;
        Ok(())
    }
}

/// Removes files of a shard that a signed note already covers: what a crash left of an earlier run.
///
/// # Errors
/// [`RetentionError`].
pub fn finish(root: &Path, shard: u32, signer: &Signer) -> Result<u64, RetentionError> {
    let directory = shard_directory(root, shard);
    let mut done = 0;
    let firsts = segments(&directory).map_err(FileError::at(&directory))?;
    for (_, note) in removed_notes(&directory).map_err(FileError::at(&directory))? {
        let Ok((gap, _)) = Removed::parse(&note, std::slice::from_ref(signer.verifier())) else { continue };
        for first in firsts.iter().filter(|first| gap.covers(**first, **first + 1)) {
            let path = segment_path(&directory, *first);
            remove(&path).map_err(FileError::at(&path))?;
            done += 1;
        }
    }
    Ok(done)
}

/// Puts the signature of another key beside that of `old` on every note below `root`, when keys change.
pub(crate) fn countersign(root: &Path, old: &Signer, new: &Signer) -> Result<(), RetentionError> {
    for (_, directory) in crate::directory::shards(root).map_err(FileError::at(root))? {
        for (path, note) in removed_notes(&directory).map_err(FileError::at(&directory))? {
            let keys = std::slice::from_ref(old.verifier());
            let (gap, _) =
                Removed::parse(&note, keys).map_err(|source| RetentionError::Note { path: path.clone(), source })?;
            let both = sign_with(&gap.text(), &[old, new]);
            write_atomically(&path, both.as_bytes()).map_err(FileError::at(&path))?;
        }
    }
    Ok(())
}

/// Removes a file and, of a segment, its index; one that is gone already is fine.
fn remove(path: &Path) -> io::Result<()> {
    for path in [path.to_owned(), path.with_extension(INDEX_EXTENSION), path.with_extension("tgp")] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
