//! Files hold what segments hold, each segment once, whatever cut an export short.

use std::collections::BTreeSet;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use tidegate_core::event::{FindingCount, Kind, Outcome, ResourceUse};
use tidegate_core::words::Timestamp as Time;

use super::*;
use crate::log::{LogOptions, ShardLog};

/// 2023-11-14, 22:13:20 UTC.
const EVENING: i64 = 1_700_000_000_000_000;

/// A folder in memory that takes so many files and then fails.
#[derive(Default)]
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    written: Vec<String>,
    room: usize,
}

impl Sink for Memory {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.get(name).cloned())
    }

    fn write(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.room = self.room.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        self.written.push(name.to_owned());
        self.files.insert(name.to_owned(), bytes);
        Ok(())
    }
}

fn event(n: u64) -> Event {
    let resource = |partition| ResourceUse {
        kind: "topic".into(),
        name: format!("orders-{}", n % 3),
        partition: Some(partition),
        operation: "Read".into(),
        allowed: true,
        first_offset: (partition > 0).then_some(7),
        ..ResourceUse::default()
    };
    Event {
        time_micros: EVENING + n as i64,
        kind: Kind::Exchange as i32,
        outcome: Outcome::Allowed as i32,
        api: "Fetch".into(),
        principal: if n.is_multiple_of(2) { "anna".into() } else { String::new() },
        resources: (0..n as i32 % 3).map(resource).collect(),
        findings: vec![FindingCount { class: "email".into(), count: 3, ..FindingCount::default() }],
        upstream_errors: vec![29, 9999],
        detail: "x".repeat(300),
        ..Event::default()
    }
}

fn write(root: &Path, shard: u32, events: impl IntoIterator<Item = Event>) -> ShardLog {
    let options = LogOptions { segment_bytes: 20 * 1024, entry_bytes_max: 8 * 1024, ..LogOptions::default() };
    let (mut log, _) = ShardLog::open(root, shard, "gw/a", options, Time(0)).unwrap();
    for event in events {
        log.append(&event);
        log.commit().unwrap();
    }
    log
}

/// Ends what is written to a shard with a seal, as age does; an empty segment follows.
fn seal_all(root: &Path, shard: u32) {
    let options = LogOptions {
        segment_bytes: 20 * 1024,
        entry_bytes_max: 8 * 1024,
        segment_age_max: Some(std::time::Duration::ZERO),
        ..LogOptions::default()
    };
    let (mut log, _) = ShardLog::open(root, shard, "gw/a", options, Time(0)).unwrap();
    log.commit().unwrap();
    log.close().unwrap();
}

fn reader(bytes: &[u8]) -> SerializedFileReader<Bytes> {
    SerializedFileReader::new(Bytes::copy_from_slice(bytes)).unwrap()
}

/// Shard and sequence number of all rows of all files, in the order of the files' names.
fn rows(sink: &Memory) -> Vec<(i32, i64)> {
    let files = sink.files.iter().filter(|(name, _)| name.ends_with(".parquet"));
    let mut found = Vec::new();
    for (_, bytes) in files {
        let reader = reader(bytes);
        found.extend(reader.get_row_iter(None).unwrap().map(|row| {
            let row = row.unwrap();
            (row.get_int(1).unwrap(), row.get_long(2).unwrap())
        }));
    }
    found
}

fn sealed_entries(root: &Path) -> u64 {
    let seals = shards(root).unwrap().into_iter().flat_map(|(_, directory)| {
        let all = segments(&directory).unwrap();
        all.into_iter().filter_map(move |first| seal(&segment_path(&directory, first)))
    });
    seals.map(|seal| seal.entries).sum()
}

