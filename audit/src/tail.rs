//! [`Tail`]: the entries of all shards, merged by time, from a chosen place on and as they come.
//!
//! Reads only; needs no gateway and disturbs none. Per shard, entries come in the order of their
//! sequence numbers, each exactly once, through rotations and restarts of the gateway. Across
//! shards they come in the order of time, as far as they are on the disk when they are asked for:
//! nobody waits for a shard that has nothing to say. Damage is an item among the entries, not the end.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;
use tidegate_core::event::Event;

use crate::directory::{FileError, segment_path, segments, shard_directory, shards};
use crate::format::{Damage, FrameType};
use crate::read::{ReadError, SegmentReader, Step};
use crate::retention::removed::is_said_removed;

/// Entries after which shards that had nothing are asked again although others still have some.
const ROUND_ENTRIES: u32 = 1024;
/// Fruitless looks after which a shard's directory is listed again, in case its next segment does
/// not continue the sequence.
const LOOKS_PER_LISTING: u32 = 16;

/// Where a tail begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// With the first entry there is.
    First,
    /// With this many matching entries before the end, all shards together.
    Last(usize),
    /// With the first entry to come.
    End,
}

/// One entry of the evidence and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The shard that wrote it.
    pub shard: u32,
    /// Its sequence number within the shard.
    pub sequence: u64,
    /// What it says.
    pub event: Event,
}

/// Evidence that cannot be read, and that the tail passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The shard.
    pub shard: u32,
    /// The segment.
    pub path: PathBuf,
    /// Where in it, in bytes from its beginning.
    pub offset: u64,
    /// The sequence number that should stand there.
    pub sequence: u64,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, path, offset, sequence, reason } = self;
        write!(f, "{} at byte {offset}, shard {shard} entry {sequence}: {reason}", path.display())
    }
}

/// What a tail yields.
#[allow(clippy::large_enum_variant, reason = "nearly every item is an entry, and it is moved once")]
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// An entry.
    Entry(Entry),
    /// A place where there should be some.
    Damaged(Damaged),
}

/// Why a tail ends.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// A file or directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Decides which entries are wanted.
pub type Filter = Box<dyn Fn(&Event) -> bool + Send>;

/// Entries of all shards, merged. See the module's description.
pub struct Tail {
    root: PathBuf,
    only: Option<u32>,
    filter: Filter,
    shards: Vec<ShardTail>,
    backlog: VecDeque<Entry>,
    damaged: VecDeque<Damaged>,
    round: u32,
}

impl Tail {
    /// Opens the evidence below `root`: of one shard, or of all, also of those that come later.
    ///
    /// # Errors
    /// [`TailError`]: `root` or a shard's directory cannot be listed, a segment cannot be read.
    pub fn open(root: &Path, only: Option<u32>, start: StartAt, filter: Filter) -> Result<Self, TailError> {
        let mut tail = Self {
            root: root.to_owned(),
            only,
            filter,
            shards: Vec::new(),
            backlog: VecDeque::new(),
            damaged: VecDeque::new(),
            round: 0,
        };
        tail.find_shards()?;
        let wanted = match start {
            StartAt::First => return Ok(tail),
            StartAt::End => 0,
            StartAt::Last(wanted) => wanted,
        };
        let mut backlog = Vec::new();
        for shard in &mut tail.shards {
            backlog.extend(shard.go_to_end(wanted, &tail.filter, &mut tail.damaged)?);
        }
        backlog.sort_by_key(order);
        tail.backlog = backlog.split_off(backlog.len().saturating_sub(wanted)).into();
        Ok(tail)
    }

    /// The next item; `None` where there is nothing more at the moment. Never waits: ask again later.
    ///
    /// # Errors
    /// [`TailError`] of the operating system. Damage is an item.
    #[allow(clippy::should_implement_trait, reason = "`None` is not the end, as an `Iterator`'s would be")]
    pub fn next(&mut self) -> Result<Option<Item>, TailError> {
        if let Some(entry) = self.backlog.pop_front() {
            return Ok(Some(Item::Entry(entry)));
        }
        if self.round == 0 {
            self.round = ROUND_ENTRIES;
            self.shards.iter_mut().for_each(|shard| shard.idle = false);
        }
        for shard in &mut self.shards {
            shard.fill(&self.filter, &mut self.damaged)?;
        }
        if let Some(damaged) = self.damaged.pop_front() {
            return Ok(Some(Item::Damaged(damaged)));
        }
        let first = self.shards.iter_mut().filter(|shard| shard.head.is_some()).min_by_key(|shard| {
            // The filter above leaves only shards with a head.
            shard.head.as_ref().map(order)
        });
        match first.and_then(|shard| shard.head.take()) {
            Some(entry) => {
                self.round -= 1;
                Ok(Some(Item::Entry(entry)))
            }
            None => {
                self.round = 0;
                self.find_shards()?;
                Ok(None)
            }
        }
    }

