//! `tidegate audit verify`: whether evidence is what the gateway wrote, from copied files alone.
//!
//! The work is the audit crate's; this is arguments, a progress bar and the result in words or JSON.
//!
//! Exit code: 0 where everything signed is as it was signed; 1 where something was tampered with or is
//! missing; 64 where nothing could be verified because an argument is wrong.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use tidegate_audit::anchor::split_notes;
use tidegate_audit::keys::{VERIFIER_FILE, read_verifier_keys};
use tidegate_audit::note::VerifierKey;
use tidegate_audit::recording::check::Recordings;
use tidegate_audit::verify::{Options, Progress, Report, Verdict, verify};

/// How often the progress bar is drawn.
const REDRAW: Duration = Duration::from_millis(200);
/// Columns of the bar itself.
const BAR_COLUMNS: usize = 30;

/// Verifies that evidence is complete and unchanged, from the files alone
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The evidence directory, or a copy of it
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// A checkpoint kept elsewhere, or several, which the evidence must still agree with; may be repeated
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
    /// A folder or object store (file://, s3://, …) to which the gateway published checkpoints
    #[arg(long, value_name = "DIR|URL")]
    pub anchors: Vec<String>,
    /// The public keys that are trusted, one a line, the newest last; may be repeated. Without it, the key that
    /// lies beside the evidence, which proves nothing against somebody who could write there
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Sentences for people, or one JSON object
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Sentences.
    Text,
    /// One JSON object.
    Json,
}

/// The trusted keys: those given, or the one beside the evidence. The flag says which it was.
///
/// # Errors
/// A file cannot be read or holds no key.
pub fn trusted_keys(dir: &Path, files: &[PathBuf]) -> anyhow::Result<(Vec<VerifierKey>, bool)> {
    if files.is_empty() {
        let beside = dir.join(VERIFIER_FILE);
        let keys = read_verifier_keys(&beside)
            .context("no --key was given, and there is none beside the evidence that could be used instead")?;
        return Ok((keys, true));
    }
    let mut keys = Vec::new();
    for file in files {
        keys.extend(read_verifier_keys(file).context("--key")?);
    }
    Ok((keys, false))
}

/// Runs the command and returns its exit code.
///
/// # Errors
/// Nothing could be verified: an argument is wrong, or a file cannot be read.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (keys, beside) = trusted_keys(&args.dir, &args.key)?;
    let mut options = Options { keys, ..Options::default() };
    for path in &args.checkpoint {
        let note = std::fs::read(path).with_context(|| format!("--checkpoint {}", path.display()))?;
        let name = path.display().to_string();
        options.checkpoints.extend(split_notes(&note).into_iter().map(|note| (name.clone(), note)));
    }
    for place in &args.anchors {
        let found = super::audit_anchor::read(place).with_context(|| format!("--anchors {place}"))?;
        // An empty folder is not one in which nothing contradicts.
        anyhow::ensure!(!found.is_empty(), "--anchors {place}: there is no anchor");
        options.checkpoints.extend(found);
    }
    let progress = Arc::new(Progress::default());
    let bar = io::stderr().is_terminal().then(|| Bar::start(Arc::clone(&progress)));
    let began = Instant::now();
    let report = verify(&args.dir, &options, &progress);
    drop(bar);
    let report = report?;
    match args.output {
        Output::Json => write_json(&report, out)?,
        Output::Text => write_text(&report, &options, beside, began.elapsed(), out)?,
    }
    out.flush()?;
    Ok(u8::from(report.verdict() == Verdict::Tampered))
}

fn write_json(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let (verdict, tail) = match report.verdict() {
        Verdict::Intact => ("intact", 0),
        Verdict::UnsealedTail(tail) => ("unsealed_tail", tail),
        Verdict::Tampered => ("tampered", 0),
    };
    let json = serde_json::json!({
        "verdict": verdict, "unsealed_entries": tail, "shards": report.shards, "findings": report.findings,
        "key_rotations": report.rotations, "recordings": report.recordings,
    });
    writeln!(out, "{json}")
}

