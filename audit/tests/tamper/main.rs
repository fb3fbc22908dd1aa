//! The tamper suite: everything that can be done to evidence files is found, at its place.
//!
//! The evidence is real: written by the log, two shards, several segments, signed. Each row changes a
//! copy of it as somebody with a hex editor, or with this very source code, would.
//!
//! [`evidence`]: what is tampered with. [`rows`]: what is done to files. [`keys`]: what can be done with keys.
//! [`hostile`]: everything else, at random.

use std::fs;

use tidegate_audit::directory::{segments, shard_directory};
use tidegate_audit::format::{FrameType, HEADER_BYTES, Parsed, parse_frame};
use tidegate_audit::log::ShardLog;
use tidegate_audit::note::Note;
use tidegate_audit::tree::{CompactRange, leaf_hash};
use tidegate_audit::verify::{Kind, Verdict};
use tidegate_core::event::Event;
use tidegate_core::words::Timestamp;

mod evidence;
mod hostile;
mod keys;
mod rows;

use crate::evidence::{Evidence, ORIGIN, event, frame_of, frames, options, write};

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
