//! Verifies evidence: from the files, public keys and checkpoints kept elsewhere, and nothing else.
//!
//! Every segment's header bears the tree of what is before it, so segments are verified by themselves, on
//! all cores, and then joined: the tree at a segment's end must be the one in the next one's header.
//! Within a segment, every checkpoint's root must be that of the entries before it. What is found is
//! said with its place; the first contradiction of a segment, not all that follow from it.
//!
//! Without a checkpoint kept elsewhere nobody can see that the end was cut off together with its
//! checkpoints; that is what [`Options::checkpoints`] is for.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::directory::{segment_path, segments, shards};
use crate::log::CHECKPOINT_FILE;
use crate::note::{Checkpoint, NoteError, VerifierKey};
use crate::recording::check::{self as recordings, Recordings};
use crate::recording::ledger::{Accounts, note_down};
use crate::recording::of_shard;
use crate::retention::removed::{Edge, Removed, removed_notes};
use crate::tree::{CompactRange, Hash};

mod segment;
mod trust;
use segment::{Checked, check};
use trust::Trust;

/// What to verify with.
#[derive(Debug, Default)]
pub struct Options {
    /// The keys that are trusted, the newest last: a later key is never followed by an earlier one. Those that
    /// announcements of rotations lead to are added.
    pub keys: Vec<VerifierKey>,
    /// Checkpoints kept elsewhere: where each came from, and the note.
    pub checkpoints: Vec<(String, Vec<u8>)>,
    /// Threads; all cores where `None`.
    pub threads: Option<NonZero<usize>>,
}

/// How far a verification is, for whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes to read.
    pub bytes: AtomicU64,
    /// Bytes read.
    pub done: AtomicU64,
}

/// Why nothing was verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A directory or file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// What it was.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no shard's directory.
    #[error("{}: there is no evidence (no directory shard-NNN)", path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
    },
    /// A checkpoint that was given is none, or is signed by nobody who is trusted.
    #[error("the checkpoint {name} cannot be used: {source}")]
    Checkpoint {
        /// Where it came from.
        name: String,
        /// What is wrong with it.
        source: NoteError,
    },
}

/// What was found, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A segment's header cannot be read or contradicts itself.
    Header,
    /// Bytes that are no whole frame.
    Frame,
    /// Frames or segments that do not follow each other: dropped, doubled or put elsewhere.
    Order,
    /// Entries that were signed, or that later segments build on, are not there.
    Missing,
    /// Entries are not those that were signed.
    Changed,
    /// A checkpoint that nobody trusted has signed, or one by a key that was replaced before.
    Signature,
    /// The entries agree with their own checkpoints but not with one kept elsewhere: another history.
    Fork,
    /// A segment or checkpoint of another shard or gateway.
    Misplaced,
    /// A seal that does not say what is there.
    Seal,
    /// Bytes where nothing is written.
    Extra,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Frame => "frame",
            Self::Order => "order",
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Signature => "signature",
            Self::Fork => "fork",
            Self::Misplaced => "misplaced",
            Self::Seal => "seal",
            Self::Extra => "extra",
        }
    }
}

/// One contradiction and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// The shard.
    pub shard: u32,
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes from its beginning.
    pub offset: u64,
    /// The first entry that cannot be relied on.
    pub entry: u64,
    /// The last such entry, where it is known.
    pub last_entry: Option<u64>,
    /// A sentence.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, shard, path, offset, entry, last_entry, detail } = self;
        write!(f, "{}: shard {shard}, ", kind.name())?;
        match last_entry {
            Some(last) if last > entry => write!(f, "entries {entry} to {last}")?,
            _ => write!(f, "entry {entry}")?,
        }
        write!(f, ", {} at byte {offset}: {detail}", path.display())
    }
}

/// What is there of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ShardReport {
    /// The shard.
    pub shard: u32,
    /// Segments.
    pub segments: usize,
    /// Entries.
    pub entries: u64,
    /// Entries covered by a checkpoint that fits and that a trusted key signed.
    pub signed: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Bytes at the end that are no whole frame: what a crash leaves.
    pub torn_bytes: u64,
    /// Segments that retention removed, as signed notes in their place say.
    pub removed_segments: u64,
    /// Entries that were in them.
    pub removed_entries: u64,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each shard.
    pub shards: Vec<ShardReport>,
    /// What contradicts, by shard and place. Empty: nothing does.
    pub findings: Vec<Finding>,
    /// How many rotations of keys were followed.
    pub rotations: usize,
    /// Recordings of sessions, held against what the entries say of them.
    pub recordings: Recordings,
}

