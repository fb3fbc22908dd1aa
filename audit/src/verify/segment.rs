//! One segment by itself: every byte of it is looked at, and every root that is said of it.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message as _;
use tidegate_core::event::{Event, Kind as EventKind, peek_kind};

use super::trust::Trust;
use super::{Finding, Kind, Task, Wanted, place, root_of};
use crate::format::{Damage, FrameType, Header, Seal};
use crate::note::tree_name;
use crate::read::{ReadError, SegmentReader, Step};
use crate::recover::{checkpoints_after, end_of_data};
use crate::tree::{CompactRange, LaggingTree, leaf_hash};

/// Bytes read between two signs of progress.
const PROGRESS_BYTES: u64 = 1 << 20;

/// What is known of a segment that was checked.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// `None` where it cannot be read.
    pub(super) header: Option<Header>,
    /// The tree at its end; `None` where that cannot be told.
    pub(super) tree: Option<CompactRange>,
    /// The sequence number after its last entry that can be read.
    pub(super) end: u64,
    /// The largest size that a good checkpoint covers.
    pub(super) signed: u64,
    /// Which keys signed, by index, with the place of each change.
    pub(super) keys: Vec<(u64, usize)>,
    pub(super) torn_bytes: u64,
    pub(super) findings: Vec<Finding>,
    /// Its entries about recordings.
    pub(super) recordings: Vec<(u64, Event)>,
}

/// A check under way.
struct Check<'a> {
    task: &'a Task,
    shard: u32,
    trust: &'a Trust,
    header: Header,
    tree: LaggingTree,
    /// Where each entry after the last root that fitted begins.
    offsets: VecDeque<u64>,
    /// Roots to be compared, the smallest size last.
    wanted: Vec<Wanted>,
    /// Some root did not fit: those after it cannot either, and say nothing new.
    changed: bool,
    checked: Checked,
    last_checkpoint: u64,
}

/// Checks the segment of a task.
pub(super) fn check(task: &Task, shard: u32, trust: &Trust, done: &AtomicU64) -> Checked {
    let unreadable = |kind, detail: String| Checked {
        findings: vec![place(kind, shard, &task.path, 0, task.first_sequence, detail)],
        end: task.first_sequence,
        ..Checked::default()
    };
    let mut reader = match SegmentReader::open(&task.path) {
        Ok(reader) => reader,
        Err(ReadError::Header { source, .. }) => return unreadable(Kind::Header, source.to_string()),
        Err(ReadError::Misnamed { first_sequence, .. }) => {
            let detail = format!("the header says that the first entry is {first_sequence}, the name says otherwise");
            return unreadable(Kind::Order, detail);
        }
        Err(error @ ReadError::Io { .. }) => return unreadable(Kind::Frame, error.to_string()),
    };
    let header = reader.header().clone();
    let mut wanted = task.wanted.clone();
    wanted.reverse();
    let mut check = Check {
        task,
        shard,
        trust,
        tree: LaggingTree::new(header.tree.clone()),
        offsets: VecDeque::new(),
        wanted,
        changed: false,
        checked: Checked { end: header.first_sequence, ..Checked::default() },
        last_checkpoint: 0,
        header,
    };
    check.header();
    let mut told = 0;
    loop {
        let start = reader.position();
        if start - told > PROGRESS_BYTES {
            done.fetch_add(start - told, Ordering::Relaxed);
            told = start;
        }
        let step = match reader.next() {
            Ok(step) => step,
            Err(error) => {
                check.found(Kind::Frame, start, error.to_string());
                break;
            }
        };
        match step {
            Step::Frame(frame) if frame.kind == FrameType::Event => {
                let next = frame.next_sequence();
                if peek_kind(frame.body) == Some(EventKind::Recording as i32)
                    && let Ok(event) = Event::decode(frame.body)
                {
                    check.checked.recordings.push((frame.sequence, event));
                }
                check.offsets.push_back(start);
                check.tree.push(leaf_hash(reader.raw()));
                check.checked.end = next;
            }
            Step::Frame(frame) if frame.kind == FrameType::Checkpoint => check.checkpoint(start, frame.body),
            Step::Frame(frame) => {
                let detail =
                    format!("a frame of type {}, which this version of the format does not have", frame.kind.byte());
                check.found(Kind::Extra, start, detail);
            }
            Step::Sealed(seal) => {
                check.seal(start, &seal, reader.position());
                break;
            }
            Step::End => {
                check.end(start, None);
                break;
            }
            Step::Torn(damage) => {
                check.end(start, Some(damage));
                break;
            }
        }
    }
    // What is left of the file's allocated size counts as read.
    let bytes = std::fs::metadata(&task.path).map_or(told, |metadata| metadata.len());
    done.fetch_add(bytes.saturating_sub(told), Ordering::Relaxed);
    check.finish(reader.position())
}