    /// The shards found so far.
    pub fn shards(&self) -> impl Iterator<Item = u32> {
        self.shards.iter().map(|shard| shard.shard)
    }

    /// Where the evidence ends in something that is no whole entry: a write under way, if it is gone
    /// on the next look, else what a crash left and the gateway's next start will take off.
    #[must_use]
    pub fn torn_ends(&self) -> Vec<Damaged> {
        self.shards.iter().filter_map(|shard| shard.torn.clone()).collect()
    }

    /// Adds shards that have appeared. All they hold is new.
    fn find_shards(&mut self) -> Result<(), TailError> {
        let found = match self.only {
            Some(shard) => Some((shard, shard_directory(&self.root, shard)))
                .filter(|(_, path)| path.is_dir())
                .into_iter()
                .collect(),
            None => shards(&self.root).map_err(FileError::at(&self.root))?,
        };
        for (shard, directory) in found {
            if !self.shards.iter().any(|known| known.shard == shard) {
                self.shards.push(ShardTail::new(shard, directory));
            }
        }
        Ok(())
    }
}

fn order(entry: &Entry) -> (i64, u32, u64) {
    (entry.event.time_micros, entry.shard, entry.sequence)
}

/// One shard's place.
struct ShardTail {
    shard: u32,
    directory: PathBuf,
    /// The segment being read.
    reader: Option<SegmentReader>,
    /// The first sequence number of the last segment opened.
    segment: Option<u64>,
    /// The sequence number to come, where it is known.
    next_sequence: Option<u64>,
    /// Read, but not yet the earliest of all.
    head: Option<Entry>,
    /// It had nothing more this round.
    idle: bool,
    /// Looks without a frame since the last one.
    fruitless: u32,
    torn: Option<Damaged>,
}

/// What a look at a segment's next frame gave, free of the reader's buffer.
#[allow(clippy::large_enum_variant, reason = "nearly every look gives an event, and it is moved once")]
enum Look {
    Event { sequence: u64, event: Result<Event, ()> },
    Skip,
    Sealed,
    Nothing(Option<Damage>),
}

fn look(reader: &mut SegmentReader) -> Result<Look, ReadError> {
    Ok(match reader.next()? {
        Step::Frame(frame) if frame.kind == FrameType::Event => {
            Look::Event { sequence: frame.sequence, event: Event::decode(frame.body).map_err(|_| ()) }
        }
        Step::Frame(_) => Look::Skip,
        Step::Sealed(_) => Look::Sealed,
        Step::End => Look::Nothing(None),
        Step::Torn(damage) => Look::Nothing(Some(damage)),
    })
}

impl ShardTail {
    const fn new(shard: u32, directory: PathBuf) -> Self {
        Self {
            shard,
            directory,
            reader: None,
            segment: None,
            next_sequence: None,
            head: None,
            idle: false,
            fruitless: 0,
            torn: None,
        }
    }

    /// Makes sure that `head` is the next wanted entry, or that there is none.
    fn fill(&mut self, filter: &Filter, damaged: &mut VecDeque<Damaged>) -> Result<(), TailError> {
        while self.head.is_none() && !self.idle {
            if self.reader.is_some() {
                self.step(filter, damaged)?;
            } else {
                self.idle = !self.open_next(damaged)?;
            }
        }
        Ok(())
    }

