//! Figures of a comparison, each with its interval: made of the runs alone, so that a report can be
//! made anew of an old file.

use serde::{Deserialize, Serialize};

use super::{DIRECT, GATEWAY, Measured};
use crate::result::{Latency, RunResult, Traffic};
use crate::scenario::Goal;
use crate::statistics::{Estimate, Verdict};

/// Which way records went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards the brokers.
    Produce,
    /// Towards the consumers.
    Fetch,
}

/// What two systems can be compared by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// CPU seconds for 10⁹ bytes of record batches.
    CpuPerGb,
    /// CPU seconds a request.
    CpuPerRequest,
    /// What is added to `direct`'s latency, at a quantile.
    AddedLatency(Direction, f64),
    /// The most memory that was resident.
    PeakMemory,
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CpuPerGb => f.write_str("CPU per GB"),
            Self::CpuPerRequest => f.write_str("CPU per request"),
            Self::AddedLatency(direction, quantile) => {
                let direction = if *direction == Direction::Produce { "produce" } else { "fetch" };
                write!(f, "added {direction} p{}", quantile * 100.0)
            }
            Self::PeakMemory => f.write_str("peak memory"),
        }
    }
}

/// What one system did in a scenario. `None` is what could not be measured, never 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SystemFigures {
    /// Its name.
    pub name: String,
    /// Requests answered a second.
    pub requests_per_second: Option<Estimate>,
    /// Bytes of record batches a second, both directions.
    pub bytes_per_second: Option<Estimate>,
    /// CPU seconds per GB.
    pub cpu_per_gb: Option<Estimate>,
    /// CPU seconds per million requests.
    pub cpu_per_million: Option<Estimate>,
    /// Context switches a request.
    pub switches_per_request: Option<Estimate>,
    /// The most memory that was resident, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Latencies of producing.
    pub produce: Option<Latencies>,
    /// Latencies of fetching.
    pub fetch: Option<Latencies>,
    /// Errors in all rounds.
    pub errors: u64,
    /// What the oracle found in all rounds; `None` where it did not run on each.
    pub violations: Option<u64>,
}

/// Latencies of one direction, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latencies {
    /// As they are.
    pub seen: Quantiles,
    /// Over `direct`'s in the same round; `None` for `direct` itself.
    pub added: Option<Quantiles>,
}

/// The usual quantiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Estimate,
    /// The 99th percentile.
    pub p99: Estimate,
    /// The 99.9th percentile.
    pub p999: Estimate,
}

/// The gateway held against another system.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// By what.
    pub metric: Metric,
    /// The other system.
    pub against: String,
    /// The gateway's figure divided by the other's; `None` where either is missing.
    pub ratio: Option<Estimate>,
    /// What it is meant to be at most.
    pub goal: Option<f64>,
}

impl Ratio {
    /// In words: what the interval says, and whether the goal is met.
    #[must_use]
    pub fn words(&self) -> String {
        let Some(ratio) = self.ratio else { return "not measured".to_owned() };
        let seen = match ratio.verdict(1.0) {
            Verdict::NoDifferenceSeen => "no difference seen",
            Verdict::More => "the gateway takes more",
            Verdict::Less => "the gateway takes less",
        };
        match self.goal {
            None => seen.to_owned(),
            Some(goal) if ratio.high <= goal => format!("{seen}; goal ≤ {goal} met"),
            Some(goal) if ratio.low > goal => format!("{seen}; goal ≤ {goal} missed"),
            Some(goal) if ratio.median <= goal => {
                format!("{seen}; goal ≤ {goal} met by the median, not by the interval")
            }
            Some(goal) => format!("{seen}; goal ≤ {goal} missed by the median, not by the interval"),
        }
    }
}

impl Measured {
    /// The systems' names, in the order of their turns.
    #[must_use]
    pub fn systems(&self) -> Vec<&str> {
        self.rounds.first().into_iter().flatten().map(|result| result.system.as_str()).collect()
    }

    /// The runs of one system, a run a round.
    pub fn runs_of<'a>(&'a self, system: &'a str) -> impl Iterator<Item = &'a RunResult> {
        self.rounds.iter().filter_map(move |round| round.iter().find(|result| result.system == system))
    }

    /// A value a round; `None` where one is missing.
    fn values(&self, system: &str, value: impl Fn(&RunResult) -> Option<f64>) -> Option<Vec<f64>> {
        let values: Vec<f64> = self.runs_of(system).map(value).collect::<Option<_>>()?;
        (!values.is_empty() && values.len() == self.rounds.len()).then_some(values)
    }

    fn estimate(&self, system: &str, value: impl Fn(&RunResult) -> Option<f64>) -> Option<Estimate> {
        Estimate::of(&self.values(system, value)?)
    }

    /// What each system did.
    #[must_use]
    pub fn figures(&self) -> Vec<SystemFigures> {
        self.systems().into_iter().map(|system| self.figures_of(system)).collect()
    }

