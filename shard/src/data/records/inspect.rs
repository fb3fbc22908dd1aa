//! One partition's records under a mask plan, in either direction.
//!
//! Only records that a plan applies to are decompressed and walked; the rest are counted from
//! their batch headers. Bytes that nothing had to change are not copied.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use tidegate_core::batch::{self, BatchError, Inspected, Inspector, Summary};
use tidegate_policy::mask::MaskPlan;

use super::super::stage::{Draft, OnUnparseable, Scope};
use super::notes;

thread_local! {
    /// A shard is a thread, and a stage never yields: one set of decompression buffers each.
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

/// Looks at the records of `topic`'s `partition`, and notes findings and what cannot be parsed.
pub(super) fn inspect(
    records: &Bytes,
    topic: &str,
    partition: i32,
    plan: Option<&MaskPlan>,
    to: Use,
    scope: &Scope<'_>,
    draft: &mut Draft,
) -> Inspection {
    let Some(plan) = plan else { return unmasked(records, topic, partition, to, scope, draft) };
    let error = match masked(records, topic, plan, scope, draft) {
        Ok(inspected) => return inspection(inspected),
        Err(error) => error,
    };
    if scope.on_unparseable == OnUnparseable::Pass && may_pass(to, &error) {
        return pass(records, topic, partition, &error, draft);
    }
    // `mask_whole_value` needs records to mask; a batch that cannot be walked shows none.
    if to == Use::Fetch
        && let Some(inspected) = sound_batches(records, topic, plan, scope, draft)
    {
        notes::say(draft, format_args!("{topic}-{partition} cut before a batch: {error}"));
        return inspection(inspected);
    }
    refuse(topic, partition, error, draft)
}

/// Without a mask rule nothing in the records is ours to protect: a reader gets what the upstream
/// has, old message formats included. A writer is refused where batches do not add up: the broker
/// would refuse the same bytes, and the evidence could not say what was written.
fn unmasked(records: &Bytes, topic: &str, partition: i32, to: Use, scope: &Scope<'_>, draft: &mut Draft) -> Inspection {
    match batch::summarise(records) {
        Ok(summary) => Inspection::Unchanged(summary),
        Err(error) if to == Use::Produce && !(scope.on_unparseable == OnUnparseable::Pass && may_pass(to, &error)) => {
            refuse(topic, partition, error, draft)
        }
        Err(error) => pass(records, topic, partition, &error, draft),
    }
}

/// Older message formats are never written, whatever the policy says of what cannot be parsed.
fn may_pass(to: Use, error: &BatchError) -> bool {
    to != Use::Produce || !matches!(error, BatchError::Magic(_))
}

fn masked(
    records: &Bytes,
    topic: &str,
    plan: &MaskPlan,
    scope: &Scope<'_>,
    draft: &mut Draft,
) -> Result<Inspected, BatchError> {
    let mut pass = plan.begin();
    let inspected = INSPECTOR.with_borrow_mut(|inspector| inspector.inspect(records, scope.limits, &mut pass))?;
    for (entry, count) in pass.counts() {
        notes::found(draft, entry.class.name(), entry.operator.name(), topic, count);
    }
    Ok(inspected)
}

fn inspection(inspected: Inspected) -> Inspection {
    if !inspected.changed {
        return Inspection::Unchanged(inspected.summary);
    }
    // The evidence counts the bytes that go out, not those that came in.
    let summary = Summary { bytes: inspected.records.len() as u64, ..inspected.summary };
    Inspection::Changed(inspected.records, summary)
}

/// The batches before the first that cannot be walked, masked; `None` where that is the first.
fn sound_batches(
    records: &Bytes,
    topic: &str,
    plan: &MaskPlan,
    scope: &Scope<'_>,
    draft: &mut Draft,
) -> Option<Inspected> {
    let mut sound = BytesMut::new();
    let mut summary = Summary::default();
    let mut rest = records.clone();
    while let Some(length) = batch_bytes(&rest).filter(|length| *length <= rest.len()) {
        let batch = rest.split_to(length);
        let Ok(inspected) = masked(&batch, topic, plan, scope, draft) else { break };
        sound.extend_from_slice(&inspected.records);
        summary.batches += inspected.summary.batches;
        summary.records += inspected.summary.records;
        summary.first_offset = summary.first_offset.or(inspected.summary.first_offset);
        summary.last_offset = inspected.summary.last_offset.or(summary.last_offset);
    }
    (!sound.is_empty()).then(|| Inspected { records: sound.freeze(), changed: true, summary })
}

/// The bytes of the first batch as its header states them (base offset 8, length 4, and so many more).
fn batch_bytes(records: &[u8]) -> Option<usize> {
    const LENGTH_AT: usize = 8;
    const LOG_OVERHEAD: usize = 12;
    let length = records.get(LENGTH_AT..LOG_OVERHEAD)?.try_into().ok().map(i32::from_be_bytes)?;
    usize::try_from(length).ok()?.checked_add(LOG_OVERHEAD)
}

fn refuse(topic: &str, partition: i32, error: BatchError, draft: &mut Draft) -> Inspection {
    draft.malformed = true;
    notes::say(draft, format_args!("{topic}-{partition} refused: {error}"));
    Inspection::Refused(error)
}

/// Lets records pass as they are, named in the evidence. What adds up is counted.
fn pass(records: &Bytes, topic: &str, partition: i32, error: &BatchError, draft: &mut Draft) -> Inspection {
    notes::say(draft, format_args!("{topic}-{partition} passed unparsed: {error}"));
    let (summary, _) = batch::summarise_intact(records);
    Inspection::Unchanged(Summary { bytes: records.len() as u64, ..summary })
}
