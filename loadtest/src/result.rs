//! What one run of one profile against one address yields. Everything is serialisable: reports are
//! made of it, today or from a file.
//!
//! Latencies are in microseconds. "Uncorrected" counts from when a request was sent; "corrected" from
//! when it should have been (coordinated omission): in an open loop that is its due time, in a closed
//! loop the two are the same.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::profile::Profile;

/// One run against one system.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunResult {
    /// The system's name, as [`crate::target::Target::name`] says.
    pub system: String,
    /// The load.
    pub profile: Profile,
    /// When measuring began, milliseconds since the Unix epoch.
    pub started_unix_millis: u64,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// What producers did.
    pub produce: Traffic,
    /// What consumers did.
    pub fetch: Traffic,
    /// Connections made, logged in and asked one thing, in a churn.
    pub sessions: Traffic,
    /// Admin and group requests.
    pub admin: Traffic,
    /// How late requests left the generator in an open loop: over a tenth of the latencies, the
    /// generator itself is what was measured.
    pub send_lag: Latency,
    /// What went wrong.
    pub errors: Errors,
    /// Connections open when the window ended.
    pub connections_open: u64,
    /// The processes that [`crate::target::Target::processes`] names, and the load test itself.
    pub processes: Vec<ProcessUse>,
    /// What the oracle says; `None` where it did not run.
    pub oracle: Option<Verdict>,
    /// What producers sent, for the oracle; not part of reports.
    #[serde(skip)]
    pub sent: Sent,
    /// Exchanges of the whole run, warm-up included, for the oracle; not part of reports.
    #[serde(skip)]
    pub exchanges: Exchanges,
    /// What the blackhole broker can do on this machine without anything between; `None` where it
    /// was not measured.
    pub blackhole_limit: Option<Limit>,
}

/// Exchanges that were answered, whenever in the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exchanges {
    /// When the run began to connect, in microseconds since the Unix epoch.
    pub since_unix_micros: i64,
    /// Produce requests.
    pub produce: u64,
    /// Fetch requests of consumers.
    pub fetch: u64,
}

/// What producers sent, by writer, topic and partition.
pub type Sent = BTreeMap<(u32, String, i32), SentTo>;

/// What one connection sent to one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SentTo {
    /// Batches sent.
    pub sent: u64,
    /// Batches whose acknowledgement came; with acks=none those sent.
    pub acknowledged: u64,
}

/// Requests of one direction, in the measured window.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests answered (with acks=none, sent).
    pub requests: u64,
    /// Records in them or in their answers.
    pub records: u64,
    /// Bytes of record batches.
    pub bytes: u64,
    /// Bytes of frames, both ways, TLS not counted.
    pub wire_bytes: u64,
    /// From sent to answered.
    pub latency: Latency,
    /// From due to answered.
    pub latency_corrected: Latency,
}

/// A latency distribution, in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Samples.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// The largest.
    pub max_us: f64,
    /// The whole curve: quantile (0 to 1) and microseconds, denser towards the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(f64, f64)>,
}

impl Latency {
    /// Of a histogram of nanoseconds.
    #[must_use]
    pub fn of(nanos: &Histogram<u64>) -> Self {
        if nanos.is_empty() {
            return Self::default();
        }
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        let at = |quantile: f64| micros(nanos.value_at_quantile(quantile));
        Self {
            count: nanos.len(),
            mean_us: nanos.mean() / 1000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(nanos.max()),
            curve: nanos.iter_quantiles(4).map(|step| (step.quantile(), micros(step.value_iterated_to()))).collect(),
        }
    }
}

/// What went wrong in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Connections that could not be made or logged in.
    pub connect: u64,
    /// Connections that ended while they were needed.
    pub lost: u64,
    /// Answers with an error, by Kafka's name.
    pub codes: BTreeMap<String, u64>,
    /// Answers that are no Kafka, or not to what was asked.
    pub malformed: u64,
    /// The first few in words.
    pub samples: Vec<String>,
}

/// Errors kept in words.
const SAMPLES_MAX: usize = 10;

impl Errors {
    /// How many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.connect + self.lost + self.malformed + self.codes.values().sum::<u64>()
    }

    /// Keeps `sentence` where there are few.
    pub fn sample(&mut self, sentence: impl FnOnce() -> String) {
        if self.samples.len() < SAMPLES_MAX {
            let sentence = sentence();
            if !self.samples.contains(&sentence) {
                self.samples.push(sentence);
            }
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.connect += other.connect;
        self.lost += other.lost;
        self.malformed += other.malformed;
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
        for sentence in other.samples {
            self.sample(|| sentence);
        }
    }
}

