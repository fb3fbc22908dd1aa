//! Evidence: entries are appended as exchanges end, and committed in groups; what waits for them is
//! woken then (decision 8 of the design: no release without evidence).
//!
//! Each shard has one log. Where writing is all that a release takes, a connection commits at the end of
//! its own turn what it appended, with one system call. All else (syncs, entries of no connection, what
//! failed) is done by one committer task, for all that came together until it runs.
//!
//! What was committed is hashed into the shard's tree and signed on another thread, after what waited
//! for it is released; the checkpoint that comes of it is written with the next commit.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_lite::future::poll_fn;
use tidegate_audit::log::{CommitError, ShardLog};
use tidegate_audit::note::Signer;
use tidegate_core::event::{Entry, Event, Kind, Outcome};

use super::runtime;
use crate::config::{OnFailure, Release};
use crate::shared::ShardMetrics;

/// How long the committer waits after an I/O error before it tries again.
const RETRY: Duration = Duration::from_millis(200);

/// One shard's evidence.
pub struct Evidence {
    log: RefCell<ShardLog>,
    release: Release,
    on_failure: OnFailure,
    /// How many entries are committed, those that were given up included.
    committed: Cell<u64>,
    /// How many entries were given up since the start: what the counts here are ahead of the log's.
    given_up: Cell<u64>,
    appended: Cell<u64>,
    pending_bytes_max: usize,
    stopping: Cell<bool>,
    finished: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    committer: RefCell<Option<Waker>>,
    /// A connection has its turn, and may commit by itself before that ends.
    in_turn: Cell<bool>,
}

/// A connection's turn; what it leaves uncommitted is the committer's when it ends.
pub struct Turn<'a>(&'a Evidence);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.in_turn.set(false);
        if self.0.log.borrow().pending_bytes() > 0 {
            self.0.wake_committer();
        }
    }
}

impl Evidence {
    /// Evidence over an opened log.
    #[must_use]
    pub fn new(log: ShardLog, release: Release, on_failure: OnFailure, pending_bytes_max: u32) -> Rc<Self> {
        let committed = log.written().end();
        Rc::new(Self {
            log: RefCell::new(log),
            release,
            on_failure,
            committed: Cell::new(committed),
            given_up: Cell::new(0),
            appended: Cell::new(0),
            pending_bytes_max: pending_bytes_max as usize,
            stopping: Cell::new(false),
            finished: Cell::new(false),
            waiting: RefCell::new(Vec::new()),
            committer: RefCell::new(None),
            in_turn: Cell::new(false),
        })
    }

    /// Appends an entry and returns how many entries must be committed before what it is the
    /// evidence of may be released; 0 where that waits for nothing.
    pub fn append(&self, event: &impl Entry) -> u64 {
        let sequence = self.log.borrow_mut().append(event);
        self.appended.set(self.appended.get() + 1);
        if !self.in_turn.get() {
            self.wake_committer();
        }
        match self.release {
            Release::Async => 0,
            Release::Written | Release::Durable => sequence + self.given_up.get() + 1,
        }
    }

    /// The sequence number of the entry that was appended last.
    #[must_use]
    pub fn appended_sequence(&self) -> u64 {
        self.log.borrow().next_sequence().saturating_sub(1)
    }

