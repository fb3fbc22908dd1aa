//! What is removed, what is held, and that the rest still verifies.

use std::num::NonZero;
use std::sync::Arc;

use tidegate_core::event::Event;

use super::hold::{Act, Action};
use super::*;
use crate::log::{LogOptions, ShardLog};
use crate::query::{Indexes, Query, Search};
use crate::tail::{Item, StartAt, Tail};
use crate::verify::{Kind, Options, Progress, Report, Verdict, verify};

/// One second of event time an entry.
const SECOND: i64 = 1_000_000;

fn signer() -> Arc<Signer> {
    Arc::new(Signer::from_seed("gw", &[1; 32]).unwrap())
}

fn open(root: &Path) -> ShardLog {
    let options = LogOptions {
        segment_bytes: 14 * 1024,
        entry_bytes_max: crate::entry::ENTRY_BYTES_MIN as u32,
        signer: Some(signer()),
        ..LogOptions::default()
    };
    ShardLog::open(root, 0, "gw", options, Timestamp(0)).unwrap().0
}

/// A hundred entries, one a second, in many segments.
fn evidence() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let mut log = open(root.path());
    for n in 0..100 {
        log.append(&Event { time_micros: n * SECOND, detail: "x".repeat(900), ..Event::default() });
        log.commit().unwrap();
    }
    log.close().unwrap();
    assert!(firsts(root.path()).len() > 10);
    root
}

fn firsts(root: &Path) -> Vec<u64> {
    segments(&shard_directory(root, 0)).unwrap()
}

fn report(root: &Path) -> Report {
    let keys = vec![signer().verifier().clone()];
    let options = Options { keys, threads: NonZero::new(1), ..Options::default() };
    verify(root, &options, &Progress::default()).unwrap()
}

fn older_than(seconds: u64) -> Policy {
    Policy { age_max: Some(Duration::from_secs(seconds)), bytes_max: None }
}

const NOW: Timestamp = Timestamp(100 * SECOND);

fn remove_older_than(root: &Path, seconds: u64) -> Plan {
    let plan = plan(root, 0, &older_than(seconds), NOW).unwrap();
    plan.carry_out(&signer(), NOW).unwrap();
    plan
}

#[test]
fn what_is_old_goes_and_the_rest_verifies() {
    let root = evidence();
    let root = root.path();
    let before = firsts(root);
    assert!(plan(root, 0, &Policy::default(), NOW).unwrap().is_empty());
    assert!(plan(root, 0, &older_than(100), NOW).unwrap().is_empty());
    let done = remove_older_than(root, 60);
    let left = firsts(root);
    assert_eq!(before.len() - left.len(), done.segments() as usize);
    assert!(left[0] <= 40 && left[1] > 40 && left[0] > 20, "{left:?}");
    assert!(done.sentence().contains(&format!("entries 0 to {}", left[0] - 1)), "{}", done.sentence());
    let found = report(root);
    assert_eq!((found.verdict(), found.shards[0].entries), (Verdict::Intact, 100), "{found:#?}");
    assert_eq!((found.shards[0].removed_segments, found.shards[0].removed_entries), (done.segments(), left[0]));

    // Again, later: one note covers both.
    let more = remove_older_than(root, 30);
    let found = report(root);
    assert_eq!(found.verdict(), Verdict::Intact, "{found:#?}");
    assert_eq!(found.shards[0].removed_segments, done.segments() + more.segments());
    assert_eq!(removed_notes(&shard_directory(root, 0)).unwrap().len(), 1);

    // However little is to be kept, what is written and the end before it stay, and the log goes on.
    remove_older_than(root, 0);
    assert_eq!(firsts(root).len(), 2);
    let mut log = open(root);
    assert_eq!(log.append(&Event { time_micros: 200 * SECOND, ..Event::default() }), 100);
    log.close().unwrap();
    let found = report(root);
    assert_eq!((found.verdict(), found.shards[0].entries), (Verdict::Intact, 101), "{found:#?}");
}

#[test]
fn by_size() {
    let root = evidence();
    let policy = Policy { age_max: None, bytes_max: Some(30_000) };
    plan(root.path(), 0, &policy, NOW).unwrap().carry_out(&signer(), NOW).unwrap();
    let directory = shard_directory(root.path(), 0);
    let bytes = |first: &u64| fs::metadata(segment_path(&directory, *first)).unwrap().len();
    let total: u64 = firsts(root.path()).iter().map(bytes).sum();
    assert!((20_000..=30_000).contains(&total), "{total}");
    assert_eq!(report(root.path()).verdict(), Verdict::Intact);
    assert!(plan(root.path(), 0, &policy, NOW).unwrap().is_empty());
}

