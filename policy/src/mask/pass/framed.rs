//! The parts of a pass that records in a registry's framing take: which schema, whether it is there, and
//! what is found by it.

use std::ops::Range;
use std::sync::Arc;

use tidegate_core::batch::Record;

use super::super::fields::Fields;
use super::super::framed::{Decide, Framed};
use super::super::plan::{Slot, Sought};
use super::super::schema::{self, Form, Lookup, Schema, SchemaId};
use super::super::{MaskEntry, MaskPlan, Operator};
use super::{Form as InPayload, MaskPass, Part, Place, Refusal, Tagging, Tally, UNPARSEABLE};
use crate::file::OnUnparseable;
use crate::scan::{Finding, Scanner};

/// How a part of a record is to be read.
enum Reading {
    /// As it is, behind so many bytes of framing.
    Plain(usize),
    /// By its schema, behind so many bytes.
    By(Arc<Schema>, usize),
    /// As it is behind so many bytes, with what its schema tags.
    Tagged(Arc<Schema>, usize),
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
            Reading::Plain(from) => self.behind(bytes, from, part, plan.fields.as_ref()),
            Reading::Tagged(schema, from) => {
                let framed = self.framed.get_or_insert_with(Framed::take);
                let tagged = match (&schema.form, &plan.fields) {
                    (Form::Json(tagged), Some(fields)) => framed.tagged((plan, fields), schema.uid, tagged),
                    _ => None,
                };
                self.behind(bytes, from, part, tagged.as_deref().or(plan.fields.as_ref()))
            }
            Reading::By(schema, from) => {
                let fields = if part == Part::Value { plan.fields.as_ref() } else { None };
                let Self { tally, drops, scanner, findings, framed, tagging, places, .. } = &mut *self;
                let framed = framed.get_or_insert_with(Framed::take);
                let mut deciding =
                    Deciding { plan, tally, drops, scanner, findings, sought, tagging: tagging.as_mut(), places };
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

    /// Masks what stands behind so many bytes of framing.
    fn behind(&mut self, bytes: &[u8], from: usize, part: Part, fields: Option<&Fields>) -> Option<Vec<u8>> {
        let (framing, payload) = bytes.split_at_checked(from)?;
        let masked = self.plain_by(payload, part, fields);
        for Place { span, .. } in &mut self.places {
            *span = span.start + from..span.end + from;
        }
        let masked = masked?;
        // What cannot be read goes whole.
        Some(if masked == UNPARSEABLE { masked } else { [framing, &masked].concat() })
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
            Lookup::Known(schema) => match &schema.form {
                Form::Json(tagged) => match &self.plan.fields {
                    Some(fields) if part == Part::Value && fields.has_tags() => match &tagged.incomplete {
                        Some(reason) if fields.needs_schema => {
                            Reading::Unparseable(format!("schema {id}: {reason}, and a rule by tag applies to it"))
                        }
                        _ => Reading::Tagged(schema, from),
                    },
                    _ => Reading::Plain(from),
                },
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
    places: &'p mut Vec<Place>,
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

    fn field(&mut self, slot: Slot, span: Range<usize>, value: &[u8]) {
        if let Some(tagging) = &mut self.tagging
            && !value.is_empty()
        {
            tagging.tag(self.plan, slot, value, &mut self.tally.subjects);
        }
        self.found(slot, span);
    }

    fn found(&mut self, slot: Slot, span: Range<usize>) {
        self.places.push(Place { span, slot, confidence: 100, form: InPayload::Found });
        self.tally.count(slot.decides());
        self.tally.count(slot.observes());
        self.drops(slot);
    }

    fn swallowed(&mut self, slot: Slot) {
        self.drops(slot);
    }
}
