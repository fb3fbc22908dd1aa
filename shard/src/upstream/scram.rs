//! SCRAM, the client's side: RFC 5802 with SHA-256 (RFC 7677) or SHA-512, without channel binding.
//!
//! The server proves that it knows the password as well: its signature is checked. Passwords go into the derivation as
//! they are, as Kafka has it; SASLprep changes nothing about ASCII.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use super::credentials::ScramCredentials;

/// Fewer iterations would make the password guessable from what is sent (RFC 7677 §4).
const ITERATIONS_MIN: u32 = 4096;
/// More would stall a shard; Kafka itself allows up to 16384.
const ITERATIONS_MAX: u32 = 65_536;
/// Longest salt and nonce that are accepted, in bytes of text.
const FIELD_BYTES_MAX: usize = 1024;

/// The hash that a SCRAM mechanism uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramHash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl ScramHash {
    /// The mechanism's name.
    #[must_use]
    pub const fn mechanism(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// What the password becomes for one salt and iteration count.
pub struct ScramKeys {
    salt: Vec<u8>,
    iterations: u32,
    client_key: Zeroizing<Vec<u8>>,
    server_key: Zeroizing<Vec<u8>>,
}

impl ScramKeys {
    fn derive(credentials: &ScramCredentials, salt: Vec<u8>, iterations: NonZeroU32) -> Self {
        let hash = credentials.hash;
        let mut salted = Zeroizing::new(vec![0; hash.digest().output_len()]);
        pbkdf2::derive(hash.pbkdf2(), iterations, &salt, credentials.password.reveal().as_bytes(), &mut salted);
        let key = hmac::Key::new(hash.hmac(), &salted);
        let derived = |label: &[u8]| Zeroizing::new(hmac::sign(&key, label).as_ref().to_vec());
        Self {
            salt,
            iterations: iterations.get(),
            client_key: derived(b"Client Key"),
            server_key: derived(b"Server Key"),
        }
    }
}

/// Why a SCRAM conversation fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// The server's message is not what RFC 5802 says it is.
    #[error("the broker's SCRAM message is malformed: {0}")]
    Malformed(&'static str),
    /// The iteration count is out of bounds.
    #[error("the broker wants {0} SCRAM iterations; {ITERATIONS_MIN} to {ITERATIONS_MAX} are accepted")]
    Iterations(u32),
    /// The server refuses the proof.
    #[error("the broker refuses the SCRAM login: {0}")]
    Refused(String),
    /// The server's signature is wrong: it does not know the password.
    #[error("the broker's SCRAM signature is wrong: it does not know the gateway's password")]
    ServerSignature,
}

/// One SCRAM conversation.
pub struct Scram {
    credentials: ScramCredentials,
    nonce: String,
    /// What the server must sign with, once the client's proof was sent.
    expected: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Scram {
    /// A conversation with a fresh nonce.
    #[must_use]
    pub fn new(credentials: &ScramCredentials) -> Self {
        let mut bytes = [0; 24];
        // aws-lc's generator does not fail once it is up; were the nonce all zeros, the server's share would still
        // make the exchange unique.
        let _ = rand::fill(&mut bytes);
        Self::with_nonce(credentials, STANDARD.encode(bytes))
    }

    fn with_nonce(credentials: &ScramCredentials, nonce: String) -> Self {
        Self { credentials: credentials.clone(), nonce, expected: None }
    }

    /// The client-first message.
    #[must_use]
    pub fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare()).into_bytes()
    }

    fn first_bare(&self) -> String {
        // RFC 5802 §5.1: `=` and `,` in names are written =3D and =2C.
        let user = self.credentials.username.replace('=', "=3D").replace(',', "=2C");
        format!("n={user},r={}", self.nonce)
    }

    /// The client-final message, in answer to the server-first message.
    ///
    /// # Errors
    /// [`ScramError`] where the server's message is malformed or asks for what is out of bounds.
    pub fn answer(&mut self, server_first: &[u8]) -> Result<Vec<u8>, ScramError> {
        let malformed = ScramError::Malformed;
        let text = std::str::from_utf8(server_first).map_err(|_| malformed("not UTF-8"))?;
        let mut fields = text.split(',');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name));
        let nonce = field("r=").ok_or(malformed("no nonce"))?;
        let salt = field("s=").ok_or(malformed("no salt"))?;
        let iterations = field("i=").ok_or(malformed("no iteration count"))?;
        if nonce.len() > FIELD_BYTES_MAX || salt.len() > FIELD_BYTES_MAX {
            return Err(malformed("an overlong field"));
        }
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(malformed("the nonce is not an extension of ours"));
        }
        let salt =
            STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty()).ok_or(malformed("a salt that is none"))?;
        let iterations: u32 = iterations.parse().map_err(|_| malformed("an iteration count that is none"))?;
        let counted = NonZeroU32::new(iterations).filter(|n| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&n.get()));
        let keys = self.keys(salt, counted.ok_or(ScramError::Iterations(iterations))?);

        let hash = self.credentials.hash;
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{text},{without_proof}", self.first_bare());
        let stored_key = digest::digest(hash.digest(), &keys.client_key);
        let signature = hmac::sign(&hmac::Key::new(hash.hmac(), stored_key.as_ref()), signed.as_bytes());
        let mut proof: Vec<u8> = keys.client_key.iter().zip(signature.as_ref()).map(|(key, s)| key ^ s).collect();
        let server_signature = hmac::sign(&hmac::Key::new(hash.hmac(), &keys.server_key), signed.as_bytes());
        self.expected = Some(Zeroizing::new(server_signature.as_ref().to_vec()));
        let message = format!("{without_proof},p={}", STANDARD.encode(&proof)).into_bytes();
        proof.zeroize();
        Ok(message)
    }

    fn keys(&self, salt: Vec<u8>, iterations: NonZeroU32) -> Arc<ScramKeys> {
        let derived = &self.credentials.derived;
        if let Some(keys) = derived.load_full()
            && keys.salt == salt
            && keys.iterations == iterations.get()
        {
            return keys;
        }
        let keys = Arc::new(ScramKeys::derive(&self.credentials, salt, iterations));
        derived.store(Some(keys.clone()));
        keys
    }

    /// Checks the server-final message: only after this is the server known to be the right one.
    ///
    /// # Errors
    /// [`ScramError::ServerSignature`] and [`ScramError::Refused`].
    pub fn finish(&mut self, server_final: &[u8]) -> Result<(), ScramError> {
        let text = std::str::from_utf8(server_final).map_err(|_| ScramError::Malformed("not UTF-8"))?;
        let first = text.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(ScramError::Refused(error.chars().take(200).collect()));
        }
        let signature = first.strip_prefix("v=").and_then(|v| STANDARD.decode(v).ok());
        let signature = signature.ok_or(ScramError::Malformed("no signature"))?;
        let expected = self.expected.take().ok_or(ScramError::Malformed("a signature before the proof"))?;
        verify_slices_are_equal(&expected, &signature).map_err(|_| ScramError::ServerSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::super::credentials::{Secret, UpstreamCredentials};
    use super::*;

    fn scram(hash: ScramHash, user: &str, password: &str, nonce: &str) -> Scram {
        match UpstreamCredentials::scram(hash, user, Secret::new(password.to_owned())) {
            UpstreamCredentials::Scram(credentials) => Scram::with_nonce(&credentials, nonce.to_owned()),
            other => panic!("{other:?}"),
        }
    }

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn the_example_of_rfc_7677_comes_out() {
        let mut client = scram(ScramHash::Sha256, "user", "pencil", NONCE);
        assert_eq!(client.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let answer = String::from_utf8(client.answer(SERVER_FIRST.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            answer,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(client.finish(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        // The same salt again: the keys are kept, and the answer is the same.
        let mut again = Scram::with_nonce(&client.credentials, NONCE.to_owned());
        assert!(client.credentials.derived.load().is_some());
        assert_eq!(String::from_utf8(again.answer(SERVER_FIRST.as_bytes()).unwrap()).unwrap(), answer);
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let finish = |message: &[u8]| {
            let mut client = scram(ScramHash::Sha256, "user", "pencil", NONCE);
            client.answer(SERVER_FIRST.as_bytes()).unwrap();
            client.finish(message)
        };
        assert_eq!(finish(b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Err(ScramError::ServerSignature));
        assert_eq!(finish(b"v="), Err(ScramError::ServerSignature));
        assert_eq!(finish(b"e=invalid-proof"), Err(ScramError::Refused("invalid-proof".to_owned())));
        assert!(matches!(finish(b""), Err(ScramError::Malformed(_))));
        let mut early = scram(ScramHash::Sha256, "user", "pencil", NONCE);
        assert!(matches!(early.finish(b"v=AAAA"), Err(ScramError::Malformed(_))));
    }

    #[test]
    fn server_first_messages_out_of_bounds_are_refused() {
        let answer = |message: &str| scram(ScramHash::Sha512, "user", "pencil", "abc").answer(message.as_bytes());
        assert!(answer("r=abcd,s=AAAA,i=4096").is_ok());
        assert_eq!(answer("r=abcd,s=AAAA,i=4095"), Err(ScramError::Iterations(4095)));
        assert_eq!(answer("r=abcd,s=AAAA,i=65537"), Err(ScramError::Iterations(65_537)));
        let long = format!("r=abc{},s=AAAA,i=4096", "x".repeat(2000));
        for message in [
            "",
            "r=abc,s=AAAA,i=4096",
            "r=xbcd,s=AAAA,i=4096",
            "r=abcd,s=,i=4096",
            "r=abcd,s=?,i=4096",
            "m=1,r=abcd",
            &long,
        ] {
            assert!(matches!(answer(message), Err(ScramError::Malformed(_))), "{message}");
        }
        assert!(matches!(answer("r=abcd,s=AAAA,i=-1"), Err(ScramError::Malformed(_))));
    }

    #[test]
    fn names_are_escaped_and_nonces_are_fresh() {
        let client = scram(ScramHash::Sha512, "a=b,c", "p", "n0");
        assert_eq!(client.first(), b"n,,n=a=3Db=2Cc,r=n0");
        assert_ne!(Scram::new(&client.credentials).nonce, Scram::new(&client.credentials).nonce);
    }
}
