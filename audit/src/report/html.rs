//! A document as one page: style and drawings are in it, and nothing is fetched or run.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Bars, Block, Document, Table};

const STYLE: &str = "
:root { --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --bar: #2f6f9f; --warn: #9a3412; --back: #fff }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b1; --line: #3d444d; --bar: #58a6ff; --warn: #f0883e; --back: #0d1117 } }
@media print { :root { --ink: #000; --soft: #444; --line: #bbb; --bar: #444; --warn: #000; --back: #fff } }
@page { size: A4; margin: 18mm 16mm }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem; margin: 0 0 .3rem } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; break-after: avoid }
.lead { color: var(--soft); margin: 0 0 1.2rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0; padding: .8rem 0; border-block: 1px solid var(--line) }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .86rem; margin: .6rem 0 }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere }
th { color: var(--soft); font-weight: 600 } thead { display: table-header-group } tr { break-inside: avoid }
.warning { border-left: 4px solid var(--warn); padding: .3rem .9rem; margin: .8rem 0 }
pre { border: 1px solid var(--line); padding: .5rem .8rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .84rem }
.more, figcaption, footer { color: var(--soft); font-size: .84rem } figure { margin: .8rem 0; break-inside: avoid }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif } svg rect { fill: var(--bar) }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .6rem }
@media print { body { max-width: none; margin: 0; padding: 0; font-size: 10.5pt } }
";

const WIDTH: u64 = 720;
const NAME_WIDTH: u64 = 200;
const VALUE_WIDTH: u64 = 80;
const ROW_HEIGHT: u64 = 22;
/// Characters of a bar's name that are shown.
const NAME_CHARS: usize = 28;

pub(super) fn write(document: &Document) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (document.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (document.title) }
                    p.lead { (document.lead) }
                    dl { @for (name, value) in &document.facts { dt { (name) } dd { (value) } } }
                }
                main {
                    @for section in &document.sections {
                        section {
                            h2 { (section.heading) }
                            @for block in &section.blocks { (block_markup(block)) }
                        }
                    }
                }
                footer { "Made by Tidegate " (env!("CARGO_PKG_VERSION")) " from its evidence. Times are UTC." }
            }
        }
    };
    page.into_string()
}

fn block_markup(block: &Block) -> Markup {
    match block {
        Block::Text(text) => html! { p { (text) } },
        Block::Warning(text) => html! { p.warning role="note" { (text) } },
        Block::Steps(steps) => html! { ol { @for step in steps { li { (step) } } } },
        Block::Command(command) => html! { pre { (command) } },
        Block::Table(table) => table_markup(table),
        Block::Bars(bars) => bars_markup(bars),
    }
}

fn table_markup(table: &Table) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { @for title in &table.columns { th scope="col" { (title) } } } }
                tbody { @for row in &table.rows { tr { @for cell in row { td { (cell) } } } } }
            }
        }
        @if table.more > 0 { p.more { "and " (table.more) " more" } }
    }
}

fn bars_markup(bars: &Bars) -> Markup {
    let most = bars.rows.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1);
    let height = ROW_HEIGHT * bars.rows.len() as u64;
    let room = WIDTH - NAME_WIDTH - VALUE_WIDTH;
    html! {
        figure {
            svg viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label=(bars.title) width="100%" {
                @for (row, (name, value)) in (0u64..).zip(&bars.rows) {
                    @let length = (u128::from(*value) * u128::from(room) / u128::from(most)) as u64;
                    @let top = row * ROW_HEIGHT;
                    text x=(NAME_WIDTH - 8) y=(top + 15) text-anchor="end" { (shortened(name)) }
                    rect x=(NAME_WIDTH) y=(top + 4) width=(length.max(1)) height=(ROW_HEIGHT - 8) {
                        title { (name) ": " (value) }
                    }
                    text x=(NAME_WIDTH + length.max(1) + 6) y=(top + 15) { (value) }
                }
            }
            figcaption { (bars.title) }
        }
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS {
        return name.to_owned();
    }
    name.chars().take(NAME_CHARS - 1).chain(['…']).collect()
}
