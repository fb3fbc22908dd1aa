//! A row for each thing that can be done to a file, and the place that `verify` must name.

use std::fs;

use tidegate_audit::directory::{segments, shard_directory};
use tidegate_audit::format::{FrameType, HEADER_BYTES, Header, Parsed, begin_frame, finish_frame, parse_frame};
use tidegate_audit::note::{Checkpoint, Note};
use tidegate_audit::tree::CompactRange;
use tidegate_audit::verify::{Finding, Kind, Verdict};

use crate::evidence::{Evidence, frame_of, note, replace, rewrite};

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
