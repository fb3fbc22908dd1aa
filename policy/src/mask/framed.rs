//! Records in a schema registry's framing: walked by their schema, scanned value by value, and encoded
//! anew where something changes.
//!
//! A walker (`avro`, `protobuf`) reads the message to its last byte and yields every value that may be masked. What
//! is recognised by itself is looked for in a text that is written of all of them, each in a line after
//! its field's name, which so is its context; findings are mapped back to the value they stand in. Then
//! each value becomes what its field's rule, or what was found in it, says, in its own type.
//!
//! Invariants: a message that does not fit its schema to the last byte is not understood, and so not
//! passed; what is not masked keeps its very bytes; the walk is bounded by the message's length,
//! whatever its schema.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use super::fields::{Fields, Keys};
use super::json::{self, FieldPlace};
use super::operate::plain_string;
use super::pass::Place;
use super::plan::Slot;
use super::schema::json::Tagged;
use super::schema::{Form as SchemaForm, Schema};
use super::{Class, MaskEntry, MaskPlan, Operator};

mod avro;
mod protobuf;
mod splice;
mod value;

use splice::{Container, Edits, Leaf};

/// Schemas that a thread keeps what it bound of.
const BOUND_MAX: usize = 64;
/// Messages within each other.
const DEPTH_MAX: usize = 128;
/// Values of a message that rules or the scan are about.
const LEAVES_MAX: usize = 1 << 20;

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
    /// Counts a field, notes where it stands in the message, whether it empties the record, and whose
    /// `value`, as text, is.
    fn field(&mut self, slot: Slot, span: Range<usize>, value: &[u8]);
    /// Counts what was recognised, and notes where it stands and whether it empties the record.
    fn found(&mut self, slot: Slot, span: Range<usize>);
    /// Notes that what was found stands in a field that changes whole.
    fn swallowed(&mut self, slot: Slot);
}

/// A format of messages: what becomes of the values that its walker yields.
trait Format {
    /// What a value is.
    type Kind: Copy;

    /// Whether it holds text.
    fn is_text(kind: Self::Kind) -> bool;

    /// A value as text, for the tag of whom it is about; empty where it has none.
    fn text_of<'c>(leaf: &Leaf<Self::Kind>, content: &'c [u8]) -> Cow<'c, [u8]>;

    /// A value's field is masked.
    fn replace(&self, leaf: &Leaf<Self::Kind>, by: (Class<'_>, &Operator), message: &[u8], edits: &mut Edits);

    /// Something in a value is masked.
    fn replace_within(
        &self,
        leaf: &Leaf<Self::Kind>,
        plan: &MaskPlan,
        places: &[Place],
        message: &[u8],
        edits: &mut Edits,
    );

    /// Writes the head of a container whose body has a new length.
    fn head(container: &Container, length: u64, out: &mut Vec<u8>);

    /// What a value says, for people.
    fn shown(&self, leaf: &Leaf<Self::Kind>, content: &[u8]) -> String;
}

/// What walking takes, kept by a thread from pass to pass.
#[derive(Debug, Default)]
pub(super) struct Framed {
    bound: Vec<Bound>,
    tagged: Vec<(u64, u64, Rc<Fields>)>,
    avro: Walked<avro::Kind>,
    protobuf: Walked<protobuf::Kind>,
    buffers: Buffers,
}

/// What deciding takes.
#[derive(Debug, Default)]
struct Buffers {
    keys: Option<Keys>,
    json: json::Buffers,
    edits: Edits,
    places: Vec<Place>,
    inner: Vec<Place>,
    members: Vec<FieldPlace>,
}

/// What a plan's fields come to in one schema.
#[derive(Debug)]
struct Bound {
    fields: Option<u64>,
    schema: u64,
    avro: avro::Bound,
    protobuf: protobuf::Bound,
}

/// What a walker yields.
#[derive(Debug)]
struct Walked<K> {
    leaves: Vec<Leaf<K>>,
    containers: Vec<Container>,
    /// All that is scanned: each value in a line after its field's name.
    text: Vec<u8>,
    /// Whether anything is to be scanned at all.
    scans: bool,
    /// The paths of all values, where somebody asked for them.
    trail: Option<Trail>,
}

/// Where values stand, for people.
#[derive(Debug, Default)]
struct Trail {
    /// The path of what is walked.
    at: String,
    /// By leaf.
    leaves: Vec<String>,
}

/// A value of a message, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueAt {
    /// Its path, as a rule would name it: `$.orders[0].phone`.
    pub path: String,
    /// Its bytes in the message, its length aside.
    pub span: Range<usize>,
    /// What it says.
    pub text: String,
}

