//! Signed messages between the gateway and programs that share a secret with it: notifications that
//! go out, callbacks that come in, and an automated approver's question and answer.
//!
//! The signature is HMAC-SHA256 over what the message is for, its time, its nonce and its body, so
//! that none of them can be taken for another. Invariants: compared in constant time; a callback is
//! taken at most once, within [`WINDOW_SECS`] of its time, and never one that is older than this
//! process, whose memory of nonces begins with it; that memory is bounded and refuses when full.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac;
use tidegate_core::words::Timestamp;
use zeroize::Zeroizing;

/// By how much the time of a message may differ from ours, in seconds.
pub(super) const WINDOW_SECS: i64 = 300;
/// The header that holds the time of a message: seconds since 1970.
pub(super) const TIMESTAMP: &str = "tidegate-timestamp";
/// The header that holds what makes a message unique: 16 to 128 letters, digits, `.`, `_`, `-`.
pub(super) const NONCE: &str = "tidegate-nonce";
/// The header that holds the signature: `v1=` and hexadecimal digits.
pub(super) const SIGNATURE: &str = "tidegate-signature";
/// Nonces remembered. At the bound callbacks are refused until some are too old.
const NONCES_MAX: usize = 10_000;
/// The shortest secret, in bytes.
const SECRET_BYTES_MIN: usize = 32;
/// The largest secret file that is read, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// What a message is for; part of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// A notification that goes out.
    Notification,
    /// A callback of this name that comes in.
    Callback(&'a str),
    /// A question to an automated approver.
    Question,
    /// Its answer, to the question of this nonce.
    Answer(&'a str),
}

impl Purpose<'_> {
    fn text(&self) -> String {
        match self {
            Self::Notification => "notification".to_owned(),
            Self::Callback(name) => format!("callback {name}"),
            Self::Question => "question".to_owned(),
            Self::Answer(nonce) => format!("answer {nonce}"),
        }
    }
}

/// A shared secret.
pub(super) struct Secret(hmac::Key);

impl Secret {
    /// Reads a secret's file; a newline at the end is left out.
    ///
    /// # Errors
    /// One sentence that shows nothing of what is in it.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        Self::new(&Zeroizing::new(bytes)).map_err(|error| format!("{} {error}", file.display()))
    }

    /// The secret of these bytes.
    ///
    /// # Errors
    /// Where they are too few or too many.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, String> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            let count = bytes.len();
            return Err(format!("holds {count} bytes; a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}"));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// The signature, as it stands in the header.
    pub(super) fn sign(&self, purpose: Purpose<'_>, seconds: i64, nonce: &str, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&prefix(purpose, seconds, nonce));
        context.update(body);
        let mut text = String::from("v1=");
        for byte in context.sign().as_ref() {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }

    /// Whether `signature` is that of the message. In constant time.
    #[must_use]
    pub(super) fn verifies(
        &self,
        purpose: Purpose<'_>,
        seconds: i64,
        nonce: &str,
        body: &[u8],
        signature: &str,
    ) -> bool {
        let Some(tag) = signature.strip_prefix("v1=").and_then(unhex) else { return false };
        let mut message = prefix(purpose, seconds, nonce);
        message.extend_from_slice(body);
        hmac::verify(&self.0, &message, &tag).is_ok()
    }
}

