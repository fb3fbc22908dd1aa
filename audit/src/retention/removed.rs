//! What stays of segments that retention removed: one signed note per gap, in their place.
//!
//! `FIRST.tgr` bears the name that the first removed segment had, and says how far the gap reaches and the tree's
//! root at both of its ends. So what is left is still one tree from the first entry to the last, a gap that
//! nobody signed for is still tampering, and there are never more notes than gaps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::note::{Note, NoteError, VerifierKey, base64, hash_from_base64};
use crate::tree::Hash;

/// The ending of a note's name.
pub const REMOVED_EXTENSION: &str = "tgr";

/// One end of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The number of the first segment from here on.
    pub number: u64,
    /// Its first entry's sequence number.
    pub sequence: u64,
    /// The root of the tree of all entries before that.
    pub root: Hash,
}

/// Segments that were removed, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Which tree: `ORIGIN/shard-NNN`.
    pub tree: String,
    /// Where they began.
    pub start: Edge,
    /// Where what follows begins.
    pub end: Edge,
    /// Their bytes.
    pub bytes: u64,
    /// When the last of them was removed: microseconds since the Unix epoch.
    pub time_micros: i64,
}

impl Removed {
    /// How many segments.
    #[must_use]
    pub const fn segments(&self) -> u64 {
        self.end.number.saturating_sub(self.start.number)
    }

    /// Whether the entries `first..end` lie in the gap.
    #[must_use]
    pub const fn covers(&self, first: u64, end: u64) -> bool {
        self.start.sequence <= first && end <= self.end.sequence
    }

    /// The text to be signed.
    #[must_use]
    pub fn text(&self) -> String {
        let edge = |edge: &Edge| format!("{} {} {}", edge.number, edge.sequence, base64(&edge.root));
        let Self { tree, start, end, bytes, time_micros } = self;
        format!("{tree}/removed\n{}\n{}\n{bytes}\n{time_micros}\n", edge(start), edge(end))
    }

    /// Reads a note that one of `keys` has signed; the key's index.
    ///
    /// # Errors
    /// It is no such note, or nobody who is trusted has signed it.
    pub fn parse(bytes: &[u8], keys: &[VerifierKey]) -> Result<(Self, usize), NoteError> {
        let note = Note::parse(bytes)?;
        let (text, key) = note.verify(keys)?;
        Ok((Self::parse_text(text)?, key))
    }

    /// What a note says, believed or not: for readers that verify nothing.
    ///
    /// # Errors
    /// It is no such note.
    pub fn peek(bytes: &[u8]) -> Result<Self, NoteError> {
        Self::parse_text(Note::parse(bytes)?.text())
    }

    fn parse_text(text: &str) -> Result<Self, NoteError> {
        let parse = || {
            let mut lines = text.lines();
            let tree = lines.next()?.strip_suffix("/removed")?.to_owned();
            let mut edge = || {
                let mut parts = lines.next()?.splitn(3, ' ');
                let (number, sequence) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
                Some(Edge { number, sequence, root: hash_from_base64(parts.next()?)? })
            };
            let (start, end) = (edge()?, edge()?);
            let (bytes, time_micros) = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?);
            let removed = Self { tree, start, end, bytes, time_micros };
            let grows = start.number < end.number && start.sequence < end.sequence;
            (grows && removed.text() == text).then_some(removed)
        };
        parse().ok_or(NoteError::Malformed("the note is not one of removed segments"))
    }
}

/// The note of a gap that begins with this entry.
#[must_use]
pub fn removed_path(directory: &Path, first_sequence: u64) -> PathBuf {
    directory.join(format!("{first_sequence:020}.{REMOVED_EXTENSION}"))
}

/// The notes in a shard's directory, in the order of their names. Names that are none are left alone.
///
/// # Errors
/// What the operating system says.
pub fn removed_notes(directory: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == REMOVED_EXTENSION) {
            found.push(path);
        }
    }
    found.sort_unstable();
    found.into_iter().map(|path| fs::read(&path).map(|bytes| (path, bytes))).collect()
}

/// Whether a note, believed or not, says that the entries `first..end` were removed: so that whoever only reads
/// does not call a gap damage. `verify` believes signed notes alone.
#[must_use]
pub fn is_said_removed(directory: &Path, first: u64, end: u64) -> bool {
    let notes = removed_notes(directory).unwrap_or_default();
    notes.iter().any(|(_, note)| Removed::peek(note).is_ok_and(|removed| removed.covers(first, end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Signer;

    #[test]
    fn notes_say_one_thing_only() {
        let signer = Signer::from_seed("gw", &[1; 32]).unwrap();
        let keys = [signer.verifier().clone()];
        let removed = Removed {
            tree: "gw/shard-000".into(),
            start: Edge { number: 1, sequence: 10, root: [1; 32] },
            end: Edge { number: 3, sequence: 40, root: [2; 32] },
            bytes: 999,
            time_micros: -5,
        };
        let note = signer.sign(&removed.text());
        assert_eq!(Removed::parse(note.as_bytes(), &keys).unwrap(), (removed.clone(), 0));
        assert_eq!((removed.segments(), removed.covers(10, 40), removed.covers(9, 40)), (2, true, false));
        for (from, to) in [("1 10", "01 10"), ("3 40", "1 40"), ("3 40", "3 10"), ("/removed", "/other"), ("999\n", "")]
        {
            let changed = signer.sign(&removed.text().replacen(from, to, 1));
            assert!(Removed::parse(changed.as_bytes(), &keys).is_err(), "{from} → {to}");
        }
        let forged = Signer::from_seed("gw", &[2; 32]).unwrap().sign(&removed.text());
        assert_eq!(Removed::parse(forged.as_bytes(), &keys), Err(NoteError::UnknownKey));
        assert_eq!(Removed::peek(forged.as_bytes()).unwrap(), removed);
    }
}
