//! The writer: sequence, group commit, rotation, lock, errors, and recovery after every kind of kill.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;

use proptest::prelude::*;
use prost::Message as _;
use tempfile::TempDir;
use tidegate_core::event::{Event, Kind, ResourceUse};

use super::*;
use crate::directory::{segment_path, segments};
use crate::entry::ENTRY_BYTES_MIN;
use crate::format::{Damage, FRAME_PREFIX_BYTES, FrameType, HEADER_BYTES, finish_frame};
use crate::read::{SegmentReader, Step};

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn options(segment_bytes: u64) -> LogOptions {
    LogOptions {
        segment_bytes,
        entry_bytes_max: ENTRY_BYTES_MIN as u32,
        durability: Durability::Written,
        ..LogOptions::default()
    }
}

fn open(root: &Path) -> (ShardLog, Recovery) {
    ShardLog::open(root, 0, "gateway", options(64 * 1024), NOW).unwrap()
}

/// An event that is told apart from all others, of about `bytes` bytes.
fn event(n: u64, bytes: usize) -> Event {
    Event {
        time_micros: NOW.0 + n as i64,
        kind: Kind::Exchange as i32,
        detail: "x".repeat(bytes),
        policy_version: n,
        ..Event::default()
    }
}

/// All events of a shard's directory, read segment by segment, each with its sequence number.
/// Asserts what every good log fulfils.
fn read_all(directory: &Path) -> Vec<(u64, Event)> {
    let mut all = Vec::new();
    let segments = segments(directory).unwrap();
    for (index, first) in segments.iter().enumerate() {
        let mut reader = SegmentReader::open(&segment_path(directory, *first)).unwrap();
        assert_eq!(reader.header().number, index as u64);
        assert_eq!(reader.header().first_sequence, all.len() as u64);
        loop {
            match reader.next().unwrap() {
                Step::Frame(frame) => {
                    assert_eq!(frame.kind, FrameType::Event);
                    assert_eq!(frame.sequence, all.len() as u64);
                    let event = Event::decode(frame.body).unwrap();
                    assert_eq!(frame.time_micros, event.time_micros);
                    all.push((frame.sequence, event));
                }
                Step::Sealed(seal) => {
                    assert!(index + 1 < segments.len(), "the last segment is open");
                    assert_eq!(seal.entries, all.len() as u64 - seal.first_sequence);
                    break;
                }
                Step::End => {
                    assert_eq!(index + 1, segments.len(), "only the last segment is open");
                    break;
                }
                Step::Torn(damage) => panic!("{damage}"),
            }
        }
    }
    all
}

fn numbers(directory: &Path) -> Vec<u64> {
    read_all(directory).iter().map(|(_, event)| event.policy_version).collect()
}

/// Copies a shard's directory into a new root, so that a kill can be tried on the copy.
fn copy(directory: &Path) -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let target = shard_directory(root.path(), 0);
    fs::create_dir(&target).unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
    (root, target)
}

#[test]
fn entries_are_evidence_once_committed() {
    let root = tempfile::tempdir().unwrap();
    let (mut log, recovery) = open(root.path());
    assert_eq!((recovery.next_sequence, recovery.segments, recovery.last_event, recovery.torn), (0, 0, None, None));
    let directory = shard_directory(root.path(), 0);
    assert_eq!(log.commit().unwrap().last(), None);

    assert_eq!((log.append(&event(0, 10)), log.append(&event(1, 10))), (0, 1));
    assert!(log.pending_bytes() > 20);
    assert_eq!(read_all(&directory), [], "append writes nothing");
    assert!(!log.written().covers(0));

    let watermark = log.commit().unwrap();
    assert_eq!(watermark.last(), Some(1));
    assert!(watermark.covers(1) && !watermark.covers(2));
    assert_eq!(log.pending_bytes(), 0);
    assert_eq!(read_all(&directory), [(0, event(0, 10)), (1, event(1, 10))]);
    drop(log);

    let (mut log, recovery) = open(root.path());
    assert_eq!((recovery.next_sequence, recovery.last_event, recovery.torn), (2, Some(event(1, 10)), None));
    assert_eq!(log.append(&event(2, 10)), 2);
    assert_eq!(log.close().unwrap().end(), 3);
    assert_eq!(numbers(&directory), [0, 1, 2]);
}

