//! A plan's identity, for caches of what it made of records.
//!
//! Two plans with the same fingerprint make the same of the same bytes and say the same about it:
//! what a plan consists of is hashed whole, each part with its length before it, so that no two
//! plans are written alike. Secrets enter by their check value only.

use aws_lc_rs::digest::{Context, SHA256};

use super::{MaskEntry, Operator};

/// Takes in what a plan consists of.
pub(super) struct Fingerprint(Context);

impl Fingerprint {
    pub(super) fn new() -> Self {
        let mut fingerprint = Self(Context::new(&SHA256));
        fingerprint.part(b"tidegate mask plan 1");
        fingerprint
    }

    pub(super) fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    pub(super) fn entry(&mut self, entry: &MaskEntry) {
        self.part(entry.class.name().as_bytes());
        self.part(entry.rule.as_bytes());
        self.part(&[u8::from(entry.keys)]);
        self.operator(&entry.operator);
    }

    fn operator(&mut self, operator: &Operator) {
        self.part(operator.name().as_bytes());
        match operator {
            Operator::KeepLast(count) | Operator::Truncate(count) => self.part(&[*count]),
            Operator::Replace(text) => self.part(text.as_bytes()),
            Operator::Pseudonym(key) | Operator::Encrypt(key) => {
                self.part(&key.epoch().to_be_bytes());
                self.part(&key.check());
            }
            Operator::None | Operator::Redact | Operator::Nullify | Operator::Generalise | Operator::DropRecord => {}
        }
    }

    /// The hash, cut to 128 bits.
    pub(super) fn finish(self) -> u128 {
        let digest = self.0.finish();
        digest.as_ref().first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
    }
}
