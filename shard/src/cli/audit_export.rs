//! `tidegate audit export`: entries for a SIEM, or sealed segments as Parquet files.
//!
//! Entries go to a file, to the standard output, to an HTTP endpoint ([`http`]), to a syslog receiver ([`syslog`]) or to
//! a Kafka topic ([`kafka`]); files of an engine to a folder or an object store ([`lake`]). The cursor is written only
//! after the other side has what was read: a file is synced, a request was answered with 2xx, a receiver has read all
//! and closed, all in-sync replicas have it. So every entry comes at least once, and after a crash some come again,
//! with the same id.
//!
//! Exit code: 0; 1 where the other side takes no more or evidence is damaged; 64 where an argument is wrong.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::Value;
use tidegate_audit::export::{Cursor, Source, cloud_event, ocsf};
use tidegate_audit::tail::Entry;
use tidegate_core::event::{Event, Kind, Outcome};
use tokio::runtime::Runtime;

mod http;
mod kafka;
mod lake;
mod syslog;

use http::Http;
use kafka::Kafka;
use syslog::Syslog;

/// Entries of one request or one write.
const BATCH_ENTRIES: usize = 500;
/// How often a batch is tried over a network, with pauses of 1, 2, 4 and 8 seconds between.
const TRIES: u32 = 5;
/// How often it is looked for new entries when following.
const LOOK: Duration = Duration::from_millis(500);

/// Exports entries as OCSF or CloudEvents, each at least once, or sealed segments as Parquet files
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR", default_value = "evidence")]
    dir: PathBuf,
    /// OCSF 1.8 events, entries in the envelope of CloudEvents 1.0, or Parquet files for DuckDB, Spark, Trino
    #[arg(long, value_enum, default_value_t = Format::Ocsf)]
    format: Format,
    /// A file to append to, - for the standard output, https://… to POST to, syslog+tls://HOST[:6514], or kafka:TOPIC;
    /// for Parquet a folder, also of an object store (s3://bucket/folder, gs://…, az://… in builds that know them)
    #[arg(long, value_name = "FILE|URL")]
    to: String,
    /// Where it is remembered how far the export is; by default FILE.cursor, and over a network it must be given.
    /// Without one, to the standard output, everything is exported
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// A file with a token that is sent as `Authorization: Bearer`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// For kafka: a YAML file whose section `upstream` says how the cluster is reached, as in the gateway's
    /// configuration, which will do
    #[arg(long, value_name = "FILE")]
    kafka: Option<PathBuf>,
    /// For syslog: the authorities that the receiver's certificate is checked against, PEM; by default the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// For syslog: this side's certificate, where the receiver asks for one
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The private key to it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Go on as the evidence grows
    #[arg(short, long)]
    follow: bool,
}

/// What an entry becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// OCSF 1.8.
    Ocsf,
    /// CloudEvents 1.0.
    Cloudevents,
    /// Parquet, a file for each sealed segment and day.
    Parquet,
}

/// An entry, and what it became.
struct Item<'a> {
    entry: &'a Entry,
    value: Value,
}

/// How a try over a network ended.
enum Tried {
    /// The other side has it.
    Done,
    /// It never will; trying again is of no use.
    Refused(anyhow::Error),
    /// Nobody knows whether it has it.
    Failed(anyhow::Error),
}

/// Whether an entry says that something was refused or failed.
fn is_refusal(event: &Event) -> bool {
    let failed = [Outcome::Denied, Outcome::PartlyDenied, Outcome::Malformed, Outcome::UpstreamFailed];
    failed.iter().any(|outcome| *outcome as i32 == event.outcome)
        || event.kind == Kind::AuthenticationFailure as i32
        || event.kind == Kind::Gap as i32
}