impl<K> Default for Walked<K> {
    fn default() -> Self {
        Self { leaves: Vec::new(), containers: Vec::new(), text: Vec::new(), scans: false, trail: None }
    }
}

/// All values of a message, which stands behind its framing at `from`; `None` where its schema says that
/// it is text.
pub(super) fn values(schema: &Schema, message: &[u8], from: usize) -> Result<Option<Vec<ValueAt>>, Malformed> {
    match &schema.form {
        SchemaForm::Avro(format) => {
            let mut walked = Walked { trail: Some(Trail::default()), ..Walked::default() };
            avro::walk(format, &mut avro::Bound::default(), None, message, from, &mut walked)?;
            Ok(Some(walked.values(format, message)))
        }
        SchemaForm::Protobuf(format) => {
            let mut walked = Walked { trail: Some(Trail::default()), ..Walked::default() };
            protobuf::walk(format, &mut protobuf::Bound::default(), None, message, from, &mut walked)?;
            Ok(Some(walked.values(format, message)))
        }
        SchemaForm::Json(_) => Ok(None),
    }
}

/// The length of the message of Avro that `bytes` begin with.
pub(super) fn length(schema: &Schema, bytes: &[u8]) -> Result<usize, Malformed> {
    match &schema.form {
        SchemaForm::Avro(format) => avro::length(format, &mut avro::Bound::default(), bytes, &mut Walked::default()),
        SchemaForm::Protobuf(_) | SchemaForm::Json(_) => Ok(bytes.len()),
    }
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

    /// The fields that a plan names in JSON documents of a schema, its tags' included; `fields` are those
    /// of the plan alone. `None` where none is named.
    pub(super) fn tagged(
        &mut self,
        (plan, fields): (&MaskPlan, &Fields),
        schema: u64,
        tagged: &Tagged,
    ) -> Option<Rc<Fields>> {
        if let Some((_, _, known)) = self.tagged.iter().find(|known| (known.0, known.1) == (fields.id(), schema)) {
            return Some(known.clone());
        }
        let bound = Rc::new(plan.fields_with(tagged)?);
        if self.tagged.len() >= BOUND_MAX {
            self.tagged.remove(0);
        }
        self.tagged.push((fields.id(), schema, bound.clone()));
        Some(bound)
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
        let Self { bound, avro: of_avro, protobuf: of_protobuf, buffers, .. } = self;
        if fields.is_some_and(|fields| fields.automaton.is_none()) {
            return Err(Malformed::TooManyStates);
        }
        if let Some(fields) = fields
            && buffers.keys.as_ref().is_none_or(|keys| !keys.are_of(fields))
        {
            buffers.keys = Some(Keys::new(fields));
        }
        let id = (fields.map(Fields::id), schema.uid);
        let at = bound.iter().position(|bound| (bound.fields, bound.schema) == id);
        let at = at.unwrap_or_else(|| {
            if bound.len() >= BOUND_MAX {
                bound.remove(0);
            }
            let (avro, protobuf) = (avro::Bound::default(), protobuf::Bound::default());
            bound.push(Bound { fields: id.0, schema: id.1, avro, protobuf });
            bound.len() - 1
        });
        let Some(bound) = bound.get_mut(at) else { return Err(Malformed::TooManyStates) };
        match &schema.form {
            SchemaForm::Avro(format) => {
                of_avro.begin(scans);
                let names = fields.zip(buffers.keys.as_mut());
                avro::walk(format, &mut bound.avro, names, message, from, of_avro)?;
                buffers.decide(format, of_avro, (plan, fields), message, decide)
            }
            SchemaForm::Protobuf(format) => {
                of_protobuf.begin(scans);
                protobuf::walk(format, &mut bound.protobuf, fields, message, from, of_protobuf)?;
                buffers.decide(format, of_protobuf, (plan, fields), message, decide)
            }
            SchemaForm::Json(_) => Ok(None),
        }
    }
}

