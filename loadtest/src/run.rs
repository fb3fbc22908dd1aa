//! One profile against one target, to its end: connect, warm up, measure, stop.
//!
//! This is the seam that everything above is built on: `compare`, `sweep` and `soak` call [`run`]
//! with different targets and profiles and look at the [`RunResult`]s.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};

use crate::generator::{Generator, Phase};
use crate::payload::Pool;
use crate::proc::Usage;
use crate::profile::Profile;
use crate::result::{Exchanges, ProcessUse, RunResult};
use crate::target::Target;

/// What somebody who watches a run is told; every method may be left out.
pub trait Observer {
    /// Everything is connected and warm: the window begins now.
    fn window_begins(&mut self) {}
    /// About twice a second.
    fn progress(&mut self, _progress: &Progress) {}
    /// The window ended just now. What is put into `result` stays there.
    fn window_ends(&mut self, _result: &mut RunResult) {}
    /// Whether to stop early.
    fn wants_stop(&self) -> bool {
        false
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// Whether the window has begun.
    pub measuring: bool,
    /// Since the window began, or since the start before that, in seconds.
    pub seconds: f64,
    /// How long that phase takes in all, in seconds.
    pub of_seconds: f64,
    /// Connections open.
    pub connections: u64,
    /// Requests answered a second since the last progress.
    pub requests_per_second: f64,
    /// Bytes of record batches a second since the last progress.
    pub bytes_per_second: f64,
    /// Errors so far.
    pub errors: u64,
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Observer for Unwatched {}

/// Runs `profile` against `target`.
///
/// # Errors
/// Where the target cannot be reached or logged in to at all, or this machine does not let the
/// generator run. Errors after that are in the result.
pub fn run(profile: &Profile, target: &Target) -> anyhow::Result<RunResult> {
    run_watched(profile, target, &mut Unwatched)
}

/// As [`run`], watched.
///
/// # Errors
/// As [`run`].
pub fn run_watched(profile: &Profile, target: &Target, observer: &mut dyn Observer) -> anyhow::Result<RunResult> {
    // Descriptors for many connections; what the system allows is enough for fewer.
    let _ = rlimit::utils::increase_nofile_limit(u64::MAX);
    let pool = Arc::new(Pool::new(profile).context("the records of the profile")?);
    let since_unix_micros = unix_micros();
    let generator = Generator::start(profile, target, pool)?;
    let mut watch = Watch { generator: &generator, observer, seen: Seen::default() };
    watch.connect(profile)?;
    generator.enter(Phase::Warm);
    watch.wait(profile.warm_up.0, false);

    let mut result = RunResult {
        system: target.name.clone(),
        profile: profile.clone(),
        started_unix_millis: u64::try_from(unix_micros() / 1000).unwrap_or(0),
        ..RunResult::default()
    };
    let own = ("loadtest".to_owned(), std::process::id());
    let before: Vec<_> =
        target.processes.iter().chain([&own]).map(|process| (process, look_at(process.1, true))).collect();
    watch.observer.window_begins();
    let begun = Instant::now();
    generator.enter(Phase::Measuring);
    watch.wait(profile.duration.0, true);
    // From here on what is under way is answered and no longer counted.
    generator.enter(Phase::Draining);
    result.seconds = begun.elapsed().as_secs_f64();
    result.connections_open = generator.shared.live.connections.load(Ordering::Relaxed);
    result.processes = before.into_iter().filter_map(|((name, pid), before)| used(name, *pid, before?)).collect();
    watch.observer.window_ends(&mut result);

    let tally = generator.finish()?;
    result.produce = tally.produce.traffic();
    result.fetch = tally.fetch.traffic();
    result.sessions = tally.sessions.traffic();
    result.admin = tally.admin.traffic();
    result.send_lag = tally.lag.latency();
    result.errors = tally.errors;
    result.sent = tally.sent;
    let [produce, fetch] = tally.answered;
    result.exchanges = Exchanges { since_unix_micros, produce, fetch };
    result.oracle = Some(tally.findings.verdict());
    Ok(result)
}

fn unix_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A look at a process, which may be gone; `begins` makes its peak of memory start anew.
fn look_at(pid: u32, begins: bool) -> Option<Usage> {
    if begins {
        // Of another user's process the peak is that of its whole life.
        let _ = crate::proc::reset_peak(pid);
    }
    Usage::of(pid).ok()
}

fn used(name: &str, pid: u32, before: Usage) -> Option<ProcessUse> {
    let after = look_at(pid, false)?;
    let spent = after.since(&before);
    Some(ProcessUse {
        name: name.to_owned(),
        pid,
        user_seconds: (spent.cpu_seconds - spent.cpu_system_seconds).max(0.0),
        system_seconds: spent.cpu_system_seconds,
        resident_bytes: after.resident_bytes,
        resident_peak_bytes: after.resident_peak_bytes,
        threads: after.threads,
        descriptors: after.descriptors,
        context_switches: spent.switches,
    })
}

/// How often an observer is told where the run stands.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// How long connecting may take, whatever the profile, and how many connections a second are expected beyond.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
const CONNECTIONS_PER_SECOND_MIN: u32 = 100;

struct Watch<'a> {
    generator: &'a Generator,
    observer: &'a mut dyn Observer,
    seen: Seen,
}

/// The counters at the last progress.
struct Seen {
    at: Instant,
    requests: u64,
    bytes: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { at: Instant::now(), requests: 0, bytes: 0 }
    }
}