#[test]
fn one_commit_spans_several_segments_and_each_rotation_seals() {
    for durability in [Durability::Written, Durability::Durable, Durability::Async] {
        let root = tempfile::tempdir().unwrap();
        let options = LogOptions { durability, ..options(16 * 1024) };
        let (mut log, _) = ShardLog::open(root.path(), 0, "gateway", options, NOW).unwrap();
        for n in 0..50 {
            log.append(&event(n, 1000));
        }
        assert_eq!(log.commit().unwrap().end(), 50);
        let directory = shard_directory(root.path(), 0);
        assert_eq!(numbers(&directory), (0..50).collect::<Vec<_>>());
        let segments = segments(&directory).unwrap();
        assert!(segments.len() >= 5);
        for first in &segments[..segments.len() - 1] {
            let path = segment_path(&directory, *first);
            let mut reader = SegmentReader::open(&path).unwrap();
            while !matches!(reader.next().unwrap(), Step::Sealed(_)) {}
            assert_eq!(fs::metadata(&path).unwrap().len(), reader.position(), "a sealed file ends with its seal");
            assert!(reader.position() <= 16 * 1024);
        }
        assert_eq!(fs::metadata(segment_path(&directory, *segments.last().unwrap())).unwrap().len(), 16 * 1024);
    }
}

#[test]
fn chores_prepare_and_sync_ahead() {
    let root = tempfile::tempdir().unwrap();
    let (mut log, _) = ShardLog::open(root.path(), 0, "gateway", options(16 * 1024), NOW).unwrap();
    let directory = shard_directory(root.path(), 0);
    assert!(log.chore().is_none(), "nothing is due at the start");
    let (mut prepared, mut n) = (0, 0);
    for round in 0..40 {
        log.append(&event(n, 1000));
        n += 1;
        log.commit().unwrap();
        while let Some(chore) = log.chore() {
            prepared += 1;
            match round % 3 {
                0 => drop(chore),
                1 => std::thread::spawn(|| chore.run()).join().unwrap().unwrap(),
                _ => chore.run().unwrap(),
            }
            if round % 3 == 0 {
                break;
            }
        }
        assert!(log.unsynced.len() <= 2, "sealed segments do not pile up");
    }
    assert!(prepared > 5);
    log.close().unwrap();
    assert_eq!(numbers(&directory), (0..40).collect::<Vec<_>>());
    let leftover = fs::read_dir(&directory)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "tmp"));
    assert_eq!(leftover.count(), 0);
}

#[test]
fn sync_handles_work_on_another_thread_and_cover_what_was_written() {
    let root = tempfile::tempdir().unwrap();
    let options = LogOptions { durability: Durability::Durable, ..options(16 * 1024) };
    let (mut log, _) = ShardLog::open(root.path(), 0, "gateway", options, NOW).unwrap();
    for n in 0..40 {
        log.append(&event(n, 1000));
    }
    log.commit_written().unwrap();
    assert!(log.unsynced.len() >= 3);
    let handle = log.sync_handle();
    assert_eq!(handle.files.len(), log.unsynced.len() + 1);
    log.append(&event(40, 1000));
    log.commit_written().unwrap();
    let synced = std::thread::spawn(move || handle.sync()).join().unwrap().unwrap();
    assert_eq!(synced.end(), 40, "what was written later is not claimed");
    assert!(log.sync_handle().files.len() <= 2, "what is synced is not synced again");
}