#[test]
fn a_file_holds_what_the_segment_holds() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), 1, (0..80).map(event)).close().unwrap();
    seal_all(root.path(), 1);
    let mut sink = Memory { room: usize::MAX, ..Memory::default() };
    let done = Lake::new(root.path(), &mut sink).export().unwrap();
    assert_eq!((done.entries, done.missed), (80, 0));
    assert!(done.segments > 1 && done.files == done.segments, "{done:?}");
    let (name, bytes) = sink.files.iter().next().unwrap();
    assert_eq!(name, "_tidegate/gw%2Fa.cursor");
    assert_eq!(bytes, br#"{"1":80}"#);
    let (name, bytes) = sink.files.iter().nth(1).unwrap();
    assert_eq!(name, "date=2023-11-14/gw%2Fa_shard-001_00000000000000000000.parquet");

    let reader = reader(bytes);
    let meta = reader.metadata();
    let facts = meta.file_metadata().key_value_metadata().unwrap();
    let fact = |key: &str| facts.iter().find(|fact| fact.key == key).and_then(|fact| fact.value.clone()).unwrap();
    let directory = crate::directory::shard_directory(root.path(), 1);
    assert_eq!(fact("tidegate.root"), base64(&seal(&segment_path(&directory, 0)).unwrap().root));
    assert_eq!((fact("tidegate.origin"), fact("tidegate.segment")), ("gw/a".to_owned(), "0".to_owned()));
    let group = meta.row_group(0);
    let column = |path: &str| group.columns().iter().find(|column| column.column_path().string() == path).unwrap();
    for path in ["principal", "resources.list.element.name"] {
        assert!(column(path).bloom_filter_offset().is_some(), "{path}");
        assert!(column(path).encodings().any(|encoding| encoding == Encoding::RLE_DICTIONARY), "{path}");
    }
    assert!(column("kind").bloom_filter_offset().is_none());

    // Lists of every length, what is missing in them, and what is missing beside them.
    for (n, row) in reader.get_row_iter(None).unwrap().enumerate() {
        let text = row.unwrap().to_string();
        let principal = if n % 2 == 0 { r#"principal: "anna""# } else { "principal: null" };
        let resource = |partition: usize| {
            let offset = if partition > 0 { "7" } else { "null" };
            format!(
                "{{kind: \"topic\", name: \"orders-{}\", partition: {partition}, operation: \"Read\", allowed: true, \
                 rule: null, purpose: null, first_offset: {offset}, last_offset: null, records: 0, bytes: 0}}",
                n % 3
            )
        };
        let resources: Vec<String> = (0..n % 3).map(resource).collect();
        for expected in [
            principal,
            &format!("resources: [{}]", resources.join(", ")),
            r#"upstream_errors: ["TOPIC_AUTHORIZATION_FAILED", "9999"]"#,
            r#"findings: [{topic: "", class: "email", operator: "", count: 3, rule: null, field: null}]"#,
            "api_version: 0",
            "groups: []",
            "2023-11-14 22:13:20",
        ] {
            assert!(text.contains(expected), "{n}: no {expected} in {text}");
        }
    }
}

#[test]
fn the_page_prints_the_schema_and_it_parses() {
    let page = include_str!("../../PARQUET.md");
    assert!(page.contains(SCHEMA), "audit/PARQUET.md prints another schema");
    assert_eq!(columns::schema().unwrap().name(), "tidegate_evidence");
}

#[test]
fn whatever_cuts_an_export_short_nothing_is_missing_and_nothing_is_twice() {
    let root = tempfile::tempdir().unwrap();
    let logs = [write(root.path(), 0, (0..70).map(event)), write(root.path(), 1, (0..50).map(event))];
    let sealed = sealed_entries(root.path());
    assert!(sealed > 60 && sealed < 120, "the last segments are not sealed: {sealed}");
    let mut sink = Memory::default();
    let mut failures = 0;
    loop {
        // A file is written and its cursor is not; then both are, and nothing more.
        sink.room = 1 + failures % 2;
        match Lake::new(root.path(), &mut sink).export() {
            Ok(_) => break,
            Err(error) => assert!(error.to_string().contains("no storage space"), "{error}"),
        }
        failures += 1;
        assert!(failures < 100, "it never ends");
    }
    assert!(failures >= 3, "{failures}");
    let found = rows(&sink);
    assert_eq!(found.len() as u64, sealed);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len() as u64, sealed, "each once");

    // What was exported is not written again; what is sealed since is added.
    sink.room = usize::MAX;
    sink.written.clear();
    assert_eq!(Lake::new(root.path(), &mut sink).export().unwrap(), Done::default());
    assert_eq!(sink.written, Vec::<String>::new());
    for (shard, log) in (0..).zip(logs) {
        log.close().unwrap();
        seal_all(root.path(), shard);
    }
    assert_eq!(Lake::new(root.path(), &mut sink).export().unwrap().entries, 120 - sealed);
    assert_eq!(Lake::new(root.path(), &mut sink).export().unwrap().files, 0);
    let expected: Vec<(i32, i64)> = (0..70).map(|n| (0, n)).chain((0..50).map(|n| (1, n))).collect();
    assert_eq!(rows(&sink), expected);
}

