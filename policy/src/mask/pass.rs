//! One pass of a plan over the records of a partition: scans values, header values and, where a
//! rule says so, keys, and walks values for named fields; says what each record becomes; counts.
//!
//! Where a field and something recognised by itself overlap, the field that is masked counts: the
//! whole of it changes. A field that is not masked (its reader is exempt, its rule only observes)
//! hides nothing that another rule masks in it.

use std::ops::Range;

use tidegate_core::batch::{BatchError, FieldEdit, Inspect, Record, RecordEdit};
use tidegate_core::words::DataClass;

use super::csv;
use super::fields::{Fields, Keys};
use super::framed::Framed;
use super::json::{self, FieldPlace, Scalar};
use super::operate::{operate, plain_string};
use super::plan::{Slot, Sought};
use super::schema::{self, NoSchemas, SchemaId, Schemas};
use super::{MaskEntry, MaskPlan, Operator};
use crate::file::OnUnparseable;
use crate::scan::{Finding, Scanner};
use crate::subject::{ClassKey, SubjectKey};

mod framed;

/// What takes the place of a value that cannot be parsed, where the policy wants that.
const UNPARSEABLE: &[u8] = b"[unparseable]";

/// What a plan found, by entry. Each entry has one operator, so this also counts by operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// By the index of the entry in the plan; as long as what was found asks for.
    counts: Vec<u64>,
    /// Records that were changed.
    pub records_masked: u64,
    /// Records whose value could not be parsed, whatever became of them.
    pub records_unparseable: u64,
    /// Whose data was found, where the pass has a key for that.
    pub subjects: Subjects,
}

/// Tags of subjects, in the order of records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subjects {
    /// Tags.
    pub tags: Vec<SubjectTag>,
    /// How many there were beyond the most that are kept.
    pub cut: u64,
}

impl Subjects {
    /// Leaves at most `tags_max` tags and counts the others.
    pub fn bound(&mut self, tags_max: usize) {
        let more = self.tags.len().saturating_sub(tags_max);
        self.tags.truncate(tags_max);
        self.cut += more as u64;
    }

    /// Moves all offsets.
    pub fn move_by(&mut self, distance: i64) {
        self.tags.iter_mut().for_each(|tag| tag.offset = tag.offset.wrapping_add(distance));
    }
}

/// The tag of one value in one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubjectTag {
    /// The record's offset, as it came.
    pub offset: i64,
    /// The tag.
    pub tag: u64,
    /// The index of the plan's entry that decides, or observes where none does.
    pub entry: u16,
}

/// How many tags before are looked at for one that is noted already: what a usual record has. More would
/// let one record of many values cost as much as the square of them.
const REPEATS_LOOKED_AT: usize = 16;

impl Tally {
    /// Adds what another pass under the same plan found.
    pub fn add(&mut self, other: &Self) {
        self.add_at(other, 0);
    }

    /// As [`Tally::add`], where the other's offsets count from `base_offset`.
    pub fn add_at(&mut self, other: &Self, base_offset: i64) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.records_masked += other.records_masked;
        self.records_unparseable += other.records_unparseable;
        let at = |tag: &SubjectTag| SubjectTag { offset: tag.offset.wrapping_add(base_offset), ..*tag };
        self.subjects.tags.extend(other.subjects.tags.iter().map(at));
        self.subjects.cut += other.subjects.cut;
    }

    /// The memory it takes beyond its own size, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<u64>() + self.subjects.tags.capacity() * size_of::<SubjectTag>()
    }

    /// What was found, with the entry of `plan` that decided or observed; nothing of entries that
    /// found nothing. The plan has to be the one of the pass.
    pub fn counts<'p>(&self, plan: &'p MaskPlan) -> impl Iterator<Item = (&'p MaskEntry, u64)> {
        plan.entries().iter().zip(&self.counts).filter(|(_, count)| **count > 0).map(|(entry, count)| (entry, *count))
    }

    fn count(&mut self, entry: Option<usize>) {
        let Some(entry) = entry else { return };
        if self.counts.len() <= entry {
            self.counts.resize(entry + 1, 0);
        }
        self.counts[entry] += 1;
    }
}

/// Something to be masked, or only counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) span: Range<usize>,
    pub(super) slot: Slot,
    pub(super) confidence: u8,
    pub(super) form: Form,
}

