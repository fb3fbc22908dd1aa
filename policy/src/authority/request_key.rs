//! What binds an approval to one request, and tells nobody what the request says.
//!
//! A key stands in the control log for as long as that is kept, beside who asked and what for. The request itself may
//! hold what nobody should find out from the log: the value of a broker's setting is often a password. So a key is an
//! HMAC under a secret that is not in the log: whoever has the log alone cannot try out values.
//!
//! Logs of before hold plain SHA-256 ([`RequestKey::unkeyed`]), which counts as long as what was asked by it does.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use serde::{Deserialize, Serialize};
use tidegate_core::words::Principal;

/// Bytes of the secret that keys are made with.
pub const REQUEST_SECRET_BYTES: usize = 32;

/// The secret that keys of requests are made with: one for all gateways that share a control log.
#[derive(Clone)]
pub struct RequestSecret(hmac::Key);

impl RequestSecret {
    /// The secret of these bytes, drawn at random once and kept.
    #[must_use]
    pub fn new(secret: &[u8; REQUEST_SECRET_BYTES]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, secret))
    }
}

impl fmt::Debug for RequestSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestSecret")
    }
}

/// What binds an approval to one request: HMAC-SHA256 over who asks, the API and the request's canonical bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestKey([u8; 32]);

impl RequestKey {
    /// The key of a request; `canonical` is its bytes with everything left out that does not change what it does.
    #[must_use]
    pub fn of(secret: &RequestSecret, principal: &Principal, api: &str, canonical: &[u8]) -> Self {
        let mut context = hmac::Context::with_key(&secret.0);
        parts(principal, api, canonical, |part| context.update(part));
        Self::from_digest(context.sign().as_ref())
    }

    /// The key that the same request had before keys were made with a secret. Nothing new is asked by it.
    #[must_use]
    pub fn unkeyed(principal: &Principal, api: &str, canonical: &[u8]) -> Self {
        let mut context = digest::Context::new(&SHA256);
        parts(principal, api, canonical, |part| context.update(part));
        Self::from_digest(context.finish().as_ref())
    }

    fn from_digest(digest: &[u8]) -> Self {
        let mut key = [0; 32];
        key.copy_from_slice(digest);
        Self(key)
    }
}

/// Each part behind its length, so that no two requests run into the same bytes.
fn parts(principal: &Principal, api: &str, canonical: &[u8], mut update: impl FnMut(&[u8])) {
    let parts: [&[u8]; 5] = [
        principal.issuer.as_bytes(),
        principal.name.as_bytes(),
        principal.subject.as_bytes(),
        api.as_bytes(),
        canonical,
    ];
    for part in parts {
        update(&(part.len() as u64).to_be_bytes());
        update(part);
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestKey({self})")
    }
}

impl From<RequestKey> for String {
    fn from(key: RequestKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for RequestKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || "a request key has 64 hexadecimal digits".to_owned();
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_one_request_under_one_secret_and_the_former_one_is_as_it_was() {
        let ann = Principal { issuer: "idp".into(), subject: "s".into(), name: "ann".into(), groups: Vec::new() };
        let (one, other) = (RequestSecret::new(&[1; 32]), RequestSecret::new(&[2; 32]));
        let key = RequestKey::of(&one, &ann, "AlterConfigs", b"password");
        assert_eq!(key, RequestKey::of(&one.clone(), &ann, "AlterConfigs", b"password"));
        for different in [
            RequestKey::of(&other, &ann, "AlterConfigs", b"password"),
            RequestKey::of(&one, &ann, "AlterConfigs", b"passwore"),
            RequestKey::of(&one, &ann, "AlterConfig", b"spassword"),
            RequestKey::unkeyed(&ann, "AlterConfigs", b"password"),
        ] {
            assert_ne!(key, different);
        }
        // Of a log of before: SHA-256 of the parts, each behind its length.
        let mut before = Vec::new();
        for part in ["idp", "ann", "s", "AlterConfigs", "password"] {
            before.extend_from_slice(&(part.len() as u64).to_be_bytes());
            before.extend_from_slice(part.as_bytes());
        }
        let before: String = digest::digest(&SHA256, &before).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(RequestKey::unkeyed(&ann, "AlterConfigs", b"password").to_string(), before);
        assert_eq!(RequestKey::try_from(key.to_string()), Ok(key));
        assert_eq!(format!("{one:?}"), "RequestSecret");
    }
}
