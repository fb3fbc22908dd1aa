//! An issuer's public keys (JWKS, RFC 7517), and the snapshot of all issuers with their keys.
//!
//! Only keys that can verify a signature come in: RSA of 2048 to 8192 bits, P-256, P-384, Ed25519. Symmetric keys
//! (`oct`) are left out whatever they claim; `jku`, `x5u` and `x5c` are never looked at, so a key is trusted because it
//! stood in the document of the issuer's own URL and for no other reason.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use super::config::{IssuerConfig, SigningAlgorithm};
use super::error::{DiscoveryError, KeySetError};

/// Keys in one document. Real issuers have two to ten.
const KEYS_MAX: usize = 256;
/// Longest `kid` that is accepted, in a document or a token.
pub(crate) const KID_BYTES_MAX: usize = 256;

/// What a key is, which decides what it may verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    const fn fits(self, algorithm: SigningAlgorithm) -> bool {
        use SigningAlgorithm as A;
        match self {
            Self::Rsa => matches!(algorithm, A::RS256 | A::RS384 | A::RS512 | A::PS256 | A::PS384 | A::PS512),
            Self::P256 => matches!(algorithm, A::ES256),
            Self::P384 => matches!(algorithm, A::ES384),
            Self::Ed25519 => matches!(algorithm, A::EdDSA),
        }
    }
}

/// One public key that verifies signatures.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    kind: Kind,
    /// The key's own `alg`, where it has one.
    algorithm: Option<SigningAlgorithm>,
    pub(crate) decoding: DecodingKey,
}

impl Key {
    /// Whether this key may verify a token signed with `algorithm`.
    #[must_use]
    pub fn fits(&self, algorithm: SigningAlgorithm) -> bool {
        self.kind.fits(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("kind", &self.kind)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// An issuer's keys, parsed. Immutable.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    ignored: usize,
}

/// A JWK's members as far as they are looked at. What has another type makes the key unusable, not the document.
#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWKS document.
    ///
    /// # Errors
    /// [`KeySetError`] where it is none or has no usable key: the caller then keeps the old keys.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        let document: Document =
            serde_json::from_slice(document).map_err(|error| KeySetError::Malformed(error.to_string()))?;
        let total = document.keys.len();
        if total > KEYS_MAX {
            return Err(KeySetError::TooMany { keys: total, max: KEYS_MAX });
        }
        let keys: Vec<Key> = document
            .keys
            .into_iter()
            .filter_map(|value| serde_json::from_value::<RawKey>(value).ok())
            .filter_map(|raw| usable(&raw))
            .collect();
        let ignored = total - keys.len();
        if keys.is_empty() {
            return Err(KeySetError::NoKeys { ignored });
        }
        Ok(Self { keys, ignored })
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys of the document were left out: symmetric, for encryption, of unknown kinds, too short.
    #[must_use]
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// Whether a key of this id is there.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        self.named(kid).next().is_some()
    }

    /// The keys of this id. Several are possible where their kinds differ (RFC 7517 §4.5).
    pub(crate) fn named<'a>(&'a self, kid: &'a str) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| key.kid.as_deref() == Some(kid))
    }

    /// The keys that may verify `algorithm`.
    pub(crate) fn fitting(&self, algorithm: SigningAlgorithm) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.fits(algorithm))
    }
}

/// The key, where it is a public key for signatures that we can use.
fn usable(raw: &RawKey) -> Option<Key> {
    if raw.r#use.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if raw.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
        return None;
    }
    if raw.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
        return None;
    }
    // A key whose algorithm we do not know is not ours to reinterpret.
    let algorithm = match raw.alg.as_deref() {
        Some(name) => Some(SigningAlgorithm::from_name(name)?),
        None => None,
    };
    let (kind, decoding) = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => (Kind::Rsa, rsa(raw.n.as_deref()?, raw.e.as_deref()?)?),
        ("EC", Some("P-256")) => (Kind::P256, elliptic(raw, 32)?),
        ("EC", Some("P-384")) => (Kind::P384, elliptic(raw, 48)?),
        ("OKP", Some("Ed25519")) => {
            let x = decode(raw.x.as_deref()?).filter(|x| x.len() == 32)?;
            (Kind::Ed25519, DecodingKey::from_ed_der(&x))
        }
        _ => return None,
    };
    if algorithm.is_some_and(|own| !kind.fits(own)) {
        return None;
    }
    Some(Key { kid: raw.kid.clone(), kind, algorithm, decoding })
}

