//! Evidence to tamper with, and the hex editor.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_audit::directory::{segment_path, segments, shard_directory};
use tidegate_audit::format::{FrameType, HEADER_BYTES, Parsed, begin_frame, finish_frame, parse_frame};
use tidegate_audit::log::{CHECKPOINT_FILE, Durability, LogOptions, ShardLog};
use tidegate_audit::note::{Checkpoint, Signer, tree_name};
use tidegate_audit::verify::{Options, Progress, Report, verify};
use tidegate_core::event::{Event, Kind as EventKind};
use tidegate_core::words::Timestamp;

pub(super) const ORIGIN: &str = "gw.example";

pub(super) fn signer(seed: u8) -> Signer {
    Signer::from_seed(ORIGIN, &[seed; 32]).unwrap()
}

pub(super) fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 24 * 1024,
        entry_bytes_max: 8 * 1024,
        durability: Durability::Written,
        signer: Some(Arc::new(signer(1))),
        checkpoint_interval: Duration::ZERO,
        ..LogOptions::default()
    }
}

pub(super) fn event(shard: u32, n: u64) -> Event {
    Event {
        time_micros: 1_700_000_000_000_000 + n as i64,
        kind: EventKind::Exchange as i32,
        principal: format!("shard{shard}-{n}"),
        detail: "x".repeat(400),
        ..Event::default()
    }
}

/// Writes entries `from..to` of a shard; a checkpoint comes after every tenth.
pub(super) fn write(root: &Path, shard: u32, from: u64, to: u64, then_close: bool) {
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

pub(super) struct Evidence {
    pub(super) root: tempfile::TempDir,
}

impl Evidence {
    /// Two shards of 100 entries, three segments each.
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for shard in 0..2 {
            write(root.path(), shard, 0, 100, true);
            assert_eq!(segments(&shard_directory(root.path(), shard)).unwrap().len(), 3);
        }
        Self { root }
    }

    pub(super) fn copy(&self) -> Self {
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

    pub(super) fn segment(&self, shard: u32, index: usize) -> PathBuf {
        let directory = shard_directory(self.root.path(), shard);
        segment_path(&directory, segments(&directory).unwrap()[index])
    }

    pub(super) fn edit(&self, shard: u32, index: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.segment(shard, index);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
    }

    pub(super) fn checkpoint(&self, shard: u32) -> PathBuf {
        shard_directory(self.root.path(), shard).join(CHECKPOINT_FILE)
    }

    pub(super) fn verify_with(&self, seeds: &[u8], checkpoints: &[Vec<u8>]) -> Report {
        let options = Options {
            keys: seeds.iter().map(|seed| signer(*seed).verifier().clone()).collect(),
            checkpoints: checkpoints.iter().map(|note| ("kept".to_owned(), note.clone())).collect(),
            threads: None,
        };
        verify(self.root.path(), &options, &Progress::default()).unwrap()
    }

    pub(super) fn verify(&self) -> Report {
        self.verify_with(&[1], &[])
    }
}

/// Where a segment's frames begin and end, and of which type they are.
pub(super) fn frames(bytes: &[u8]) -> Vec<(usize, usize, FrameType)> {
    let mut at = HEADER_BYTES;
    let mut found = Vec::new();
    while let Parsed::Frame(frame) = parse_frame(bytes.get(at..).unwrap_or_default()) {
        found.push((at, at + frame.bytes(), frame.kind));
        at += frame.bytes();
    }
    found
}

pub(super) fn frame_of(bytes: &[u8], kind: FrameType, index: usize) -> (usize, usize) {
    let (start, end, _) = *frames(bytes).iter().filter(|frame| frame.2 == kind).nth(index).unwrap();
    (start, end)
}

/// Changes an entry and makes its CRC right again.
pub(super) fn rewrite(bytes: &mut [u8], index: usize) {
    let (start, end) = frame_of(bytes, FrameType::Event, index);
    let place = bytes[start..end].windows(5).position(|window| window == b"shard").unwrap();
    bytes[start + place] = b'S';
    finish_frame(&mut bytes[..end], start);
}

pub(super) fn note(seed: u8, shard: u32, size: u64, root: [u8; 32]) -> Vec<u8> {
    let checkpoint = Checkpoint { origin: tree_name(ORIGIN, shard), size, root };
    signer(seed).sign(&checkpoint.text()).into_bytes()
}

/// Replaces a frame's body.
pub(super) fn replace(bytes: &mut Vec<u8>, (start, end): (usize, usize), body: &[u8]) {
    let Parsed::Frame(frame) = parse_frame(&bytes[start..]) else { panic!("no frame") };
    let mut new = Vec::new();
    begin_frame(&mut new, frame.kind, frame.sequence, frame.time_micros);
    new.extend_from_slice(body);
    finish_frame(&mut new, 0);
    bytes.splice(start..end, new);
}
