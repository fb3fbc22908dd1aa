//! Replacing the key that signs the evidence: its announcement, and the chain that `verify` follows.
//!
//! A rotation is a signed note (C2SP) beside the evidence, `rotation-NNNN.note`, with the signatures of both the
//! old and the new key. It names both keys and where the old one's use ends in every shard: size and root. So
//! whoever trusts one key of the chain can follow it to all others; who holds an old key can neither sign anything
//! beyond its end nor change what is before it, where the note is known.
//!
//! Rotating needs the locks of all shards: only a gateway that does not run has ends that are final. Order, so that
//! a crash at any place can be gone on from: the new key's file under a name of its own, the note, then the new
//! key takes the old one's place.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tidegate_core::words::Timestamp;

use super::{KeyError, SIGNING_FILE, VERIFIER_FILE, draw, publish, write_atomically, write_secret};
use crate::directory::{shards, sync_directory};
use crate::log::{LogOptions, OpenError, ShardLog};
use crate::note::{Note, NoteError, Signer, VerifierKey, base64, hash_from_base64, sign_with};
use crate::tree::Hash;

/// The longest chain that is followed, in rotations.
pub const ROTATIONS_MAX: usize = 10_000;

/// Where a key's use ends in a shard: every entry before it may be signed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Entries.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
}

/// What a rotation's note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Which gateway.
    pub origin: String,
    /// The rotation's number, from 1.
    pub number: u64,
    /// The key whose use ends.
    pub old: VerifierKey,
    /// The key that follows.
    pub new: VerifierKey,
    /// When, in microseconds since the Unix epoch.
    pub time_micros: i64,
    /// Where the old key's use ends, by shard. A shard that is not here has no entry signed with it.
    pub ends: BTreeMap<u32, End>,
}

impl Rotation {
    fn text(&self) -> String {
        let Self { origin, number, old, new, time_micros, ends } = self;
        let ends: String =
            ends.iter().map(|(shard, end)| format!("shard-{shard:03} {} {}\n", end.size, base64(&end.root))).collect();
        format!("{origin}/key-rotation\n{number}\n{old}\n{new}\n{time_micros}\n{ends}")
    }

    /// Reads a note, which both keys that it names must have signed.
    ///
    /// # Errors
    /// It is no such note, or a signature is missing or does not fit. Whether the keys are anybody's that is
    /// trusted is another question.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let note = Note::parse(bytes)?;
        let rotation = Self::parse_text(note.text())?;
        for key in [&rotation.old, &rotation.new] {
            note.verify(std::slice::from_ref(key))?;
        }
        Ok(rotation)
    }

    fn parse_text(text: &str) -> Result<Self, NoteError> {
        let malformed = NoteError::Malformed("the note is no key rotation");
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or_else(|| malformed.clone());
        let origin = line()?.strip_suffix("/key-rotation").ok_or_else(|| malformed.clone())?.to_owned();
        let number = line()?.parse().map_err(|_| malformed.clone())?;
        let (old, new) = (VerifierKey::parse(line()?)?, VerifierKey::parse(line()?)?);
        let time_micros = line()?.parse().map_err(|_| malformed.clone())?;
        let mut ends = BTreeMap::new();
        for line in lines {
            let mut parts = line.splitn(3, ' ');
            let mut part = || parts.next().ok_or_else(|| malformed.clone());
            let shard = part()?.strip_prefix("shard-").and_then(|shard| shard.parse().ok());
            let shard = shard.ok_or_else(|| malformed.clone())?;
            let size = part()?.parse().map_err(|_| malformed.clone())?;
            let root = hash_from_base64(part()?).ok_or_else(|| malformed.clone())?;
            ends.insert(shard, End { size, root });
        }
        let rotation = Self { origin, number, old, new, time_micros, ends };
        // Only one text says it: nothing is read in more than one way.
        if rotation.old == rotation.new || rotation.text() != text {
            return Err(malformed);
        }
        Ok(rotation)
    }
}

/// The file of a rotation's note.
#[must_use]
pub fn rotation_path(root: &Path, number: u64) -> PathBuf {
    root.join(format!("rotation-{number:04}.note"))
}

/// The rotations' notes below `root`, in the order of their names' numbers, each parsed or not.
///
/// # Errors
/// What the operating system says.
pub fn rotations(root: &Path) -> io::Result<Vec<(PathBuf, Result<Rotation, NoteError>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("rotation-")?.strip_suffix(".note")?.parse::<u64>().ok());
        if let Some(number) = number
            && path == rotation_path(root, number)
        {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    let read = |(number, path): (u64, PathBuf)| {
        let rotation = Rotation::parse(&fs::read(&path)?).and_then(|rotation| {
            let fits = rotation.number == number;
            fits.then_some(rotation).ok_or(NoteError::Malformed("the note has another number than its file"))
        });
        Ok((path, rotation))
    };
    found.into_iter().take(ROTATIONS_MAX).map(read).collect()
}

