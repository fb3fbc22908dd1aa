//! `tidegate audit export`: entries for a SIEM, to a file, to the standard output, or to an HTTP endpoint; or sealed
//! segments as Parquet files ([`lake`]).
//!
//! A line an entry (a JSON array a request for CloudEvents over HTTP). The cursor is written only after the other
//! side has what was read: a file is synced, an HTTP request was answered with 2xx. So every entry comes at least
//! once, and after a crash some come again, with the same id.
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
use tokio::runtime::Runtime;

mod lake;

/// Entries of one request or one write.
const BATCH_ENTRIES: usize = 500;
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);
/// How often a request is tried, with pauses of 1, 2, 4 and 8 seconds between.
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
    /// A file to append to, - for the standard output, or an http:// or https:// address to POST to; for Parquet a
    /// folder, or a folder of an object store (s3://bucket/folder, gs://…, az://… in builds that know them)
    #[arg(long, value_name = "FILE|URL")]
    to: String,
    /// Where it is remembered how far the export is; by default FILE.cursor, and for URLs it must be given.
    /// Without one, to the standard output, everything is exported
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// A file with a token that is sent as `Authorization: Bearer`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
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

impl Format {
    fn value(self, entry: &Entry, origin: &str) -> Value {
        match self {
            Self::Ocsf => ocsf(entry, origin),
            Self::Cloudevents | Self::Parquet => cloud_event(entry, origin),
        }
    }
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
    if cursor.is_none() && matches!(target, Target::Http { .. }) {
        anyhow::bail!("--cursor must be given for a URL: without it, entries would be sent again and again");
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
        let values: Vec<Value> = entries.iter().map(|entry| args.format.value(entry, source.origin())).collect();
        if let Err(error) = target.deliver(args.format, &values) {
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
    Http { runtime: Runtime, client: reqwest::Client, url: reqwest::Url, token: Option<String> },
}

impl<'a> Target<'a> {
    fn open(args: &Args, out: &'a mut dyn Write) -> anyhow::Result<Self> {
        if args.to == "-" {
            return Ok(Self::Stream(out));
        }
        if !args.to.starts_with("http://") && !args.to.starts_with("https://") {
            let file = OpenOptions::new().append(true).create(true).open(&args.to);
            return Ok(Self::File(file.with_context(|| format!("--to {}", args.to))?));
        }
        let url: reqwest::Url = args.to.parse().with_context(|| format!("--to {}", args.to))?;
        let token = args
            .token_file
            .as_ref()
            .map(|file| std::fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display())))
            .transpose()?;
        let local = url.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
        // Entries say who read what; they and the token are nobody's on the way.
        anyhow::ensure!(url.scheme() == "https" || local, "--to {url}: plain HTTP goes to this machine only");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = reqwest::Client::builder().timeout(REQUEST).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self::Http { runtime, client, url, token: token.map(|token| token.trim().to_owned()) })
    }

    /// Where a file's cursor is, unless it is said.
    fn cursor_beside(&self, args: &Args) -> Option<PathBuf> {
        matches!(self, Self::File(_)).then(|| PathBuf::from(format!("{}.cursor", args.to)))
    }

    /// Returns once the other side has it.
    fn deliver(&mut self, format: Format, values: &[Value]) -> anyhow::Result<()> {
        let mut body = Vec::new();
        let batch = format == Format::Cloudevents && matches!(self, Self::Http { .. });
        if batch {
            serde_json::to_writer(&mut body, values)?;
        } else {
            for value in values {
                serde_json::to_writer(&mut body, value)?;
                body.push(b'\n');
            }
        }
        match self {
            Self::Stream(out) => out.write_all(&body).and_then(|()| out.flush())?,
            Self::File(file) => append_whole(file, &body)?,
            Self::Http { runtime, client, url, token } => {
                let kind = if batch { "application/cloudevents-batch+json" } else { "application/x-ndjson" };
                runtime.block_on(post(client, url, token.as_deref(), kind, body))?;
            }
        }
        Ok(())
    }
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

