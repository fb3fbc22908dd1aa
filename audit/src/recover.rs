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
use crate::format::{
    CHECKPOINT_FRAME_BYTES_MAX, Damage, FRAME_PREFIX_BYTES, FrameType, Header, HeaderError, Parsed, SEAL_FRAME_BYTES,
    parse_frame,
};
use crate::log::CHECKPOINT_FILE;
use crate::note::{Checkpoint, Note, NoteError, VerifierKey};
use crate::read::{ReadError, SegmentReader, Step, read_at_most};
use crate::tree::{CompactRange, LaggingTree, leaf_hash};

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
    /// The key that signed before, where it was another one: a new segment was begun.
    pub signer_before: Option<VerifierKey>,
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
    /// Where the segment's last checkpoint frame begins; 0 where there is none.
    pub checkpoint: u64,
    /// The tree of all entries.
    pub tree: CompactRange,
    /// The largest size that a checkpoint was signed for.
    pub signed: u64,
}

/// Finds and repairs the last segment of a shard's directory. `None` where there is no segment.
///
/// Before it changes anything it looks at the checkpoints: what was signed must still be there, and be
/// the same. Signatures are not checked here; a checkpoint that anybody put there only stops the opening.
pub(crate) fn recover(directory: &Path, shard: u32) -> Result<(Option<Last>, Recovery), RecoverError> {
    let io = |path: &Path, source| RecoverError::Io { path: path.to_owned(), source };
    let found = segments(directory).map_err(|source| io(directory, source))?;
    let mut recovery = Recovery {
        next_sequence: 0,
        segments: found.len(),
        last_event: None,
        torn: None,
        origin_before: None,
        signer_before: None,
    };
    let beside = checkpoint_beside(directory)?;
    let Some(last) = found.last() else {
        return match beside.filter(|checkpoint| checkpoint.size > 0) {
            None => Ok((None, recovery)),
            Some(checkpoint) => Err(RecoverError::Shorter {
                directory: directory.to_owned(),
                signed: checkpoint.size,
                entries: 0,
                why: "there is no segment".to_owned(),
            }),
        };
    };
    let path = segment_path(directory, *last);
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(|source| io(&path, source))?;
    let reading = file.try_clone().map_err(|source| io(&path, source))?;
    let mut reader = SegmentReader::from_file(reading, &path).map_err(RecoverError::Unreadable)?;
    if reader.header().shard != shard {
        return Err(RecoverError::OtherShard { path, shard: reader.header().shard, expected: shard });
    }

    if reader.header().tree.size() != reader.header().first_sequence {
        let source = HeaderError::Malformed("the tree before the segment has another size");
        return Err(RecoverError::Unreadable(ReadError::Header { path, source }));
    }
    let mut tree = LaggingTree::new(reader.header().tree.clone());
    // Within this segment every checkpoint is compared; of older ones `verify` takes care.
    let mut checkpoints: Vec<Checkpoint> = beside.into_iter().collect();
    let mut last_checkpoint = 0;
    let mut last_body = Vec::new();
    let (damage, sealed) = loop {
        match reader.next().map_err(RecoverError::Unreadable)? {
            Step::Frame(frame) if frame.kind == FrameType::Event => {
                last_body.clear();
                last_body.extend_from_slice(frame.body);
                tree.push(leaf_hash(reader.raw()));
            }
            Step::Frame(frame) if frame.kind == FrameType::Checkpoint => {
                let checkpoint = Note::parse(frame.body).and_then(|note| note.checkpoint());
                last_checkpoint = reader.position() - reader.raw().len() as u64;
                checkpoints.push(checkpoint.map_err(|source| RecoverError::Checkpoint { path: path.clone(), source })?);
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
    let lost = if sealed {
        Vec::new()
    } else {
        checkpoints_after(&file, offset, torn_end).map_err(|source| io(&path, source))?
    };
    let entries = recovery.next_sequence;
    let signed = checkpoints.iter().chain(&lost).map(|checkpoint| checkpoint.size).max().unwrap_or_default();
    if signed > entries {
        let why = if torn_end > offset {
            format!("at byte {offset} of {}: {damage}", path.display())
        } else {
            format!("{} ends there", path.display())
        };
        return Err(RecoverError::Shorter { directory: directory.to_owned(), signed, entries, why });
    }
    checkpoints.sort_by_key(|checkpoint| checkpoint.size);
    for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.size >= header.first_sequence) {
        if tree.advance(checkpoint.size).is_none_or(|tree| tree.root() != checkpoint.root) {
            return Err(RecoverError::Changed { path, signed: checkpoint.size });
        }
    }
    let tree = tree.finish();
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
    Ok((Some(Last { file, path, header, offset, sealed, checkpoint: last_checkpoint, tree, signed }), recovery))
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
    /// Entries are missing that were signed.
    #[error(
        "{}: {entries} entries are there, but a checkpoint was signed over {signed} ({why}): evidence was lost or removed after it was on the disk. Nothing was changed. Keep a copy of this directory and look at it with `tidegate audit verify`; to run on, move the directory away as it is: a new tree begins then",
        directory.display()
    )]
    Shorter {
        /// The shard's directory.
        directory: PathBuf,
        /// The largest size signed.
        signed: u64,
        /// How many there are.
        entries: u64,
        /// Where they end.
        why: String,
    },
    /// Entries are not what was signed.
    #[error(
        "{}: the entries before {signed} are not those that a checkpoint was signed over: evidence was changed. Nothing was changed now. Keep a copy of this directory and look at it with `tidegate audit verify`; to run on, move the directory away as it is: a new tree begins then",
        path.display()
    )]
    Changed {
        /// The segment.
        path: PathBuf,
        /// The checkpoint's size.
        signed: u64,
    },
    /// A checkpoint is none.
    #[error(
        "{}: a checkpoint cannot be read: {source}. Nothing was changed. Keep a copy of this directory and look at it with `tidegate audit verify`; to run on, move the directory away as it is: a new tree begins then",
        path.display()
    )]
    Checkpoint {
        /// The file it stands in.
        path: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
}

/// The checkpoint beside the segments, where there is one.
fn checkpoint_beside(directory: &Path) -> Result<Option<Checkpoint>, RecoverError> {
    let path = directory.join(CHECKPOINT_FILE);
    match fs::read(&path) {
        Ok(bytes) => Note::parse(&bytes)
            .and_then(|note| note.checkpoint())
            .map(Some)
            .map_err(|source| RecoverError::Checkpoint { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecoverError::Io { path, source }),
    }
}

/// Checkpoint frames that still stand whole behind damage.
pub(crate) fn checkpoints_after(file: &File, start: u64, end: u64) -> io::Result<Vec<Checkpoint>> {
    let mut found = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = start;
    while offset < end {
        let read = read_at_most(file, &mut buffer, offset)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        for place in 0..read {
            let rest = bytes.get(place..).unwrap_or_default();
            if rest.get(FRAME_PREFIX_BYTES) == Some(&FrameType::Checkpoint.byte())
                && rest.get(2..4) == Some(&[0, 0])
                && let Parsed::Frame(frame) = parse_frame(rest)
                && let Ok(checkpoint) = Note::parse(frame.body).and_then(|note| note.checkpoint())
            {
                found.push(checkpoint);
            }
        }
        if read < buffer.len() {
            break;
        }
        // A frame may begin at this part's end and go on in the next.
        offset += (read - CHECKPOINT_FRAME_BYTES_MAX) as u64;
    }
    Ok(found)
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
pub(crate) fn end_of_data(file: &File, start: u64) -> io::Result<u64> {
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
