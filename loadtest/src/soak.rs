//! Hours under load with everything that happens to a gateway in hours: clients that come and go,
//! policy reloads, brokers that restart, drains and restarts of the gateway itself. Memory,
//! descriptors and evidence are watched, with limits that fail the soak.
//!
//! The load runs in legs. Within a leg one thing happens at its middle; after it the gateway is quiet
//! for a moment, and only then memory and descriptors are compared: what does not come back to where
//! it was is a leak. Connections that a disturbance cuts are errors that belong to it; in legs without
//! one, any error fails the soak.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::compare::GATEWAY;
use crate::machine::Machine;
use crate::proc::Usage;
use crate::profile::Profile;
use crate::result::RunResult;
use crate::run::{self, Observer, Progress};
use crate::stage::{Stage, StageOptions};
use crate::target::Target;

/// How long the gateway is left alone after a leg before it is looked at.
const QUIET: Duration = Duration::from_secs(1);

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory at rest may grow by this factor over the first leg's, and by `memory_slack_bytes`.
    pub memory_factor: f64,
    /// What allocators keep, in bytes.
    pub memory_slack_bytes: u64,
    /// Descriptors at rest may grow by so many over the first leg's.
    pub descriptors: u64,
    /// Bytes of evidence for each exchange, preallocated segments included, at the end.
    pub evidence_bytes_per_request: f64,
    /// Bytes of evidence that may be preallocated ahead.
    pub evidence_slack_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_factor: 1.3,
            memory_slack_bytes: 32 << 20,
            descriptors: 16,
            evidence_bytes_per_request: 2048.0,
            evidence_slack_bytes: 512 << 20,
        }
    }
}

/// What happens at the middle of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// Nothing: any error in such a leg counts.
    None,
    /// The policy file is written anew and the gateway told to reload.
    Reload,
    /// A broker cuts all its connections, as a restart does.
    BrokerRestart,
    /// The gateway drains and is started again on the same evidence.
    GatewayRestart,
}

impl Disturbance {
    /// In turn.
    const CYCLE: [Self; 4] = [Self::None, Self::Reload, Self::BrokerRestart, Self::GatewayRestart];

    fn may_cut(self) -> bool {
        matches!(self, Self::BrokerRestart | Self::GatewayRestart)
    }
}

/// One leg.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Leg {
    /// What happened at its middle.
    pub disturbance: Disturbance,
    /// How long that took, in seconds.
    pub disturbance_seconds: f64,
    /// The load.
    pub run: RunResult,
    /// Since the soak began, at the look after the leg, in seconds.
    pub at_seconds: f64,
    /// Resident memory of the gateway at rest, in bytes.
    pub resident_bytes: u64,
    /// Its descriptors at rest.
    pub descriptors: u64,
    /// Its threads at rest.
    pub threads: u64,
    /// Bytes of files in its evidence folder, as they occupy the disk.
    pub evidence_bytes: u64,
}

/// A soak.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Soak {
    /// Where.
    pub machine: Machine,
    /// The command that gave it.
    pub command: String,
    /// When it began, milliseconds since the Unix epoch.
    pub started_unix_millis: u64,
    /// The load of each leg.
    pub profile: Profile,
    /// What must hold.
    pub limits: Limits,
    /// The legs.
    pub legs: Vec<Leg>,
}

/// Runs legs of `profile` until `time` is over, at least one of each disturbance.
///
/// # Errors
/// Where the gateway does not start, come back or answer at all.
pub fn soak(
    profile: &Profile,
    options: &StageOptions,
    time: Duration,
    mut watch: impl FnMut(&Leg),
) -> anyhow::Result<Vec<Leg>> {
    let mut stage = Stage::start(profile, options)?;
    let begun = Instant::now();
    let mut legs: Vec<Leg> = Vec::new();
    while begun.elapsed() < time || legs.len() < Disturbance::CYCLE.len() {
        let disturbance = Disturbance::CYCLE[legs.len() % Disturbance::CYCLE.len()];
        let target = Target { name: GATEWAY.to_owned(), ..stage.gateway() };
        let mut disturber = Disturber { stage: &mut stage, disturbance, took: None, failed: None };
        let mut run = run::run_watched(profile, &target, &mut disturber)?;
        let Disturber { took, failed, .. } = disturber;
        if let Some(error) = failed {
            return Err(error.context(format!("{disturbance:?} in leg {}", legs.len() + 1)));
        }
        // A restarted broker's or gateway's answers are lost on their way, so what was sent and what was
        // acknowledged may differ; the oracle judges legs in which nothing was cut.
        if !disturbance.may_cut() {
            stage.judge(&mut run)?;
        }
        std::thread::sleep(QUIET);
        let usage = Usage::of(stage.process().pid())?;
        let leg = Leg {
            disturbance,
            disturbance_seconds: took.unwrap_or_default().as_secs_f64(),
            run,
            at_seconds: begun.elapsed().as_secs_f64(),
            resident_bytes: usage.resident_bytes,
            descriptors: usage.descriptors,
            threads: usage.threads,
            evidence_bytes: occupied(&stage.process().evidence()),
        };
        watch(&leg);
        legs.push(leg);
    }
    Ok(legs)
}

/// Does what the leg is about, at its middle.
struct Disturber<'a> {
    stage: &'a mut Stage,
    disturbance: Disturbance,
    took: Option<Duration>,
    failed: Option<anyhow::Error>,
}

