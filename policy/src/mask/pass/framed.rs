//! The parts of a pass that records in a registry's framing take: which schema, whether it is there, and
//! what is found by it.

use std::sync::Arc;

use tidegate_core::batch::Record;

use super::super::framed::{Decide, Framed};
use super::super::plan::{Slot, Sought};
use super::super::schema::{self, Form, Lookup, Schema, SchemaId};
use super::super::{MaskEntry, MaskPlan, Operator};
use super::{MaskPass, Part, Place, Refusal, Tagging, Tally, UNPARSEABLE};
use crate::file::OnUnparseable;
use crate::scan::{Finding, Scanner};

/// How a part of a record is to be read.
enum Reading {
    /// As it is, behind so many bytes of framing.
    Plain(usize),
    /// By its schema, behind so many bytes.
    By(Arc<Schema>, usize),
    /// Not at all, and why.
    Unparseable(String),
    /// Not now.
    Later,
}

impl MaskPass<'_> {
    /// The schema that a header of the record names.
    pub(super) fn named(&self, record: &Record<'_>, header: &[u8]) -> Option<SchemaId> {
        if !self.plan.framed || record.headers.is_empty() {
            return None;
        }
        let (_, value) = record.headers.iter().find(|(key, _)| *key == header)?;
        schema::from_header(value?)
    }

    /// Masks a key or value that may be in a registry's framing.
    pub(super) fn framed(&mut self, bytes: &[u8], part: Part) -> Option<Vec<u8>> {
        let plan = self.plan;
        let sought = if part == Part::Key { &plan.in_keys } else { &plan.in_values };
        if part == Part::Key && sought.is_empty() {
            return None;
        }
        match self.reading(bytes, part) {
            Reading::Plain(0) => self.plain(bytes, part),
            Reading::Plain(from) => {
                let (framing, payload) = bytes.split_at(from);
                let masked = self.plain(payload, part)?;
                // What cannot be read goes whole.
                Some(if masked == UNPARSEABLE { masked } else { [framing, &masked].concat() })
            }
            Reading::By(schema, from) => {
                let fields = if part == Part::Value { plan.fields.as_ref() } else { None };
                let Self { tally, drops, scanner, findings, framed, tagging, .. } = &mut *self;
                let framed = framed.get_or_insert_with(Framed::take);
                let mut deciding =
                    Deciding { plan, tally, drops, scanner, findings, sought, tagging: tagging.as_mut() };
                let scans = !sought.is_empty();
                match framed.mask(plan, (&schema, fields), (bytes, from), scans, &mut deciding) {
                    Ok(masked) => masked,
                    Err(error) => self.unparseable(bytes, part, error.to_string()),
                }
            }
            Reading::Unparseable(reason) => self.unparseable(bytes, part, reason),
            Reading::Later => {
                self.refused = Some(Refusal::Waits);
                None
            }
        }
    }

    fn reading(&mut self, bytes: &[u8], part: Part) -> Reading {
        let named = self.named.take().map(|id| (id, 0));
        let Some((id, from)) = named.or_else(|| schema::framing(bytes)) else {
            let needs_schema = self.plan.fields.as_ref().is_some_and(|fields| fields.needs_schema);
            return if needs_schema && part == Part::Value {
                Reading::Unparseable("it names no schema, and a rule by tag applies to it".to_owned())
            } else {
                Reading::Plain(0)
            };
        };
        match self.schemas.find(id) {
            Lookup::Pending => Reading::Later,
            Lookup::Unusable(reason) => {
                self.passing = true;
                Reading::Unparseable(format!("schema {id}: {reason}"))
            }
            Lookup::Known(schema) => match schema.form {
                Form::Json => Reading::Plain(from),
                _ if part == Part::Value && self.plan.csv.iter().any(|csv| csv.strict) => {
                    Reading::Unparseable(format!("schema {id} is there, but a rule takes it for CSV"))
                }
                _ => Reading::By(schema, from),
            },
        }
    }

    /// What becomes of a key or value that cannot be parsed.
    fn unparseable(&mut self, bytes: &[u8], part: Part, reason: String) -> Option<Vec<u8>> {
        self.tally.records_unparseable += 1;
        match self.plan.on_unparseable {
            OnUnparseable::Reject => {
                self.refused = Some(Refusal::Unparseable(reason));
                None
            }
            OnUnparseable::MaskWholeValue => Some(UNPARSEABLE.to_vec()),
            // What is recognised by itself is masked all the same.
            OnUnparseable::Pass => {
                let plan = self.plan;
                let sought = if part == Part::Key { &plan.in_keys } else { &plan.in_values };
                self.recognise(bytes, sought);
                self.operate(bytes)
            }
        }
    }
}

/// What is found in a message goes into the pass's tally.
struct Deciding<'p, 'k> {
    plan: &'p MaskPlan,
    tally: &'p mut Tally,
    drops: &'p mut bool,
    scanner: &'p mut Scanner,
    findings: &'p mut Vec<Finding>,
    sought: &'p Sought,
    tagging: Option<&'p mut Tagging<'k>>,
}

impl Deciding<'_, '_> {
    fn drops(&mut self, slot: Slot) {
        let deciding: Option<&MaskEntry> = self.plan.deciding(slot);
        *self.drops |= deciding.is_some_and(|entry| entry.operator == Operator::DropRecord);
    }
}

impl Decide for Deciding<'_, '_> {
    fn recognise(&mut self, text: &[u8], places: &mut Vec<Place>) {
        let tagging = self.tagging.as_deref_mut().map(|tagging| (tagging, &mut self.tally.subjects));
        super::recognise(self.plan, (self.scanner, self.findings), tagging, text, self.sought, places);
    }

    fn field(&mut self, slot: Slot, value: &[u8]) {
        if let Some(tagging) = &mut self.tagging
            && !value.is_empty()
        {
            tagging.tag(self.plan, slot, value, &mut self.tally.subjects);
        }
        self.found(slot);
    }

    fn found(&mut self, slot: Slot) {
        self.tally.count(slot.decides());
        self.tally.count(slot.observes());
        self.drops(slot);
    }

    fn swallowed(&mut self, slot: Slot) {
        self.drops(slot);
    }
}
