//! What masking does to findings: operators, the compiled plan, and the pass over records.
//!
//! A [`MaskPlan`] is compiled by the snapshot for one (topic, direction, principal) and shared by
//! every exchange under it. [`MaskPlan::begin`] starts a pass over the records of one partition;
//! the pass is what `tidegate_core::batch::inspect` shows records to, and it tallies what it found.
//!
//! Data is found in two ways: by itself ([`crate::scan`]), and by the field it stands in: [`path`]
//! and `names` say which fields, `json` and `csv` where they stand.
//!
//! Reading order: this file, [`plan`], [`pass`], then `operate` (where bytes change), `value` (what
//! a found value becomes) and [`key`]; of the fields [`path`], `automaton`, `names`, `fields`,
//! `json`, `csv`, [`split`]; of records with a schema [`schema`], then `framed`.
//!
//! Invariants: the plan is immutable; a record without findings costs no allocation; what was JSON
//! is JSON afterwards, and what no rule names keeps its bytes; what was binary keeps its length.

use std::sync::Arc;

use tidegate_core::words::DataClass;

use crate::scan::Extras;
use crate::scan::custom::CustomClass;

mod automaton;
mod csv;
mod fields;
mod fingerprint;
mod framed;
mod json;
pub mod key;
mod names;
mod operate;
pub mod pass;
pub mod path;
pub mod plan;
pub mod schema;
pub mod split;
#[cfg(test)]
mod tests;
mod value;

pub use csv::CsvForm;
pub use key::MaskKey;
pub use names::has_dictionary;
pub use pass::MaskPass;
pub use path::Path;
pub use plan::MaskPlan;
pub use split::Split;
pub(crate) use value::canonical;

/// What is done to a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// Nothing: the principal is exempt, the finding is only counted.
    None,
    /// The finding is replaced by its class's marker: `[email]`, `[phone]`, `[payment_card]`.
    Redact,
    /// All letters and digits but the last `n` become `*`; separators stay. At least half of them
    /// are masked, whatever `n` says, so that a short finding does not stay readable.
    KeepLast(u8),
    /// The finding is replaced by this text. [`is_replacement`] says which texts are fit.
    Replace(Arc<str>),
    /// A JSON string or number that is the finding becomes `null`; anywhere else it is taken out.
    Nullify,
    /// Only the first `n` letters and digits stay, at most half of them; the rest is cut off.
    Truncate(u8),
    /// The finding becomes the range it belongs to; [`can_generalise`] says of which classes.
    Generalise,
    /// The finding becomes a keyed pseudonym: the same value gives the same pseudonym, wherever it
    /// stands and however it is written, so that data can be joined.
    Pseudonym(MaskKey),
    /// The finding's digits are encrypted to as many digits (FF1); [`can_encrypt`] says of which
    /// classes.
    Encrypt(MaskKey),
    /// The record that holds the finding is emptied: value and header values become null. Its offset
    /// stays taken.
    DropRecord,
}

impl Operator {
    /// The name in policy files and evidence.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Redact => "redact",
            Self::KeepLast(_) => "keep_last",
            Self::Replace(_) => "replace",
            Self::Nullify => "nullify",
            Self::Truncate(_) => "truncate",
            Self::Generalise => "generalise",
            Self::Pseudonym(_) => "pseudonym",
            Self::Encrypt(_) => "encrypt",
            Self::DropRecord => "drop_record",
        }
    }

    /// Whether findings change under it.
    #[must_use]
    pub const fn masks(&self) -> bool {
        !matches!(self, Self::None)
    }
}

/// Whether a text may be put in the place of a finding wherever that stands: it needs no escaping
/// in JSON, nor in JSON within JSON. A policy file with another is to be refused.
#[must_use]
pub fn is_replacement(text: &str) -> bool {
    text.chars().all(fits_json)
}

fn fits_json(character: char) -> bool {
    !character.is_control() && !matches!(character, '"' | '\\')
}

/// Whether findings of `class` belong to ranges that [`Operator::Generalise`] knows: networks of /24
/// and /48, a device's maker, an e-mail's domain, a card's issuer, an account's or company's country,
/// a date's year.
#[must_use]
pub const fn can_generalise(class: DataClass) -> bool {
    use DataClass::{DateOfBirth, Email, EuVat, Iban, Ipv4, Ipv6, MacAddress, PaymentCard};
    matches!(class, DateOfBirth | Email | EuVat | Iban | Ipv4 | Ipv6 | MacAddress | PaymentCard)
}

/// Whether findings of `class` always have the six digits that FF1's smallest domain asks for.
#[must_use]
pub const fn can_encrypt(class: DataClass) -> bool {
    use DataClass::{
        ApiSecret, BtcAddress, CryptoAddress, DateOfBirth, Email, Ipv4, Ipv6, ItCodiceFiscale, Jwt, MacAddress,
        Passport, PersonName, PostalAddress,
    };
    !matches!(
        class,
        ApiSecret
            | BtcAddress
            | CryptoAddress
            | DateOfBirth
            | Email
            | Ipv4
            | Ipv6
            | ItCodiceFiscale
            | Jwt
            | MacAddress
            | Passport
            | PersonName
            | PostalAddress
    )
}