async fn post(
    client: &reqwest::Client,
    url: &reqwest::Url,
    token: Option<&str>,
    kind: &'static str,
    body: Vec<u8>,
) -> anyhow::Result<()> {
    let body = bytes::Bytes::from(body);
    let mut last = None;
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_secs(1 << (attempt - 1))).await;
        }
        let mut request = client.post(url.clone()).header("content-type", kind).body(body.clone());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                // What is wrong with the request stays wrong.
                if status.is_client_error() && status.as_u16() != 429 && status.as_u16() != 408 {
                    anyhow::bail!("it answers {status}");
                }
                last = Some(anyhow::anyhow!("it answers {status}"));
            }
            Err(error) => last = Some(error.without_url().into()),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("it was never tried")))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::net::TcpListener;

    use clap::Parser;
    use tidegate_audit::log::{LogOptions, ShardLog};
    use tidegate_core::event::Event;
    use tidegate_core::words::Timestamp;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn export(words: &[&str]) -> anyhow::Result<(u8, String, String)> {
        let args = Cli::try_parse_from([&["export"], words].concat()).unwrap().args;
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = run(&args, &mut out, &mut errors)?;
        Ok((code, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap()))
    }

    fn write(root: &std::path::Path, entries: i64) {
        let options = LogOptions { segment_bytes: 2 << 20, ..LogOptions::default() };
        let (mut log, _) = ShardLog::open(root, 0, "gw", options, Timestamp(0)).unwrap();
        for n in 0..entries {
            log.append(&Event { time_micros: n, principal: "anna".into(), ..Event::default() });
        }
        log.close().unwrap();
    }

    #[test]
    fn to_a_file_from_where_it_stopped() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 5);
        let file = root.path().join("siem.ndjson");
        let (dir, to) = (root.path().to_str().unwrap(), file.to_str().unwrap());
        let uids = || -> Vec<String> {
            let text = std::fs::read_to_string(&file).unwrap();
            let uid = |line: &str| {
                serde_json::from_str::<Value>(line).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
            };
            text.lines().map(uid).collect()
        };
        assert_eq!(export(&[dir, "--to", to]).unwrap().0, 0);
        assert_eq!(uids(), (0..5).map(|n| format!("gw/000/{n}")).collect::<Vec<_>>());
        assert_eq!(export(&[dir, "--to", to]).unwrap().0, 0);
        assert_eq!(uids().len(), 5, "nothing new");
        write(root.path(), 3);
        export(&[dir, "--to", to]).unwrap();
        assert_eq!(uids().len(), 8);
        let (_, text, _) = export(&[dir, "--to", "-", "--format", "cloudevents"]).unwrap();
        assert_eq!(text.lines().count(), 8);
        assert!(text.starts_with(r#"{"data""#) || text.contains(r#""specversion":"1.0""#), "{text}");
    }

    /// Answers requests with these codes, one each; the bodies.
    fn serve(codes: &'static [&'static str]) -> (String, std::thread::JoinHandle<Vec<(String, String)>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let answer = |code: &&str| {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let answer = format!("HTTP/1.1 {code} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
                (head, String::from_utf8(body).unwrap())
            };
            codes.iter().map(answer).collect()
        });
        (url, served)
    }

    #[test]
    fn over_http_until_it_is_taken() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root = tempfile::tempdir().unwrap();
        write(root.path(), 2);
        let dir = root.path().to_str().unwrap();
        let (cursor, token) = (root.path().join("cursor"), root.path().join("token"));
        std::fs::write(&token, "secret\n").unwrap();
        let more = ["--cursor", cursor.to_str().unwrap(), "--token-file", token.to_str().unwrap()];
        // Refused: an error, and nothing counts as sent.
        let (url, served) = serve(&["403"]);
        let (code, _, errors) = export(&[&[dir, "--to", &url], &more[..]].concat()).unwrap();
        assert!(code == 1 && errors.contains("403") && !cursor.exists(), "{errors}");
        served.join().unwrap();
        // Busy, then taken.
        let (url, served) = serve(&["503", "202"]);
        let (code, ..) = export(&[&[dir, "--to", &url, "--format", "cloudevents"], &more[..]].concat()).unwrap();
        let bodies = served.join().unwrap();
        assert_eq!(code, 0);
        assert_eq!(bodies[0].1, bodies[1].1, "the same again");
        let head = bodies[1].0.to_ascii_lowercase();
        assert!(head.contains("authorization: bearer secret") && head.contains("cloudevents-batch+json"), "{head}");
        assert_eq!(serde_json::from_str::<Vec<Value>>(&bodies[1].1).unwrap().len(), 2);
        assert!(cursor.exists());
        for (to, message) in [("http://example.com/x", "this machine only"), ("http://localhost:1/x", "--cursor")] {
            let error = export(&[dir, "--to", to]).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
