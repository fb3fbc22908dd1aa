//! The same as text: what a terminal, a pull request or a wiki shows. Charts are left out, since
//! everything in them is in the tables.

use std::fmt::Write as _;

use super::{Block, Document, Table, Tone};

/// The text.
#[must_use]
pub fn render(documents: &[Document]) -> String {
    let mut text = String::from("# Tidegate load test\n");
    for section in documents.iter().flat_map(Document::sections) {
        // Writing into a string cannot fail.
        let _ = write!(text, "\n## {}\n", section.title);
        if !section.lead.is_empty() {
            let _ = write!(text, "\n{}\n", section.lead);
        }
        if !section.facts.is_empty() {
            text.push('\n');
        }
        for (name, value) in &section.facts {
            let value = if *name == "command" { format!("`{value}`") } else { value.clone() };
            let _ = writeln!(text, "- {name}: {value}");
        }
        for block in &section.blocks {
            match block {
                Block::Text(sentence) => {
                    let _ = write!(text, "\n{sentence}\n");
                }
                Block::Table(table) => table_text(&mut text, table),
                Block::Chart(_) => {}
            }
        }
    }
    text
}

fn table_text(text: &mut String, table: &Table) {
    let cell = |cell: &super::Cell| {
        let sign = match cell.tone {
            Tone::Plain => "",
            Tone::Good => "✓ ",
            Tone::Bad => "✗ ",
        };
        format!("{sign}{}", cell.text.replace('|', "\\|"))
    };
    let rows: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let widths: Vec<usize> = (0..table.head.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.chain(table.head.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths
        .iter()
        .enumerate()
        .map(|(column, width)| if column == 0 { "-".repeat(width + 2) } else { format!("{}:", "-".repeat(width + 1)) });
    let _ = write!(text, "\n{}\n\n{}\n|{}|\n", table.caption, line(&table.head), rule.collect::<Vec<_>>().join("|"));
    for row in &rows {
        let _ = writeln!(text, "{}", line(row));
    }
}
