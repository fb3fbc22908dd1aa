//! Secrets that the gateway draws: codes, refresh tokens, clients' secrets. Kept only as hashes.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// Bytes of randomness in a secret: nobody guesses 256 bits, so that a plain hash of one is enough.
const SECRET_BYTES: usize = 32;

/// The SHA-256 of a secret: what is kept, compared and looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

impl SecretHash {
    /// The hash of what somebody presents.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, secret.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }

    /// Whether `secret` is the one, in a time that does not depend on how much of it is right.
    #[must_use]
    pub fn is_of(&self, secret: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &Self::of(secret).0).is_ok()
    }
}

impl std::fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// A new secret that begins with `prefix`, so that scanners of leaked secrets can know it.
///
/// # Errors
/// Where the system has no randomness.
pub fn draw(prefix: &str) -> Result<Zeroizing<String>, aws_lc_rs::error::Unspecified> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    aws_lc_rs::rand::fill(&mut *bytes)?;
    let mut secret = Zeroizing::new(String::with_capacity(prefix.len() + SECRET_BYTES * 4 / 3 + 2));
    secret.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(*bytes, &mut secret);
    Ok(secret)
}

/// Base64url of the SHA-256 of `text`: PKCE's `S256` (RFC 7636 §4.2).
#[must_use]
pub fn s256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(SecretHash::of(text).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_again_by_their_hash() {
        let (one, other) = (draw("tgs_").unwrap(), draw("tgs_").unwrap());
        assert!(one.starts_with("tgs_") && one.len() == 47);
        let hash = SecretHash::of(&one);
        assert!(hash.is_of(&one) && !hash.is_of(&other) && !hash.is_of(""));
        assert_eq!(format!("{hash:?}"), "…");
        // RFC 7636 appendix B.
        assert_eq!(s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
