//! What one thread saw in the measured window, and the sum of all threads.

use hdrhistogram::Histogram;

use super::check::Findings;
use crate::result::{Errors, Latency, Sent, Traffic};

/// A minute: latencies beyond are counted as that.
const NANOS_MAX: u64 = 60_000_000_000;

/// A histogram of nanoseconds.
#[derive(Clone)]
pub(crate) struct Nanos(Histogram<u64>);

impl Default for Nanos {
    fn default() -> Self {
        // These bounds are the library's to accept, as the tests show.
        #[expect(clippy::expect_used, reason = "constants")]
        Self(Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("the bounds are valid"))
    }
}

impl Nanos {
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos.max(1));
    }

    fn add(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can be out of range.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn latency(&self) -> Latency {
        Latency::of(&self.0)
    }
}

/// Requests of one kind.
#[derive(Clone, Default)]
pub(crate) struct Kind {
    pub(crate) requests: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) latency: Nanos,
    pub(crate) corrected: Nanos,
}

impl Kind {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
        self.wire_bytes += other.wire_bytes;
        self.latency.add(&other.latency);
        self.corrected.add(&other.corrected);
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests,
            records: self.records,
            bytes: self.bytes,
            wire_bytes: self.wire_bytes,
            latency: self.latency.latency(),
            latency_corrected: self.corrected.latency(),
        }
    }
}

/// All that was seen.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) produce: Kind,
    pub(crate) fetch: Kind,
    pub(crate) sessions: Kind,
    pub(crate) admin: Kind,
    pub(crate) lag: Nanos,
    pub(crate) errors: Errors,
    pub(crate) findings: Findings,
    pub(crate) sent: Sent,
    /// Produce and Fetch requests that were answered, whenever in the run.
    pub(crate) answered: [u64; 2],
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.produce.add(&other.produce);
        self.fetch.add(&other.fetch);
        self.sessions.add(&other.sessions);
        self.admin.add(&other.admin);
        self.lag.add(&other.lag);
        self.errors.add(other.errors);
        self.findings.add(other.findings);
        self.sent.extend(other.sent);
        self.answered = [self.answered[0] + other.answered[0], self.answered[1] + other.answered[1]];
    }
}