#[test]
fn a_second_writer_is_refused_and_nothing_happens_to_the_first() {
    let root = tempfile::tempdir().unwrap();
    let (mut log, _) = open(root.path());
    let Err(refused) = ShardLog::open(root.path(), 0, "other", options(64 * 1024), NOW) else { panic!("shared") };
    assert!(matches!(&refused, OpenError::Locked { .. }));
    assert!(refused.to_string().contains(&format!("(pid {})", std::process::id())), "{refused}");
    log.append(&event(0, 1));
    log.commit().unwrap();
    ShardLog::open(root.path(), 1, "gateway", options(64 * 1024), NOW).unwrap();
    drop(log);
    assert_eq!(open(root.path()).1.next_sequence, 1);
}

/// A kill within the last commit: the file holds any prefix of its bytes, the rest still zeros; or
/// the file itself ends there.
#[test]
fn recovery_at_every_byte_of_the_last_commit() {
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let (mut log, _) = open(root.path());
    for n in 0..3 {
        log.append(&event(n, 20));
    }
    log.commit().unwrap();
    let before = log.segment.offset as usize;
    // Where each whole frame of the last commit ends.
    let mut ends = vec![before];
    for n in 3..6 {
        log.append(&event(n, 30));
        ends.push(before + log.pending_bytes());
    }
    log.commit().unwrap();
    let after = log.segment.offset as usize;
    drop(log);
    let path = segment_path(&directory, 0);
    let whole = fs::read(&path).unwrap();

    for cut in before..=after {
        for truncated in [false, true] {
            let (root, directory) = copy(&directory);
            let mut bytes = whole.clone();
            bytes[cut..].fill(0);
            if truncated {
                bytes.truncate(cut);
            }
            fs::write(segment_path(&directory, 0), &bytes).unwrap();
            let survivors = 3 + ends.iter().skip(1).filter(|end| **end <= cut).count() as u64;
            let end = ends[survivors as usize - 3];

            let (mut log, recovery) = open(root.path());
            assert_eq!(recovery.next_sequence, survivors, "cut at {cut}");
            // A cut within zero bytes of a frame leaves nothing to be taken off.
            let torn = bytes[end..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
            assert_eq!(recovery.torn.as_ref().map_or(0, |torn| torn.bytes), torn, "cut at {cut}");
            if let Some(torn) = recovery.torn {
                assert_eq!(torn.offset, end as u64);
                assert_eq!(fs::read(torn.kept).unwrap(), bytes[end..end + torn.bytes as usize]);
            }
            assert_eq!(log.append(&event(survivors, 5)), survivors);
            log.commit().unwrap();
            assert_eq!(numbers(&directory), (0..=survivors).collect::<Vec<_>>());
            assert_eq!(fs::metadata(segment_path(&directory, 0)).unwrap().len(), 64 * 1024);
        }
    }
}

/// Power loss can leave a hole, and anything can flip a byte: what follows the last whole frame in
/// sequence goes into the `.torn` file, never into thin air.
#[test]
fn every_flipped_byte_of_the_last_commit_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let (mut log, _) = open(root.path());
    log.append(&event(0, 20));
    log.commit().unwrap();
    let start = log.segment.offset as usize;
    log.append(&event(1, 20));
    let second = start + log.pending_bytes();
    log.append(&event(2, 20));
    log.commit().unwrap();
    let end = log.segment.offset as usize;
    drop(log);
    let whole = fs::read(segment_path(&directory, 0)).unwrap();

    for offset in start..end {
        let (root, directory) = copy(&directory);
        let mut bytes = whole.clone();
        bytes[offset] ^= 0x10;
        fs::write(segment_path(&directory, 0), &bytes).unwrap();
        let (mut log, recovery) = open(root.path());
        let (survivors, torn_at) = if offset < second { (1, start) } else { (2, second) };
        assert_eq!(recovery.next_sequence, survivors, "flipped at {offset}");
        let torn = recovery.torn.unwrap();
        assert_eq!((torn.offset, torn.bytes), (torn_at as u64, (end - torn_at) as u64));
        assert_eq!(fs::read(&torn.kept).unwrap(), bytes[torn_at..end]);
        log.append(&event(survivors, 1));
        log.commit().unwrap();
        assert_eq!(numbers(&directory), (0..=survivors).collect::<Vec<_>>());
    }
}