    /// Reads one frame of the open segment, or finds its end.
    fn step(&mut self, filter: &Filter, damaged: &mut VecDeque<Damaged>) -> Result<(), TailError> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let mut seen = look(reader)?;
        if let Look::Nothing(damage) = seen {
            if !self.is_followed()? {
                self.torn = damage.map(|damage| self.damage(damage));
                self.idle = true;
                return Ok(());
            }
            // A successor is begun after the last frame and the seal are written, but the look was
            // before the successor was seen: only a second one is the last word on this segment.
            let Some(reader) = &mut self.reader else { return Ok(()) };
            seen = look(reader)?;
        }
        self.fruitless = 0;
        self.torn = None;
        match seen {
            Look::Event { sequence, event: Ok(event) } => {
                if filter(&event) {
                    self.head = Some(Entry { shard: self.shard, sequence, event });
                }
            }
            Look::Event { sequence, event: Err(()) } => {
                damaged.push_back(Damaged { sequence, ..self.damage(Damage::Body) });
            }
            Look::Skip => {}
            Look::Sealed => self.leave(),
            Look::Nothing(damage) => {
                damaged.push_back(self.damage(damage.unwrap_or(Damage::Unsealed)));
                self.leave();
                // Told already: where the next segment begins is not another gap.
                self.next_sequence = None;
            }
        }
        Ok(())
    }

    /// Whether another segment follows the open one.
    fn is_followed(&mut self) -> Result<bool, TailError> {
        let Some(reader) = &self.reader else { return Ok(false) };
        let successor = segment_path(&self.directory, reader.next_sequence());
        let list = self.fruitless.is_multiple_of(LOOKS_PER_LISTING);
        self.fruitless = self.fruitless.wrapping_add(1);
        Ok((successor != reader.path() && successor.exists()) || (list && self.newer()?.is_some()))
    }

    /// Done with the open segment.
    fn leave(&mut self) {
        self.next_sequence = self.reader.take().map(|reader| reader.next_sequence());
        self.fruitless = 0;
        self.torn = None;
    }

    /// Opens the segment that continues, or the next one there is. `false` where there is none.
    fn open_next(&mut self, damaged: &mut VecDeque<Damaged>) -> Result<bool, TailError> {
        let mut first = self.next_sequence;
        if !first.is_some_and(|first| Some(first) != self.segment && segment_path(&self.directory, first).exists()) {
            first = self.newer()?;
        }
        let Some(first) = first else { return Ok(false) };
        let path = segment_path(&self.directory, first);
        self.segment = Some(first);
        match SegmentReader::open(&path) {
            Ok(reader) => {
                if let Some(expected) = self.next_sequence
                    && expected != first
                    && !is_said_removed(&self.directory, expected, first)
                {
                    let reason = Damage::Sequence { expected, found: first }.to_string();
                    damaged.push_back(self.damaged_segment(&path, expected, reason));
                }
                self.next_sequence = Some(first);
                self.reader = Some(reader);
            }
            // Removed since it was listed.
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error @ ReadError::Io { .. }) => return Err(error.into()),
            Err(ReadError::Header { source, .. }) => {
                damaged.push_back(self.damaged_segment(&path, first, source.to_string()));
                self.next_sequence = None;
            }
            Err(ReadError::Misnamed { first_sequence, .. }) => {
                let reason = format!("the header says that the first entry is {first_sequence}");
                damaged.push_back(self.damaged_segment(&path, first, reason));
                self.next_sequence = None;
            }
        }
        Ok(true)
    }

    /// The first segment after the one opened last, by listing.
    fn newer(&self) -> Result<Option<u64>, TailError> {
        let listed = self.list()?;
        Ok(listed.into_iter().find(|first| self.segment.is_none_or(|segment| *first > segment)))
    }

    fn list(&self) -> Result<Vec<u64>, TailError> {
        match segments(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => Ok(other.map_err(FileError::at(&self.directory))?),
        }
    }

    /// Goes to the end and returns the last `wanted` matching entries before it, reading backwards
    /// segment by segment, and no further than needed.
    fn go_to_end(
        &mut self,
        wanted: usize,
        filter: &Filter,
        damaged: &mut VecDeque<Damaged>,
    ) -> Result<VecDeque<Entry>, TailError> {
        let mut last = VecDeque::new();
        for (back, first) in self.list()?.into_iter().rev().enumerate() {
            if back > 0 && last.len() >= wanted {
                break;
            }
            let mut segment = Self::new(self.shard, self.directory.clone());
            // One before the segment to be opened, so that it counts as newer; but the first of all is.
            segment.segment = first.checked_sub(1);
            segment.next_sequence = Some(first);
            if !segment.open_next(damaged)? {
                continue;
            }
            let mut matching = VecDeque::new();
            let room = wanted - last.len().min(wanted);
            while segment.reader.is_some() && !segment.idle {
                segment.step(filter, damaged)?;
                if let Some(entry) = segment.head.take()
                    && room > 0
                {
                    if matching.len() == room {
                        matching.pop_front();
                    }
                    matching.push_back(entry);
                }
            }
            matching.append(&mut last);
            last = matching;
            if back == 0 {
                segment.idle = false;
                *self = segment;
            }
        }
        Ok(last)
    }

    /// Damage at the open segment's next frame.
    fn damage(&self, damage: Damage) -> Damaged {
        let place = self.reader.as_ref().map(|reader| (reader.path(), reader.position(), reader.next_sequence()));
        let (path, offset, sequence) = place.unwrap_or((&self.directory, 0, 0));
        Damaged { shard: self.shard, path: path.to_owned(), offset, sequence, reason: damage.to_string() }
    }

    /// Damage that makes a whole segment unreadable or unexpected.
    fn damaged_segment(&self, path: &Path, sequence: u64, reason: String) -> Damaged {
        Damaged { shard: self.shard, path: path.to_owned(), offset: 0, sequence, reason }
    }
}

#[cfg(test)]
mod tests;
