//! `tidegate session list | show | replay | key`: open sessions, and recordings of sessions.
//!
//! Reading order: this file (arguments, which recordings, watching), `load` (files, verified and opened), `timeline`
//! (what happened, in lines), `preview` (what records say), `terminal` (the timeline as it happened, with a hand on it),
//! `against` (the requests once more, to a test broker), `difference` (two answers, field by field).
//!
//! Invariant: nothing of a recording is shown before the look at it is on record: in the evidence of the gateway, or
//! where there is none, in a log beside the recordings that says so.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};
use tidegate_audit::json::time_text;
use tidegate_audit::recording::ledger::{Account, Ledger};
use tidegate_audit::recording::seal::SecretKey;
use tidegate_audit::recording::watch::{self, WATCH_LOG, Watched};
use tidegate_audit::recording::{RecordingId, recording_path};
use tidegate_core::event::RecordingAct;

use super::Failure;
use super::api::{Output, Server, table};
use super::authority::{ListPageArgs, Out, Written, sessions};
use crate::control::admin::requests::WatchedRecording;

mod against;
mod difference;
mod load;
mod preview;
mod terminal;
mod timeline;

use load::Recording;

/// Which gateway, and what of sessions.
#[derive(Debug, Args)]
pub(super) struct SessionAt {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Session,
}

#[derive(Debug, Subcommand)]
enum Session {
    /// List open sessions (yours, or all with a role), or with --dir those that were recorded
    List(ListArgs),
    /// Show what a recording holds: who, when, how much, whether it is as the evidence says
    Show(ShowArgs),
    /// Replay a recording in the terminal, or against a test broker
    #[command(
        after_help = "In a terminal: space pauses, + and - change the speed, n shows the next exchange at once, \
        / searches, q ends.\n\nExamples:\n  tidegate session replay 0199… evidence --speed 10\n  \
        tidegate session replay 0199… evidence --output json | jq .api\n  \
        tidegate session replay 0199… evidence --key auditor.key --why 'Ticket 4711'\n  \
        tidegate session replay 0199… evidence --against localhost:9092"
    )]
    Replay(Box<ReplayArgs>),
    /// Make the key of an auditor: the secret into a file, the public half to the standard output
    Key {
        /// The file to write the secret key to; it must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    page: ListPageArgs,
    /// The evidence directory, or a copy of it: its recordings instead of the gateway's open sessions
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Which recording, and whose look at it.
#[derive(Debug, Args)]
struct Which {
    /// The session's id, or SESSION-NNN for one part of its recording
    #[arg(value_name = "SESSION")]
    id: String,
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR", default_value = "evidence")]
    dir: PathBuf,
    /// Why you look, for the evidence: a ticket, a request
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
    /// Far from any gateway: the look goes into a log beside the recordings, which is no evidence
    #[arg(long)]
    offline: bool,
    /// That log, where it cannot be written there [default: DIR/watched-offline.jsonl]
    #[arg(long, value_name = "FILE", requires = "offline")]
    watch_log: Option<PathBuf>,
    /// Your secret key, for originals
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    #[command(flatten)]
    which: Which,
    /// How many times as fast as it happened; 0 for at once
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    speed: f64,
    /// Only exchanges whose line or records have this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Records shown of each partition
    #[arg(long, default_value_t = 3, value_name = "N")]
    records: usize,
    /// When to wait between exchanges: only in a terminal, always or never
    #[arg(long, value_enum, default_value_t = Pace::Terminal)]
    pace: Pace,
    /// Send the requests to this test broker and show what differs. Requests that write are sent too
    #[arg(long, value_name = "HOST:PORT")]
    against: Option<String>,
    /// With --against: leave out requests that could change something
    #[arg(long, requires = "against")]
    read_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pace {
    /// Where the standard output is a terminal.
    Terminal,
    /// As it happened.
    Recorded,
    /// All at once.
    AtOnce,
}

impl SessionAt {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Session::List(args) => match args.dir {
                Some(dir) => list(&dir, args.page.principal(), self.server.output),
                None => sessions(&self.server, &args.page),
            },
            Session::Show(args) => {
                let recordings = open(&args.which, &self.server, "shown")?;
                show(&recordings, self.server.output)
            }
            Session::Replay(args) => {
                let how = args.against.as_ref().map(|host| format!("replayed against {host}"));
                let recordings = open(&args.which, &self.server, how.as_deref().unwrap_or("replayed"))?;
                replay(&args, recordings, self.server.output)
            }
            Session::Key { out } => make_key(&out),
        }
    }
}