#[test]
fn a_frame_out_of_sequence_ends_the_evidence() {
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let (mut log, _) = open(root.path());
    log.append(&event(0, 1));
    log.commit().unwrap();
    let offset = log.segment.offset;
    let mut frame = Vec::new();
    append_event(&mut frame, &event(2, 1), 2, ENTRY_BYTES_MIN);
    log.segment.file.write_all_at(&frame, offset).unwrap();
    drop(log);
    let (_, recovery) = open(root.path());
    assert_eq!(recovery.torn.unwrap().damage, Damage::Sequence { expected: 1, found: 2 });
    assert_eq!(numbers(&directory), [0]);
}

#[test]
fn bytes_beyond_a_hole_are_kept_and_taken_off() {
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let (log, _) = open(root.path());
    log.segment.file.write_all_at(b"late", 50_000).unwrap();
    drop(log);
    let torn = open(root.path()).1.torn.unwrap();
    assert_eq!((torn.offset, torn.bytes, torn.damage), (4096, 45_908, Damage::NotZero));
    assert!(fs::read(torn.kept).unwrap().ends_with(b"\0late"));
    assert!(fs::read(segment_path(&directory, 0)).unwrap()[4096..].iter().all(|byte| *byte == 0));
    assert_eq!(open(root.path()).1.torn, None, "repaired once");
}

/// A kill between any two steps of a rotation.
#[test]
fn recovery_within_a_rotation() {
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let (mut log, _) = open(root.path());
    for n in 0..3 {
        log.append(&event(n, 100));
    }
    log.commit().unwrap();
    fs::write(directory.join("prepared-9.tmp"), "allocated, not yet a segment").unwrap();
    let unsealed = copy(&directory);
    let root_hash = log.notary.catch_up().unwrap().root();
    log.seal(root_hash).unwrap();
    let sealed = copy(&directory);
    log.segment.file.set_len(64 * 1024).unwrap();
    let sealed_untruncated = copy(&directory);
    log.rotate().unwrap();
    let rotated = copy(&directory);
    for (what, (root, directory), segments_after) in [
        ("before the seal", unsealed, 1),
        ("after the seal", sealed, 2),
        ("sealed, not yet truncated", sealed_untruncated, 2),
        ("after the rename", rotated, 2),
    ] {
        let (mut log, recovery) = open(root.path());
        assert_eq!((recovery.next_sequence, recovery.torn), (3, None), "{what}");
        assert_eq!(recovery.last_event, Some(event(2, 100)), "{what}");
        log.append(&event(3, 1));
        log.commit().unwrap();
        assert_eq!(numbers(&directory), [0, 1, 2, 3], "{what}");
        assert_eq!(segments(&directory).unwrap().len(), segments_after, "{what}");
        assert!(!directory.join("prepared-9.tmp").exists());
    }
}

#[test]
fn files_that_are_no_segments_stop_the_opening_and_stay() {
    let foreign = b"#!/bin/sh\necho hello\n".to_vec();
    let mut newer = Header {
        origin: "gateway".into(),
        shard: 0,
        number: 0,
        first_sequence: 0,
        created_micros: 0,
        segment_bytes: 1 << 16,
        tree: CompactRange::default(),
        signer: None,
        index_key: None,
    }
    .encode();
    let other_name = newer.clone();
    newer[8] = 3;
    let mut cut = other_name.clone();
    cut.truncate(4000);
    for (what, name, bytes, message) in [
        ("empty", "00000000000000000000.tgs", vec![], "the file is empty"),
        ("short", "00000000000000000000.tgs", cut, "within the header page"),
        ("zeros", "00000000000000000000.tgs", vec![0; 1 << 16], "not a Tidegate segment"),
        ("foreign", "00000000000000000000.tgs", foreign, "not a Tidegate segment"),
        ("newer", "00000000000000000000.tgs", newer, "segment version 3 is not known"),
        ("renamed", "00000000000000000005.tgs", other_name, "the name says otherwise"),
        ("odd name", "backup.tgs", b"x".to_vec(), "backup.tgs is not named like a segment"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let directory = shard_directory(root.path(), 0);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(name), &bytes).unwrap();
        let Err(error) = ShardLog::open(root.path(), 0, "gateway", options(1 << 16), NOW) else { panic!("{what}") };
        assert!(error.to_string().contains(message), "{what}: {error}");
        assert_eq!(fs::read(directory.join(name)).unwrap(), bytes, "{what}");
    }
}