impl Buffers {
    /// Gathers the edits of all values, and makes of the message what it becomes.
    fn decide<F: Format>(
        &mut self,
        format: &F,
        walked: &Walked<F::Kind>,
        (plan, fields): (&MaskPlan, Option<&Fields>),
        message: &[u8],
        decide: &mut dyn Decide,
    ) -> Result<Option<Vec<u8>>, Malformed> {
        let Self { keys, json: buffers, edits, places, inner, members } = self;
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
                decide.field(leaf.slot, leaf.content.clone(), &F::text_of(leaf, content));
            }
            if let Some(entry) = whole {
                inner.iter().for_each(|place| decide.swallowed(place.slot));
                if !content.is_empty() {
                    format.replace(leaf, (entry.class(), &entry.operator), message, edits);
                }
                continue;
            }
            if let Some(fields) = fields
                && F::is_text(leaf.kind)
                && (leaf.state != super::automaton::DEAD || !fields.names.is_empty())
                && json::may_hold_fields(content)
            {
                let working = (&mut *keys, &mut *buffers, &mut *members);
                nested((plan, fields), working, leaf, content, inner, decide)?;
            }
            if !inner.is_empty() {
                for place in inner.iter().filter(|place| !place.is_field()) {
                    let start = leaf.content.start;
                    // A number's digits are not its bytes.
                    let within = if F::is_text(leaf.kind) { place.span.clone() } else { 0..content.len() };
                    decide.found(place.slot, start + within.start..start + within.end);
                }
                format.replace_within(leaf, plan, inner, message, edits);
            }
        }
        Ok(edits.apply(message, &walked.containers, F::head))
    }
}

/// Finds the fields of a document that a text holds, and puts them among what was found in it.
fn nested<K>(
    (plan, fields): (&MaskPlan, &Fields),
    (keys, buffers, places): (&mut Option<Keys>, &mut json::Buffers, &mut Vec<FieldPlace>),
    &Leaf { state, content: Range { start, .. }, .. }: &Leaf<K>,
    content: &[u8],
    inner: &mut Vec<Place>,
    decide: &mut dyn Decide,
) -> Result<(), Malformed> {
    let Some(keys) = keys.as_mut() else { return Ok(()) };
    places.clear();
    match json::walk_from(content, fields, keys, state, buffers, places) {
        // A path leads into it, so it has to be understood.
        Err(error) if fields.leads_on(state) => return Err(Malformed::Nested(error)),
        Err(_) => return Ok(()),
        Ok(()) => {}
    }
    for place in places.iter() {
        let span = start + place.span.start..start + place.span.end;
        decide.field(place.slot, span, &plain_string(&content[place.span.clone()], place.quote));
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

impl<K> Walked<K> {
    fn begin(&mut self, scans: bool) {
        self.leaves.clear();
        self.containers.clear();
        self.text.clear();
        self.scans = scans;
    }

    /// Notes a value, where anything may become of it.
    fn leaf(&mut self, leaf: Leaf<K>, may_hold_fields: bool) -> Result<(), Malformed> {
        if let Some(trail) = &mut self.trail {
            trail.leaves.push(trail.at.clone());
        } else if leaf.slot.is_none() && leaf.text.is_empty() && !may_hold_fields {
            return Ok(());
        }
        if self.leaves.len() >= LEAVES_MAX {
            return Err(Malformed::TooMany);
        }
        self.leaves.push(leaf);
        Ok(())
    }

    /// The walk goes down to a member; what to give [`Walked::leave`] afterwards.
    #[inline]
    fn enter(&mut self, name: &[u8]) -> usize {
        let Some(trail) = &mut self.trail else { return 0 };
        let before = trail.at.len();
        let name = String::from_utf8_lossy(name);
        let simple = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        trail.at += &if simple { format!(".{name}") } else { format!("['{name}']") };
        before
    }

    /// What to give [`Walked::leave`] where the walk does not go down.
    fn here(&self) -> usize {
        self.trail.as_ref().map_or(0, |trail| trail.at.len())
    }

    /// The walk goes down to an element.
    #[inline]
    fn enter_element(&mut self, index: u32) -> usize {
        let Some(trail) = &mut self.trail else { return 0 };
        let before = trail.at.len();
        trail.at += &format!("[{index}]");
        before
    }

    #[inline]
    fn leave(&mut self, before: usize) {
        if let Some(trail) = &mut self.trail {
            trail.at.truncate(before);
        }
    }

    fn values<F: Format<Kind = K>>(&self, format: &F, message: &[u8]) -> Vec<ValueAt> {
        let paths = self.trail.iter().flat_map(|trail| &trail.leaves);
        let value = |(leaf, path): (&Leaf<K>, &String)| {
            let content = message.get(leaf.content.clone()).unwrap_or_default();
            ValueAt { path: format!("${path}"), span: leaf.content.clone(), text: format.shown(leaf, content) }
        };
        self.leaves.iter().zip(paths).map(value).collect()
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
