//! What masking does to findings: operators, the compiled plan, and the pass over records.
//!
//! A [`MaskPlan`] is compiled by the snapshot for one (topic, direction, principal) and shared by
//! every exchange under it. [`MaskPlan::begin`] starts a pass over the records of one partition;
//! the pass is what `tidegate_core::batch::inspect` shows records to, and it tallies what it found.
//! Reading order: this file, [`pass`], then `operate` (where bytes change), `value` (what a found value
//! becomes) and [`key`].
//!
//! Invariants: the plan is immutable; a record without findings costs no allocation; what was JSON
//! is JSON afterwards; what was binary keeps its length.

use std::sync::Arc;

use tidegate_core::words::DataClass;

use crate::scan::ClassSet;

mod fingerprint;
pub mod key;
mod operate;
pub mod pass;
#[cfg(test)]
mod tests;
mod value;

use fingerprint::Fingerprint;
pub use key::MaskKey;
pub use pass::MaskPass;

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
/// and /48, a device's maker, an e-mail's domain, a card's issuer, an account's or company's country.
#[must_use]
pub const fn can_generalise(class: DataClass) -> bool {
    use DataClass::{Email, EuVat, Iban, Ipv4, Ipv6, MacAddress, PaymentCard};
    matches!(class, Email | EuVat | Iban | Ipv4 | Ipv6 | MacAddress | PaymentCard)
}

/// Whether findings of `class` always have the six digits that FF1's smallest domain asks for.
#[must_use]
pub const fn can_encrypt(class: DataClass) -> bool {
    use DataClass::{ApiSecret, BtcAddress, Email, Ipv4, Ipv6, ItCodiceFiscale, Jwt, MacAddress};
    !matches!(class, ApiSecret | BtcAddress | Email | Ipv4 | Ipv6 | ItCodiceFiscale | Jwt | MacAddress)
}

/// One class under one operator, and the rule that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskEntry {
    /// The class of data.
    pub class: DataClass,
    /// What happens to it.
    pub operator: Operator,
    /// The name of the mask rule (or of the exemption) in the policy file.
    pub rule: Arc<str>,
    /// Whether record keys are masked as well. Off unless the rule says so, because a masked key
    /// changes partitioning and compaction.
    pub keys: bool,
}

/// The compiled mask rules for one topic and direction, for one principal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MaskPlan {
    /// By the class's number.
    entries: [Option<MaskEntry>; DataClass::ALL.len()],
    /// What is looked for in values, and in header values.
    value_classes: ClassSet,
    /// What is looked for in keys.
    key_classes: ClassSet,
    fingerprint: u128,
}

impl MaskPlan {
    /// Compiles entries, most important first: the first entry of a class decides about it, so
    /// exemptions stand before the rules they exempt from.
    ///
    /// Characters of a replacement that [`is_replacement`] does not allow are left out.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = MaskEntry>) -> Self {
        let mut plan = Self::default();
        for mut entry in entries {
            let Some(slot @ None) = plan.entries.get_mut(entry.class as usize) else {
                continue;
            };
            if let Operator::Replace(text) = &mut entry.operator
                && !is_replacement(text)
            {
                *text = text.chars().filter(|character| fits_json(*character)).collect::<String>().into();
            }
            plan.value_classes.insert(entry.class);
            if entry.keys {
                plan.key_classes.insert(entry.class);
            }
            *slot = Some(entry);
        }
        let mut fingerprint = Fingerprint::new();
        plan.entries.iter().flatten().for_each(|entry| fingerprint.entry(entry));
        plan.fingerprint = fingerprint.finish();
        plan
    }

    /// What the plan is, in 128 bits: plans with the same fingerprint make the same of the same
    /// records and say the same about it, in this and any other snapshot of this process. Costs
    /// nothing; it is computed when the plan is compiled.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// Whether no class is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.value_classes.is_empty()
    }

    /// What happens to findings of `class`; `None` where they are not looked for.
    #[must_use]
    pub fn entry(&self, class: DataClass) -> Option<&MaskEntry> {
        self.entries.get(class as usize)?.as_ref()
    }

    /// Starts a pass over records.
    #[must_use]
    pub fn begin(&self) -> MaskPass<'_> {
        MaskPass::new(self)
    }
}
