//! Keys of pseudonyms and of format-preserving encryption.
//!
//! A key is a secret of 32 bytes or more with a name and an epoch. Both uses have keys of their own,
//! derived from it with HMAC-SHA-256 as a key derivation function (NIST SP 800-108, in counter mode
//! with one block), so that neither tells about the other. A pseudonym is an HMAC (RFC 2104) cut to
//! 128 bits, over class and value; encryption is FF1 (NIST SP 800-38G) with AES-256 over decimal
//! digits, the class being the tweak.
//!
//! Rotation: a new secret gets the next epoch. Pseudonyms show their epoch, so what was written
//! before is told apart and joins only with its own.

use std::fmt;
use std::sync::Arc;

use aes::Aes256;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use fpe::ff1::{FF1, FlexibleNumeralString};

/// Bytes of a secret, at least.
pub const SECRET_BYTES_MIN: usize = 32;
/// FF1's smallest domain: NIST SP 800-38G revision 1 wants a million values, six digits.
pub const ENCRYPTED_DIGITS_MIN: usize = 6;
/// What the longest finding of digits has, with room to spare.
const ENCRYPTED_DIGITS_MAX: usize = 64;
const RADIX: u32 = 10;

/// A key, cheap to clone.
#[derive(Clone)]
pub struct MaskKey(Arc<Inner>);

struct Inner {
    name: Box<str>,
    epoch: u32,
    pseudonym: hmac::Key,
    cipher: FF1<Aes256>,
    /// Tells keys apart without showing them.
    check: [u8; 8],
}

impl MaskKey {
    /// Derives the keys from `secret`. `None` where it is shorter than [`SECRET_BYTES_MIN`].
    #[must_use]
    pub fn new(name: &str, epoch: u32, secret: &[u8]) -> Option<Self> {
        if secret.len() < SECRET_BYTES_MIN {
            return None;
        }
        let root = hmac::Key::new(HMAC_SHA256, secret);
        let derive = |label: &str| {
            let input = [&[0, 0, 0, 1], label.as_bytes(), &[0], &256u32.to_be_bytes()].concat();
            hmac::sign(&root, &input)
        };
        let check = derive("tidegate check").as_ref().first_chunk().copied()?;
        let pseudonym = hmac::Key::new(HMAC_SHA256, derive("tidegate pseudonym").as_ref());
        let cipher = FF1::new(derive("tidegate ff1").as_ref(), RADIX).ok()?;
        Some(Self(Arc::new(Inner { name: name.into(), epoch, pseudonym, cipher, check })))
    }

    /// The pseudonym of a value, all of whose spellings are to be the same by now.
    pub(super) fn pseudonym(&self, class: &str, value: &[u8]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0.pseudonym);
        context.update(class.as_bytes());
        context.update(&[0]);
        context.update(value);
        context.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Encrypts decimal digits (values, not ASCII) to as many; false where there are too few or too
    /// many, which then stay as they are.
    pub(super) fn encrypt(&self, class: &str, digits: &mut [u8]) -> bool {
        self.permute(class, digits, |cipher, tweak, numerals| cipher.encrypt(tweak, numerals).ok())
    }

    /// Undoes [`MaskKey::encrypt`].
    #[cfg(test)]
    pub(super) fn decrypt(&self, class: &str, digits: &mut [u8]) -> bool {
        self.permute(class, digits, |cipher, tweak, numerals| cipher.decrypt(tweak, numerals).ok())
    }

    fn permute(
        &self,
        class: &str,
        digits: &mut [u8],
        step: impl Fn(&FF1<Aes256>, &[u8], &FlexibleNumeralString) -> Option<FlexibleNumeralString>,
    ) -> bool {
        if !(ENCRYPTED_DIGITS_MIN..=ENCRYPTED_DIGITS_MAX).contains(&digits.len()) {
            return false;
        }
        let numerals: Vec<u16> = digits.iter().map(|digit| u16::from(*digit)).collect();
        let Some(permuted) = step(&self.0.cipher, class.as_bytes(), &numerals.into()) else { return false };
        let permuted: Vec<u16> = permuted.into();
        digits.iter_mut().zip(permuted).for_each(|(digit, numeral)| *digit = numeral as u8);
        true
    }

    /// Tells this secret apart from others without giving it away.
    pub(crate) fn check(&self) -> [u8; 8] {
        self.0.check
    }

    /// The key's epoch.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.0.epoch
    }
}

impl PartialEq for MaskKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.0.name, self.0.epoch, self.0.check) == (&other.0.name, other.0.epoch, other.0.check)
    }
}

impl Eq for MaskKey {}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskKey({}, epoch {})", self.0.name, self.0.epoch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(epoch: u32, byte: u8) -> MaskKey {
        MaskKey::new("k", epoch, &[byte; 32]).unwrap()
    }

    #[test]
    fn secrets_are_long_and_never_shown() {
        assert!(MaskKey::new("k", 1, &[1; 31]).is_none());
        assert_eq!(format!("{:?}", key(3, 7)), "MaskKey(k, epoch 3)");
        assert_eq!(key(1, 1), key(1, 1));
        assert_ne!(key(1, 1), key(1, 2));
        assert_ne!(key(1, 1), key(2, 1));
    }

    #[test]
    fn pseudonyms_depend_on_key_class_and_value() {
        let pseudonym = key(1, 1).pseudonym("email", b"a@b.cc");
        assert_eq!(pseudonym, key(1, 1).pseudonym("email", b"a@b.cc"));
        assert_ne!(pseudonym, key(1, 2).pseudonym("email", b"a@b.cc"));
        assert_ne!(pseudonym, key(1, 1).pseudonym("phone", b"a@b.cc"));
        assert_ne!(pseudonym, key(1, 1).pseudonym("email", b"a@b.cd"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn encryption_is_undone_by_decryption(digits in proptest::collection::vec(0u8..10, 0..70)) {
            let mut permuted = digits.clone();
            let encrypted = key(1, 9).encrypt("payment_card", &mut permuted);
            prop_assert_eq!(encrypted, (ENCRYPTED_DIGITS_MIN..=ENCRYPTED_DIGITS_MAX).contains(&digits.len()));
            prop_assert!(permuted.iter().all(|digit| *digit < 10));
            if encrypted {
                prop_assert!(key(1, 9).decrypt("payment_card", &mut permuted));
            }
            prop_assert_eq!(permuted, digits);
        }
    }
}
