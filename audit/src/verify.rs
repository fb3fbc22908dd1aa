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
use crate::note::{Checkpoint, Note, NoteError, VerifierKey};
use crate::tree::{CompactRange, Hash};

mod segment;
use segment::{Checked, check};

/// What to verify with.
#[derive(Debug, Default)]
pub struct Options {
    /// The keys that are trusted, the newest last: a later key is never followed by an earlier one.
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
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each shard.
    pub shards: Vec<ShardReport>,
    /// What contradicts, by shard and place. Empty: nothing does.
    pub findings: Vec<Finding>,
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
    let mut wanted = external(options)?;
    let mut tasks = Vec::new();
    let mut reports = Vec::new();
    for (index, (shard, directory)) in found.iter().enumerate() {
        // Before the segments are looked at: a live gateway only goes on from there.
        let mut sizes = wanted.remove(shard).unwrap_or_default();
        beside(*shard, directory, &options.keys, &mut sizes, &mut findings).map_err(io(directory))?;
        sizes.sort_by_key(|wanted| wanted.size);
        let firsts = segments(directory).map_err(io(directory))?;
        let mut report = ShardReport { shard: *shard, segments: firsts.len(), ..ShardReport::default() };
        if firsts.is_empty()
            && let Some(last) = sizes.last()
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
        if let Some(last) = wanted.last() {
            let detail =
                format!("{} is signed over {} entries of this shard, which is not here", last.source, last.size);
            findings.push(place(Kind::Missing, shard, root, 0, 0, detail));
        }
    }
    let checked = check_all(&tasks, &reports, options, progress);
    for (index, report) in reports.iter_mut().enumerate() {
        let of_shard = tasks.iter().zip(&checked).filter(|(task, _)| task.shard == index);
        join(report, of_shard, &mut findings);
    }
    findings.sort_by(|a, b| (a.shard, &a.path, a.offset, a.kind).cmp(&(b.shard, &b.path, b.offset, b.kind)));
    Ok(Report { shards: reports, findings })
}

/// Checks all segments, each by itself, on all cores.
fn check_all(tasks: &[Task], reports: &[ShardReport], options: &Options, progress: &Progress) -> Vec<Checked> {
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
                    let checked = check(task, shard, &options.keys, &progress.done);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(index, checked);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Joins a shard's segments: each must go on where the one before it ends.
fn join<'a>(
    report: &mut ShardReport,
    segments: impl Iterator<Item = (&'a Task, &'a Checked)>,
    findings: &mut Vec<Finding>,
) {
    let mut before: Option<&Checked> = None;
    let (mut number, mut key) = (0, 0);
    for (task, checked) in segments {
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
        let mut found = |kind, entry, detail: String| {
            findings.push(place(kind, report.shard, &task.path, 0, entry, detail));
        };
        if let Some(header) = &checked.header {
            match before {
                None if header.number != 0 || header.first_sequence != 0 => {
                    found(Kind::Missing, 0, format!("the entries before {} are not here", header.first_sequence));
                }
                None => {}
                Some(before) => follow(before, header, number, &mut found),
            }
            number = header.number + 1;
        }
        before = Some(checked);
    }
}

fn follow(before: &Checked, header: &crate::format::Header, number: u64, found: &mut dyn FnMut(Kind, u64, String)) {
    let first = header.first_sequence;
    // Where the segment before is damaged, its own finding says so; its end is not known then.
    let Some(tree) = &before.tree else { return };
    if first > before.end {
        found(Kind::Missing, before.end, format!("entries {} to {} are not here", before.end, first - 1));
    } else if first < before.end || header.number != number {
        found(Kind::Order, first, "the segment does not follow the one before it".to_owned());
    } else if before.findings.is_empty() && header.tree != *tree {
        found(Kind::Changed, first, "the tree in the header is not that of the segments before".to_owned());
    }
}

/// The checkpoints that were given, by shard.
fn external(options: &Options) -> Result<BTreeMap<u32, Vec<Wanted>>, VerifyError> {
    let mut wanted: BTreeMap<u32, Vec<Wanted>> = BTreeMap::new();
    for (name, bytes) in &options.checkpoints {
        let read = || {
            let checkpoint = believe(bytes, &options.keys)?.0;
            let shard = shard_of(&checkpoint).ok_or(NoteError::Malformed("it is not of a shard's tree"))?;
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
    keys: &[VerifierKey],
    wanted: &mut Vec<Wanted>,
    findings: &mut Vec<Finding>,
) -> io::Result<()> {
    let path = directory.join(CHECKPOINT_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match believe(&bytes, keys) {
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

/// A checkpoint signed by one of the keys, and by which.
fn believe(bytes: &[u8], keys: &[VerifierKey]) -> Result<(Checkpoint, usize), NoteError> {
    let note = Note::parse(bytes)?;
    let (_, key) = note.verify(keys)?;
    Ok((note.checkpoint()?, key))
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
