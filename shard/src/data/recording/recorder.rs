//! The recorder of a shard: what sessions hand over goes to a writer's thread through a queue that is bounded in bytes;
//! what the writer did comes back as notes, which the shard appends to its evidence on its timer.
//!
//! The shard's thread never waits for the writer. A chunk is in its file before its note is in the evidence.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tidegate_audit::recording::format::{Header, RecordedMode};
use tidegate_audit::recording::seal::PublicKey;
use tidegate_audit::recording::{RecordingId, expire};
use tidegate_audit::retention::hold;
use tidegate_core::event::{Event, Kind, Outcome, RecordingAct, RecordingNote};
use tidegate_core::words::Timestamp;
use tidegate_policy::recording::{RecordingMode, RecordingRule};

use super::super::runtime;
use super::super::session::Session;
use super::super::shard::Shard;
use super::writer::{self, Job, Report};
use super::{Recorded, Recording};
use crate::config::{Config, Release};

/// Recordings that one look removes.
const REMOVED_MAX: usize = 1000;

/// The writer's end of a recorder: made where the shard's thread is not pinned yet, so that the writer is not either.
pub struct Started {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
    queued: Arc<AtomicUsize>,
    reports: Arc<Mutex<Vec<Report>>>,
}

impl Started {
    /// Starts the writer of a shard. It sleeps until something is recorded.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn new(config: &Config, shard: u32) -> std::io::Result<Self> {
        let (jobs, received) = channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let reports = Arc::new(Mutex::default());
        let writer = writer::Writing {
            root: config.evidence.directory.clone(),
            shard,
            durable: config.evidence.release == Release::Durable,
            bytes_max: config.limits.recordings_bytes_per_shard_max,
            queued: queued.clone(),
            reports: reports.clone(),
        };
        let thread =
            std::thread::Builder::new().name(format!("recorder-{shard}")).spawn(move || writer.run(&received))?;
        Ok(Self { jobs, thread, queued, reports })
    }
}

/// A shard's recorder.
pub struct Recorder {
    root: PathBuf,
    shard: u32,
    origin: Arc<str>,
    pending_bytes_max: usize,
    jobs: RefCell<Option<Sender<Job>>>,
    thread: RefCell<Option<JoinHandle<()>>>,
    queued: Arc<AtomicUsize>,
    reports: Arc<Mutex<Vec<Report>>>,
    /// Recordings of which the writer has not said that they ended.
    open: RefCell<HashMap<u64, Rc<Recording>>>,
    next: Cell<u64>,
    /// When it is looked for what is to be removed.
    expire_due: Cell<Instant>,
    expiring: Rc<Cell<bool>>,
}

impl Recorder {
    /// Over a started writer.
    #[must_use]
    pub fn new(config: &Config, shard: u32, started: Started) -> Self {
        Self {
            root: config.evidence.directory.clone(),
            shard,
            origin: config.origin.clone(),
            pending_bytes_max: config.limits.recording_pending_bytes_max as usize,
            jobs: RefCell::new(Some(started.jobs)),
            thread: RefCell::new(Some(started.thread)),
            queued: started.queued,
            reports: started.reports,
            open: RefCell::default(),
            next: Cell::new(0),
            expire_due: Cell::new(Instant::now()),
            expiring: Rc::default(),
        }
    }

