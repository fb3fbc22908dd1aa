//! `tidegate audit query`: the entries that fulfil a condition, of all shards, in the order of time.
//!
//! Reads segment files only, so it works beside a running gateway, after one, or on a copy. What is found
//! is the audit crate's; this is arguments and output.
//!
//! Exit code: 0; 1 where evidence is damaged; 64 where an argument is wrong.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use tidegate_audit::json::{event_json_line, kind_name, outcome_name, time_text};
use tidegate_audit::query::{Cost, Indexes, Search};
use tidegate_audit::table::Table;
use tidegate_audit::tail::{Entry, Item};
use tidegate_core::event::ResourceUse;

use super::audit_filter::FilterArgs;

/// Entries whose columns are fitted together.
const BATCH_ENTRIES: usize = 256;

/// Finds entries of the evidence
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// A table for people, one JSON object a line, or CSV with a line per resource
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// At most so many entries
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Only this shard
    #[arg(long, value_name = "N")]
    pub shard: Option<u32>,
    /// Read every segment. Indexes beside the segments make a search fast, but are not signed: whoever could
    /// write to them could make it miss entries
    #[arg(long)]
    pub no_index: bool,
    /// Say on the standard error how much was read
    #[arg(long)]
    pub cost: bool,
    /// Which entries.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// How entries are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned lines for people.
    Table,
    /// One JSON object a line.
    Json,
    /// CSV (RFC 4180) with titles; a line per resource of an entry.
    Csv,
}

/// The titles of the CSV.
const TITLES: &str = "time,shard,sequence,kind,outcome,principal,issuer,session,client_address,client_id,api,\
resource_kind,resource,partition,operation,decision,grant,purpose,first_offset,last_offset,records,bytes,classes,detail";

/// Runs the command and returns its exit code.
///
/// # Errors
/// The evidence cannot be read or `out` not be written, other than by its reader having gone.
pub fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write, colours: bool) -> anyhow::Result<u8> {
    match search(args, out, errors, colours) {
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(0)
        }
        other => other,
    }
}

fn search(args: &Args, out: &mut dyn Write, errors: &mut dyn Write, colours: bool) -> anyhow::Result<u8> {
    let indexes = if args.no_index { Indexes::Ignore } else { Indexes::Build };
    let mut search = Search::new(&args.dir, args.shard, args.filter.query(), indexes)
        .with_context(|| format!("cannot read the evidence in {}", args.dir.display()))?;
    let mut printer =
        Printer { out: BufWriter::new(out), output: args.output, table: Table::new(colours), titled: false };
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut damaged = false;
    let mut batch = Vec::new();
    while left > 0 {
        match search.next()? {
            Some(Item::Entry(entry)) => {
                batch.push(entry);
                left -= 1;
                if batch.len() == BATCH_ENTRIES {
                    printer.print(&batch)?;
                    batch.clear();
                }
            }
            Some(Item::Damaged(place)) => {
                damaged = true;
                writeln!(errors, "tidegate: damaged evidence: {place}")?;
            }
            None => break,
        }
    }
    printer.print(&batch)?;
    printer.out.flush()?;
    if args.cost {
        say_cost(search.cost(), errors)?;
    }
    Ok(u8::from(damaged))
}

fn say_cost(cost: Cost, errors: &mut dyn Write) -> io::Result<()> {
    let Cost { segments, skipped, bytes, bytes_read } = cost;
    let part = bytes_read as f64 * 100.0 / (bytes as f64).max(1.0);
    writeln!(
        errors,
        "tidegate: read {} of {segments} segments, {:.1} of {:.1} MB ({part:.2} %)",
        segments - skipped,
        bytes_read as f64 / 1e6,
        bytes as f64 / 1e6
    )
}

struct Printer<'a> {
    out: BufWriter<&'a mut dyn Write>,
    output: Output,
    table: Table,
    titled: bool,
}

