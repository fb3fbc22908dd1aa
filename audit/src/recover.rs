//! What opening a shard's log does with what a crash left behind.
//!
//! A process that is killed, or a machine that loses power, can leave half a commit at the end of
//! the last segment. Recovery finds the last whole frame, puts the bytes after it aside in a `.torn`
//! file and zeroes them, so that the sequence continues where the evidence ends. It repairs nothing
//! else: a segment that cannot be read at all stops the opening, because to write past it would hide it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use prost::Message as _;
use tidegate_core::event::Event;

use crate::directory::{fill_with_zeros, segment_path, segments};
use crate::format::{Damage, FrameType, Header, SEAL_FRAME_BYTES};
use crate::read::{ReadError, SegmentReader, Step, read_at_most};

/// What opening found, for the log and for the evidence's own `Start` or `Gap` entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovery {
    /// The sequence number that the next entry gets: entries there were, all segments together.
    pub next_sequence: u64,
    /// Segments found.
    pub segments: usize,
    /// The last entry before this opening, where there is one that can be read. Unless its kind is
    /// `Stop`, the gateway did not stop in good order.
    pub last_event: Option<Event>,
    /// What was taken off the end, where something was.
    pub torn: Option<TornTail>,
    /// The origin that wrote before, where it had another name: a new segment was begun.
    pub origin_before: Option<String>,
}

/// Bytes after the last whole frame, taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub segment: PathBuf,
    /// Where the bytes began.
    pub offset: u64,
    /// How many, up to the last that is not zero.
    pub bytes: u64,
    /// How the first frame of them is broken.
    pub damage: Damage,
    /// The file in which they are kept.
    pub kept: PathBuf,
}

/// A last segment, ready to be continued or, if sealed, to be followed.
pub(crate) struct Last {
    pub file: File,
    pub path: PathBuf,
    pub header: Header,
    /// The end of the last whole frame.
    pub offset: u64,
    pub sealed: bool,
}

/// Finds and repairs the last segment of a shard's directory. `None` where there is no segment.
pub(crate) fn recover(directory: &Path, shard: u32) -> Result<(Option<Last>, Recovery), RecoverError> {
    let io = |path: &Path, source| RecoverError::Io { path: path.to_owned(), source };
    let found = segments(directory).map_err(|source| io(directory, source))?;
    let mut recovery =
        Recovery { next_sequence: 0, segments: found.len(), last_event: None, torn: None, origin_before: None };
    let Some(last) = found.last() else { return Ok((None, recovery)) };
    let path = segment_path(directory, *last);
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(|source| io(&path, source))?;
    let reading = file.try_clone().map_err(|source| io(&path, source))?;
    let mut reader = SegmentReader::from_file(reading, &path).map_err(RecoverError::Unreadable)?;
    if reader.header().shard != shard {
        return Err(RecoverError::OtherShard { path, shard: reader.header().shard, expected: shard });
    }

    let mut last_body = Vec::new();
    let (damage, sealed) = loop {
        match reader.next().map_err(RecoverError::Unreadable)? {
            Step::Frame(frame) if frame.kind == FrameType::Event => {
                last_body.clear();
                last_body.extend_from_slice(frame.body);
            }
            Step::Frame(_) => {}
            Step::Sealed(_) => break (Damage::NotZero, true),
            Step::End => break (Damage::NotZero, false),
            Step::Torn(damage) => break (damage, false),
        }
    };
    let header = reader.header().clone();
    let offset = reader.position();
    recovery.next_sequence = reader.next_sequence();
    recovery.last_event = if recovery.next_sequence > header.first_sequence {
        Event::decode(&*last_body).ok()
    } else {
        found.iter().rev().skip(1).find_map(|first| last_event(&segment_path(directory, *first)))
    };
    let torn_end = end_of_data(&file, offset).map_err(|source| io(&path, source))?;
    if torn_end > offset {
        let kept =
            keep(directory, &file, header.first_sequence, offset..torn_end).map_err(|source| io(&path, source))?;
        fill_with_zeros(&file, offset, torn_end).map_err(|source| io(&path, source))?;
        recovery.torn = Some(TornTail { segment: path.clone(), offset, bytes: torn_end - offset, damage, kept });
    }

    // A file that was cut short, for instance by copying, gets its room back.
    let length = file.metadata().map_err(|source| io(&path, source))?.len();
    let wanted = if sealed { offset } else { header.segment_bytes.max(offset + SEAL_FRAME_BYTES as u64) };
    if sealed && length != wanted {
        file.set_len(wanted).map_err(|source| io(&path, source))?;
    } else if length < wanted {
        fill_with_zeros(&file, length, wanted).map_err(|source| io(&path, source))?;
    }
    file.sync_all().map_err(|source| io(&path, source))?;
    Ok((Some(Last { file, path, header, offset, sealed }), recovery))
}

/// Why a directory's evidence cannot be continued. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The operating system's error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The last segment is no segment, or none that can be read.
    #[error(
        "the evidence cannot be continued, because its last segment cannot be read: {0}; inspect it, and move it out of the way only if you know why"
    )]
    Unreadable(ReadError),
    /// The directory's name says another shard than the segment.
    #[error("{}: this segment belongs to shard {shard}, not {expected}: it was moved here", path.display())]
    OtherShard {
        /// The file.
        path: PathBuf,
        /// The shard in its header.
        shard: u32,
        /// The shard that was opened.
        expected: u32,
    },
}

/// The last event of a segment before the last one; `None` where it has none or cannot be read,
/// which does not stop the log: it is not written any more.
fn last_event(path: &Path) -> Option<Event> {
    let mut reader = SegmentReader::open(path).ok()?;
    let mut body = None;
    while let Step::Frame(frame) = reader.next().ok()? {
        if frame.kind == FrameType::Event {
            let kept: &mut Vec<u8> = body.get_or_insert_default();
            kept.clear();
            kept.extend_from_slice(frame.body);
        }
    }
    Event::decode(&*body?).ok()
}

/// The end of the last byte from `start` on that is not zero; `start` where all are.
fn end_of_data(file: &File, start: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let (mut offset, mut end) = (start, start);
    loop {
        let read = read_at_most(file, &mut buffer, offset)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            end = offset + last as u64 + 1;
        }
        offset += read as u64;
        if read < buffer.len() {
            return Ok(end);
        }
    }
}

/// Copies a range of a segment into a file of its own, before it is zeroed.
fn keep(directory: &Path, file: &File, first_sequence: u64, range: std::ops::Range<u64>) -> io::Result<PathBuf> {
    let mut attempt = 0;
    let (path, mut kept) = loop {
        // A crash during an earlier recovery may have left a copy of the same range.
        let again = if attempt == 0 { String::new() } else { format!(".{attempt}") };
        let path = directory.join(format!("{first_sequence:020}.{}{again}.torn", range.start));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(kept) => break (path, kept),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
            Err(error) => return Err(error),
        }
    };
    let mut buffer = vec![0; (range.end - range.start).min(1 << 20) as usize];
    let mut offset = range.start;
    while offset < range.end {
        let step = (range.end - offset).min(buffer.len() as u64) as usize;
        let read = read_at_most(file, &mut buffer[..step], offset)?;
        if read == 0 {
            break;
        }
        kept.write_all(&buffer[..read])?;
        offset += read as u64;
    }
    kept.sync_all()?;
    Ok(path)
}

/// Removes files that were allocated ahead and never used. Their names are the log's own.
pub(crate) fn remove_prepared(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("prepared-") && name.ends_with(".tmp")) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