    /// Whether so much waits for the writer that nothing more should come.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queued.load(Ordering::Relaxed) >= self.pending_bytes_max
    }

    /// Begins the recording of a session.
    pub(super) fn begin(
        &self,
        session: &Session,
        rule: Arc<RecordingRule>,
        part: u32,
        now: Timestamp,
    ) -> Rc<Recording> {
        let serial = self.next.get();
        self.next.set(serial + 1);
        let event = session.event(Kind::Recording, now);
        let keep = i64::try_from(rule.keep_millis).unwrap_or(i64::MAX);
        let header = Header {
            origin: self.origin.to_string(),
            shard: self.shard,
            session: event.session.clone(),
            part,
            principal: event.principal.clone(),
            issuer: event.issuer.clone(),
            subject: event.subject.clone(),
            groups: event.groups.clone(),
            client_address: event.client_address.clone(),
            rule: rule.name.to_string(),
            mode: mode_of(rule.mode) as i32,
            started_micros: now.0,
            keep_until_micros: now.plus_millis(keep).0,
            recipients: Vec::new(),
            broker: event.broker,
            software: concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let auditors =
            rule.auditors.iter().map(|(name, key)| (name.clone(), PublicKey::from_bytes(*key))).collect::<Vec<_>>();
        // Originals are never written in clear, whatever a policy says.
        let sealed = rule.mode == RecordingMode::Originals;
        let recording = Rc::new(Recording::new(rule, serial, part, event));
        self.open.borrow_mut().insert(serial, recording.clone());
        if sealed && auditors.is_empty() {
            recording.fail("originals have no auditor");
        } else {
            self.send(Job::Begin { serial, header: Box::new(header), auditors });
        }
        recording
    }

    /// Hands an exchange over.
    pub(super) fn push(&self, recording: &Recording, recorded: Recorded) {
        self.queued.fetch_add(recorded.bytes as usize, Ordering::Relaxed);
        self.send(Job::Exchange { serial: recording.serial, recorded: Box::new(recorded) });
    }

    /// Ends a recording.
    pub(super) fn end(&self, recording: &Recording, cut: bool, reason: &str, now: Timestamp) {
        let (serial, reason) = (recording.serial, reason.to_owned());
        self.send(Job::End { serial, cut, reason, time_micros: now.0 });
    }

    fn send(&self, job: Job) {
        let sent = self.jobs.borrow().as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            // The writer is gone, which only a fault of ours does: then nothing is recorded, and that is said.
            let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
            let open = self.open.borrow();
            reports.extend(open.keys().map(|serial| Report::gone(*serial)));
        }
    }

    /// Puts what the writer did into the evidence, and removes what is due: called on the shard's timer.
    pub fn tick(&self, shard: &Rc<Shard>) {
        self.collect(shard);
        if Instant::now() >= self.expire_due.get() && !self.expiring.replace(true) {
            self.expire_due.set(Instant::now() + shard.config.evidence.retention_interval);
            let (shard, expiring) = (shard.clone(), self.expiring.clone());
            runtime::spawn(async move {
                if let Err(error) = expire(&shard).await {
                    tracing::error!(shard = shard.id, %error, "old recordings could not be removed");
                }
                expiring.set(false);
            })
            .detach();
        }
    }

    fn collect(&self, shard: &Shard) {
        let reports = std::mem::take(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner));
        for report in reports {
            let Some(recording) = self.open.borrow().get(&report.serial).cloned() else { continue };
            let note = RecordingNote { part: recording.part, ..report.note };
            let act = RecordingAct::try_from(note.act).unwrap_or(RecordingAct::Unspecified);
            if act == RecordingAct::Cut {
                shard.metrics.recordings_cut.increment();
                tracing::warn!(session = recording.event.session, reason = report.detail, "a recording was cut");
                recording.fail(&report.detail);
            }
            shard.metrics.recordings_bytes.add(note.bytes);
            if matches!(act, RecordingAct::Cut | RecordingAct::Ended) {
                self.open.borrow_mut().remove(&report.serial);
                shard.metrics.recordings_open.add(-1);
            } else if act == RecordingAct::Started {
                shard.metrics.recordings_open.add(1);
            }
            shard.evidence.append(&Event {
                time_micros: shard.now().0,
                outcome: Outcome::Unspecified as i32,
                detail: report.detail,
                recording: Some(Box::new(note)),
                ..recording.event.clone()
            });
        }
    }

    /// Has the writer write everything and end, and puts what it did into the evidence.
    pub async fn finish(&self, shard: &Shard) {
        drop(self.jobs.borrow_mut().take());
        let thread = self.thread.borrow_mut().take();
        if let Some(thread) = thread {
            let ended = runtime::spawn_blocking(move || thread.join().is_ok()).await;
            if !ended {
                tracing::error!(shard = shard.id, "the writer of recordings failed");
            }
        }
        self.collect(shard);
    }

    fn ids(&self) -> HashSet<RecordingId> {
        let id =
            |recording: &Rc<Recording>| RecordingId { session: recording.event.session.clone(), part: recording.part };
        self.open.borrow().values().map(id).collect()
    }
}

/// Removes recordings whose time has come, each after an entry that is on the disk.
async fn expire(shard: &Rc<Shard>) -> std::io::Result<()> {
    let (root, id, now) = (shard.recorder.root.clone(), shard.recorder.shard, shard.now().0);
    let open = shard.recorder.ids();
    let due = {
        let root = root.clone();
        runtime::spawn_blocking(move || {
            // Where holds cannot be read, nothing is removed.
            let holds = hold::active(&root).map_err(std::io::Error::other)?;
            expire::due(&root, id, now, &open, &holds, REMOVED_MAX)
        })
        .await?
    };
    let mut sure = Vec::new();
    for one in due {
        let event = Event {
            time_micros: shard.now().0,
            kind: Kind::Recording as i32,
            session: one.id.session.clone(),
            policy_version: shard.policy_version(),
            detail: format!("the recording {} is removed: it was to be kept until now", one.id),
            broker: -1,
            recording: Some(Box::new(one.note.clone())),
            ..Event::default()
        };
        if !shard.evidence.append_durably(&event).await {
            break;
        }
        sure.push(one);
    }
    if sure.is_empty() {
        return Ok(());
    }
    tracing::info!(shard = shard.id, recordings = sure.len(), "old recordings are removed");
    let bytes: u64 = sure.iter().map(|one| one.bytes).sum();
    runtime::spawn_blocking(move || expire::remove(&root, id, &sure)).await?;
    shard.recorder.send(Job::Freed(bytes));
    Ok(())
}

/// What a shard says when it starts of recordings that ended with the process before.
///
/// # Errors
/// What the operating system says.
pub fn recovered(config: &Config, shard: u32, now: Timestamp) -> std::io::Result<Vec<Event>> {
    let notes = expire::recover(&config.evidence.directory, shard, now.0)?;
    let event = |(id, note): (RecordingId, RecordingNote)| Event {
        time_micros: now.0,
        kind: Kind::Recording as i32,
        session: id.session,
        detail: "found when the gateway started: the process that recorded it did not end in good order".to_owned(),
        broker: -1,
        recording: Some(Box::new(note)),
        ..Event::default()
    };
    Ok(notes.into_iter().map(event).collect())
}

const fn mode_of(mode: RecordingMode) -> RecordedMode {
    match mode {
        RecordingMode::Headers => RecordedMode::Headers,
        RecordingMode::Masked => RecordedMode::Masked,
        RecordingMode::Originals => RecordedMode::Originals,
    }
}
