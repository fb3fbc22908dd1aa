//! Questions against a plain look at every entry; indexes that are missing, damaged, foreign or forged.

use std::fs;

use aws_lc_rs::digest;
use tidegate_core::event::{Kind, SubjectTags, push_posting};
use tidegate_core::words::Timestamp;

use super::index::{SubjectIndexError, subjects_path};
use super::*;
use crate::log::{LogOptions, ShardLog};

const ENTRIES: u64 = 900;

/// A tag as policy would make it, near enough: of secret, class and value.
fn tag_of(secret: &EpochSecret, class: &str, value: u64) -> Option<u64> {
    let bytes = [&secret.secret.as_ref()?[..], class.as_bytes(), &value.to_le_bytes()].concat();
    digest::digest(&digest::SHA256, &bytes).as_ref().first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Which subject stands in record `record` of entry `n`; every seventh has none, few stand in many.
fn subject(n: u64, record: u64) -> Option<u64> {
    let mixed = (n * 10 + record).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (!mixed.is_multiple_of(7)).then_some(if mixed.is_multiple_of(11) { mixed % 3 } else { 1000 + mixed % 5000 })
}

fn event(n: u64, secret: &EpochSecret) -> Event {
    let class = if n.is_multiple_of(2) { "email" } else { "customer_id" };
    let mut group = SubjectTags { finding: 0, partition: 0, base_offset: Some(n as i64 * 10), postings: Vec::new() };
    let mut before = n as i64 * 10;
    for record in 0..10 {
        let offset = n as i64 * 10 + record as i64;
        if let Some(tag) = subject(n, record).and_then(|subject| tag_of(secret, class, subject)) {
            push_posting(&mut group.postings, before, offset, tag);
            before = offset;
        }
    }
    Event {
        time_micros: n as i64,
        kind: Kind::Exchange as i32,
        principal: format!("user-{}", n % 5),
        resources: vec![
            ResourceUse { kind: "topic".into(), name: "orders".into(), partition: Some(0), ..ResourceUse::default() },
            ResourceUse { kind: "topic".into(), name: "other".into(), partition: Some(0), ..ResourceUse::default() },
        ],
        findings: vec![FindingCount { class: class.into(), topic: "orders".into(), ..FindingCount::default() }],
        subjects: vec![group],
        subjects_cut: u64::from(n == 17),
        ..Event::default()
    }
}

/// Evidence of two shards, in two epochs.
fn evidence() -> (tempfile::TempDir, IndexKeys) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(keys::INDEX_KEYS_FILE);
    let (mut keys, _) = IndexKeys::load_or_make(&path).unwrap();
    for epoch in 1..=2 {
        let secret = keys.newest().unwrap().clone();
        for shard in 0..2 {
            let options = LogOptions {
                segment_bytes: 32 << 10,
                entry_bytes_max: 8 << 10,
                index_key: secret.id(),
                ..LogOptions::default()
            };
            let (mut log, _) = ShardLog::open(root.path(), shard, "gw", options, Timestamp(0)).unwrap();
            for n in (0..ENTRIES).filter(|n| n % 2 == u64::from(shard) && (n / 450 + 1) == epoch) {
                log.append(&event(n, &secret));
            }
            log.close().unwrap();
        }
        if epoch == 1 {
            keys.begin_epoch(&path).unwrap();
        }
    }
    (root, keys)
}

fn ask(root: &Path, keys: &IndexKeys, value: u64, indexes: Indexes) -> Answer {
    let tag = |secret: &EpochSecret, class: &str| tag_of(secret, class, value);
    let wanted = Wanted {
        tag: &tag,
        classes: vec!["email".into()],
        any_class: true,
        from_micros: None,
        until_micros: None,
        shard: None,
        indexes,
    };
    find(root, keys, &wanted).unwrap()
}

/// Entry and offsets, as [`event`] made them.
fn expected(value: u64) -> Vec<(u64, Vec<i64>)> {
    let of = |n: u64| {
        let offsets: Vec<i64> = (0..10)
            .filter(|record| subject(n, *record) == Some(value))
            .map(|record| (n * 10 + record) as i64)
            .collect();
        (n, offsets)
    };
    (0..ENTRIES).map(of).filter(|(_, offsets)| !offsets.is_empty()).collect()
}

fn found(answer: &Answer) -> Vec<(u64, Vec<i64>)> {
    answer.hits.iter().map(|hit| (hit.event.time_micros as u64, hit.found[0].offsets.clone())).collect()
}

fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let all = shards(root).unwrap().into_iter().flat_map(|(_, directory)| fs::read_dir(directory).unwrap());
    let mut files: Vec<_> = all.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

