//! The tail against logs that are written, rotated, killed and damaged while it reads.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::words::Timestamp;

use super::*;
use crate::log::{LogOptions, ShardLog};

const NOTHING: [u64; 0] = [];

fn open(root: &Path, shard: u32) -> ShardLog {
    let options = LogOptions { segment_bytes: 16 * 1024, entry_bytes_max: 8 * 1024, ..LogOptions::default() };
    ShardLog::open(root, shard, "gateway", options, Timestamp(1)).unwrap().0
}

/// An entry at a time, told apart by its policy version.
fn event(time: i64, n: u64) -> Event {
    Event { time_micros: time, policy_version: n, detail: "x".repeat(500), ..Event::default() }
}

fn write(log: &mut ShardLog, range: std::ops::Range<u64>) {
    for n in range {
        log.append(&event(n as i64, n));
    }
    log.commit().unwrap();
}

fn everything() -> Filter {
    Box::new(|_| true)
}

fn tail(root: &Path, start: StartAt) -> Tail {
    Tail::open(root, None, start, everything()).unwrap()
}

/// All there is at the moment.
fn drain(tail: &mut Tail) -> Vec<Item> {
    std::iter::from_fn(|| tail.next().unwrap()).collect()
}

fn numbers(tail: &mut Tail) -> Vec<u64> {
    drain(tail)
        .into_iter()
        .map(|item| match item {
            Item::Entry(entry) => entry.event.policy_version,
            Item::Damaged(damaged) => panic!("{damaged}"),
        })
        .collect()
}

#[test]
fn from_every_start_and_on() {
    let root = tempfile::tempdir().unwrap();
    let mut log = open(root.path(), 0);
    write(&mut log, 0..100);
    for (start, first) in [
        (StartAt::First, 0),
        (StartAt::End, 100),
        (StartAt::Last(0), 100),
        (StartAt::Last(1), 99),
        (StartAt::Last(70), 30),
        (StartAt::Last(100), 0),
        (StartAt::Last(1000), 0),
    ] {
        assert_eq!(numbers(&mut tail(root.path(), start)), (first..100).collect::<Vec<_>>(), "{start:?}");
    }
    let mut tails: Vec<Tail> =
        [StartAt::First, StartAt::End, StartAt::Last(5)].map(|start| tail(root.path(), start)).into();
    tails.iter_mut().for_each(|tail| drop(numbers(tail)));
    let mut n = 100;
    for step in [1, 0, 3, 50, 1, 200] {
        write(&mut log, n..n + step);
        for tail in &mut tails {
            assert_eq!(numbers(tail), (n..n + step).collect::<Vec<_>>());
            assert_eq!(numbers(tail), NOTHING);
        }
        n += step;
    }
}