impl Printer<'_> {
    fn print(&mut self, entries: &[Entry]) -> io::Result<()> {
        let title = !std::mem::replace(&mut self.titled, true);
        match self.output {
            Output::Json => {
                for entry in entries {
                    writeln!(self.out, "{}", event_json_line(&entry.event, entry.shard, entry.sequence))?;
                }
            }
            Output::Csv => {
                if title {
                    write!(self.out, "{TITLES}\r\n")?;
                }
                entries.iter().try_for_each(|entry| csv(&mut self.out, entry))?;
            }
            Output::Table => {
                entries.iter().for_each(|entry| self.table.fit(entry));
                if title && !entries.is_empty() {
                    writeln!(self.out, "{}", self.table.titles())?;
                }
                for entry in entries {
                    writeln!(self.out, "{}", self.table.line(entry))?;
                }
            }
        }
        Ok(())
    }
}

/// An entry's lines: one per resource, or one without.
fn csv(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let event = &entry.event;
    let mut classes: Vec<&str> = event.findings.iter().map(|finding| &*finding.class).collect();
    classes.sort_unstable();
    classes.dedup();
    let before = [
        time_text(event.time_micros),
        entry.shard.to_string(),
        entry.sequence.to_string(),
        kind_name(event.kind).to_owned(),
        outcome_name(event.outcome).to_owned(),
        text(&event.principal),
        text(&event.issuer),
        text(&event.session),
        text(&event.client_address),
        text(&event.client_id),
        text(&event.api),
    ]
    .join(",");
    let after = [text(&classes.join(" ")), text(&event.detail)].join(",");
    if event.resources.is_empty() {
        return write!(out, "{before},,,,,,,,,,,,{after}\r\n");
    }
    event.resources.iter().try_for_each(|resource| write!(out, "{before},{},{after}\r\n", columns(resource)))
}

fn columns(resource: &ResourceUse) -> String {
    let number = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
    [
        text(&resource.kind),
        text(&resource.name),
        number(resource.partition.map(i64::from)),
        text(&resource.operation),
        (if resource.allowed { "allow" } else { "deny" }).to_owned(),
        text(&resource.rule),
        text(&resource.purpose),
        number(resource.first_offset),
        number(resource.last_offset),
        resource.records.to_string(),
        resource.bytes.to_string(),
    ]
    .join(",")
}

