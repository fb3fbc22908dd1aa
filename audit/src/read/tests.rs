//! The reader alone: damage, large frames, stale buffers. With a live writer it is tested in `tail`.

use std::fs::{self, OpenOptions};

use proptest::prelude::*;

use super::*;
use crate::format::{FRAME_BYTES_MAX, SEAL_FRAME_BYTES, begin_frame, finish_frame};
use crate::tree::CompactRange;

fn header(first_sequence: u64) -> Vec<u8> {
    Header {
        origin: "g".into(),
        shard: 0,
        number: 0,
        first_sequence,
        created_micros: 0,
        segment_bytes: 1 << 16,
        tree: CompactRange::default(),
        signer: None,
        index_key: None,
    }
    .encode()
}

fn frame(kind: FrameType, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::new();
    let start = begin_frame(&mut buffer, kind, sequence, 7);
    buffer.extend_from_slice(body);
    finish_frame(&mut buffer, start);
    buffer
}

struct File_ {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn file(parts: &[&[u8]]) -> File_ {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment");
    fs::write(&path, parts.concat()).unwrap();
    File_ { _directory: directory, path }
}

#[test]
fn frames_of_all_sizes_and_kinds() {
    let large = vec![5; 3 * READ_BYTES];
    let seal = Seal { first_sequence: 10, entries: 3, offset: 99, root: [1; 32], checkpoint: 0 };
    let file = file(&[
        &header(10),
        &frame(FrameType::Event, 10, b"a"),
        &frame(FrameType::Event, 11, &large),
        &frame(FrameType::Other(9), 12, b"newer"),
        &frame(FrameType::Event, 12, b""),
        &seal.encode(3),
        b"whatever follows a seal is not looked at",
    ]);
    let mut reader = SegmentReader::open(&file.path).unwrap();
    let expected: [(FrameType, u64, &[u8]); 4] = [
        (FrameType::Event, 10, b"a"),
        (FrameType::Event, 11, &large),
        (FrameType::Other(9), 12, b"newer"),
        (FrameType::Event, 12, b""),
    ];
    for (kind, sequence, body) in expected {
        assert_eq!(reader.next().unwrap(), Step::Frame(Frame { kind, sequence, time_micros: 7, body }));
    }
    assert_eq!(reader.next().unwrap(), Step::Sealed(seal));
    assert_eq!(reader.next().unwrap(), Step::Sealed(seal), "a seal is final");
    assert_eq!(reader.next_sequence(), 13);
}

#[test]
fn what_is_no_frame_is_told_and_looked_at_again() {
    let good = frame(FrameType::Event, 0, b"good");
    let mut flipped = frame(FrameType::Event, 1, b"bad");
    flipped[26] ^= 1;
    let huge = (FRAME_BYTES_MAX as u32).to_le_bytes();
    let cut = &frame(FrameType::Event, 1, &[1; 500])[..400];
    let zeros = [0; SEAL_FRAME_BYTES];
    for (what, tail, step) in [
        ("end of file", &[][..], Step::End),
        ("zeros", &zeros[..], Step::End),
        ("CRC", &flipped[..], Step::Torn(Damage::Crc)),
        ("length", &huge[..], Step::Torn(Damage::Length(FRAME_BYTES_MAX as u32))),
        ("cut", cut, Step::Torn(Damage::CutShort)),
        ("doubled", &good[..], Step::Torn(Damage::Sequence { expected: 1, found: 0 })),
    ] {
        let file = file(&[&header(0), &good, tail]);
        let mut reader = SegmentReader::open(&file.path).unwrap();
        assert!(matches!(reader.next().unwrap(), Step::Frame(_)), "{what}");
        for _ in 0..2 {
            assert_eq!(reader.next().unwrap(), step, "{what}");
            assert_eq!(reader.position(), (HEADER_BYTES + good.len()) as u64);
        }
        // The writer (or recovery and then a writer) puts a frame there: it is found.
        let writer = OpenOptions::new().write(true).open(&file.path).unwrap();
        writer.write_all_at(&frame(FrameType::Event, 1, b"next"), reader.position()).unwrap();
        assert!(matches!(reader.next().unwrap(), Step::Frame(Frame { sequence: 1, body: b"next", .. })), "{what}");
    }
}

proptest! {
    /// Whatever stands in a file, reading it ends and never panics.
    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..600), lengths in prop::collection::vec(0u32..40, 0..20)) {
        for (index, length) in lengths.iter().enumerate() {
            if let Some(place) = bytes.get_mut(index * 30..index * 30 + 4) {
                place.copy_from_slice(&length.to_le_bytes());
            }
        }
        let good = frame(FrameType::Event, 0, &bytes);
        let file = file(&[&header(0), &good, &bytes]);
        let mut reader = SegmentReader::open(&file.path).unwrap();
        let mut frames = 0;
        while let Step::Frame(_) = reader.next().unwrap() {
            frames += 1;
            prop_assert!(frames < 100);
        }
        let alone = file_of_bytes(&bytes);
        prop_assert!(SegmentReader::open(&alone.path).is_err());
    }
}

fn file_of_bytes(bytes: &[u8]) -> File_ {
    file(&[bytes])
}
