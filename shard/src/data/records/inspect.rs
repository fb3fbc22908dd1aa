//! One partition's records under a mask plan, in either direction.
//!
//! Only records that a plan applies to are decompressed and walked; the rest are counted from
//! their batch headers. Bytes that nothing had to change are not copied. Looking is apart from
//! noting: [`Looking`] goes on in steps and touches nothing, [`Looked::note`] says in the evidence
//! what came of it.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_core::batch::{self, BatchError, Inspected, Inspector, Summary};
use tidegate_policy::mask::MaskPlan;
use tidegate_policy::mask::pass::Tally;

use super::super::stage::{Draft, OnUnparseable, Scope};
use super::notes;
use super::verdict::Seen;

thread_local! {
    /// A shard is a thread: one set of decompression buffers each.
    static INSPECTOR: RefCell<Inspector> = RefCell::new(Inspector::default());
}

/// What the records are on their way to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The upstream's log.
    Produce,
    /// A consumer, which comes back for what it did not get.
    Fetch,
    /// A member of a share group. What it acquired must all be there: it takes missing records for
    /// gaps and acknowledges them away.
    ShareFetch,
}

/// What came of one partition's records.
#[derive(Debug)]
pub(super) enum Inspection {
    /// They pass as they came.
    Unchanged(Summary),
    /// These pass in their place.
    Changed(Bytes, Summary),
    /// They do not pass.
    Refused(BatchError),
}

/// The records of one partition that a plan applies to, being looked at.
#[derive(Debug)]
pub(super) struct Looking {
    records: Bytes,
    plan: Arc<MaskPlan>,
    to: Use,
    on_unparseable: OnUnparseable,
    inspection: batch::Inspection,
    seen: Seen,
    tags_max: usize,
}

/// What came of looking, before it is noted.
#[derive(Debug)]
pub(super) struct Looked {
    plan: Arc<MaskPlan>,
    inspection: Inspection,
    found: Tally,
    /// Tags of subjects in one entry, at most.
    tags_max: usize,
    recalled: u64,
    remark: Option<(Remark, BatchError)>,
}

/// How far looking has come.
#[expect(clippy::large_enum_variant, reason = "one a partition, moved once: a box would cost an allocation each")]
pub(super) enum Look {
    /// All is seen.
    Done(Looked),
    /// The turn's work is used up.
    Again(Box<Looking>),
}

/// What there is to say about records that could not be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remark {
    /// The batches before are released, the rest is not.
    Cut,
    /// They pass all the same.
    Passed,
    /// The batches before are released, the rest waits.
    Waits,
    Refused,
}

impl Looking {
    /// Begins with records that `plan` applies to.
    pub(super) fn new(records: Bytes, plan: Arc<MaskPlan>, to: Use, on_unparseable: OnUnparseable) -> Self {
        let inspection = batch::Inspection::new(records.clone());
        Self { records, plan, to, on_unparseable, inspection, seen: Seen::default(), tags_max: 0 }
    }

    /// Goes on until the turn's work is used up or all is seen.
    pub(super) fn step(mut self, scope: &mut Scope<'_>) -> Look {
        let plan = self.plan.clone();
        let step = INSPECTOR.with_borrow_mut(|inspector| {
            let Self { inspection, seen, tags_max, .. } = &mut self;
            let Scope { limits, subjects, schemas, work, .. } = scope;
            *tags_max = limits.evidence_subjects_max as usize;
            seen.step(&plan, limits, (*schemas, *subjects), |inspect| inspector.step(inspection, limits, inspect, work))
        });
        match step {
            Ok(false) => Look::Again(Box::new(self)),
            Ok(true) => {
                let Self { plan, inspection: done, seen, tags_max, .. } = self;
                let (found, recalled) = seen.finish();
                let inspection = inspection(done.finish());
                Look::Done(Looked { plan, inspection, found, tags_max, recalled, remark: None })
            }
            Err(error) => Look::Done(self.failed(error)),
        }
    }

    /// What becomes of records of which a batch could not be walked.
    fn failed(self, error: BatchError) -> Looked {
        let Self { records, plan, to, on_unparseable, inspection: done, seen, tags_max } = self;
        let (found, recalled) = seen.finish();
        if matches!(error, BatchError::Waiting { .. }) {
            // A consumer comes again for what it did not get, also where that is all; others are told to.
            let inspection = match to {
                Use::Fetch => inspection(done.finish()),
                Use::Produce | Use::ShareFetch => Inspection::Refused(error.clone()),
            };
            let found = if to == Use::Fetch { found } else { Tally::default() };
            return Looked { plan, inspection, found, recalled, tags_max, remark: Some((Remark::Waits, error)) };
        }
        if on_unparseable == OnUnparseable::Pass && may_pass(to, &error) {
            let inspection = Inspection::Unchanged(counted(&records));
            return Looked {
                plan,
                inspection,
                found: Tally::default(),
                tags_max,
                recalled,
                remark: Some((Remark::Passed, error)),
            };
        }
        // `mask_whole_value` needs records to mask; a batch that cannot be walked shows none.
        let sound = done.finish();
        if to == Use::Fetch && !sound.records.is_empty() {
            let (inspection, remark) = (inspection(sound), Some((Remark::Cut, error)));
            return Looked { plan, inspection, found, tags_max, recalled, remark };
        }
        let inspection = Inspection::Refused(error.clone());
        let (found, remark) = (Tally::default(), Some((Remark::Refused, error)));
        Looked { plan, inspection, found, tags_max, recalled, remark }
    }
}