/// A text as a field. Much of it is chosen by clients and the file will be opened with a spreadsheet: what
/// that would take for a formula gets an apostrophe in front.
pub(super) fn text(text: &str) -> String {
    let formula = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{formula}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{formula}{text}")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tidegate_audit::log::{LogOptions, ShardLog};
    use tidegate_core::event::{Event, FindingCount, Kind, Outcome};
    use tidegate_core::words::Timestamp;

    use super::*;
    use crate::cli::parsed::parsed;

    /// Entries 0..24, alternately of two shards.
    fn evidence() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let options = LogOptions { segment_bytes: 2 << 20, ..LogOptions::default() };
        for shard in 0..2 {
            let (mut log, _) = ShardLog::open(root.path(), shard, "gw", options.clone(), Timestamp(0)).unwrap();
            for n in (0..24).filter(|n| n % 2 == i64::from(shard)) {
                log.append(&event(n));
            }
            log.commit().unwrap();
        }
        root
    }

    fn event(n: i64) -> Event {
        Event {
            time_micros: 1_700_000_000_000_000 + n * 1_000_000,
            kind: if n == 5 { Kind::SessionStart } else { Kind::Exchange } as i32,
            outcome: if n % 3 == 0 { Outcome::Denied } else { Outcome::Allowed } as i32,
            principal: format!("user-{}", n % 4),
            session: format!("s{}", n / 6),
            client_id: "=cmd|' /C calc'!A0, \"x\"".into(),
            api: "Fetch".into(),
            resources: vec![ResourceUse {
                kind: "topic".into(),
                name: "orders".into(),
                partition: Some((n % 3) as i32),
                operation: "Read".into(),
                allowed: n % 3 != 0,
                rule: "analysts".into(),
                purpose: "billing".into(),
                first_offset: Some(n * 10),
                last_offset: Some(n * 10 + 9),
                records: 10,
                bytes: 1000,
            }],
            findings: if n == 7 {
                vec![FindingCount {
                    class: "email".into(),
                    operator: "redact".into(),
                    count: 2,
                    topic: "orders".into(),
                    ..FindingCount::default()
                }]
            } else {
                Vec::new()
            },
            ..Event::default()
        }
    }

    fn output(dir: &Path, line: &str) -> (u8, String, String) {
        let words = ["query", dir.to_str().unwrap()].into_iter().chain(line.split_whitespace());
        let args = parsed::<Args>(words).unwrap();
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = run(&args, &mut out, &mut errors, false).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn every_option_asks_what_it_says() {
        let root = evidence();
        let rows: Vec<(&str, Vec<i64>)> = vec![
            ("", (0..24).collect()),
            ("--limit 3", vec![0, 1, 2]),
            ("--shard 1 --limit 2", vec![1, 3]),
            ("--principal user-1", vec![1, 5, 9, 13, 17, 21]),
            ("--principal user-1 --session s0 --session s3", vec![1, 5, 21]),
            ("--kind session_start", vec![5]),
            ("--outcome denied --session s0", vec![0, 3]),
            ("--topic orders --partition 2 --session s0", vec![2, 5]),
            ("--topic ord* --offset 55..61", vec![5, 6]),
            ("--offset 100", vec![10]),
            ("--operation Write", vec![]),
            ("--decision deny --grant analysts --purpose billing --session s1", vec![6, 9]),
            ("--class email", vec![7]),
            ("--api Fetch --since 2023-11-14T22:13:41Z", vec![21, 22, 23]),
            ("--until 2023-11-14T22:13:22Z", vec![0, 1]),
            ("--since 2h", vec![]),
            ("--no-index --principal user-3 --session s0", vec![3]),
        ];
        for (line, expected) in rows {
            let (code, text, _) = output(root.path(), &format!("{line} --output json"));
            let sequences: Vec<i64> = text
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
                .map(|entry| entry["sequence"].as_i64().unwrap() * 2 + entry["shard"].as_i64().unwrap())
                .collect();
            assert_eq!((code, sequences), (0, expected), "{line}");
        }
    }

    #[test]
    fn tables_csv_and_cost() {
        let root = evidence();
        let (_, table, said) = output(root.path(), "--session s0 --cost");
        assert!(table.lines().count() == 7 && table.starts_with("TIME"), "{table}");
        assert!(said.contains("read 2 of 2 segments"), "{said}");
        let (_, csv, _) = output(root.path(), "--class email --output csv");
        let expected = format!(
            "{TITLES}\r\n2023-11-14T22:13:27.000000Z,1,3,exchange,allowed,user-3,,s1,,\"'=cmd|' /C calc'!A0, \"\"x\"\"\",Fetch,\
             topic,orders,1,Read,allow,analysts,billing,70,79,10,1000,email,\r\n"
        );
        assert_eq!(csv, expected);
        let columns = |line: &str| line.matches(',').count();
        let mut out = Vec::new();
        super::csv(&mut out, &Entry { shard: 0, sequence: 0, event: Event::default() }).unwrap();
        assert_eq!(columns(&String::from_utf8(out).unwrap()), columns(TITLES), "no resource, the same columns");
    }

    #[test]
    fn arguments_that_make_no_sense() {
        for line in
            ["--offset 9..1", "--since tomorrow", "--decision maybe", "--kind odd", "--output xml", "--partition x"]
        {
            let words = ["query", "dir"].into_iter().chain(line.split_whitespace());
            assert!(parsed::<Args>(words).is_err(), "{line}");
        }
    }
}
