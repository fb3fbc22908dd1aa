//! Asking evidence: which entries are wanted, and finding them without reading everything.
//!
//! [`Query`] says what an entry must be; `audit tail` filters with it too. [`Search`] goes through all
//! shards in the order of time and skips segments whose [`index`](crate::index) rules a match out; what it
//! yields is the same with and without the indexes, in the same order, every time.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use prost::Message as _;
use tidegate_core::event::{Event, ResourceUse};

use crate::directory::{FileError, segment_path, segments, shards};
use crate::format::{Damage, FrameType};
use crate::index::{self, Index, key};
use crate::read::{ReadError, SegmentReader, Step};
use crate::retention::removed::is_said_removed;
use crate::tail::{Damaged, Entry, Item};

/// What an entry must be. Every field that says something must be fulfilled; of a list, one of its values.
/// What is said of a resource must be fulfilled by one and the same resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Principals by name.
    pub principals: Vec<String>,
    /// Sessions by id.
    pub sessions: Vec<String>,
    /// Kinds of entries, as `Event::kind`.
    pub kinds: Vec<i32>,
    /// APIs by name.
    pub apis: Vec<String>,
    /// Outcomes, as `Event::outcome`.
    pub outcomes: Vec<i32>,
    /// Topics by name; a `*` at the end matches any rest.
    pub topics: Vec<String>,
    /// The partition.
    pub partition: Option<i32>,
    /// Offsets: the resource's range must meet it.
    pub offsets: Option<RangeInclusive<i64>>,
    /// Operations by name.
    pub operations: Vec<String>,
    /// Grants by name.
    pub grants: Vec<String>,
    /// Purposes.
    pub purposes: Vec<String>,
    /// Whether the resource was allowed.
    pub allowed: Option<bool>,
    /// Classes of data that were found.
    pub classes: Vec<String>,
    /// The earliest time, in microseconds since the Unix epoch.
    pub from_micros: Option<i64>,
    /// The time before which it was.
    pub until_micros: Option<i64>,
}

impl Query {
    /// Whether an entry is wanted.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        one_of(&self.principals, &event.principal)
            && one_of(&self.sessions, &event.session)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && one_of(&self.apis, &event.api)
            && (self.outcomes.is_empty() || self.outcomes.contains(&event.outcome))
            && self.from_micros.is_none_or(|from| event.time_micros >= from)
            && self.until_micros.is_none_or(|until| event.time_micros < until)
            && (!self.asks_resource() || event.resources.iter().any(|resource| self.matches_resource(resource)))
            && (self.classes.is_empty() || event.findings.iter().any(|finding| self.classes.contains(&finding.class)))
    }

    fn asks_resource(&self) -> bool {
        let lists = [&self.topics, &self.operations, &self.grants, &self.purposes];
        lists.iter().any(|list| !list.is_empty())
            || self.partition.is_some()
            || self.offsets.is_some()
            || self.allowed.is_some()
    }

    fn matches_resource(&self, resource: &ResourceUse) -> bool {
        let topic = || resource.kind == "topic" && self.topics.iter().any(|topic| names(topic, &resource.name));
        let offsets = |wanted: &RangeInclusive<i64>| match (resource.first_offset, resource.last_offset) {
            (Some(first), Some(last)) => first <= *wanted.end() && last >= *wanted.start(),
            _ => false,
        };
        (self.topics.is_empty() || topic())
            && self.partition.is_none_or(|partition| resource.partition == Some(partition))
            && self.offsets.as_ref().is_none_or(offsets)
            && one_of(&self.operations, &resource.operation)
            && one_of(&self.grants, &resource.rule)
            && one_of(&self.purposes, &resource.purpose)
            && self.allowed.is_none_or(|allowed| allowed == resource.allowed)
    }

    /// Whether a segment may hold a wanted entry.
    #[must_use]
    pub fn may_be_in(&self, index: &Index) -> bool {
        if self.from_micros.is_some_and(|from| index.last_micros < from)
            || self.until_micros.is_some_and(|until| index.first_micros >= until)
        {
            return false;
        }
        let any = |field: u8, values: &[String]| {
            values.is_empty() || values.iter().any(|value| index.may_have(key(field, value.as_bytes())))
        };
        let number = |field: u8, values: &[i32]| {
            values.is_empty() || values.iter().any(|value| index.may_have(key(field, &value.to_le_bytes())))
        };
        any(index::PRINCIPAL, &self.principals)
            && any(index::SESSION, &self.sessions)
            && any(index::API, &self.apis)
            && any(index::OPERATION, &self.operations)
            && any(index::GRANT, &self.grants)
            && any(index::PURPOSE, &self.purposes)
            && any(index::CLASS, &self.classes)
            && number(index::KIND, &self.kinds)
            && number(index::OUTCOME, &self.outcomes)
            && (self.topics.is_empty() || self.topics.iter().any(|topic| self.topic_may_be_in(topic, index)))
    }

    fn topic_may_be_in(&self, topic: &str, index: &Index) -> bool {
        if topic.ends_with('*') {
            return true;
        }
        let Some(partition) = self.partition else { return index.may_have(key(index::TOPIC, topic.as_bytes())) };
        let place = index::partition_key(topic, partition);
        index.may_have(place) && self.offsets.as_ref().is_none_or(|offsets| index.may_have_offsets(place, offsets))
    }
}

fn one_of(wanted: &[String], value: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == value)
}

/// Whether a topic's pattern, which may end in `*`, names it.
fn names(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// What a search has cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Segments there are.
    pub segments: usize,
    /// Segments that an index ruled out.
    pub skipped: usize,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Bytes of the segments that were read.
    pub bytes_read: u64,
}

