//! Reads the gateway's own secrets from their files.

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::config::UpstreamSasl;
use crate::upstream::UpstreamCredentials;

/// Who the gateway is at the upstream, with the secret's file read. The buffer is wiped afterwards.
///
/// # Errors
/// One sentence that names the file and shows nothing of what is in it.
pub(super) fn upstream_login(sasl: &UpstreamSasl) -> anyhow::Result<UpstreamCredentials> {
    // A token that is made for each session has no file; the issuer's keys make it.
    let Some(file) = sasl.secret_file() else {
        return Ok(UpstreamCredentials::from_config(sasl, &[])?);
    };
    let secret = Zeroizing::new(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
    UpstreamCredentials::from_config(sasl, &secret).with_context(|| format!("{} cannot be used", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_cannot_be_used_is_named_by_its_file_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let sasl = UpstreamSasl::Plain { username: "gw".to_owned(), password_file: file.clone() };
        let says = |sasl: &UpstreamSasl| format!("{:#}", upstream_login(sasl).unwrap_err());
        assert!(says(&sasl).contains("No such file"), "{}", says(&sasl));
        std::fs::write(&file, "\n").unwrap();
        assert!(says(&sasl).contains("secret cannot be used: the secret is empty"), "{}", says(&sasl));
        std::fs::write(&file, "hunter2\0hunter2").unwrap();
        assert!(!says(&sasl).contains("hunter2"));
        std::fs::write(&file, "hunter2\n").unwrap();
        let login = upstream_login(&sasl).unwrap();
        assert!(matches!(&login, UpstreamCredentials::Plain { password, .. } if password.reveal() == "hunter2"));
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
