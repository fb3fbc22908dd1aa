//! The compiled mask rules for one topic and direction, for one principal.

use std::fmt;
use std::sync::Arc;

use tidegate_core::words::DataClass;

use super::csv::CsvPlan;
use super::fields::Fields;
use super::fingerprint::Fingerprint;
use super::path::Path;
use super::schema::json::Tagged;
use super::split::Splits;
use super::{FieldClass, MaskEntry, MaskPass, Operator, Selector, Target, fits_json, is_replacement};
use crate::file::OnUnparseable;
use crate::scan::custom::CustomClass;
use crate::scan::{ClassSet, Extras};

/// Which entries of a plan speak about one thing: of those that decide the first, of those that only
/// observe the first. Entries are given by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    decides: u16,
    observes: u16,
}

impl Slot {
    pub(super) const NONE: Self = Self { decides: u16::MAX, observes: u16::MAX };

    /// That of one entry.
    pub(super) fn of(index: u16, observes: bool) -> Self {
        if observes { Self { observes: index, ..Self::NONE } } else { Self { decides: index, ..Self::NONE } }
    }

    /// Both; the first entry of each kind counts.
    pub(super) fn and(self, other: Self) -> Self {
        Self { decides: self.decides.min(other.decides), observes: self.observes.min(other.observes) }
    }

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// The index of the entry that decides.
    pub(super) fn decides(self) -> Option<usize> {
        (self.decides != u16::MAX).then_some(usize::from(self.decides))
    }

    /// The index of the entry that observes.
    pub(super) fn observes(self) -> Option<usize> {
        (self.observes != u16::MAX).then_some(usize::from(self.observes))
    }
}

/// What is recognised by itself in one part of a record.
#[derive(Debug, Default)]
pub(super) struct Sought {
    pub(super) classes: ClassSet,
    pub(super) customs: Vec<(Arc<CustomClass>, Slot)>,
}

impl Sought {
    pub(super) fn is_empty(&self) -> bool {
        self.classes.is_empty() && self.customs.is_empty()
    }
}

/// The compiled mask rules for one topic and direction, for one principal.
pub struct MaskPlan {
    pub(super) entries: Box<[MaskEntry]>,
    /// By the class's number.
    pub(super) by_class: [Slot; DataClass::ALL.len()],
    /// In values, and in header values.
    pub(super) in_values: Sought,
    pub(super) in_keys: Sought,
    /// Fields of JSON documents.
    pub(super) fields: Option<Fields>,
    /// Fields of CSV lines, by the form that rules give.
    pub(super) csv: Vec<CsvPlan>,
    /// Data that is split across fields.
    pub(super) splits: Option<Splits>,
    /// What the scanner is asked for beyond classes.
    pub(super) extras: Extras,
    /// Whether records may be in a schema registry's framing.
    pub(super) framed: bool,
    pub(super) on_unparseable: OnUnparseable,
    fingerprint: u128,
}

impl MaskPlan {
    /// Compiles entries, most important first: the first entry about a thing decides about it, so
    /// exemptions stand before the rules they exempt from. What cannot be parsed is rejected.
    ///
    /// Characters of a replacement that [`is_replacement`] does not allow are left out.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = MaskEntry>) -> Self {
        Self::compile(entries, OnUnparseable::Reject)
    }

    /// As [`MaskPlan::new`]; `on_unparseable` says what becomes of values whose fields are to be
    /// masked and that cannot be parsed.
    #[must_use]
    pub fn compile(entries: impl IntoIterator<Item = MaskEntry>, on_unparseable: OnUnparseable) -> Self {
        let mut building = Building::default();
        entries.into_iter().for_each(|entry| building.add(entry));
        building.finish(on_unparseable)
    }

    /// Whether it may change keys of records.
    #[must_use]
    pub fn masks_keys(&self) -> bool {
        self.entries.iter().any(|entry| entry.keys && !entry.observes && !matches!(entry.operator, Operator::None))
    }

    /// What the plan is, in 128 bits: plans with the same fingerprint make the same of the same
    /// records and say the same about it, in this and any other snapshot of this process. Costs
    /// nothing; it is computed when the plan is compiled.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// Whether nothing is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries that may find something, most important first.
    #[must_use]
    pub fn entries(&self) -> &[MaskEntry] {
        &self.entries
    }

    /// What happens to findings of `class`; `None` where they are not looked for.
    #[must_use]
    pub fn entry(&self, class: DataClass) -> Option<&MaskEntry> {
        self.deciding(*self.by_class.get(class as usize)?)
    }

    /// Whether records may be in a schema registry's framing.
    #[must_use]
    pub fn reads_framing(&self) -> bool {
        self.framed
    }

    /// What becomes of values whose fields are to be masked and that cannot be parsed.
    #[must_use]
    pub fn on_unparseable(&self) -> OnUnparseable {
        self.on_unparseable
    }

    /// Starts a pass over records.
    #[must_use]
    pub fn begin(&self) -> MaskPass<'_> {
        MaskPass::new(self)
    }

    /// The fields that entries name in JSON documents with a schema that tags some.
    pub(super) fn fields_with(&self, tagged: &Tagged) -> Option<Fields> {
        fields(&self.entries, &tagged.paths).0
    }

    /// The entry that decides.
    pub(super) fn deciding(&self, slot: Slot) -> Option<&MaskEntry> {
        self.entries.get(slot.decides()?)
    }

    /// Whether something changes where this slot is found.
    pub(super) fn masks(&self, slot: Slot) -> bool {
        self.deciding(slot).is_some_and(MaskEntry::masks)
    }
}