impl Place {
    /// A field of a document.
    pub(super) fn of_json(place: &FieldPlace) -> Self {
        let FieldPlace { span, slot, scalar, quote } = place;
        Self { span: span.clone(), slot: *slot, confidence: 100, form: Form::Json(*scalar, *quote) }
    }

    /// Whether it is a field, and not recognised by itself.
    pub(super) fn is_field(&self) -> bool {
        self.form != Form::Found
    }
}

/// What a place is, for what its bytes become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Recognised by itself, wherever it stands.
    Found,
    /// A value of a JSON document, with the bytes of its quotation marks.
    Json(Scalar, usize),
    /// A field of a CSV line, quotation marks included.
    Csv(u8),
}

/// Which part of a record something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Key,
    Value,
    Header,
}

/// A pass over records, to be shown them by `tidegate_core::batch::inspect`.
#[derive(Debug)]
pub struct MaskPass<'a> {
    plan: &'a MaskPlan,
    tally: Tally,
    scanner: Scanner,
    findings: Vec<Finding>,
    /// What is recognised by itself, then all, in order.
    places: Vec<Place>,
    fields: Vec<Place>,
    json: Option<Box<Json>>,
    csv: csv::Buffers,
    /// A finding of the record asks for the record to be emptied.
    drops: bool,
    /// Why the record must not pass.
    refused: Option<Refusal>,
    schemas: &'a dyn Schemas,
    framed: Option<Box<Framed>>,
    /// The schema of what is masked next, where the record's headers name it.
    named: Option<SchemaId>,
    /// The offset of the record that must not pass.
    offset: i64,
    /// What was made of records depends on what may be otherwise soon.
    passing: bool,
    tagging: Option<Tagging<'a>>,
}

/// What tagging takes.
#[derive(Debug)]
struct Tagging<'a> {
    key: &'a SubjectKey,
    tags_max: usize,
    /// Tags of the batch under way that were found before.
    before: usize,
    /// The record's offset.
    offset: i64,
    /// Keys of classes by the index of the entry, made when they are needed first.
    keys: Vec<Option<ClassKey>>,
}

/// Why a record must not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// It cannot be parsed.
    Unparseable(String),
    /// Its schema is not there yet.
    Waits,
}

/// What walking documents takes.
#[derive(Debug)]
struct Json {
    keys: Keys,
    buffers: json::Buffers,
    places: Vec<FieldPlace>,
}

impl<'a> MaskPass<'a> {
    pub(super) fn new(plan: &'a MaskPlan) -> Self {
        Self {
            plan,
            tally: Tally::default(),
            scanner: Scanner::new(plan.extras.clone()),
            findings: Vec::new(),
            places: Vec::new(),
            fields: Vec::new(),
            json: None,
            csv: csv::Buffers::default(),
            drops: false,
            refused: None,
            tagging: None,
            schemas: &NoSchemas,
            framed: None,
            named: None,
            offset: -1,
            passing: false,
        }
    }

    /// Has the pass tag whose data it finds, up to `tags_max` tags a batch, of which `before` were found
    /// by passes before this one.
    #[must_use]
    pub fn tagging(mut self, key: &'a SubjectKey, tags_max: usize, before: usize) -> Self {
        self.tagging = Some(Tagging { key, tags_max, before, offset: 0, keys: Vec::new() });
        self
    }

    /// Another batch begins.
    pub fn begin_batch(&mut self) {
        if let Some(tagging) = &mut self.tagging {
            tagging.before = 0;
        }
    }

    /// The same pass, with schemas for records in a registry's framing.
    #[must_use]
    pub fn with_schemas(mut self, schemas: &'a dyn Schemas) -> Self {
        self.schemas = schemas;
        self
    }

    /// What was found so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What was found since it was last taken.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Whether anything since it was last asked depended on what may be otherwise soon: a schema that
    /// could not be had.
    pub fn take_passing(&mut self) -> bool {
        std::mem::take(&mut self.passing)
    }

    /// What was found so far, with the entry that decided or observed.
    pub fn counts(&self) -> impl Iterator<Item = (&'a MaskEntry, u64)> {
        self.tally.counts(self.plan)
    }

    /// How many findings of `class` there were so far, by rules that decide.
    #[must_use]
    pub fn count(&self, class: DataClass) -> u64 {
        let is_it = |entry: &MaskEntry| !entry.observes && entry.class_name() == class.name();
        self.counts().filter(|(entry, _)| is_it(entry)).map(|(_, count)| count).sum()
    }

