//! The load itself: threads on the gateway's runtime, each with many connections.
//!
//! Closed loop: every connection keeps `depth` requests in flight. Open loop: requests are due by a
//! seeded Poisson process whatever the system does, wait in the generator where it does not keep
//! up, and are counted from when they were due, so that a stall is paid for by every request that it
//! delayed (coordinated omission).
//!
//! Reading order: this file (threads and phases), `open` (connecting and logging in), `plan` (who
//! goes where), `worker` (one producing or fetching connection), `check` (what consumers get),
//! `pacer` (when requests are due), `extras` (idle, slow, churn, groups, admin), `tally`.

mod check;
mod extras;
mod open;
mod pacer;
mod plan;
mod tally;
mod worker;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tidegate::data::runtime::{self, ShardThread};

use crate::payload::Pool;
use crate::profile::Profile;
use crate::result::Errors;
use crate::target::Target;
pub(crate) use tally::Tally;

/// How often a thread looks whether the phase changed.
const TICK: Duration = Duration::from_millis(10);
/// How long what is in flight may take once nothing new is sent.
const DRAIN: Duration = Duration::from_secs(5);

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Connections are made; nothing is sent.
    Connecting,
    /// Load runs and is not counted.
    Warm,
    /// Load runs and is counted.
    Measuring,
    /// Nothing new is sent, nothing is counted.
    Draining,
    /// Everything ends now.
    Stopped,
}

/// What all threads of a run share.
pub(crate) struct Shared {
    pub(crate) profile: Profile,
    pub(crate) target: Target,
    pub(crate) pool: Arc<Pool>,
    /// Runs of this process are told apart, so that no two read or write the same.
    pub(crate) number: u32,
    epoch: Instant,
    phase: AtomicU8,
    /// Threads whose connections are all there.
    pub(crate) ready: AtomicU32,
    pub(crate) live: Live,
    /// What threads that ended left.
    tallies: Mutex<Vec<Tally>>,
}

/// Counters that can be looked at while a run goes on.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// The first error of connecting, for when nothing connects.
    pub(crate) first_error: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Connecting,
            1 => Phase::Warm,
            2 => Phase::Measuring,
            3 => Phase::Draining,
            _ => Phase::Stopped,
        }
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Numbers of runs and of producing connections, unique in this process.
static RUNS: AtomicU32 = AtomicU32::new(0);
static WRITERS: AtomicU32 = AtomicU32::new(0);

/// The load of one run, running.
pub(crate) struct Generator {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<ShardThread>,
}

impl Generator {
    /// Starts the threads; they connect and then wait.
    pub(crate) fn start(profile: &Profile, target: &Target, pool: Arc<Pool>) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            profile: profile.clone(),
            target: target.clone(),
            pool,
            number: RUNS.fetch_add(1, Ordering::Relaxed),
            epoch: Instant::now(),
            phase: AtomicU8::new(Phase::Connecting as u8),
            ready: AtomicU32::new(0),
            live: Live::default(),
            tallies: Mutex::default(),
        });
        let mut generator = Self { shared: shared.clone(), threads: Vec::new() };
        for index in 0..u32::from(profile.generator_threads) {
            let (shared, cpu) = (shared.clone(), None);
            let thread =
                runtime::spawn_executor(&format!("generator-{index}"), cpu, Duration::ZERO, move || run(shared, index))
                    .context("a thread of the generator (io_uring needs Linux 5.19 and must not be disabled)")?;
            generator.threads.push(thread);
        }
        Ok(generator)
    }

    /// Whether every connection is there.
    pub(crate) fn is_connected(&self) -> bool {
        self.shared.ready.load(Ordering::Relaxed) == u32::from(self.shared.profile.generator_threads)
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.shared.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Ends the load in good order and returns what was seen.
    pub(crate) fn finish(mut self) -> anyhow::Result<Tally> {
        self.enter(Phase::Draining);
        let ended: Vec<_> = self.threads.drain(..).map(ShardThread::join).collect();
        for thread in ended {
            match thread {
                Ok(ended) => ended?,
                Err(error) => bail!("a thread of the generator failed: {error}"),
            }
        }
        let mut sum = Tally::default();
        for tally in std::mem::take(&mut *self.shared.tallies.lock().unwrap_or_else(PoisonError::into_inner)) {
            sum.add(tally);
        }
        Ok(sum)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.enter(Phase::Stopped);
        for thread in self.threads.drain(..) {
            // Dropped early, which has its own reason.
            let _ = thread.join();
        }
    }
}

