//! Sealed segments as Parquet files, for the engine that an analyst has already: DuckDB, Spark, Trino.
//!
//! A segment becomes one file for each day (UTC) of its entries, at `date=YYYY-MM-DD/ORIGIN_shard-NNN_FIRST.parquet`,
//! so that engines prune by day and by statistics, and gateways share a lake without meeting. What a file holds follows
//! from its segment alone: written again, it has the same name and rows. [`Lake`] therefore writes a segment's
//! files first and the cursor after them, and whatever cuts it short, nothing is missing and nothing is twice.
//!
//! A segment is exported only if its entries hash to the root in its seal, which goes into the file's metadata. A
//! file is a copy all the same, not evidence: what it says is proven by the segment (`tidegate audit prove`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};
use prost::Message as _;
use tidegate_core::event::Event;

use crate::directory::{FileError, segment_path, segments, shards, sync_directory};
use crate::export::{Cursor, ExportError};
use crate::format::{FrameType, Header, Seal};
use crate::index::seal;
use crate::keys::write_atomically;
use crate::note::base64;
use crate::read::{SegmentReader, Step};
use crate::tail::Entry;
use crate::tree::leaf_hash;

mod columns;
pub use columns::SCHEMA;

/// Entries of one row group: what an engine reads at once, and what is held in memory here.
const GROUP_ENTRIES: usize = 64 * 1024;
/// Days over which one segment's entries may be spread: beyond it, its times are nonsense.
const DAYS_MAX: usize = 4096;
/// The partition of times that no calendar has; Hive's name for a missing value.
const NO_DATE: &str = "__HIVE_DEFAULT_PARTITION__";

/// Where files go: a folder, or an object store.
pub trait Sink {
    /// The bytes of a file; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be told.
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Writes a file, whole or not at all, in place of one of that name. On return it survives a loss of power.
    ///
    /// # Errors
    /// It is not written.
    fn write(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()>;
}

/// A folder of this machine.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Sink for Folder {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let path = self.0.join(name);
        let parent = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(parent)?;
        write_atomically(&path, &bytes)?;
        sync_directory(parent)
    }
}

/// What an export did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Segments.
    pub segments: u64,
    /// Files written.
    pub files: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Entries that were not exported when retention removed them.
    pub missed: u64,
}

/// An export of one evidence directory into one place.
pub struct Lake<'s> {
    root: PathBuf,
    sink: &'s mut dyn Sink,
    /// How far each gateway is exported.
    cursors: BTreeMap<String, Cursor>,
}

/// A file of the lake.
#[derive(Debug)]
pub struct LakeFile {
    /// Its name, with the folder of its day.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Entries in it.
    pub entries: u64,
}

impl<'s> Lake<'s> {
    /// Exports what lies below `root` to `sink`.
    #[must_use]
    pub fn new(root: &Path, sink: &'s mut dyn Sink) -> Self {
        Self { root: root.to_owned(), sink, cursors: BTreeMap::new() }
    }