#[test]
fn an_empty_log_and_none() {
    let root = tempfile::tempdir().unwrap();
    for start in [StartAt::First, StartAt::End, StartAt::Last(3)] {
        assert_eq!(numbers(&mut tail(root.path(), start)), NOTHING);
    }
    let mut early = tail(root.path(), StartAt::End);
    let mut only_one = Tail::open(root.path(), Some(1), StartAt::Last(3), everything()).unwrap();
    let mut log = open(root.path(), 0);
    let mut empty = tail(root.path(), StartAt::End);
    write(&mut log, 0..2);
    assert_eq!(numbers(&mut empty), [0, 1]);
    // A shard that appears later is found on the look after, from its beginning.
    assert_eq!(numbers(&mut early), NOTHING);
    assert_eq!(numbers(&mut early), [0, 1]);
    let mut other = open(root.path(), 1);
    write(&mut other, 7..8);
    assert_eq!(numbers(&mut only_one), NOTHING);
    assert_eq!(numbers(&mut only_one), [7]);
    assert_eq!(only_one.shards().collect::<Vec<_>>(), [1]);
    let Err(error) = Tail::open(&root.path().join("nowhere"), None, StartAt::End, everything()) else {
        panic!("opened")
    };
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn shards_are_merged_by_time() {
    let root = tempfile::tempdir().unwrap();
    let mut logs: Vec<ShardLog> = (0..3).map(|shard| open(root.path(), shard)).collect();
    for n in 0..300 {
        logs[(n * n % 3) as usize].append(&event(n as i64, n));
    }
    for log in &mut logs {
        log.commit().unwrap();
    }
    assert_eq!(numbers(&mut tail(root.path(), StartAt::First)), (0..300).collect::<Vec<_>>());
    assert_eq!(numbers(&mut tail(root.path(), StartAt::Last(25))), (275..300).collect::<Vec<_>>());
    let mut one = Tail::open(root.path(), Some(1), StartAt::First, everything()).unwrap();
    assert_eq!(numbers(&mut one), (0..300).filter(|n| n * n % 3 == 1).collect::<Vec<_>>());
}

#[test]
fn filters_count_before_the_last_ones_are_taken() {
    let root = tempfile::tempdir().unwrap();
    let mut log = open(root.path(), 0);
    write(&mut log, 0..300);
    let rare = || -> Filter { Box::new(|event| event.policy_version.is_multiple_of(50)) };
    let mut last = Tail::open(root.path(), None, StartAt::Last(3), rare()).unwrap();
    assert_eq!(numbers(&mut last), [150, 200, 250]);
    write(&mut log, 300..360);
    assert_eq!(numbers(&mut last), [300, 350]);
}

/// Writers in their own threads, a kill and restart among them; the tail sees each entry once and
/// in order, while segments rotate under it.
#[test]
fn nothing_is_missed_or_doubled_with_live_writers() {
    const ENTRIES: u64 = 2000;
    let root = tempfile::tempdir().unwrap();
    let mut tail = tail(root.path(), StartAt::First);
    let path: Arc<Path> = root.path().into();
    let writers: Vec<_> = (0..2)
        .map(|shard| {
            let path = Arc::clone(&path);
            std::thread::spawn(move || {
                let mut log = open(&path, shard);
                let mut n = 0;
                while n < ENTRIES {
                    for _ in 0..n % 7 + 1 {
                        log.append(&event(n as i64, n));
                        n += 1;
                    }
                    log.commit().unwrap();
                    if let Some(chore) = log.chore() {
                        chore.run().unwrap();
                    }
                    if n % 500 < 7 {
                        // Not committed: lost like in a kill, and written again after it.
                        log.append(&event(0, 0));
                        drop(log);
                        log = open(&path, shard);
                    }
                }
                n
            })
        })
        .collect();
    let mut seen = [0, 0];
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut written = None;
    let mut writers = Some(writers);
    loop {
        let last_round = written.is_some();
        for item in drain(&mut tail) {
            let Item::Entry(entry) = item else { panic!("{item:?}") };
            let next = &mut seen[entry.shard as usize];
            assert_eq!((entry.sequence, entry.event.policy_version), (*next, *next));
            *next += 1;
        }
        if last_round {
            break;
        }
        if writers.as_ref().is_some_and(|writers| writers.iter().all(std::thread::JoinHandle::is_finished)) {
            written = writers
                .take()
                .map(|writers| writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>());
        }
        assert!(Instant::now() < deadline);
    }
    assert_eq!(written.unwrap(), seen);
    assert!(segments(&shard_directory(root.path(), 0)).unwrap().len() > 40);
}

#[test]
fn a_torn_end_is_told_and_followed_after_recovery() {
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let mut log = open(root.path(), 0);
    write(&mut log, 0..3);
    drop(log);
    let mut tail = tail(root.path(), StartAt::First);
    assert_eq!(numbers(&mut tail), [0, 1, 2]);
    assert_eq!(tail.torn_ends(), []);

    let path = segment_path(&directory, 0);
    let mut reader = SegmentReader::open(&path).unwrap();
    while let Step::Frame(_) = reader.next().unwrap() {}
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0x40, 0, 0, 0, 1, 2, 3, 4, 5], reader.position()).unwrap();
    assert_eq!(numbers(&mut tail), NOTHING);
    let torn = tail.torn_ends();
    assert_eq!((torn.len(), torn[0].offset, torn[0].sequence), (1, reader.position(), 3));

    let mut log = open(root.path(), 0);
    write(&mut log, 3..100);
    assert_eq!(numbers(&mut tail), (3..100).collect::<Vec<_>>());
    assert_eq!(tail.torn_ends(), []);
}

