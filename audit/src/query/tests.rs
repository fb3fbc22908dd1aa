//! Searches against a plain scan with the same condition, with and without indexes, and what they skip.

use std::fs;

use tidegate_core::event::{FindingCount, Kind, Outcome};
use tidegate_core::words::Timestamp;

use super::*;
use crate::index::index_path;
use crate::log::{LogOptions, ShardLog};

/// Entry `n`: sessions and topics come in runs, as in life, so that segments differ.
fn event(n: i64) -> Event {
    Event {
        time_micros: 1_000_000 + n * 10,
        kind: if n % 50 == 0 { Kind::SessionStart } else { Kind::Exchange } as i32,
        session: format!("s{}", n / 20),
        principal: format!("user-{}", n / 100),
        api: "Fetch".into(),
        outcome: if n % 7 == 0 { Outcome::Denied } else { Outcome::Allowed } as i32,
        detail: "x".repeat(150),
        resources: vec![
            ResourceUse {
                kind: "topic".into(),
                name: format!("topic-{}", n / 60),
                partition: Some((n % 2) as i32),
                operation: "Read".into(),
                allowed: n % 7 != 0,
                rule: format!("grant-{}", n / 300),
                purpose: "billing".into(),
                first_offset: Some(n * 100),
                last_offset: Some(n * 100 + 99),
                ..ResourceUse::default()
            },
            ResourceUse {
                kind: "group".into(),
                name: "topic-0".into(),
                operation: "Join".into(),
                ..Default::default()
            },
        ],
        findings: if n % 90 < 5 {
            vec![FindingCount {
                class: "email".into(),
                operator: "redact".into(),
                count: 1,
                topic: "t".into(),
                ..FindingCount::default()
            }]
        } else {
            Vec::new()
        },
        ..Event::default()
    }
}

/// 600 entries, alternately of two shards, in some 8 segments each; the last ones are not sealed.
fn evidence() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 16 << 10, entry_bytes_max: 8 << 10, ..LogOptions::default() };
    for shard in 0..2u32 {
        let (mut log, _) = ShardLog::open(root.path(), shard, "gw", options.clone(), Timestamp(0)).unwrap();
        for n in (0..600).filter(|n| n % 2 == i64::from(shard)) {
            log.append(&event(n));
        }
        log.commit().unwrap();
    }
    root
}

