//! Which keys are trusted, in the order of their use, and where each one's use ends.
//!
//! From the keys that were given, the notes of rotations lead to all others of the chain, forwards and backwards:
//! both keys of a rotation have signed it, so each vouches for the other.

use std::io;
use std::path::Path;

use super::{Finding, Kind, Wanted, place};
use crate::keys::rotation::{Rotation, rotations};
use crate::note::{Checkpoint, Note, NoteError, VerifierKey};

/// Trusted keys.
#[derive(Debug, Default)]
pub(super) struct Trust {
    /// In the order of their use.
    pub(super) keys: Vec<VerifierKey>,
    rotations: Vec<Rotation>,
}

impl Trust {
    /// The keys given and those that the rotations below `root` lead to. What cannot be followed is a finding.
    pub(super) fn new(root: &Path, given: &[VerifierKey], findings: &mut Vec<Finding>) -> io::Result<Self> {
        let mut trust = Self { keys: given.to_vec(), rotations: Vec::new() };
        let mut open = Vec::new();
        for (path, rotation) in rotations(root)? {
            match rotation {
                Ok(rotation) => open.push((path, rotation)),
                Err(error) => findings.push(place(Kind::Signature, 0, &path, 0, 0, error.to_string())),
            }
        }
        // Each round follows at least one, or the last one is reached.
        while let Some(next) = open.iter().position(|(_, rotation)| trust.knows(rotation)) {
            let (path, rotation) = open.remove(next);
            if let Err(why) = trust.follow(rotation) {
                findings.push(place(Kind::Signature, 0, &path, 0, 0, why));
            }
        }
        for (path, rotation) in open {
            let detail = format!("neither {} nor {} is trusted here", rotation.old, rotation.new);
            findings.push(place(Kind::Signature, 0, &path, 0, 0, detail));
        }
        Ok(trust)
    }

    fn index(&self, key: &VerifierKey) -> Option<usize> {
        self.keys.iter().position(|known| known == key)
    }

    fn knows(&self, rotation: &Rotation) -> bool {
        self.index(&rotation.old).is_some() || self.index(&rotation.new).is_some()
    }

    fn follow(&mut self, rotation: Rotation) -> Result<(), String> {
        if self.rotations.iter().any(|other| other.old == rotation.old || other.new == rotation.new) {
            return Err(format!(
                "another rotation names {} or {} too: one of them is forged",
                rotation.old, rotation.new
            ));
        }
        match (self.index(&rotation.old), self.index(&rotation.new)) {
            (Some(old), Some(new)) if old > new => return Err("the keys replace each other in a circle".to_owned()),
            (Some(_), Some(_)) => {}
            (Some(old), None) => self.keys.insert(old + 1, rotation.new.clone()),
            (None, new) => self.keys.insert(new.unwrap_or_default(), rotation.old.clone()),
        }
        self.rotations.push(rotation);
        Ok(())
    }

    /// The keys whose use has not ended.
    pub(super) fn current_keys(&self) -> Vec<VerifierKey> {
        let ended = |key: &&VerifierKey| self.rotations.iter().any(|rotation| rotation.old == **key);
        self.keys.iter().filter(|key| !ended(key)).cloned().collect()
    }

    /// How many rotations the chain has.
    pub(super) fn rotations(&self) -> usize {
        self.rotations.len()
    }

    /// Up to how many entries of a shard a key may sign; `None` where its use has not ended.
    pub(super) fn end_of(&self, key: usize, shard: u32) -> Option<u64> {
        let key = self.keys.get(key)?;
        let rotation = self.rotations.iter().find(|rotation| rotation.old == *key)?;
        Some(rotation.ends.get(&shard).map_or(0, |end| end.size))
    }

    /// The same of the key in a segment's header.
    pub(super) fn end_of_signer(&self, key: &VerifierKey, shard: u32) -> Option<u64> {
        self.end_of(self.index(key)?, shard)
    }

    /// What the rotations say of trees.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (u32, Wanted)> {
        self.rotations.iter().flat_map(|rotation| {
            rotation.ends.iter().map(|(shard, end)| {
                let source = format!("the announcement of key {}", rotation.number);
                (*shard, Wanted { size: end.size, root: end.root, source, external: false })
            })
        })
    }

    /// A checkpoint signed by a trusted key, and by which.
    pub(super) fn believe(&self, bytes: &[u8]) -> Result<(Checkpoint, usize), NoteError> {
        let note = Note::parse(bytes)?;
        let (_, key) = note.verify(&self.keys)?;
        Ok((note.checkpoint()?, key))
    }
}
