//! Records in a schema registry's framing: walked by their schema, scanned value by value, and encoded
//! anew where something changes.
//!
//! A walker (`avro`) reads the message to its last byte and yields every value that may be masked. What
//! is recognised by itself is looked for in a text that is written of all of them, each in a line after
//! its field's name, which so is its context; findings are mapped back to the value they stand in. Then
//! each value becomes what its field's rule, or what was found in it, says, in its own type.
//!
//! Invariants: a message that does not fit its schema to the last byte is not understood, and so not
//! passed; what is not masked keeps its very bytes; the walk is bounded by the message's length,
//! whatever its schema.

use std::cell::Cell;
use std::ops::Range;

use super::fields::{Fields, Keys};
use super::json::{self, FieldPlace};
use super::operate::plain_string;
use super::pass::Place;
use super::plan::Slot;
use super::schema::{Form as SchemaForm, Schema};
use super::{MaskEntry, MaskPlan};

mod avro;
mod splice;
mod value;

use splice::{Container, Edits, Leaf};

/// Schemas that a thread keeps what it bound of.
const BOUND_MAX: usize = 64;
/// Messages within each other.
const DEPTH_MAX: usize = 128;

/// Why a message cannot be walked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("not encoded by its schema: {what} expected at byte {at}")]
    Expected { what: &'static str, at: usize },
    #[error("nested deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("more values than its bytes can hold")]
    TooMany,
    #[error("the schema and the policy's paths make more states than can be followed")]
    TooManyStates,
    #[error("{0}")]
    Nested(json::Malformed),
}

/// What a message becomes is said of each value by this.
pub(super) trait Decide {
    /// Appends what is recognised by itself in `text`, in order and apart, and notes whose it is.
    fn recognise(&mut self, text: &[u8], places: &mut Vec<Place>);
    /// Counts a field, notes whether it empties the record, and whose `value`, as text, is.
    fn field(&mut self, slot: Slot, value: &[u8]);
    /// Counts what was recognised, and notes whether it empties the record.
    fn found(&mut self, slot: Slot);
    /// Notes that what was found stands in a field that changes whole.
    fn swallowed(&mut self, slot: Slot);
}

/// What walking takes, kept by a thread from pass to pass.
#[derive(Debug, Default)]
pub(super) struct Framed {
    bound: Vec<Bound>,
    keys: Option<Keys>,
    json: json::Buffers,
    walked: Walked,
    edits: Edits,
    places: Vec<Place>,
    inner: Vec<Place>,
    fields: Vec<FieldPlace>,
}

/// What a plan's fields come to in one schema.
#[derive(Debug)]
struct Bound {
    fields: Option<u64>,
    schema: u64,
    avro: avro::Bound,
}

/// What a walker yields.
#[derive(Debug, Default)]
struct Walked {
    leaves: Vec<Leaf<avro::Kind>>,
    containers: Vec<Container>,
    /// All that is scanned: each value in a line after its field's name.
    text: Vec<u8>,
    /// Whether anything is to be scanned at all.
    scans: bool,
}

thread_local! {
    static KEPT: Cell<Option<Box<Framed>>> = const { Cell::new(None) };
}

impl Framed {
    /// That which this thread kept.
    pub(super) fn take() -> Box<Self> {
        KEPT.take().unwrap_or_default()
    }

    /// Keeps it for this thread's next pass.
    pub(super) fn keep(self: Box<Self>) {
        KEPT.set(Some(self));
    }

    /// What `message`, behind whose framing at `from` a payload of `schema` stands, becomes; `None`
    /// where nothing changes. `fields` are those of the plan, where they count.
    pub(super) fn mask(
        &mut self,
        plan: &MaskPlan,
        (schema, fields): (&Schema, Option<&Fields>),
        (message, from): (&[u8], usize),
        scans: bool,
        decide: &mut dyn Decide,
    ) -> Result<Option<Vec<u8>>, Malformed> {
        let SchemaForm::Avro(avro) = &schema.form else { return Ok(None) };
        let Self { bound, keys, walked, .. } = self;
        walked.begin(scans);
        if fields.is_some_and(|fields| fields.automaton.is_none()) {
            return Err(Malformed::TooManyStates);
        }
        if let Some(fields) = fields
            && keys.as_ref().is_none_or(|keys| !keys.are_of(fields))
        {
            *keys = Some(Keys::new(fields));
        }
        let id = (fields.map(Fields::id), schema.uid);
        let at = bound.iter().position(|bound| (bound.fields, bound.schema) == id);
        let at = at.unwrap_or_else(|| {
            if bound.len() >= BOUND_MAX {
                bound.remove(0);
            }
            bound.push(Bound { fields: id.0, schema: id.1, avro: avro::Bound::default() });
            bound.len() - 1
        });
        let names = fields.zip(keys.as_mut());
        avro::walk(avro, &mut bound[at].avro, names, message, from, walked)?;
        self.decide(plan, fields, avro, message, decide)?;
        Ok(self.edits.apply(message, &self.walked.containers, avro::head))
    }

