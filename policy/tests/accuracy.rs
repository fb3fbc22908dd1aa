//! Precision and recall of the scanner, class by class, on the generated corpus: `make accuracy`.
//!
//! A finding counts where class and place are exactly a label's. Fails under the floors; the part
//! that is held out has the same floors, and is never printed sample by sample.

#![allow(clippy::print_stdout, reason = "the table is what this is run for")]

use std::collections::BTreeMap;

use tidegate_core::words::DataClass;
use tidegate_policy::corpus::{self, Kind, Part, Sample};
use tidegate_policy::scan::{ClassSet, Finding, Scanner};

/// Samples of each kind, class and part.
const COUNT: usize = 600;
const NOISE: usize = 20_000;
const SEED: u64 = 20_260_301;
/// For classes with check digits and e-mail; for telephone numbers; for secrets, of which Google's may
/// have no long word.
const FLOOR: f64 = 0.99;
const FLOOR_WEAK: f64 = 0.95;
/// Misses of the open part that are shown for each class.
const SHOWN_MAX: usize = 3;

#[derive(Default, Clone, Copy)]
struct Score {
    hits: u32,
    misses: u32,
    false_alarms: u32,
    evasive_hits: u32,
    evasive_misses: u32,
}

impl Score {
    fn ratio(hits: u32, others: u32) -> f64 {
        if hits + others == 0 { 1.0 } else { f64::from(hits) / f64::from(hits + others) }
    }

    fn precision(&self) -> f64 {
        Self::ratio(self.hits + self.evasive_hits, self.false_alarms)
    }

    fn recall(&self) -> f64 {
        Self::ratio(self.hits, self.misses)
    }

    fn recall_in_disguise(&self) -> f64 {
        Self::ratio(self.evasive_hits, self.evasive_misses)
    }
}

type Scores = BTreeMap<&'static str, Score>;

fn judge(sample: &Sample, findings: &[Finding], scores: &mut Scores) -> bool {
    let mut right = true;
    for (class, span) in &sample.labels {
        let found = findings.iter().any(|finding| finding.class == *class && finding.span == *span);
        let score = scores.entry(class.name()).or_default();
        match (found, sample.kind == Kind::Evasive) {
            (true, false) => score.hits += 1,
            (false, false) => score.misses += 1,
            (true, true) => score.evasive_hits += 1,
            (false, true) => score.evasive_misses += 1,
        }
        right &= found;
    }
    for finding in findings {
        let labelled = sample.labels.iter().any(|(class, span)| *class == finding.class && *span == finding.span);
        if !labelled {
            scores.entry(finding.class.name()).or_default().false_alarms += 1;
            right = false;
        }
    }
    right
}

fn scores(part: Part) -> Scores {
    let mut scores = Scores::new();
    let mut scanner = Scanner::default();
    let mut findings = Vec::new();
    for class in DataClass::ALL.into_iter().filter(|class| !class.is_by_field()) {
        let mut shown = 0;
        for sample in corpus::samples(class, COUNT, part, SEED) {
            findings.clear();
            scanner.scan(sample.text.as_bytes(), ClassSet::ALL, &mut findings);
            if !judge(&sample, &findings, &mut scores) && part == Part::Open && shown < SHOWN_MAX {
                shown += 1;
                println!("{} {:?}: {} -> {findings:?}", class.name(), sample.kind, sample.text);
            }
        }
    }
    scores
}

#[test]
fn accuracy() {
    let parts = [scores(Part::Open), scores(Part::Held)];
    println!();
    println!("| Class | Precision | Recall | In disguise | Held out: precision | Recall | In disguise |");
    println!("|---|---|---|---|---|---|---|");
    let mut under = Vec::new();
    for class in DataClass::ALL.into_iter().filter(|class| !class.is_by_field()) {
        let [open, held] = [0, 1].map(|part: usize| parts[part].get(class.name()).copied().unwrap_or_default());
        let cells: Vec<String> = [open, held]
            .iter()
            .flat_map(|score| [score.precision(), score.recall(), score.recall_in_disguise()])
            .map(|ratio| format!("{ratio:.4}"))
            .collect();
        println!("| `{}` | {} |", class.name(), cells.join(" | "));
        let floor = if matches!(class, DataClass::Phone | DataClass::ApiSecret) { FLOOR_WEAK } else { FLOOR };
        for (part, score) in [("open", open), ("held out", held)] {
            if score.precision() < floor || score.recall() < floor || score.recall_in_disguise() < FLOOR_WEAK {
                under.push(format!("{} ({part})", class.name()));
            }
        }
    }
    assert!(under.is_empty(), "under the floor: {under:?}");
}

#[test]
fn what_services_write_raises_no_alarm() {
    let mut scanner = Scanner::default();
    let mut findings = Vec::new();
    for sample in corpus::noise(NOISE, SEED) {
        findings.clear();
        scanner.scan(sample.text.as_bytes(), ClassSet::ALL, &mut findings);
        assert!(findings.is_empty(), "{} -> {findings:?}", sample.text);
    }
}

#[test]
fn the_corpus_is_the_same_for_the_same_seed() {
    for class in DataClass::ALL.into_iter().filter(|class| !class.is_by_field()) {
        let samples = corpus::samples(class, 3, Part::Open, 7);
        assert_eq!(samples, corpus::samples(class, 3, Part::Open, 7));
        assert_ne!(samples, corpus::samples(class, 3, Part::Held, 7));
        for sample in samples {
            assert_eq!(sample.labels.len(), usize::from(sample.kind != Kind::NearMiss));
            assert!(sample.labels.iter().all(|(_, span)| sample.text.get(span.clone()).is_some()));
        }
    }
}
