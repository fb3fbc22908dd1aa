//! The tamper suite: everything that can be done to evidence files is found, at its place.
//!
//! The evidence is real: written by the log, two shards, several segments, signed. Each row changes a
//! copy of it as somebody with a hex editor, or with this very source code, would.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidegate_audit::directory::{segment_path, segments, shard_directory};
use tidegate_audit::format::{FrameType, HEADER_BYTES, Header, Parsed, begin_frame, finish_frame, parse_frame};
use tidegate_audit::keys::load_or_make;
use tidegate_audit::keys::rotation::rotate;
use tidegate_audit::log::{CHECKPOINT_FILE, Durability, LogOptions, ShardLog};
use tidegate_audit::note::{Checkpoint, Note, Signer, base64, sign_with, tree_name};
use tidegate_audit::prove::prove;
use tidegate_audit::query::{Indexes, Query, Search};
use tidegate_audit::tree::{CompactRange, leaf_hash};
use tidegate_audit::verify::{Finding, Kind, Options, Progress, Report, Verdict, verify};
use tidegate_core::event::{Event, Kind as EventKind};
use tidegate_core::words::Timestamp;

const ORIGIN: &str = "gw.example";

fn signer(seed: u8) -> Signer {
    Signer::from_seed(ORIGIN, &[seed; 32]).unwrap()
}

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 24 * 1024,
        entry_bytes_max: 8 * 1024,
        durability: Durability::Written,
        signer: Some(Arc::new(signer(1))),
        checkpoint_interval: Duration::ZERO,
        ..LogOptions::default()
    }
}

fn event(shard: u32, n: u64) -> Event {
    Event {
        time_micros: 1_700_000_000_000_000 + n as i64,
        kind: EventKind::Exchange as i32,
        principal: format!("shard{shard}-{n}"),
        detail: "x".repeat(400),
        ..Event::default()
    }
}

/// Writes entries `from..to` of a shard; a checkpoint comes after every tenth.
fn write(root: &Path, shard: u32, from: u64, to: u64, then_close: bool) {
    let (mut log, _) = ShardLog::open(root, shard, ORIGIN, options(), Timestamp(0)).unwrap();
    for n in from..to {
        assert_eq!(log.append(&event(shard, n)), n);
        log.commit().unwrap();
        if n % 10 == 9 {
            while let Some(chore) = log.chore() {
                chore.run().unwrap();
            }
            log.commit().unwrap();
        }
    }
    if then_close {
        log.close().unwrap();
    }
}

struct Evidence {
    root: tempfile::TempDir,
}

impl Evidence {
    /// Two shards of 100 entries, three segments each.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for shard in 0..2 {
            write(root.path(), shard, 0, 100, true);
            assert_eq!(segments(&shard_directory(root.path(), shard)).unwrap().len(), 3);
        }
        Self { root }
    }

    fn copy(&self) -> Self {
        let root = tempfile::tempdir().unwrap();
        for shard in 0..2 {
            let directory = shard_directory(root.path(), shard);
            fs::create_dir(&directory).unwrap();
            for entry in fs::read_dir(shard_directory(self.root.path(), shard)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
            }
        }
        Self { root }
    }

    fn segment(&self, shard: u32, index: usize) -> PathBuf {
        let directory = shard_directory(self.root.path(), shard);
        segment_path(&directory, segments(&directory).unwrap()[index])
    }

    fn edit(&self, shard: u32, index: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.segment(shard, index);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
    }

    fn checkpoint(&self, shard: u32) -> PathBuf {
        shard_directory(self.root.path(), shard).join(CHECKPOINT_FILE)
    }

    fn verify_with(&self, seeds: &[u8], checkpoints: &[Vec<u8>]) -> Report {
        let options = Options {
            keys: seeds.iter().map(|seed| signer(*seed).verifier().clone()).collect(),
            checkpoints: checkpoints.iter().map(|note| ("kept".to_owned(), note.clone())).collect(),
            threads: None,
        };
        verify(self.root.path(), &options, &Progress::default()).unwrap()
    }

    fn verify(&self) -> Report {
        self.verify_with(&[1], &[])
    }
}

