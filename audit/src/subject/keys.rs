//! Secrets of subjects' tags: one an epoch, in a file of their own.
//!
//! The file is made by the gateway, readable by its owner only. A new epoch is a new line; destroying an
//! epoch's secret leaves its number, so that it is told apart from one that never was. Nothing here can
//! promise that a disk forgets: copies and a disk's own spare blocks are their owner's matter.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::format::IndexKeyId;

/// The file's name below the evidence directory, where the configuration names none.
pub const INDEX_KEYS_FILE: &str = "index.keys";
/// Bytes of a secret.
const SECRET_BYTES: usize = 32;
/// The largest file that is read, in bytes: thousands of epochs.
const FILE_BYTES_MAX: u64 = 1 << 20;
const TITLE: &str =
    "# Secrets of the tags of subjects in Tidegate's evidence, one an epoch. Whoever has them can look for people.\n";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum IndexKeyError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line is none.
    #[error("{}: line {line} is not of the form EPOCH BASE64, with 32 bytes and epochs that ascend", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
    /// There is no such epoch, or its secret is destroyed already.
    #[error("{}: epoch {epoch} has no secret that could be destroyed", path.display())]
    NoEpoch {
        /// The file.
        path: PathBuf,
        /// The epoch.
        epoch: u32,
    },
    /// The system has no randomness.
    #[error("no random bytes for the secret of subjects' tags")]
    Random,
}

/// One epoch's secret.
#[derive(Clone)]
pub struct EpochSecret {
    /// The epoch, from 1.
    pub epoch: u32,
    /// The secret; `None` where it is destroyed.
    pub secret: Option<Zeroizing<[u8; SECRET_BYTES]>>,
}

impl EpochSecret {
    /// Names the key without giving it away.
    #[must_use]
    pub fn id(&self) -> Option<IndexKeyId> {
        let check = self.derive("tidegate subject check")?.as_ref().first_chunk().copied()?;
        Some(IndexKeyId { epoch: self.epoch, check })
    }

    /// The key that authenticates index files of this epoch.
    pub(super) fn seal_key(&self) -> Option<hmac::Key> {
        Some(hmac::Key::new(HMAC_SHA256, self.derive("tidegate subject index")?.as_ref()))
    }

    /// One block of NIST SP 800-108's KDF in counter mode, as FORMAT.md has it.
    fn derive(&self, label: &str) -> Option<hmac::Tag> {
        let root = hmac::Key::new(HMAC_SHA256, &self.secret.as_ref()?[..]);
        Some(hmac::sign(&root, &[&[0, 0, 0, 1], label.as_bytes(), &[0], &256u32.to_be_bytes()].concat()))
    }
}

impl fmt::Debug for EpochSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.secret.is_some() { "secret" } else { "destroyed" };
        write!(f, "EpochSecret({}, {state})", self.epoch)
    }
}

/// The secrets of all epochs, the newest last.
#[derive(Debug, Clone, Default)]
pub struct IndexKeys {
    epochs: Vec<EpochSecret>,
}

