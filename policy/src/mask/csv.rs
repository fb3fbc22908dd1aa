//! Fields of CSV records (RFC 4180), by column.
//!
//! `csv-core` splits; what is kept of it is where each field stands, so what no rule names keeps its
//! bytes, quotation marks included. A record of Kafka may hold one line or many.

use std::sync::Arc;

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

use super::Selector;
use super::names::Names;
use super::plan::Slot;

/// How records are to be read as CSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvForm {
    /// What stands between fields.
    pub separator: u8,
    /// Whether the first line of each record names the columns.
    pub header: bool,
    /// The columns' names, where no header gives them.
    pub columns: Vec<Box<str>>,
}

/// Why a value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("not CSV as the rule has it: line {line} has {found} fields, not {expected}")]
    Fields { line: usize, found: usize, expected: usize },
    #[error("not CSV as the rule has it: a quotation mark in line {line} stands where none may")]
    Quote { line: usize },
    #[error("not CSV as the rule has it: no column is named `{0}`")]
    NoColumn(Box<str>),
}

/// A field of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CsvPlace {
    /// Its bytes, quotation marks included.
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) slot: Slot,
}

/// The columns that rules name in CSV of one form.
#[derive(Debug)]
pub(super) struct CsvPlan {
    form: Arc<CsvForm>,
    /// By number, from 0.
    numbers: Vec<(usize, Slot)>,
    names: Names,
    /// Names of which each must be a column.
    required: Vec<Box<str>>,
    /// Whether values that cannot be read must not pass.
    pub(super) strict: bool,
}

/// Buffers of a reading.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    field: Vec<u8>,
    /// What is known of each column.
    columns: Vec<Slot>,
}

impl CsvPlan {
    pub(super) fn new(form: Arc<CsvForm>) -> Self {
        Self { form, numbers: Vec::new(), names: Names::default(), required: Vec::new(), strict: false }
    }

    pub(super) fn form(&self) -> &CsvForm {
        &self.form
    }

    pub(super) fn add(&mut self, selector: &Selector, slot: Slot, masks: bool) {
        match selector {
            Selector::Column(number) => self.numbers.push(((*number as usize).saturating_sub(1), slot)),
            Selector::Name(name) => {
                self.names.add(name, slot);
                if masks {
                    self.required.push(name.clone());
                }
            }
            Selector::NamesOf(class) => self.names.add_class(*class, slot),
            // The checks allow no paths or tags where a rule says how to read CSV.
            Selector::Path(_) | Selector::Tag(_) => return,
        }
        self.strict |= masks;
    }

    /// Appends the places of all named fields in `text`, in order.
    pub(super) fn walk(&self, text: &[u8], buffers: &mut Buffers, places: &mut Vec<CsvPlace>) -> Result<(), Malformed> {
        let Buffers { field, columns } = buffers;
        columns.clear();
        if !self.form.header {
            for (at, name) in self.form.columns.iter().enumerate() {
                self.learn(columns, at, name);
            }
            self.missing(|name| self.form.columns.iter().any(|column| same_name(column, name)))?;
        }
        let mut heading: Vec<Box<str>> = Vec::new();
        let mut reader = self.reader();
        let (mut at, mut line, mut column) = (if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }, 1, 0);
        let mut width = (!self.form.header && !columns.is_empty()).then_some(columns.len());
        let mut in_header = self.form.header;
        field.clear();
        field.resize(field.capacity().max(64), 0);
        let mut written = 0;
        let mut start = at;
        loop {
            let (result, read, wrote) = reader.read_field(&text[at..], &mut field[written..]);
            at += read;
            written += wrote;
            let ends_record = match result {
                ReadFieldResult::OutputFull => {
                    let larger = field.len() * 2;
                    field.resize(larger, 0);
                    continue;
                }
                // All is read: the next call, with nothing left, says where it ends.
                ReadFieldResult::InputEmpty => continue,
                ReadFieldResult::End => break,
                ReadFieldResult::Field { record_end } => record_end,
            };
            let span = self.trimmed(text, start, at, column == 0);
            self.quotes(&text[span.clone()], line)?;
            if in_header {
                let name = String::from_utf8_lossy(&field[..written]);
                self.learn(columns, column, &name);
                heading.push(name.into());
            } else {
                let slot = columns.get(column).copied().unwrap_or_else(|| self.numbered(column));
                if !slot.is_none() && !span.is_empty() {
                    places.push(CsvPlace { start: span.start, end: span.end, slot });
                }
            }
            column += 1;
            written = 0;
            start = at;
            if ends_record {
                match width {
                    Some(expected) if expected != column => {
                        return Err(Malformed::Fields { line, found: column, expected });
                    }
                    _ => width = Some(column),
                }
                if in_header {
                    in_header = false;
                    self.missing(|name| heading.iter().any(|column| same_name(column, name)))?;
                }
                line += 1;
                column = 0;
            }
        }
        Ok(())
    }

    fn reader(&self) -> Reader {
        ReaderBuilder::new().delimiter(self.form.separator).build()
    }

    fn learn(&self, columns: &mut Vec<Slot>, at: usize, name: &str) {
        columns.resize(columns.len().max(at + 1), Slot::NONE);
        columns[at] = self.names.find(name).and(self.numbered(at));
    }

    fn numbered(&self, column: usize) -> Slot {
        let named = self.numbers.iter().filter(|(number, _)| *number == column);
        named.fold(Slot::NONE, |slots, (_, slot)| slots.and(*slot))
    }

    fn missing(&self, is_there: impl Fn(&str) -> bool) -> Result<(), Malformed> {
        match self.required.iter().find(|name| !is_there(name)) {
            Some(name) => Err(Malformed::NoColumn(name.clone())),
            None => Ok(()),
        }
    }

    /// The field that was read as `start..end` without the separator or line end that ends it, and
    /// without line ends before it, which the reader takes for empty lines.
    fn trimmed(&self, text: &[u8], mut start: usize, mut end: usize, first: bool) -> std::ops::Range<usize> {
        while first && start < end && matches!(text[start], b'\r' | b'\n') {
            start += 1;
        }
        if start < end && matches!(text[end - 1], last if last == self.form.separator) {
            end -= 1;
        } else {
            while start < end && matches!(text[end - 1], b'\r' | b'\n') {
                end -= 1;
            }
        }
        start..end
    }

    /// Readers differ over quotation marks that stand where none may, and so over where fields
    /// begin; such lines are not read at all.
    fn quotes(&self, raw: &[u8], line: usize) -> Result<(), Malformed> {
        let Some(inner) = raw.strip_prefix(b"\"") else {
            return if memchr::memchr(b'"', raw).is_some() { Err(Malformed::Quote { line }) } else { Ok(()) };
        };
        let Some(inner) = inner.strip_suffix(b"\"") else { return Err(Malformed::Quote { line }) };
        let mut at = 0;
        while let Some(next) = memchr::memchr(b'"', &inner[at..]) {
            if inner.get(at + next + 1) != Some(&b'"') {
                return Err(Malformed::Quote { line });
            }
            at += next + 2;
        }
        Ok(())
    }
}

fn same_name(column: &str, name: &str) -> bool {
    let plain = |name: &str| crate::scan::folded(name).replace(' ', "");
    plain(column) == plain(name)
}