#[test]
fn a_segment_of_another_shard_is_refused() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path()));
    fs::rename(shard_directory(root.path(), 0), shard_directory(root.path(), 4)).unwrap();
    let Err(error) = ShardLog::open(root.path(), 4, "gateway", options(1 << 16), NOW) else { panic!("opened") };
    assert!(error.to_string().contains("belongs to shard 0, not 4"), "{error}");
}

#[test]
fn another_origin_or_size_begins_another_segment() {
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    // Empty: the segment is renewed in place.
    drop(open(root.path()));
    let (mut log, recovery) = ShardLog::open(root.path(), 0, "second", options(1 << 17), NOW).unwrap();
    assert_eq!(recovery.origin_before.as_deref(), Some("gateway"));
    assert_eq!(segments(&directory).unwrap(), [0]);
    log.append(&event(0, 1));
    log.commit().unwrap();
    drop(log);
    // Not empty: it is sealed.
    let (mut log, recovery) = ShardLog::open(root.path(), 0, "third", options(1 << 17), NOW).unwrap();
    assert_eq!(recovery.origin_before.as_deref(), Some("second"));
    log.append(&event(1, 1));
    log.commit().unwrap();
    assert_eq!(numbers(&directory), [0, 1]);
    let origins: Vec<String> = segments(&directory)
        .unwrap()
        .iter()
        .map(|first| SegmentReader::open(&segment_path(&directory, *first)).unwrap().header().origin.clone())
        .collect();
    assert_eq!(origins, ["second", "third"]);
    drop(log);
    // An entry that is larger than the old, empty segment makes it grow.
    let root = tempfile::tempdir().unwrap();
    drop(ShardLog::open(root.path(), 0, "gateway", options(13_000), NOW).unwrap());
    let larger = LogOptions { entry_bytes_max: 50_000, ..options(1 << 17) };
    let (mut log, _) = ShardLog::open(root.path(), 0, "gateway", larger, NOW).unwrap();
    log.append(&event(0, 40_000));
    assert_eq!(log.commit().unwrap().end(), 1);
    assert_eq!(numbers(&shard_directory(root.path(), 0)), [0]);
}

#[test]
fn options_that_cannot_work_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let default = LogOptions::default();
    for (origin, options, message) in [
        ("", default.clone(), "origin must have 1 to 256 bytes"),
        (&*"o".repeat(257), default.clone(), "origin must have 1 to 256 bytes"),
        ("g", LogOptions { entry_bytes_max: 100, ..default.clone() }, "must be 8192 to 16777216, not 100"),
        ("g", LogOptions { segment_bytes: 1 << 20, ..default }, "cannot hold an entry of 1048576"),
    ] {
        let Err(error) = ShardLog::open(root.path(), 0, origin, options, NOW) else { panic!("{message}") };
        assert!(error.to_string().contains(message), "{error}");
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn an_entry_over_the_limit_is_cut_and_the_log_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let (mut log, _) = open(root.path());
    let resources = (0..5000).map(|n| ResourceUse { name: format!("topic-{n}"), ..Default::default() }).collect();
    log.append(&Event { resources, ..event(0, 1) });
    log.append(&event(1, 1));
    log.commit().unwrap();
    let all = read_all(&shard_directory(root.path(), 0));
    assert!(all[0].1.resources_cut && all[0].1.resources.len() > 100);
    assert_eq!(all[1].1, event(1, 1));
}

