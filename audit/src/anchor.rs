//! Anchors: checkpoints kept where whoever can write to the evidence cannot.
//!
//! Pure, but for reading a directory. An anchor is the checkpoint's note as it is. In an object store it has a name
//! of its own, never used twice for other bytes; what a consumer of a topic prints is notes one after the other,
//! which [`split_notes`] takes apart. [`crate::verify`] compares them.

use std::fs;
use std::io;
use std::path::Path;

use crate::note::{Checkpoint, NOTE_BYTES_MAX};

/// The ending of an anchor's name.
pub const ANCHOR_EXTENSION: &str = "checkpoint";
/// How deep anchors may lie below a directory: the origin's parts, the shard, the file.
const DEPTH_MAX: usize = 16;

/// The name of a checkpoint's anchor in an object store: `ORIGIN/shard-NNN/SIZE.checkpoint`.
#[must_use]
pub fn anchor_name(checkpoint: &Checkpoint) -> String {
    format!("{}/{:020}.{ANCHOR_EXTENSION}", checkpoint.origin, checkpoint.size)
}

/// Takes notes apart that stand one after the other, with or without blank lines between. What is no note stays as
/// it is, so that whoever reads it says so.
#[must_use]
pub fn split_notes(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut notes = Vec::new();
    let mut note: Vec<u8> = Vec::new();
    let mut signed = false;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let signature = line.starts_with("— ".as_bytes());
        if signed && !signature {
            notes.push(std::mem::take(&mut note));
            signed = false;
        }
        if note.is_empty() && line == b"\n" {
            continue;
        }
        signed |= signature;
        note.extend_from_slice(line);
    }
    if !note.is_empty() {
        notes.push(note);
    }
    notes
}

/// All anchors below a directory, in the order of their names: where each lies, and the note.
///
/// # Errors
/// What the operating system says.
pub fn in_directory(directory: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    collect(directory, DEPTH_MAX, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(directory: &Path, depth: usize, found: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == ANCHOR_EXTENSION) {
            // Longer ones are no notes; the first bytes tell as much.
            let mut bytes = fs::read(&path)?;
            bytes.truncate(NOTE_BYTES_MAX + 1);
            found.push((path.display().to_string(), bytes));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{Signer, sign_with, tree_name};

    #[test]
    fn notes_as_a_consumer_prints_them() {
        let (one, two) = (Signer::from_seed("a", &[1; 32]).unwrap(), Signer::from_seed("b", &[2; 32]).unwrap());
        let text = |size| Checkpoint { origin: tree_name("gw", 0), size, root: [3; 32] }.text();
        let notes = [sign_with(&text(1), &[&one]), sign_with(&text(2), &[&one, &two]), sign_with(&text(3), &[&two])];
        for between in ["", "\n", "\n\n"] {
            let joined = notes.join(between);
            let split = split_notes(joined.as_bytes());
            assert_eq!(split, notes.iter().map(|note| note.clone().into_bytes()).collect::<Vec<_>>(), "{between:?}");
        }
        assert_eq!(split_notes(b"no note"), [b"no note"]);
        assert!(split_notes(b"\n\n").is_empty());
    }

    #[test]
    fn anchors_below_a_directory() {
        let root = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint { origin: tree_name("gw/a", 2), size: 7, root: [0; 32] };
        let name = anchor_name(&checkpoint);
        assert_eq!(name, "gw/a/shard-002/00000000000000000007.checkpoint");
        let path = root.path().join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        fs::write(path.with_extension("other"), "y").unwrap();
        let found = in_directory(root.path()).unwrap();
        assert_eq!(found, [(path.display().to_string(), b"x".to_vec())]);
    }
}