impl Default for MaskPlan {
    fn default() -> Self {
        Self::new([])
    }
}

impl PartialEq for MaskPlan {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for MaskPlan {}

impl fmt::Debug for MaskPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskPlan").field("entries", &self.entries).finish_non_exhaustive()
    }
}

struct Building {
    entries: Vec<MaskEntry>,
    by_class: [Slot; DataClass::ALL.len()],
    values: Sought,
    keys: Sought,
}

impl Default for Building {
    fn default() -> Self {
        let by_class = [Slot::NONE; DataClass::ALL.len()];
        Self { entries: Vec::new(), by_class, values: Sought::default(), keys: Sought::default() }
    }
}

impl Building {
    fn add(&mut self, mut entry: MaskEntry) {
        // A policy of more rules than this is refused by the checks.
        let Some(index) = u16::try_from(self.entries.len()).ok().filter(|index| *index < u16::MAX) else { return };
        if let Operator::Replace(text) = &mut entry.operator
            && !is_replacement(text)
        {
            *text = text.chars().filter(|character| fits_json(*character)).collect::<String>().into();
        }
        let slot = Slot::of(index, entry.observes);
        match &entry.target {
            Target::Class(class) => {
                let Some(known) = self.by_class.get_mut(*class as usize) else { return };
                let both = known.and(slot);
                if both == *known {
                    return;
                }
                *known = both;
                self.values.classes.insert(*class);
                if entry.keys {
                    self.keys.classes.insert(*class);
                }
            }
            Target::Custom(class) => {
                let mut adds = add_custom(&mut self.values.customs, class, slot);
                if entry.keys {
                    adds |= add_custom(&mut self.keys.customs, class, slot);
                }
                if !adds {
                    return;
                }
            }
            Target::Field(_) | Target::Split(_) => {}
        }
        self.entries.push(entry);
    }

    fn finish(self, on_unparseable: OnUnparseable) -> MaskPlan {
        let Self { entries, by_class, values, keys } = self;
        let mut fingerprint = Fingerprint::new();
        fingerprint.part(format!("{on_unparseable:?}").as_bytes());
        entries.iter().for_each(|entry| fingerprint.entry(entry));
        let (fields, csv) = fields(&entries, &[]);
        let framed = entries.iter().any(|entry| entry.framed);
        let splits = Splits::new(&entries);
        let extras = Extras::of_all(entries.iter().map(|entry| &entry.extras));
        MaskPlan {
            entries: entries.into(),
            by_class,
            in_values: values,
            in_keys: keys,
            fields,
            csv,
            splits,
            extras,
            framed,
            on_unparseable,
            fingerprint: fingerprint.finish(),
        }
    }
}

/// Whether the slot was new to the class.
fn add_custom(customs: &mut Vec<(Arc<CustomClass>, Slot)>, class: &Arc<CustomClass>, slot: Slot) -> bool {
    match customs.iter_mut().find(|(known, _)| known == class) {
        Some((_, known)) => {
            let before = *known;
            *known = known.and(slot);
            *known != before
        }
        None => {
            customs.push((class.clone(), slot));
            true
        }
    }
}

/// The fields that entries name, in JSON and in each form of CSV; `tagged` is what tags stand at.
fn fields(entries: &[MaskEntry], tagged: &[(Box<str>, Path)]) -> (Option<Fields>, Vec<CsvPlan>) {
    let mut fields = Fields::builder();
    let mut csv: Vec<CsvPlan> = Vec::new();
    for (index, entry) in (0u16..).zip(entries) {
        let slot = Slot::of(index, entry.observes);
        let selector = match &entry.target {
            Target::Field(field) => field.selector.clone(),
            Target::Class(class) if class.has_fields() => Selector::NamesOf(*class),
            Target::Class(_) | Target::Custom(_) | Target::Split(_) => continue,
        };
        match &entry.csv {
            Some(form) => {
                let at = csv.iter().position(|plan| *plan.form() == **form).unwrap_or_else(|| {
                    csv.push(CsvPlan::new(form.clone()));
                    csv.len() - 1
                });
                csv[at].add(&selector, slot, entry.masks());
            }
            None => {
                if let Selector::Tag(tag) = &selector {
                    for (_, path) in tagged.iter().filter(|(known, _)| known == tag) {
                        fields.add(&Selector::Path(path.clone()), slot, entry.masks());
                    }
                }
                fields.add(&selector, slot, entry.masks());
            }
        }
    }
    (fields.finish(), csv)
}

impl FieldClass {
    /// The class's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known(class) => class.name(),
            Self::Custom(name) => name,
        }
    }
}