#[test]
fn entries_lie_in_the_folder_of_their_day() {
    let root = tempfile::tempdir().unwrap();
    let hours = [0, 1, 2, -1, 2].map(|hours: i64| EVENING + hours * 3_600_000_000);
    let times = hours.into_iter().chain([i64::MAX]);
    write(root.path(), 0, times.map(|time_micros| Event { time_micros, ..event(0) })).close().unwrap();
    seal_all(root.path(), 0);
    let folder = root.path().join("lake");
    let mut sink = Folder(folder.clone());
    let done = Lake::new(root.path(), &mut sink).export().unwrap();
    assert_eq!((done.segments, done.files, done.entries), (1, 3, 6));
    for (date, entries) in [("2023-11-14", 3), ("2023-11-15", 2), (NO_DATE, 1)] {
        let path = folder.join(format!("date={date}/gw%2Fa_shard-000_{:020}.parquet", 0));
        let reader = reader(&fs::read(&path).unwrap());
        assert_eq!(reader.metadata().file_metadata().num_rows(), entries, "{date}");
    }
}

#[test]
fn what_is_not_what_was_sealed_is_not_exported() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), 0, (0..60).map(event)).close().unwrap();
    seal_all(root.path(), 0);
    let directory = crate::directory::shard_directory(root.path(), 0);
    let firsts = segments(&directory).unwrap();
    let path = segment_path(&directory, firsts[1]);
    let whole = fs::read(&path).unwrap();
    // The first entry's body changed, and its CRC made to fit again.
    let mut forged = whole.clone();
    let length = u32::from_le_bytes(forged[4096..4100].try_into().unwrap()) as usize;
    let place = forged.windows(4).position(|window| window == b"xxxx").unwrap();
    forged[place..place + 4].copy_from_slice(b"yyyy");
    let crc = crate::format::crc32c(&forged[4104..4104 + length]);
    forged[4100..4104].copy_from_slice(&crc.to_le_bytes());
    let cut = whole[..whole.len() - 9].to_vec();
    for (bytes, why) in [(forged, "not those that were sealed"), (cut, "damaged")] {
        fs::write(&path, bytes).unwrap();
        let mut sink = Memory { room: usize::MAX, ..Memory::default() };
        let error = Lake::new(root.path(), &mut sink).export().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(rows(&sink).len() as u64, firsts[1], "what stands before it is");
    }
    fs::write(&path, &whole).unwrap();
    // Removed by retention before it was exported: said, and the rest goes on.
    fs::remove_file(segment_path(&directory, firsts[0])).unwrap();
    let mut sink = Memory { room: usize::MAX, ..Memory::default() };
    let done = Lake::new(root.path(), &mut sink).export().unwrap();
    assert_eq!((done.missed, done.entries), (firsts[1], 60 - firsts[1]));
    // A cursor that is none stops it: from the beginning again is nobody's wish.
    sink.files.insert(cursor_name("gw/a"), b"nonsense".to_vec());
    assert!(matches!(Lake::new(root.path(), &mut sink).export(), Err(ExportError::Cursor { .. })));
}
