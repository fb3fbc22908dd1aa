//! Where the token is that commands show to the gateway: the file that `tidegate login` writes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

/// The largest token file that is read, in bytes.
const TOKEN_BYTES_MAX: u64 = 128 * 1024;

/// `$XDG_CONFIG_HOME/tidegate/token`, by default `~/.config/tidegate/token`; `None` where there is no home.
#[must_use]
pub fn token_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(config.join("tidegate").join("token"))
}

/// The token in `file`, else in the file that `tidegate login` writes.
///
/// # Errors
/// A sentence that names the file and says what to do, without anything of what is in it.
pub fn read_token(file: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    let usual = token_file();
    let Some(path) = file.or(usual.as_deref()) else {
        bail!("there is no home folder to look for a token in; name a file with --token-file");
    };
    let hint =
        || format!("cannot read {}; `tidegate login` writes it, or name another with --token-file", path.display());
    let length = std::fs::metadata(path).with_context(hint)?.len();
    if length > TOKEN_BYTES_MAX {
        bail!("{} is too large to be a token", path.display());
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).with_context(hint)?);
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) || token.contains(char::is_control) {
        bail!("{} does not hold one token", path.display());
    }
    Ok(Zeroizing::new(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_holds_one_token_and_is_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let missing = format!("{:#}", read_token(Some(&file)).unwrap_err());
        assert!(missing.contains("tidegate login"), "{missing}");
        for bad in ["", " \n", "secret two", "secret\0"] {
            std::fs::write(&file, bad).unwrap();
            let error = format!("{:#}", read_token(Some(&file)).unwrap_err());
            assert!(error.contains("one token") && !error.contains("secret"), "{error}");
        }
        std::fs::write(&file, "secret\n").unwrap();
        assert_eq!(read_token(Some(&file)).unwrap().as_str(), "secret");
    }
}
