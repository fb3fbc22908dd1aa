//! Parquet files: each row becomes a JSON document, whose paths are those of columns.

use std::fs::File;

use bytes::Bytes;
use parquet::file::reader::{ChunkReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use tidegate_policy::mask::schema::ValueAt;

use super::super::outline;

/// What such a file begins and ends with.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// The rows of a file.
pub(super) fn rows(file: File) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Row>>>> {
    open(file)
}

/// The same of one that is in memory.
pub(super) fn rows_of(bytes: Vec<u8>) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Row>>>> {
    open(Bytes::from(bytes))
}

fn open(input: impl ChunkReader + 'static) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Row>>>> {
    let reader = SerializedFileReader::new(input)?;
    Ok(Box::new(RowIter::from_file_into(Box::new(reader)).map(|row| Ok(row?))))
}

/// A row as a JSON document, and where its values stand in it.
pub(super) fn document(row: &Row) -> (Vec<u8>, Vec<ValueAt>) {
    let mut writing = Writing { text: Vec::new(), path: "$".to_owned(), values: Vec::new() };
    writing.row(row);
    (writing.text, writing.values)
}

struct Writing {
    text: Vec<u8>,
    path: String,
    values: Vec<ValueAt>,
}

impl Writing {
    fn row(&mut self, row: &Row) {
        let columns = row.get_column_iter();
        self.items((b'{', b'}'), columns, |writing, _, (name, field)| writing.named(name, field));
    }

    fn items<T>(
        &mut self,
        (open, close): (u8, u8),
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, usize, T),
    ) {
        self.text.push(open);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.text.push(b',');
            }
            let before = self.path.len();
            write(self, index, item);
            self.path.truncate(before);
        }
        self.text.push(close);
    }

    fn named(&mut self, name: &str, field: &Field) {
        self.string(name);
        self.text.push(b':');
        outline::member(&mut self.path, name);
        self.field(field);
    }

    fn field(&mut self, field: &Field) {
        let start = self.text.len();
        match field {
            Field::Null => return self.text.extend_from_slice(b"null"),
            Field::Group(row) => return self.row(row),
            Field::ListInternal(list) => {
                return self.items((b'[', b']'), list.elements(), |writing, index, field| {
                    writing.path.push_str(&format!("[{index}]"));
                    writing.field(field);
                });
            }
            Field::MapInternal(map) => {
                return self.items((b'{', b'}'), map.entries(), |writing, _, (key, field)| {
                    writing.named(&plain(key), field);
                });
            }
            Field::Float16(_) | Field::Float(_) | Field::Double(_) => {
                // What is no number in JSON is nobody's either.
                let text = field.to_string();
                let is_number = serde_json::from_str::<serde_json::Number>(&text).is_ok();
                self.text.extend_from_slice(if is_number { text.as_bytes() } else { b"null" });
            }
            Field::Bool(_)
            | Field::Byte(_)
            | Field::Short(_)
            | Field::Int(_)
            | Field::Long(_)
            | Field::UByte(_)
            | Field::UShort(_)
            | Field::UInt(_)
            | Field::ULong(_) => self.text.extend_from_slice(field.to_string().as_bytes()),
            _ => {
                let text = plain(field);
                self.string(&text);
                self.push(start + 1, self.text.len() - 1);
                return;
            }
        }
        self.push(start, self.text.len());
    }

    fn push(&mut self, start: usize, end: usize) {
        self.values.push(ValueAt { path: self.path.clone(), span: start..end, text: String::new() });
    }

    fn string(&mut self, text: &str) {
        // Writing a string to memory does not fail.
        let _ = serde_json::to_writer(&mut self.text, text);
    }
}

/// A value without the quotation marks that its `Display` has.
fn plain(field: &Field) -> String {
    match field {
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
        other => other.to_string(),
    }
}
