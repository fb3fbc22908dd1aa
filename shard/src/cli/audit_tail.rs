//! `tidegate audit tail`: shows the evidence, as it stands and as it grows.
//!
//! Only reads segment files, so it works beside a running gateway, after one, or on a copy. The
//! order, the merging and the damage are the audit crate's; this is arguments, output and waiting.
//!
//! Exit code: 0; 1 where evidence is damaged and `-f` was not given. A reader that goes away
//! (`| head`) and Ctrl-C under `-f` are good ends.

use std::future::Future;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use tidegate_audit::json::event_json_line;
use tidegate_audit::table::Table;
use tidegate_audit::tail::{Entry, Filter, Item, StartAt, Tail};
use tidegate_core::event::Event;

use super::audit_filter::FilterArgs;

/// How often new evidence is looked for.
const POLL: Duration = Duration::from_millis(100);
/// How long a torn end may be a write under way before it is told.
const TORN_PATIENCE: Duration = Duration::from_millis(50);
/// Entries printed between two looks at Ctrl-C.
const BATCH_ENTRIES: usize = 256;

/// Shows the evidence, as it stands and as it grows
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The evidence directory (`evidence.directory` in the configuration)
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Go on as evidence is written, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Only this shard
    #[arg(long, value_name = "N")]
    pub shard: Option<u32>,
    /// Begin with the last N entries that match, or `all`
    #[arg(short = 'n', long, value_name = "N|all", default_value = "10", value_parser = parse_lines)]
    pub lines: Lines,
    /// A table for people, or one JSON object a line
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Which entries.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// How many entries to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// All of them.
    All,
    /// The last ones.
    Last(usize),
}

/// How entries are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned lines for people.
    Table,
    /// One JSON object a line.
    Json,
}

fn parse_lines(text: &str) -> Result<Lines, String> {
    match text {
        "all" => Ok(Lines::All),
        number => number.parse().map(Lines::Last).map_err(|_| "neither a number nor `all`".to_owned()),
    }
}