#[test]
fn answers_are_those_of_a_plain_look_with_and_without_indexes() {
    let (root, keys) = evidence();
    for indexes in [Indexes::Ignore, Indexes::Use, Indexes::Build, Indexes::Use] {
        for value in [0, 1, 2, 1000, 1234, 3999, 77] {
            let answer = ask(root.path(), &keys, value, indexes);
            assert_eq!(found(&answer), expected(value), "{value} {indexes:?}");
            assert!(answer.wrong_indexes.is_empty() && !answer.too_many);
            assert_eq!(answer.missed.iter().map(|missed| &missed.reason).collect::<Vec<_>>(), [&Reason::Cut(1)]);
        }
    }
    let answer = ask(root.path(), &keys, 1, Indexes::Use);
    assert_eq!((answer.segments, answer.by_index), (8, 6), "all but the two that are not sealed");
    let hit = &answer.hits[0];
    assert_eq!(hit.event.resources.len(), 1, "only what it was found in");
    assert_eq!(hit.found[0].class, hit.found[0].finding.class);
}

#[test]
fn time_shard_and_class_narrow_the_answer() {
    let (root, keys) = evidence();
    let tag = |secret: &EpochSecret, class: &str| tag_of(secret, class, 1);
    let narrow = |classes: &[&str], any_class, times: (i64, i64), shard| {
        let wanted = Wanted {
            tag: &tag,
            classes: classes.iter().map(|class| (*class).to_owned()).collect(),
            any_class,
            from_micros: Some(times.0),
            until_micros: Some(times.1),
            shard,
            indexes: Indexes::Build,
        };
        found(&find(root.path(), &keys, &wanted).unwrap())
    };
    let expect = |keep: &dyn Fn(u64) -> bool| -> Vec<_> { expected(1).into_iter().filter(|(n, _)| keep(*n)).collect() };
    assert_eq!(narrow(&["email"], false, (0, 9000), None), expect(&|n| n % 2 == 0));
    assert_eq!(narrow(&[], true, (100, 200), None), expect(&|n| (100..200).contains(&n)));
    assert_eq!(narrow(&["customer_id"], false, (0, 9000), Some(0)), []);
    assert_eq!(narrow(&["customer_id"], false, (0, 9000), Some(1)), expect(&|n| n % 2 == 1));
}

#[test]
fn an_index_that_is_not_the_right_one_costs_time_and_hides_nothing() {
    let (root, keys) = evidence();
    ask(root.path(), &keys, 1, Indexes::Build);
    let indexes = files(root.path(), "tgp");
    let right = expected(1);
    let [first, second, ..] = &indexes[..] else { panic!() };
    let good = fs::read(first).unwrap();
    // Each part of it, changed by a bit; cut; empty; another segment's; with sizes that nobody has.
    let flips: Vec<usize> = (0..good.len()).step_by(good.len() / 60 + 1).chain([good.len() - 1]).collect();
    for at in flips {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(first, &bad).unwrap();
        let answer = ask(root.path(), &keys, 1, Indexes::Use);
        assert_eq!(found(&answer), right, "bit at {at}");
    }
    let mut huge = good.clone();
    huge[80..88].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut wide = good.clone();
    wide[88] = 24;
    for bad in [good[..50].to_vec(), Vec::new(), fs::read(second).unwrap(), huge, wide] {
        fs::write(first, bad).unwrap();
        let answer = ask(root.path(), &keys, 1, Indexes::Use);
        assert_eq!((found(&answer), answer.wrong_indexes.len()), (right.clone(), 1));
    }
    // It is made anew.
    ask(root.path(), &keys, 1, Indexes::Build);
    assert_eq!(fs::read(first).unwrap(), good);
}

#[test]
fn who_has_no_secret_can_neither_ask_nor_forge() {
    let (root, keys) = evidence();
    ask(root.path(), &keys, 1, Indexes::Build);
    // Another gateway's secrets of the same epochs.
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("k");
    let (mut foreign, _) = IndexKeys::load_or_make(&path).unwrap();
    foreign.begin_epoch(&path).unwrap();
    let answer = ask(root.path(), &foreign, 1, Indexes::Build);
    assert!(answer.hits.is_empty());
    assert!(answer.missed.iter().all(|missed| matches!(missed.reason, Reason::NoKey(_))));
    assert_eq!(answer.missed.len(), answer.segments);
    let segment = &files(root.path(), "tgs")[0];
    let forged = SubjectIndex::build(segment, &foreign.epochs()[0]).unwrap();
    assert!(!forged, "tags of another key are not indexed");
    assert!(matches!(
        SubjectIndex::open(segment, &foreign.epochs()[0]),
        Err(SubjectIndexError::Wrong("damaged or changed"))
    ));
    assert!(subjects_path(segment).exists());
}

#[test]
fn a_destroyed_epoch_is_named_and_the_rest_still_answers() {
    let (root, mut keys) = evidence();
    let path = root.path().join(keys::INDEX_KEYS_FILE);
    keys.destroy(&path, 1).unwrap();
    let answer = ask(root.path(), &IndexKeys::load(&path).unwrap(), 1, Indexes::Build);
    let of_second: Vec<_> = expected(1).into_iter().filter(|(n, _)| *n >= 450).collect();
    assert_eq!(found(&answer), of_second);
    let destroyed = answer.missed.iter().filter(|missed| missed.reason == Reason::Destroyed(1)).count();
    assert_eq!((destroyed, answer.missed.len()), (4, 4));
}