impl Observer for Disturber<'_> {
    fn progress(&mut self, progress: &Progress) {
        if !progress.measuring || progress.seconds < progress.of_seconds / 2.0 || self.took.is_some() {
            return;
        }
        let begun = Instant::now();
        let done = match self.disturbance {
            Disturbance::None => Ok(()),
            Disturbance::Reload => reload(self.stage),
            Disturbance::BrokerRestart => {
                self.stage.bounce_broker(0);
                Ok(())
            }
            Disturbance::GatewayRestart => self.stage.restart_gateway(),
        };
        self.took = Some(begun.elapsed());
        self.failed = done.err();
    }

    fn wants_stop(&self) -> bool {
        self.failed.is_some()
    }
}

/// Writes the policy anew, so that there is something to reload, and asks for it.
fn reload(stage: &Stage) -> anyhow::Result<()> {
    let path = stage.folder().join("policy.yaml");
    let policy = fs::read_to_string(&path)?;
    let marked = policy.lines().filter(|line| !line.starts_with("# soak ")).collect::<Vec<_>>().join("\n");
    fs::write(&path, format!("{marked}\n# soak {:?}\n", Instant::now()))?;
    crate::revocation::post_reload(stage.process().control())
}

/// Bytes that the files under `folder` occupy; preallocated space counts, since the disk is gone for
/// it all the same.
fn occupied(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => occupied(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

impl Soak {
    /// What does not hold, a sentence each.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some(first) = self.legs.first() else { return vec!["no leg was run".to_owned()] };
        let memory = first.resident_bytes as f64 * self.limits.memory_factor + self.limits.memory_slack_bytes as f64;
        let descriptors = first.descriptors + self.limits.descriptors;
        let mut requests = 0;
        for (number, leg) in self.legs.iter().enumerate().map(|(at, leg)| (at + 1, leg)) {
            requests += leg.run.requests();
            if leg.resident_bytes as f64 > memory {
                wrong.push(format!("leg {number}: {} bytes of memory at rest, over {memory:.0}", leg.resident_bytes));
            }
            if leg.descriptors > descriptors {
                wrong.push(format!("leg {number}: {} descriptors at rest, over {descriptors}", leg.descriptors));
            }
            let evidence =
                requests as f64 * self.limits.evidence_bytes_per_request + self.limits.evidence_slack_bytes as f64;
            if leg.evidence_bytes as f64 > evidence {
                wrong.push(format!("leg {number}: {} bytes of evidence, over {evidence:.0}", leg.evidence_bytes));
            }
            if !leg.disturbance.may_cut() && leg.run.errors.total() > 0 {
                let sample = leg.run.errors.samples.first().map_or("", String::as_str);
                wrong.push(format!("leg {number}: {} errors though nothing was cut: {sample}", leg.run.errors.total()));
            }
            if leg.run.requests() == 0 {
                wrong.push(format!("leg {number}: nothing was answered"));
            }
            for violation in leg.run.oracle.iter().flat_map(|verdict| &verdict.violations) {
                wrong.push(format!("leg {number}: the oracle says: {violation}"));
            }
        }
        wrong
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::result::Traffic;

    pub(crate) fn soak_of(legs: &[(Disturbance, u64, u64, u64)]) -> Soak {
        let leg = |&(disturbance, resident_mebibytes, descriptors, lost): &(Disturbance, u64, u64, u64)| {
            let mut run = RunResult { seconds: 1.0, ..RunResult::default() };
            run.fetch = Traffic { requests: 1000, ..Traffic::default() };
            run.errors.lost = lost;
            Leg {
                disturbance,
                disturbance_seconds: 0.1,
                run,
                at_seconds: 10.0,
                resident_bytes: resident_mebibytes << 20,
                descriptors,
                threads: 5,
                evidence_bytes: 1 << 20,
            }
        };
        let mut soak = Soak { legs: legs.iter().map(leg).collect(), ..Soak::default() };
        soak.legs.iter_mut().enumerate().for_each(|(at, leg)| leg.at_seconds = 10.0 * (at + 1) as f64);
        soak
    }

    #[test]
    fn growth_and_unprovoked_errors_fail() {
        let fine = soak_of(&[
            (Disturbance::None, 40, 50, 0),
            (Disturbance::BrokerRestart, 60, 52, 9),
            (Disturbance::GatewayRestart, 41, 48, 12),
        ]);
        assert_eq!(fine.violations(), Vec::<String>::new());
        let leaking = soak_of(&[(Disturbance::None, 40, 50, 0), (Disturbance::Reload, 200, 90, 3)]);
        let wrong = leaking.violations();
        for part in ["memory at rest", "descriptors at rest", "errors though nothing was cut"] {
            assert!(wrong.iter().any(|sentence| sentence.contains(part)), "{part} is not in {wrong:?}");
        }
        assert_eq!(Soak::default().violations().len(), 1);
    }

    #[test]
    fn evidence_is_counted_through_folders() {
        let folder = tempfile::tempdir().unwrap();
        let shard = folder.path().join("shard-000");
        fs::create_dir(&shard).unwrap();
        fs::write(shard.join("a.tgs"), vec![1; 100_000]).unwrap();
        assert!(occupied(folder.path()) >= 100_000);
    }
}
