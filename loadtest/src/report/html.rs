//! One page that needs nothing else: style and drawings are in it, and no script.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Block, Cell, Document, Section, Table, Tone};

const STYLE: &str = include_str!("style.css");

/// The page.
#[must_use]
pub fn render(documents: &[Document]) -> String {
    let sections: Vec<Section> = documents.iter().flat_map(Document::sections).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Tidegate load test" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { "Tidegate load test" } }
                main { @for section in &sections { (section_markup(section)) } }
                footer {
                    "Figures are medians over the rounds with 95 % bootstrap intervals in parentheses; ratios are taken within "
                    "a round. GB is 10⁹ bytes of record batches. A dash is what was not measured."
                }
            }
        }
    };
    page.into_string()
}

fn section_markup(section: &Section) -> Markup {
    html! {
        section {
            h2 { (section.title) }
            @if !section.lead.is_empty() { p.lead { (section.lead) } }
            @if !section.facts.is_empty() {
                dl {
                    @for (name, value) in &section.facts {
                        dt { (name) }
                        dd class=[(*name == "command").then_some("command")] { (value) }
                    }
                }
            }
            @for block in &section.blocks {
                @match block {
                    Block::Text(text) => p.note { (text) },
                    Block::Table(table) => (table_markup(table)),
                    Block::Chart(chart) => (chart.draw()),
                }
            }
        }
    }
}

fn table_markup(table: &Table) -> Markup {
    html! {
        div.scroll {
            table {
                caption { (table.caption) }
                thead { tr { @for name in &table.head { th scope="col" { (name) } } } }
                tbody {
                    @for row in &table.rows {
                        tr class=[is_subject(row).then_some("subject")] {
                            @for cell in row { td class=[is_words(cell).then_some("words")] { (cell_markup(cell)) } }
                        }
                    }
                }
            }
        }
    }
}

fn is_subject(row: &[Cell]) -> bool {
    row.first().is_some_and(|cell| cell.text == crate::compare::GATEWAY)
}

/// Sentences are set to the left, figures to the right.
fn is_words(cell: &Cell) -> bool {
    cell.text.split_whitespace().count() > 3
}

fn cell_markup(cell: &Cell) -> Markup {
    match cell.tone {
        Tone::Plain => html! { (cell.text) },
        Tone::Good => html! { span.good { (cell.text) } },
        Tone::Bad => html! { span.bad { (cell.text) } },
    }
}