fn usage(sentence: impl Into<String>) -> Failure {
    Failure::Usage(vec![sentence.into()])
}

/// Ends a command whose reader may have gone.
fn written(done: Written) -> Result<(), Failure> {
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Fault(error.to_string())),
        _ => Ok(()),
    }
}

/// The recordings that are meant, once the look at them is on record.
fn open(which: &Which, server: &Server, how: &str) -> Result<Vec<Recording>, Failure> {
    let key = which.key.as_deref().map(read_key).transpose()?;
    let found = load::find(&which.dir, &which.id).map_err(usage)?;
    for found in &found {
        put_on_record(which, server, found.id.as_ref(), how)?;
    }
    load::load(&which.dir, &which.id, &found, key.as_ref()).map_err(|sentence| Failure::Refused(vec![sentence]))
}

fn put_on_record(which: &Which, server: &Server, id: Option<&RecordingId>, how: &str) -> Result<(), Failure> {
    let Some(id) = id else { return Ok(()) };
    if which.offline {
        let path = which.watch_log.clone().unwrap_or_else(|| which.dir.join(WATCH_LOG));
        let watched = Watched {
            time: time_text(super::now().0),
            recording: id.to_string(),
            how: how.to_owned(),
            user: std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned()),
            why: which.why.clone(),
            remark: String::new(),
            before: String::new(),
        };
        return watch::append(&path, watched).map_err(|error| {
            let path = path.display();
            Failure::Refused(vec![format!(
                "the look cannot be put on record in {path}: {error}; name another file with --watch-log"
            )])
        });
    }
    let watched =
        WatchedRecording { session: id.session.clone(), part: id.part, how: how.to_owned(), why: which.why.clone() };
    let path = ["v1", "recordings", "watched"];
    server.call::<Value>(&Method::POST, &path, &Value::Null, Some(&watched)).map(drop).map_err(|failure| {
        let sentences = match failure {
            Failure::Refused(sentences) | Failure::Usage(sentences) => sentences,
            other => return other,
        };
        let hint = "watching is recorded: it takes the gateway (--server) and the role auditor, or --offline on a copy";
        Failure::Refused(sentences.into_iter().chain([hint.to_owned()]).collect())
    })
}

fn read_key(path: &Path) -> Result<SecretKey, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| usage(format!("{}: {error}", path.display())))?;
    let text = zeroize::Zeroizing::new(text);
    SecretKey::parse(&text).map_err(|error| usage(format!("{} {error}", path.display())))
}

fn make_key(out: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let key = SecretKey::generate().map_err(|error| Failure::Fault(error.to_string()))?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    file.and_then(|mut file| file.write_all(key.to_text().as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| usage(format!("{}: {error}", out.display())))?;
    eprintln!(
        "wrote the secret key to {}; keep it away from the gateway. For `auditors` in the policy:",
        out.display()
    );
    written(writeln!(std::io::stdout(), "{}", key.public()))
}

/// The recordings that the evidence speaks of.
fn list(dir: &Path, principal: Option<&str>, output: Output) -> Result<(), Failure> {
    let ledger = Ledger::read(dir, None).map_err(|error| usage(error.to_string()))?;
    for place in &ledger.damaged {
        eprintln!("tidegate: damaged evidence: {place}");
    }
    let mut out = std::io::stdout().lock();
    let mut rows = Vec::new();
    for ((shard, id), account) in &ledger.accounts {
        if principal.is_some_and(|name| name != account.principal) {
            continue;
        }
        let row = Row::of(dir, *shard, id, account);
        match output {
            Output::Json => written(writeln!(out, "{}", row.json()))?,
            Output::Text => rows.push(row.cells()),
        }
    }
    if output == Output::Text {
        let titles = ["RECORDING", "PRINCIPAL", "CLIENT", "MODE", "STATE", "EXCHANGES", "BYTES", "WATCHED", "BEGAN"];
        written(table(&mut out, &titles, &rows))?;
    }
    if ledger.damaged.is_empty() { Ok(()) } else { Err(Failure::Code(1)) }
}

/// A line of the list.
struct Row<'a> {
    shard: u32,
    id: &'a RecordingId,
    account: &'a Account,
    state: &'static str,
    exchanges: u64,
    bytes: u64,
    began: i64,
}