/// Runs the command and returns its exit code. `colours`: whether `out` shows ANSI colours.
///
/// # Errors
/// The directory or a segment cannot be read, or `out` cannot be written (other than by its reader
/// having gone).
pub fn run(args: &Args, out: &mut dyn Write, colours: bool) -> anyhow::Result<i32> {
    if !args.follow {
        return quiet_if_gone(show(args, out, colours));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    quiet_if_gone(runtime.block_on(async {
        follow(args, out, colours, async {
            // Without a handler Ctrl-C ends the process by itself: nothing is lost but the exit code.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await
    }))
}

/// Prints all the evidence there is in a directory as a table, as `run` would with `--lines all`.
///
/// # Errors
/// As [`run`].
pub fn show_once(dir: &Path, out: &mut dyn Write, colours: bool) -> anyhow::Result<()> {
    let args = Args {
        dir: dir.to_owned(),
        follow: false,
        shard: None,
        lines: Lines::All,
        output: Output::Table,
        filter: FilterArgs::default(),
    };
    run(&args, out, colours).map(drop)
}

fn show(args: &Args, out: &mut dyn Write, colours: bool) -> anyhow::Result<i32> {
    let mut tail = open(args)?;
    let mut printer = Printer::new(args.output, out, colours);
    while printer.batch(&mut tail)? {}
    printer.out.flush()?;
    if tail.shards().next().is_none() {
        let which = args.shard.map_or_else(String::new, |shard| format!(" of shard {shard}"));
        note(&format!("there is no evidence{which} in {}", args.dir.display()));
    }
    if !tail.torn_ends().is_empty() {
        // Perhaps a write that was under way: then the next look finds it whole.
        std::thread::sleep(TORN_PATIENCE);
        while printer.batch(&mut tail)? {}
        printer.out.flush()?;
    }
    for torn in tail.torn_ends() {
        note(&format!(
            "the evidence ends in a torn entry, left by a crash and taken off when the gateway starts: {torn}"
        ));
    }
    Ok(i32::from(printer.damaged))
}

async fn follow(
    args: &Args,
    out: &mut dyn Write,
    colours: bool,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<i32> {
    let mut stop = pin!(stop);
    let mut tail = open(args)?;
    let mut printer = Printer::new(args.output, out, colours);
    loop {
        let more = printer.batch(&mut tail)?;
        if !more {
            printer.out.flush()?;
        }
        let pause = if more { Duration::ZERO } else { POLL };
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    printer.out.flush()?;
    Ok(0)
}

fn open(args: &Args) -> anyhow::Result<Tail> {
    let start = match args.lines {
        Lines::All => StartAt::First,
        Lines::Last(wanted) => StartAt::Last(wanted),
    };
    Tail::open(&args.dir, args.shard, start, filter(args))
        .with_context(|| format!("cannot read the evidence in {}", args.dir.display()))
}

fn filter(args: &Args) -> Filter {
    let query = args.filter.query();
    Box::new(move |event: &Event| query.matches(event))
}

/// Prints items; damage goes to the standard error, so that the output stays one format.
struct Printer<'a> {
    out: BufWriter<&'a mut dyn Write>,
    output: Output,
    table: Table,
    titled: bool,
    damaged: bool,
}

impl<'a> Printer<'a> {
    fn new(output: Output, out: &'a mut dyn Write, colours: bool) -> Self {
        Self { out: BufWriter::new(out), output, table: Table::new(colours), titled: false, damaged: false }
    }

    /// Prints some of what there is; false once there is nothing more at the moment.
    fn batch(&mut self, tail: &mut Tail) -> anyhow::Result<bool> {
        let mut entries = Vec::new();
        let mut more = true;
        while more && entries.len() < BATCH_ENTRIES {
            match tail.next()? {
                Some(Item::Entry(entry)) => entries.push(entry),
                Some(Item::Damaged(damaged)) => {
                    self.print(&entries)?;
                    entries.clear();
                    self.out.flush()?;
                    self.damaged = true;
                    note(&format!("damaged evidence: {damaged}"));
                }
                None => more = false,
            }
        }
        self.print(&entries)?;
        Ok(more)
    }

    fn print(&mut self, entries: &[Entry]) -> io::Result<()> {
        match self.output {
            Output::Json => {
                for entry in entries {
                    writeln!(self.out, "{}", event_json_line(&entry.event, entry.shard, entry.sequence))?;
                }
            }
            Output::Table => {
                entries.iter().for_each(|entry| self.table.fit(entry));
                if !self.titled && !entries.is_empty() {
                    self.titled = true;
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

fn note(text: &str) {
    // If even the standard error is gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "tidegate: {text}");
}

/// A reader that went away has seen what it wanted.
fn quiet_if_gone(result: anyhow::Result<i32>) -> anyhow::Result<i32> {
    let gone = |error: &anyhow::Error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    match result {
        Err(error) if gone(&error) => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt as _;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tidegate_audit::log::{LogOptions, ShardLog};
    use tidegate_core::event::{self, Kind, ResourceUse};
    use tidegate_core::words::Timestamp;

    use super::*;
    use crate::cli::parsed::parsed;

    fn args(dir: &Path, line: &str) -> Args {
        let words = ["tail", dir.to_str().unwrap()].into_iter().chain(line.split_whitespace());
        parsed::<Args>(words).unwrap()
    }

    fn event(n: i64) -> Event {
        let outcomes = [event::Outcome::Allowed, event::Outcome::Denied, event::Outcome::PartlyDenied];
        Event {
            time_micros: 1_700_000_000_000_000 + n,
            kind: Kind::Exchange as i32,
            principal: if n % 2 == 0 { "anna" } else { "ben" }.into(),
            api: "Fetch".into(),
            outcome: outcomes[n as usize % 3] as i32,
            resources: vec![ResourceUse {
                kind: "topic".into(),
                name: format!("topic-{}", n % 4),
                ..Default::default()
            }],
            ..Event::default()
        }
    }

    /// Entries 0..24, alternately of two shards.
    fn evidence() -> (tempfile::TempDir, Vec<ShardLog>) {
        let root = tempfile::tempdir().unwrap();
        let options = LogOptions { segment_bytes: 2 << 20, ..LogOptions::default() };
        let mut logs: Vec<ShardLog> = (0..2)
            .map(|shard| ShardLog::open(root.path(), shard, "gateway", options.clone(), Timestamp(0)).unwrap().0)
            .collect();
        for n in 0..24 {
            logs[n as usize % 2].append(&event(n));
        }
        for log in &mut logs {
            log.commit().unwrap();
        }
        (root, logs)
    }

    fn output(args: &Args) -> (i32, String) {
        let mut out = Vec::new();
        let code = run(args, &mut out, false).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn filters_and_lines() {
        let (root, _logs) = evidence();
        for (line, expected) in [
            ("", (14..24).collect::<Vec<i64>>()),
            ("-n all", (0..24).collect()),
            ("-n 0", vec![]),
            ("--lines 3", vec![21, 22, 23]),
            ("--lines 2 --shard 0", vec![20, 22]),
            ("--lines all --principal ben", (0..24).filter(|n| n % 2 == 1).collect()),
            ("--lines 2 --principal ben", vec![21, 23]),
            ("--lines all --principal nobody", vec![]),
            ("--lines all --outcome denied", (0..24).filter(|n| n % 3 == 1).collect()),
            ("--lines all --outcome denied --outcome partly_denied", (0..24).filter(|n| n % 3 != 0).collect()),
            ("--lines all --topic topic-2", (0..24).filter(|n| n % 4 == 2).collect()),
            ("--lines all --topic topic-*", (0..24).collect()),
            ("--lines all --topic topic", vec![]),
            ("--lines all --topic topic-1 --outcome denied --principal ben", vec![1, 13]),
            ("-n 2 --principal ben --principal anna --topic topic-1 --topic topic-2", vec![21, 22]),
            ("--lines all --kind start", vec![]),
        ] {
            let (code, text) = output(&args(root.path(), &format!("{line} --output json")));
            assert_eq!(code, 0);
            let times: Vec<String> = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["time"].as_str().unwrap().to_owned())
                .collect();
            let expected: Vec<String> =
                expected.iter().map(|n| tidegate_audit::json::time_text(event(*n).time_micros)).collect();
            assert_eq!(times, expected, "{line}");
        }
    }

    #[test]
    fn the_table_has_titles_once() {
        let (root, _logs) = evidence();
        let (_, text) = output(&args(root.path(), "-n 2"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("TIME") && lines[1].contains("0/11") && lines[2].contains("1/11"), "{text}");
        let mut all = Vec::new();
        show_once(root.path(), &mut all, true).unwrap();
        assert_eq!(String::from_utf8(all).unwrap().lines().count(), 25);
    }

    #[test]
    fn arguments_that_make_no_sense() {
        for line in ["--lines many", "--lines -1", "--output xml", "--outcome maybe", "--shard x"] {
            let words = ["tail", "dir"].into_iter().chain(line.split_whitespace());
            assert!(parsed::<Args>(words).is_err(), "{line}");
        }
        assert!(parsed::<Args>(["tail"]).is_err());
        let error = run(&args(Path::new("/nonexistent/evidence"), ""), &mut Vec::new(), false).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/evidence"), "{error:#}");
    }

    #[test]
    fn damage_is_an_exit_code() {
        let (root, logs) = evidence();
        drop(logs);
        // A frame whose body is no event, in the middle of a segment that is followed by another.
        let directory = root.path().join("shard-000");
        let segment = directory.join("00000000000000000000.tgs");
        let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
        file.write_all_at(&[0xff; 8], 4096 + 30).unwrap();
        fs::write(directory.join("00000000000000000999.tgs"), "").unwrap();
        let (code, text) = output(&args(root.path(), "-n all"));
        assert_eq!(code, 1);
        assert_eq!(text.lines().count(), 1 + 12, "the other shard is shown: {text}");
    }

    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_a_good_end() {
        let (root, _logs) = evidence();
        for line in ["-n all", "-n all -f", "-n all --output json"] {
            assert_eq!(run(&args(root.path(), line), &mut Gone, false).unwrap(), 0, "{line}");
            assert!(run(&args(root.path(), line), &mut Full, false).is_err(), "{line}");
        }
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn following_shows_what_comes_until_it_is_stopped() {
        let (root, mut logs) = evidence();
        let shared = Shared::default();
        let lines = |shared: &Shared| String::from_utf8(shared.0.lock().unwrap().clone()).unwrap().lines().count();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let watched = shared.clone();
        let code = runtime.block_on(async {
            follow(&args(root.path(), "-n 1 --output json"), &mut shared.clone(), false, async {
                let mut expected = 1;
                for n in 24..40 {
                    while lines(&watched) < expected {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    assert_eq!(lines(&watched), expected);
                    let log = &mut logs[n as usize % 2];
                    log.append(&event(n));
                    log.commit().unwrap();
                    expected += 1;
                }
                while lines(&watched) < expected {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .unwrap()
        });
        assert_eq!((code, lines(&shared)), (0, 17));
    }
}
