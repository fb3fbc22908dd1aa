//! Whose data was where, and who saw it: finding a subject in evidence by tags.
//!
//! Reading order: [`keys`] (the secrets), `walk` (tags of one entry), [`index`] (those of a segment), this
//! file, then [`account`] (an answer put together for people). The caller computes tags, for what the one spelling of a value is, policy knows.
//!
//! What is found is said of the entry's own bytes: an index only says where to look. What cannot be
//! searched (its key destroyed or not at hand, damage, tags that a limit left out) is part of the answer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;
use tidegate_core::event::{Event, FindingCount, ResourceUse};

use crate::directory::{FileError, segment_path, segments, shards};
use crate::format::{FRAME_BYTES_MAX, FrameType, HEADER_BYTES, Header, Parsed, parse_frame};
use crate::query::{Indexes, SearchError};
use crate::read::{ReadError, SegmentReader, Step, read_at_most};

pub mod account;
pub mod index;
pub mod keys;
#[cfg(test)]
mod tests;
mod walk;

use index::SubjectIndex;
use keys::{EpochSecret, IndexKeys};
use walk::Tags;

/// How much of a segment is read for one entry at first, in bytes.
const ENTRY_READ_BYTES: usize = 16 * 1024;
/// Entries of one answer, at most: memory is bounded, and no person reads more.
pub const HITS_MAX: usize = 1_000_000;

/// What is looked for.
pub struct Wanted<'a> {
    /// The tag of the value under a class, by the class's name, in the epoch of a secret; `None` where the
    /// value can be none of that class.
    pub tag: &'a dyn Fn(&EpochSecret, &str) -> Option<u64>,
    /// The classes to look under; those that a segment's findings name are added where `any_class` is set.
    pub classes: Vec<String>,
    /// Whether classes that are met on the way are looked under as well.
    pub any_class: bool,
    /// The earliest time, in microseconds since the Unix epoch.
    pub from_micros: Option<i64>,
    /// The time before which it was.
    pub until_micros: Option<i64>,
    /// Only this shard.
    pub shard: Option<u32>,
    /// Whether indexes are used.
    pub indexes: Indexes,
}

/// An entry in which the subject was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The entry's shard.
    pub shard: u32,
    /// Its sequence number.
    pub sequence: u64,
    /// Which key made its tags.
    pub epoch: u32,
    /// The entry, without tags and without resources that have nothing to do with them.
    pub event: Event,
    /// Where in it.
    pub found: Vec<Found>,
}

/// Records of one partition in which the subject was found, under one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The class under which the value was looked for.
    pub class: String,
    /// What the entry says was done about it: class, topic, field, rule, operator.
    pub finding: FindingCount,
    /// The partition.
    pub partition: i32,
    /// The records' offsets; places in what was sent where `offsets_known` is false.
    pub offsets: Vec<i64>,
    /// Whether the upstream told the offsets.
    pub offsets_known: bool,
}

/// What could not be searched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missed {
    /// The segment.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// Why a segment, or a part of it, could not be searched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The epoch's secret is destroyed.
    Destroyed(u32),
    /// The file of secrets has none for this segment, or another gateway's.
    NoKey(u32),
    /// What stands there cannot be read.
    Damaged(String),
    /// So many tags were left out by a limit when entries were written.
    Cut(u64),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Destroyed(epoch) => write!(f, "the secret of epoch {epoch} is destroyed"),
            Self::NoKey(epoch) => write!(f, "the secret of its epoch {epoch} is not in the file of secrets"),
            Self::Damaged(what) => write!(f, "damaged: {what}"),
            Self::Cut(tags) => write!(f, "{tags} tags were left out by limits.evidence_subjects_max"),
        }
    }
}

/// What was found, and how.
#[derive(Debug, Default)]
pub struct Answer {
    /// Entries, in the order of time, shard and sequence.
    pub hits: Vec<Hit>,
    /// What could not be searched.
    pub missed: BTreeSet<Missed>,
    /// There are more than [`HITS_MAX`] entries, and the answer has only so many.
    pub too_many: bool,
    /// Segments there are.
    pub segments: usize,
    /// Segments of which only an index was read.
    pub by_index: usize,
    /// Segments that hold no tags.
    pub without_tags: usize,
    /// Bytes read.
    pub bytes_read: u64,
    /// Indexes that were not what they should be and were passed over.
    pub wrong_indexes: BTreeSet<PathBuf>,
}