/// Why a search ends.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// A file or directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// How a search uses indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexes {
    /// As they are, and those that are missing are built and written beside their segments where that is
    /// possible.
    Build,
    /// As they are.
    Use,
    /// Not at all: every segment is read.
    Ignore,
}

/// The entries that a query wants, of all shards, in the order of time.
pub struct Search {
    query: Query,
    indexes: Indexes,
    shards: Vec<ShardSearch>,
    damaged: Vec<Damaged>,
    cost: Cost,
}

struct ShardSearch {
    shard: u32,
    directory: PathBuf,
    /// First sequence numbers of the segments to come, the next one last.
    segments: Vec<u64>,
    reader: Option<SegmentReader>,
    head: Option<Entry>,
}

impl Search {
    /// Begins a search below `root`, in one shard or in all.
    ///
    /// # Errors
    /// [`SearchError`]: a directory cannot be listed.
    pub fn new(root: &Path, only: Option<u32>, query: Query, indexes: Indexes) -> Result<Self, SearchError> {
        let mut cost = Cost::default();
        let mut found = Vec::new();
        for (shard, directory) in shards(root).map_err(FileError::at(root))? {
            if only.is_some_and(|only| only != shard) {
                continue;
            }
            let mut segments = segments(&directory).map_err(FileError::at(&directory))?;
            cost.segments += segments.len();
            segments.reverse();
            found.push(ShardSearch { shard, directory, segments, reader: None, head: None });
        }
        Ok(Self { query, indexes, shards: found, damaged: Vec::new(), cost })
    }

    /// What the search has cost so far.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// [`SearchError`] of the operating system. Damage is an item.
    #[allow(clippy::should_implement_trait, reason = "an iterator of results would hide the end after an error")]
    pub fn next(&mut self) -> Result<Option<Item>, SearchError> {
        let Self { query, indexes, shards, damaged, cost } = self;
        for shard in shards.iter_mut() {
            shard.fill(query, *indexes, damaged, cost)?;
        }
        if !damaged.is_empty() {
            return Ok(Some(Item::Damaged(damaged.remove(0))));
        }
        let first = shards.iter_mut().filter(|shard| shard.head.is_some()).min_by_key(|shard| {
            let head = shard.head.as_ref();
            head.map(|entry| (entry.event.time_micros, entry.shard, entry.sequence))
        });
        Ok(first.and_then(|shard| shard.head.take()).map(Item::Entry))
    }
}

impl ShardSearch {
    /// Makes sure that `head` is the next wanted entry, or that there is none.
    fn fill(
        &mut self,
        query: &Query,
        indexes: Indexes,
        damaged: &mut Vec<Damaged>,
        cost: &mut Cost,
    ) -> Result<(), SearchError> {
        while self.head.is_none() {
            let Some(reader) = &mut self.reader else {
                let Some(first) = self.segments.pop() else { break };
                self.reader = self.open(first, query, indexes, damaged, cost)?;
                continue;
            };
            let (offset, expected) = (reader.position(), reader.next_sequence());
            let damage = match reader.next()? {
                Step::Frame(frame) if frame.kind == FrameType::Event => match Event::decode(frame.body) {
                    Ok(event) if query.matches(&event) => {
                        self.head = Some(Entry { shard: self.shard, sequence: frame.sequence, event });
                        continue;
                    }
                    Ok(_) => continue,
                    Err(_) => Some(Damage::Body),
                },
                Step::Frame(_) => continue,
                Step::Sealed(_) => None,
                Step::End if self.segments.is_empty() => None,
                Step::End => Some(Damage::Unsealed),
                // Behind the last whole frame of the last segment: a write under way, or torn by a crash.
                Step::Torn(damage) => Some(damage).filter(|_| !self.segments.is_empty()),
            };
            if let Some(damage) = damage {
                let path = reader.path().to_owned();
                damaged.push(Damaged {
                    shard: self.shard,
                    path,
                    offset,
                    sequence: expected,
                    reason: damage.to_string(),
                });
            }
            if damage != Some(Damage::Body) {
                self.reader = None;
            }
        }
        Ok(())
    }

    /// Opens a segment unless its index rules it out.
    fn open(
        &self,
        first: u64,
        query: &Query,
        indexes: Indexes,
        damaged: &mut Vec<Damaged>,
        cost: &mut Cost,
    ) -> Result<Option<SegmentReader>, SearchError> {
        let path = segment_path(&self.directory, first);
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        cost.bytes += bytes;
        let index = match indexes {
            Indexes::Ignore => None,
            Indexes::Use => Index::load(&path),
            Indexes::Build => Index::load(&path).or_else(|| {
                let built = Index::build(&path)?;
                cost.bytes_read += bytes;
                // A directory that cannot be written to only makes the next search slower.
                let _ = built.store(&path);
                Some(built)
            }),
        };
        if index.is_some_and(|index| !query.may_be_in(&index)) {
            cost.skipped += 1;
            return Ok(None);
        }
        cost.bytes_read += bytes;
        match SegmentReader::open(&path) {
            Ok(reader) => Ok(Some(reader)),
            // Removed by retention since it was listed.
            Err(ReadError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound
                    && is_said_removed(&self.directory, first, first.saturating_add(1)) =>
            {
                Ok(None)
            }
            Err(error @ ReadError::Io { .. }) => Err(error.into()),
            Err(error) => {
                let reason = error.to_string();
                damaged.push(Damaged { shard: self.shard, path, offset: 0, sequence: first, reason });
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
