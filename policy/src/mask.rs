//! What masking does to findings: operators, the compiled plan, and the pass over records.
//!
//! A [`MaskPlan`] is compiled by the snapshot for one (topic, direction, principal) and shared by
//! every exchange under it. [`MaskPlan::begin`] starts a pass over the records of one partition;
//! the pass is what `tidegate_core::batch::inspect` shows records to, and it tallies what it found.
//!
//! Invariants: the plan is immutable; a record without findings costs no allocation.

use std::sync::Arc;

use tidegate_core::words::DataClass;

/// What is done to a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// Nothing: the principal is exempt, the finding is only counted.
    None,
    /// The finding is replaced by its class's marker, for instance `[email]`.
    Redact,
    /// All letters and digits but the last `n` become `*`; separators stay.
    KeepLast(u8),
    /// The finding is replaced by this text.
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
}

impl MaskPlan {
    /// Compiles entries, most important first: the first entry of a class decides about it, so
    /// exemptions stand before the rules they exempt from.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = MaskEntry>) -> Self {
        let mut plan = Self::default();
        for entry in entries {
            if let Some(slot) = plan.entries.get_mut(entry.class as usize)
                && slot.is_none()
            {
                *slot = Some(entry);
            }
        }
        plan
    }

    /// Whether no class is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(Option::is_none)
    }

    /// What happens to findings of `class`; `None` where they are not looked for.
    #[must_use]
    pub fn entry(&self, class: DataClass) -> Option<&MaskEntry> {
        self.entries.get(class as usize)?.as_ref()
    }
}
