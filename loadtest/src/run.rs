//! One profile against one target, to its end: connect, warm up, measure, stop.
//!
//! This is the seam that everything above is built on: `compare`, `sweep` and `soak` call [`run`]
//! with different targets and profiles and look at the [`RunResult`]s.

use crate::profile::Profile;
use crate::result::RunResult;
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
    let _ = (profile, target, observer);
    anyhow::bail!("the generator is not there yet")
}
