//! Values that are split across fields of a JSON document by those who write them: a card number in four
//! fields, a date of birth in three, an account's country and rest.
//!
//! A rule says which fields belong together. They are put together in its order, and scanned; where data
//! reaches over two or more of them, each of these becomes a place of its own. Lists of such groups
//! (`$.cards[*].first`) are told apart by a field that comes again. Costs a walk of the document
//! of its own, for plans that have such a rule only.

use tidegate_core::words::DataClass;

use super::fields::{Fields, Keys};
use super::operate::plain_string;
use super::pass::Place;
use super::plan::Slot;
use super::{MaskEntry, Operator, Path, Selector, Target, json};
use crate::scan::{ClassSet, Scanner};

/// A value that is put together from longer parts is none of any class.
const JOINED_BYTES_MAX: usize = 1024;

/// Data of one class, split across fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Where its parts stand, in order.
    pub paths: Box<[Path]>,
    /// Its class.
    pub class: DataClass,
    /// The paths as the rule writes them, for the evidence.
    pub text: Box<str>,
}

impl Split {
    /// Most parts of one value.
    pub const PARTS_MAX: usize = 8;
    /// Most lists of paths of one rule.
    pub const LISTS_MAX: usize = 16;

    /// What is done to parts: nothing that would leave a part of each of them readable, or needs the whole.
    #[must_use]
    pub fn operator(operator: &Operator) -> Operator {
        match operator {
            Operator::KeepLast(_) | Operator::Truncate(_) | Operator::Generalise | Operator::Encrypt(_) => {
                Operator::Redact
            }
            operator => operator.clone(),
        }
    }
}

/// All of a plan.
#[derive(Debug)]
pub(super) struct Splits {
    /// For each the entry's slot, its class, and how many parts it has.
    splits: Vec<(Slot, DataClass, usize)>,
    /// The paths of all, a number each: that of the split times [`Split::PARTS_MAX`], and the part's.
    fields: Vec<Fields>,
}

impl Splits {
    /// `None` where no entry is about any.
    pub(super) fn new(entries: &[MaskEntry]) -> Option<Self> {
        let mut all = Self { splits: Vec::new(), fields: Vec::new() };
        for (index, entry) in (0u16..).zip(entries) {
            let Target::Split(split) = &entry.target else { continue };
            let mut fields = Fields::builder();
            // A slot stands for a part here, not for an entry.
            for (part, path) in (0u16..).zip(&*split.paths) {
                fields.add(&Selector::Path(path.clone()), Slot::of(part, false), false);
            }
            let Some(fields) = fields.finish() else { continue };
            all.splits.push((Slot::of(index, entry.observes), split.class, split.paths.len()));
            all.fields.push(fields);
        }
        (!all.splits.is_empty()).then_some(all)
    }

    /// Appends the parts of all data that is split in `bytes`. What is no JSON has none.
    pub(super) fn find(&self, bytes: &[u8], scanner: &mut Scanner, places: &mut Vec<Place>) {
        if !json::may_hold_fields(bytes) {
            return;
        }
        let mut buffers = json::Buffers::default();
        for ((slot, class, count), fields) in self.splits.iter().zip(&self.fields) {
            let mut met = Vec::new();
            let mut keys = Keys::new(fields);
            if json::walk(bytes, fields, &mut keys, &mut buffers, &mut met).is_err() {
                return;
            }
            let mut group: Vec<Option<json::FieldPlace>> = vec![None; *count];
            let mut join = |group: &mut Vec<Option<json::FieldPlace>>| {
                let parts = std::mem::replace(group, vec![None; *count]);
                joined(bytes, parts, *class, *slot, scanner, places);
            };
            for place in met {
                let Some(part) = place.slot.decides().filter(|part| part < count) else { continue };
                if group[part].is_some() {
                    join(&mut group);
                }
                group[part] = Some(place);
            }
            join(&mut group);
        }
    }
}

/// Appends the parts over which data of `class` reaches.
fn joined(
    bytes: &[u8],
    group: Vec<Option<json::FieldPlace>>,
    class: DataClass,
    slot: Slot,
    scanner: &mut Scanner,
    places: &mut Vec<Place>,
) {
    let mut values = Vec::new();
    for place in group.into_iter().flatten() {
        let raw = bytes.get(place.span.clone()).unwrap_or_default();
        match place.scalar {
            json::Scalar::String => values.push((plain_string(raw, place.quote).into_owned(), place)),
            json::Scalar::Number => values.push((raw.to_vec(), place)),
            json::Scalar::Bool => {}
        }
    }
    let length: usize = values.iter().map(|(value, _)| value.len()).sum();
    if values.len() < 2 || length > JOINED_BYTES_MAX {
        return;
    }
    // The rule says what the fields hold together: that is a word before it.
    let word = crate::scan::word_of(class);
    let mut findings = Vec::new();
    for separator in ["", " ", if class == DataClass::Email { "@" } else { "-" }] {
        let mut text = if word.is_empty() { Vec::new() } else { format!("{word}: ").into_bytes() };
        let mut parts = Vec::new();
        for (value, place) in &values {
            if !parts.is_empty() {
                text.extend_from_slice(separator.as_bytes());
            }
            let begin = text.len();
            text.extend_from_slice(value);
            parts.push((begin..text.len(), place));
        }
        findings.clear();
        scanner.scan(&text, [class].into_iter().collect::<ClassSet>(), &mut findings);
        let mut found = false;
        for finding in &findings {
            let reached =
                || parts.iter().filter(|(part, _)| part.start < finding.span.end && part.end > finding.span.start);
            if reached().count() > 1 {
                found = true;
                places.extend(reached().map(|(_, place)| Place { slot, ..Place::of_json(place) }));
            }
        }
        if found {
            return;
        }
    }
}
