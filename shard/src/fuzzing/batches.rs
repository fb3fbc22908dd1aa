//! Record batches: the walk over any bytes, and rewriting by a transform that edits at random.

use bytes::Bytes;
use tidegate_core::batch::build::reseal;
use tidegate_core::batch::{self, FieldEdit, Inspect, Record, RecordEdit};
use tidegate_core::limits::Limits;

fn limits(batch_decompressed_bytes_max: u32) -> Limits {
    Limits { batch_decompressed_bytes_max, batch_records_max: 10_000, record_headers_max: 100, ..Limits::default() }
}

/// What must stay of a record, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    offset: i64,
    timestamp_millis: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Seen {
    fn of(record: &Record<'_>) -> Self {
        let Record { offset, timestamp_millis, .. } = *record;
        let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let headers: Vec<_> = record.headers.iter().map(|(key, value)| (key.to_vec(), own(value))).collect();
        assert_eq!(headers.len(), record.headers.len(), "a header cannot be read");
        Self { offset, timestamp_millis, key: own(record.key), value: own(record.value), headers }
    }
}

/// Edits nothing.
#[derive(Default)]
struct Look(Vec<Seen>);

impl Inspect for Look {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        self.0.push(Seen::of(record));
        None
    }
}

/// Edits what its numbers say, and keeps what each record must become.
struct Edit {
    state: u32,
    expected: Vec<Seen>,
}

impl Edit {
    fn draw(&mut self, below: u32) -> u32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.state >> 16) % below
    }

    fn field(&mut self, field: &mut Option<Vec<u8>>) -> Option<FieldEdit> {
        let bytes = field.as_deref().unwrap_or_default();
        let edit = match self.draw(8) {
            0 => FieldEdit::Null,
            1 => FieldEdit::Bytes(vec![b'*'; bytes.len()]),
            2 => FieldEdit::Bytes(vec![b'x'; bytes.len() + self.draw(300) as usize]),
            3 => FieldEdit::Bytes(bytes[..bytes.len() / 2].to_vec()),
            4 => FieldEdit::Bytes(bytes.to_vec()),
            _ => return None,
        };
        *field = match &edit {
            FieldEdit::Null => None,
            FieldEdit::Bytes(bytes) => Some(bytes.clone()),
        };
        Some(edit)
    }
}

impl Inspect for Edit {
    fn inspect(&mut self, record: &Record<'_>) -> Option<RecordEdit> {
        let mut seen = Seen::of(record);
        let mut edit = RecordEdit { key: self.field(&mut seen.key), ..RecordEdit::default() };
        edit.value = self.field(&mut seen.value);
        for (index, (_, value)) in seen.headers.iter_mut().enumerate() {
            edit.headers.extend(self.field(value).map(|edit| (index, edit)));
        }
        self.expected.push(seen);
        (edit != RecordEdit::default()).then_some(edit)
    }
}

/// Bytes as they are, and with the checksum of the first batch put right, so that the walk gets on.
fn both(data: &[u8]) -> [Bytes; 2] {
    let mut sealed = data.to_vec();
    let _ = reseal(&mut sealed);
    [Bytes::copy_from_slice(data), sealed.into()]
}

/// What walks is passed on unchanged, but for a partial tail, and counted as its headers count.
pub fn batch_walker(data: &[u8]) {
    for records in both(data) {
        let counted = batch::summarise_intact(&records);
        let mut look = Look::default();
        let Ok(inspected) = batch::inspect(&records, &limits(1 << 20), &mut look) else { continue };
        assert_eq!(counted, (inspected.summary, None));
        assert_eq!(inspected.records, records[..inspected.records.len()]);
        assert_eq!(inspected.changed, inspected.records.len() < records.len());
        assert_eq!(inspected.summary.bytes, inspected.records.len() as u64);
        assert!(look.0.len() as u64 <= inspected.summary.records);
    }
}

/// The first byte seeds the edits. What was rewritten walks, says what was asked for, and keeps
/// everything else: offsets, times, and all of each batch's header but length and checksum.
pub fn batch_rewriter(data: &[u8]) {
    let (seed, data) = data.split_first().unwrap_or((&0, data));
    for records in both(data) {
        let mut edit = Edit { state: u32::from(*seed), expected: Vec::new() };
        let Ok(inspected) = batch::inspect(&records, &limits(1 << 20), &mut edit) else { continue };
        let mut look = Look::default();
        let again = batch::inspect(&inspected.records, &limits(64 << 20), &mut look).expect("the result walks");
        assert_eq!(look.0, edit.expected);
        assert_eq!(again.records, inspected.records);
        let (before, after) = (inspected.summary, again.summary);
        assert_eq!(
            (before.batches, before.records, before.first_offset, before.last_offset),
            (after.batches, after.records, after.first_offset, after.last_offset),
        );
        for (old, new) in headers(&records).zip(headers(&inspected.records)) {
            assert_eq!((&old[..8], &old[12..17], &old[21..61]), (&new[..8], &new[12..17], &new[21..61]));
        }
    }
}

/// Each whole batch's header.
fn headers(records: &Bytes) -> impl Iterator<Item = &[u8]> {
    let mut rest: &[u8] = records;
    std::iter::from_fn(move || {
        let header = rest.get(..61)?;
        let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        rest = rest.get(12 + length..)?;
        Some(header)
    })
}