/// The directory vanishes (an unmounted volume): rotation fails, the entries stay pending, and once
/// the directory is back the same commit succeeds.
#[test]
fn a_failed_rotation_can_be_repeated() {
    let root = tempfile::tempdir().unwrap();
    let (mut log, _) = ShardLog::open(root.path(), 0, "gateway", options(16 * 1024), NOW).unwrap();
    let (directory, away) = (shard_directory(root.path(), 0), root.path().join("away"));
    fs::rename(&directory, &away).unwrap();
    for n in 0..20 {
        log.append(&event(n, 1000));
    }
    for _ in 0..3 {
        let error = log.commit().unwrap_err();
        assert!(matches!(error, CommitError::Rotate { .. }), "{error}");
    }
    let fitted = log.written().end();
    assert!((5..20).contains(&fitted), "what fits is written: {fitted}");
    log.append(&event(20, 1000));
    fs::rename(&away, &directory).unwrap();
    assert_eq!(log.commit().unwrap().end(), 21);
    assert_eq!(numbers(&directory), (0..21).collect::<Vec<_>>());
}

/// The disk fills up within a commit. The child process sets its own file size limit: the write
/// stops at it in the middle of a frame, exactly as at the end of a disk.
#[test]
fn a_full_disk_fails_the_commit_and_loses_nothing() {
    const CHILD: &str = "TIDEGATE_AUDIT_FULL_DISK";
    if std::env::var_os(CHILD).is_some() {
        return full_disk_child();
    }
    // The signal at the limit would end the process; the shell makes its child ignore it.
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact log::tests::a_full_disk_fails_the_commit_and_loses_nothing --test-threads=1"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&status.stderr));
}

fn full_disk_child() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = |current| {
        let maximum = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    let root = tempfile::tempdir().unwrap();
    let directory = shard_directory(root.path(), 0);
    let (mut log, _) = ShardLog::open(root.path(), 0, "gateway", options(16 * 1024), NOW).unwrap();
    log.append(&event(0, 500));
    log.commit().unwrap();

    limit(Some(log.segment.offset + 700));
    for n in 1..30 {
        log.append(&event(n, 500));
    }
    for _ in 0..2 {
        let error = log.commit().unwrap_err();
        assert!(matches!(error, CommitError::Write { .. }), "{error}");
        assert_eq!(log.written().end(), 1);
    }
    // A kill now: the torn frame is taken off, and what was committed is there.
    let (killed_root, killed) = {
        limit(None);
        let copied = copy(&directory);
        (copied.0, copied.1)
    };
    let (_, recovery) = ShardLog::open(killed_root.path(), 0, "gateway", options(16 * 1024), NOW).unwrap();
    assert_eq!(recovery.next_sequence, 2, "one whole frame was written before the limit");
    assert!(recovery.torn.is_some_and(|torn| torn.bytes > 0));
    assert_eq!(numbers(&killed), [0, 1]);
    // Room for the segment's rest but not for the next one's.
    limit(Some(10_000));
    assert!(matches!(log.commit().unwrap_err(), CommitError::Write { .. }));
    limit(Some(16 * 1024));
    assert_eq!(log.commit().unwrap().end(), 30);
    limit(Some(12_000));
    for n in 30..50 {
        log.append(&event(n, 500));
    }
    assert!(log.commit().is_err());
    limit(None);
    assert_eq!(log.commit().unwrap().end(), 50);
    assert_eq!(numbers(&directory), (0..50).collect::<Vec<_>>());
}

