//! Where the signing key and its public half lie, and how they come into being.
//!
//! The evidence signs its checkpoints with one Ed25519 key per gateway. Where the configuration names
//! none, a key is made on the first start, beside the evidence: convenient, but whoever may change
//! the evidence can then read the key too. The public half is written beside as `verifier.key`; a
//! copy of it elsewhere is what makes `verify` mean something.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;

use crate::note::{NoteError, Signer, VerifierKey};

pub mod rotation;

/// The public half's name below the evidence directory.
pub const VERIFIER_FILE: &str = "verifier.key";
/// The name of a key that the gateway made itself.
pub const SIGNING_FILE: &str = "signing.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file holds no key.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
    /// The origin cannot name a key.
    #[error("the origin {origin:?} cannot name a signing key: {source}")]
    Name {
        /// The origin.
        origin: String,
        /// What is wrong with it.
        source: NoteError,
    },
    /// The system has no randomness.
    #[error("no random bytes for a signing key")]
    Random,
    /// The key was replaced by another.
    #[error("{}: this key was replaced and its use has ended; the evidence goes on with {new}", path.display())]
    Ended {
        /// The file.
        path: PathBuf,
        /// The key that follows.
        new: Box<VerifierKey>,
    },
}

/// A key that was loaded or made.
#[derive(Debug)]
pub struct Loaded {
    /// The key.
    pub signer: Signer,
    /// Its file.
    pub path: PathBuf,
    /// Whether it was made just now.
    pub made: bool,
}

/// Loads the signing key from `configured`, or else the evidence directory's own, which is made where
/// there is none; and writes the public half to `root`/`verifier.key`, adding to keys that stand there.
/// `root` is created.
///
/// # Errors
/// [`KeyError`]. A configured key is never made, and one that was replaced ([`rotation`]) is never used again.
pub fn load_or_make(root: &Path, configured: Option<&Path>, origin: &str) -> Result<Loaded, KeyError> {
    fs::create_dir_all(root).map_err(|source| KeyError::Io { path: root.to_owned(), source })?;
    let path = configured.map_or_else(|| root.join(SIGNING_FILE), Path::to_owned);
    let (signer, made) = match fs::read_to_string(&path) {
        Ok(text) => (Signer::parse(&text).map_err(|source| KeyError::Key { path: path.clone(), source })?, false),
        Err(error) if error.kind() == io::ErrorKind::NotFound && configured.is_none() => (make(&path, origin)?, true),
        Err(source) => return Err(KeyError::Io { path, source }),
    };
    let signer = rotation::settle(root, &path, signer)?;
    publish(&root.join(VERIFIER_FILE), signer.verifier())?;
    Ok(Loaded { signer, path, made })
}

fn make(path: &Path, origin: &str) -> Result<Signer, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let (signer, text) = draw(origin)?;
    // Written aside and linked: a crash leaves no half key, and a key that appeared meanwhile stays.
    let new = path.with_extension("new");
    write_secret(&new, text.as_bytes()).map_err(io)?;
    fs::hard_link(&new, path).map_err(io)?;
    fs::remove_file(&new).map_err(io)?;
    Ok(signer)
}

/// A key that was drawn now, and its text.
fn draw(name: &str) -> Result<(Signer, zeroize::Zeroizing<String>), KeyError> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    rand::fill(&mut *seed).map_err(|_| KeyError::Random)?;
    let signer = Signer::from_seed(name, &seed).map_err(|source| KeyError::Name { origin: name.to_owned(), source })?;
    let text = zeroize::Zeroizing::new(signer.encode(&seed));
    Ok((signer, text))
}

/// Writes a file that only its owner may read, anew and durably.
fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all())
}

/// Adds a key to the file of public keys, the newest last.
fn publish(path: &Path, key: &VerifierKey) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(io(source)),
    };
    let line = key.to_string();
    if before.lines().next_back() == Some(&*line) {
        return Ok(());
    }
    let others = before.lines().filter(|other| *other != line && !other.trim().is_empty());
    let text: String = others.chain([&*line]).flat_map(|line| [line, "\n"]).collect();
    write_atomically(path, text.as_bytes()).map_err(io)
}

/// Reads a file of vkeys, one a line, the newest last; lines that begin with `#` say nothing.
///
/// # Errors
/// [`KeyError`]: it cannot be read, or a line is no key.
pub fn read_verifier_keys(path: &Path) -> Result<Vec<VerifierKey>, KeyError> {
    let text = fs::read_to_string(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    let keys: Result<Vec<_>, _> =
        text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(VerifierKey::parse).collect();
    match keys {
        Ok(keys) if keys.is_empty() => {
            Err(KeyError::Key { path: path.to_owned(), source: NoteError::Malformed("there is no key in it") })
        }
        Ok(keys) => Ok(keys),
        Err(source) => Err(KeyError::Key { path: path.to_owned(), source }),
    }
}

/// Replaces a file's content as a whole, durably.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_for_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("evidence");
        let first = load_or_make(&directory, None, "gw.example").unwrap();
        assert!(first.made);
        assert_eq!(fs::metadata(&first.path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = load_or_make(&directory, None, "gw.example").unwrap();
        assert!(!second.made);
        assert_eq!(first.signer.verifier(), second.signer.verifier());
        let keys = read_verifier_keys(&directory.join(VERIFIER_FILE)).unwrap();
        assert_eq!(keys, [first.signer.verifier().clone()]);
        assert!(!fs::read_to_string(directory.join(VERIFIER_FILE)).unwrap().contains("PRIVATE"));

        // Another key is added, the newest last; coming back to an old one moves it.
        let other = root.path().join("other.key");
        fs::write(&other, Signer::from_seed("gw.example", &[1; 32]).unwrap().encode(&[1; 32])).unwrap();
        let third = load_or_make(&directory, Some(&other), "gw.example").unwrap();
        let keys = read_verifier_keys(&directory.join(VERIFIER_FILE)).unwrap();
        assert_eq!(keys, [first.signer.verifier().clone(), third.signer.verifier().clone()]);
    }

    #[test]
    fn what_is_configured_is_never_made_and_bad_files_are_told() {
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("missing.key");
        assert!(matches!(load_or_make(root.path(), Some(&missing), "o"), Err(KeyError::Io { .. })));
        assert!(!missing.exists());
        fs::write(&missing, "PRIVATE+KEY+secret").unwrap();
        let error = load_or_make(root.path(), Some(&missing), "o").unwrap_err().to_string();
        assert!(error.contains("missing.key") && !error.contains("secret"), "{error}");
        assert!(matches!(load_or_make(root.path(), None, "a b"), Err(KeyError::Name { .. })));
        fs::write(root.path().join("v"), "# nothing\n").unwrap();
        assert!(read_verifier_keys(&root.path().join("v")).unwrap_err().to_string().contains("no key"));
    }
}
