//! The counters of one shard. One writer, the shard; one reader, the control thread.
//!
//! A single-writer counter needs no atomic read-modify-write: a relaxed load and a relaxed store
//! compile to an ordinary addition in memory. Each shard's counters start on their own pair of
//! cache lines, so that no other shard's writes move them between cores.

use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tidegate_core::words::DataClass;

/// API keys that get their own counter; higher ones share the last.
const API_KEYS_MAX: usize = 96;

/// Upper bounds of the latency buckets, in microseconds; one more bucket takes what is over.
pub const LATENCY_BOUNDS_MICROS: [u64; 16] = [
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 409_600, 1_638_400, 6_553_600,
    26_214_400,
];

/// Keeps what is inside on cache lines of its own. 128: adjacent lines are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CachePadded<T>(pub T);

impl<T> Deref for CachePadded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A count that only grows. Only one thread may add.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// `count` more.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level that goes up and down. Only one thread may write.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Moves the level.
    pub fn add(&self, difference: i64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(difference), Ordering::Relaxed);
    }

    /// Sets the level.
    pub fn set(&self, level: i64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// The level.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations in fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; LATENCY_BOUNDS_MICROS.len() + 1],
    sum_micros: Counter,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, micros: u64) {
        let bucket = LATENCY_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(counter) = self.buckets.get(bucket) {
            counter.increment();
        }
        self.sum_micros.add(micros);
    }

    /// The counts by bucket, not accumulated; the last is what is over every bound.
    #[must_use]
    pub fn counts(&self) -> [u64; LATENCY_BOUNDS_MICROS.len() + 1] {
        std::array::from_fn(|index| self.buckets.get(index).map_or(0, Counter::get))
    }

    /// The sum of all durations in microseconds.
    #[must_use]
    pub fn sum_micros(&self) -> u64 {
        self.sum_micros.get()
    }
}

/// Why a connection was refused or closed by the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// The shard has as many connections as it may.
    TooMany = 0,
    /// The TLS handshake failed.
    Tls = 1,
    /// The PROXY header was missing or broken.
    ProxyHeader = 2,
    /// Authentication failed or took too long.
    Authentication = 3,
    /// What it sent could not be understood or broke a limit.
    Malformed = 4,
    /// It spoke an API or version that isn't served.
    Unsupported = 5,
    /// Its last grant or its token ended.
    Expired = 6,
    /// It was idle for too long.
    Idle = 7,
    /// The upstream could not be reached or failed.
    Upstream = 8,
    /// The gateway is draining.
    Draining = 9,
    /// A fault of the gateway itself.
    Internal = 10,
    /// Its session, token or principal was revoked.
    Revoked = 11,
    /// It must be recorded and cannot be.
    Unrecorded = 12,
}

impl Refusal {
    /// Every reason, in order of its number.
    pub const ALL: [Self; 13] = [
        Self::TooMany,
        Self::Tls,
        Self::ProxyHeader,
        Self::Authentication,
        Self::Malformed,
        Self::Unsupported,
        Self::Expired,
        Self::Idle,
        Self::Upstream,
        Self::Draining,
        Self::Internal,
        Self::Revoked,
        Self::Unrecorded,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too_many_connections",
            Self::Tls => "tls",
            Self::ProxyHeader => "proxy_header",
            Self::Authentication => "authentication",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::Upstream => "upstream",
            Self::Draining => "draining",
            Self::Internal => "internal",
            Self::Revoked => "revoked",
            Self::Unrecorded => "unrecorded",
        }
    }
}

/// A way that bytes travel, seen from the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Step {
    /// From clients.
    ClientIn = 0,
    /// To clients.
    ClientOut = 1,
    /// From brokers.
    UpstreamIn = 2,
    /// To brokers.
    UpstreamOut = 3,
}

