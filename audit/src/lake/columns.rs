//! Entries as columns: the schema, and one row group of it.
//!
//! The schema is public: `PARQUET.md` prints it, and a test holds the two together. Columns are only ever added, at
//! the end. What is empty in an entry is null here, so that engines can skip it; times are UTC microseconds.
//! Tags of subjects are counted and never written: what is made from a secret that can be destroyed does not belong
//! in a copy that nobody destroys.

use std::io::Write;
use std::sync::Arc;

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::TypePtr;
use tidegate_core::event::{FindingCount, Kind, ResourceUse};

use crate::json::{kafka_error_name, kind_name, outcome_name};
use crate::tail::Entry;

/// The schema, as `parquet-tools` and `PARQUET.md` print it.
pub const SCHEMA: &str = "\
message tidegate_evidence {
  required binary origin (STRING);
  required int32 shard;
  required int64 sequence;
  required int64 time (TIMESTAMP(MICROS,true));
  required binary kind (STRING);
  optional binary outcome (STRING);
  optional binary principal (STRING);
  optional binary issuer (STRING);
  optional binary subject (STRING);
  required group groups (LIST) { repeated group list {
    required binary element (STRING);
  } }
  optional binary session (STRING);
  optional binary client_address (STRING);
  optional binary client_id (STRING);
  optional binary api (STRING);
  optional int32 api_version;
  optional int64 policy_version;
  required group resources (LIST) { repeated group list { required group element {
    required binary kind (STRING);
    required binary name (STRING);
    optional int32 partition;
    required binary operation (STRING);
    required boolean allowed;
    optional binary rule (STRING);
    optional binary purpose (STRING);
    optional int64 first_offset;
    optional int64 last_offset;
    required int64 records;
    required int64 bytes;
  } } }
  required boolean resources_cut;
  required group findings (LIST) { repeated group list { required group element {
    required binary topic (STRING);
    required binary class (STRING);
    required binary operator (STRING);
    required int64 count;
    optional binary rule (STRING);
    optional binary field (STRING);
  } } }
  required int64 subject_tags;
  required int64 subject_tags_cut;
  required group upstream_errors (LIST) { repeated group list {
    required binary element (STRING);
  } }
  optional int32 broker;
  optional int64 request_bytes;
  optional int64 response_bytes;
  optional int64 latency_micros;
  optional binary approval (STRING);
  optional binary detail (STRING);
}
";

/// Columns in which single values are looked for, and that have too many of them for a dictionary to tell.
pub(super) const FILTERED: &[&str] = &["principal", "session", "client_address", "approval"];
/// The same, within lists.
pub(super) const FILTERED_IN_LISTS: &[[&str; 4]] = &[["resources", "list", "element", "name"]];

/// The schema, parsed.
pub(super) fn schema() -> Result<TypePtr> {
    parse_message_type(SCHEMA).map(Arc::new)
}

/// Writes entries as one row group.
pub(super) fn write_group<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    origin: &str,
    entries: &[Entry],
) -> Result<()> {
    let mut group = file.next_row_group()?;
    let mut columns = Columns { group: &mut group, entries };
    columns.texts(|_| Some(origin))?;
    columns.numbers(|entry| Some(entry.shard as i32))?;
    columns.large(|entry| Some(entry.sequence as i64))?;
    columns.large(|entry| Some(entry.event.time_micros))?;
    columns.texts(|entry| Some(kind_name(entry.event.kind)))?;
    columns.texts(|entry| some(outcome_name(entry.event.outcome)))?;
    columns.texts(|entry| some(&entry.event.principal))?;
    columns.texts(|entry| some(&entry.event.issuer))?;
    columns.texts(|entry| some(&entry.event.subject))?;
    columns.lists::<ByteArrayType, _>(|entry| &entry.event.groups, |group| Some(text(group)))?;
    columns.texts(|entry| some(&entry.event.session))?;
    columns.texts(|entry| some(&entry.event.client_address))?;
    columns.texts(|entry| some(&entry.event.client_id))?;
    columns.texts(|entry| some(&entry.event.api))?;
    columns.numbers(|entry| (!entry.event.api.is_empty()).then_some(entry.event.api_version))?;
    columns.large(|entry| (entry.event.policy_version > 0).then(|| number(entry.event.policy_version)))?;
    columns.resources()?;
    columns.flags(|entry| entry.event.resources_cut)?;
    columns.findings()?;
    columns.large(|entry| Some(entry.event.subjects.iter().map(|tags| tags.iter().count() as i64).sum()))?;
    columns.large(|entry| Some(number(entry.event.subjects_cut)))?;
    columns.lists::<ByteArrayType, _>(|entry| &entry.event.upstream_errors, |code| Some(error_name(*code)))?;
    columns.numbers(|entry| is_exchange(entry).then_some(entry.event.broker))?;
    columns.large(|entry| is_exchange(entry).then(|| number(entry.event.request_bytes)))?;
    columns.large(|entry| is_exchange(entry).then(|| number(entry.event.response_bytes)))?;
    columns.large(|entry| is_exchange(entry).then(|| number(entry.event.latency_micros)))?;
    columns.texts(|entry| some(&entry.event.approval))?;
    columns.texts(|entry| some(&entry.event.detail))?;
    group.close().map(drop)
}

