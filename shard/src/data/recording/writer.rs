//! The writer of a shard's recordings: a plain thread that encodes, compresses, seals and writes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_audit::recording::expire;
use tidegate_audit::recording::format::Header;
use tidegate_audit::recording::seal::PublicKey;
use tidegate_audit::recording::write::{CHUNK_BYTES, WriteError, Writer};
use tidegate_core::event::{RecordingAct, RecordingNote};

use super::Recorded;

/// How long an exchange waits for others before it is written.
const CHUNK_AGE: Duration = Duration::from_secs(1);
/// How often it is looked for such.
const LOOK: Duration = Duration::from_millis(250);

/// What the writer is asked to do.
pub(super) enum Job {
    Begin {
        serial: u64,
        header: Box<Header>,
        auditors: Vec<(String, PublicKey)>,
    },
    Exchange {
        serial: u64,
        recorded: Box<Recorded>,
    },
    End {
        serial: u64,
        cut: bool,
        reason: String,
        time_micros: i64,
    },
    /// So many bytes of recordings were removed.
    Freed(u64),
}

/// What the writer did.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) serial: u64,
    pub(super) note: RecordingNote,
    /// What there is to say; empty where nothing.
    pub(super) detail: String,
}

impl Report {
    /// The writer is not there any more.
    pub(super) fn gone(serial: u64) -> Self {
        let note = RecordingNote { act: RecordingAct::Cut as i32, part: 1, ..RecordingNote::default() };
        Self { serial, note, detail: "cut: the writer of recordings failed".to_owned() }
    }
}

/// What the thread works with.
pub(super) struct Writing {
    pub(super) root: PathBuf,
    pub(super) shard: u32,
    pub(super) durable: bool,
    pub(super) bytes_max: u64,
    pub(super) queued: Arc<AtomicUsize>,
    pub(super) reports: Arc<Mutex<Vec<Report>>>,
}

struct Open {
    writer: Writer,
    /// When the oldest exchange that is not written came.
    since: Option<Instant>,
}

/// A run of the thread.
struct Run<'a> {
    writing: &'a Writing,
    open: HashMap<u64, Open>,
    /// Bytes of all recordings; `None` until first needed.
    bytes: Option<u64>,
}

impl Writing {
    /// Works until the recorder lets go of its end, then ends what is open.
    pub(super) fn run(&self, jobs: &Receiver<Job>) {
        let mut run = Run { writing: self, open: HashMap::new(), bytes: None };
        let mut looked = Instant::now();
        loop {
            // Where nothing is recorded, nothing is looked for.
            let job = if run.open.is_empty() {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                jobs.recv_timeout(LOOK)
            };
            match job {
                Ok(job) => run.take(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked.elapsed() >= LOOK {
                run.write_old();
                looked = Instant::now();
            }
        }
        let serials: Vec<u64> = run.open.keys().copied().collect();
        serials.into_iter().for_each(|serial| run.end(serial, false, "the gateway stopped", now_micros()));
    }

    fn report(&self, serial: u64, note: RecordingNote, detail: String) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push(Report { serial, note, detail });
    }
}

impl Run<'_> {
    fn take(&mut self, job: Job) {
        match job {
            Job::Begin { serial, header, auditors } => self.begin(serial, *header, &auditors),
            Job::Exchange { serial, recorded } => {
                let Recorded { exchange, bytes } = *recorded;
                if let Some(open) = self.open.get_mut(&serial) {
                    open.writer.push(&exchange);
                    open.since.get_or_insert_with(Instant::now);
                    if open.writer.pending_bytes() >= CHUNK_BYTES {
                        self.write(serial);
                    }
                }
                self.writing.queued.fetch_sub(bytes as usize, Ordering::Relaxed);
            }
            Job::End { serial, cut, reason, time_micros } => self.end(serial, cut, &reason, time_micros),
            Job::Freed(bytes) => self.bytes = self.bytes.map(|all| all.saturating_sub(bytes)),
        }
    }

    fn begin(&mut self, serial: u64, header: Header, auditors: &[(String, PublicKey)]) {
        let (part, rule) = (header.part, header.rule.clone());
        let begun = self.room().and_then(|()| {
            Writer::begin(&self.writing.root, header, auditors, self.writing.durable).map_err(|error| error.to_string())
        });
        match begun {
            Ok((writer, note)) => {
                self.grown(note.bytes);
                self.writing.report(serial, note, "recording begins".to_owned());
                self.open.insert(serial, Open { writer, since: None });
            }
            Err(error) => {
                let note = RecordingNote { act: RecordingAct::Cut as i32, part, rule, ..RecordingNote::default() };
                self.writing.report(serial, note, format!("cut before it began: {error}"));
            }
        }
    }

    fn write_old(&mut self) {
        let is_old = |open: &Open| open.since.is_some_and(|since| since.elapsed() >= CHUNK_AGE);
        let old: Vec<u64> = self.open.iter().filter(|(_, open)| is_old(open)).map(|(serial, _)| *serial).collect();
        old.into_iter().for_each(|serial| self.write(serial));
    }

    fn write(&mut self, serial: u64) {
        let room = self.room();
        let Some(open) = self.open.get_mut(&serial) else { return };
        open.since = None;
        let written = match room {
            Ok(()) => open.writer.write_chunk().map_err(|error| error.to_string()),
            Err(full) => Err(full),
        };
        match written {
            Ok(Some(note)) => {
                self.grown(note.bytes);
                self.writing.report(serial, note, String::new());
            }
            Ok(None) => {}
            Err(why) => self.abandon(serial, &why),
        }
    }

    fn end(&mut self, serial: u64, cut: bool, reason: &str, time_micros: i64) {
        let Some(open) = self.open.remove(&serial) else { return };
        let abandoned = open.writer.abandoned();
        match open.writer.end(cut, reason, time_micros) {
            Ok(notes) => {
                let last = notes.len().saturating_sub(1);
                for (at, note) in notes.into_iter().enumerate() {
                    self.grown(note.bytes);
                    let what = if cut { "cut" } else { "ended" };
                    let detail = if at == last { format!("{what}: {reason}") } else { String::new() };
                    self.writing.report(serial, note, detail);
                }
            }
            Err(error) => self.writing.report(serial, abandoned, cut_words(&error)),
        }
    }

    /// Gives a recording up of which a chunk could not be written.
    fn abandon(&mut self, serial: u64, why: &str) {
        if let Some(open) = self.open.remove(&serial) {
            // The end frame is small, and says in the file itself that there is no more.
            let abandoned = open.writer.abandoned();
            self.writing.report(serial, abandoned, format!("cut, the last exchanges are lost: {why}"));
        }
    }

    fn grown(&mut self, bytes: u64) {
        self.bytes = self.bytes.map(|all| all + bytes);
    }

    /// Whether recordings may take more room.
    fn room(&mut self) -> Result<(), String> {
        let bytes = match self.bytes {
            Some(bytes) => bytes,
            None => {
                let bytes = expire::bytes(&self.writing.root, self.writing.shard).map_err(|error| error.to_string())?;
                *self.bytes.insert(bytes)
            }
        };
        if bytes < self.writing.bytes_max {
            return Ok(());
        }
        Err(format!("recordings take the {} bytes that they may", self.writing.bytes_max))
    }
}

fn cut_words(error: &WriteError) -> String {
    format!("cut, the last exchanges are lost: {error}")
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