/// All counters of one shard.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Client connections accepted.
    pub connections_accepted: Counter,
    /// Client connections open now.
    pub connections_open: Gauge,
    /// Connections to brokers open now.
    pub upstream_connections_open: Gauge,
    /// Attempts to connect or log in to a broker that failed.
    pub upstream_failures: Counter,
    /// Sessions begun.
    pub sessions: Counter,
    /// Requests that wait for their response now.
    pub requests_in_flight: Gauge,
    /// Requests denied in whole or in part.
    pub denied: Counter,
    /// Requests that had to wait for an approver.
    pub held: Counter,
    /// Requests that wait for an approver now.
    pub held_now: Gauge,
    /// Requests that passed by an approval.
    pub held_passed: Counter,
    /// Requests that were refused for want of an approval.
    pub held_refused: Counter,
    /// Records seen by masking.
    pub records_scanned: Counter,
    /// Times that a partition's records were rewritten because something was masked.
    pub records_rewritten: Counter,
    /// Times that a partition's records could not be parsed.
    pub unparseable: Counter,
    /// Batches of which it was known from before what they become.
    pub batches_recalled: Counter,
    /// Evidence entries written.
    pub evidence_entries: Counter,
    /// Group commits.
    pub evidence_commits: Counter,
    /// Bytes of evidence written.
    pub evidence_bytes: Counter,
    /// Bytes of evidence that wait for being written now.
    pub evidence_pending_bytes: Gauge,
    /// Group commits that failed with an I/O error.
    pub evidence_errors: Counter,
    /// 1 while evidence cannot be written.
    pub evidence_failing: Gauge,
    /// Entries that were given up because they could not be written.
    pub evidence_shed: Counter,
    /// Segments removed by retention.
    pub evidence_removed: Counter,
    /// Segments that are due but under a legal hold.
    pub evidence_held: Gauge,
    /// Recordings under way now.
    pub recordings_open: Gauge,
    /// Recordings that were cut.
    pub recordings_cut: Counter,
    /// Bytes of recordings written.
    pub recordings_bytes: Counter,
    /// Time from a request's last byte to its response's release.
    pub latency: Histogram,
    /// Time a group commit takes.
    pub commit_latency: Histogram,
    refused: [Counter; Refusal::ALL.len()],
    findings: FindingCounters,
    bytes: [Counter; 4],
    requests: RequestCounters,
}

/// Findings by class, those of classes that are not built in last.
#[derive(Debug)]
struct FindingCounters([Counter; DataClass::ALL.len() + 1]);

impl Default for FindingCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

/// Requests by API key. (An array of this length has no `Default`.)
#[derive(Debug)]
struct RequestCounters([Counter; API_KEYS_MAX]);

impl Default for RequestCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl ShardMetrics {
    /// Counts a refused or closed connection.
    pub fn refused(&self, why: Refusal) {
        if let Some(counter) = self.refused.get(why as usize) {
            counter.increment();
        }
    }

    /// How many were refused for this reason.
    #[must_use]
    pub fn refused_count(&self, why: Refusal) -> u64 {
        self.refused.get(why as usize).map_or(0, Counter::get)
    }

    /// Counts findings of a class; `None` is any that is not built in.
    pub fn found(&self, class: Option<DataClass>, count: u64) {
        let index = class.map_or(DataClass::ALL.len(), |class| class as usize);
        if let Some(counter) = self.findings.0.get(index) {
            counter.add(count);
        }
    }

    /// How many findings of a class there were.
    #[must_use]
    pub fn found_count(&self, class: Option<DataClass>) -> u64 {
        let index = class.map_or(DataClass::ALL.len(), |class| class as usize);
        self.findings.0.get(index).map_or(0, Counter::get)
    }

    /// Counts bytes read or written.
    pub fn moved(&self, step: Step, bytes: u64) {
        if let Some(counter) = self.bytes.get(step as usize) {
            counter.add(bytes);
        }
    }

    /// How many bytes went this way.
    #[must_use]
    pub fn moved_bytes(&self, step: Step) -> u64 {
        self.bytes.get(step as usize).map_or(0, Counter::get)
    }

    /// Counts a request by its API key.
    pub fn requested(&self, api_key: i16) {
        let index = usize::try_from(api_key).unwrap_or(API_KEYS_MAX).min(API_KEYS_MAX - 1);
        if let Some(counter) = self.requests.0.get(index) {
            counter.increment();
        }
    }

    /// Requests by API key, where there were any.
    pub fn requests(&self) -> impl Iterator<Item = (i16, u64)> + '_ {
        (0i16..).zip(&self.requests.0).map(|(key, counter)| (key, counter.get())).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_bucket() {
        let histogram = Histogram::default();
        for micros in [0, 50, 51, u64::MAX / 2] {
            histogram.record(micros);
        }
        let counts = histogram.counts();
        assert_eq!((counts[0], counts[1], counts[LATENCY_BOUNDS_MICROS.len()]), (2, 1, 1));
        assert_eq!(histogram.sum_micros(), 101 + u64::MAX / 2);
    }

    #[test]
    fn counts_go_to_their_own_place() {
        let metrics = ShardMetrics::default();
        metrics.requested(3);
        metrics.requested(3);
        metrics.requested(-1);
        metrics.requested(i16::MAX);
        assert_eq!(metrics.requests().collect::<Vec<_>>(), [(3, 2), (95, 2)]);
        metrics.refused(Refusal::Internal);
        assert_eq!(metrics.refused_count(Refusal::Internal), 1);
        metrics.moved(Step::UpstreamOut, 7);
        assert_eq!(metrics.moved_bytes(Step::UpstreamOut), 7);
        metrics.found(Some(DataClass::PaymentCard), 4);
        assert_eq!(metrics.found_count(Some(DataClass::PaymentCard)), 4);
    }

    #[test]
    fn shards_share_no_cache_line() {
        assert_eq!(align_of::<ShardMetrics>(), 128);
        assert_eq!(size_of::<ShardMetrics>() % 128, 0);
    }
}