/// Looks for a subject in the evidence below `root`.
///
/// # Errors
/// [`SearchError`] of the operating system. What cannot be searched is in the answer.
pub fn find(root: &Path, keys: &IndexKeys, wanted: &Wanted<'_>) -> Result<Answer, SearchError> {
    let mut answer = Answer::default();
    let mut tags = TagsByEpoch { wanted, known: BTreeMap::new() };
    for (shard, directory) in shards(root).map_err(FileError::at(root))? {
        if wanted.shard.is_some_and(|only| only != shard) {
            continue;
        }
        for first in segments(&directory).map_err(FileError::at(&directory))? {
            let path = segment_path(&directory, first);
            answer.segments += 1;
            let searched = segment(&path, shard, keys, &mut tags, &mut answer);
            match searched {
                Err(ReadError::Io { path, source }) => return Err(ReadError::Io { path, source }.into()),
                Err(error) => answer.miss(&path, Reason::Damaged(error.to_string())),
                Ok(()) => {}
            }
        }
    }
    answer.hits.sort_by_key(|hit| (hit.event.time_micros, hit.shard, hit.sequence));
    Ok(answer)
}

impl Answer {
    fn miss(&mut self, path: &Path, reason: Reason) {
        self.missed.insert(Missed { path: path.to_owned(), reason });
    }
}

/// The tags of the wanted value, by epoch.
struct TagsByEpoch<'a, 'w> {
    wanted: &'a Wanted<'w>,
    known: BTreeMap<u32, EpochTags>,
}

/// Tags with their class, and the classes that were computed.
#[derive(Default)]
struct EpochTags {
    by_tag: HashMap<u64, String>,
    classes: HashSet<String>,
}

impl TagsByEpoch<'_, '_> {
    /// The tags under one secret, those of `more` classes included.
    fn of(&mut self, secret: &EpochSecret, more: impl Iterator<Item = String>) -> &HashMap<u64, String> {
        let wanted = self.wanted;
        let tags = self.known.entry(secret.epoch).or_default();
        let given = if tags.classes.is_empty() { &wanted.classes[..] } else { &[] };
        for class in given.iter().cloned().chain(more.filter(|_| wanted.any_class)) {
            if tags.classes.contains(&class) {
                continue;
            }
            if let Some(tag) = (wanted.tag)(secret, &class) {
                tags.by_tag.entry(tag).or_insert_with(|| class.clone());
            }
            tags.classes.insert(class);
        }
        &tags.by_tag
    }
}

/// Searches one segment.
fn segment(
    path: &Path,
    shard: u32,
    keys: &IndexKeys,
    tags: &mut TagsByEpoch<'_, '_>,
    answer: &mut Answer,
) -> Result<(), ReadError> {
    let file = File::open(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let mut page = vec![0; HEADER_BYTES];
    let read = read_at_most(&file, &mut page, 0).map_err(io)?;
    answer.bytes_read += read as u64;
    let header = Header::parse(page.get(..read).unwrap_or_default())
        .map_err(|source| ReadError::Header { path: path.to_owned(), source })?;
    let Some(id) = header.index_key else {
        answer.without_tags += 1;
        return Ok(());
    };
    let secret = match keys.epochs().iter().find(|known| known.epoch == id.epoch) {
        Some(known) if known.secret.is_none() => {
            answer.miss(path, Reason::Destroyed(id.epoch));
            return Ok(());
        }
        Some(known) if known.id() == Some(id) => known,
        _ => {
            answer.miss(path, Reason::NoKey(id.epoch));
            return Ok(());
        }
    };
    let found = match by_index(path, &file, shard, secret, tags, answer) {
        Some(found) => found,
        None => scan(path, shard, secret, tags, answer)?,
    };
    let room = HITS_MAX.saturating_sub(answer.hits.len());
    answer.too_many |= found.len() > room;
    answer.hits.extend(found.into_iter().take(room));
    Ok(())
}

/// What the index leads to; `None` where there is none that can be used.
fn by_index(
    path: &Path,
    file: &File,
    shard: u32,
    secret: &EpochSecret,
    tags: &mut TagsByEpoch<'_, '_>,
    answer: &mut Answer,
) -> Option<Vec<Hit>> {
    let index = match (tags.wanted.indexes, SubjectIndex::open(path, secret)) {
        (Indexes::Ignore, _) => return None,
        (_, Ok(index)) => index,
        (indexes, Err(error)) => {
            if let index::SubjectIndexError::Wrong(_) = error {
                answer.wrong_indexes.insert(index::subjects_path(path));
            }
            if indexes != Indexes::Build || !SubjectIndex::build(path, secret).ok()? {
                return None;
            }
            SubjectIndex::open(path, secret).ok()?
        }
    };
    let head = index.head();
    let wanted = tags.wanted;
    let outside = wanted.from_micros.is_some_and(|from| head.last_micros < from)
        || wanted.until_micros.is_some_and(|until| head.first_micros >= until);
    let mut places = Vec::new();
    if !outside {
        for tag in tags.of(secret, head.classes.iter().cloned()).keys() {
            if let Err(error) = index.find(*tag, &mut places) {
                answer.wrong_indexes.insert(index::subjects_path(path));
                let _ = error;
                return None;
            }
        }
    }
    places.sort_unstable();
    places.dedup();
    let mut hits = Vec::new();
    for place in places {
        let bytes = frame_at(file, place).ok()?;
        answer.bytes_read += bytes.len() as u64;
        let Parsed::Frame(frame) = parse_frame(&bytes) else { return None };
        if frame.kind != FrameType::Event {
            return None;
        }
        let Ok(event) = Event::decode(frame.body) else { return None };
        let of_epoch = tags.of(secret, std::iter::empty());
        hits.extend(hit(event, shard, frame.sequence, secret.epoch, of_epoch).filter(|hit| wanted.is_in_time(hit)));
        if hits.len() > HITS_MAX {
            break;
        }
    }
    if head.cut > 0 && !outside {
        answer.miss(path, Reason::Cut(head.cut));
    }
    answer.by_index += 1;
    Some(hits)
}

/// Reads the frame that begins at `place`.
fn frame_at(file: &File, place: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; ENTRY_READ_BYTES];
    loop {
        let read = read_at_most(file, &mut bytes, place)?;
        match parse_frame(bytes.get(..read).unwrap_or_default()) {
            Parsed::Incomplete(wanted) if wanted > bytes.len() && wanted <= FRAME_BYTES_MAX => bytes.resize(wanted, 0),
            _ => {
                bytes.truncate(read);
                return Ok(bytes);
            }
        }
    }
}

