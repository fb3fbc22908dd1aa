//! Tokens that the gateway makes for the brokers: one for each session, in the principal's own name, good for minutes.
//!
//! Brokers check them against the gateway's key set (`tokens.issuer`/jwks) and apply their own ACLs to the real
//! principal. A token is signed on the shard that needs it (some ten microseconds, once in minutes); the control thread
//! publishes a new [`Minter`] when the key rotates. Such a token is for another audience than the gateway's own, so
//! that whoever reads one at a broker cannot come back with it.

use std::fmt;
use std::sync::Arc;

use tidegate_core::words::{Principal, Timestamp};

use super::credentials::Secret;
use crate::config::Mint;
use crate::tokens::claims::Vouched;
use crate::tokens::{Claims, KeyError, SigningKey};

/// Why no token can be made for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// At a broker the unauthenticated may have rights that nobody meant to give through a gateway.
    #[error("no token is made for who has not authenticated")]
    Anonymous,
    /// The name is that of the gateway itself at the brokers (`upstream.sasl.mint.gateway_principal`).
    #[error("no token is made for a principal that is called what the gateway is called at the brokers")]
    Reserved,
    /// Signing failed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Makes tokens for the upstream.
pub struct Minter {
    issuer: Arc<str>,
    key: Arc<SigningKey>,
    mint: Mint,
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").field("kid", self.key.kid()).finish_non_exhaustive()
    }
}

impl Minter {
    /// Signs with `key`, as the issuer whose key set the brokers fetch.
    #[must_use]
    pub fn new(issuer: Arc<str>, key: Arc<SigningKey>, mint: Mint) -> Self {
        Self { issuer, key, mint }
    }

    /// How long a token lives, in milliseconds.
    #[must_use]
    pub fn lifetime_millis(&self) -> i64 {
        i64::from(self.mint.lifetime_seconds) * 1000
    }

    /// A token for a session of `principal`.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn token(&self, principal: &Principal, session: &str, now: Timestamp) -> Result<Secret, MintError> {
        if *principal.name == *Principal::anonymous().name {
            return Err(MintError::Anonymous);
        }
        if *principal.name == *self.mint.gateway_principal {
            return Err(MintError::Reserved);
        }
        self.sign(&principal.name, &principal.groups, session, Some((&principal.issuer, &principal.subject)), now)
    }

    /// A token for the gateway itself, for its own questions.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn own_token(&self, now: Timestamp) -> Result<Secret, MintError> {
        self.sign(&self.mint.gateway_principal, &[], "control", None, now)
    }

    fn sign(
        &self,
        name: &str,
        groups: &[Arc<str>],
        session: &str,
        vouched: Option<(&str, &str)>,
        now: Timestamp,
    ) -> Result<Secret, MintError> {
        let from = now.as_secs();
        let claims = Claims {
            iss: &self.issuer,
            sub: name,
            aud: &self.mint.audience,
            client_id: "tidegate",
            sid: session,
            jti: &uuid::Uuid::now_v7().to_string(),
            scope: &self.mint.scope,
            groups,
            iat: from,
            nbf: from,
            exp: from + i64::from(self.mint.lifetime_seconds),
            idp: vouched.map(|(iss, sub)| Vouched { iss, sub }),
        };
        Ok(Secret::new(self.key.sign(&claims)?))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;
    use crate::tokens::TokenAlgorithm;

    fn minter() -> Minter {
        let mint = serde_json::from_value(json!({"audience": "brokers", "lifetime_seconds": 120})).unwrap();
        let (key, _) = SigningKey::generate(TokenAlgorithm::ES256).unwrap();
        Minter::new(Arc::from("https://gw"), Arc::new(key), mint)
    }

    fn named(name: &str) -> Principal {
        let word = |text: &str| Arc::<str>::from(text);
        Principal {
            issuer: word("https://idp"),
            subject: word("s-1"),
            name: word(name),
            groups: vec![word("analysts")],
        }
    }

    #[test]
    fn a_token_says_who_for_whom_and_for_how_long() {
        let now = Timestamp::from_secs(1_000);
        let token = minter().token(&named("alice"), "session-1", now).unwrap();
        let claims = token.reveal().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        for (claim, value) in [
            ("iss", json!("https://gw")),
            ("sub", json!("alice")),
            ("aud", json!("brokers")),
            ("sid", json!("session-1")),
            ("scope", json!("kafka")),
            ("groups", json!(["analysts"])),
            ("iat", json!(1_000)),
            ("exp", json!(1_120)),
            ("idp", json!({"iss": "https://idp", "sub": "s-1"})),
        ] {
            assert_eq!(claims[claim], value, "{claim}");
        }
    }

    #[test]
    fn nobody_gets_a_name_at_the_broker_that_is_not_his() {
        let now = Timestamp::from_secs(1_000);
        assert_eq!(minter().token(&Principal::anonymous(), "s", now), Err(MintError::Anonymous));
        assert_eq!(minter().token(&named("tidegate"), "s", now), Err(MintError::Reserved));
        assert!(minter().own_token(now).is_ok());
    }
}
