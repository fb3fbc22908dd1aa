//! What a record-carrying exchange says in the evidence.
//!
//! A request leaves one entry a topic for what is allowed and one a partition for what is denied.
//! A response turns the topic's entry into that of the first partition that delivers records, and
//! adds one for each further: an idle poll over a thousand partitions stays one entry a topic.

use std::fmt::Write as _;

use smol_str::{SmolStr, ToSmolStr, format_smolstr};
use tidegate_core::batch::{BatchError, Summary};
use tidegate_core::event::{FindingCount, SubjectTags, Touched, push_posting};
use tidegate_core::words::{Operation, Resource};
use tidegate_policy::mask::pass::Subjects;
use tidegate_policy::mask::{MaskEntry, MaskPlan};
use tidegate_policy::view::Decision;
use uuid::Uuid;

use super::super::stage::Draft;

/// Longest text in a draft's detail, in bytes. Not configurable: the detail is for people, who read no
/// further, and the resources say the rest one by one.
const DETAIL_BYTES_MAX: usize = 1024;
/// Distinct upstream error codes kept of one exchange. Not configurable: a broker has fewer than these to
/// give in one response, unless it is broken.
const UPSTREAM_ERRORS_MAX: usize = 32;

/// Bytes of a posting, at least: how many a list has at most follows from its length.
const POSTING_BYTES_MIN: usize = 9;

/// Adds a sentence to the detail, as long as there is room.
pub(super) fn say(draft: &mut Draft, sentence: std::fmt::Arguments<'_>) {
    if draft.detail.len() >= DETAIL_BYTES_MAX {
        return;
    }
    if !draft.detail.is_empty() {
        draft.detail.push_str("; ");
    }
    // Writing to a `String` cannot fail.
    let _ = draft.detail.write_fmt(sentence);
}

/// Notes an upstream error code once.
pub(super) fn upstream_error(draft: &mut Draft, code: i16) {
    let code = i32::from(code);
    if code != 0 && draft.upstream_errors.len() < UPSTREAM_ERRORS_MAX && !draft.upstream_errors.contains(&code) {
        draft.upstream_errors.push(code);
    }
}

/// A topic id that resolves to no name: nothing to ask policy about.
pub(super) fn unknown_id(draft: &mut Draft, operation: Operation, id: Uuid, partition: i32) {
    draft.resources.push(Touched {
        kind: "topic",
        name: id.to_smolstr(),
        partition: Some(partition),
        operation: operation.name(),
        rule: SmolStr::new_static("unknown topic id"),
        ..Touched::default()
    });
}

/// Adds findings to those of the same entry of the plan in the same topic, and returns where they stand.
pub(super) fn found(draft: &mut Draft, entry: &MaskEntry, topic: &str, count: u64) -> usize {
    let (class, operator, field) = (entry.class_name(), entry.outcome(), entry.field());
    let known = draft.findings.iter().position(|finding| {
        finding.class == class
            && finding.operator == operator
            && finding.topic == topic
            && finding.field == field
            && finding.rule == *entry.rule
    });
    let at = known.unwrap_or_else(|| {
        draft.findings.push(FindingCount {
            class: class.to_owned(),
            operator: operator.to_owned(),
            count: 0,
            topic: topic.to_owned(),
            rule: entry.rule.to_string(),
            field: field.to_owned(),
        });
        draft.findings.len() - 1
    });
    if let Some(finding) = draft.findings.get_mut(at) {
        finding.count += count;
    }
    at
}

/// Notes whose data was found in the records of a partition, up to `tags_max` tags of the whole exchange.
/// With `base`, offsets are the log's; without it they count from what the broker will say.
pub(super) fn subjects(
    draft: &mut Draft,
    found: &Subjects,
    plan: &MaskPlan,
    (topic, partition): (&str, i32),
    offsets_known: bool,
    tags_max: usize,
) {
    draft.subjects_cut += found.cut;
    let noted: usize = draft.subjects.iter().map(|group| group.postings.len() / POSTING_BYTES_MIN).sum();
    let kept = found.tags.len().min(tags_max.saturating_sub(noted));
    draft.subjects_cut += (found.tags.len() - kept) as u64;
    let tags = found.tags.get(..kept).unwrap_or_default();
    // A plan has few entries that find something, so a pass over the tags for each is cheap.
    let mut entries: Vec<u16> = Vec::new();
    for tag in tags {
        if entries.last() != Some(&tag.entry) && !entries.contains(&tag.entry) {
            entries.push(tag.entry);
        }
    }
    for index in entries {
        let Some(entry) = plan.entries().get(usize::from(index)) else { continue };
        // Where two findings overlapped, only one is counted, but both are somebody's.
        let finding = self::found(draft, entry, topic, 0);
        let of_entry = || tags.iter().filter(|tag| tag.entry == index);
        let base_offset = of_entry().next().map(|tag| tag.offset).filter(|_| offsets_known);
        let mut group = SubjectTags { finding: finding as u32, partition, base_offset, postings: Vec::new() };
        let mut before = base_offset.unwrap_or(0);
        for tag in of_entry() {
            push_posting(&mut group.postings, before, tag.offset, tag.tag);
            before = tag.offset;
        }
        draft.subjects.push(group);
    }
}