/// The result in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is as it was signed.
    Intact,
    /// So is everything signed; this many entries at the shards' ends are not signed yet.
    UnsealedTail(u64),
    /// Something contradicts.
    Tampered,
}

impl Report {
    /// The result in a word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let tail = self.shards.iter().map(|shard| shard.entries.saturating_sub(shard.signed)).sum();
        match (self.findings.is_empty(), tail) {
            (false, _) => Verdict::Tampered,
            (true, 0) => Verdict::Intact,
            (true, tail) => Verdict::UnsealedTail(tail),
        }
    }
}

/// A root that a tree must have at a size.
#[derive(Debug, Clone)]
struct Wanted {
    size: u64,
    root: Hash,
    /// Where that is said.
    source: String,
    /// Whether it was kept elsewhere.
    external: bool,
}

/// One segment to be checked.
struct Task {
    shard: usize,
    path: PathBuf,
    first_sequence: u64,
    last: bool,
    wanted: Vec<Wanted>,
}

/// The keys that `given` ones lead to by the rotations announced below `root`, the newest last.
///
/// # Errors
/// What the operating system says.
pub fn trusted(root: &Path, given: &[VerifierKey]) -> io::Result<Vec<VerifierKey>> {
    Ok(Trust::new(root, given, &mut Vec::new())?.keys)
}

/// Verifies the evidence below `root`.
///
/// # Errors
/// [`VerifyError`]: nothing could be verified. What is wrong with the evidence is in the report.
pub fn verify(root: &Path, options: &Options, progress: &Progress) -> Result<Report, VerifyError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| VerifyError::Io { path, source }
    };
    let found = shards(root).map_err(io(root))?;
    if found.is_empty() {
        return Err(VerifyError::Nothing { path: root.to_owned() });
    }
    let mut findings = Vec::new();
    let trust = Trust::new(root, &options.keys, &mut findings).map_err(io(root))?;
    let mut wanted = external(options, &trust)?;
    for (shard, end) in trust.wanted() {
        wanted.entry(shard).or_default().push(end);
    }
    let mut gaps = Vec::new();
    let mut tasks = Vec::new();
    let mut reports = Vec::new();
    for (index, (shard, directory)) in found.iter().enumerate() {
        // Before the segments are looked at: a live gateway only goes on from there.
        let mut sizes = wanted.remove(shard).unwrap_or_default();
        beside(*shard, directory, &trust, &mut sizes, &mut findings).map_err(io(directory))?;
        sizes.sort_by_key(|wanted| wanted.size);
        let mut firsts = segments(directory).map_err(io(directory))?;
        let removed = removed(*shard, directory, &trust, &mut findings).map_err(io(directory))?;
        // Files that a note already speaks of as removed were about to be.
        firsts.retain(|first| !removed.iter().any(|(_, gap)| gap.covers(*first, first.saturating_add(1))));
        gaps.push(removed);
        let mut report = ShardReport { shard: *shard, segments: firsts.len(), ..ShardReport::default() };
        if firsts.is_empty()
            && let Some(last) = sizes.last().filter(|last| last.size > 0)
        {
            let detail = format!("{} is signed over {} entries, but there is no segment", last.source, last.size);
            findings.push(place(Kind::Missing, *shard, directory, 0, 0, detail));
        }
        for (number, first) in firsts.iter().enumerate() {
            let next = firsts.get(number + 1).copied();
            let here = |size: u64| (size > *first || number == 0) && next.is_none_or(|next| size <= next);
            let path = segment_path(directory, *first);
            report.bytes += fs::metadata(&path).map_err(io(&path))?.len();
            tasks.push(Task {
                shard: index,
                path,
                first_sequence: *first,
                last: next.is_none(),
                wanted: sizes.iter().filter(|wanted| here(wanted.size)).cloned().collect(),
            });
        }
        progress.bytes.fetch_add(report.bytes, Ordering::Relaxed);
        reports.push(report);
    }
    for (shard, wanted) in wanted {
        if let Some(last) = wanted.last().filter(|last| last.size > 0) {
            let detail =
                format!("{} is signed over {} entries of this shard, which is not here", last.source, last.size);
            findings.push(place(Kind::Missing, shard, root, 0, 0, detail));
        }
    }
    let mut checked = check_all(&tasks, &reports, options, &trust, progress);
    let recordings = check_recordings(root, &tasks, &mut checked, &reports, &mut findings).map_err(io(root))?;
    for (index, (report, gaps)) in reports.iter_mut().zip(&gaps).enumerate() {
        let of_shard = tasks.iter().zip(&checked).filter(|(task, _)| task.shard == index);
        join(report, of_shard, gaps, &mut findings);
    }
    findings.sort_by(|a, b| (a.shard, &a.path, a.offset, a.kind).cmp(&(b.shard, &b.path, b.offset, b.kind)));
    Ok(Report { shards: reports, findings, rotations: trust.rotations(), recordings })
}

