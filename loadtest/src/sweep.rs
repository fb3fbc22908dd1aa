//! How many shards, and what more connections bring: capacity by shards and connections, its knee,
//! and a recommendation with its reason.
//!
//! Generator and brokers run on the same machine, so its cores are soon full whatever the gateway
//! could do. So each point says besides its throughput what a CPU second of the gateway moves, which
//! is what tells whether another shard costs or brings anything; [`Sweep::recommendation`] says which
//! of the two it rests on.

use serde::{Deserialize, Serialize};

use crate::compare::{GATEWAY, Watcher};
use crate::machine::Machine;
use crate::profile::Profile;
use crate::result::RunResult;
use crate::run;
use crate::stage::{Stage, StageOptions};
use crate::statistics::{Estimate, Verdict, median};
use crate::target::Target;

/// What is as good as the best: 95 % of it.
const AS_GOOD: f64 = 0.95;
/// At this part of all cores' time the machine is full.
const FULL: f64 = 0.9;
/// A shard that costs more than this per byte against one shard alone is too dear.
const DEARER: f64 = 1.15;

/// What is tried.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Numbers of shards; more than there are cores share cores.
    pub shards: Vec<u16>,
    /// Numbers of connections, half of them producing and half fetching.
    pub connections: Vec<u32>,
    /// How often each pair has its turn.
    pub rounds: usize,
    /// The stage; its own number of shards is not used.
    pub stage: StageOptions,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sweep {
    /// Where.
    pub machine: Machine,
    /// The command that gave it.
    pub command: String,
    /// When it began, milliseconds since the Unix epoch.
    pub started_unix_millis: u64,
    /// The load, connections apart.
    pub profile: Profile,
    /// What was tried, in the order of turns.
    pub points: Vec<Point>,
}

/// One number of shards with one number of connections.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Point {
    /// Shards of the gateway.
    pub shards: u16,
    /// Connections, producers and consumers together.
    pub connections: u32,
    /// A run a round.
    pub runs: Vec<RunResult>,
}

/// How many shards to run, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recommendation {
    /// What to put for `shards`.
    pub shards: u16,
    /// The reasons, sentences.
    pub why: Vec<String>,
}

impl Point {
    /// Bytes of record batches a second.
    #[must_use]
    pub fn bytes_per_second(&self) -> Option<Estimate> {
        self.estimate(|run| Some(run.bytes() as f64 / run.seconds))
    }

    /// CPU seconds of the gateway per GB.
    #[must_use]
    pub fn cpu_per_gb(&self) -> Option<Estimate> {
        self.estimate(|run| run.cpu_seconds_per_gb(GATEWAY))
    }

    /// The larger of both directions' 99th percentiles, in microseconds.
    #[must_use]
    pub fn p99_us(&self) -> Option<Estimate> {
        self.estimate(|run| Some(run.produce.latency_corrected.p99_us.max(run.fetch.latency_corrected.p99_us)))
    }

    /// CPU time of the gateway as a part of what its shards could take.
    #[must_use]
    pub fn shards_busy(&self) -> Option<f64> {
        median(
            self.runs.iter().filter_map(|run| {
                Some(run.process(GATEWAY)?.cpu_seconds() / run.seconds / f64::from(self.shards.max(1)))
            }),
        )
    }

    /// CPU time of everything that was watched, as a part of what `cores` have.
    #[must_use]
    pub fn machine_busy(&self, cores: usize) -> Option<f64> {
        let all = |run: &RunResult| run.processes.iter().map(|process| process.cpu_seconds()).sum::<f64>();
        median(self.runs.iter().map(|run| all(run) / run.seconds / cores.max(1) as f64))
    }

    fn estimate(&self, value: impl Fn(&RunResult) -> Option<f64>) -> Option<Estimate> {
        Estimate::of(&self.runs.iter().filter(|run| run.seconds > 0.0).map(value).collect::<Option<Vec<_>>>()?)
    }
}

