//! Proofs that an entry is part of the evidence: C2SP's `tlog-proof`, one text file per entry.
//!
//! The proof holds the entry's whole frame as its extra data, the path of hashes from there to the root,
//! and the first checkpoint that covers the entry. Who has it and the public key needs neither the
//! evidence nor Tidegate, and learns nothing of the entries beside it.

use std::path::{Path, PathBuf};

use crate::directory::{segment_path, segments, shard_directory};
use crate::format::FrameType;
use crate::log::CHECKPOINT_FILE;
use crate::note::{Checkpoint, Note, NoteError, VerifierKey, base64};
use crate::read::{ReadError, SegmentReader, Step};
use crate::tree::{CompactRange, Hash, PartialTree, leaf_hash, root_from_inclusion};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// A segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The shard's directory cannot be listed.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There is no such entry.
    #[error("shard {shard} has no entry {sequence} here")]
    Missing {
        /// The shard.
        shard: u32,
        /// The entry.
        sequence: u64,
    },
    /// No checkpoint covers it yet.
    #[error("entry {shard}/{sequence} is not covered by a checkpoint yet: try again in a moment")]
    Unsigned {
        /// The shard.
        shard: u32,
        /// The entry.
        sequence: u64,
    },
    /// A checkpoint on the way cannot be used.
    #[error("{}: a checkpoint cannot be used: {source}; look at it with `tidegate audit verify`", path.display())]
    Checkpoint {
        /// Where it stands.
        path: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
    /// The entries are not what was signed.
    #[error(
        "the entries of shard {shard} before {size} are not those that were signed: look at them with `tidegate audit verify`"
    )]
    Changed {
        /// The shard.
        shard: u32,
        /// The checkpoint's size.
        size: u64,
    },
}

/// A proof that an entry is part of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The entry's index.
    pub index: u64,
    /// Its frame.
    pub frame: Vec<u8>,
    /// Hashes from the leaf's sibling to the root's child.
    pub path: Vec<Hash>,
    /// The checkpoint's note.
    pub checkpoint: String,
}

impl Proof {
    /// The text of a `.tlog-proof` file.
    #[must_use]
    pub fn encode(&self) -> String {
        let path: String = self.path.iter().flat_map(|hash| [base64(hash), "\n".to_owned()]).collect();
        format!(
            "c2sp.org/tlog-proof@v1\nextra {}\nindex {}\n{path}\n{}",
            base64(&self.frame),
            self.index,
            self.checkpoint
        )
    }
}

/// What was read on the way to the checkpoint.
struct Gathered {
    before: CompactRange,
    leaves: Vec<Hash>,
    frame: Option<Vec<u8>>,
    checkpoint: Option<(Checkpoint, String)>,
}

/// Proves the entry `sequence` of a shard below `root` with the first checkpoint that covers it and that one
/// of `keys` signed. Reads the entry's segment and, where that has no such checkpoint, those after it.
///
/// # Errors
/// [`ProveError`].
pub fn prove(root: &Path, shard: u32, sequence: u64, keys: &[VerifierKey]) -> Result<Proof, ProveError> {
    let directory = shard_directory(root, shard);
    // Before the segments: what it covers is then among what is read.
    let beside = beside(&directory, sequence, keys)?;
    let firsts = segments(&directory).map_err(|source| ProveError::Directory { path: directory.clone(), source })?;
    let missing = ProveError::Missing { shard, sequence };
    let Some(start) = firsts.iter().rposition(|first| *first <= sequence) else { return Err(missing) };
    let mut gathered = Gathered { before: CompactRange::default(), leaves: Vec::new(), frame: None, checkpoint: None };
    for (number, first) in firsts.iter().enumerate().skip(start) {
        let mut reader = SegmentReader::open(&segment_path(&directory, *first))?;
        if number == start {
            gathered.before = reader.header().tree.clone();
        }
        gather(&mut reader, sequence, keys, &mut gathered)?;
        if gathered.checkpoint.is_some() {
            break;
        }
    }
    let Some(frame) = gathered.frame else { return Err(missing) };
    let found = gathered.checkpoint.or(beside);
    let (checkpoint, note) = found.ok_or(ProveError::Unsigned { shard, sequence })?;
    let tree = PartialTree { before: &gathered.before, leaves: &gathered.leaves };
    let changed = ProveError::Changed { shard, size: checkpoint.size };
    let Some(path) = tree.inclusion(sequence, checkpoint.size) else { return Err(changed) };
    if root_from_inclusion(sequence, checkpoint.size, leaf_hash(&frame), &path) != Some(checkpoint.root) {
        return Err(changed);
    }
    Ok(Proof { index: sequence, frame, path, checkpoint: note })
}

/// Reads a segment up to the first checkpoint that covers the entry.
fn gather(
    reader: &mut SegmentReader,
    sequence: u64,
    keys: &[VerifierKey],
    gathered: &mut Gathered,
) -> Result<(), ProveError> {
    loop {
        match reader.next()? {
            Step::Frame(frame) if frame.kind == FrameType::Event => {
                let found = frame.sequence == sequence;
                let raw = reader.raw();
                gathered.leaves.push(leaf_hash(raw));
                if found {
                    gathered.frame = Some(raw.to_vec());
                }
            }
            Step::Frame(frame) if frame.kind == FrameType::Checkpoint && gathered.frame.is_some() => {
                let believed = believe(frame.body, keys);
                let checkpoint =
                    believed.map_err(|source| ProveError::Checkpoint { path: reader.path().into(), source })?;
                if checkpoint.0.size > sequence {
                    gathered.checkpoint = Some(checkpoint);
                    return Ok(());
                }
            }
            Step::Frame(_) => {}
            Step::Sealed(_) | Step::End | Step::Torn(_) => return Ok(()),
        }
    }
}

fn believe(note: &[u8], keys: &[VerifierKey]) -> Result<(Checkpoint, String), NoteError> {
    let parsed = Note::parse(note)?;
    parsed.verify(keys)?;
    Ok((parsed.checkpoint()?, String::from_utf8_lossy(note).into_owned()))
}

/// The checkpoint beside the segments, where it covers the entry.
fn beside(directory: &Path, sequence: u64, keys: &[VerifierKey]) -> Result<Option<(Checkpoint, String)>, ProveError> {
    let path = directory.join(CHECKPOINT_FILE);
    let Ok(note) = std::fs::read(&path) else { return Ok(None) };
    let believed = believe(&note, keys).map_err(|source| ProveError::Checkpoint { path, source })?;
    Ok(Some(believed).filter(|(checkpoint, _)| checkpoint.size > sequence))
}