    /// What `bytes` become as a record's value; `None` where nothing in them changes. What is found
    /// is counted all the same.
    ///
    /// # Errors
    /// Why they must not pass: they cannot be parsed, and the policy says so.
    pub fn value(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.drops = false;
        let masked = self.mask(bytes, Part::Value);
        match self.refused.take() {
            Some(Refusal::Unparseable(reason)) => Err(reason),
            Some(Refusal::Waits) => Err("its schema is not there yet".to_owned()),
            None if self.drops => Ok(Some(Vec::new())),
            None => Ok(masked),
        }
    }

    /// As [`MaskPass::value`], for front ends whose payloads are not records, and that have no
    /// answer but a payload: what must not pass becomes empty.
    pub fn payload(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.value(bytes).unwrap_or_else(|_| Some(Vec::new()))
    }

    /// Where in the payload that was shown last something was found, in order, with the entry that
    /// decides or, where none does, observes.
    pub fn places(&self) -> impl Iterator<Item = (Range<usize>, &'a MaskEntry)> {
        let plan = self.plan;
        self.places.iter().filter_map(move |place| {
            let index = place.slot.decides().or(place.slot.observes())?;
            Some((place.span.clone(), plan.entries().get(index)?))
        })
    }

    fn field(&mut self, bytes: Option<&[u8]>, part: Part) -> Option<FieldEdit> {
        self.mask(bytes?, part).map(FieldEdit::Bytes)
    }

    fn mask(&mut self, bytes: &[u8], part: Part) -> Option<Vec<u8>> {
        self.places.clear();
        let plan = self.plan;
        if plan.framed && part != Part::Header {
            return self.framed(bytes, part);
        }
        self.plain(bytes, part)
    }

    /// Masks a part as it is.
    fn plain(&mut self, bytes: &[u8], part: Part) -> Option<Vec<u8>> {
        self.plain_by(bytes, part, self.plan.fields.as_ref())
    }

    /// The same with these fields in the place of the plan's.
    fn plain_by(&mut self, bytes: &[u8], part: Part, fields: Option<&Fields>) -> Option<Vec<u8>> {
        let plan = self.plan;
        let sought = if part == Part::Key { &plan.in_keys } else { &plan.in_values };
        if !sought.is_empty() {
            self.recognise(bytes, sought);
        }
        if part == Part::Value && (fields.is_some() || !plan.csv.is_empty() || plan.splits.is_some()) {
            if let Err(reason) = self.walk(bytes, fields) {
                self.tally.records_unparseable += 1;
                match plan.on_unparseable {
                    OnUnparseable::Reject => {
                        self.refused = Some(Refusal::Unparseable(reason));
                        return None;
                    }
                    OnUnparseable::MaskWholeValue => return Some(UNPARSEABLE.to_vec()),
                    // What is recognised by itself is masked all the same.
                    OnUnparseable::Pass => self.fields.clear(),
                }
            }
            self.tag_fields(bytes);
            self.join();
        }
        self.operate(bytes)
    }

    /// What becomes of the places that were found in `bytes`.
    fn operate(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.places.is_empty() {
            return None;
        }
        let plan = self.plan;
        for place in &self.places {
            self.tally.count(place.slot.decides());
            self.tally.count(place.slot.observes());
            let deciding = plan.deciding(place.slot);
            self.drops |= deciding.is_some_and(|entry| matches!(entry.operator, Operator::DropRecord));
        }
        operate(bytes, &self.places, plan)
    }

    /// Finds what is recognised by itself.
    fn recognise(&mut self, bytes: &[u8], sought: &Sought) {
        let Self { plan, scanner, findings, places, tagging, tally, .. } = self;
        let tagging = tagging.as_mut().map(|tagging| (tagging, &mut tally.subjects));
        recognise(plan, (scanner, findings), tagging, bytes, sought, places);
    }

    /// Tags the values of named fields.
    fn tag_fields(&mut self, bytes: &[u8]) {
        let Some(tagging) = &mut self.tagging else { return };
        for place in &self.fields {
            let found = bytes.get(place.span.clone()).unwrap_or_default();
            match place.form {
                Form::Json(Scalar::Bool, _) => {}
                Form::Json(Scalar::String, quote) => {
                    let plain = plain_string(found, quote);
                    tagging.tag(self.plan, place.slot, &plain, &mut self.tally.subjects);
                }
                Form::Csv(_) => {
                    let inner = found.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
                    tagging.tag(self.plan, place.slot, inner.unwrap_or(found), &mut self.tally.subjects);
                }
                Form::Json(Scalar::Number, _) | Form::Found => {
                    tagging.tag(self.plan, place.slot, found, &mut self.tally.subjects);
                }
            }
        }
    }

