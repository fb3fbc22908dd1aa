//! What masking does to findings: operators, the compiled plan, and the pass over records.
//!
//! A [`MaskPlan`] is compiled by the snapshot for one (topic, direction, principal) and shared by
//! every exchange under it. [`MaskPlan::begin`] starts a pass over the records of one partition;
//! the pass is what `tidegate_core::batch::inspect` shows records to, and it tallies what it found.
//! Reading order: this file, [`pass`], then `operate` (how bytes change).
//!
//! Invariants: the plan is immutable; a record without findings costs no allocation; what was JSON
//! is JSON afterwards; what was binary keeps its length.

use std::sync::Arc;

use tidegate_core::words::DataClass;

use crate::scan::ClassSet;

mod operate;
pub mod pass;
#[cfg(test)]
mod tests;

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
        plan
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
