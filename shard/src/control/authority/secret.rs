//! The secret that keys of held requests are made with, in a file of its own beside the control log: whoever has a copy
//! of the log alone can't try out what a request said.
//!
//! Made at the first start and kept for good. Without it, what was asked before is asked anew; nothing passes by it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use tidegate_policy::authority::{REQUEST_SECRET_BYTES, RequestSecret};
use zeroize::Zeroizing;

/// The file's name in the authority's folder.
pub const FILE_NAME: &str = "request.key";

/// Reads the secret in `directory`, or makes one.
///
/// # Errors
/// A sentence that names the file and shows nothing of it.
pub(in super::super) fn open(directory: &Path) -> anyhow::Result<RequestSecret> {
    let path = directory.join(FILE_NAME);
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(directory, &path).with_context(|| format!("cannot make {}", path.display()))
        }
        read => read.with_context(|| format!("{} cannot be used", path.display())),
    }
}

fn read(path: &Path) -> io::Result<RequestSecret> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(io::Error::other("others than the gateway may read it; chmod 600 it"));
    }
    let bytes = Zeroizing::new(fs::read(path)?);
    let secret: &[u8; REQUEST_SECRET_BYTES] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| io::Error::other(format!("it holds {} bytes, not {REQUEST_SECRET_BYTES}", bytes.len())))?;
    Ok(RequestSecret::new(secret))
}

fn make(directory: &Path, path: &Path) -> anyhow::Result<RequestSecret> {
    let mut secret = Zeroizing::new([0; REQUEST_SECRET_BYTES]);
    aws_lc_rs::rand::fill(&mut *secret).ok().context("the system has no randomness")?;
    // Under another name first: a crash leaves no half of one.
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&*secret)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(directory)?.sync_all()?;
    Ok(RequestSecret::new(&secret))
}

#[cfg(test)]
mod tests {
    use tidegate_core::words::Principal;
    use tidegate_policy::authority::RequestKey;

    use super::*;

    #[test]
    fn the_secret_is_made_once_and_lies_where_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let key = |secret: &RequestSecret| RequestKey::of(secret, &Principal::anonymous(), "AlterConfigs", b"x");
        let made = open(folder.path()).unwrap();
        assert_eq!(key(&made), key(&open(folder.path()).unwrap()), "a restart finds it again");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(format!("{:#}", open(folder.path()).unwrap_err()).contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, [7; REQUEST_SECRET_BYTES - 1]).unwrap();
        assert!(format!("{:#}", open(folder.path()).unwrap_err()).contains("31 bytes"));
        fs::remove_file(&path).unwrap();
        assert_ne!(key(&made), key(&open(folder.path()).unwrap()), "another secret, other keys");
    }
}