    /// Finds the named fields of a value; says why it cannot be parsed, where it has to be.
    fn walk(&mut self, bytes: &[u8], fields: Option<&Fields>) -> Result<(), String> {
        let Self { plan, fields: places, json: kept, csv: buffers, .. } = self;
        places.clear();
        if let Some(fields) = fields
            && (fields.strict || json::may_hold_fields(bytes))
        {
            let walking = kept.get_or_insert_with(|| {
                Box::new(Json { keys: Keys::take(fields), buffers: json::Buffers::default(), places: Vec::new() })
            });
            if !walking.keys.are_of(fields) {
                walking.keys = Keys::new(fields);
            }
            walking.places.clear();
            let walked = json::walk(bytes, fields, &mut walking.keys, &mut walking.buffers, &mut walking.places);
            match walked {
                // A log line may begin with a bracket.
                Err(error) if fields.strict || (fields.masks && bytes.trim_ascii_start().starts_with(b"{")) => {
                    return Err(error.to_string());
                }
                Err(_) => {}
                Ok(()) => places.extend(walking.places.iter().map(Place::of_json)),
            }
        }
        if let Some(splits) = &plan.splits {
            splits.find(bytes, &mut self.scanner, places);
        }
        let mut cells = Vec::new();
        for csv in &plan.csv {
            cells.clear();
            match csv.walk(bytes, buffers, &mut cells) {
                Err(error) if csv.strict => return Err(error.to_string()),
                Err(_) => {}
                Ok(()) => places.extend(cells.iter().map(|cell| Place {
                    span: cell.start..cell.end,
                    slot: cell.slot,
                    confidence: 100,
                    form: Form::Csv(csv.form().separator),
                })),
            }
        }
        Ok(())
    }

    /// Puts the named fields among what was recognised by itself: masked fields take what overlaps
    /// with them, the others are counted and gone.
    fn join(&mut self) {
        if self.fields.is_empty() {
            return;
        }
        let Self { plan, tally, places, fields, drops, .. } = self;
        fields.retain(|field| {
            let masked = plan.masks(field.slot);
            if !masked {
                tally.count(field.slot.decides());
                tally.count(field.slot.observes());
            }
            masked
        });
        fields.sort_by_key(|field| (field.span.start, std::cmp::Reverse(field.span.end)));
        fields.dedup_by(|later, earlier| later.span.start < earlier.span.end);
        let mut next = 0;
        places.retain_mut(|place| {
            while fields.get(next).is_some_and(|field| field.span.end <= place.span.start) {
                next += 1;
            }
            let Some(field) = fields.get(next).filter(|field| field.span.start < place.span.end) else { return true };
            let deciding = plan.deciding(place.slot);
            *drops |= deciding.is_some_and(|entry| matches!(entry.operator, Operator::DropRecord));
            if place.span.start < field.span.start {
                place.span.end = field.span.start;
                return true;
            }
            place.span.start = field.span.end.min(place.span.end);
            !place.span.is_empty()
        });
        places.append(fields);
        places.sort_by_key(|place| place.span.start);
    }
}

impl Tagging<'_> {
    /// Tags what was found in the slot.
    fn tag(&mut self, plan: &MaskPlan, slot: Slot, found: &[u8], subjects: &mut Subjects) {
        let (decides, observes) = (slot.decides(), slot.observes());
        // A rule that only observes may be the one that says whose data it is.
        let of = |index: usize| plan.entries.get(index)?.subject_class().map(|class| (index, class));
        let Some((index, class)) = decides.and_then(of).or_else(|| observes.and_then(of)) else { return };
        if self.keys.len() <= index {
            self.keys.resize(index + 1, None);
        }
        let Some(known) = self.keys.get_mut(index) else { return };
        let key = known.get_or_insert_with(|| self.key.key(class));
        let Some(tag) = key.tag(class, found) else { return };
        let entry = decides.unwrap_or(index) as u16;
        let before = subjects.tags.iter_mut().rev().take(REPEATS_LOOKED_AT);
        if let Some(same) = before.take_while(|known| known.offset == self.offset).find(|known| known.tag == tag) {
            // Of two rules about one value, what the one that masks does is what happened.
            let masks = |entry: u16| plan.entries.get(usize::from(entry)).is_some_and(MaskEntry::masks);
            if masks(entry) && !masks(same.entry) {
                same.entry = entry;
            }
        } else if subjects.tags.len() < self.tags_max.saturating_sub(self.before) {
            subjects.tags.push(SubjectTag { offset: self.offset, tag, entry });
        } else {
            subjects.cut += 1;
        }
    }
}

