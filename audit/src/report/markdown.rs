//! A document as Markdown. Texts of clients stay text: what Markdown or HTML would act on is escaped.

use std::fmt::Write as _;

use super::{Block, Document};

pub(super) fn write(document: &Document) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "# {}\n\n{}\n", text(&document.title), text(&document.lead));
    for (name, value) in &document.facts {
        let _ = writeln!(out, "- {}: {}", text(name), text(value));
    }
    for section in &document.sections {
        let _ = writeln!(out, "\n## {}", text(&section.heading));
        section.blocks.iter().for_each(|block| write_block(&mut out, block));
    }
    out
}

fn write_block(out: &mut String, block: &Block) {
    out.push('\n');
    match block {
        Block::Text(paragraph) => drop(writeln!(out, "{}", text(paragraph))),
        Block::Warning(paragraph) => drop(writeln!(out, "> **Note.** {}", text(paragraph))),
        Block::Steps(steps) => {
            for (number, step) in (1..).zip(steps) {
                let _ = writeln!(out, "{number}. {}", text(step));
            }
        }
        Block::Command(command) => drop(writeln!(out, "    {}", command.replace('\n', "\n    "))),
        Block::Table(table) => {
            row(out, &table.columns);
            row(out, &vec!["---".to_owned(); table.columns.len()]);
            table.rows.iter().for_each(|cells| row(out, &cells.iter().map(|cell| text(cell)).collect::<Vec<_>>()));
            if table.more > 0 {
                let _ = writeln!(out, "\nand {} more", table.more);
            }
        }
        Block::Bars(bars) => {
            row(out, &[text(&bars.title), String::new()]);
            row(out, &["---".to_owned(), "---:".to_owned()]);
            bars.rows.iter().for_each(|(name, value)| row(out, &[text(name), value.to_string()]));
        }
    }
}

fn row(out: &mut String, cells: &[String]) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '&' => escaped.push_str("&amp;"),
            other if other.is_control() => escaped.extend(other.escape_unicode()),
            other => escaped.push(other),
        }
    }
    escaped
}