    /// Begins a connection's turn.
    pub fn begin_turn(&self) -> Turn<'_> {
        self.in_turn.set(true);
        Turn(self)
    }

    /// Commits what is pending within a connection's turn, where writing is all that it takes, so that
    /// responses leave while they are still in the processor's caches and no task has to be woken for
    /// it. What fails is left to the committer, which says so and tries again.
    pub fn commit_in_turn(self: &Rc<Self>, shard: u16, metrics: &ShardMetrics) {
        if self.release != Release::Written || self.log.borrow().pending_bytes() == 0 {
            return;
        }
        let begun = Instant::now();
        let mut log = self.log.borrow_mut();
        let bytes = log.pending_bytes();
        if let Ok(committed) = log.commit_written() {
            drop(log);
            self.count_commit(metrics, begun, bytes);
            self.release_up_to(committed.end() + self.given_up.get());
            do_chore(self, shard);
        }
    }

    fn count_commit(&self, metrics: &ShardMetrics, begun: Instant, bytes: usize) {
        metrics.commit_latency.record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        metrics.evidence_pending_bytes.set(i64::try_from(self.log.borrow().pending_bytes()).unwrap_or(i64::MAX));
        metrics.evidence_commits.increment();
        metrics.evidence_bytes.add(bytes as u64);
        metrics.evidence_entries.add(self.appended.replace(0));
    }

    /// Appends an entry and waits until it is on the disk, whatever the release; false where that failed.
    pub async fn append_durably(&self, event: &impl Entry) -> bool {
        let given_up = self.given_up.get();
        let end = self.log.borrow_mut().append(event) + given_up + 1;
        self.appended.set(self.appended.get() + 1);
        self.wake_committer();
        poll_fn(|cx| {
            if self.committed.get() >= end {
                return Poll::Ready(());
            }
            self.wake_on_commit(cx);
            Poll::Pending
        })
        .await;
        let handle = self.log.borrow_mut().sync_handle();
        self.given_up.get() == given_up && runtime::spawn_blocking(move || handle.sync()).await.is_ok()
    }

    /// What signs the evidence.
    #[must_use]
    pub fn signer(&self) -> Option<Arc<Signer>> {
        self.log.borrow().signer()
    }

    /// How many entries are committed.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed.get()
    }

    /// Whether so much waits for being written that no further request should be taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.log.borrow().pending_bytes() >= self.pending_bytes_max
    }

    /// Has the task of `cx` woken after the next commit.
    pub fn wake_on_commit(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    /// Has slow work that is due by time done: called by the shard's timer, so that the last entries
    /// before a silence get their checkpoint too.
    pub fn tick(self: &Rc<Self>, shard: u16) {
        do_chore(self, shard);
        if self.log.borrow().is_rotation_due() {
            self.wake_committer();
        }
    }

    /// A segment that was sealed since it was last asked.
    pub fn take_sealed(&self) -> Option<PathBuf> {
        self.log.borrow_mut().take_sealed()
    }

    /// Commits what is pending here and now, without the committer's task; returns how many entries
    /// are committed. For the `pipeline` bench.
    #[cfg(feature = "benching")]
    pub(crate) fn commit_now(&self) -> u64 {
        let mut log = self.log.borrow_mut();
        if let Ok(committed) = log.commit_written() {
            self.committed.set(committed.end() + self.given_up.get());
        }
        self.appended.set(0);
        self.committed.get()
    }

    fn wake_committer(&self) {
        if let Some(waker) = self.committer.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Has the committer write what is pending and end; [`Evidence::is_finished`] tells when.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.wake_committer();
    }

    /// Whether the committer wrote and synced everything after [`Evidence::stop`].
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished.get()
    }

    fn release_up_to(&self, committed: u64) {
        self.committed.set(committed);
        for waker in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Gives up all entries that are not committed, and releases what waits for them; how many.
    fn give_up(&self) -> u64 {
        let mut log = self.log.borrow_mut();
        let end = log.next_sequence() + self.given_up.get();
        let lost = end.saturating_sub(self.committed.get());
        self.given_up.set(self.given_up.get() + log.shed());
        self.appended.set(0);
        drop(log);
        self.release_up_to(end);
        lost
    }

    /// Waits until something is pending; false when it is time to end.
    async fn wait_for_entries(&self) -> bool {
        poll_fn(|cx| {
            let log = self.log.borrow();
            if log.pending_bytes() > 0 || log.has_checkpoint() || log.is_rotation_due() {
                return Poll::Ready(true);
            }
            if self.stopping.get() {
                return Poll::Ready(false);
            }
            *self.committer.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// Evidence that cannot be written at the moment.
struct Failing {
    since_micros: i64,
    /// What the operating system said first.
    why: String,
    /// Entries given up.
    given_up: u64,
}

/// The committer: one task per shard, until [`Evidence::stop`]. On an I/O error it keeps what is
/// pending and tries again: meanwhile nothing is released, and connections stop reading. Where the configuration
/// says so it gives pending entries up instead, and writes down how many once it can.
pub async fn commit(evidence: Rc<Evidence>, shard: u16, metrics: Arc<ShardMetrics>) {
    let mut failing: Option<Failing> = None;
    while evidence.wait_for_entries().await {
        match commit_group(&evidence, &metrics).await {
            Ok(committed) => {
                if let Some(failed) = failing.take() {
                    metrics.evidence_failing.set(0);
                    tracing::info!(shard, given_up = failed.given_up, "evidence can be written again");
                    write_gap(&evidence, &failed);
                }
                evidence.release_up_to(committed + evidence.given_up.get());
                do_chore(&evidence, shard);
            }
            Err(error) => {
                let waiting = evidence.log.borrow().pending_bytes();
                metrics.evidence_pending_bytes.set(i64::try_from(waiting).unwrap_or(i64::MAX));
                let first = failing.is_none();
                let failed = failing.get_or_insert_with(|| {
                    metrics.evidence_failing.set(1);
                    Failing { since_micros: clock(), why: error.to_string(), given_up: 0 }
                });
                metrics.evidence_errors.increment();
                let shed = evidence.on_failure == OnFailure::Shed;
                if first {
                    let what = if shed { "responses leave without it" } else { "responses are held back until it can" };
                    tracing::error!(shard, %error, "evidence cannot be written; {what}");
                }
                if evidence.stopping.get() {
                    tracing::error!(shard, "stopping with evidence unwritten");
                    break;
                }
                let given_up = if shed { evidence.give_up() } else { 0 };
                failed.given_up += given_up;
                metrics.evidence_shed.add(given_up);
                // What is given up at once needs no pause: the next entries come in their own time.
                if given_up == 0 {
                    runtime::sleep(RETRY).await;
                }
            }
        }
    }
    // Nobody waits for this shard any more: the last checkpoint may block it.
    if let Err(error) = evidence.log.borrow_mut().finish() {
        tracing::error!(shard, %error, "the evidence could not be synced and signed at the end");
    }
    evidence.finished.set(true);
}

/// Says in the evidence itself that it could not be written for some time, and what that cost.
fn write_gap(evidence: &Evidence, failed: &Failing) {
    let now = clock();
    let seconds = now.saturating_sub(failed.since_micros).max(0) / 1_000_000;
    let cost = match failed.given_up {
        0 => "no entry was lost: what waited for them was held back".to_owned(),
        lost => format!("{lost} entries were given up, and what they were the evidence of was released without them"),
    };
    let detail = format!("evidence could not be written for {seconds} seconds ({}); {cost}", failed.why);
    let (kind, outcome) = (Kind::Gap as i32, Outcome::Unspecified as i32);
    evidence.append(&Event { time_micros: now, kind, outcome, detail, broker: -1, ..Event::default() });
}

fn clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

async fn commit_group(evidence: &Evidence, metrics: &ShardMetrics) -> Result<u64, CommitError> {
    let begun = Instant::now();
    let (mut committed, bytes) = {
        let mut log = evidence.log.borrow_mut();
        let bytes = log.pending_bytes();
        (log.commit_written()?, bytes)
    };
    if evidence.release == Release::Durable {
        // The borrow ends before the wait: connections go on appending the next group.
        let handle = evidence.log.borrow_mut().sync_handle();
        committed = runtime::spawn_blocking(move || handle.sync()).await?;
    }
    evidence.count_commit(metrics, begun, bytes);
    Ok(committed.end())
}

/// Has slow work of the log done on another thread, where some is due.
fn do_chore(evidence: &Rc<Evidence>, shard: u16) {
    let Some(chore) = evidence.log.borrow_mut().chore() else { return };
    let doing = runtime::spawn_blocking(move || chore.run());
    let evidence = evidence.clone();
    runtime::spawn(async move {
        if let Err(error) = doing.await {
            tracing::warn!(shard, %error, "evidence could not be signed or the next segment not be prepared");
        }
        if evidence.log.borrow().has_checkpoint() {
            evidence.wake_committer();
        }
    })
    .detach();
}