/// What one thread's tasks share.
pub(crate) struct Thread {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: u32,
    pub(crate) scratch: RefCell<Vec<u8>>,
    pub(crate) tally: RefCell<Tally>,
    handles: RefCell<Vec<Rc<Handle>>>,
}

/// How a connection's task is woken and told what is due.
#[derive(Default)]
pub(crate) struct Handle {
    waker: RefCell<Option<Waker>>,
    /// When requests are due, in nanoseconds since the run began.
    pub(crate) due: RefCell<VecDeque<u64>>,
}

impl Handle {
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(crate) fn wait(&self, waker: &Waker) {
        let mut held = self.waker.borrow_mut();
        if held.as_ref().is_none_or(|held| !held.will_wake(waker)) {
            *held = Some(waker.clone());
        }
    }
}

impl Thread {
    /// A handle that is woken when the phase changes.
    pub(crate) fn handle(&self) -> Rc<Handle> {
        let handle = Rc::new(Handle::default());
        self.handles.borrow_mut().push(handle.clone());
        handle
    }

    /// Counts an error, and keeps it in words where there are few.
    pub(crate) fn error(&self, count: impl FnOnce(&mut Errors), sentence: impl FnOnce() -> String) {
        self.shared.live.errors.fetch_add(1, Ordering::Relaxed);
        let errors = &mut self.tally.borrow_mut().errors;
        count(errors);
        errors.sample(sentence);
    }

    /// This thread's share of `count` things: their numbers.
    pub(crate) fn share(&self, count: u32) -> impl Iterator<Item = u32> {
        (self.index..count).step_by(usize::from(self.shared.profile.generator_threads))
    }
}

async fn run(shared: Arc<Shared>, index: u32) -> anyhow::Result<()> {
    let thread = Rc::new(Thread {
        shared: shared.clone(),
        index,
        scratch: RefCell::new(crate::link::scratch()),
        tally: RefCell::default(),
        handles: RefCell::default(),
    });
    let plan = Rc::new(match plan::discover(&thread).await {
        Ok(plan) => plan,
        Err(error) => {
            let mut first = shared.live.first_error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(format!("{error:#}"));
            return Ok(());
        }
    });
    let mut tasks = worker::start(&thread, &plan).await;
    tasks.extend(extras::start(&thread, &plan).await);
    shared.ready.fetch_add(1, Ordering::Relaxed);

    let mut phase = Phase::Connecting;
    let mut drain_until = None;
    loop {
        runtime::sleep(TICK).await;
        let now = shared.phase();
        if now != phase {
            phase = now;
            thread.handles.borrow().iter().for_each(|handle| handle.wake());
        }
        match (phase, drain_until) {
            (Phase::Draining, None) => drain_until = Some(Instant::now() + DRAIN),
            (Phase::Draining, Some(until)) => {
                tasks.retain(|task| !task.done.get());
                if tasks.is_empty() || Instant::now() > until {
                    break;
                }
            }
            (Phase::Stopped, _) => break,
            _ => {}
        }
    }
    for task in tasks {
        task.task.cancel().await;
    }
    let tally = std::mem::take(&mut *thread.tally.borrow_mut());
    shared.tallies.lock().unwrap_or_else(PoisonError::into_inner).push(tally);
    Ok(())
}

/// A task of a thread, and whether it is through.
pub(crate) struct Job {
    task: runtime::Task<()>,
    done: Rc<std::cell::Cell<bool>>,
}

/// Runs `future` as a task of this thread.
pub(crate) fn job(future: impl Future<Output = ()> + 'static) -> Job {
    let done = Rc::new(std::cell::Cell::new(false));
    let also = done.clone();
    let task = runtime::spawn(async move {
        future.await;
        also.set(true);
    });
    Job { task, done }
}

/// The number of a new producing connection.
pub(crate) fn next_writer() -> u32 {
    WRITERS.fetch_add(1, Ordering::Relaxed) % crate::payload::Identity::WRITERS_MAX
}