fn prefix(purpose: Purpose<'_>, seconds: i64, nonce: &str) -> Vec<u8> {
    format!("tidegate v1\n{}\n{seconds}\n{nonce}\n", purpose.text()).into_bytes()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Whether `nonce` can be one: long enough to be unique, and of characters that need no quoting.
#[must_use]
pub(super) fn is_nonce(nonce: &str) -> bool {
    (16..=128).contains(&nonce.len())
        && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Why a signed message is refused though its signature is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stale {
    /// Its time is too far from ours.
    #[error("its time differs by more than {WINDOW_SECS} seconds from the gateway's")]
    OutOfTime,
    /// It was signed before this process began.
    #[error("it was signed before the gateway started; sign it anew")]
    BeforeStart,
    /// The same nonce came before.
    #[error("its nonce was used before")]
    Replayed,
    /// Nothing more can be remembered.
    #[error("too many callbacks in {WINDOW_SECS} seconds")]
    Full,
}

/// The nonces that were used lately.
#[derive(Debug)]
pub(super) struct Nonces {
    started: Timestamp,
    /// When each may be forgotten.
    used: HashMap<(Arc<str>, String), Timestamp>,
}

impl Nonces {
    /// None used yet by a process that started at `started`.
    #[must_use]
    pub(super) fn new(started: Timestamp) -> Self {
        Self { started, used: HashMap::new() }
    }

    /// Uses up a nonce of the callback `name`, whose signature has been verified before.
    ///
    /// # Errors
    /// [`Stale`] where it counts no longer.
    pub(super) fn take(&mut self, name: &Arc<str>, nonce: &str, seconds: i64, now: Timestamp) -> Result<(), Stale> {
        if now.as_secs().abs_diff(seconds) > WINDOW_SECS.unsigned_abs() {
            return Err(Stale::OutOfTime);
        }
        if seconds < self.started.as_secs() {
            return Err(Stale::BeforeStart);
        }
        let key = (name.clone(), nonce.to_owned());
        if self.used.get(&key).is_some_and(|until| now < *until) {
            return Err(Stale::Replayed);
        }
        if self.used.len() >= NONCES_MAX {
            self.used.retain(|_, until| now < *until);
        }
        if self.used.len() >= NONCES_MAX {
            return Err(Stale::Full);
        }
        // A message from the future counts until its own window has passed.
        self.used.insert(key, Timestamp::from_secs(seconds.saturating_add(WINDOW_SECS + 1)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_signature_is_for_one_message_of_one_purpose_under_one_secret() {
        let secret = Secret::new(&[7; 32]).unwrap();
        let other = Secret::new(&[8; 32]).unwrap();
        let (nonce, body) = ("0123456789abcdef", b"{}".as_slice());
        let signature = secret.sign(Purpose::Callback("bot"), 5, nonce, body);
        let verifies = |secret: &Secret, purpose, seconds, nonce, body: &[u8], signature: &str| {
            secret.verifies(purpose, seconds, nonce, body, signature)
        };
        let callback = Purpose::Callback("bot");
        assert!(verifies(&secret, callback, 5, nonce, body, &signature));
        assert!(!verifies(&other, callback, 5, nonce, body, &signature));
        assert!(!verifies(&secret, Purpose::Callback("bit"), 5, nonce, body, &signature));
        assert!(!verifies(&secret, Purpose::Notification, 5, nonce, body, &signature));
        assert!(!verifies(&secret, Purpose::Answer("bot"), 5, nonce, body, &signature));
        assert!(!verifies(&secret, callback, 6, nonce, body, &signature));
        assert!(!verifies(&secret, callback, 5, "1123456789abcdef", body, &signature));
        assert!(!verifies(&secret, callback, 5, nonce, b"{ }", &signature));
        for broken in ["", "v1=", "v2=00", &signature[3..], &signature[..signature.len() - 1], "v1=é"] {
            assert!(!verifies(&secret, callback, 5, nonce, body, broken), "{broken}");
        }
    }

    /// The base string of a published example, so that others can write the other end.
    #[test]
    fn the_signature_is_the_documented_one() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[b'k'; 32]);
        let message = b"tidegate v1\ncallback bot\n1800000000\n0123456789abcdef\n{\"decision\":\"approve\"}";
        let expected: String = hmac::sign(&key, message).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let secret = Secret::new(&[b'k'; 32]).unwrap();
        let body = b"{\"decision\":\"approve\"}";
        let signed = secret.sign(Purpose::Callback("bot"), 1_800_000_000, "0123456789abcdef", body);
        assert_eq!(signed, format!("v1={expected}"));
    }

    #[test]
    fn a_secret_is_long_enough_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        for (text, says) in [("hunter2", "holds 7 bytes"), ("", "holds 0 bytes")] {
            std::fs::write(&file, text).unwrap();
            let error = Secret::read(&file).err().unwrap();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
        std::fs::write(&file, "x".repeat(32) + "\n").unwrap();
        assert!(Secret::read(&file).is_ok());
        assert!(Secret::read(&folder.path().join("none")).err().unwrap().contains("No such file"));
    }

    #[test]
    fn a_nonce_counts_once_and_only_for_a_while() {
        let (bot, bit): (Arc<str>, Arc<str>) = (Arc::from("bot"), Arc::from("bit"));
        let now = NOW.as_secs();
        let mut nonces = Nonces::new(NOW.plus_millis(-60_000));
        assert_eq!(nonces.take(&bot, "a", now, NOW), Ok(()));
        assert_eq!(nonces.take(&bot, "a", now, NOW), Err(Stale::Replayed));
        assert_eq!(nonces.take(&bit, "a", now, NOW), Ok(()), "each callback has its own");
        assert_eq!(nonces.take(&bot, "b", now - 61, NOW), Err(Stale::BeforeStart));
        assert_eq!(nonces.take(&bot, "b", now + 300, NOW), Ok(()));
        assert_eq!(nonces.take(&bot, "c", now + 301, NOW), Err(Stale::OutOfTime));
        let later = NOW.plus_millis(550_000);
        assert_eq!(
            nonces.take(&bot, "b", now + 300, later),
            Err(Stale::Replayed),
            "one from the future is kept longer"
        );
        assert_eq!(nonces.take(&bot, "d", now, later), Err(Stale::OutOfTime));
    }

    #[test]
    fn a_flood_of_nonces_is_refused_and_remembered_ones_stay() {
        let bot: Arc<str> = Arc::from("bot");
        let mut nonces = Nonces::new(Timestamp(0));
        let now = NOW.as_secs();
        for number in 0..NONCES_MAX {
            assert_eq!(nonces.take(&bot, &number.to_string(), now, NOW), Ok(()));
        }
        assert_eq!(nonces.take(&bot, "one more", now, NOW), Err(Stale::Full));
        assert_eq!(nonces.take(&bot, "0", now, NOW), Err(Stale::Replayed));
        let later = NOW.plus_millis(302_000);
        assert_eq!(nonces.take(&bot, "one more", later.as_secs(), later), Ok(()));
        assert_eq!(nonces.used.len(), 1);
    }

    #[test]
    fn nonces_have_a_shape() {
        for good in ["0123456789abcdef", "a.b_c-d.e_f-g.h_i", &"x".repeat(128)] {
            assert!(is_nonce(good), "{good}");
        }
        for bad in ["", "0123456789abcde", "0123456789abcde\n", "0123456789abcdé!", &"x".repeat(129)] {
            assert!(!is_nonce(bad), "{bad}");
        }
    }
}