/// The class of what is masked: a built-in one, or a custom one or a field by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class<'a> {
    /// A built-in one.
    Known(DataClass),
    /// Any other.
    Named(&'a str),
}

impl<'a> Class<'a> {
    /// The name in markers, pseudonyms and evidence.
    pub(crate) const fn name(self) -> &'a str {
        match self {
            Self::Known(class) => class.name(),
            Self::Named(name) => name,
        }
    }
}

/// The class of a field whose rule names none.
const FIELD_CLASS: &str = "field";

/// What an entry of a plan is about.
#[derive(Debug, Clone)]
pub enum Target {
    /// Data that the scanner recognises, or where it cannot, fields that are named like such data.
    Class(DataClass),
    /// Data that a custom class recognises.
    Custom(Arc<CustomClass>),
    /// A field, whatever stands in it.
    Field(Arc<Field>),
    /// Data that is split across fields.
    Split(Arc<Split>),
}

/// A field that a rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Which one.
    pub selector: Selector,
    /// What stands in it, for markers and evidence.
    pub class: Option<FieldClass>,
    /// Whose data stands in it: the name under which the evidence tags what does.
    pub subject: Option<Arc<str>>,
    /// As the rule writes it, for the evidence.
    pub text: Box<str>,
}

/// What stands in a field, as its rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldClass {
    /// Data of a built-in class.
    Known(DataClass),
    /// Data of a custom class.
    Custom(Arc<str>),
}

/// How a rule names a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By its path in a document.
    Path(Path),
    /// By its name, at any depth; upper and lower case, accents and separators do not count.
    Name(Box<str>),
    /// By all names that fields with data of this class usually have.
    NamesOf(DataClass),
    /// By a tag that its schema gives it.
    Tag(Box<str>),
    /// By the number of its column, from 1.
    Column(u32),
}

/// One thing to be masked under one operator, and the rule that says so.
#[derive(Debug, Clone)]
pub struct MaskEntry {
    /// What is masked.
    pub target: Target,
    /// What happens to it.
    pub operator: Operator,
    /// The name of the mask rule (or of the exemption) in the policy file.
    pub rule: Arc<str>,
    /// Whether record keys are masked as well. Off unless the rule says so, because a masked key
    /// changes partitioning and compaction.
    pub keys: bool,
    /// Whether the rule only reports: it changes nothing, and keeps no other rule from changing.
    pub observes: bool,
    /// How records are to be read as CSV, where the rule says so.
    pub csv: Option<Arc<CsvForm>>,
    /// Whether records may be in a schema registry's framing, and are then read by their schemas.
    pub framed: bool,
    /// What is asked of the scanner beyond classes. That of all entries of a plan counts together.
    pub extras: Extras,
}

impl MaskEntry {
    /// An entry for values, that masks.
    #[must_use]
    pub fn new(target: Target, operator: Operator, rule: impl Into<Arc<str>>) -> Self {
        let extras = Extras::default();
        Self { target, operator, rule: rule.into(), keys: false, observes: false, csv: None, framed: false, extras }
    }

    pub(crate) fn class(&self) -> Class<'_> {
        match &self.target {
            Target::Class(class) => Class::Known(*class),
            Target::Split(split) => Class::Known(split.class),
            Target::Custom(class) => Class::Named(class.name()),
            Target::Field(field) => match &field.class {
                Some(FieldClass::Known(class)) => Class::Known(*class),
                Some(FieldClass::Custom(name)) => Class::Named(name),
                None => match (&field.subject, &field.selector) {
                    (Some(subject), _) => Class::Named(subject),
                    (None, Selector::NamesOf(class)) => Class::Known(*class),
                    _ => Class::Named(FIELD_CLASS),
                },
            },
        }
    }

    /// The class under which values are tagged as a subject's; `None` where they are nobody's: secrets of
    /// programs, and fields of which the rule does not say what they hold.
    pub(crate) fn subject_class(&self) -> Option<Class<'_>> {
        match self.class() {
            Class::Known(DataClass::ApiSecret | DataClass::Jwt) => None,
            Class::Named(FIELD_CLASS) => None,
            class => Some(class),
        }
    }

    /// The name of the class of data, for the evidence; `field` where a field's rule names none.
    #[must_use]
    pub fn class_name(&self) -> &str {
        self.class().name()
    }

    /// The field as the rule writes it; empty where data is recognised by itself.
    #[must_use]
    pub fn field(&self) -> &str {
        match &self.target {
            Target::Field(field) => &field.text,
            Target::Split(split) => &split.text,
            Target::Class(_) | Target::Custom(_) => "",
        }
    }

    /// What is done, as evidence says it: the operator's name, or `observe`.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        if self.observes { "observe" } else { self.operator.name() }
    }

    /// Whether bytes change under it.
    #[must_use]
    pub const fn masks(&self) -> bool {
        !self.observes && self.operator.masks()
    }
}