    fn figures_of(&self, system: &str) -> SystemFigures {
        let violations = self
            .runs_of(system)
            .map(|run| run.oracle.as_ref().map(|verdict| verdict.violations.len() as u64 + verdict.more));
        SystemFigures {
            name: system.to_owned(),
            requests_per_second: self.estimate(system, |run| per_second(run, run.requests() as f64)),
            bytes_per_second: self.estimate(system, |run| per_second(run, run.bytes() as f64)),
            cpu_per_gb: self.estimate(system, cpu_per_gb),
            cpu_per_million: self.estimate(system, |run| Some(cpu_per_request(run)? * 1e6)),
            switches_per_request: self.estimate(system, |run| {
                let switches = run.process(&run.system)?.context_switches as f64;
                (run.requests() > 0).then(|| switches / run.requests() as f64)
            }),
            peak_memory_bytes: self
                .runs_of(system)
                .filter_map(|run| Some(run.process(&run.system)?.resident_peak_bytes))
                .max(),
            produce: self.latencies(system, Direction::Produce),
            fetch: self.latencies(system, Direction::Fetch),
            errors: self.runs_of(system).map(|run| run.errors.total()).sum(),
            violations: violations.sum(),
        }
    }

    fn latencies(&self, system: &str, direction: Direction) -> Option<Latencies> {
        let seen = self.quantiles(|quantile| self.estimate(system, |run| latency(run, direction, quantile)))?;
        let added = (system != DIRECT).then(|| {
            self.quantiles(|quantile| {
                let values = |system| self.values(system, |run| latency(run, direction, quantile));
                Estimate::of_difference(&values(system)?, &values(DIRECT)?)
            })
        });
        Some(Latencies { seen, added: added.flatten() })
    }

    fn quantiles(&self, of: impl Fn(f64) -> Option<Estimate>) -> Option<Quantiles> {
        Some(Quantiles { p50: of(0.5)?, p99: of(0.99)?, p999: of(0.999)? })
    }

    /// The gateway against each other system, by everything that is a goal and by CPU and memory
    /// all the same.
    #[must_use]
    pub fn ratios(&self) -> Vec<Ratio> {
        let mut ratios: Vec<Ratio> = Vec::new();
        for Goal { metric, against, at_most } in &self.goals {
            let ratio = self.ratio(*metric, against);
            ratios.push(Ratio { metric: *metric, against: against.clone(), ratio, goal: Some(*at_most) });
        }
        let others = self.systems().into_iter().filter(|&system| system != DIRECT && system != GATEWAY);
        for other in others {
            for metric in [Metric::CpuPerGb, Metric::CpuPerRequest, Metric::PeakMemory] {
                let known = ratios.iter().any(|ratio| ratio.metric == metric && ratio.against == other);
                if !known && let Some(ratio) = self.ratio(metric, other) {
                    ratios.push(Ratio { metric, against: other.to_owned(), ratio: Some(ratio), goal: None });
                }
            }
        }
        ratios
    }

    fn ratio(&self, metric: Metric, against: &str) -> Option<Estimate> {
        let pair = |value: &dyn Fn(&RunResult) -> Option<f64>| {
            Some((self.values(GATEWAY, value)?, self.values(against, value)?))
        };
        match metric {
            Metric::CpuPerGb => pair(&cpu_per_gb).and_then(|(ours, theirs)| Estimate::of_ratio(&ours, &theirs)),
            Metric::CpuPerRequest => {
                pair(&cpu_per_request).and_then(|(ours, theirs)| Estimate::of_ratio(&ours, &theirs))
            }
            Metric::PeakMemory => {
                let peak = |run: &RunResult| Some(run.process(&run.system)?.resident_peak_bytes as f64);
                pair(&peak).and_then(|(ours, theirs)| Estimate::of_ratio(&ours, &theirs))
            }
            Metric::AddedLatency(direction, quantile) => {
                let of = |run: &RunResult| latency(run, direction, quantile);
                let (ours, theirs) = pair(&of)?;
                Estimate::of_added_ratio(&ours, &theirs, &self.values(DIRECT, of)?)
            }
        }
    }
}

fn per_second(run: &RunResult, count: f64) -> Option<f64> {
    (run.seconds > 0.0).then(|| count / run.seconds)
}

fn cpu_per_gb(run: &RunResult) -> Option<f64> {
    run.cpu_seconds_per_gb(&run.system)
}

fn cpu_per_request(run: &RunResult) -> Option<f64> {
    Some(run.cpu_seconds_per_million_requests(&run.system)? / 1e6)
}