/// Where a segment's frames begin and end, and of which type they are.
fn frames(bytes: &[u8]) -> Vec<(usize, usize, FrameType)> {
    let mut at = HEADER_BYTES;
    let mut found = Vec::new();
    while let Parsed::Frame(frame) = parse_frame(bytes.get(at..).unwrap_or_default()) {
        found.push((at, at + frame.bytes(), frame.kind));
        at += frame.bytes();
    }
    found
}

fn frame_of(bytes: &[u8], kind: FrameType, index: usize) -> (usize, usize) {
    let (start, end, _) = *frames(bytes).iter().filter(|frame| frame.2 == kind).nth(index).unwrap();
    (start, end)
}

/// Changes an entry and makes its CRC right again.
fn rewrite(bytes: &mut [u8], index: usize) {
    let (start, end) = frame_of(bytes, FrameType::Event, index);
    let place = bytes[start..end].windows(5).position(|window| window == b"shard").unwrap();
    bytes[start + place] = b'S';
    finish_frame(&mut bytes[..end], start);
}

fn note(seed: u8, shard: u32, size: u64, root: [u8; 32]) -> Vec<u8> {
    let checkpoint = Checkpoint { origin: tree_name(ORIGIN, shard), size, root };
    signer(seed).sign(&checkpoint.text()).into_bytes()
}

/// Replaces a frame's body.
fn replace(bytes: &mut Vec<u8>, (start, end): (usize, usize), body: &[u8]) {
    let Parsed::Frame(frame) = parse_frame(&bytes[start..]) else { panic!("no frame") };
    let mut new = Vec::new();
    begin_frame(&mut new, frame.kind, frame.sequence, frame.time_micros);
    new.extend_from_slice(body);
    finish_frame(&mut new, 0);
    bytes.splice(start..end, new);
}

#[test]
fn what_nobody_touched_is_intact_or_has_an_unsealed_tail() {
    let evidence = Evidence::new();
    let report = evidence.verify();
    assert_eq!(report.verdict(), Verdict::Intact, "{report:?}");
    assert_eq!(report.shards.iter().map(|shard| (shard.entries, shard.signed)).collect::<Vec<_>>(), [(100, 100); 2]);
    // With every checkpoint that there ever was, as one who keeps them would have them.
    let mut kept = Vec::new();
    for index in 0..3 {
        let bytes = fs::read(evidence.segment(1, index)).unwrap();
        for (start, _, kind) in frames(&bytes) {
            if kind == FrameType::Checkpoint
                && let Parsed::Frame(frame) = parse_frame(&bytes[start..])
            {
                kept.push(frame.body.to_vec());
            }
        }
    }
    assert!(kept.len() >= 10);
    assert_eq!(evidence.verify_with(&[1], &kept).verdict(), Verdict::Intact);

    // A crash: three entries after the last checkpoint, and half a frame.
    write(evidence.root.path(), 0, 100, 113, false);
    assert_eq!(evidence.verify().verdict(), Verdict::UnsealedTail(3));
    let last = evidence.segment(0, segments(&shard_directory(evidence.root.path(), 0)).unwrap().len() - 1);
    let mut bytes = fs::read(&last).unwrap();
    let (start, end) =
        frame_of(&bytes, FrameType::Event, frames(&bytes).iter().filter(|f| f.2 == FrameType::Event).count() - 1);
    bytes[end - 200..].fill(0);
    fs::write(&last, bytes).unwrap();
    let report = evidence.verify();
    assert_eq!((report.verdict(), report.shards[0].entries), (Verdict::UnsealedTail(2), 112));
    assert_eq!(report.shards[0].torn_bytes, (end - 200 - start) as u64);
}