/// Puts `profile` on gateways with each number of shards, with each number of connections, in turn.
///
/// # Errors
/// Where a gateway does not start or cannot be reached at all.
pub fn measure(profile: &Profile, plan: &Plan, watcher: &mut dyn Watcher) -> anyhow::Result<Vec<Point>> {
    let mut stages = Vec::with_capacity(plan.shards.len());
    for &shards in &plan.shards {
        stages.push((shards, Stage::start(profile, &StageOptions { shards, ..plan.stage.clone() })?));
    }
    let mut points: Vec<Point> = plan
        .shards
        .iter()
        .flat_map(|&shards| {
            plan.connections.iter().map(move |&connections| Point { shards, connections, runs: Vec::new() })
        })
        .collect();
    for round in 1..=plan.rounds {
        for point in &mut points {
            let Some((_, stage)) = stages.iter_mut().find(|(shards, _)| *shards == point.shards) else { continue };
            let turn = format!("{} shards, {}", point.shards, point.connections);
            watcher.turn("sweep", round, plan.rounds, &turn);
            let load = with_connections(profile, point.connections);
            let target = Target { name: GATEWAY.to_owned(), ..stage.gateway() };
            let mut result = run::run_watched(&load, &target, watcher)?;
            stage.judge(&mut result)?;
            watcher.turn_ended(&result);
            point.runs.push(result);
        }
    }
    Ok(points)
}

/// Half of them produce and half fetch, at least one each.
fn with_connections(profile: &Profile, connections: u32) -> Profile {
    let producers = (connections / 2).max(1);
    Profile { producers, consumers: connections.saturating_sub(producers).max(1), ..profile.clone() }
}

impl Sweep {
    /// The best point of each number of shards, in the order of shards.
    #[must_use]
    pub fn best(&self) -> Vec<&Point> {
        let mut shards: Vec<u16> = self.points.iter().map(|point| point.shards).collect();
        shards.sort_unstable();
        shards.dedup();
        let speed = |point: &&Point| point.bytes_per_second().map_or(0.0, |estimate| estimate.median);
        shards
            .into_iter()
            .filter_map(|count| {
                self.points.iter().filter(|point| point.shards == count).max_by(|a, b| speed(a).total_cmp(&speed(b)))
            })
            .collect()
    }

    /// The fewest connections at which `shards` do as well as they ever do.
    #[must_use]
    pub fn knee(&self, shards: u16) -> Option<&Point> {
        let mut points: Vec<&Point> = self.points.iter().filter(|point| point.shards == shards).collect();
        points.sort_by_key(|point| point.connections);
        let speed = |point: &Point| point.bytes_per_second().map(|estimate| estimate.median);
        let best = points.iter().filter_map(|point| speed(point)).fold(0.0, f64::max);
        points.into_iter().find(|point| speed(point).is_some_and(|speed| speed >= best * AS_GOOD))
    }

    /// How many shards to run here. `None` where nothing was measured.
    #[must_use]
    pub fn recommendation(&self) -> Option<Recommendation> {
        let best = self.best();
        let first = best.first()?;
        let cores = self.machine.cores.max(1);
        let speed = |point: &Point| point.bytes_per_second().map_or(0.0, |estimate| estimate.median);
        let most = best.iter().map(|point| speed(point)).fold(0.0, f64::max);
        let knee = best.iter().find(|point| speed(point) >= most * AS_GOOD)?;
        let mut why = vec![format!(
            "{} shards move {:.0} MB/s, {:.0} % of the most that was seen.",
            knee.shards,
            speed(knee) / 1e6,
            100.0 * speed(knee) / most.max(1e-9)
        )];
        let dearer = |point: &Point| {
            let ratio = Estimate::of_ratio(&costs(point)?, &costs(first)?)?;
            Some((ratio, ratio.verdict(1.0)))
        };
        let last_cheap = best
            .iter()
            .filter(|point| usize::from(point.shards) <= cores)
            .filter(|point| dearer(point).is_none_or(|(ratio, _)| ratio.median <= DEARER))
            .map(|point| point.shards)
            .max()
            .unwrap_or(first.shards);
        for point in best.iter().skip(1) {
            if let Some((ratio, verdict)) = dearer(point) {
                let said = if verdict == Verdict::NoDifferenceSeen { ", no difference seen" } else { "" };
                why.push(format!(
                    "With {} shards a byte costs {:.2}× ({:.2}–{:.2}) the CPU that it costs with {}{said}.",
                    point.shards, ratio.median, ratio.low, ratio.high, first.shards
                ));
            }
        }
        let full = knee.machine_busy(cores).is_some_and(|busy| busy >= FULL);
        let saturated = knee.shards_busy().is_some_and(|busy| busy >= FULL);
        let shards = if full && !saturated {
            why.push(format!(
                "The machine was full with generator and brokers on it while the gateway's own shards were {:.0} % busy, so the \
                 throughput says little about more shards; what a byte costs does, and it allows {last_cheap}.",
                100.0 * knee.shards_busy().unwrap_or(0.0)
            ));
            last_cheap.max(knee.shards.min(u16::try_from(cores).unwrap_or(u16::MAX)))
        } else {
            knee.shards
        };
        Some(Recommendation { shards, why })
    }
}

