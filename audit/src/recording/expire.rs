//! Ends of recordings that no writer sees to: those whose time has come, and those that a crash left open.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prost::Message;
use tidegate_core::event::{RecordingAct, RecordingNote};

use super::format::{End, FramePrefix, RecordedMode, encode_frame, hash};
use super::read::{ReadError, Reader};
use super::{RecordingId, of_shard, recordings_directory};
use crate::directory::{shard_directory, sync_directory};
use crate::retention::hold::Hold;

/// How long before the last entry a recording may have ended without its own entry having been written.
const LATE: Duration = Duration::from_secs(30);

/// A recording whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub id: RecordingId,
    /// Its file.
    pub path: PathBuf,
    /// Bytes of it.
    pub bytes: u64,
    /// What the evidence will say.
    pub note: RecordingNote,
}

/// The shard's recordings whose time has come, at most `max`. `open` are those that are being written; legal holds keep
/// what began within them.
///
/// # Errors
/// What the operating system says. Files that cannot be read are left alone.
pub fn due(
    root: &Path,
    shard: u32,
    now_micros: i64,
    open: &HashSet<RecordingId>,
    holds: &[Hold],
    max: usize,
) -> io::Result<Vec<Due>> {
    let mut due = Vec::new();
    for found in of_shard(root, shard)? {
        let Some(id) = found.id.filter(|id| !open.contains(id)) else { continue };
        let Ok(reader) = Reader::open(&found.path) else { continue };
        let header = reader.header();
        let (begun, until) = (header.started_micros, header.keep_until_micros);
        let metadata = fs::metadata(&found.path)?;
        let ended = metadata.modified().map_or(until, micros).max(begun);
        if until == 0 || until > now_micros || holds.iter().any(|hold| hold.overlaps(begun, ended)) {
            continue;
        }
        let note = RecordingNote {
            act: RecordingAct::Removed as i32,
            part: id.part,
            bytes: metadata.len(),
            rule: header.rule.clone(),
            mode: mode_name(header.mode),
            ..RecordingNote::default()
        };
        due.push(Due { id, path: found.path, bytes: metadata.len(), note });
        if due.len() >= max {
            break;
        }
    }
    Ok(due)
}

/// Removes their files, once the evidence says so.
///
/// # Errors
/// What the operating system says.
pub fn remove(root: &Path, shard: u32, due: &[Due]) -> io::Result<()> {
    for one in due {
        match fs::remove_file(&one.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_directory(&recordings_directory(root, shard))
}

/// Bytes of a shard's recordings.
///
/// # Errors
/// What the operating system says.
pub fn bytes(root: &Path, shard: u32) -> io::Result<u64> {
    of_shard(root, shard)?.iter().map(|found| fs::metadata(&found.path).map(|metadata| metadata.len())).sum()
}

/// Ends the recordings that a crash left open, and gives the notes of all their frames once more: which of them
/// the evidence has, it has with the same hashes, or the recording was altered meanwhile and that shows. To be
/// called before the shard records anything.
///
/// # Errors
/// What the operating system says. Files that are damaged are left as they are, for `verify` to find.
pub fn recover(root: &Path, shard: u32, now_micros: i64) -> io::Result<Vec<(RecordingId, RecordingNote)>> {
    let mut notes = Vec::new();
    let found = of_shard(root, shard)?;
    if found.is_empty() {
        return Ok(notes);
    }
    let last_entry = last_write(&shard_directory(root, shard))?;
    for found in found {
        let Some(id) = found.id else { continue };
        let late = fs::metadata(&found.path)?.modified()? + LATE > last_entry;
        match again(&found.path, now_micros, late) {
            Ok(all) => notes.extend(all.into_iter().map(|note| (id.clone(), note))),
            Err(ReadError::Io { source, .. }) => return Err(source),
            Err(_) => {}
        }
    }
    Ok(notes)
}

/// The notes of a recording's frames, where it was left open or ended `late`; its end is added where it has none.
fn again(path: &Path, now_micros: i64, late: bool) -> Result<Vec<RecordingNote>, ReadError> {
    let mut reader = Reader::open(path)?;
    let (header, mode) = (reader.header().clone(), mode_name(reader.header().mode));
    let note = |act: RecordingAct, chunk, offset, bytes, hash: &[u8]| RecordingNote {
        act: act as i32,
        part: header.part,
        chunk,
        offset,
        bytes,
        sha256: hash.to_vec(),
        exchanges: 0,
        rule: header.rule.clone(),
        mode: mode.clone(),
    };
    let (begun, mut position) = reader.header_hash();
    let mut before = *begun;
    let mut notes = vec![note(RecordingAct::Started, 0, 0, position, begun)];
    let mut next = 0;
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                let act = if frame.prefix.end { RecordingAct::Ended } else { RecordingAct::Chunk };
                notes.push(note(act, frame.prefix.number, frame.offset, frame.bytes, &frame.hash));
                if frame.prefix.end {
                    return Ok(if late { notes } else { Vec::new() });
                }
                (position, before, next) = (frame.offset + frame.bytes, frame.hash, frame.prefix.number + 1);
            }
            Ok(None) => break,
            Err(ReadError::Damaged { source: super::format::Damage::Torn(_), .. }) => break,
            Err(error) => return Err(error),
        }
    }
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let end = End { exchanges: 0, cut: true, reason: "the gateway ended".to_owned(), time_micros: now_micros };
    let payload = zstd::bulk::compress(&end.encode_to_vec(), 1).map_err(io)?;
    // The key is gone with the process: this end is not sealed, and says nothing that is anybody's.
    let prefix = FramePrefix { number: next, payload_bytes: payload.len(), sealed: false, end: true, before };
    let frame = encode_frame(&prefix, &payload);
    let mut file = OpenOptions::new().append(true).open(path).map_err(io)?;
    file.set_len(position).and_then(|()| file.write_all(&frame)).and_then(|()| file.sync_data()).map_err(io)?;
    notes.push(note(RecordingAct::Cut, next, position, frame.len() as u64, &hash(&frame)));
    Ok(notes)
}

/// When a segment of the shard was written last.
fn last_write(directory: &Path) -> io::Result<SystemTime> {
    let mut last = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == crate::directory::SEGMENT_EXTENSION) {
            last = last.max(entry.metadata()?.modified()?);
        }
    }
    Ok(last)
}

fn mode_name(mode: i32) -> String {
    RecordedMode::try_from(mode).map_or("unknown", RecordedMode::name).to_owned()
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