#[test]
fn damage_is_an_item_and_the_rest_is_read() {
    /// Does something bad to the second of several segments.
    type Harm = fn(&Path, &Path);
    let harms: [(&str, Harm, &str, bool); 6] = [
        ("flipped", |path, _| flip(path, 5000), "CRC mismatch", false),
        ("header", |path, _| flip(path, 30), "header page is damaged", true),
        ("emptied", |path, _| fs::write(path, "").unwrap(), "the file is empty", true),
        (
            "cut",
            |path, _| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(6000).unwrap(),
            "ends within a frame",
            false,
        ),
        ("removed", |path, _| fs::remove_file(path).unwrap(), "should follow", true),
        ("swapped", |path, other| assert!(fs::copy(other, path).is_ok()), "header says that the first entry is", true),
    ];
    for (what, harm, reason, whole) in harms {
        for start in [StartAt::First, StartAt::Last(99)] {
            let root = tempfile::tempdir().unwrap();
            let directory = shard_directory(root.path(), 0);
            let mut log = open(root.path(), 0);
            write(&mut log, 0..100);
            let segments = segments(&directory).unwrap();
            let (second, third) = (segments[1], segments[2]);
            harm(&segment_path(&directory, second), &segment_path(&directory, third));

            let mut tail = tail(root.path(), start);
            let (mut read, mut damaged) = (Vec::new(), Vec::new());
            for item in drain(&mut tail) {
                match item {
                    Item::Entry(entry) => read.push(entry.sequence),
                    Item::Damaged(place) => damaged.push(place),
                }
            }
            // Reading backwards, a missing segment shows no gap: nothing says that it was there.
            if what != "removed" || start == StartAt::First {
                assert_eq!(damaged.len(), 1, "{what}: {damaged:?}");
                assert!(damaged[0].to_string().contains(reason), "{what}: {}", damaged[0]);
            }
            let lost: Vec<u64> = (0..100).filter(|n| !read.contains(n)).collect();
            assert!(lost.iter().all(|n| (second..third).contains(n)), "{what}: {lost:?}");
            assert_eq!(whole, lost.len() as u64 == third - second, "{what}: {lost:?}");
            assert!(!lost.is_empty() && read.is_sorted(), "{what}");
            write(&mut log, 100..103);
            assert_eq!(numbers(&mut tail), [100, 101, 102], "{what}");
        }
    }
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_entry_that_is_no_event_is_damage_and_passed_over() {
    use crate::format::{FrameType, begin_frame, finish_frame};
    let root = tempfile::tempdir().unwrap();
    let mut log = open(root.path(), 0);
    write(&mut log, 0..1);
    drop(log);
    let path = segment_path(&shard_directory(root.path(), 0), 0);
    let mut reader = SegmentReader::open(&path).unwrap();
    while let Step::Frame(_) = reader.next().unwrap() {}
    let mut frame = Vec::new();
    let start = begin_frame(&mut frame, FrameType::Event, 1, 1);
    frame.extend_from_slice(&[0xff; 5]);
    finish_frame(&mut frame, start);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&frame, reader.position()).unwrap();
    let mut log = open(root.path(), 0);
    write(&mut log, 2..3);
    let items = drain(&mut tail(root.path(), StartAt::First));
    let sequences: Vec<Result<u64, u64>> = items
        .iter()
        .map(|item| match item {
            Item::Entry(entry) => Ok(entry.sequence),
            Item::Damaged(damaged) => Err(damaged.sequence),
        })
        .collect();
    assert_eq!(sequences, [Ok(0), Err(1), Ok(2)]);
}
