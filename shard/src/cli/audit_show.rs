//! `tidegate audit show`: one approval as a story: who asked for what, who decided, and what came of it.
//!
//! The story's entries carry the approval's id: those of the control log (asked, decided, used up), and
//! the exchanges that waited for it or passed by it. All segments are read, without their indexes: a
//! story that lacks an entry would be worse than a slow one.
//!
//! Exit code: 0; 1 where evidence is damaged; 64 where an argument is wrong or no entry names the approval.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use tidegate_audit::json::{event_json_line, kind_name, outcome_name, time_text};
use tidegate_audit::query::{Indexes, Query, Search};
use tidegate_audit::tail::{Entry, Item};

/// Shows the story of an approval: request, decisions, outcome
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The approval's id, for instance ap-mfrggzdfmztwq2lk
    #[arg(value_name = "APPROVAL")]
    pub approval: String,
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR", default_value = "evidence")]
    pub dir: PathBuf,
    /// A timeline for people, or one JSON object a line
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How the story is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A timeline.
    Text,
    /// One JSON object a line.
    Json,
}

/// Runs the command and returns its exit code.
///
/// # Errors
/// The evidence cannot be read, no entry names the approval, or `out` cannot be written.
pub fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> anyhow::Result<u8> {
    let mut search = Search::new(&args.dir, None, Query::default(), Indexes::Ignore)
        .with_context(|| format!("cannot read the evidence in {}", args.dir.display()))?;
    let (mut found, mut damaged) = (0u64, false);
    while let Some(item) = search.next()? {
        match item {
            Item::Entry(entry) if is_part(&entry, &args.approval) => {
                found += 1;
                match args.output {
                    Output::Json => writeln!(out, "{}", event_json_line(&entry.event, entry.shard, entry.sequence))?,
                    Output::Text => tell(&entry, out)?,
                }
            }
            Item::Entry(_) => {}
            Item::Damaged(place) => {
                damaged = true;
                writeln!(errors, "tidegate: damaged evidence: {place}")?;
            }
        }
    }
    anyhow::ensure!(found > 0 || damaged, "no entry in {} names approval {}", args.dir.display(), args.approval);
    Ok(u8::from(damaged))
}

/// Whether an entry is part of the story. A request that waited for several approvals names the others in
/// its words.
fn is_part(entry: &Entry, approval: &str) -> bool {
    entry.event.approval == approval || (!approval.is_empty() && entry.event.detail.contains(approval))
}

fn tell(entry: &Entry, out: &mut dyn Write) -> std::io::Result<()> {
    let event = &entry.event;
    let what = if event.api.is_empty() { kind_name(event.kind) } else { event.api.as_str() };
    let outcome = outcome_name(event.outcome);
    let mut line = format!("{}  {what}", time_text(event.time_micros));
    if !outcome.is_empty() {
        line.push_str(&format!(" {outcome}"));
    }
    if !event.principal.is_empty() {
        line.push_str(&format!("  by {}", event.principal));
    }
    if !event.session.is_empty() {
        line.push_str(&format!("  session {}", event.session));
    }
    line.push_str(&format!("  [{}/{}]", entry.shard, entry.sequence));
    writeln!(out, "{}", clean(&line))?;
    let resources: Vec<String> = event
        .resources
        .iter()
        .map(|resource| format!("{} {} {}", resource.operation, resource.kind, resource.name))
        .collect();
    if !resources.is_empty() {
        writeln!(out, "    {}", clean(&resources.join(", ")))?;
    }
    if !event.detail.is_empty() {
        writeln!(out, "    {}", clean(&event.detail))?;
    }
    if !event.upstream_errors.is_empty() {
        let codes: Vec<String> = event.upstream_errors.iter().map(ToString::to_string).collect();
        writeln!(out, "    the upstream answered with errors {}", codes.join(", "))?;
    }
    Ok(())
}

/// What others wrote must not move a terminal's cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