#[test]
fn what_is_held_stays_and_gaps_may_surround_it() {
    let root = evidence();
    let root = root.path();
    let act = |action| Act { action, by: "dora".into(), reason: "case 7".into(), time_micros: 0 };
    let hold = Hold { name: "case-7".into(), from_micros: Some(30 * SECOND), to_micros: Some(40 * SECOND) };
    hold::add(root, &act(Action::Set(hold))).unwrap();
    let plan = remove_older_than(root, 20);
    assert!(plan.held() >= 1);
    let found = report(root);
    assert_eq!(found.verdict(), Verdict::Intact, "{found:#?}");
    assert_eq!(removed_notes(&shard_directory(root, 0)).unwrap().len(), 2, "before and after what is held");
    // Everything held can be read, by those who read across gaps, without a word of damage.
    let mut search = Search::new(root, None, Query::default(), Indexes::Build).unwrap();
    let mut tail = Tail::open(root, None, StartAt::First, Box::new(|_| true)).unwrap();
    let mut read = Vec::new();
    while let Some(item) = search.next().unwrap() {
        let Item::Entry(entry) = item else { panic!("{item:?}") };
        assert_eq!(tail.next().unwrap(), Some(Item::Entry(entry.clone())));
        read.push(entry.sequence);
    }
    assert!((30..=40).all(|n| read.contains(&n)) && !read.contains(&5) && !read.contains(&60), "{read:?}");

    // Once it is lifted, that goes too, and one gap is left. Holds that cannot be read hold everything.
    hold::add(root, &act(Action::Lift { name: "case-7".into() })).unwrap();
    fs::write(root.join("holds.logged"), "100000").unwrap();
    assert!(matches!(super::plan(root, 0, &older_than(20), NOW), Err(RetentionError::Hold(_))));
    fs::remove_file(root.join("holds.logged")).unwrap();
    remove_older_than(root, 20);
    assert_eq!(removed_notes(&shard_directory(root, 0)).unwrap().len(), 1);
    assert_eq!(report(root).verdict(), Verdict::Intact);
}

#[test]
fn a_crash_between_note_and_removal_is_gone_on_from() {
    let root = evidence();
    let root = root.path();
    let kept = tempfile::tempdir().unwrap();
    let directory = shard_directory(root, 0);
    for first in firsts(root) {
        fs::copy(segment_path(&directory, first), segment_path(kept.path(), first)).unwrap();
    }
    let plan = remove_older_than(root, 50);
    // Some of the files are still there, as if the crash had come in the middle.
    let back: Vec<u64> = segments(kept.path()).unwrap().into_iter().take(3).skip(1).collect();
    for first in &back {
        fs::copy(segment_path(kept.path(), *first), segment_path(&directory, *first)).unwrap();
    }
    assert_eq!(report(root).verdict(), Verdict::Intact);
    assert_eq!(report(root).shards[0].removed_segments, plan.segments());
    assert_eq!(finish(root, 0, &signer()).unwrap(), 2);
    assert!(firsts(root).iter().all(|first| !back.contains(first)));
    assert_eq!(report(root).verdict(), Verdict::Intact);
}

#[test]
fn a_removal_that_nobody_signed_for_is_tampering() {
    let root = evidence();
    let root = root.path();
    remove_older_than(root, 60);
    let directory = shard_directory(root, 0);
    let (path, note) = removed_notes(&directory).unwrap().remove(0);
    let gap = Removed::peek(&note).unwrap();
    let left = firsts(root);
    let forger = Signer::from_seed("gw", &[9; 32]).unwrap();
    let next = SegmentReader::open(&segment_path(&directory, left[1])).unwrap().header().clone();
    let end = Edge { number: next.number, sequence: next.first_sequence, root: next.tree.root() };
    let check = |what: &str, kind: Kind, change: &dyn Fn(&Path)| {
        let saved: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect();
        change(&directory);
        let found = report(root);
        assert!(found.findings.iter().any(|finding| finding.kind == kind), "{what}: {found:#?}");
        for (path, bytes) in saved {
            fs::write(path, bytes).unwrap();
        }
        assert_eq!(report(root).verdict(), Verdict::Intact, "{what}: put back");
    };
    check("another segment removed", Kind::Missing, &|directory| {
        fs::remove_file(segment_path(directory, left[0])).unwrap();
    });
    check("the note removed", Kind::Missing, &|_| fs::remove_file(&path).unwrap());
    check("another segment removed, and a note forged", Kind::Signature, &|directory| {
        fs::remove_file(segment_path(directory, left[0])).unwrap();
        fs::write(&path, forger.sign(&Removed { end, ..gap.clone() }.text())).unwrap();
    });
    check("the note changed", Kind::Signature, &|_| {
        let longer = String::from_utf8(note.clone()).unwrap().replacen("0 0 ", "0 1 ", 1);
        fs::write(&path, longer).unwrap();
    });
    check("the note of another root", Kind::Changed, &|_| {
        let other = Removed { end: Edge { root: [7; 32], ..gap.end }, ..gap.clone() };
        fs::write(&path, signer().sign(&other.text())).unwrap();
    });
    check("everything after it removed", Kind::Missing, &|directory| {
        left.iter().for_each(|first| fs::remove_file(segment_path(directory, *first)).unwrap());
    });
}
