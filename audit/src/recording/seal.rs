//! Sealing recordings to auditors: a key per recording, wrapped for each auditor's public key with HPKE (RFC 9180),
//! and AES-256-GCM for the payloads. The gateway forgets the key when the recording ends, and could never unwrap it.
//!
//! HPKE is rustls' on aws-lc-rs: one crypto library in the product, and no code of ours.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use super::format::{FramePrefix, Header, Recipient};

/// How an auditor's public key begins as text.
pub const PUBLIC_PREFIX: &str = "tidegate-auditor:";
/// How an auditor's secret key begins as text.
pub const SECRET_PREFIX: &str = "tidegate-auditor-secret:";
/// Said to HPKE, so that what is wrapped for a recording can be nothing else.
const INFO: &[u8] = b"tidegate recording v1";

/// Why something is not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The text is no key.
    #[error("is no {0} of an auditor; `tidegate session key` makes one")]
    Key(&'static str),
    /// The recording is not sealed for this key.
    #[error("the recording is sealed for {0}, not for this key")]
    NotForYou(String),
    /// The key fits by name, but what was wrapped does not open.
    #[error("the recording's key does not open: it, the header or the file was changed")]
    Wrapped,
    /// A payload does not open.
    #[error("the payload does not open: it was changed")]
    Payload,
    /// The system has no randomness, or the library failed.
    #[error("sealing failed")]
    Failed,
}

/// An auditor's public key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From text.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let key = text.trim().strip_prefix(PUBLIC_PREFIX).and_then(|text| BASE64.decode(text).ok());
        key.and_then(|key| Some(Self(key.try_into().ok()?))).ok_or(SealError::Key("public key"))
    }

    /// Of these bytes, which may be any.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", BASE64.encode(self.0))
    }
}

/// An auditor's secret key.
pub struct SecretKey {
    secret: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn generate() -> Result<Self, SealError> {
        let (public, secret) = SUITE.generate_key_pair().map_err(|_| SealError::Failed)?;
        let public = public.0.try_into().map(PublicKey).map_err(|_| SealError::Failed)?;
        Ok(Self { secret: Zeroizing::new(secret.secret_bytes().to_vec()), public })
    }

    /// From text: the secret and the public half.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let wrong = || SealError::Key("secret key");
        let lines = || text.lines().map(str::trim);
        let secret = lines().find_map(|line| line.strip_prefix(SECRET_PREFIX)).ok_or_else(wrong)?;
        let secret = Zeroizing::new(BASE64.decode(secret).map_err(|_| wrong())?);
        let public = lines().find(|line| line.starts_with(PUBLIC_PREFIX)).ok_or_else(wrong)?;
        let public = PublicKey::parse(public)?;
        (secret.len() == 32).then_some(Self { secret, public }).ok_or_else(wrong)
    }

    /// The text of its file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n{SECRET_PREFIX}{}\n", self.public, BASE64.encode(&*self.secret)))
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }
}

/// A recording's key.
pub struct DataKey(LessSafeKey);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

impl DataKey {
    fn new(bytes: &[u8]) -> Result<Self, SealError> {
        UnboundKey::new(&AES_256_GCM, bytes).map(|key| Self(LessSafeKey::new(key))).map_err(|_| SealError::Failed)
    }

    /// Makes a key for the recording of `header` and wraps it there for each auditor.
    ///
    /// # Errors
    /// [`SealError::Failed`]; an auditor's key is none.
    pub fn make(header: &mut Header, auditors: &[(String, PublicKey)]) -> Result<Self, SealError> {
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(&mut secret[..]).map_err(|_| SealError::Failed)?;
        let bound = bound_to(header);
        for (name, key) in auditors {
            let (encapsulated, wrapped) =
                SUITE.seal(INFO, &bound, &secret[..], &HpkePublicKey(key.0.to_vec())).map_err(|_| SealError::Failed)?;
            header.recipients.push(Recipient {
                name: name.clone(),
                public_key: key.0.to_vec(),
                encapsulated: encapsulated.0,
                wrapped,
            });
        }
        Self::new(&secret[..])
    }

    /// The key of the recording of `header`, for an auditor.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(header: &Header, key: &SecretKey) -> Result<Self, SealError> {
        let Some(own) = header.recipients.iter().find(|recipient| recipient.public_key == key.public.0) else {
            let names: Vec<&str> = header.recipients.iter().map(|recipient| recipient.name.as_str()).collect();
            return Err(SealError::NotForYou(names.join(", ")));
        };
        let encapsulated = EncapsulatedSecret(own.encapsulated.clone());
        let private = HpkePrivateKey::from(key.secret.to_vec());
        let secret = SUITE
            .open(&encapsulated, INFO, &bound_to(header), &own.wrapped, &private)
            .map(Zeroizing::new)
            .map_err(|_| SealError::Wrapped)?;
        Self::new(&secret).map_err(|_| SealError::Wrapped)
    }

    /// Seals a payload in place, for the frame of `prefix`, whose length must be that of the sealed payload.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn seal(&self, prefix: &FramePrefix, payload: &mut Vec<u8>) -> Result<(), SealError> {
        let aad = Aad::from(prefix.encode());
        self.0.seal_in_place_append_tag(nonce(prefix.number), aad, payload).map_err(|_| SealError::Failed)
    }

    /// Opens the payload of the frame of `prefix`.
    ///
    /// # Errors
    /// [`SealError::Payload`].
    pub fn open_payload(&self, prefix: &FramePrefix, mut payload: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let aad = Aad::from(prefix.encode());
        let plain =
            self.0.open_in_place(nonce(prefix.number), aad, &mut payload).map_err(|_| SealError::Payload)?.len();
        payload.truncate(plain);
        Ok(payload)
    }

    /// How much longer a payload becomes by sealing.
    #[must_use]
    pub fn overhead() -> usize {
        AES_256_GCM.tag_len()
    }
}

/// A key is of one recording, and a number of one frame in it, so none comes twice.
fn nonce(number: u32) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// What a wrapped key is bound to.
fn bound_to(header: &Header) -> Vec<u8> {
    format!("{}\n{}\n{}", header.origin, header.session, header.part).into_bytes()
}