fn rsa(n: &str, e: &str) -> Option<DecodingKey> {
    let n = decode(n)?;
    let e = decode(e)?;
    let modulus: &[u8] = &n[n.iter().position(|byte| *byte != 0)?..];
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    if !(2048..=8192).contains(&bits) || e.len() > 8 {
        return None;
    }
    Some(DecodingKey::from_rsa_raw_components(modulus, &e))
}

fn elliptic(raw: &RawKey, coordinate_bytes: usize) -> Option<DecodingKey> {
    let coordinate = |text: &Option<String>| decode(text.as_deref()?).filter(|c| c.len() == coordinate_bytes);
    // SEC 1 §2.3.3: an uncompressed point. That it lies on the curve is checked by the verification.
    let mut point = vec![4];
    point.extend(coordinate(&raw.x)?);
    point.extend(coordinate(&raw.y)?);
    Some(DecodingKey::from_ec_der(&point))
}

/// Base64url; padded as well, which RFC 7515 forbids but some issuers write.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// Where the key set of `config`'s issuer is, by its discovery document (OpenID Connect Discovery 1.0 §4.3).
///
/// # Errors
/// [`DiscoveryError`] where the document is not this issuer's, or sends us to a URL that may not be fetched.
pub fn parse_discovery(document: &[u8], config: &IssuerConfig) -> Result<String, DiscoveryError> {
    #[derive(Deserialize)]
    struct Discovery {
        issuer: String,
        jwks_uri: String,
    }
    let found: Discovery =
        serde_json::from_slice(document).map_err(|error| DiscoveryError::Malformed(error.to_string()))?;
    if found.issuer != config.issuer {
        return Err(DiscoveryError::OtherIssuer { found: found.issuer, expected: config.issuer.clone() });
    }
    if !config.may_fetch(&found.jwks_uri) {
        return Err(DiscoveryError::PlainHttp(found.jwks_uri));
    }
    Ok(found.jwks_uri)
}

/// One configured issuer.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) name: Arc<str>,
    pub(crate) config: IssuerConfig,
}

/// The configured issuers and the keys of each, as they are known now: an immutable snapshot, cheap to clone, that the
/// control thread publishes with one atomic swap.
#[derive(Debug, Clone, Default)]
pub struct Issuers {
    issuers: Arc<HashMap<Arc<str>, Issuer>>,
    keys: HashMap<Arc<str>, Arc<KeySet>>,
}

impl Issuers {
    /// The issuers of a checked configuration, none of them with keys yet. Of two with the same `issuer` the last
    /// stays; configuration refuses such.
    #[must_use]
    pub fn new(configs: impl IntoIterator<Item = IssuerConfig>) -> Self {
        let issuers = configs
            .into_iter()
            .map(|config| {
                let name: Arc<str> = Arc::from(config.issuer.as_str());
                (name.clone(), Issuer { name, config })
            })
            .collect();
        Self { issuers: Arc::new(issuers), keys: HashMap::new() }
    }

    /// A snapshot in which `issuer` has these keys. An issuer that is not configured is not added.
    #[must_use]
    pub fn with_keys(&self, issuer: &str, keys: Arc<KeySet>) -> Self {
        let mut next = self.clone();
        if let Some((name, _)) = self.issuers.get_key_value(issuer) {
            next.keys.insert(name.clone(), keys);
        }
        next
    }

    /// A snapshot in which `issuer` has no keys: they are too old to be trusted any longer.
    #[must_use]
    pub fn without_keys(&self, issuer: &str) -> Self {
        let mut next = self.clone();
        next.keys.remove(issuer);
        next
    }

    /// A snapshot with other issuers' configurations that keeps the keys of those that stay: for a reload.
    #[must_use]
    pub fn reconfigured(&self, configs: impl IntoIterator<Item = IssuerConfig>) -> Self {
        let mut next = Self::new(configs);
        next.keys = self.keys.clone();
        next.keys.retain(|name, _| next.issuers.contains_key(name));
        next
    }

    /// Whether no issuer is configured: then no token is accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The configurations.
    pub fn configs(&self) -> impl Iterator<Item = &IssuerConfig> {
        self.issuers.values().map(|issuer| &issuer.config)
    }

    /// The keys of an issuer, where known.
    #[must_use]
    pub fn keys(&self, issuer: &str) -> Option<&Arc<KeySet>> {
        self.keys.get(issuer)
    }

    pub(crate) fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.get(name)
    }
}
