//! Evidence segments as anybody may hand them to `tidegate audit`: whole, torn, forged.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::OnceLock;

use prost::Message;
use tidegate_audit::format::{FrameType, HEADER_BYTES, Header, begin_frame, finish_frame};
use tidegate_audit::json::event_json_line;
use tidegate_audit::log::{LogOptions, ShardLog};
use tidegate_audit::read::{SegmentReader, Step};
use tidegate_core::event::Event;
use tidegate_core::words::Timestamp;

/// A segment's header page, as the writer writes it.
pub(super) fn header_page() -> &'static [u8] {
    static PAGE: OnceLock<Vec<u8>> = OnceLock::new();
    PAGE.get_or_init(|| {
        let root = tempfile::tempdir().expect("a temporary directory");
        let options = LogOptions { segment_bytes: 1 << 20, entry_bytes_max: 64 << 10, ..LogOptions::default() };
        let now = Timestamp::from_secs(1_800_000_000);
        let (log, _) = ShardLog::open(root.path(), 0, "fuzz", options, now).expect("a new log");
        drop(log);
        let directory = tidegate_audit::directory::shard_directory(root.path(), 0);
        let segment = tidegate_audit::directory::segment_path(&directory, 0);
        let mut bytes = std::fs::read(segment).expect("the first segment");
        bytes.truncate(HEADER_BYTES);
        bytes
    })
}

/// The first byte chooses: the header page itself; the bytes behind it; or frames with the right
/// checksum, each a kind, a sequence number, a length, and a body.
pub fn evidence_segment(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 3 {
        0 => {
            let mut page = header_page().to_vec();
            for (byte, change) in page.iter_mut().zip(data) {
                *byte ^= change;
            }
            let _ = Header::parse(&page);
            let _ = Header::parse(data);
        }
        1 => read(data),
        _ => read(&frames(data)),
    }
}

fn frames(mut data: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    while let [kind, sequence, length, rest @ ..] = data {
        let (body, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        let kind = match kind % 8 {
            2 => FrameType::Seal,
            3 => FrameType::Checkpoint,
            4 => FrameType::Other(*kind),
            _ => FrameType::Event,
        };
        let start = begin_frame(&mut frames, kind, u64::from(*sequence), 0);
        frames.extend_from_slice(body);
        finish_frame(&mut frames, start);
    }
    frames
}

/// Reads a segment of these frames to its end, and shows what it says as `audit tail` does.
fn read(frames: &[u8]) {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(header_page()).and_then(|()| file.write_all(frames)).expect("room for a segment");
    file.seek(SeekFrom::Start(0)).expect("a file can be rewound");
    let mut reader = SegmentReader::from_file(file, Path::new("fuzz.tgs")).expect("the header is good");
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps <= frames.len() + 1, "the reader does not get on");
        let position = reader.position();
        assert!(position <= (HEADER_BYTES + frames.len()) as u64);
        let Step::Frame(frame) = reader.next().expect("a file can be read") else { return };
        if frame.kind == FrameType::Event
            && let Ok(event) = Event::decode(frame.body)
        {
            let line = event_json_line(&event, 0, frame.sequence);
            assert!(!line.trim_end().contains('\n'), "an entry is one line");
        }
        assert!(reader.position() > position);
    }
}