/// What a process used within the measured window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// Its name, as [`crate::target::Target::processes`] has it.
    pub name: String,
    /// Its id.
    pub pid: u32,
    /// CPU seconds in user mode.
    pub user_seconds: f64,
    /// CPU seconds in the kernel.
    pub system_seconds: f64,
    /// Resident memory at the end, in bytes.
    pub resident_bytes: u64,
    /// Peak resident memory (VmHWM), in bytes; of the process' life, not of the window.
    pub resident_peak_bytes: u64,
    /// Threads at the end.
    pub threads: u64,
    /// File descriptors at the end.
    pub descriptors: u64,
    /// Voluntary and involuntary context switches of all threads.
    pub context_switches: u64,
}

impl ProcessUse {
    /// CPU seconds, user and kernel.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

/// What the oracle found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What was looked at, by name, and how often.
    pub checked: BTreeMap<String, u64>,
    /// What is wrong, a sentence each; empty where all is well. At most [`Verdict::VIOLATIONS_MAX`].
    pub violations: Vec<String>,
    /// Violations beyond those kept.
    pub more: u64,
}

impl Verdict {
    /// Violations kept in words.
    pub const VIOLATIONS_MAX: usize = 50;

    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// Counts things looked at.
    pub fn looked_at(&mut self, what: &str, count: u64) {
        *self.checked.entry(what.to_owned()).or_default() += count;
    }

    /// Adds a violation.
    pub fn violation(&mut self, sentence: impl FnOnce() -> String) {
        if self.violations.len() < Self::VIOLATIONS_MAX {
            self.violations.push(sentence());
        } else {
            self.more += 1;
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        for (what, count) in other.checked {
            *self.checked.entry(what).or_default() += count;
        }
        self.more += other.more;
        for sentence in other.violations {
            self.violation(|| sentence);
        }
    }
}

/// The most that was seen of a system with nothing between generator and it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Requests a second.
    pub requests_per_second: f64,
    /// Bytes of record batches a second.
    pub bytes_per_second: f64,
}

impl RunResult {
    /// Requests of all kinds, answered in the window.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.produce.requests + self.fetch.requests + self.sessions.requests + self.admin.requests
    }

    /// Bytes of record batches moved, both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.produce.bytes + self.fetch.bytes
    }

    /// The use of the process called `name`.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<&ProcessUse> {
        self.processes.iter().find(|process| process.name == name)
    }

    /// CPU seconds per GB (10⁹ bytes of record batches) of the process called `name`; `None` where
    /// it was not watched or no bytes moved.
    #[must_use]
    pub fn cpu_seconds_per_gb(&self, name: &str) -> Option<f64> {
        let gigabytes = self.bytes() as f64 / 1e9;
        (gigabytes > 0.0).then(|| self.process(name).map(|process| process.cpu_seconds() / gigabytes))?
    }

    /// CPU seconds per million requests of the process called `name`.
    #[must_use]
    pub fn cpu_seconds_per_million_requests(&self, name: &str) -> Option<f64> {
        let millions = self.requests() as f64 / 1e6;
        (millions > 0.0).then(|| self.process(name).map(|process| process.cpu_seconds() / millions))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_in_microseconds() {
        let mut nanos = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        for micros in 1..=1000u64 {
            nanos.record(micros * 1000).unwrap();
        }
        let latency = Latency::of(&nanos);
        assert_eq!(latency.count, 1000);
        assert!((latency.p50_us - 500.0).abs() < 1.0, "{latency:?}");
        assert!((latency.max_us - 1000.0).abs() < 2.0, "{latency:?}");
        assert!(latency.curve.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        assert_eq!(Latency::of(&Histogram::<u64>::new(3).unwrap()).count, 0);
    }

    #[test]
    fn a_verdict_keeps_the_first_violations_and_counts_the_rest() {
        let mut verdict = Verdict::default();
        for number in 0..60 {
            verdict.violation(|| number.to_string());
        }
        assert_eq!((verdict.violations.len(), verdict.more, verdict.holds()), (50, 10, false));
    }
}