/// Why a key was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A key cannot be read or written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A shard cannot be opened; where it is in use, the gateway runs.
    #[error("{0} (stop the gateway first: the old key's use ends where its evidence ends)")]
    Open(#[from] OpenError),
    /// What was there could not be signed with the old key.
    #[error("the evidence could not be signed with the old key: {0}")]
    Sign(#[from] crate::log::CommitError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The notes of removed segments could not be signed with the new key too.
    #[error(transparent)]
    Retention(#[from] crate::retention::RetentionError),
    /// A rotation that is there cannot be gone on from.
    #[error("{}: {source}", path.display())]
    Before {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
}

/// A key that was replaced.
#[derive(Debug)]
pub struct Rotated {
    /// What was announced.
    pub rotation: Rotation,
    /// The announcement's file.
    pub note: PathBuf,
    /// Where the new key is.
    pub key: PathBuf,
}

/// Replaces the key of a gateway that does not run: signs what is there with the old key, draws a new one, and
/// announces it. The new key takes the place of the old one's file (`configured`, or the evidence directory's own),
/// or goes to `to`, and then the old one is left where it is.
///
/// # Errors
/// [`RotateError`]. Where it says so after a crash, calling it again goes on.
pub fn rotate(
    root: &Path,
    configured: Option<&Path>,
    to: Option<&Path>,
    origin: &str,
    options: &LogOptions,
    now: Timestamp,
) -> Result<Rotated, RotateError> {
    if let Some(to) = to.filter(|to| to.exists()) {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "this file exists already");
        return Err(RotateError::Io { path: to.to_owned(), source });
    }
    let loaded = super::load_or_make(root, configured, origin)?;
    let old = std::sync::Arc::new(loaded.signer);
    let options = LogOptions { signer: Some(std::sync::Arc::clone(&old)), ..options.clone() };
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RotateError::Io { path, source }
    };

    // All locks are held to the end: nobody writes on under the old key.
    let mut logs = Vec::new();
    let mut ends = BTreeMap::new();
    for (shard, _) in shards(root).map_err(io(root))? {
        let (mut log, _) = ShardLog::open(root, shard, origin, options.clone(), now)?;
        log.finish()?;
        let tree = log.tree()?;
        ends.insert(shard, End { size: tree.size(), root: tree.root() });
        logs.push(log);
    }

    let mut number = 1;
    for (path, rotation) in rotations(root).map_err(io(root))? {
        number = rotation.map_err(|source| RotateError::Before { path, source })?.number + 1;
    }
    let (new, text) = draw(old.verifier().name())?;
    // With both signatures, so that it does not matter where a crash comes.
    crate::retention::countersign(root, &old, &new)?;
    let rotation = Rotation {
        origin: origin.to_owned(),
        number,
        old: old.verifier().clone(),
        new: new.verifier().clone(),
        time_micros: now.0,
        ends,
    };
    let key = to.unwrap_or(&loaded.path).to_owned();
    let aside = if to.is_some() { key.clone() } else { next_path(&key) };
    write_secret(&aside, text.as_bytes()).map_err(io(&aside))?;
    let note = rotation_path(root, number);
    write_atomically(&note, sign_with(&rotation.text(), &[&old, &new]).as_bytes())
        .and_then(|()| sync_directory(root))
        .map_err(io(&note))?;
    if to.is_none() {
        fs::rename(&aside, &key).map_err(io(&key))?;
    }
    publish(&root.join(VERIFIER_FILE), new.verifier())?;
    Ok(Rotated { rotation, note, key })
}

fn next_path(key: &Path) -> PathBuf {
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(".next");
    key.with_file_name(name)
}

/// Sees to it that a key whose use has ended signs nothing more: completes a rotation that a crash cut off, and
/// refuses the key else. A file that was written aside without an announcement is removed.
pub(super) fn settle(root: &Path, path: &Path, signer: Signer) -> Result<Signer, KeyError> {
    let io = |path: &Path, source| KeyError::Io { path: path.to_owned(), source };
    let own = root.join(SIGNING_FILE);
    let ended = rotations(root)
        .map_err(|source| io(root, source))?
        .into_iter()
        .find_map(|(_, rotation)| rotation.ok().filter(|rotation| rotation.old == *signer.verifier()));
    let next = next_path(path);
    let waiting = match fs::read_to_string(&next) {
        Ok(text) => Some(Signer::parse(&text).map_err(|source| KeyError::Key { path: next.clone(), source })?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // A configured key's folder may be one that only its file can be read of.
        Err(_) if path != own => None,
        Err(source) => return Err(io(&next, source)),
    };
    match (ended, waiting) {
        (None, None) => Ok(signer),
        (None, Some(_)) => {
            fs::remove_file(&next).map_err(|source| io(&next, source))?;
            Ok(signer)
        }
        (Some(rotation), Some(waiting)) if rotation.new == *waiting.verifier() => {
            fs::rename(&next, path).map_err(|source| io(path, source))?;
            Ok(waiting)
        }
        (Some(rotation), _) => Err(KeyError::Ended { path: path.to_owned(), new: Box::new(rotation.new) }),
    }
}

/// The note that announces a key, for the evidence's own entry.
#[must_use]
pub fn announcement_of(root: &Path, new: &VerifierKey) -> Option<String> {
    let (path, _) = rotations(root)
        .ok()?
        .into_iter()
        .find(|(_, rotation)| rotation.as_ref().is_ok_and(|rotation| rotation.new == *new))?;
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{load_or_make, read_verifier_keys};
    use tidegate_core::event::Event;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    fn options() -> LogOptions {
        LogOptions { segment_bytes: 2 << 20, ..LogOptions::default() }
    }

    #[test]
    fn a_key_is_replaced_and_the_old_one_refused() {
        let root = tempfile::tempdir().unwrap();
        let first = load_or_make(root.path(), None, "gw").unwrap();
        let old_text = fs::read_to_string(&first.path).unwrap();
        let signer = std::sync::Arc::new(first.signer);
        let signing = LogOptions { signer: Some(signer.clone()), ..options() };
        let (mut log, _) = ShardLog::open(root.path(), 3, "gw", signing, NOW).unwrap();
        log.append(&Event::default());
        log.commit().unwrap();
        let refused = rotate(root.path(), None, None, "gw", &options(), NOW).unwrap_err().to_string();
        assert!(refused.contains("in use") && refused.contains("stop the gateway"), "{refused}");
        drop(log);

        let done = rotate(root.path(), None, None, "gw", &options(), NOW).unwrap();
        assert_eq!((done.rotation.number, done.rotation.ends[&3].size), (1, 1));
        assert_eq!(Rotation::parse(&fs::read(&done.note).unwrap()).unwrap(), done.rotation);
        let second = load_or_make(root.path(), None, "gw").unwrap();
        assert_eq!(*second.signer.verifier(), done.rotation.new);
        let keys = read_verifier_keys(&root.path().join(VERIFIER_FILE)).unwrap();
        assert_eq!(keys, [done.rotation.old.clone(), done.rotation.new.clone()]);
        assert!(announcement_of(root.path(), &done.rotation.new).unwrap().starts_with("gw/key-rotation\n1\n"));

        // The old key comes back, by a backup or by somebody who kept it.
        fs::write(&first.path, old_text).unwrap();
        let error = load_or_make(root.path(), None, "gw").unwrap_err().to_string();
        assert!(error.contains("its use has ended") && error.contains(&done.rotation.new.to_string()), "{error}");
    }

    #[test]
    fn a_rotation_that_a_crash_cut_off_is_completed_or_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let first = load_or_make(root.path(), None, "gw").unwrap();
        let old_text = fs::read_to_string(&first.path).unwrap();
        // Before the announcement: nothing has happened.
        let next = next_path(&first.path);
        fs::write(&next, draw("gw").unwrap().1).unwrap();
        assert_eq!(load_or_make(root.path(), None, "gw").unwrap().signer.verifier(), first.signer.verifier());
        assert!(!next.exists());
        // After it: the new key is taken.
        let done = rotate(root.path(), None, None, "gw", &options(), NOW).unwrap();
        fs::rename(&first.path, &next).unwrap();
        fs::write(&first.path, old_text).unwrap();
        assert_eq!(*load_or_make(root.path(), None, "gw").unwrap().signer.verifier(), done.rotation.new);
        assert!(!next.exists());
        // To a file of its own: the old one stays, and is refused.
        let elsewhere = root.path().join("elsewhere");
        let again = rotate(root.path(), None, Some(&elsewhere), "gw", &options(), NOW).unwrap();
        assert_eq!((again.rotation.number, &again.key), (2, &elsewhere));
        assert!(matches!(load_or_make(root.path(), None, "gw"), Err(KeyError::Ended { .. })));
        assert_eq!(*load_or_make(root.path(), Some(&elsewhere), "gw").unwrap().signer.verifier(), again.rotation.new);
    }

    #[test]
    fn what_is_no_rotation() {
        let signer = |seed| Signer::from_seed("gw", &[seed; 32]).unwrap();
        let (old, new, other) = (signer(1), signer(2), signer(3));
        let rotation = Rotation {
            origin: "gw".into(),
            number: 1,
            old: old.verifier().clone(),
            new: new.verifier().clone(),
            time_micros: 5,
            ends: [(0, End { size: 3, root: [7; 32] })].into(),
        };
        let text = rotation.text();
        assert_eq!(Rotation::parse(sign_with(&text, &[&old, &new]).as_bytes()).unwrap(), rotation);
        for signers in [vec![&old], vec![&new], vec![&old, &other]] {
            assert_eq!(Rotation::parse(sign_with(&text, &signers).as_bytes()), Err(NoteError::UnknownKey));
        }
        for changed in
            [text.replace("shard-000 3", "shard-0 3"), text.replace("/key-rotation", ""), format!("{text}x\n")]
        {
            assert!(Rotation::parse(sign_with(&changed, &[&old, &new]).as_bytes()).is_err(), "{changed}");
        }
        let flipped = sign_with(&text, &[&old, &new]).replace("000 3", "000 4");
        assert!(matches!(Rotation::parse(flipped.as_bytes()), Err(NoteError::BadSignature(_))));
    }
}