    /// Exports all segments that were sealed since the last time.
    ///
    /// # Errors
    /// [`ExportError`]. What was exported before it counts, and the next time begins there.
    pub fn export(&mut self) -> Result<Done, ExportError> {
        let mut done = Done::default();
        for (shard, directory) in shards(&self.root).map_err(FileError::at(&self.root))? {
            let all = segments(&directory).map_err(FileError::at(&directory))?;
            for (place, first) in all.iter().enumerate() {
                let following = all.get(place + 1).copied();
                let path = segment_path(&directory, *first);
                let seal = seal(&path);
                if seal.is_none() && following.is_none() {
                    // It is being written.
                    break;
                }
                match SegmentReader::open(&path) {
                    Ok(reader) => {
                        // Where the segment ends, if it is what it says; whether it is, converting it shows.
                        let end = seal.map(|seal| seal.first_sequence.saturating_add(seal.entries)).or(following);
                        self.segment(reader, shard, end, &mut done)?;
                    }
                    // Removed by retention since it was listed.
                    Err(error) if error.is_missing() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(done)
    }

    /// Exports a segment that must be sealed, unless it was exported before.
    fn segment(
        &mut self,
        mut reader: SegmentReader,
        shard: u32,
        end: Option<u64>,
        done: &mut Done,
    ) -> Result<(), ExportError> {
        let Header { origin, first_sequence: first, .. } = reader.header().clone();
        if !self.cursors.contains_key(&origin) {
            let cursor = load(self.sink, &origin)?;
            self.cursors.insert(origin.clone(), cursor);
        }
        let cursor = self.cursors.entry(origin.clone()).or_default();
        let next = cursor.of(shard);
        if next > first && end.is_some_and(|end| end <= next) {
            return Ok(());
        }
        let (seal, files) = convert(&mut reader, shard)?;
        done.missed += first.saturating_sub(next);
        done.segments += 1;
        let write =
            |sink: &mut dyn Sink, name: &str, bytes| sink.write(name, bytes).map_err(FileError::at(Path::new(name)));
        for file in files {
            done.files += 1;
            done.entries += file.entries;
            done.bytes += file.bytes.len() as u64;
            write(self.sink, &file.name, file.bytes)?;
        }
        cursor.pass_to(shard, seal.first_sequence.saturating_add(seal.entries));
        write(self.sink, &cursor_name(&origin), cursor.encode())?;
        Ok(())
    }
}

/// Where a gateway's cursor is. Engines pass over folders that begin so.
fn cursor_name(origin: &str) -> String {
    format!("_tidegate/{}.cursor", file_part(origin))
}

fn load(sink: &mut dyn Sink, origin: &str) -> Result<Cursor, ExportError> {
    let name = cursor_name(origin);
    let read = sink.read(&name).map_err(FileError::at(Path::new(&name)))?;
    read.map_or_else(|| Ok(Cursor::default()), |bytes| Cursor::parse(&bytes, Path::new(&name)))
}

/// A gateway's name as a part of a file's: what is neither letter, digit, `.` nor `-` as `%XX`.
fn file_part(origin: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    origin.bytes().map(byte).collect()
}

/// A sealed segment's seal, and its files.
///
/// # Errors
/// [`ExportError`]: it cannot be read, or is not what was sealed.
pub fn convert(reader: &mut SegmentReader, shard: u32) -> Result<(Seal, Vec<LakeFile>), ExportError> {
    let path = reader.path().to_owned();
    let damaged = |sequence, why: String| ExportError::Damaged { path: path.clone(), shard, sequence, why };
    let header = reader.header().clone();
    let mut tree = header.tree.clone();
    let mut days = Days::new(&header, &path)?;
    loop {
        let expected = reader.next_sequence();
        let (sequence, event) = match reader.next()? {
            Step::Frame(frame) if frame.kind == FrameType::Event => {
                let event = Event::decode(frame.body).map_err(|error| damaged(expected, error.to_string()))?;
                (frame.sequence, event)
            }
            Step::Frame(_) => continue,
            Step::Sealed(seal) => {
                if seal.first_sequence.checked_add(seal.entries) != Some(expected) || seal.root != tree.root() {
                    return Err(damaged(
                        header.first_sequence,
                        "the entries are not those that were sealed".to_owned(),
                    ));
                }
                return days.finish(&seal).map(|files| (seal, files));
            }
            Step::End => return Err(damaged(expected, "the segment was never sealed".to_owned())),
            Step::Torn(damage) => return Err(damaged(expected, damage.to_string())),
        };
        tree.append(leaf_hash(reader.raw()));
        days.push(Entry { shard, sequence, event })?;
    }
}

/// A segment's entries by day, on their way into files.
struct Days {
    path: PathBuf,
    origin: String,
    shard: u32,
    first_sequence: u64,
    number: u64,
    schema: TypePtr,
    properties: WriterPropertiesPtr,
    days: BTreeMap<String, Day>,
    /// Entries that are in no file yet.
    waiting: usize,
}

struct Day {
    writer: SerializedFileWriter<Vec<u8>>,
    waiting: Vec<Entry>,
    entries: u64,
}

impl Days {
    fn new(header: &Header, path: &Path) -> Result<Self, ExportError> {
        Ok(Self {
            path: path.to_owned(),
            origin: header.origin.clone(),
            shard: header.shard,
            first_sequence: header.first_sequence,
            number: header.number,
            schema: columns::schema().map_err(|error| parquet_error(path, &error))?,
            properties: Arc::new(properties()),
            days: BTreeMap::new(),
            waiting: 0,
        })
    }

    fn push(&mut self, entry: Entry) -> Result<(), ExportError> {
        let date = date(entry.event.time_micros);
        if !self.days.contains_key(&date) {
            if self.days.len() >= DAYS_MAX {
                return Err(parquet_error(&self.path, &"its entries are spread over too many days"));
            }
            let writer = SerializedFileWriter::new(Vec::new(), self.schema.clone(), self.properties.clone());
            let writer = writer.map_err(|error| parquet_error(&self.path, &error))?;
            self.days.insert(date.clone(), Day { writer, waiting: Vec::new(), entries: 0 });
        }
        if let Some(day) = self.days.get_mut(&date) {
            day.waiting.push(entry);
            day.entries += 1;
            self.waiting += 1;
        }
        if self.waiting >= GROUP_ENTRIES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        for day in self.days.values_mut().filter(|day| !day.waiting.is_empty()) {
            columns::write_group(&mut day.writer, &self.origin, &day.waiting)
                .map_err(|error| parquet_error(&self.path, &error))?;
            day.waiting.clear();
        }
        self.waiting = 0;
        Ok(())
    }

    fn finish(mut self, seal: &Seal) -> Result<Vec<LakeFile>, ExportError> {
        self.flush()?;
        let facts = [
            ("tidegate.origin", self.origin.clone()),
            ("tidegate.shard", self.shard.to_string()),
            ("tidegate.segment", self.number.to_string()),
            ("tidegate.first_sequence", self.first_sequence.to_string()),
            ("tidegate.entries", seal.entries.to_string()),
            ("tidegate.root", base64(&seal.root)),
        ];
        let name = format!("{}_shard-{:03}_{:020}.parquet", file_part(&self.origin), self.shard, self.first_sequence);
        let file = |(date, Day { mut writer, entries, .. }): (String, Day)| {
            for (key, value) in &facts {
                writer.append_key_value_metadata(KeyValue::new((*key).to_owned(), value.clone()));
            }
            let bytes = writer.into_inner().map_err(|error| parquet_error(&self.path, &error))?;
            Ok(LakeFile { name: format!("date={date}/{name}"), bytes, entries })
        };
        std::mem::take(&mut self.days).into_iter().map(file).collect()
    }
}

/// Dictionaries are on by default; filters where one value among many is looked for.
fn properties() -> WriterProperties {
    let sequence = SortingColumn { column_idx: 2, descending: false, nulls_first: false };
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(format!("tidegate {}", env!("CARGO_PKG_VERSION")))
        .set_sorting_columns(Some(vec![sequence]))
        .set_max_row_group_row_count(Some(GROUP_ENTRIES))
        .set_statistics_truncate_length(Some(64));
    for name in columns::FILTERED {
        properties = properties.set_column_bloom_filter_enabled(ColumnPath::from(*name), true);
    }
    for path in columns::FILTERED_IN_LISTS {
        let path = ColumnPath::new(path.iter().map(|part| (*part).to_owned()).collect());
        properties = properties.set_column_bloom_filter_enabled(path, true);
    }
    properties.build()
}

/// The day of a time, in UTC.
fn date(time_micros: i64) -> String {
    let day = Timestamp::from_microsecond(time_micros).map(|time| TimeZone::UTC.to_datetime(time).date());
    // Only these have four digits, as engines expect them.
    day.ok().filter(|day| day.year() >= 1).map_or_else(|| NO_DATE.to_owned(), |day| day.to_string())
}

fn parquet_error(path: &Path, error: &dyn std::fmt::Display) -> ExportError {
    ExportError::Parquet { path: path.to_owned(), why: error.to_string() }
}

#[cfg(test)]
mod tests;