/// Holds recordings against the notes that were found in the segments.
fn check_recordings(
    root: &Path,
    tasks: &[Task],
    checked: &mut [Checked],
    reports: &[ShardReport],
    findings: &mut Vec<Finding>,
) -> io::Result<Recordings> {
    let mut total = Recordings::default();
    for (index, report) in reports.iter().enumerate() {
        let mut accounts = Accounts::new();
        let first = tasks.iter().zip(&*checked).find(|(task, _)| task.shard == index);
        // Where entries were removed, those of older recordings may be among them.
        let first_micros = first
            .filter(|(task, _)| task.first_sequence > 0)
            .and_then(|(_, checked)| Some(checked.header.as_ref()?.created_micros));
        for (_, checked) in tasks.iter().zip(checked.iter_mut()).filter(|(task, _)| task.shard == index) {
            for (sequence, event) in std::mem::take(&mut checked.recordings) {
                note_down(&mut accounts, report.shard, sequence, event);
            }
        }
        let files = of_shard(root, report.shard)?;
        let (found, wrong) = recordings::check(root, report.shard, &files, &accounts, first_micros);
        findings.extend(wrong);
        total.files += found.files;
        total.chunks += found.chunks;
        total.uncovered += found.uncovered;
        total.unknown += found.unknown;
        total.removed += found.removed;
    }
    Ok(total)
}

/// Checks all segments, each by itself, on all cores.
fn check_all(
    tasks: &[Task],
    reports: &[ShardReport],
    options: &Options,
    trust: &Trust,
    progress: &Progress,
) -> Vec<Checked> {
    let cores = || std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let threads = options.threads.unwrap_or_else(cores).get().min(tasks.len()).max(1);
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, Checked>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(index) else { break };
                    let shard = reports.get(task.shard).map_or(0, |report| report.shard);
                    let checked = check(task, shard, trust, &progress.done);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(index, checked);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Where a shard's next segment must go on.
struct Before {
    edge: Edge,
    /// Whether the segment before can be relied on, so that its end is known.
    known: bool,
    clean: bool,
}

/// Joins a shard's segments and gaps: each must go on where the one before it ends.
fn join<'a>(
    report: &mut ShardReport,
    segments: impl Iterator<Item = (&'a Task, &'a Checked)>,
    gaps: &[(PathBuf, Removed)],
    findings: &mut Vec<Finding>,
) {
    let start = Edge { number: 0, sequence: 0, root: CompactRange::default().root() };
    let mut before = Before { edge: start, known: true, clean: true };
    let mut gaps = gaps.iter().peekable();
    let mut key = 0;
    for (task, checked) in segments {
        while let Some((path, gap)) = gaps.next_if(|(_, gap)| gap.start.sequence < task.first_sequence) {
            follow(&before, &gap.start, &mut |kind, entry, detail| {
                findings.push(place(kind, report.shard, path, 0, entry, detail));
            });
            report.removed_segments += gap.segments();
            report.removed_entries += gap.end.sequence - gap.start.sequence;
            before = Before { edge: gap.end, known: true, clean: true };
        }
        findings.extend(checked.findings.iter().cloned());
        report.signed = report.signed.max(checked.signed);
        report.torn_bytes += checked.torn_bytes;
        report.entries = report.entries.max(checked.end);
        for (offset, index) in &checked.keys {
            if *index < key {
                let detail = "a checkpoint is signed with a key that was replaced before".to_owned();
                findings.push(place(Kind::Signature, report.shard, &task.path, *offset, task.first_sequence, detail));
                break;
            }
            key = *index;
        }
        if let Some(header) = &checked.header {
            let edge = Edge { number: header.number, sequence: header.first_sequence, root: header.tree.root() };
            follow(&before, &edge, &mut |kind, entry, detail| {
                findings.push(place(kind, report.shard, &task.path, 0, entry, detail));
            });
            before.edge.number = header.number + 1;
        }
        before.edge.sequence = checked.end;
        before.edge.root = checked.tree.as_ref().map(CompactRange::root).unwrap_or_default();
        before.known = checked.tree.is_some();
        before.clean = checked.findings.is_empty();
    }
    for (path, gap) in gaps {
        let detail = format!("nothing follows the removed entries {} to {}", gap.start.sequence, gap.end.sequence - 1);
        findings.push(place(Kind::Missing, report.shard, path, 0, gap.end.sequence, detail));
    }
}

