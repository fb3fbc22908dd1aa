//! What `tidegate login` writes: the token that clients read, and beside it what refreshes it.
//!
//! Both are files of the user's own (mode 0600), replaced whole: a client never reads half a token.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What goes on with a login. Lies beside the token's file.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    /// The gateway's token endpoint's issuer.
    pub server: String,
    /// The authorities that its certificate is checked against.
    pub ca: Option<PathBuf>,
    /// Good for one use.
    pub refresh_token: String,
}

/// The file beside the token's that holds its [`Saved`].
#[must_use]
pub(super) fn login_file(token_file: &Path) -> PathBuf {
    let mut name = token_file.file_name().unwrap_or_default().to_owned();
    name.push(".login");
    token_file.with_file_name(name)
}

/// Writes `text` whole or not at all, for the user only.
///
/// # Errors
/// The operating system's.
pub(super) fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = file.with_file_name(name);
    let _ = fs::remove_file(&new);
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_the_users_only_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a").join("token");
        for text in ["one", "another"] {
            write(&file, text).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(login_file(&file), folder.path().join("a").join("token.login"));
    }
}