/// Reads a whole segment.
fn scan(
    path: &Path,
    shard: u32,
    secret: &EpochSecret,
    tags: &mut TagsByEpoch<'_, '_>,
    answer: &mut Answer,
) -> Result<Vec<Hit>, ReadError> {
    let mut reader = SegmentReader::open(path)?;
    let (mut hits, mut cut, mut damage) = (Vec::new(), 0u64, None);
    loop {
        match reader.next()? {
            Step::Frame(frame) if frame.kind == FrameType::Event => {
                let Some(found) = Tags::read(frame.body) else {
                    damage = Some("an entry cannot be decoded".to_owned());
                    continue;
                };
                if found.is_empty() {
                    continue;
                }
                cut = cut.saturating_add(found.cut);
                let of_epoch = tags.of(secret, found.classes());
                let mut is_in = false;
                found.each(|tag| is_in |= of_epoch.contains_key(&tag));
                if let Some(Ok(event)) = is_in.then(|| Event::decode(frame.body)) {
                    let hit = hit(event, shard, frame.sequence, secret.epoch, of_epoch);
                    hits.extend(hit.filter(|hit| tags.wanted.is_in_time(hit)));
                    if hits.len() > HITS_MAX {
                        break;
                    }
                }
            }
            Step::Frame(_) => {}
            Step::Sealed(_) | Step::End => break,
            Step::Torn(torn) => {
                damage = Some(torn.to_string());
                break;
            }
        }
    }
    answer.bytes_read += reader.position();
    if let Some(damage) = damage {
        answer.miss(path, Reason::Damaged(damage));
    }
    if cut > 0 {
        answer.miss(path, Reason::Cut(cut));
    }
    Ok(hits)
}

impl Wanted<'_> {
    fn is_in_time(&self, hit: &Hit) -> bool {
        let time = hit.event.time_micros;
        self.from_micros.is_none_or(|from| time >= from) && self.until_micros.is_none_or(|until| time < until)
    }
}

/// What of an entry is about the subject; `None` where nothing is.
fn hit(mut event: Event, shard: u32, sequence: u64, epoch: u32, tags: &HashMap<u64, String>) -> Option<Hit> {
    let mut found: Vec<Found> = Vec::new();
    for group in std::mem::take(&mut event.subjects) {
        let mut offsets: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for (offset, tag) in &group {
            if let Some(class) = tags.get(&tag) {
                offsets.entry(class).or_default().push(offset);
            }
        }
        let finding = usize::try_from(group.finding).ok().and_then(|at| event.findings.get(at));
        found.extend(offsets.into_iter().map(|(class, offsets)| Found {
            class: class.to_owned(),
            finding: finding.cloned().unwrap_or_default(),
            partition: group.partition,
            offsets,
            offsets_known: group.base_offset.is_some(),
        }));
    }
    if found.is_empty() {
        return None;
    }
    event.resources.retain(|resource| found.iter().any(|found| found.is_of(resource)));
    Some(Hit { shard, sequence, epoch, event, found })
}

impl Found {
    /// Whether a resource is the partition that this was found in.
    #[must_use]
    pub fn is_of(&self, resource: &ResourceUse) -> bool {
        resource.kind == "topic"
            && resource.name == self.finding.topic
            && resource.partition.is_none_or(|partition| partition == self.partition)
    }
}
