//! What consumers get, held against what was sent: offsets without a gap, every writer's batches in
//! order, and the content record by record, masked by a plain reference where a rule masks.

use std::collections::HashMap;

use bytes::Bytes;
use tidegate_core::batch::{Inspect, Record, RecordEdit, inspect};
use tidegate_core::limits::Limits;

use crate::blackhole::cluster::Serves;
use crate::blackhole::prepared;
use crate::payload::{Identity, Pool, Value};
use crate::profile::Verify;
use crate::result::Verdict;
use crate::wire::{BatchHead, batch_head};

/// In `sampled`, one batch in so many is looked into.
const SAMPLED_ONE_IN: u64 = 64;

/// A partition as one consumer reads it.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) topic: usize,
    pub(crate) partition: i32,
    /// Shown in violations.
    pub(crate) name: String,
    /// The next offset.
    pub(crate) next: i64,
    /// A fetch is under way.
    pub(crate) fetching: bool,
    batches: u64,
    /// Whose batches a prepared partition holds, once the first was seen.
    prepared_writer: Option<u32>,
    /// The sequence that is due of each writer.
    due: HashMap<u32, u32>,
}

/// How a partition is checked.
pub(crate) struct Rules<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) serves: Option<Serves>,
    pub(crate) masked: bool,
    pub(crate) verify: Verify,
}

/// What was looked at and what is wrong.
#[derive(Default)]
pub(crate) struct Findings {
    batches: u64,
    records: u64,
    data: u64,
    verdict: Verdict,
}

impl Findings {
    fn violation(&mut self, sentence: impl FnOnce() -> String) {
        self.verdict.violation(sentence);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.batches += other.batches;
        self.records += other.records;
        self.data += other.data;
        self.verdict.add(other.verdict);
    }

    pub(crate) fn verdict(mut self) -> Verdict {
        self.verdict.looked_at("batches that reached consumers", self.batches);
        self.verdict.looked_at("records compared at consumers", self.records);
        self.verdict.looked_at("personal data looked for in clear", self.data);
        self.verdict
    }
}

/// What a fetch brought.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Reading {
    pub(crate) fn new(topic: usize, partition: i32, name: String, next: i64) -> Self {
        let (fetching, batches, prepared_writer, due) = (false, 0, None, HashMap::new());
        Self { topic, partition, name, next, fetching, batches, prepared_writer, due }
    }

    /// Goes on at another offset, since this one is no longer, or not yet, there.
    pub(crate) fn skip_to(&mut self, offset: i64) {
        self.next = offset;
        self.due.clear();
    }

    /// Takes the records of one answer.
    pub(crate) fn take(&mut self, records: &Bytes, rules: &Rules<'_>, verdict: &mut Findings) -> Got {
        let mut got = Got::default();
        let mut at = 0;
        while at < records.len() {
            // The last batch may be cut by the fetch limit.
            let Some(head) = batch_head(&records[at..]) else { break };
            let batch = at..at + head.bytes;
            at = batch.end;
            // A broker answers from the start of the batch that holds the offset.
            if head.last_offset < self.next {
                verdict.violation(|| {
                    format!("{}: offsets {}–{} came again", self.name, head.base_offset, head.last_offset)
                });
                continue;
            }
            if head.base_offset != self.next {
                let due = self.next;
                verdict.violation(|| format!("{}: offset {} came where {due} was due", self.name, head.base_offset));
            }
            self.next = head.last_offset + 1;
            self.batches += 1;
            got.records += u64::from(head.records);
            got.bytes += head.bytes as u64;
            verdict.batches += 1;
            self.check(&head, || records.slice(batch.clone()), rules, verdict);
        }
        got
    }

    fn check(&mut self, head: &BatchHead, batch: impl Fn() -> Bytes, rules: &Rules<'_>, verdict: &mut Findings) {
        let Some(identity) = Identity::of(head.base_timestamp) else { return };
        let each = rules.pool.records_per_batch();
        if matches!(rules.serves, Some(Serves::Prepared)) {
            let writer = *self.prepared_writer.get_or_insert(identity.writer);
            if identity != prepared(writer, head.base_offset / i64::from(each)) {
                verdict.violation(|| format!("{}: at offset {} stands another batch", self.name, head.base_offset));
                return;
            }
        } else if let Some(due) = self.due.insert(identity.writer, (identity.sequence + 1) % Identity::SEQUENCES)
            && due != identity.sequence
        {
            verdict.violation(|| {
                format!(
                    "{}: batch {} of writer {} came where {due} was due",
                    self.name, identity.sequence, identity.writer
                )
            });
        }
        if head.records != each {
            verdict.violation(|| format!("{}: {} of {each} records at {}", self.name, head.records, head.base_offset));
            return;
        }
        let looked_into = match rules.verify {
            Verify::Offsets => false,
            Verify::Sampled => self.batches % SAMPLED_ONE_IN == 1,
            Verify::All => true,
        };
        if looked_into {
            let mut compare = Compare { rules, identity, name: &self.name, at: 0, verdict };
            if let Err(error) = inspect(&batch(), &Limits::default(), &mut compare) {
                verdict.violation(|| format!("{}: the batch at {}: {error}", self.name, head.base_offset));
            }
        }
    }
}

/// Compares a batch record by record.
struct Compare<'a> {
    rules: &'a Rules<'a>,
    identity: Identity,
    name: &'a str,
    at: usize,
    verdict: &'a mut Findings,
}

impl Inspect for Compare<'_> {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        let sent = self.rules.pool.records(self.identity.number()).get(self.at);
        self.at += 1;
        self.verdict.records += 1;
        let sent = sent?;
        let value = record.value.unwrap_or_default();
        let (name, offset) = (self.name, record.offset);
        if record.key != sent.key.as_deref() {
            self.verdict.violation(|| format!("{name}: the key at offset {offset} is another"));
        }
        let right = if self.rules.masked { value == sent.value.redacted() } else { value == sent.value.bytes };
        if self.rules.masked {
            self.verdict.data += sent.value.labels.len() as u64;
            if let Some(class) = in_clear(&sent.value, value) {
                self.verdict.violation(|| format!("{name}: {class:?} stands in clear at offset {offset}"));
                return None;
            }
        }
        if !right {
            self.verdict.violation(|| format!("{name}: the value at offset {offset} is not what it should be"));
        }
        None
    }
}

/// The class of the first labelled datum of `sent` that stands in `got`.
fn in_clear(sent: &Value, got: &[u8]) -> Option<tidegate_core::words::DataClass> {
    let stands = |datum: &[u8]| got.windows(datum.len()).any(|window| window == datum);
    sent.labels.iter().find(|label| stands(&sent.bytes[label.span.clone()])).map(|label| label.class)
}