impl Check<'_> {
    fn found(&mut self, kind: Kind, offset: u64, detail: String) {
        let entry = self.checked.end;
        self.checked.findings.push(place(kind, self.shard, &self.task.path, offset, entry, detail));
    }

    /// A checkpoint that does not count: the entries since the last good one are not covered by it.
    fn uncovered(&mut self, kind: Kind, offset: u64, detail: String) {
        let entry = self.tree.behind();
        let last_entry = self.checked.end.checked_sub(1).filter(|last| *last >= entry);
        let finding = Finding { last_entry, ..place(kind, self.shard, &self.task.path, offset, entry, detail) };
        self.checked.findings.push(finding);
    }

    fn header(&mut self) {
        let Header { shard, first_sequence, tree, signer, .. } = self.header.clone();
        if shard != self.shard {
            self.found(Kind::Misplaced, 0, format!("the segment belongs to shard {shard}"));
        }
        if tree.size() != first_sequence {
            let detail = format!("the header's tree has {} entries, not {first_sequence}", tree.size());
            self.found(Kind::Header, 0, detail);
        }
        let Some(signer) = signer else { return };
        if !self.trust.keys.contains(&signer) {
            let detail = format!("the header names a key that is not trusted here: {signer}");
            self.found(Kind::Signature, 0, detail);
        } else if let Some(end) = self.trust.end_of_signer(&signer, self.shard)
            && first_sequence > end
        {
            let detail = format!("the header names a key whose use ended with entry {end}: {signer}");
            self.found(Kind::Signature, 0, detail);
        }
    }

    fn checkpoint(&mut self, offset: u64, note: &[u8]) {
        self.last_checkpoint = offset;
        let (checkpoint, key) = match self.trust.believe(note) {
            Ok(believed) => believed,
            Err(error) => return self.uncovered(Kind::Signature, offset, error.to_string()),
        };
        if self.checked.keys.last().is_none_or(|(_, last)| *last != key) {
            self.checked.keys.push((offset, key));
        }
        if checkpoint.origin != tree_name(&self.header.origin, self.shard) {
            return self.uncovered(Kind::Misplaced, offset, format!("this checkpoint is of {}", checkpoint.origin));
        }
        let size = checkpoint.size;
        if let Some(end) = self.trust.end_of(key, self.shard).filter(|end| size > *end) {
            let detail = format!("a checkpoint over {size} entries is signed with a key whose use ended at {end}");
            return self.uncovered(Kind::Signature, offset, detail);
        }
        if size > self.tree.size() || size < self.tree.behind() {
            let detail = format!("a checkpoint over {size} entries stands after {}", self.tree.size());
            return self.found(Kind::Order, offset, detail);
        }
        self.compare_up_to(size);
        self.compare(&Wanted { size, root: checkpoint.root, source: "a checkpoint".to_owned(), external: false });
    }

    /// Compares what is wanted at sizes up to `size`.
    fn compare_up_to(&mut self, size: u64) {
        while let Some(wanted) = self.wanted.pop_if(|wanted| wanted.size <= size) {
            // What is before the first segment that is here cannot be compared.
            if wanted.size >= self.tree.behind() {
                self.compare(&wanted);
            }
        }
    }

    fn compare(&mut self, wanted: &Wanted) {
        let before = self.tree.behind();
        if root_of(self.tree.advance(wanted.size), &wanted.root) {
            if !self.changed {
                self.checked.signed = self.checked.signed.max(wanted.size);
            }
            let passed = wanted.size.saturating_sub(before) as usize;
            self.offsets.drain(..passed.min(self.offsets.len()));
            return;
        }
        if self.changed {
            return;
        }
        self.changed = !wanted.external;
        let offset = self.offsets.front().copied().unwrap_or_default();
        // From here on the tree is ahead of the offsets, but nothing asks for them any more.
        let detail = format!("{} over {} entries was signed for other entries than these", wanted.source, wanted.size);
        let kind = if wanted.external { Kind::Fork } else { Kind::Changed };
        self.checked.findings.push(Finding {
            last_entry: wanted.size.checked_sub(1),
            ..place(kind, self.shard, &self.task.path, offset, before, detail)
        });
    }

    fn seal(&mut self, offset: u64, seal: &Seal, end: u64) {
        self.compare_up_to(self.tree.size());
        let size = self.tree.size();
        let expected = Seal {
            first_sequence: self.header.first_sequence,
            entries: size - self.header.first_sequence.min(size),
            offset,
            root: self.tree.advance(size).map(CompactRange::root).unwrap_or_default(),
            checkpoint: self.last_checkpoint,
        };
        if *seal != expected && !(self.changed && Seal { root: seal.root, ..expected } == *seal) {
            self.found(Kind::Seal, offset, "the seal does not say what is in the segment".to_owned());
        }
        let length = std::fs::metadata(&self.task.path).map_or(end, |metadata| metadata.len());
        if length != end {
            self.found(Kind::Extra, end, format!("{} bytes after the seal", length.saturating_sub(end)));
        }
    }

    /// The segment ends without a seal.
    fn end(&mut self, offset: u64, damage: Option<Damage>) {
        if !self.task.last {
            // A seal alone that is torn is as good as none.
            let damage = damage.unwrap_or(Damage::Unsealed);
            let kind = match damage {
                Damage::Sequence { .. } => Kind::Order,
                Damage::Unsealed => Kind::Missing,
                _ => Kind::Frame,
            };
            self.changed = true;
            return self.found(kind, offset, damage.to_string());
        }
        let rest = File::open(&self.task.path).and_then(|file| {
            let end = end_of_data(&file, offset)?;
            Ok((end, checkpoints_after(&file, offset, end)?))
        });
        let (end, lost) = match rest {
            Ok(rest) => rest,
            Err(error) => return self.found(Kind::Frame, offset, error.to_string()),
        };
        self.compare_up_to(self.tree.size());
        let size = self.tree.size();
        let signed = lost.iter().map(|checkpoint| checkpoint.size).chain(self.wanted.iter().map(|wanted| wanted.size));
        let signed = signed.max().unwrap_or_default();
        let sequence = matches!(damage, Some(Damage::Sequence { .. }));
        if signed > size || sequence {
            let kind = match damage {
                Some(Damage::Sequence { .. }) => Kind::Order,
                Some(_) => Kind::Frame,
                None => Kind::Missing,
            };
            let source = self.wanted.first().map_or("a checkpoint behind it", |wanted| &wanted.source);
            let why = damage.map_or_else(|| "the entries end here".to_owned(), |damage| damage.to_string());
            let detail = if signed > size { format!("{why}, but {source} covers {signed} entries") } else { why };
            self.wanted.clear();
            self.found(kind, offset, detail);
        } else {
            self.checked.torn_bytes = end.saturating_sub(offset);
        }
    }

    fn finish(mut self, position: u64) -> Checked {
        if let Some(wanted) = self.wanted.first()
            && self.task.last
            && wanted.size > self.tree.size()
        {
            let detail =
                format!("{} covers {} entries, but only {} are here", wanted.source, wanted.size, self.tree.size());
            self.found(Kind::Missing, position, detail);
        }
        let Self { mut checked, tree, header, .. } = self;
        // Where the segment contradicts its own checkpoints, it is no other history but a changed one.
        if checked.findings.iter().any(|finding| finding.kind == Kind::Changed) {
            checked.findings.retain(|finding| finding.kind != Kind::Fork);
        }
        // After a frame that cannot be read, the end is not known.
        let unknown = [Kind::Frame, Kind::Order, Kind::Missing];
        let readable = !checked.findings.iter().any(|finding| unknown.contains(&finding.kind));
        checked.tree = readable.then(|| tree.finish());
        checked.header = Some(header);
        checked
    }
}
