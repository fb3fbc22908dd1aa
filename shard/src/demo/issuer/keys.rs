//! The issuer's signing keys: made with aws-lc-rs, published as a JWK set, newest first to sign.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey};
use thiserror::Error;

/// What a key signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA of 2048 bits, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl KeyKind {
    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// A key could not be made or used.
#[derive(Debug, Error)]
#[error("the issuer's key cannot be made or used: {0}")]
pub struct KeyError(pub(super) String);

/// One signing key with its public half in the two forms that are needed.
pub(super) struct SigningKey {
    pub(super) kind: KeyKind,
    pub(super) id: String,
    pub(super) private: EncodingKey,
    /// SubjectPublicKeyInfo as PEM: what an attacker would feed to HMAC.
    pub(super) public_pem: String,
    jwk: Jwk,
}

/// All keys that are in the key set; the last one signs.
pub(super) struct KeyRing {
    newest: SigningKey,
    former: Vec<SigningKey>,
    made: u32,
}

impl KeyRing {
    pub(super) fn new(kind: KeyKind) -> Result<Self, KeyError> {
        Ok(Self { newest: SigningKey::generate(kind, 1)?, former: Vec::new(), made: 1 })
    }

    pub(super) fn newest(&self) -> &SigningKey {
        &self.newest
    }

    pub(super) fn rotate(&mut self, kind: KeyKind) -> Result<(), KeyError> {
        self.made += 1;
        let next = SigningKey::generate(kind, self.made)?;
        self.former.push(std::mem::replace(&mut self.newest, next));
        Ok(())
    }

    pub(super) fn retire(&mut self) {
        self.former.clear();
    }

    pub(super) fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.all().map(|key| key.jwk.clone()).collect() }
    }

    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for key in self.all() {
            if !algorithms.contains(&key.kind.algorithm()) {
                algorithms.push(key.kind.algorithm());
            }
        }
        algorithms
    }

    fn all(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.newest).chain(&self.former)
    }
}

impl SigningKey {
    fn generate(kind: KeyKind, number: u32) -> Result<Self, KeyError> {
        let (pkcs8, public) = key_pair(kind)?;
        let pem = pem("PRIVATE KEY", &pkcs8);
        let private = match kind {
            KeyKind::Rs256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            KeyKind::Es256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            KeyKind::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
        }
        .map_err(|e| KeyError(e.to_string()))?;
        let mut jwk = Jwk::from_encoding_key(&private, kind.algorithm()).map_err(|e| KeyError(e.to_string()))?;
        // The number makes ids readable in logs, the random part keeps two issuers' ids apart.
        let id = format!("key-{number}-{:08x}", uuid::Uuid::now_v7().as_u128() & 0xffff_ffff);
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_algorithm = Some(match kind {
            KeyKind::Rs256 => KeyAlgorithm::RS256,
            KeyKind::Es256 => KeyAlgorithm::ES256,
            KeyKind::EdDsa => KeyAlgorithm::EdDSA,
        });
        Ok(Self { kind, id, private, public_pem: self::pem("PUBLIC KEY", &public), jwk })
    }
}

/// A new key pair as PKCS #8 and SubjectPublicKeyInfo, both DER.
fn key_pair(kind: KeyKind) -> Result<(Vec<u8>, Vec<u8>), KeyError> {
    let failed = |_| KeyError("key generation failed".to_owned());
    Ok(match kind {
        KeyKind::Rs256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(failed)?;
            let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map_err(failed)?;
            (private.as_ref().to_vec(), public.as_ref().to_vec())
        }
        KeyKind::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
            let private = pair.to_pkcs8v1().map_err(failed)?;
            let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map_err(failed)?;
            (private.as_ref().to_vec(), public.as_ref().to_vec())
        }
        KeyKind::EdDsa => {
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(failed)?;
            let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map_err(failed)?;
            (private.as_ref().to_vec(), public.as_ref().to_vec())
        }
    })
}

/// RFC 7468 text of `der`.
fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