impl Looked {
    /// Whether this is what looking under `plan` would come to now.
    pub(super) fn is_under(&self, plan: &Arc<MaskPlan>) -> bool {
        Arc::ptr_eq(&self.plan, plan) || self.plan == *plan
    }

    /// Whether some of the records wait for what is being fetched.
    pub(super) fn waits(&self) -> bool {
        matches!(self.remark, Some((Remark::Waits, _)))
    }

    /// Notes findings and what could not be parsed of `topic`'s `partition`.
    pub(super) fn note(self, to: Use, topic: &str, partition: i32, draft: &mut Draft) -> Inspection {
        draft.inspected.recalled += self.recalled;
        for (entry, count) in self.found.counts(&self.plan) {
            notes::found(draft, entry, topic, count);
        }
        let subjects = &self.found.subjects;
        if !subjects.tags.is_empty() || subjects.cut > 0 {
            let known = to != Use::Produce;
            notes::subjects(draft, subjects, &self.plan, (topic, partition), known, self.tags_max);
        }
        if self.found.records_unparseable > 0 && self.remark.is_none() {
            draft.inspected.unparseable += 1;
            let records = self.found.records_unparseable;
            let became = match self.plan.on_unparseable() {
                OnUnparseable::Pass => "passed",
                OnUnparseable::MaskWholeValue => "masked whole",
                OnUnparseable::Reject => "refused",
            };
            notes::say(
                draft,
                format_args!("{topic}-{partition}: {records} records could not be parsed and were {became}"),
            );
        }
        match &self.inspection {
            Inspection::Unchanged(summary) => draft.inspected.records += summary.records,
            Inspection::Changed(_, summary) => {
                draft.inspected.records += summary.records;
                draft.inspected.changed += 1;
            }
            Inspection::Refused(_) => {}
        }
        match self.remark {
            None => {}
            Some((Remark::Cut, error)) => {
                draft.inspected.unparseable += 1;
                notes::say(draft, format_args!("{topic}-{partition} cut before a batch: {error}"));
            }
            Some((Remark::Waits, error)) => notes::say(draft, format_args!("{topic}-{partition}: {error}")),
            Some((Remark::Passed, error)) => passed(topic, partition, &error, draft),
            Some((Remark::Refused, error)) => refused(topic, partition, &error, draft),
        }
        self.inspection
    }
}

/// Counts records that no plan applies to. Nothing in them is ours to protect: a reader gets what
/// the upstream has, old message formats included. A writer is refused where batches do not add up:
/// the broker would refuse the same bytes, and the evidence could not say what was written.
pub(super) fn unmasked(
    records: &Bytes,
    topic: &str,
    partition: i32,
    to: Use,
    scope: &Scope<'_>,
    draft: &mut Draft,
) -> Inspection {
    match batch::summarise(records) {
        Ok(summary) => Inspection::Unchanged(summary),
        Err(error) if to == Use::Produce && !(scope.on_unparseable == OnUnparseable::Pass && may_pass(to, &error)) => {
            refused(topic, partition, &error, draft);
            Inspection::Refused(error)
        }
        Err(error) => {
            passed(topic, partition, &error, draft);
            Inspection::Unchanged(counted(records))
        }
    }
}

/// Older message formats are never written, whatever the policy says of what cannot be parsed.
fn may_pass(to: Use, error: &BatchError) -> bool {
    to != Use::Produce || !matches!(error, BatchError::Magic(_))
}

fn inspection(inspected: Inspected) -> Inspection {
    if !inspected.changed {
        return Inspection::Unchanged(inspected.summary);
    }
    // The evidence counts the bytes that go out, not those that came in.
    let summary = Summary { bytes: inspected.records.len() as u64, ..inspected.summary };
    Inspection::Changed(inspected.records, summary)
}

/// What adds up of records that pass as they are.
fn counted(records: &Bytes) -> Summary {
    let (summary, _) = batch::summarise_intact(records);
    Summary { bytes: records.len() as u64, ..summary }
}

fn refused(topic: &str, partition: i32, error: &BatchError, draft: &mut Draft) {
    draft.inspected.unparseable += 1;
    draft.unparseable = true;
    notes::say(draft, format_args!("{topic}-{partition} refused: {error}"));
}

fn passed(topic: &str, partition: i32, error: &BatchError, draft: &mut Draft) {
    draft.inspected.unparseable += 1;
    notes::say(draft, format_args!("{topic}-{partition} passed unparsed: {error}"));
}