/// Corrected for coordinated omission; `None` where there was no such traffic.
fn latency(run: &RunResult, direction: Direction, quantile: f64) -> Option<f64> {
    let traffic: &Traffic = match direction {
        Direction::Produce => &run.produce,
        Direction::Fetch => &run.fetch,
    };
    let latency: &Latency = &traffic.latency_corrected;
    (latency.count > 0).then_some(if quantile >= 0.999 {
        latency.p999_us
    } else if quantile >= 0.99 {
        latency.p99_us
    } else {
        latency.p50_us
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::profile::Profile;
    use crate::result::{ProcessUse, Verdict as Oracle};

    /// Five rounds, in each of which everything is `disturbance` times as slow and dear.
    pub(crate) fn measured(systems: &[(&str, f64, f64)], goals: Vec<Goal>) -> Measured {
        let run = |&(system, cpu_seconds, added_us): &(&str, f64, f64), disturbance: f64| {
            let latency = Latency {
                count: 1000,
                p50_us: (100.0 + added_us) * disturbance,
                p99_us: (300.0 + added_us) * disturbance,
                p999_us: (900.0 + added_us) * disturbance,
                ..Latency::default()
            };
            let traffic = Traffic {
                requests: 50_000,
                records: 800_000,
                bytes: 500_000_000,
                latency_corrected: latency.clone(),
                latency,
                ..Traffic::default()
            };
            let process = ProcessUse {
                name: system.to_owned(),
                user_seconds: cpu_seconds * disturbance,
                resident_peak_bytes: 20 << 20,
                context_switches: 1000,
                ..ProcessUse::default()
            };
            RunResult {
                system: system.to_owned(),
                seconds: 10.0,
                produce: traffic.clone(),
                fetch: traffic,
                processes: if system == DIRECT { Vec::new() } else { vec![process] },
                oracle: Some(Oracle::default()),
                ..RunResult::default()
            }
        };
        let round = |disturbance| systems.iter().map(|system| run(system, disturbance)).collect();
        Measured {
            name: "bulk".to_owned(),
            about: "16 KB batches".to_owned(),
            profile: Profile::default(),
            goals,
            rounds: [1.0, 1.4, 0.8, 1.1, 1.3].map(round).to_vec(),
        }
    }

    #[test]
    fn figures_are_medians_over_the_rounds() {
        let measured = measured(&[(DIRECT, 0.0, 0.0), ("relay-epoll", 0.5, 40.0), (GATEWAY, 0.6, 50.0)], Vec::new());
        let figures = measured.figures();
        let gateway = figures.iter().find(|figures| figures.name == GATEWAY).unwrap();
        // 0.6 CPU seconds for 1 GB and 100,000 requests, times the median disturbance of 1.1.
        assert!((gateway.cpu_per_gb.unwrap().median - 0.66).abs() < 1e-9, "{gateway:?}");
        assert!((gateway.cpu_per_million.unwrap().median - 6.6).abs() < 1e-9, "{gateway:?}");
        assert!((gateway.bytes_per_second.unwrap().median - 1e8).abs() < 1.0, "{gateway:?}");
        assert!((gateway.produce.unwrap().added.unwrap().p50.median - 55.0).abs() < 1e-9, "{gateway:?}");
        assert_eq!((gateway.peak_memory_bytes, gateway.violations), (Some(20 << 20), Some(0)));
        let direct = &figures[0];
        assert_eq!((direct.cpu_per_gb, direct.peak_memory_bytes), (None, None));
        assert!(direct.produce.unwrap().added.is_none());
    }

    #[test]
    fn ratios_are_taken_within_rounds_and_held_to_their_goals() {
        let goal = |metric, against: &str, at_most| Goal { metric, against: against.to_owned(), at_most };
        let goals = vec![
            goal(Metric::CpuPerGb, "relay-epoll", 1.5),
            goal(Metric::AddedLatency(Direction::Fetch, 0.99), "relay-epoll", 1.1),
            goal(Metric::CpuPerGb, "kafka-proxy", 0.8),
        ];
        let measured = measured(&[(DIRECT, 0.0, 0.0), ("relay-epoll", 0.5, 40.0), (GATEWAY, 0.6, 50.0)], goals);
        let ratios = measured.ratios();
        let cpu = ratios[0].ratio.unwrap();
        assert!((cpu.median - 1.2).abs() < 1e-9 && cpu.high - cpu.low < 1e-9, "{cpu:?}");
        assert_eq!(ratios[0].words(), "the gateway takes more; goal ≤ 1.5 met");
        assert!((ratios[1].ratio.unwrap().median - 1.25).abs() < 1e-9);
        assert_eq!(ratios[1].words(), "the gateway takes more; goal ≤ 1.1 missed");
        assert_eq!(ratios[1].metric.to_string(), "added fetch p99");
        assert_eq!((ratios[2].ratio, ratios[2].words().as_str()), (None, "not measured"));
        // Besides the goals, what else there is to compare.
        assert!(ratios.iter().any(|ratio| ratio.metric == Metric::PeakMemory && ratio.goal.is_none()));
    }

    #[test]
    fn a_missing_run_makes_no_figure() {
        let mut measured = measured(&[(DIRECT, 0.0, 0.0), (GATEWAY, 0.6, 50.0)], Vec::new());
        measured.rounds[3].pop();
        assert_eq!(measured.figures()[1].cpu_per_gb, None);
    }
}
