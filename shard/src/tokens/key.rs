//! A signing key: ES256 or Ed25519, made with aws-lc-rs, named by its JWK thumbprint (RFC 7638).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// What a token is signed with. Kafka's own validator accepts both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TokenAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    #[default]
    ES256,
    /// Ed25519 (RFC 8037).
    EdDSA,
}

impl TokenAlgorithm {
    /// The JOSE name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// Why a key cannot be made or used. Shows nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The cryptographic library refuses to make one.
    #[error("no signing key can be made on this machine")]
    Generate,
    /// The bytes are no private key of the algorithm.
    #[error("it holds no usable private key")]
    Unusable,
    /// The cryptographic library refuses to sign.
    #[error("the token cannot be signed")]
    Sign,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A private key with its name and public half.
pub struct SigningKey {
    kid: Arc<str>,
    algorithm: TokenAlgorithm,
    pair: Pair,
    /// The JOSE header of access tokens, encoded once.
    header: String,
    random: SystemRandom,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key, and its PKCS #8 form for whoever keeps it.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate(algorithm: TokenAlgorithm) -> Result<(Self, Zeroizing<Vec<u8>>), KeyError> {
        let pkcs8 = match algorithm {
            TokenAlgorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::Generate)?;
                Zeroizing::new(pair.to_pkcs8v1().map_err(|_| KeyError::Generate)?.as_ref().to_vec())
            }
            TokenAlgorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
                let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| KeyError::Generate)?;
                Zeroizing::new(der.as_ref().to_vec())
            }
        };
        Ok((Self::from_pkcs8(algorithm, &pkcs8)?, pkcs8))
    }

    /// The key of this PKCS #8 document.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] where it is another kind of key, or none.
    pub fn from_pkcs8(algorithm: TokenAlgorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = match algorithm {
            TokenAlgorithm::ES256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map(Pair::P256),
            TokenAlgorithm::EdDSA => Ed25519KeyPair::from_pkcs8(pkcs8).map(Pair::Ed25519),
        }
        .map_err(|_| KeyError::Unusable)?;
        let kid: Arc<str> = Arc::from(thumbprint(&pair));
        // RFC 9068: what is an access token says so, and is taken for nothing else.
        let header = json!({ "alg": algorithm.name(), "typ": "at+jwt", "kid": *kid });
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        Ok(Self { kid, algorithm, pair, header, random: SystemRandom::new() })
    }

    /// The key's name: its thumbprint (RFC 7638), so that two keys never share one.
    #[must_use]
    pub fn kid(&self) -> &Arc<str> {
        &self.kid
    }

    /// What it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> TokenAlgorithm {
        self.algorithm
    }

    /// The public half as a JWK (RFC 7517).
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        let mut jwk = members(&self.pair);
        if let Value::Object(jwk) = &mut jwk {
            jwk.insert("kid".to_owned(), Value::from(&*self.kid));
            jwk.insert("use".to_owned(), Value::from("sig"));
            jwk.insert("alg".to_owned(), Value::from(self.algorithm.name()));
        }
        jwk
    }

    /// A signed token in compact form (RFC 7515 §3.1).
    ///
    /// # Errors
    /// [`KeyError::Sign`].
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, KeyError> {
        let claims = serde_json::to_vec(claims).map_err(|_| KeyError::Sign)?;
        let mut token = String::with_capacity(self.header.len() + claims.len() * 4 / 3 + 96);
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = match &self.pair {
            Pair::P256(pair) => {
                let signature = pair.sign(&self.random, token.as_bytes()).map_err(|_| KeyError::Sign)?;
                URL_SAFE_NO_PAD.encode(signature.as_ref())
            }
            Pair::Ed25519(pair) => URL_SAFE_NO_PAD.encode(pair.sign(token.as_bytes()).as_ref()),
        };
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }
}

/// The members that make the key what it is, in the order that RFC 7638 §3.2 and RFC 8037 §2 want.
fn members(pair: &Pair) -> Value {
    match pair {
        Pair::P256(pair) => {
            // SEC 1 §2.3.3: 4, then both coordinates of 32 bytes.
            let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
            let (x, y) = point.split_at(point.len() / 2);
            json!({ "crv": "P-256", "kty": "EC", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
        }
        Pair::Ed25519(pair) => {
            json!({ "crv": "Ed25519", "kty": "OKP", "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()) })
        }
    }
}

fn thumbprint(pair: &Pair) -> String {
    // A JSON object of ours prints its members sorted by name, and none of the values needs escapes.
    let canonical = members(pair).to_string();
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use tidegate_core::limits::Limits;
    use tidegate_core::words::Timestamp;
    use tidegate_policy::identity::{IssuerConfig, Issuers, KeySet, SigningAlgorithm, verify};

    use super::*;

    #[test]
    fn what_a_key_signs_its_published_half_verifies_and_no_other() {
        let now = Timestamp::from_secs(1_000);
        let claims = json!({"iss": "https://gw", "sub": "alice", "aud": "kafka", "exp": 1_300});
        for algorithm in [TokenAlgorithm::ES256, TokenAlgorithm::EdDSA] {
            let (key, pkcs8) = SigningKey::generate(algorithm).unwrap();
            let again = SigningKey::from_pkcs8(algorithm, &pkcs8).unwrap();
            assert_eq!(key.kid(), again.kid());
            let (other, _) = SigningKey::generate(algorithm).unwrap();
            let mut config = IssuerConfig::new("https://gw", "kafka");
            config.algorithms = vec![SigningAlgorithm::ES256, SigningAlgorithm::EdDSA];
            let known = |key: &SigningKey| {
                let set = KeySet::parse(json!({"keys": [key.public_jwk()]}).to_string().as_bytes()).unwrap();
                Issuers::new([config.clone()]).with_keys("https://gw", Arc::new(set))
            };
            let token = again.sign(&claims).unwrap();
            let verified = verify(&token, &known(&key), now, &Limits::default()).unwrap();
            assert_eq!(&*verified.principal.name, "alice");
            assert!(verify(&token, &known(&other), now, &Limits::default()).is_err());
            assert!(!format!("{key:?}").contains("pair"), "{key:?}");
        }
    }

    #[test]
    fn a_thumbprint_is_that_of_the_standard() {
        // RFC 8037 appendix A.1 and A.3.
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        assert_eq!(thumbprint(&Pair::Ed25519(pair)), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
