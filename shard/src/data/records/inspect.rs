//! One partition's records under a mask plan, in either direction.
//!
//! Only records that a plan applies to are decompressed and walked; the rest are counted from
//! their batch headers. Bytes that nothing had to change are not copied.

use std::cell::RefCell;

use bytes::Bytes;
use tidegate_core::batch::{self, BatchError, Inspector, Summary};
use tidegate_core::words::Direction;
use tidegate_policy::mask::MaskPlan;

use super::super::stage::{Draft, OnUnparseable, Scope};
use super::notes;

thread_local! {
    /// A shard is a thread, and a stage never yields: one set of decompression buffers each.
    static INSPECTOR: RefCell<Inspector> = RefCell::new(Inspector::default());
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
    direction: Direction,
    scope: &Scope<'_>,
    draft: &mut Draft,
) -> Inspection {
    let result = match plan {
        None => batch::summarise(records).map(Inspection::Unchanged),
        Some(plan) => masked(records, topic, plan, scope, draft),
    };
    match result {
        Ok(inspection) => inspection,
        Err(error) => unparseable(records, topic, partition, plan.is_some(), direction, error, scope, draft),
    }
}

fn masked(
    records: &Bytes,
    topic: &str,
    plan: &MaskPlan,
    scope: &Scope<'_>,
    draft: &mut Draft,
) -> Result<Inspection, BatchError> {
    let mut pass = plan.begin();
    let inspected = INSPECTOR.with_borrow_mut(|inspector| inspector.inspect(records, scope.limits, &mut pass))?;
    for tally in pass.tally() {
        notes::found(draft, tally.class.name(), tally.operator.name(), topic, tally.count);
    }
    if inspected.changed {
        // The evidence counts the bytes that go out, not those that came in.
        let summary = Summary { bytes: inspected.records.len() as u64, ..inspected.summary };
        Ok(Inspection::Changed(inspected.records, summary))
    } else {
        Ok(Inspection::Unchanged(inspected.summary))
    }
}

/// Decides about records that cannot be walked.
///
/// Without a mask rule nothing in them is ours to protect: a reader gets what the upstream has,
/// old message formats included. A writer is refused in any case: the broker would refuse the
/// same bytes, and the evidence could not say what was written.
/// `mask_whole_value` needs records to mask; where the batch itself cannot be walked it refuses.
#[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename the arguments")]
fn unparseable(
    records: &Bytes,
    topic: &str,
    partition: i32,
    has_plan: bool,
    direction: Direction,
    error: BatchError,
    scope: &Scope<'_>,
    draft: &mut Draft,
) -> Inspection {
    let passes = match direction {
        Direction::Fetch => !has_plan || scope.on_unparseable == OnUnparseable::Pass,
        Direction::Produce => scope.on_unparseable == OnUnparseable::Pass && !matches!(error, BatchError::Magic(_)),
    };
    if !passes {
        draft.malformed = true;
        notes::say(draft, format_args!("{topic}-{partition} refused: {error}"));
        return Inspection::Refused(error);
    }
    notes::say(draft, format_args!("{topic}-{partition} passed unparsed: {error}"));
    Inspection::Unchanged(Summary { bytes: records.len() as u64, ..Summary::default() })
}