fn write_text(report: &Report, options: &Options, beside: bool, took: Duration, out: &mut dyn Write) -> io::Result<()> {
    match report.verdict() {
        Verdict::Intact => writeln!(out, "intact: every entry is as it was signed")?,
        Verdict::UnsealedTail(tail) => writeln!(
            out,
            "unsealed tail ({tail}): everything signed is as it was signed; the last {tail} entries are not signed yet"
        )?,
        Verdict::Tampered => writeln!(out, "tampered: this is not the evidence that was signed, or not all of it")?,
    }
    for finding in &report.findings {
        writeln!(out, "  {finding}")?;
    }
    for shard in &report.shards {
        write!(
            out,
            "  shard {}: {} entries, {} of them signed, in {} segments",
            shard.shard, shard.entries, shard.signed, shard.segments
        )?;
        if shard.torn_bytes > 0 {
            write!(out, "; {} bytes at the end are no whole entry, as a crash leaves them", shard.torn_bytes)?;
        }
        writeln!(out)?;
        if shard.removed_segments > 0 {
            writeln!(
                out,
                "    {} segments with {} of the entries were removed by retention, as signed notes in their place say",
                shard.removed_segments, shard.removed_entries
            )?;
        }
    }
    let Recordings { files, chunks, uncovered, unknown, removed } = report.recordings;
    if files + removed > 0 {
        write!(out, "  recordings: {files} with {chunks} chunks that entries speak of")?;
        for (count, what) in [
            (uncovered, "chunks at ends that no entry covers yet"),
            (unknown, "whose entries retention removed"),
            (removed, "removed in their time"),
        ] {
            if count > 0 {
                write!(out, "; {count} {what}")?;
            }
        }
        writeln!(out)?;
    }
    if report.rotations > 0 {
        writeln!(out, "  {} rotations of the signing key, each signed with the old and the new one", report.rotations)?;
    }
    for key in &options.keys {
        let whose = if beside { "key beside the evidence" } else { "trusted key" };
        writeln!(out, "  {whose}: {key}")?;
    }
    if beside {
        writeln!(out, "  note: compare that key with a copy kept elsewhere, or give the copy with --key")?;
    }
    if options.checkpoints.is_empty() {
        writeln!(
            out,
            "  note: without --checkpoint or --anchors, an end cut off together with its checkpoints cannot be seen"
        )?;
    } else {
        writeln!(out, "  compared with {} checkpoints kept elsewhere", options.checkpoints.len())?;
    }
    let bytes: u64 = report.shards.iter().map(|shard| shard.bytes).sum();
    let rate = bytes as f64 / 1e6 / took.as_secs_f64().max(1e-6);
    writeln!(out, "  read {:.1} MB in {:.2} s ({rate:.0} MB/s)", bytes as f64 / 1e6, took.as_secs_f64())
}

