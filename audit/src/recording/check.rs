//! Whether recordings are those that the evidence commits to.
//!
//! Each note of the evidence names bytes of the file by place, length and hash. What differs, is missing, stands
//! elsewhere or was added is said with its place. What the writer wrote last and no entry names yet is not covered, and
//! only counted: it may be there for a moment, or for good after a crash.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate_core::event::{RecordingAct, RecordingNote};

use super::format::Damage;
use super::ledger::{Account, Accounts, Noted};
use super::read::{ReadError, Reader};
use super::{Found, RecordingId, recording_path};
use crate::verify::{Finding, Kind};

/// What was found of recordings.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recordings {
    /// Recordings whose file is here.
    pub files: u64,
    /// Chunks that are as the evidence says.
    pub chunks: u64,
    /// Chunks at the ends that no entry covers yet.
    pub uncovered: u64,
    /// Files and chunks whose entries were removed by retention, so that nothing can be said of them.
    pub unknown: u64,
    /// Recordings that were removed when their time had come.
    pub removed: u64,
}

/// Checks the files of a shard against the evidence. `first_micros` is the time of the first entry that is still
/// there, where entries before it were removed.
#[must_use]
pub fn check(
    root: &Path,
    shard: u32,
    files: &[Found],
    accounts: &Accounts,
    first_micros: Option<i64>,
) -> (Recordings, Vec<Finding>) {
    let mut result = (Recordings::default(), Vec::new());
    for file in files {
        result.0.files += 1;
        let mut check = Check { shard, path: &file.path, findings: &mut result.1 };
        let account = file.id.as_ref().and_then(|id| accounts.get(&(shard, id.clone())));
        match account {
            Some(account) => check.file(file.id.as_ref(), account, &mut result.0),
            None => check.stranger(first_micros, &mut result.0),
        }
    }
    for ((of, id), account) in accounts.range((shard, first_id())..).take_while(|((of, _), _)| *of == shard) {
        let here = files.iter().any(|file| file.id.as_ref() == Some(id));
        let path = recording_path(root, *of, id);
        let mut check = Check { shard, path: &path, findings: &mut result.1 };
        if account.is_removed() {
            result.0.removed += 1;
        } else if !here && let Some(first) = account.notes.first() {
            check.found(Kind::Missing, 0, first.sequence, "the recording is not here".to_owned());
        }
    }
    result
}

fn first_id() -> RecordingId {
    RecordingId { session: String::new(), part: 0 }
}