fn follow(before: &Before, edge: &Edge, found: &mut dyn FnMut(Kind, u64, String)) {
    // Where the segment before is damaged, its own finding says so; its end is not known then.
    if !before.known {
        return;
    }
    let (first, end) = (edge.sequence, before.edge.sequence);
    if first > end {
        found(Kind::Missing, end, format!("entries {end} to {} are not here", first - 1));
    } else if first < end || edge.number != before.edge.number {
        found(Kind::Order, first, "the segment does not follow the one before it".to_owned());
    } else if before.clean && edge.root != before.edge.root {
        found(Kind::Changed, first, "the tree in the header is not that of the segments before".to_owned());
    }
}

/// The notes of a shard's removed segments, those that lie within others left out.
fn removed(
    shard: u32,
    directory: &Path,
    trust: &Trust,
    findings: &mut Vec<Finding>,
) -> io::Result<Vec<(PathBuf, Removed)>> {
    let keys = trust.current_keys();
    let mut gaps: Vec<(PathBuf, Removed)> = Vec::new();
    for (path, note) in removed_notes(directory)? {
        match Removed::parse(&note, &keys) {
            Ok((gap, _)) if gap.tree.rsplit_once("/shard-").and_then(|(_, n)| n.parse().ok()) != Some(shard) => {
                findings.push(place(Kind::Misplaced, shard, &path, 0, 0, format!("this note is of {}", gap.tree)));
            }
            Ok((gap, _)) => gaps.push((path, gap)),
            Err(error) => findings.push(place(Kind::Signature, shard, &path, 0, 0, error.to_string())),
        }
    }
    gaps.sort_by_key(|(_, gap)| (gap.start.sequence, u64::MAX - gap.end.sequence));
    let mut end = 0;
    gaps.retain(|(_, gap)| {
        let new = gap.end.sequence > end;
        end = end.max(gap.end.sequence);
        new
    });
    Ok(gaps)
}

/// The checkpoints that were given, by shard.
fn external(options: &Options, trust: &Trust) -> Result<BTreeMap<u32, Vec<Wanted>>, VerifyError> {
    let mut wanted: BTreeMap<u32, Vec<Wanted>> = BTreeMap::new();
    for (name, bytes) in &options.checkpoints {
        let read = || {
            let (checkpoint, key) = trust.believe(bytes)?;
            let shard = shard_of(&checkpoint).ok_or(NoteError::Malformed("it is not of a shard's tree"))?;
            if trust.end_of(key, shard).is_some_and(|end| checkpoint.size > end) {
                return Err(NoteError::Malformed("it is signed with a key whose use had ended before"));
            }
            Ok((shard, checkpoint))
        };
        let (shard, checkpoint) = read().map_err(|source| VerifyError::Checkpoint { name: name.clone(), source })?;
        let Checkpoint { size, root, .. } = checkpoint;
        wanted.entry(shard).or_default().push(Wanted { size, root, source: name.clone(), external: true });
    }
    Ok(wanted)
}

/// The checkpoint beside a shard's segments.
fn beside(
    shard: u32,
    directory: &Path,
    trust: &Trust,
    wanted: &mut Vec<Wanted>,
    findings: &mut Vec<Finding>,
) -> io::Result<()> {
    let path = directory.join(CHECKPOINT_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match trust.believe(&bytes) {
        Ok((checkpoint, key)) if trust.end_of(key, shard).is_some_and(|end| checkpoint.size > end) => {
            let detail = "this checkpoint is signed with a key whose use had ended before".to_owned();
            findings.push(place(Kind::Signature, shard, &path, 0, 0, detail));
        }
        Ok((checkpoint, _)) if shard_of(&checkpoint) != Some(shard) => {
            let detail = format!("this checkpoint is of {}", checkpoint.origin);
            findings.push(place(Kind::Misplaced, shard, &path, 0, 0, detail));
        }
        Ok((Checkpoint { size, root, .. }, _)) => {
            wanted.push(Wanted { size, root, source: path.display().to_string(), external: false });
        }
        Err(error) => findings.push(place(Kind::Signature, shard, &path, 0, 0, error.to_string())),
    }
    Ok(())
}

/// The shard that a checkpoint's origin names at its end.
fn shard_of(checkpoint: &Checkpoint) -> Option<u32> {
    checkpoint.origin.rsplit_once("/shard-")?.1.parse().ok()
}

fn place(kind: Kind, shard: u32, path: &Path, offset: u64, entry: u64, detail: String) -> Finding {
    Finding { kind, shard, path: path.to_owned(), offset, entry, last_entry: None, detail }
}

/// Whether two trees of the same size agree, in words.
fn root_of(tree: Option<&CompactRange>, root: &Hash) -> bool {
    tree.is_some_and(|tree| tree.root() == *root)
}