/// A bar on the standard error, drawn by a thread of its own until it is dropped.
struct Bar {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bar {
    fn start(progress: Arc<Progress>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut drawn = false;
            loop {
                std::thread::park_timeout(REDRAW);
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let (done, all) = (progress.done.load(Ordering::Relaxed), progress.bytes.load(Ordering::Relaxed));
                // If even the standard error is gone there is nobody to show it to.
                let _ = write!(io::stderr(), "\r{}", bar(done, all));
                drawn = true;
            }
            if drawn {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn bar(done: u64, all: u64) -> String {
    let part = if all == 0 { 0.0 } else { (done as f64 / all as f64).min(1.0) };
    let full = (part * BAR_COLUMNS as f64) as usize;
    format!(
        "verifying [{}{}] {:3.0} % of {:.1} MB",
        "█".repeat(full),
        "·".repeat(BAR_COLUMNS - full),
        part * 100.0,
        all as f64 / 1e6
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tidegate_audit::keys::load_or_make;
    use tidegate_audit::log::{LogOptions, ShardLog};
    use tidegate_core::event::Event;
    use tidegate_core::words::Timestamp;

    use super::*;
    use crate::cli::parsed::parsed;

    fn output(dir: &Path, line: &str) -> anyhow::Result<(u8, String)> {
        let words = ["verify", dir.to_str().unwrap()].into_iter().chain(line.split_whitespace());
        let mut out = Vec::new();
        let code = run(&parsed::<Args>(words).unwrap(), &mut out)?;
        Ok((code, String::from_utf8(out).unwrap()))
    }

    #[test]
    fn in_words_in_json_and_as_an_exit_code() {
        let root = tempfile::tempdir().unwrap();
        let signer = load_or_make(root.path(), None, "gw").unwrap().signer;
        let options = LogOptions { segment_bytes: 2 << 20, signer: Some(Arc::new(signer)), ..LogOptions::default() };
        let (mut log, _) = ShardLog::open(root.path(), 0, "gw", options.clone(), Timestamp(0)).unwrap();
        for n in 0..5 {
            log.append(&Event { time_micros: n, principal: "anna".into(), ..Event::default() });
        }
        log.close().unwrap();
        let (code, text) = output(root.path(), "").unwrap();
        assert!(code == 0 && text.starts_with("intact:") && text.contains("5 entries, 5 of them signed"), "{text}");
        assert!(text.contains("note: compare that key"), "{text}");

        let key = root.path().join("copy.key");
        fs::copy(root.path().join(VERIFIER_FILE), &key).unwrap();
        let kept = root.path().join("kept");
        fs::copy(root.path().join("shard-000/checkpoint"), &kept).unwrap();
        let line = format!("--key {} --checkpoint {} --output json", key.display(), kept.display());
        let json: serde_json::Value = serde_json::from_str(&output(root.path(), &line).unwrap().1).unwrap();
        assert_eq!((&json["verdict"], &json["shards"][0]["signed"]), (&"intact".into(), &5.into()));

        let (mut log, _) = ShardLog::open(root.path(), 0, "gw", options, Timestamp(0)).unwrap();
        log.append(&Event::default());
        log.commit().unwrap();
        drop(log);
        let (code, text) = output(root.path(), "").unwrap();
        assert!(code == 0 && text.starts_with("unsealed tail (1):"), "{text}");

        let segment = root.path().join("shard-000/00000000000000000000.tgs");
        let mut bytes = fs::read(&segment).unwrap();
        bytes[4096 + 30] ^= 1;
        fs::write(&segment, bytes).unwrap();
        let (code, text) = output(root.path(), "").unwrap();
        assert!(code == 1 && text.starts_with("tampered:") && text.contains("frame: shard 0, entry 0,"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&output(root.path(), "-o json").unwrap().1).unwrap();
        assert_eq!((&json["verdict"], &json["findings"][0]["offset"]), (&"tampered".into(), &4096.into()));
    }

    #[test]
    fn what_cannot_be_verified_with_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        for (line, message) in [("", "verifier.key"), ("--key /nonexistent/key", "/nonexistent/key")] {
            let error = output(root.path(), line).unwrap_err();
            assert!(format!("{error:#}").contains(message), "{error:#}");
        }
        load_or_make(root.path(), None, "gw").unwrap();
        let error = output(root.path(), "").unwrap_err();
        assert!(format!("{error:#}").contains("there is no evidence"), "{error:#}");
        let error = output(root.path(), "--checkpoint /nonexistent/note").unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/note"), "{error:#}");
    }

    #[test]
    fn the_bar_stays_within_its_columns() {
        for (done, all, text) in [(0, 0, "  0 %"), (50, 100, " 50 %"), (100, 100, "100 %"), (300, 100, "100 %")] {
            let bar = bar(done, all);
            assert!(bar.contains(text), "{bar}");
            assert_eq!(bar.chars().filter(|char| "█·".contains(*char)).count(), BAR_COLUMNS);
        }
    }
}