/// Runs the command and returns its exit code.
///
/// # Errors
/// An argument is wrong, evidence cannot be read, or the other side takes no more.
pub fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> anyhow::Result<u8> {
    if args.format == Format::Parquet {
        return lake::run(args, out, errors);
    }
    let mut target = Target::open(args, out)?;
    let cursor = args.cursor.clone().or_else(|| target.cursor_beside(args));
    if cursor.is_none() && matches!(target, Target::Network { .. }) {
        anyhow::bail!("--cursor must be given over a network: without it, entries would be sent again and again");
    }
    let at = cursor.as_deref().map(Cursor::load).transpose()?.unwrap_or_default();
    let mut source = Source::new(&args.dir, at);
    loop {
        let entries = match source.read(BATCH_ENTRIES) {
            Ok(entries) => entries,
            Err(error) => {
                writeln!(errors, "tidegate: {error}")?;
                return Ok(1);
            }
        };
        if entries.is_empty() {
            if !args.follow {
                return Ok(0);
            }
            std::thread::sleep(LOOK);
            continue;
        }
        let origin = source.origin();
        let value = |entry| match args.format {
            Format::Ocsf => ocsf(entry, origin),
            Format::Cloudevents | Format::Parquet => cloud_event(entry, origin),
        };
        let items: Vec<Item<'_>> = entries.iter().map(|entry| Item { entry, value: value(entry) }).collect();
        if let Err(error) = target.deliver(args.format, &items, origin) {
            writeln!(errors, "tidegate: {}: {error:#}", args.to)?;
            return Ok(1);
        }
        if let Some(file) = &cursor {
            source.cursor().store(file)?;
        }
    }
}

/// The other side.
enum Target<'a> {
    Stream(&'a mut dyn Write),
    File(File),
    Network { runtime: Runtime, peer: Peer },
}

/// The other side of a network.
enum Peer {
    Http(Http),
    Syslog(Syslog),
    Kafka(Box<Kafka>),
}

impl<'a> Target<'a> {
    fn open(args: &Args, out: &'a mut dyn Write) -> anyhow::Result<Self> {
        let to = args.to.as_str();
        let peer = match to.split_once(':') {
            _ if to == "-" => return Ok(Self::Stream(out)),
            Some(("http" | "https", _)) => Peer::Http(Http::open(to, args.token_file.as_deref())?),
            Some(("syslog+tls", _)) => Peer::Syslog(Syslog::open(args)?),
            Some(("syslog", _)) => {
                anyhow::bail!("--to {to}: entries go to other machines over TLS only: syslog+tls://HOST:PORT")
            }
            Some(("kafka", topic)) => Peer::Kafka(Box::new(Kafka::open(topic, args)?)),
            _ => {
                let file = OpenOptions::new().append(true).create(true).open(to);
                return Ok(Self::File(file.with_context(|| format!("--to {to}"))?));
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self::Network { runtime, peer })
    }

    /// Where a file's cursor is, unless it is said.
    fn cursor_beside(&self, args: &Args) -> Option<PathBuf> {
        matches!(self, Self::File(_)).then(|| PathBuf::from(format!("{}.cursor", args.to)))
    }

    /// Returns once the other side has it.
    fn deliver(&mut self, format: Format, items: &[Item<'_>], origin: &str) -> anyhow::Result<()> {
        match self {
            Self::Stream(out) => {
                let lines = lines(items)?;
                out.write_all(&lines).and_then(|()| out.flush())?;
            }
            Self::File(file) => append_whole(file, &lines(items)?)?,
            Self::Network { runtime, peer } => runtime.block_on(peer.deliver(format, items, origin))?,
        }
        Ok(())
    }
}

impl Peer {
    /// Tries until the other side has it, or too often.
    async fn deliver(&mut self, format: Format, items: &[Item<'_>], origin: &str) -> anyhow::Result<()> {
        let (kind, body) = match self {
            Self::Http(_) if format == Format::Cloudevents => {
                let values: Vec<&Value> = items.iter().map(|item| &item.value).collect();
                ("application/cloudevents-batch+json", serde_json::to_vec(&values)?)
            }
            Self::Http(_) => ("application/x-ndjson", lines(items)?),
            Self::Syslog(_) => ("", syslog::frames(items, origin)),
            Self::Kafka(_) => ("", Vec::new()),
        };
        let body = bytes::Bytes::from(body);
        let mut last = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_secs(1 << (attempt - 1))).await;
            }
            let tried = match self {
                Self::Http(http) => http.post(kind, body.clone()).await,
                Self::Syslog(syslog) => syslog.send(&body).await,
                Self::Kafka(kafka) => kafka.send(items, origin).await,
            };
            match tried {
                Tried::Done => return Ok(()),
                Tried::Refused(error) => return Err(error),
                Tried::Failed(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("it was never tried")))
    }
}

/// A line of JSON an item.
fn lines(items: &[Item<'_>]) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for item in items {
        serde_json::to_writer(&mut lines, &item.value)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Appends and syncs; what a full disk cut off is taken off again, so that no half line stays.
fn append_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    if written.is_err() {
        let _ = file.set_len(before);
    }
    written
}

#[cfg(test)]
mod tests;