struct Check<'a> {
    shard: u32,
    path: &'a Path,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    fn found(&mut self, kind: Kind, offset: u64, entry: u64, detail: String) {
        let (shard, path) = (self.shard, self.path.to_owned());
        self.findings.push(Finding { kind, shard, path, offset, entry, last_entry: None, detail });
    }

    /// A file that no entry speaks of.
    fn stranger(&mut self, first_micros: Option<i64>, result: &mut Recordings) {
        let started = Reader::open(self.path).map(|reader| reader.header().started_micros).ok();
        if first_micros.zip(started).is_some_and(|(first, started)| started < first) {
            result.unknown += 1;
            return;
        }
        if is_fresh(self.path) {
            // Its first entry is on its way: a recording that has just begun.
            result.uncovered += 1;
            return;
        }
        self.found(Kind::Extra, 0, 0, "no entry speaks of this recording".to_owned());
    }

    fn file(&mut self, id: Option<&RecordingId>, account: &Account, result: &mut Recordings) {
        let entry = account.notes.first().map_or(0, |noted| noted.sequence);
        let mut reader = match Reader::open(self.path) {
            Ok(reader) => reader,
            Err(error) => return self.found(Kind::Header, 0, entry, words(&error)),
        };
        let header = reader.header();
        let own = RecordingId { session: header.session.clone(), part: header.part };
        if id != Some(&own) || header.shard != self.shard {
            let detail = format!("this is recording {own} of shard {}", header.shard);
            return self.found(Kind::Misplaced, 0, entry, detail);
        }
        let (hash, bytes) = reader.header_hash();
        let begun = account.notes.iter().filter(|noted| noted.note.act == RecordingAct::Started as i32);
        let mut begun = begun.filter(|noted| noted.note.sha256 != hash || noted.note.bytes != bytes);
        if let Some(begun) = begun.next() {
            let detail = "the header is not the one of the evidence".to_owned();
            return self.found(Kind::Changed, 0, begun.sequence, detail);
        }
        self.frames(&mut reader, account, result);
    }

    fn frames(&mut self, reader: &mut Reader, account: &Account, result: &mut Recordings) {
        // A recording that a crash ended is noted once more when the gateway starts again: all must fit.
        let mut committed: BTreeMap<u32, Vec<&Noted>> = BTreeMap::new();
        for noted in account.notes.iter().filter(|noted| names_a_frame(&noted.note)) {
            committed.entry(noted.note.chunk).or_default().push(noted);
        }
        // The entries of a recording's beginning may have been removed before the recording itself.
        let first = committed.keys().next().copied().unwrap_or(0);
        let last_entry = account.notes.last().map_or(0, |noted| noted.sequence);
        let mut next = 0;
        loop {
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    if let Some(noted) = committed.range(next..).find_map(|(_, notes)| notes.first()) {
                        let detail = format!("frame {next} and what follows are not here");
                        self.found(Kind::Missing, noted.note.offset, noted.sequence, detail);
                    }
                    return;
                }
                Err(error) => {
                    let wanted = committed.range(next..).find_map(|(_, notes)| notes.first().copied());
                    return self.broken(&error, wanted, account);
                }
            };
            next = frame.prefix.number.saturating_add(1);
            let notes = committed.get(&frame.prefix.number).map(Vec::as_slice).unwrap_or_default();
            let fits = |note: &RecordingNote| {
                note.sha256 == frame.hash && note.bytes == frame.bytes && note.offset == frame.offset
            };
            if let Some(noted) = notes.iter().find(|noted| !fits(&noted.note)) {
                let detail = format!("frame {} is not the one of the evidence", frame.prefix.number);
                return self.found(Kind::Changed, frame.offset, noted.sequence, detail);
            }
            match notes {
                [_, ..] => result.chunks += 1,
                [] if frame.prefix.number < first => result.unknown += 1,
                [] if account.has_ended() => {
                    let detail = format!("frame {} was added after the end", frame.prefix.number);
                    return self.found(Kind::Extra, frame.offset, last_entry, detail);
                }
                [] => result.uncovered += 1,
            }
        }
    }

    /// A frame that cannot be read. A torn one that no entry speaks of is what a crash or a full disk leaves.
    fn broken(&mut self, error: &ReadError, wanted: Option<&Noted>, account: &Account) {
        let (offset, torn) = match error {
            ReadError::Damaged { offset, source, .. } => (*offset, matches!(source, Damage::Torn(_))),
            _ => (0, false),
        };
        match wanted {
            None if torn && !account.has_end_frame() => {}
            None => {
                let entry = account.notes.last().map_or(0, |noted| noted.sequence);
                self.found(Kind::Extra, offset, entry, words(error));
            }
            Some(noted) => {
                let kind = match error {
                    ReadError::Damaged { source: Damage::Number { .. } | Damage::Chain, .. } => Kind::Order,
                    ReadError::Damaged { source: Damage::Torn(_), .. } => Kind::Missing,
                    _ => Kind::Changed,
                };
                self.found(kind, offset, noted.sequence, words(error));
            }
        }
    }
}

fn names_a_frame(note: &RecordingNote) -> bool {
    let acts = [RecordingAct::Chunk, RecordingAct::Ended, RecordingAct::Cut];
    !note.sha256.is_empty() && acts.iter().any(|act| *act as i32 == note.act)
}

/// Whether the file was written to within the last seconds.
fn is_fresh(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age.as_secs() < 5))
}

/// The error without its path, which the finding names anyway.
fn words(error: &ReadError) -> String {
    match error {
        ReadError::Damaged { source, .. } => source.to_string(),
        ReadError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