impl<'a> Row<'a> {
    fn of(dir: &Path, shard: u32, id: &'a RecordingId, account: &'a Account) -> Self {
        let chunks = account.notes.iter().filter(|noted| noted.note.act == RecordingAct::Chunk as i32);
        let exchanges = chunks.map(|noted| noted.note.exchanges).sum();
        let last = account.last(&[RecordingAct::Ended, RecordingAct::Cut]);
        let state = match last {
            _ if account.is_removed() => "removed",
            _ if !recording_path(dir, shard, id).exists() => "missing",
            Some(noted) if noted.note.act == RecordingAct::Cut as i32 => "cut",
            Some(_) => "ended",
            None => "under way",
        };
        let bytes = account.notes.iter().map(|noted| noted.note.offset + noted.note.bytes).max().unwrap_or(0);
        let began = account.notes.first().map_or(0, |noted| noted.time_micros);
        Self { shard, id, account, state, exchanges, bytes, began }
    }

    fn mode(&self) -> &str {
        self.account.notes.first().map_or("", |noted| &noted.note.mode)
    }

    fn cells(&self) -> Vec<String> {
        let Self { id, account, state, exchanges, bytes, began, .. } = self;
        vec![
            id.to_string(),
            account.principal.clone(),
            account.client_address.clone(),
            self.mode().to_owned(),
            (*state).to_owned(),
            exchanges.to_string(),
            bytes.to_string(),
            account.watched.len().to_string(),
            time_text(*began),
        ]
    }

    fn json(&self) -> Value {
        let Self { shard, id, account, state, exchanges, bytes, began } = self;
        let watched = account.watched.iter().map(|(time, who)| json!({"time": time_text(*time), "who": who}));
        let end = account.last(&[RecordingAct::Ended, RecordingAct::Cut]).map(|noted| noted.detail.as_str());
        json!({
            "recording": id.to_string(), "session": id.session, "part": id.part, "shard": shard,
            "principal": account.principal, "client_address": account.client_address, "mode": self.mode(),
            "state": state, "exchanges": exchanges, "bytes": bytes, "began": time_text(*began),
            "end": end, "watched": watched.collect::<Vec<_>>(),
        })
    }
}

fn show(recordings: &[Recording], output: Output) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for recording in recordings {
        written(match output {
            Output::Json => writeln!(out, "{}", timeline::summary_json(recording)),
            Output::Text => timeline::summary(recording, &mut out),
        })?;
    }
    altered(recordings)
}

fn replay(args: &ReplayArgs, recordings: Vec<Recording>, output: Output) -> Result<(), Failure> {
    if let Some(sealed) = recordings.iter().find(|one| one.broken.as_deref() == Some(load::SEALED)) {
        let names: Vec<&str> = sealed.header.recipients.iter().map(|one| one.name.as_str()).collect();
        return Err(Failure::Refused(vec![format!(
            "{}: {}; it is sealed for {}",
            sealed.id,
            load::SEALED,
            names.join(", ")
        )]));
    }
    let is_altered = altered(&recordings);
    if let Some(host) = &args.against {
        let mut out = std::io::stdout().lock();
        let differ = against::run(&recordings, host, args.read_only, output, &mut out)
            .map_err(|sentence| Failure::Refused(vec![sentence]))?;
        return if differ { Err(Failure::Code(1)) } else { is_altered };
    }
    let moments = timeline::moments(&recordings, args.records, args.search.as_deref());
    if output == Output::Json {
        let mut out = std::io::stdout().lock();
        for moment in &moments {
            written(writeln!(out, "{}", moment.json()))?;
        }
        return is_altered;
    }
    let is_terminal = std::io::stdout().is_terminal();
    if is_terminal && std::io::stdin().is_terminal() && args.pace != Pace::AtOnce && args.speed > 0.0 {
        written(terminal::run(&recordings, &moments, args.speed))?;
        return is_altered;
    }
    let paced = args.pace == Pace::Recorded && args.speed > 0.0;
    let mut out: Out<'_> = std::io::stdout().lock();
    for recording in &recordings {
        written(timeline::summary(recording, &mut out))?;
    }
    let mut before = None;
    for moment in &moments {
        if let Some(before) = before.filter(|_| paced) {
            std::thread::sleep(terminal::pause(before, moment.at_micros, args.speed));
        }
        before = Some(moment.at_micros);
        written(moment.write(&mut out))?;
    }
    is_altered
}

/// Whether what was shown is not what the evidence says; that is said where nobody can miss it.
fn altered(recordings: &[Recording]) -> Result<(), Failure> {
    let found: Vec<String> = recordings.iter().flat_map(|one| one.findings.iter().map(ToString::to_string)).collect();
    if found.is_empty() {
        return Ok(());
    }
    let first = "this recording is NOT the one that the evidence speaks of".to_owned();
    Err(Failure::Refused([first].into_iter().chain(found).collect()))
}