/// Every byte of a small segment, flipped, is found in that segment; and that one only.
#[test]
fn every_flipped_byte_is_found_where_it_is() {
    let evidence = Evidence::new();
    let whole = fs::read(evidence.segment(0, 1)).unwrap();
    let path = evidence.segment(0, 1);
    let frames = frames(&whole);
    // Each kind of byte: the header page, and of the frames every field; within long bodies a sample.
    let interesting = (0..HEADER_BYTES).step_by(13).chain(frames.iter().flat_map(|(start, end, kind)| {
        let step = if *kind == FrameType::Event { 97 } else { 7 };
        (*start..(*start + 25).min(*end)).chain((*start + 25..*end).step_by(step))
    }));
    let mut tried = 0;
    for offset in interesting.step_by(5) {
        let mut bytes = whole.clone();
        bytes[offset] ^= 0x04;
        fs::write(&path, &bytes).unwrap();
        let report = evidence.verify();
        assert_eq!(report.verdict(), Verdict::Tampered, "byte {offset}");
        let first = &report.findings[0];
        assert_eq!((first.shard, &first.path), (0, &path), "byte {offset}: {first}");
        if offset < HEADER_BYTES {
            assert_eq!(first.kind, Kind::Header, "byte {offset}: {first}");
        } else {
            let (start, ..) = frames.iter().rfind(|(start, ..)| *start <= offset).unwrap();
            assert_eq!((first.kind, first.offset), (Kind::Frame, *start as u64), "byte {offset}: {first}");
        }
        tried += 1;
    }
    assert!(tried > 200, "{tried}");
}

