//! Results as something to look at: one self-contained HTML page, Markdown, JSON.
//!
//! Each kind of result becomes [`Section`]s of facts, tables and charts (`report/of_*.rs`); [`html`]
//! and [`markdown`] only render those, and [`chart`] draws. So what is said is decided once.

pub mod chart;
pub mod html;
pub mod markdown;
mod of_comparison;
mod of_endurance;
mod of_sweep;
pub mod units;

use serde::{Deserialize, Serialize};

use crate::compare::Comparison;
use crate::connections::Connections;
use crate::result::RunResult;
use crate::revocation::Revocation;
use crate::soak::Soak;
use crate::sweep::Sweep;
use chart::Chart;

/// A result of any kind, as it stands in a JSON file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Document {
    /// Of `compare`.
    Comparison(Comparison),
    /// Of `sweep`.
    Sweep(Sweep),
    /// Of `soak`.
    Soak(Soak),
    /// Of `connections`.
    Connections(Box<Connections>),
    /// Of `revocation`.
    Revocation(Box<Revocation>),
    /// Of `run`.
    Run(Box<RunResult>),
}

impl Document {
    /// Reads one document, a list of them, or a bare result of `run`.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let values = match value {
            serde_json::Value::Array(values) => values,
            value => vec![value],
        };
        let parse = |value: serde_json::Value| {
            if value.get("kind").is_some() {
                return serde_json::from_value(value).map_err(|error| error.to_string());
            }
            serde_json::from_value(value)
                .map(|run| Self::Run(Box::new(run)))
                .map_err(|error| format!("no result of tidegate-loadtest: {error}"))
        };
        values.into_iter().map(parse).collect()
    }

    fn sections(&self) -> Vec<Section> {
        match self {
            Self::Comparison(comparison) => of_comparison::sections(comparison),
            Self::Sweep(sweep) => vec![of_sweep::section(sweep)],
            Self::Soak(soak) => vec![of_endurance::soak(soak)],
            Self::Connections(connections) => vec![of_endurance::connections(connections)],
            Self::Revocation(revocation) => vec![of_endurance::revocation(revocation)],
            Self::Run(run) => vec![of_comparison::run_section(run)],
        }
    }
}

/// One part of a report.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// What the reader needs to know first, a sentence or two.
    pub lead: String,
    /// What was measured on, with and by, name and value.
    pub facts: Vec<(&'static str, String)>,
    /// The rest, in order.
    pub blocks: Vec<Block>,
}

/// A part of a section.
#[derive(Debug, Clone)]
pub enum Block {
    /// A sentence.
    Text(String),
    /// Rows and columns.
    Table(Table),
    /// A drawing. Whatever it shows is in a table too: Markdown has no charts.
    Chart(Chart),
}

/// Rows and columns.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// The columns' names; the first column names the rows.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// As it is shown.
    pub text: String,
    /// What it says.
    pub tone: Tone,
}

/// What a cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Neither.
    Plain,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
}

impl Cell {
    /// Says nothing but its text.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    /// What could not be measured is left empty, not guessed.
    #[must_use]
    pub fn or_empty(text: Option<String>) -> Self {
        Self::plain(text.unwrap_or_else(|| "–".to_owned()))
    }

    /// With a tone.
    #[must_use]
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}