impl IndexKeys {
    /// Reads the file of secrets.
    ///
    /// # Errors
    /// [`IndexKeyError`].
    pub fn load(path: &Path) -> Result<Self, IndexKeyError> {
        let io = |source| IndexKeyError::Io { path: path.to_owned(), source };
        if fs::metadata(path).map_err(io)?.len() > FILE_BYTES_MAX {
            return Err(io(io::Error::new(io::ErrorKind::InvalidData, "too large for a file of secrets")));
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(io)?);
        let mut epochs: Vec<EpochSecret> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let last = epochs.last().map_or(0, |last| last.epoch);
            let parsed = parse_line(line).filter(|parsed| parsed.epoch > last);
            epochs.push(parsed.ok_or_else(|| IndexKeyError::Line { path: path.to_owned(), line: number + 1 })?);
        }
        Ok(Self { epochs })
    }

    /// Reads the file, and makes it with a first epoch where there is none, or with a next one where the
    /// newest is destroyed. True where a secret was made.
    ///
    /// # Errors
    /// [`IndexKeyError`].
    pub fn load_or_make(path: &Path) -> Result<(Self, bool), IndexKeyError> {
        let mut keys = match Self::load(path) {
            Err(IndexKeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Self::default(),
            other => other?,
        };
        let usable = keys.epochs.last().is_some_and(|last| last.secret.is_some());
        if !usable {
            keys.begin_epoch(path)?;
        }
        Ok((keys, !usable))
    }

    /// All epochs, the newest last.
    #[must_use]
    pub fn epochs(&self) -> &[EpochSecret] {
        &self.epochs
    }

    /// The newest epoch that has a secret, if it is the newest of all.
    #[must_use]
    pub fn newest(&self) -> Option<&EpochSecret> {
        self.epochs.last().filter(|last| last.secret.is_some())
    }

    /// Adds an epoch with a new secret to the file, and returns its number.
    ///
    /// # Errors
    /// [`IndexKeyError`].
    pub fn begin_epoch(&mut self, path: &Path) -> Result<u32, IndexKeyError> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        rand::fill(&mut *secret).map_err(|_| IndexKeyError::Random)?;
        let epoch = self.epochs.last().map_or(1, |last| last.epoch.saturating_add(1));
        self.epochs.push(EpochSecret { epoch, secret: Some(secret) });
        self.write(path)?;
        Ok(epoch)
    }

    /// Destroys an epoch's secret: its tags mean nothing from then on. What the file held is overwritten
    /// where it stood before the file is replaced.
    ///
    /// # Errors
    /// [`IndexKeyError`].
    pub fn destroy(&mut self, path: &Path, epoch: u32) -> Result<(), IndexKeyError> {
        let found = self.epochs.iter_mut().find(|known| known.epoch == epoch && known.secret.is_some());
        let Some(found) = found else { return Err(IndexKeyError::NoEpoch { path: path.to_owned(), epoch }) };
        found.secret = None;
        let io = |source| IndexKeyError::Io { path: path.to_owned(), source };
        let before = OpenOptions::new().write(true).open(path).map_err(io)?;
        let length = before.metadata().map_err(io)?.len();
        self.write(path)?;
        (&before).write_all(&vec![b'#'; usize::try_from(length).unwrap_or(0)]).map_err(io)?;
        before.sync_all().map_err(io)
    }

    fn write(&self, path: &Path) -> Result<(), IndexKeyError> {
        let io = |source| IndexKeyError::Io { path: path.to_owned(), source };
        let mut text = Zeroizing::new(TITLE.to_owned());
        for EpochSecret { epoch, secret } in &self.epochs {
            let secret = secret.as_ref().map(|secret| Zeroizing::new(BASE64_STANDARD.encode(&secret[..])));
            text.push_str(&format!("{epoch} "));
            text.push_str(secret.as_ref().map_or("-", |secret| secret.as_str()));
            text.push('\n');
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(io)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&new, path).map_err(io)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
    }
}

fn parse_line(line: &str) -> Option<EpochSecret> {
    let (epoch, secret) = line.trim().split_once(' ')?;
    let epoch = epoch.parse().ok().filter(|epoch| *epoch > 0)?;
    if secret == "-" {
        return Some(EpochSecret { epoch, secret: None });
    }
    let decoded = Zeroizing::new(BASE64_STANDARD.decode(secret).ok()?);
    Some(EpochSecret { epoch, secret: Some(Zeroizing::new(decoded.as_slice().try_into().ok()?)) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_are_made_once_for_their_owner_and_can_be_destroyed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(INDEX_KEYS_FILE);
        let (mut keys, made) = IndexKeys::load_or_make(&path).unwrap();
        assert!(made && keys.newest().unwrap().epoch == 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let first = keys.newest().unwrap().id();
        let (again, made) = IndexKeys::load_or_make(&path).unwrap();
        assert!(!made && again.newest().unwrap().id() == first && first.is_some());

        let secret = fs::read_to_string(&path).unwrap().lines().last().unwrap()[2..].to_owned();
        assert_eq!(keys.begin_epoch(&path).unwrap(), 2);
        keys.destroy(&path, 1).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&secret) && text.contains("\n1 -\n2 "), "{text}");
        assert!(matches!(keys.destroy(&path, 1), Err(IndexKeyError::NoEpoch { epoch: 1, .. })));
        assert!(!format!("{keys:?}").contains(&text[text.len() - 20..text.len() - 1]));
        // The newest destroyed: the next start begins another.
        keys.destroy(&path, 2).unwrap();
        assert!(IndexKeys::load(&path).unwrap().newest().is_none());
        assert_eq!(IndexKeys::load_or_make(&path).unwrap().0.newest().unwrap().epoch, 3);
    }

    #[test]
    fn files_that_are_none() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("k");
        let good = BASE64_STANDARD.encode([7; 32]);
        for (text, line) in [
            ("1\n".to_owned(), 1),
            ("# x\n\n0 -\n".to_owned(), 3),
            ("1 AAAA\n".to_owned(), 1),
            (format!("2 {good}\n1 {good}\n"), 2),
            (format!("1 {good} x\n"), 1),
        ] {
            fs::write(&path, &text).unwrap();
            let error = IndexKeys::load(&path).unwrap_err();
            assert!(matches!(error, IndexKeyError::Line { line: at, .. } if at == line), "{text}: {error}");
            assert!(!error.to_string().contains(&good));
        }
    }
}