/// A process is killed by SIGKILL at some moment of its writing: whatever it had called evidence is there.
#[test]
fn a_killed_process_loses_nothing_that_it_committed() {
    const CHILD: &str = "TIDEGATE_AUDIT_KILLED";
    if let Some(root) = std::env::var_os(CHILD) {
        let mut log = ShardLog::open(Path::new(&root), 0, "gateway", options(64 * 1024), NOW).unwrap().0;
        loop {
            for _ in 0..20 {
                log.append(&event(log.next_sequence, 700));
            }
            let watermark = log.commit().unwrap();
            writeln!(io::stderr(), "committed {}", watermark.end()).unwrap();
        }
    }
    let root = tempfile::tempdir().unwrap();
    let mut known = 0;
    for round in 1..=5 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::tests::a_killed_process_loses_nothing_that_it_committed", "--nocapture"])
            .env(CHILD, root.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = io::BufRead::lines(io::BufReader::new(child.stderr.take().unwrap()));
        for _ in 0..10 * round {
            let line = said.next().unwrap().unwrap();
            known = line.strip_prefix("committed ").unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Lines that it said before it died, but after the last one read, count too.
        for line in said {
            known = line.unwrap().strip_prefix("committed ").map_or(known, |number| number.parse().unwrap_or(known));
        }
        let (log, recovery) = open(root.path());
        assert!(recovery.next_sequence >= known, "{} < {known}", recovery.next_sequence);
        drop(log);
        assert_eq!(numbers(&shard_directory(root.path(), 0)), (0..recovery.next_sequence).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Any history of appends, commits, good and bad ends: the evidence is the committed entries and
    /// a prefix of the commit that was under way.
    #[test]
    fn any_history_recovers(
        steps in prop::collection::vec((prop::collection::vec(0usize..3000, 0..12), any::<prop::sample::Index>(), 0u8..4), 1..14),
        segment_bytes in 13_000u64..40_000,
    ) {
        let mut root = tempfile::tempdir().unwrap();
        let mut expected: Vec<u64> = Vec::new();
        let (mut log, _) = ShardLog::open(root.path(), 0, "gateway", options(segment_bytes), NOW).unwrap();
        let mut sizes = BTreeMap::new();
        for (commit, kill_point, end) in steps {
            let directory = shard_directory(root.path(), 0);
            let before = (log.segment.path.clone(), log.segment.offset);
            let start = log.next_sequence;
            for size in commit {
                let n = log.append(&event(log.next_sequence, size));
                sizes.insert(n, size);
                expected.push(n);
            }
            prop_assert_eq!(log.commit().unwrap().end(), expected.len() as u64);
            let after = (log.segment.path.clone(), log.segment.offset);
            match end {
                0 | 1 => continue,
                2 => drop(log),
                // A kill within the last write to the last segment.
                _ => {
                    let from = if before.0 == after.0 { before.1 } else { HEADER_BYTES as u64 };
                    let written = (after.1 - from) as usize;
                    drop(log);
                    let (copied, directory) = copy(&directory);
                    let path = directory.join(after.0.file_name().unwrap());
                    let mut bytes = fs::read(&path).unwrap();
                    let keep = from as usize + kill_point.index(written + 1);
                    bytes[keep..].fill(0);
                    fs::write(&path, bytes).unwrap();
                    root = copied;
                }
            }
            let (reopened, recovery) = ShardLog::open(root.path(), 0, "gateway", options(segment_bytes), NOW).unwrap();
            log = reopened;
            prop_assert!(recovery.next_sequence >= start, "a commit before the last one is never touched");
            prop_assert!(end == 3 || recovery.next_sequence == expected.len() as u64);
            prop_assert!(recovery.next_sequence <= expected.len() as u64);
            expected.truncate(recovery.next_sequence as usize);
            let directory = shard_directory(root.path(), 0);
            let all = read_all(&directory);
            prop_assert_eq!(all.iter().map(|(n, _)| *n).collect::<Vec<_>>(), expected.clone());
            for (n, found) in all {
                prop_assert_eq!(found, event(n, sizes[&n]));
            }
        }
    }
}

mod clock;
mod faults;
mod signing;
