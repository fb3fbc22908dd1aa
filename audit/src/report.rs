//! Reports for people: one document, written as a page that prints, as Markdown, or with its data as JSON.
//!
//! Reading order: this file (what a document consists of), [`subject`], [`processing`] (Article 30 and what
//! evidence saw), [`breach`], [`access`]; [`observed`] (what evidence saw, added up); `html`, `markdown` (how a document is written). A report is made of
//! what evidence says and nothing else; each figure names entries or the command that lists them.

use serde_json::Value;

pub mod access;
pub mod breach;
mod html;
mod markdown;
pub mod observed;
pub mod processing;
pub mod subject;
#[cfg(test)]
mod tests;

/// Rows of one table, at most: a report is read by people. What is left out is counted.
pub const ROWS_MAX: usize = 1_000;

/// A report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// What it is.
    pub title: String,
    /// What it is about, in a sentence.
    pub lead: String,
    /// Name and value of what it rests on: period, evidence, when it was made.
    pub facts: Vec<(String, String)>,
    /// Its parts.
    pub sections: Vec<Section>,
    /// All of it as data.
    pub data: Value,
}

/// A part of a report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// Its heading.
    pub heading: String,
    /// What stands in it.
    pub blocks: Vec<Block>,
}

/// Something in a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A paragraph that must not be overlooked.
    Warning(String),
    /// Steps, numbered.
    Steps(Vec<String>),
    /// A command to type.
    Command(String),
    /// A table.
    Table(Table),
    /// Bars, one a row.
    Bars(Bars),
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// The columns' titles.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
    /// How many rows were left out.
    pub more: usize,
}

/// Bars.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bars {
    /// What they measure.
    pub title: String,
    /// Name and value.
    pub rows: Vec<(String, u64)>,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A page that needs nothing else and prints well.
    Html,
    /// Markdown.
    Markdown,
    /// The data.
    Json,
}

impl Document {
    /// Writes it.
    #[must_use]
    pub fn write(&self, format: Format) -> String {
        match format {
            Format::Html => html::write(self),
            Format::Markdown => markdown::write(self),
            // A value always is JSON.
            Format::Json => serde_json::to_string_pretty(&self.data).unwrap_or_default() + "\n",
        }
    }

    /// Adds a fact.
    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.to_owned(), value.into()));
    }

    /// Adds a section.
    pub fn section(&mut self, heading: &str, blocks: Vec<Block>) {
        self.sections.push(Section { heading: heading.to_owned(), blocks });
    }
}

impl Table {
    /// A table of these columns with as many rows as a report has.
    #[must_use]
    pub fn new(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        let mut rows: Vec<Vec<String>> = rows.into_iter().collect();
        let more = rows.len().saturating_sub(ROWS_MAX);
        rows.truncate(ROWS_MAX);
        Self { columns: columns.iter().map(|title| (*title).to_owned()).collect(), rows, more }
    }
}

impl Block {
    /// A table, or a sentence where it would be empty.
    #[must_use]
    pub fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>, none: &str) -> Self {
        let table = Table::new(columns, rows);
        if table.rows.is_empty() { Self::Text(none.to_owned()) } else { Self::Table(table) }
    }
}

/// Texts in a row, or a dash.
#[must_use]
pub fn listed<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| text.as_ref().to_owned()).collect();
    if texts.is_empty() { "–".to_owned() } else { texts.join(", ") }
}

/// A number of things, in words that fit it: `1 message`, `3 messages`.
#[must_use]
pub fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count if one.ends_with('y') => format!("{count} {}ies", &one[..one.len() - 1]),
        count => format!("{count} {one}s"),
    }
}