impl Watch<'_> {
    fn connect(&mut self, profile: &Profile) -> anyhow::Result<()> {
        let wanted = profile.producers + profile.consumers + profile.idle;
        let patience = CONNECT_WITHIN + Duration::from_secs(u64::from(wanted / CONNECTIONS_PER_SECOND_MIN));
        let begun = Instant::now();
        let live = &self.generator.shared.live;
        while !self.generator.is_connected() {
            let failed = live.first_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // Nothing is connected and something failed: more patience would not help.
            let hopeless = failed.is_some()
                && begun.elapsed() > Duration::from_secs(3)
                && live.connections.load(Ordering::Relaxed) == 0;
            if hopeless || begun.elapsed() > patience || self.observer.wants_stop() {
                let open = live.connections.load(Ordering::Relaxed);
                bail!(
                    "{} of {wanted} connections to {} are there after {:.0} s{}",
                    open,
                    self.generator.shared.target.name,
                    begun.elapsed().as_secs_f64(),
                    failed.map_or(String::new(), |error| format!(": {error}"))
                );
            }
            std::thread::sleep(Duration::from_millis(5));
            if self.seen.at.elapsed() >= PROGRESS_EVERY {
                self.tell(false, begun.elapsed(), patience);
            }
        }
        Ok(())
    }

    /// Lets the load run for `time`, or until the observer wants to stop.
    fn wait(&mut self, time: Duration, measuring: bool) {
        let begun = Instant::now();
        while let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            std::thread::sleep(left.min(PROGRESS_EVERY));
            self.tell(measuring, begun.elapsed(), time);
            if self.observer.wants_stop() {
                return;
            }
        }
    }

    fn tell(&mut self, measuring: bool, since: Duration, of: Duration) {
        let live = &self.generator.shared.live;
        let (requests, bytes) = (live.requests.load(Ordering::Relaxed), live.bytes.load(Ordering::Relaxed));
        let seconds = self.seen.at.elapsed().as_secs_f64().max(1e-3);
        let progress = Progress {
            measuring,
            seconds: since.as_secs_f64(),
            of_seconds: of.as_secs_f64(),
            connections: live.connections.load(Ordering::Relaxed),
            requests_per_second: (requests - self.seen.requests) as f64 / seconds,
            bytes_per_second: (bytes - self.seen.bytes) as f64 / seconds,
            errors: live.errors.load(Ordering::Relaxed),
        };
        self.seen = Seen { at: Instant::now(), requests, bytes };
        self.observer.progress(&progress);
    }
}