/// The columns of a row group, one after the other in the schema's order.
struct Columns<'g, 'f, 'e, W: Write> {
    group: &'g mut SerializedRowGroupWriter<'f, W>,
    entries: &'e [Entry],
}

impl<'e, W: Write + Send> Columns<'_, '_, 'e, W> {
    fn texts(&mut self, of: impl Fn(&'e Entry) -> Option<&'e str>) -> Result<()> {
        self.flat::<ByteArrayType>(|entry| of(entry).map(text))
    }

    fn numbers(&mut self, of: impl Fn(&'e Entry) -> Option<i32>) -> Result<()> {
        self.flat::<Int32Type>(of)
    }

    fn large(&mut self, of: impl Fn(&'e Entry) -> Option<i64>) -> Result<()> {
        self.flat::<Int64Type>(of)
    }

    fn flags(&mut self, of: impl Fn(&'e Entry) -> bool) -> Result<()> {
        self.flat::<BoolType>(|entry| Some(of(entry)))
    }

    /// A column with at most one value an entry.
    fn flat<T: DataType>(&mut self, of: impl Fn(&'e Entry) -> Option<T::T>) -> Result<()> {
        let mut levels = Vec::with_capacity(self.entries.len());
        let mut values = Vec::with_capacity(self.entries.len());
        for entry in self.entries {
            let value = of(entry);
            levels.push(i16::from(value.is_some()));
            values.extend(value);
        }
        self.write::<T>(&values, &levels, None)
    }

    /// A column within a list: one value, or none, an item.
    fn lists<T: DataType, I: 'e>(
        &mut self,
        items: impl Fn(&'e Entry) -> &'e [I],
        of: impl Fn(&'e I) -> Option<T::T>,
    ) -> Result<()> {
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for entry in self.entries {
            let items = items(entry);
            if items.is_empty() {
                defined.push(0);
                repeated.push(0);
            }
            for (place, item) in items.iter().enumerate() {
                let value = of(item);
                // One more than an item that is there, where the value may be missing and is not; what may not be
                // missing has no such level, which `write` sees to.
                defined.push(1 + i16::from(value.is_some()));
                repeated.push(i16::from(place > 0));
                values.extend(value);
            }
        }
        self.write::<T>(&values, &defined, Some(&repeated))
    }

    fn write<T: DataType>(&mut self, values: &[T::T], defined: &[i16], repeated: Option<&[i16]>) -> Result<()> {
        let next = self.group.next_column()?;
        let mut column =
            next.ok_or_else(|| ParquetError::General("there are more columns than the schema has".into()))?;
        let writer = column.typed::<T>();
        let most = writer.get_descriptor().max_def_level();
        let levels: Vec<i16> = defined.iter().map(|level| (*level).min(most)).collect();
        let defined = (most > 0).then_some(&*levels);
        writer.write_batch(values, defined, repeated)?;
        column.close()
    }

    fn resources(&mut self) -> Result<()> {
        fn all(entry: &Entry) -> &[ResourceUse] {
            &entry.event.resources
        }
        self.lists::<ByteArrayType, _>(all, |resource| Some(text(&resource.kind)))?;
        self.lists::<ByteArrayType, _>(all, |resource| Some(text(&resource.name)))?;
        self.lists::<Int32Type, _>(all, |resource| resource.partition)?;
        self.lists::<ByteArrayType, _>(all, |resource| Some(text(&resource.operation)))?;
        self.lists::<BoolType, _>(all, |resource| Some(resource.allowed))?;
        self.lists::<ByteArrayType, _>(all, |resource| some(&resource.rule).map(text))?;
        self.lists::<ByteArrayType, _>(all, |resource| some(&resource.purpose).map(text))?;
        self.lists::<Int64Type, _>(all, |resource| resource.first_offset)?;
        self.lists::<Int64Type, _>(all, |resource| resource.last_offset)?;
        self.lists::<Int64Type, _>(all, |resource| Some(number(resource.records)))?;
        self.lists::<Int64Type, _>(all, |resource| Some(number(resource.bytes)))
    }

    fn findings(&mut self) -> Result<()> {
        fn all(entry: &Entry) -> &[FindingCount] {
            &entry.event.findings
        }
        self.lists::<ByteArrayType, _>(all, |finding| Some(text(&finding.topic)))?;
        self.lists::<ByteArrayType, _>(all, |finding| Some(text(&finding.class)))?;
        self.lists::<ByteArrayType, _>(all, |finding| Some(text(&finding.operator)))?;
        self.lists::<Int64Type, _>(all, |finding| Some(number(finding.count)))?;
        self.lists::<ByteArrayType, _>(all, |finding| some(&finding.rule).map(text))?;
        self.lists::<ByteArrayType, _>(all, |finding| some(&finding.field).map(text))
    }
}

fn is_exchange(entry: &Entry) -> bool {
    entry.event.kind == Kind::Exchange as i32
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn text(text: &str) -> ByteArray {
    ByteArray::from(text.as_bytes().to_vec())
}

/// Counts beyond a signed number's range are none that a gateway ever wrote.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn error_name(code: i32) -> ByteArray {
    kafka_error_name(code).map_or_else(|| ByteArray::from(code.to_string().into_bytes()), text)
}