fn costs(point: &Point) -> Option<Vec<f64>> {
    point.runs.iter().map(|run| run.cpu_seconds_per_gb(GATEWAY)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::result::{ProcessUse, Traffic};

    /// Points with throughput in MB/s, CPU-s/GB of the gateway and of the rest in a run of 1 s.
    pub(crate) fn sweep(cores: usize, points: &[(u16, u32, f64, f64, f64)]) -> Sweep {
        let point = |&(shards, connections, speed, cost, rest): &(u16, u32, f64, f64, f64)| {
            let run = |noise: f64| {
                let bytes = speed * 1e6 * noise;
                let process = |name: &str, seconds| ProcessUse {
                    name: name.to_owned(),
                    user_seconds: seconds,
                    ..ProcessUse::default()
                };
                RunResult {
                    system: GATEWAY.to_owned(),
                    seconds: 1.0,
                    fetch: Traffic { bytes: bytes as u64, requests: 1000, ..Traffic::default() },
                    processes: vec![process(GATEWAY, bytes / 1e9 * cost), process("loadtest", rest)],
                    ..RunResult::default()
                }
            };
            Point { shards, connections, runs: [1.0, 0.97, 1.04].map(run).to_vec() }
        };
        let machine = Machine { cores, ..Machine::default() };
        Sweep { machine, points: points.iter().map(point).collect(), ..Sweep::default() }
    }

    #[test]
    fn the_knee_is_where_more_brings_nothing() {
        let sweep = sweep(
            16,
            &[
                (1, 4, 600.0, 1.0, 1.0),
                (1, 16, 990.0, 1.0, 1.0),
                (1, 64, 1000.0, 1.0, 1.0),
                (2, 64, 1900.0, 1.02, 1.0),
                (4, 64, 2500.0, 1.1, 1.0),
                (8, 64, 2510.0, 1.6, 1.0),
            ],
        );
        assert_eq!(sweep.knee(1).unwrap().connections, 16);
        let recommended = sweep.recommendation().unwrap();
        assert_eq!(recommended.shards, 4, "{recommended:?}");
        assert!(recommended.why.iter().any(|why| why.contains("1.60×")), "{recommended:?}");
    }

    #[test]
    fn a_machine_full_of_the_load_test_itself_does_not_speak_against_shards() {
        let sweep = sweep(2, &[(1, 16, 500.0, 1.2, 1.4), (2, 16, 510.0, 1.22, 1.4), (4, 16, 500.0, 1.3, 1.4)]);
        let recommended = sweep.recommendation().unwrap();
        assert_eq!(recommended.shards, 2, "{recommended:?}");
        assert!(recommended.why.last().unwrap().contains("full with generator"), "{recommended:?}");
        assert_eq!(Sweep::default().recommendation(), None);
    }

    #[test]
    fn connections_are_shared_out() {
        for (connections, producers, consumers) in [(1, 1, 1), (2, 1, 1), (9, 4, 5), (64, 32, 32)] {
            let load = with_connections(&Profile::default(), connections);
            assert_eq!((load.producers, load.consumers), (producers, consumers));
        }
    }
}
