//! A plan's identity, for caches of what it made of records.
//!
//! Two plans with the same fingerprint make the same of the same bytes and say the same about it:
//! what a plan consists of is hashed whole, each part with its length before it, so that no two
//! plans are written alike. Secrets enter by their check value only.

use aws_lc_rs::digest::{Context, SHA256};

use super::{Field, MaskEntry, Operator, Selector, Target};

/// Takes in what a plan consists of.
pub(super) struct Fingerprint(Context);

impl Fingerprint {
    pub(super) fn new() -> Self {
        let mut fingerprint = Self(Context::new(&SHA256));
        fingerprint.part(b"tidegate mask plan 4");
        fingerprint
    }

    pub(super) fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    pub(super) fn entry(&mut self, entry: &MaskEntry) {
        match &entry.target {
            Target::Class(class) => self.tagged(b"class", class.name()),
            Target::Custom(class) => {
                self.tagged(b"custom", class.name());
                self.part(class.definition().as_bytes());
            }
            Target::Field(field) => self.field(field),
            Target::Split(split) => {
                self.tagged(b"split", split.class.name());
                self.part(split.text.as_bytes());
            }
        }
        self.part(entry.rule.as_bytes());
        self.part(&[
            u8::from(entry.keys),
            u8::from(entry.observes),
            u8::from(entry.framed),
            u8::from(entry.csv.is_some()),
        ]);
        if let Some(form) = &entry.csv {
            self.part(format!("{form:?}").as_bytes());
        }
        self.part(&[entry.extras.base64_depth]);
        self.part(entry.extras.regions.as_ref().map_or("", |regions| regions.names()).as_bytes());
        self.operator(&entry.operator);
    }

    fn tagged(&mut self, tag: &[u8], text: &str) {
        self.part(tag);
        self.part(text.as_bytes());
    }

    fn field(&mut self, field: &Field) {
        match &field.selector {
            Selector::Path(path) => self.tagged(b"path", &path.to_string()),
            Selector::Name(name) => self.tagged(b"name", name),
            Selector::NamesOf(class) => self.tagged(b"names of", class.name()),
            Selector::Tag(tag) => self.tagged(b"tag", tag),
            Selector::Column(column) => self.tagged(b"column", &column.to_string()),
        }
        self.tagged(b"class", field.class.as_ref().map_or("", |class| class.name()));
        self.tagged(b"subject", field.subject.as_deref().unwrap_or_default());
        self.tagged(b"text", &field.text);
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
