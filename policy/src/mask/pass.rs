//! One pass of a plan over the records of a partition: scans values, header values and, where a
//! rule says so, keys; says what each record becomes; counts.

use tidegate_core::batch::{FieldEdit, Inspect, Record, RecordEdit};
use tidegate_core::event::FindingCount;
use tidegate_core::words::DataClass;

use super::operate::operate;
use super::{MaskEntry, MaskPlan, Operator};
use crate::scan::{ClassSet, Finding, Scanner};

/// What a plan found, by class. Each class has one operator, so this also counts by operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    findings: [u64; DataClass::ALL.len()],
    /// Records that were changed.
    pub records_masked: u64,
}

impl Tally {
    /// How many findings of `class`.
    #[must_use]
    pub fn count(&self, class: DataClass) -> u64 {
        self.findings.get(class as usize).copied().unwrap_or(0)
    }

    /// Adds what another pass found.
    pub fn add(&mut self, other: &Self) {
        self.findings.iter_mut().zip(other.findings).for_each(|(count, more)| *count += more);
        self.records_masked += other.records_masked;
    }
}

/// A pass over records, to be shown them by `tidegate_core::batch::inspect`.
#[derive(Debug)]
pub struct MaskPass<'a> {
    plan: &'a MaskPlan,
    tally: Tally,
    scanner: Scanner,
    findings: Vec<Finding>,
    /// A finding of the record asks for the record to be emptied.
    drops: bool,
}

impl<'a> MaskPass<'a> {
    pub(super) fn new(plan: &'a MaskPlan) -> Self {
        Self { plan, tally: Tally::default(), scanner: Scanner::default(), findings: Vec::new(), drops: false }
    }

    /// What was found so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What was found so far, with the entry that decided, class by class; nothing of classes that
    /// were not found.
    pub fn counts(&self) -> impl Iterator<Item = (&'a MaskEntry, u64)> {
        let plan = self.plan;
        DataClass::ALL.into_iter().filter_map(move |class| {
            let count = self.tally.count(class);
            plan.entry(class).filter(|_| count > 0).map(|entry| (entry, count))
        })
    }

    /// What was found so far in `topic`, as evidence says it.
    pub fn finding_counts(&self, topic: &str) -> impl Iterator<Item = FindingCount> {
        self.counts().map(move |(entry, count)| FindingCount {
            class: entry.class.name().to_owned(),
            operator: entry.operator.name().to_owned(),
            count,
            topic: topic.to_owned(),
        })
    }

    fn field(&mut self, bytes: Option<&[u8]>, classes: ClassSet) -> Option<FieldEdit> {
        self.mask(bytes?, classes).map(FieldEdit::Bytes)
    }

    /// What `bytes` become, for front ends whose payloads are not records; `None` where nothing in
    /// them changes. What is found is counted all the same.
    pub fn payload(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.drops = false;
        let masked = self.mask(bytes, self.plan.value_classes);
        if self.drops { Some(Vec::new()) } else { masked }
    }

    fn mask(&mut self, bytes: &[u8], classes: ClassSet) -> Option<Vec<u8>> {
        if classes.is_empty() {
            return None;
        }
        self.findings.clear();
        self.scanner.scan(bytes, classes, &mut self.findings);
        if self.findings.is_empty() {
            return None;
        }
        self.resolve();
        for finding in &self.findings {
            if let Some(count) = self.tally.findings.get_mut(finding.class as usize) {
                *count += 1;
            }
            self.drops |=
                self.plan.entry(finding.class).is_some_and(|entry| matches!(entry.operator, Operator::DropRecord));
        }
        operate(bytes, &self.findings, self.plan)
    }

    /// Makes one of findings that overlap: it spans them all, so that nothing of either is left
    /// readable, and is of the class that is masked, then of the surer, then of the lower number.
    fn resolve(&mut self) {
        let plan = self.plan;
        let rank = |finding: &Finding| {
            let masks = plan.entry(finding.class).is_some_and(|entry| entry.operator.masks());
            (masks, finding.confidence, std::cmp::Reverse(finding.class))
        };
        // They are ordered by where they begin.
        self.findings.dedup_by(|later, earlier| {
            let overlap = later.span.start < earlier.span.end;
            if overlap {
                earlier.span.end = earlier.span.end.max(later.span.end);
                if rank(later) > rank(earlier) {
                    earlier.class = later.class;
                    earlier.confidence = later.confidence;
                }
            }
            overlap
        });
    }
}

impl Inspect for MaskPass<'_> {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        self.drops = false;
        let key = self.field(record.key, self.plan.key_classes);
        let value = self.field(record.value, self.plan.value_classes);
        let mut headers = Vec::new();
        for (index, (_, value)) in record.headers.iter().enumerate() {
            headers.extend(self.field(value, self.plan.value_classes).map(|edit| (index, edit)));
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
}
