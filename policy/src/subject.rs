//! Tags of subjects: how evidence says whose data was found without saying it.
//!
//! A tag is 64 bits of an HMAC over the one spelling of a value, under a key of its class that is derived
//! from the epoch's secret (`audit/FORMAT.md`, Subjects, has it to the byte). Whoever has the secret can ask
//! for one value; nobody can list them, and destroying an epoch's secret ends even the asking.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use tidegate_core::words::DataClass;

use crate::mask::Class;
use crate::mask::canonical;

/// Bytes of a secret, at least.
pub const SECRET_BYTES_MIN: usize = 32;
/// The longest value that is taken for one of a subject, in bytes: what is longer identifies nobody.
pub(crate) const VALUE_BYTES_MAX: usize = 512;

/// The key of one epoch's tags, cheap to clone.
#[derive(Clone)]
pub struct SubjectKey(Arc<Inner>);

struct Inner {
    epoch: u32,
    root: hmac::Key,
    /// By the class's number.
    known: Vec<hmac::Key>,
    check: [u8; 8],
}

impl SubjectKey {
    /// Derives the keys of `epoch` from its secret. `None` where that is shorter than [`SECRET_BYTES_MIN`].
    #[must_use]
    pub fn new(epoch: u32, secret: &[u8]) -> Option<Self> {
        if secret.len() < SECRET_BYTES_MIN {
            return None;
        }
        let root = hmac::Key::new(HMAC_SHA256, secret);
        let check = derive(&root, b"tidegate subject check").as_ref().first_chunk().copied()?;
        let known = DataClass::ALL.iter().map(|class| class_key(&root, epoch, class.name())).collect();
        Some(Self(Arc::new(Inner { epoch, root, known, check })))
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.0.epoch
    }

    /// Tells it apart from other secrets without giving it away.
    #[must_use]
    pub fn check(&self) -> [u8; 8] {
        self.0.check
    }

    /// The tag of a value under a class by name: a built-in one, a policy's own, or a field's `subject`.
    /// `None` where nothing of the value is left to tag.
    #[must_use]
    pub fn tag(&self, class: &str, value: &str) -> Option<u64> {
        let known = DataClass::ALL.into_iter().find(|known| known.name() == class);
        let class = known.map_or(Class::Named(class), Class::Known);
        self.key(class).tag(class, value.as_bytes())
    }

    /// The key of a class. Those of built-in classes are made already.
    pub(crate) fn key(&self, class: Class<'_>) -> ClassKey {
        let made = match class {
            Class::Known(class) => self.0.known.get(class as usize).cloned(),
            Class::Named(_) => None,
        };
        ClassKey(made.unwrap_or_else(|| class_key(&self.0.root, self.0.epoch, class.name())))
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey(epoch {})", self.0.epoch)
    }
}

/// The key of one class in one epoch.
#[derive(Clone)]
pub(crate) struct ClassKey(hmac::Key);

impl ClassKey {
    /// The tag of a value as it stands in a payload.
    pub(crate) fn tag(&self, class: Class<'_>, found: &[u8]) -> Option<u64> {
        if found.len() > VALUE_BYTES_MAX {
            return None;
        }
        let spelling = canonical(class, found);
        let spelling = spelling.trim();
        if spelling.is_empty() {
            return None;
        }
        hmac::sign(&self.0, spelling.as_bytes()).as_ref().first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

impl fmt::Debug for ClassKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClassKey")
    }
}

fn class_key(root: &hmac::Key, epoch: u32, class: &str) -> hmac::Key {
    let label = [b"tidegate subject tag ", class.as_bytes(), &[0], &epoch.to_le_bytes()].concat();
    hmac::Key::new(HMAC_SHA256, derive(root, &label).as_ref())
}

/// One block of NIST SP 800-108's KDF in counter mode.
fn derive(root: &hmac::Key, label: &[u8]) -> hmac::Tag {
    hmac::sign(root, &[&[0, 0, 0, 1], label, &[0], &256u32.to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(epoch: u32, byte: u8) -> SubjectKey {
        SubjectKey::new(epoch, &[byte; 32]).unwrap()
    }

    #[test]
    fn spellings_of_one_value_have_one_tag() {
        let key = key(1, 1);
        for (class, spellings, other) in [
            (
                "email",
                &["alice@example.com", "Alice@EXAMPLE.com", " alice@example.com ", "alice\\u0040example.com"][..],
                "bob@example.com",
            ),
            ("phone", &["+49 (0) 30 1234567", "+49301234567", "+49-30-123-4567"], "+49301234568"),
            ("iban", &["DE89 3704 0044 0532 0130 00", "de89370400440532013000"], "DE89370400440532013001"),
            ("payment_card", &["4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111"], "5555555555554444"),
            ("person_name", &["Jane  Roe", "jane roe", "JANE ROE"], "Jane Doe"),
            ("ipv6", &["2001:db8::1", "2001:0DB8:0:0:0:0:0:1"], "2001:db8::2"),
            ("customer_id", &["C-4711", " C-4711"], "c-4711"),
        ] {
            let tags: Vec<Option<u64>> = spellings.iter().map(|value| key.tag(class, value)).collect();
            assert!(tags[0].is_some() && tags.iter().all(|tag| *tag == tags[0]), "{class}: {tags:?}");
            assert_ne!(key.tag(class, other), tags[0], "{class}");
        }
        assert_eq!(key.tag("email", "  "), None);
        assert_eq!(key.tag("customer_id", &"x".repeat(VALUE_BYTES_MAX + 1)), None);
    }

    #[test]
    fn tags_depend_on_secret_epoch_and_class() {
        let tag = key(1, 1).tag("customer_id", "4711");
        assert_ne!(tag, key(2, 1).tag("customer_id", "4711"));
        assert_ne!(tag, key(1, 2).tag("customer_id", "4711"));
        assert_ne!(tag, key(1, 1).tag("order_id", "4711"));
        assert_ne!(key(1, 1).check(), key(1, 2).check());
        assert!(SubjectKey::new(1, &[0; 31]).is_none());
        assert_eq!(format!("{:?}", key(3, 9)), "SubjectKey(epoch 3)");
    }

    /// Worked out with Python's hmac module from FORMAT.md alone.
    #[test]
    fn the_tag_is_the_documented_one() {
        let key = SubjectKey::new(1, &std::array::from_fn::<u8, 32, _>(|n| n as u8)).unwrap();
        assert_eq!(key.tag("email", "Alice@example.com"), Some(0x80bba78b1f03bf35));
        assert_eq!(key.check(), [77, 160, 142, 184, 90, 46, 160, 130]);
    }

    proptest! {
        #[test]
        fn tags_are_equal_where_spellings_are(a in "[a-cA-C ]{1,4}", b in "[a-cA-C ]{1,4}") {
            let key = key(1, 1);
            for class in [Class::Known(DataClass::PersonName), Class::Known(DataClass::Iban), Class::Named("id")] {
                let spelling = |text: &str| canonical(class, text.as_bytes()).trim().to_owned();
                let same = spelling(&a) == spelling(&b);
                let tags = (key.tag(class.name(), &a), key.tag(class.name(), &b));
                prop_assert_eq!(tags.0 == tags.1, same, "{} {:?}", class.name(), tags);
            }
        }
    }
}
