//! The gateway's own credentials at the upstream. Secrets are wiped when dropped and never shown.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tidegate_core::words::{Principal, Timestamp};
use zeroize::Zeroizing;

use super::mint::{MintError, Minter};
use super::scram::{ScramHash, ScramKeys};
use crate::config::UpstreamSasl;

/// Longest secret that is read from a file, in bytes.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// A password or token. Its memory is wiped when the last holder drops it; it prints as `…`.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes over a secret.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(Arc::new(Zeroizing::new(secret)))
    }

    /// The secret itself, for putting it on the wire or into a key derivation and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }
}

/// Who the gateway is at the upstream, with its secret read.
#[derive(Clone, Debug)]
pub enum UpstreamCredentials {
    /// Nobody: the upstream is asked for its versions only.
    None,
    /// RFC 4616.
    Plain {
        /// The user.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// RFC 5802 with SHA-256 or SHA-512.
    Scram(ScramCredentials),
    /// RFC 7628.
    OAuthBearer {
        /// The bearer token.
        token: Secret,
    },
    /// RFC 7628 with a token that is made for each session: see [`Self::for_session`].
    Mint(Arc<Minter>),
}

/// A user and password for SCRAM, and the keys once derived.
#[derive(Clone)]
pub struct ScramCredentials {
    pub(super) hash: ScramHash,
    pub(super) username: String,
    pub(super) password: Secret,
    /// What was derived for the salt and iteration count last seen (RFC 5802 §9 allows to keep it): deriving costs
    /// milliseconds, and every client connection logs in upstream. Written rarely, read without a lock.
    pub(super) derived: Arc<ArcSwapOption<ScramKeys>>,
}

impl fmt::Debug for ScramCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramCredentials")
            .field("hash", &self.hash)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A secret that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file has nothing but white space.
    #[error("the secret is empty")]
    Empty,
    /// The file is no text.
    #[error("the secret is not UTF-8")]
    NotUtf8,
    /// The file is not a secret.
    #[error("the secret is longer than {SECRET_BYTES_MAX} bytes")]
    TooLong,
    /// A NUL byte cannot be sent (RFC 4616), a control character not stand in a token.
    #[error("the secret has a character that cannot be sent")]
    Unsendable,
}

impl UpstreamCredentials {
    /// SCRAM with a hash, user and password.
    #[must_use]
    pub fn scram(hash: ScramHash, username: &str, password: Secret) -> Self {
        let derived = Arc::new(ArcSwapOption::empty());
        Self::Scram(ScramCredentials { hash, username: username.to_owned(), password, derived })
    }

    /// From the configuration and the content of the file that [`UpstreamSasl::secret_file`] names; `secret` is not
    /// looked at where there is none. A newline at the end is left out.
    ///
    /// # Errors
    /// [`CredentialsError`] where the content is not a usable secret. It never shows the content.
    pub fn from_config(config: &UpstreamSasl, secret: &[u8]) -> Result<Self, CredentialsError> {
        Ok(match config {
            UpstreamSasl::None => Self::None,
            UpstreamSasl::Plain { username, .. } => Self::Plain { username: username.clone(), password: read(secret)? },
            UpstreamSasl::ScramSha256 { username, .. } => Self::scram(ScramHash::Sha256, username, read(secret)?),
            UpstreamSasl::ScramSha512 { username, .. } => Self::scram(ScramHash::Sha512, username, read(secret)?),
            // Whoever has the keys puts `Mint` in its place.
            UpstreamSasl::OAuthBearer { token_file: None, .. } => Self::None,
            UpstreamSasl::OAuthBearer { .. } => {
                let token = read(secret)?;
                if !token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(CredentialsError::Unsendable);
                }
                Self::OAuthBearer { token }
            }
        })
    }

    /// What a session of `principal` logs in with: these credentials, or a token made for it.
    ///
    /// # Errors
    /// [`MintError`] where no token can be made for this principal.
    pub fn for_session(&self, principal: &Principal, session: &str, now: Timestamp) -> Result<Self, MintError> {
        match self {
            Self::Mint(minter) => Ok(Self::OAuthBearer { token: minter.token(principal, session, now)? }),
            other => Ok(other.clone()),
        }
    }

    /// What the gateway itself logs in with, for its own questions.
    ///
    /// # Errors
    /// [`MintError`] where no token can be made.
    pub fn for_gateway(&self, now: Timestamp) -> Result<Self, MintError> {
        match self {
            Self::Mint(minter) => Ok(Self::OAuthBearer { token: minter.own_token(now)? }),
            other => Ok(other.clone()),
        }
    }

    /// Milliseconds after which a session needs new credentials, whatever the broker says.
    #[must_use]
    pub fn lifetime_millis(&self) -> Option<i64> {
        match self {
            Self::Mint(minter) => Some(minter.lifetime_millis()),
            _ => None,
        }
    }

    /// The SASL mechanism's name; `None` where there is no SASL.
    #[must_use]
    pub const fn mechanism(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Plain { .. } => Some("PLAIN"),
            Self::Scram(scram) => Some(scram.hash.mechanism()),
            Self::OAuthBearer { .. } | Self::Mint(_) => Some("OAUTHBEARER"),
        }
    }
}

fn read(file: &[u8]) -> Result<Secret, CredentialsError> {
    if file.len() > SECRET_BYTES_MAX {
        return Err(CredentialsError::TooLong);
    }
    let text = std::str::from_utf8(file).map_err(|_| CredentialsError::NotUtf8)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(CredentialsError::Empty);
    }
    if text.contains(['\0', '\n']) {
        return Err(CredentialsError::Unsendable);
    }
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_secret_is_the_files_content_without_its_newline_and_is_never_shown() {
        let file = PathBuf::from("secret");
        let plain = UpstreamSasl::Plain { username: "gw".to_owned(), password_file: file.clone() };
        let read = |content: &[u8]| match UpstreamCredentials::from_config(&plain, content) {
            Ok(UpstreamCredentials::Plain { password, .. }) => Ok(password.reveal().to_owned()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        assert_eq!(read(b"pass word\n"), Ok("pass word".to_owned()));
        assert_eq!(read(b" pass\r\n"), Ok(" pass".to_owned()));
        assert_eq!(read(b" \n"), Err(CredentialsError::Empty));
        assert_eq!(read(b"\xff"), Err(CredentialsError::NotUtf8));
        assert_eq!(read(b"a\0b"), Err(CredentialsError::Unsendable));
        assert_eq!(read(b"a\nb"), Err(CredentialsError::Unsendable));
        assert_eq!(read(&[b'a'; 70_000]), Err(CredentialsError::TooLong));
        let bearer = UpstreamSasl::OAuthBearer { token_file: Some(file.clone()), mint: None };
        assert!(UpstreamCredentials::from_config(&bearer, b"to ken").is_err());
        let scram = UpstreamSasl::ScramSha512 { username: "gw".to_owned(), password_file: file };
        for (config, mechanism) in [(&plain, "PLAIN"), (&bearer, "OAUTHBEARER"), (&scram, "SCRAM-SHA-512")] {
            let credentials = UpstreamCredentials::from_config(config, b"hush-hush\n").unwrap();
            assert_eq!(credentials.mechanism(), Some(mechanism));
            assert!(!format!("{credentials:?}").contains("hush"));
        }
    }
}
