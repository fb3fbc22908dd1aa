//! The machine's operator token: how whoever owns the machine revokes and reloads before any identity
//! provider knows him, or while it is down.
//!
//! A file that only the gateway's own user reads, made at the first start. It stands for the principal
//! `local-operator` of the issuer `tidegate:local`, which has the role `operator` and no other unless
//! the policy gives it one: it asks for nothing, approves nothing and reads no data. Invariants: only
//! the token's hash is in memory; compared in constant time; a file that others may read is refused.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidegate_core::words::Principal;
use tidegate_policy::authority::Actor;
use zeroize::Zeroizing;

/// The file's name in the authority's folder.
pub(super) const FILE: &str = "operator.token";
/// What the token begins with, so that scanners for leaked secrets find it.
const PREFIX: &str = "tidegate-operator-";
/// The token's random part, in bytes.
const RANDOM_BYTES: usize = 32;
/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256;

/// The machine's operator token, by its hash.
pub(in crate::control) struct OperatorToken {
    hash: Digest,
    principal: Principal,
}

impl OperatorToken {
    /// Reads the token's file in `folder`, or makes it.
    ///
    /// # Errors
    /// A sentence: the file cannot be made or read, others may read it, or there is something else in it.
    pub(in crate::control) fn open(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join(FILE);
        if !file.try_exists().with_context(|| format!("cannot look at {}", file.display()))? {
            make(&file)?;
        }
        let metadata = std::fs::symlink_metadata(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let remedy = "; delete it, and the next start makes another";
        if !metadata.is_file() || metadata.mode() & 0o077 != 0 {
            bail!("{} is no file that its owner alone may read (mode 0600){remedy}", file.display());
        }
        if metadata.len() > FILE_BYTES_MAX {
            bail!("{} is no operator token{remedy}", file.display());
        }
        let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = Zeroizing::new(text);
        let token = text.trim_ascii();
        if token.len() < PREFIX.len() + RANDOM_BYTES || !token.starts_with(PREFIX.as_bytes()) {
            bail!("{} is no operator token{remedy}", file.display());
        }
        let actor = Actor::local_operator();
        Ok(Self { hash: digest(&SHA256, token), principal: actor.principal() })
    }

    /// The principal that it stands for, where `token` is it.
    #[must_use]
    pub(super) fn verify(&self, token: &str) -> Option<Principal> {
        let hash = digest(&SHA256, token.as_bytes());
        verify_slices_are_equal(hash.as_ref(), self.hash.as_ref()).ok().map(|()| self.principal.clone())
    }
}

fn make(file: &PathBuf) -> anyhow::Result<()> {
    let mut random = Zeroizing::new([0; RANDOM_BYTES]);
    rand::fill(&mut *random).map_err(|_| anyhow::anyhow!("the machine gives no random bytes"))?;
    let token = Zeroizing::new(format!("{PREFIX}{}\n", URL_SAFE_NO_PAD.encode(*random)));
    let mut made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("cannot make {}", file.display()))?;
    made.write_all(token.as_bytes()).and_then(|()| made.sync_all())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_token_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = OperatorToken::open(folder.path()).unwrap();
        let file = folder.path().join(FILE);
        let token = std::fs::read_to_string(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = OperatorToken::open(folder.path()).unwrap();
        for operator in [&first, &again] {
            assert_eq!(&*operator.verify(token.trim()).unwrap().name, "local-operator");
            assert!(operator.verify("").is_none());
            assert!(operator.verify(&token).is_none(), "the newline is not part of it");
            assert!(operator.verify(&token.trim()[..40]).is_none());
        }
        let other = tempfile::tempdir().unwrap();
        assert!(OperatorToken::open(other.path()).unwrap().verify(token.trim()).is_none());
    }

    #[test]
    fn a_file_that_others_read_or_that_holds_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        OperatorToken::open(folder.path()).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(OperatorToken::open(folder.path()).err().unwrap().to_string().contains("0600"));
        for text in ["", "\n", "tidegate-operator-short", &"x".repeat(300)] {
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
            assert!(OperatorToken::open(folder.path()).err().unwrap().to_string().contains("no operator token"));
        }
    }
}