/// Fills in what the broker said of the offsets of a partition that was written to.
pub(super) fn subjects_written(draft: &mut Draft, topic: &str, partition: i32, base_offset: i64) {
    let Draft { subjects, findings, .. } = draft;
    for group in subjects.iter_mut().filter(|group| group.partition == partition && group.base_offset.is_none()) {
        if findings.get(group.finding as usize).is_some_and(|finding| finding.topic == topic) {
            group.base_offset = Some(base_offset);
        }
    }
}

/// What a request asked for, so that a response can fill it in.
#[derive(Debug)]
pub(super) struct Asked {
    /// Entries of the draft that the request left.
    len: usize,
    /// Where the next topic is looked for first: responses mostly keep the request's order.
    next: usize,
}

impl Asked {
    /// All that stands in the draft now.
    pub(super) fn now(draft: &Draft) -> Self {
        Self { len: draft.resources.len(), next: 0 }
    }

    /// The request's entry for a topic as a whole, where it left one that is not yet filled in.
    pub(super) fn topic(&mut self, draft: &Draft, operation: Operation, name: &str) -> Option<usize> {
        let asked = draft.resources.get(..self.len)?;
        let is_it = |entry: &Touched| {
            entry.partition.is_none()
                && entry.allowed
                && entry.name == name
                && entry.kind == "topic"
                && entry.operation == operation.name()
        };
        let found = (self.next..self.len).chain(0..self.next).find(|at| asked.get(*at).is_some_and(is_it))?;
        self.next = found + 1;
        Some(found)
    }

    /// The request's entry for one partition.
    pub(super) fn partition(&mut self, draft: &Draft, name: &str, partition: i32) -> Option<usize> {
        let asked = draft.resources.get(..self.len)?;
        let is_it = |entry: &Touched| entry.partition == Some(partition) && entry.allowed && entry.name == name;
        let found = (self.next..self.len).chain(0..self.next).find(|at| asked.get(*at).is_some_and(is_it))?;
        self.next = found + 1;
        Some(found)
    }
}

/// What the evidence gives as the rule where records were refused because they cannot be parsed.
fn unparseable(error: &BatchError) -> SmolStr {
    if matches!(error, BatchError::Waiting { .. }) {
        return error.to_smolstr();
    }
    format_smolstr!("unparseable records: {error}")
}

/// Notes records that a producer may write but that cannot be parsed, in the entry at `at`.
pub(super) fn refused(draft: &mut Draft, at: usize, error: &BatchError) {
    if let Some(entry) = draft.resources.get_mut(at) {
        entry.allowed = false;
        entry.rule = unparseable(error);
    }
}

/// Notes records that the client may read but that cannot be parsed: they do not reach it.
pub(super) fn withheld(
    draft: &mut Draft,
    slot: &mut Option<usize>,
    name: &str,
    partition: i32,
    decision: &Decision,
    error: &BatchError,
) {
    let at = entry(draft, slot, name, partition, decision);
    refused(draft, at, error);
}

/// Notes records that reach the client.
pub(super) fn delivered(
    draft: &mut Draft,
    slot: &mut Option<usize>,
    name: &str,
    partition: i32,
    decision: &Decision,
    summary: &Summary,
) {
    let at = entry(draft, slot, name, partition, decision);
    let Some(entry) = draft.resources.get_mut(at) else { return };
    entry.first_offset = summary.first_offset;
    entry.last_offset = summary.last_offset;
    entry.records = summary.records;
    entry.bytes = summary.bytes;
}

/// Where a partition's entry stands. `slot` is the topic's entry from [`Asked::topic`]: the first
/// partition that there is something to say of takes it, and each further gets one of its own.
fn entry(draft: &mut Draft, slot: &mut Option<usize>, name: &str, partition: i32, decision: &Decision) -> usize {
    let Some((at, entry)) = slot.take().and_then(|at| Some((at, draft.resources.get_mut(at)?))) else {
        draft.decided(Operation::Read, Resource::partition(name, partition), decision);
        return draft.resources.len() - 1;
    };
    entry.partition = Some(partition);
    // Another grant may allow this partition, or the policy may be a newer one by now.
    if *entry.rule != *decision.rule || *entry.purpose != *decision.purpose {
        entry.rule = SmolStr::from(decision.rule.clone());
        entry.purpose = SmolStr::from(decision.purpose.clone());
    }
    at
}