/// Finds what is recognised by itself in `bytes`.
fn recognise(
    plan: &MaskPlan,
    (scanner, findings): (&mut Scanner, &mut Vec<Finding>),
    tagging: Option<(&mut Tagging<'_>, &mut Subjects)>,
    bytes: &[u8],
    sought: &Sought,
    places: &mut Vec<Place>,
) {
    findings.clear();
    scanner.scan(bytes, sought.classes, findings);
    places.extend(findings.iter().map(|Finding { class, span, confidence }| {
        let slot = plan.by_class.get(*class as usize).copied().unwrap_or(Slot::NONE);
        Place { span: span.clone(), slot, confidence: *confidence, form: Form::Found }
    }));
    if !sought.customs.is_empty() {
        let classes = sought.customs.iter().map(|(class, _)| &**class);
        scanner.scan_custom(bytes, classes, |index, span| {
            let checked = sought.customs.get(index).is_some_and(|(class, _)| class.is_checked());
            let slot = sought.customs.get(index).map_or(Slot::NONE, |(_, slot)| *slot);
            let confidence = if checked { 95 } else { 80 };
            places.push(Place { span, slot, confidence, form: Form::Found });
        });
        places.sort_by_key(|place| (place.span.start, std::cmp::Reverse(place.span.end)));
    }
    if let Some((tagging, subjects)) = tagging {
        // Before they are merged: what overlaps may be of two people.
        for place in places.iter() {
            tagging.tag(plan, place.slot, bytes.get(place.span.clone()).unwrap_or_default(), subjects);
        }
    }
    resolve(plan, places);
}

/// Makes one of findings that overlap: it spans them all, so that nothing of either is left
/// readable, and is of the class that is masked, then of the surer, then of the rule that stands
/// first.
fn resolve(plan: &MaskPlan, places: &mut Vec<Place>) {
    let rank = |place: &Place| (plan.masks(place.slot), place.confidence, std::cmp::Reverse(place.slot.decides()));
    // They are ordered by where they begin.
    places.dedup_by(|later, earlier| {
        let overlap = later.span.start < earlier.span.end;
        if overlap {
            earlier.span.end = earlier.span.end.max(later.span.end);
            if rank(later) > rank(earlier) {
                earlier.slot = later.slot;
                earlier.confidence = later.confidence;
            }
        }
        overlap
    });
}

impl Drop for MaskPass<'_> {
    fn drop(&mut self) {
        if let Some(framed) = self.framed.take() {
            framed.keep();
        }
        if let Some(json) = self.json.take() {
            json.keys.keep();
        }
    }
}

impl Inspect for MaskPass<'_> {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        self.drops = false;
        if let Some(tagging) = &mut self.tagging {
            tagging.offset = record.offset;
        }
        let keys_schema = self.named(record, schema::KEY_HEADER);
        self.named = keys_schema;
        let key = self.field(record.key, Part::Key);
        let mut headers = Vec::new();
        for (index, (_, value)) in record.headers.iter().enumerate() {
            headers.extend(self.field(value, Part::Header).map(|edit| (index, edit)));
        }
        // Last, so that what was found in it is what `places` tells.
        self.named = self.named(record, schema::VALUE_HEADER);
        let value = self.field(record.value, Part::Value);
        if self.refused.is_some() {
            self.offset = record.offset;
            return Some(RecordEdit::default());
        }
        if self.drops {
            self.tally.records_masked += 1;
            let headers = (0..record.headers.iter().count()).map(|index| (index, FieldEdit::Null)).collect();
            return Some(RecordEdit { key, value: Some(FieldEdit::Null), headers });
        }
        if key.is_none() && value.is_none() && headers.is_empty() {
            return None;
        }
        self.tally.records_masked += 1;
        Some(RecordEdit { key, value, headers })
    }

    fn refusal(&mut self) -> Option<BatchError> {
        let offset = self.offset;
        Some(match self.refused.take()? {
            Refusal::Unparseable(reason) => BatchError::Record { offset, reason },
            Refusal::Waits => BatchError::Waiting { offset },
        })
    }
}