type Change = fn(&Evidence);
/// What was done; the kind, shard, segment (or none), and first entry that must be named.
type Row = (&'static str, Change, Kind, u32, Option<usize>, u64);

const FIRST: u64 = 0;

#[test]
fn whatever_is_done_is_found_and_named() {
    let original = Evidence::new();
    let firsts = segments(&shard_directory(original.root.path(), 0)).unwrap();
    let second = firsts[1];
    let rows: Vec<Row> = vec![
        ("rewritten with a right CRC", |e| e.edit(0, 1, |b| rewrite(b, 3)), Kind::Changed, 0, Some(1), second),
        (
            "dropped",
            |e| {
                e.edit(0, 1, |b| {
                    let (s, end) = frame_of(b, FrameType::Event, 3);
                    b.drain(s..end);
                })
            },
            Kind::Order,
            0,
            Some(1),
            second + 3,
        ),
        (
            "doubled",
            |e| {
                e.edit(0, 1, |b| {
                    let (s, end) = frame_of(b, FrameType::Event, 3);
                    let f = b[s..end].to_vec();
                    b.splice(end..end, f);
                })
            },
            Kind::Order,
            0,
            Some(1),
            second + 4,
        ),
        (
            "reordered",
            |e| {
                e.edit(0, 1, |b| {
                    let (s, m) = frame_of(b, FrameType::Event, 3);
                    let (_, end) = frame_of(b, FrameType::Event, 4);
                    b[s..end].rotate_left(m - s);
                })
            },
            Kind::Order,
            0,
            Some(1),
            second + 3,
        ),
        ("dropped and renumbered", |e| e.edit(0, 1, drop_and_renumber), Kind::Changed, 0, Some(1), second),
        (
            "a sealed segment truncated",
            |e| {
                e.edit(0, 1, |b| {
                    let (s, _) = frame_of(b, FrameType::Event, 5);
                    b.truncate(s);
                })
            },
            Kind::Missing,
            0,
            Some(1),
            second + 5,
        ),
        (
            "only the seal removed",
            |e| {
                e.edit(0, 1, |b| {
                    let (s, _) = frame_of(b, FrameType::Seal, 0);
                    b.truncate(s);
                })
            },
            Kind::Missing,
            0,
            Some(1),
            firsts[2],
        ),
        (
            "a frame of another type put in",
            |e| {
                e.edit(0, 1, |b| {
                    let (at, _) = frame_of(b, FrameType::Event, 5);
                    let Parsed::Frame(next) = parse_frame(&b[at..]) else { panic!("no frame") };
                    let mut frame = Vec::new();
                    begin_frame(&mut frame, FrameType::Other(77), next.sequence, 0);
                    finish_frame(&mut frame, 0);
                    b.splice(at..at, frame);
                })
            },
            Kind::Extra,
            0,
            Some(1),
            second + 5,
        ),
        (
            "bytes after the seal",
            |e| e.edit(0, 1, |b| b.extend_from_slice(b"more")),
            Kind::Extra,
            0,
            Some(1),
            firsts[2],
        ),
        (
            "another seal",
            |e| {
                e.edit(0, 1, |b| {
                    let (s, end) = frame_of(b, FrameType::Seal, 0);
                    b[s + 25 + 24] ^= 1;
                    finish_frame(&mut b[..end], s);
                })
            },
            Kind::Seal,
            0,
            Some(1),
            firsts[2],
        ),
        (
            "the last segment zeroed from an entry on",
            |e| {
                e.edit(0, 2, |b| {
                    let (s, _) = frame_of(b, FrameType::Event, 2);
                    b[s..].fill(0);
                })
            },
            Kind::Missing,
            0,
            Some(2),
            firsts[2] + 2,
        ),
        (
            "the last segment cut",
            |e| {
                e.edit(0, 2, |b| {
                    let (s, _) = frame_of(b, FrameType::Event, 2);
                    b.truncate(s + 50);
                })
            },
            Kind::Frame,
            0,
            Some(2),
            firsts[2] + 2,
        ),
        (
            "the last segment flipped, no checkpoint beside",
            |e| {
                fs::remove_file(e.checkpoint(0)).unwrap();
                e.edit(0, 2, |b| {
                    let (s, _) = frame_of(b, FrameType::Event, 2);
                    b[s + 50] ^= 1;
                })
            },
            Kind::Frame,
            0,
            Some(2),
            firsts[2] + 2,
        ),
        (
            "the last segment removed",
            |e| fs::remove_file(e.segment(0, 2)).unwrap(),
            Kind::Missing,
            0,
            Some(1),
            firsts[2],
        ),
        ("the middle one removed", |e| fs::remove_file(e.segment(0, 1)).unwrap(), Kind::Missing, 0, Some(1), second),
        ("the first removed", |e| fs::remove_file(e.segment(0, 0)).unwrap(), Kind::Missing, 0, Some(0), FIRST),
        (
            "all removed",
            |e| (0..3).for_each(|_| fs::remove_file(e.segment(0, 0)).unwrap()),
            Kind::Missing,
            0,
            None,
            FIRST,
        ),
        (
            "segments swapped between shards",
            |e| {
                let (a, b) = (e.segment(0, 0), e.segment(1, 0));
                let c = a.with_extension("x");
                fs::rename(&a, &c).unwrap();
                fs::rename(&b, &a).unwrap();
                fs::rename(&c, &b).unwrap();
            },
            Kind::Misplaced,
            0,
            Some(0),
            FIRST,
        ),
        ("swapped, headers adapted", |e| swap_with_header(e), Kind::Misplaced, 0, Some(0), FIRST),
        (
            "another origin in the header",
            |e| {
                e.edit(0, 1, |b| {
                    let mut h = Header::parse(b).unwrap();
                    h.origin = "evil.example".into();
                    b[..HEADER_BYTES].copy_from_slice(&h.encode());
                })
            },
            Kind::Misplaced,
            0,
            Some(1),
            second,
        ),
        (
            "another number in the header",
            |e| {
                e.edit(0, 1, |b| {
                    let mut h = Header::parse(b).unwrap();
                    h.number = 7;
                    b[..HEADER_BYTES].copy_from_slice(&h.encode());
                })
            },
            Kind::Order,
            0,
            Some(1),
            second,
        ),
        (
            "another tree in the header",
            |e| {
                e.edit(0, 1, |b| {
                    let mut h = Header::parse(b).unwrap();
                    let n = h.tree.size();
                    h.tree = CompactRange::default();
                    (0..n).for_each(|_| h.tree.append([1; 32]));
                    b[..HEADER_BYTES].copy_from_slice(&h.encode());
                })
            },
            Kind::Changed,
            0,
            Some(1),
            second,
        ),
        (
            "renamed",
            |e| fs::rename(e.segment(0, 2), e.segment(0, 2).with_file_name("00000000000000000777.tgs")).unwrap(),
            Kind::Order,
            0,
            Some(2),
            777,
        ),
        (
            "a checkpoint of another root",
            |e| {
                e.edit(0, 1, |b| {
                    let f = frame_of(b, FrameType::Checkpoint, 0);
                    let p = parsed(b, f);
                    replace(b, f, &note(1, 0, p.size, [9; 32]));
                })
            },
            Kind::Changed,
            0,
            Some(1),
            second,
        ),
        (
            "a checkpoint of a foreign key",
            |e| {
                e.edit(0, 1, |b| {
                    let f = frame_of(b, FrameType::Checkpoint, 0);
                    let p = parsed(b, f);
                    replace(b, f, &note(9, 0, p.size, p.root));
                })
            },
            Kind::Signature,
            0,
            Some(1),
            second,
        ),
        (
            "a checkpoint of the other shard",
            |e| {
                e.edit(0, 1, |b| {
                    let f = frame_of(b, FrameType::Checkpoint, 0);
                    let p = parsed(b, f);
                    replace(b, f, &note(1, 1, p.size, p.root));
                })
            },
            Kind::Misplaced,
            0,
            Some(1),
            second,
        ),
        (
            "a checkpoint's signature flipped, right CRC",
            |e| {
                e.edit(0, 1, |b| {
                    let (s, end) = frame_of(b, FrameType::Checkpoint, 0);
                    b[end - 20] = if b[end - 20] == b'A' { b'B' } else { b'A' };
                    finish_frame(&mut b[..end], s);
                })
            },
            Kind::Signature,
            0,
            Some(1),
            second,
        ),
        (
            "the checkpoint beside forged",
            |e| fs::write(e.checkpoint(0), note(9, 0, 100, [0; 32])).unwrap(),
            Kind::Signature,
            0,
            None,
            FIRST,
        ),
        (
            "the checkpoint beside of the other shard",
            |e| {
                fs::copy(e.checkpoint(1), e.checkpoint(0)).unwrap();
            },
            Kind::Misplaced,
            0,
            None,
            FIRST,
        ),
    ];
    for (what, change, kind, shard, segment, entry) in rows {
        let evidence = original.copy();
        change(&evidence);
        let report = evidence.verify();
        assert_eq!(report.verdict(), Verdict::Tampered, "{what}");
        let path = segment.map(|index| evidence.segment(shard, index));
        let named = |finding: &&Finding| {
            finding.kind == kind && finding.shard == shard && path.as_ref().is_none_or(|path| finding.path == *path)
        };
        let found = report.findings.iter().find(named).unwrap_or_else(|| panic!("{what}: {:#?}", report.findings));
        let within = found.entry..=found.last_entry.unwrap_or(found.entry);
        assert!(within.contains(&entry), "{what}: entry {entry}: {found}");
        // The other shard has nothing to do with it, unless it was changed too.
        let swapped = what.contains("swapped");
        assert!(swapped || report.findings.iter().all(|finding| finding.shard == shard), "{what}: {report:#?}");
    }
}

fn parsed(bytes: &[u8], (start, _): (usize, usize)) -> Checkpoint {
    let Parsed::Frame(frame) = parse_frame(&bytes[start..]) else { panic!("no frame") };
    Note::parse(frame.body).unwrap().checkpoint().unwrap()
}

/// Removes an entry and gives those after it, up to the next checkpoint, new numbers; doubles the last one,
/// so that the number of entries is right.
fn drop_and_renumber(bytes: &mut Vec<u8>) {
    let (start, end) = frame_of(bytes, FrameType::Event, 1);
    let (second, second_end) = frame_of(bytes, FrameType::Event, 2);
    let number = bytes[start + 9..start + 17].to_vec();
    let mut moved = bytes[second..second_end].to_vec();
    moved[9..17].copy_from_slice(&number);
    finish_frame(&mut moved, 0);
    bytes.splice(start..end, moved);
}

fn swap_with_header(evidence: &Evidence) {
    let (zero, one) = (evidence.segment(0, 0), evidence.segment(1, 0));
    let mut bytes = fs::read(&one).unwrap();
    let mut header = Header::parse(&bytes).unwrap();
    header.shard = 0;
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    fs::write(zero, bytes).unwrap();
}

/// The end cut off with its checkpoints and its file beside: only a checkpoint kept elsewhere tells.
#[test]
fn a_cut_end_and_another_history_need_a_checkpoint_kept_elsewhere() {
    let original = Evidence::new();
    let kept = fs::read(original.checkpoint(0)).unwrap();
    let cut = original.copy();
    fs::remove_file(cut.segment(0, 2)).unwrap();
    fs::remove_file(cut.checkpoint(0)).unwrap();
    assert_eq!(cut.verify().verdict(), Verdict::Intact, "nobody can tell from the files alone");
    let report = cut.verify_with(&[1], std::slice::from_ref(&kept));
    assert_eq!(report.findings[0].kind, Kind::Missing, "{report:?}");
    assert!(report.findings[0].detail.contains("covers 100 entries"), "{report:?}");

    // A fork: the same gateway, the same key, another history.
    let fork = original.copy();
    fs::remove_dir_all(shard_directory(fork.root.path(), 0)).unwrap();
    let (mut log, _) = ShardLog::open(fork.root.path(), 0, ORIGIN, options(), Timestamp(0)).unwrap();
    for n in 0..120 {
        log.append(&Event { principal: "somebody else".into(), ..event(0, n) });
    }
    log.close().unwrap();
    assert_eq!(fork.verify().verdict(), Verdict::Intact);
    let report = fork.verify_with(&[1], std::slice::from_ref(&kept));
    assert_eq!(report.findings[0].kind, Kind::Fork, "{report:?}");
    assert_eq!(report.findings[0].last_entry, Some(99));

    // A shard that is gone altogether.
    fs::remove_dir_all(shard_directory(fork.root.path(), 0)).unwrap();
    let report = fork.verify_with(&[1], &[kept]);
    assert_eq!((report.findings[0].kind, report.findings[0].shard), (Kind::Missing, 0));
}

/// Whoever has an old key, or makes one, can sign what he likes: nobody believes it.
#[test]
fn forged_with_another_or_an_old_key() {
    let original = Evidence::new();
    // Everything written anew with a key of the forger's own.
    let forged = original.copy();
    fs::remove_dir_all(shard_directory(forged.root.path(), 0)).unwrap();
    let forger = LogOptions { signer: Some(Arc::new(signer(66))), ..options() };
    let (mut log, _) = ShardLog::open(forged.root.path(), 0, ORIGIN, forger, Timestamp(0)).unwrap();
    (0..100).for_each(|n| assert_eq!(log.append(&event(0, n)), n));
    log.close().unwrap();
    let report = forged.verify();
    assert!(report.findings.iter().all(|finding| finding.kind == Kind::Signature), "{report:#?}");
    assert_eq!(report.shards[0].signed, 0, "nothing is covered by a key that is trusted");

    // The key was replaced in good order: 1 and then 2, both trusted.
    let rotated = original.copy();
    let newer = LogOptions { signer: Some(Arc::new(signer(2))), ..options() };
    let (mut log, _) = ShardLog::open(rotated.root.path(), 0, ORIGIN, newer, Timestamp(0)).unwrap();
    (100..130).for_each(|n| assert_eq!(log.append(&event(0, n)), n));
    log.close().unwrap();
    assert_eq!(rotated.verify_with(&[1, 2], &[]).verdict(), Verdict::Intact);
    let report = rotated.verify_with(&[1], &[]);
    assert!(
        report.findings.iter().any(|finding| finding.kind == Kind::Signature && finding.entry >= 100),
        "{report:?}"
    );
    // From then on the old key signs nothing any more.
    let (mut log, _) = ShardLog::open(rotated.root.path(), 0, ORIGIN, options(), Timestamp(0)).unwrap();
    log.append(&event(0, 130));
    log.close().unwrap();
    let report = rotated.verify_with(&[1, 2], &[]);
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    assert_eq!((report.findings[0].kind, report.findings[0].entry), (Kind::Signature, 130));
}

/// A rotation in good order: announced, signed with both keys. Whoever trusts either key can follow it; whoever
/// has the old one can do nothing with it.
#[test]
fn a_rotation_is_followed_and_the_old_key_forges_nothing() {
    let original = Evidence::new();
    let root = original.root.path();
    let key_file = root.join("signing.key");
    // The key of `signer(1)` as a file.
    let seed = [&[1u8][..], &[1; 32]].concat();
    let id = u32::from_be_bytes(signer(1).verifier().id());
    fs::write(&key_file, format!("PRIVATE+KEY+{ORIGIN}+{id:08x}+{}", base64(&seed))).unwrap();
    let done = rotate(root, None, None, ORIGIN, &options(), Timestamp(5)).unwrap();
    assert_eq!(done.rotation.ends.values().map(|end| end.size).collect::<Vec<_>>(), [100, 100]);
    let new = Arc::new(load_or_make(root, None, ORIGIN).unwrap().signer);
    let newer = LogOptions { signer: Some(Arc::clone(&new)), ..options() };
    for shard in 0..2 {
        let (mut log, recovery) = ShardLog::open(root, shard, ORIGIN, newer.clone(), Timestamp(0)).unwrap();
        assert_eq!(recovery.signer_before.as_ref(), Some(signer(1).verifier()));
        (100..130).for_each(|n| assert_eq!(log.append(&event(shard, n)), n));
        log.close().unwrap();
    }
    let with = |root: &Path, keys: &[&Signer]| {
        let keys = keys.iter().map(|signer| signer.verifier().clone()).collect();
        verify(root, &Options { keys, ..Options::default() }, &Progress::default()).unwrap()
    };
    let (first, last) = (signer(1), &*new);
    for keys in [vec![&first], vec![last], vec![&first, last]] {
        let report = with(root, &keys);
        assert_eq!((report.verdict(), report.rotations), (Verdict::Intact, 1), "{report:#?}");
    }
    let foreign = with(root, &[&signer(9)]);
    assert!(foreign.findings.iter().any(|found| found.detail.contains("neither")), "{foreign:#?}");

    let note = fs::read(&done.note).unwrap();
    let check = |what: &str, keys: &[&Signer], change: &dyn Fn(&Evidence), kind: Kind, words: &str| {
        let evidence = original.copy();
        fs::write(evidence.root.path().join("rotation-0001.note"), &note).unwrap();
        change(&evidence);
        let report = with(evidence.root.path(), keys);
        let found = report.findings.iter().any(|found| found.kind == kind && found.detail.contains(words));
        assert!(found, "{what}: {report:#?}");
    };
    let forge = |evidence: &Evidence, from: u64, to: u64| {
        let root = evidence.root.path();
        fs::remove_dir_all(shard_directory(root, 0)).unwrap();
        let (mut log, _) = ShardLog::open(root, 0, ORIGIN, options(), Timestamp(0)).unwrap();
        for n in from..to {
            let principal = if n < 50 || from == 0 { format!("shard0-{n}") } else { "nobody".to_owned() };
            log.append(&Event { principal, ..event(0, n) });
            if n == 99 {
                // So that the tree at the key's end can be told.
                log.commit().unwrap();
            }
        }
        log.close().unwrap();
    };
    // The old key goes on where its use ended: with the evidence of its time, which is genuine, before.
    let goes_on = |evidence: &Evidence| forge(evidence, 0, 120);
    for keys in [vec![&first], vec![last]] {
        check("the old key goes on", &keys, &goes_on, Kind::Signature, "use ended at 100");
    }
    // The past written anew with the old key.
    let past = |evidence: &Evidence| {
        let root = evidence.root.path();
        fs::remove_dir_all(shard_directory(root, 0)).unwrap();
        let (mut log, _) = ShardLog::open(root, 0, ORIGIN, options(), Timestamp(0)).unwrap();
        (0..100).for_each(|n| {
            log.append(&Event { principal: "somebody else".into(), ..event(0, n) });
        });
        log.close().unwrap();
    };
    check("the past written anew", &[&first], &past, Kind::Changed, "announcement of key 1");
    check(
        "a shard cut at the old key's time",
        &[last],
        &|evidence| {
            fs::remove_dir_all(shard_directory(evidence.root.path(), 0)).unwrap();
            write(evidence.root.path(), 0, 0, 60, true);
        },
        Kind::Missing,
        "covers 100 entries",
    );
    check(
        "a new shard of the old key",
        &[&first],
        &|evidence| write(evidence.root.path(), 7, 0, 5, true),
        Kind::Signature,
        "use ended",
    );
    check(
        "the announcement removed",
        &[&first],
        &|evidence| {
            fs::remove_file(evidence.root.path().join("rotation-0001.note")).unwrap();
        },
        Kind::Signature,
        "not trusted",
    );
    check(
        "the announcement changed",
        &[&first],
        &|evidence| {
            let changed = String::from_utf8(note.clone()).unwrap().replacen("shard-000 100", "shard-000 900", 1);
            fs::write(evidence.root.path().join("rotation-0001.note"), changed).unwrap();
        },
        Kind::Signature,
        "does not fit",
    );
    check(
        "another successor announced",
        &[&first],
        &|evidence| {
            let text = String::from_utf8(note.clone()).unwrap();
            let (text, _) = text.split_once("\n\n").unwrap();
            let text = text.replace(&last.verifier().to_string(), &signer(66).verifier().to_string()) + "\n";
            let text = text.replacen("\n1\n", "\n2\n", 1);
            let forged = sign_with(&text, &[&first, &signer(66)]);
            fs::write(evidence.root.path().join("rotation-0002.note"), forged).unwrap();
        },
        Kind::Signature,
        "forged",
    );
    check(
        "announced under a name of its own",
        &[&first],
        &|evidence| {
            fs::write(evidence.root.path().join("rotation-0003.note"), &note).unwrap();
        },
        Kind::Signature,
        "another number",
    );
}

#[test]
fn the_tree_is_what_an_independent_hand_computes() {
    let evidence = Evidence::new();
    let mut tree = CompactRange::default();
    for index in 0..3 {
        let bytes = fs::read(evidence.segment(0, index)).unwrap();
        for (start, end, kind) in frames(&bytes) {
            if kind == FrameType::Event {
                tree.append(leaf_hash(&bytes[start..end]));
            }
        }
    }
    let note = fs::read(evidence.checkpoint(0)).unwrap();
    let checkpoint = Note::parse(&note).unwrap().checkpoint().unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (100, tree.root()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to a file, with right CRCs or without: nothing that reads evidence panics or hangs, and
    /// entries that were signed are never called intact once they differ.
    #[test]
    fn hostile_files(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        which in 0usize..4,
        cut in prop::option::of(any::<prop::sample::Index>()),
        repair in any::<bool>(),
    ) {
        let evidence = shared().copy();
        let path = if which == 3 { evidence.checkpoint(0) } else { evidence.segment(0, which) };
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            let frame = frames(&whole).into_iter().find(|(start, end, _)| (*start..*end).contains(&place));
            if let Some((start, end, _)) = frame.filter(|_| repair && which < 3) {
                finish_frame(&mut bytes[..end], start);
            } else if repair && which < 3 && let Ok(header) = Header::parse(&bytes) {
                bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        fs::write(&path, &bytes).unwrap();
        let report = evidence.verify();
        let same = |kind| {
            let events = |bytes: &[u8]| -> Vec<Vec<u8>> {
                let found = frames(bytes).into_iter().filter(|frame| frame.2 == kind);
                found.map(|(start, end, _)| bytes[start..end].to_vec()).collect()
            };
            which == 3 || bytes.len() > HEADER_BYTES && events(&bytes) == events(&whole)
        };
        prop_assert!(same(FrameType::Event) || report.verdict() == Verdict::Tampered, "{report:?}");
        for indexes in [Indexes::Build, Indexes::Use] {
            let mut search = Search::new(evidence.root.path(), None, Query::default(), indexes).unwrap();
            while search.next().unwrap().is_some() {}
        }
        let _ = prove(evidence.root.path(), 0, 70, &[signer(1).verifier().clone()]);
        let opened = ShardLog::open(evidence.root.path(), 0, ORIGIN, options(), Timestamp(0));
        // What opens goes on as one tree, unless a sealed segment was hurt, at which opening does not look.
        if let Ok((mut log, _)) = opened {
            log.append(&event(0, 100));
            log.close().unwrap();
        }
        evidence.verify();
    }
}

/// Evidence that nobody changes but its copies.
fn shared() -> &'static Evidence {
    static EVIDENCE: std::sync::OnceLock<Evidence> = std::sync::OnceLock::new();
    EVIDENCE.get_or_init(Evidence::new)
}