    /// Gathers the edits of all values.
    fn decide(
        &mut self,
        plan: &MaskPlan,
        fields: Option<&Fields>,
        schema: &super::schema::avro::Avro,
        message: &[u8],
        decide: &mut dyn Decide,
    ) -> Result<(), Malformed> {
        let Self { walked, edits, places, inner, keys, json: buffers, fields: members, .. } = self;
        edits.clear();
        places.clear();
        if walked.scans && !walked.text.is_empty() {
            decide.recognise(&walked.text, places);
        }
        let mut next = 0;
        for leaf in &walked.leaves {
            inner.clear();
            // Both are in the order of the text.
            while let Some(place) = places.get(next).filter(|place| place.span.start < leaf.text.end) {
                let span = clip(&place.span, &leaf.text);
                if !span.is_empty() {
                    inner.push(Place { span, ..place.clone() });
                }
                if place.span.end > leaf.text.end {
                    break;
                }
                next += 1;
            }
            let content = &message[leaf.content.clone()];
            let whole = plan.deciding(leaf.slot).filter(|entry| entry.masks());
            if !leaf.slot.is_none() && !content.is_empty() {
                decide.field(leaf.slot, &value::text_of(leaf, content));
            }
            if let Some(entry) = whole {
                inner.iter().for_each(|place| decide.swallowed(place.slot));
                if !content.is_empty() {
                    value::replace(schema, leaf, (entry.class(), &entry.operator), message, edits);
                }
                continue;
            }
            if let Some(fields) = fields
                && leaf.kind.is_text()
                && (leaf.state != super::automaton::DEAD || !fields.names.is_empty())
                && json::may_hold_fields(content)
            {
                nested(plan, fields, (&mut *keys, &mut *buffers, &mut *members), leaf, content, inner, decide)?;
            }
            if !inner.is_empty() {
                inner.iter().filter(|place| !place.is_field()).for_each(|place| decide.found(place.slot));
                value::replace_within(schema, leaf, plan, inner, message, edits);
            }
        }
        Ok(())
    }
}

/// Finds the fields of a document that a text holds, and puts them among what was found in it.
fn nested(
    plan: &MaskPlan,
    fields: &Fields,
    (keys, buffers, places): (&mut Option<Keys>, &mut json::Buffers, &mut Vec<FieldPlace>),
    leaf: &Leaf<avro::Kind>,
    content: &[u8],
    inner: &mut Vec<Place>,
    decide: &mut dyn Decide,
) -> Result<(), Malformed> {
    let Some(keys) = keys.as_mut() else { return Ok(()) };
    places.clear();
    match json::walk_from(content, fields, keys, leaf.state, buffers, places) {
        // A path leads into it, so it has to be understood.
        Err(error) if fields.leads_on(leaf.state) => return Err(Malformed::Nested(error)),
        Err(_) => return Ok(()),
        Ok(()) => {}
    }
    for place in places.iter() {
        decide.field(place.slot, &plain_string(&content[place.span.clone()], place.quote));
        if plan.deciding(place.slot).is_some_and(MaskEntry::masks) {
            inner.retain(|found| {
                let within = found.span.start < place.span.end && place.span.start < found.span.end;
                if within {
                    decide.swallowed(found.slot);
                }
                !within
            });
            inner.push(Place::of_json(place));
        }
    }
    inner.sort_by_key(|place| place.span.start);
    inner.dedup_by(|later, earlier| later.span.start < earlier.span.end);
    Ok(())
}

impl Walked {
    fn begin(&mut self, scans: bool) {
        self.leaves.clear();
        self.containers.clear();
        self.text.clear();
        self.scans = scans;
    }

    /// Writes a value for the scan; where it stands.
    fn write(&mut self, name: &[u8], value: &[u8]) -> Range<usize> {
        if !self.scans || value.is_empty() {
            return self.text.len()..self.text.len();
        }
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(b": ");
        let start = self.text.len();
        self.text.extend_from_slice(value);
        let end = self.text.len();
        self.text.push(b'\n');
        start..end
    }
}

/// The part of `span` in `whole`, counted from its beginning.
fn clip(span: &Range<usize>, whole: &Range<usize>) -> Range<usize> {
    let start = span.start.clamp(whole.start, whole.end);
    let end = span.end.clamp(start, whole.end);
    start - whole.start..end - whole.start
}