fn run(root: &Path, query: &Query, indexes: Indexes) -> (Vec<i64>, Cost) {
    let mut search = Search::new(root, None, query.clone(), indexes).unwrap();
    let mut found = Vec::new();
    while let Some(item) = search.next().unwrap() {
        let Item::Entry(entry) = item else { panic!("{item:?}") };
        let n = (entry.event.time_micros - 1_000_000) / 10;
        assert_eq!((entry.event, i64::from(entry.shard), entry.sequence as i64), (event(n), n % 2, n / 2));
        found.push(n);
    }
    (found, search.cost())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn every_search_finds_what_a_scan_finds_and_most_skip() {
    let root = evidence();
    let offsets =
        Query { topics: words(&["topic-4"]), partition: Some(1), offsets: Some(25_150..=25_150), ..Query::default() };
    // What is asked, and how many segments may be read at most.
    let rows: Vec<(&str, Query, usize)> = vec![
        ("all", Query::default(), usize::MAX),
        ("principal", Query { principals: words(&["user-2"]), ..Query::default() }, 8),
        ("nobody", Query { principals: words(&["user-77"]), ..Query::default() }, 2),
        ("session", Query { sessions: words(&["s13"]), ..Query::default() }, 6),
        ("two sessions", Query { sessions: words(&["s3", "s20"]), ..Query::default() }, 8),
        ("topic", Query { topics: words(&["topic-3"]), ..Query::default() }, 6),
        (
            "group of a topic's name",
            Query { topics: words(&["topic-0"]), operations: words(&["Join"]), ..Query::default() },
            6,
        ),
        ("topics by prefix", Query { topics: words(&["topic-*"]), ..Query::default() }, usize::MAX),
        ("partition", Query { topics: words(&["topic-3"]), partition: Some(1), ..Query::default() }, 4),
        ("offset", offsets, 3),
        ("grant", Query { grants: words(&["grant-1"]), ..Query::default() }, 12),
        (
            "purpose and denial",
            Query { purposes: words(&["billing"]), allowed: Some(false), ..Query::default() },
            usize::MAX,
        ),
        ("operation that nobody asked for", Query { operations: words(&["Alter"]), ..Query::default() }, 2),
        ("class", Query { classes: words(&["email"]), ..Query::default() }, usize::MAX),
        ("time", Query { from_micros: Some(1_002_000), until_micros: Some(1_002_500), ..Query::default() }, 6),
        ("kind", Query { kinds: vec![Kind::SessionStart as i32], ..Query::default() }, usize::MAX),
        (
            "outcome",
            Query { outcomes: vec![Outcome::Denied as i32], apis: words(&["Fetch"]), ..Query::default() },
            usize::MAX,
        ),
        (
            "everything at once",
            Query {
                principals: words(&["user-3", "user-4"]),
                sessions: words(&["s19", "s20"]),
                topics: words(&["topic-6"]),
                purposes: words(&["billing"]),
                grants: words(&["grant-1"]),
                allowed: Some(true),
                from_micros: Some(1_003_000),
                ..Query::default()
            },
            5,
        ),
    ];
    for (what, query, most) in rows {
        let expected: Vec<i64> = (0..600).filter(|n| query.matches(&event(*n))).collect();
        let (scanned, cost) = run(root.path(), &query, Indexes::Ignore);
        assert_eq!((scanned, cost.skipped, cost.bytes_read), (expected.clone(), 0, cost.bytes), "{what}");
        assert_eq!(run(root.path(), &query, Indexes::Build).0, expected, "{what}");
        let (found, cost) = run(root.path(), &query, Indexes::Use);
        assert_eq!(found, expected, "{what}");
        let read = cost.segments - cost.skipped;
        assert!(cost.segments >= 14 && read <= most, "{what}: {cost:?}");
        assert!(most == usize::MAX || cost.bytes_read < cost.bytes, "{what}: {cost:?}");
    }
    assert!(
        run(
            root.path(),
            &Query { topics: words(&["topic-0"]), operations: words(&["Join"]), ..Query::default() },
            Indexes::Use
        )
        .0
        .is_empty(),
        "one resource must fulfil all of it"
    );
}

#[test]
fn indexes_that_are_wrong_old_or_foreign_are_not_believed() {
    let root = evidence();
    let query = Query { sessions: words(&["s13"]), ..Query::default() };
    let (expected, built) = run(root.path(), &query, Indexes::Build);
    assert_eq!(expected, (260..280).collect::<Vec<_>>());
    let directory = crate::directory::shard_directory(root.path(), 0);
    let firsts = segments(&directory).unwrap();
    let index = |first: u64| index_path(&segment_path(&directory, first));
    assert!(!index(*firsts.last().unwrap()).exists(), "only sealed segments have one");
    // Garbage, another segment's, and none: each is built anew and says the same.
    let whole = fs::read(index(firsts[1])).unwrap();
    fs::write(index(firsts[0]), b"garbage").unwrap();
    fs::copy(index(firsts[2]), index(firsts[1])).unwrap();
    fs::remove_file(index(firsts[2])).unwrap();
    for indexes in [Indexes::Use, Indexes::Build] {
        assert_eq!(run(root.path(), &query, indexes).0, expected);
    }
    assert_eq!(fs::read(index(firsts[1])).unwrap(), whole);
    assert_eq!(run(root.path(), &query, Indexes::Use).1.skipped, built.skipped);
}

#[test]
fn damage_is_told_and_passed_over() {
    let root = evidence();
    run(root.path(), &Query::default(), Indexes::Build);
    let directory = crate::directory::shard_directory(root.path(), 1);
    let path = segment_path(&directory, segments(&directory).unwrap()[1]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut search = Search::new(root.path(), None, Query::default(), Indexes::Use).unwrap();
    let (mut entries, mut damaged) = (0, Vec::new());
    while let Some(item) = search.next().unwrap() {
        match item {
            Item::Entry(_) => entries += 1,
            Item::Damaged(place) => damaged.push(place),
        }
    }
    assert!((500..600).contains(&entries) && damaged.len() == 1 && damaged[0].path == path, "{damaged:?}");
}
