//! Systems under the same load, in turn within one run: A B C A B C …
//!
//! A shared machine is never the same for two minutes. Whatever disturbs one round disturbs all
//! systems in it, so figures are compared within rounds and their spread is said
//! ([`crate::statistics`]). What came of each run is kept whole; [`figures`] are made of it, now or
//! later from a file.

pub mod figures;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::profile::Profile;
use crate::relay::Kind;
use crate::result::RunResult;
use crate::run;
use crate::scenario::{Goal, Pace, Scenario};
use crate::stage::{Stage, StageOptions};
use crate::system::{ProxyCommand, RunningProxy, Started};
use crate::target::Target;

/// The system without anything between generator and brokers.
pub const DIRECT: &str = "direct";
/// The gateway.
pub const GATEWAY: &str = "gateway";
/// The opaque relay on the gateway's runtime.
pub const RELAY_RUNTIME: &str = "relay-glommio";
/// The plain epoll relay.
pub const RELAY_EPOLL: &str = "relay-epoll";

/// How long the run takes that finds the gateway's capacity, in seconds.
const CALIBRATION_SECONDS: u64 = 3;

/// What is compared, and how often.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// How often each system has its turn.
    pub rounds: usize,
    /// The stage; relays get as many shards as the gateway.
    pub stage: StageOptions,
    /// Other proxies, to be started.
    pub proxies: Vec<ProxyCommand>,
    /// Other proxies that run already.
    pub running: Vec<RunningProxy>,
    /// Only these systems, by name; empty for all. `direct` is always there.
    pub only: Vec<String>,
}

/// A system that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Everything that a comparison yields.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// Where.
    pub machine: Machine,
    /// The command that gave it.
    pub command: String,
    /// When it began, milliseconds since the Unix epoch.
    pub started_unix_millis: u64,
    /// What was measured.
    pub scenarios: Vec<Measured>,
    /// Systems that could not be had.
    pub absent: Vec<Absent>,
}

/// One scenario's rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// What it is, in a line.
    pub about: String,
    /// The load as it was put on all systems.
    pub profile: Profile,
    /// What is meant to hold.
    pub goals: Vec<Goal>,
    /// A round has a result for each system, in the order of their turns.
    pub rounds: Vec<Vec<RunResult>>,
}

/// Who is told what is going on.
pub trait Watcher: run::Observer {
    /// A system's turn begins.
    fn turn(&mut self, scenario: &str, round: usize, rounds: usize, system: &str);
    /// A system's turn ended.
    fn turn_ended(&mut self, result: &RunResult);
}

/// Puts `profile` on all systems of `plan`, in turn.
///
/// # Errors
/// Where a system does not start or cannot be reached at all. What goes wrong later is in the results.
pub fn measure(
    scenario: Scenario,
    mut profile: Profile,
    plan: &Plan,
    watcher: &mut dyn Watcher,
) -> anyhow::Result<Measured> {
    let mut stage = Stage::start(&profile, &plan.stage)?;
    let systems = Systems::start(plan, &stage, profile.tls)?;
    if let (Pace::PartOfGateway(part), None) = (scenario.pace(), profile.requests_per_second) {
        watcher.turn(scenario.name(), 0, plan.rounds, GATEWAY);
        profile.requests_per_second = Some(pace(&profile, &stage, part)?);
    }
    let mut rounds = Vec::with_capacity(plan.rounds);
    for round in 1..=plan.rounds {
        let mut results = Vec::with_capacity(systems.targets.len());
        for target in &systems.targets {
            watcher.turn(scenario.name(), round, plan.rounds, &target.name);
            let mut result = run::run_watched(&profile, target, watcher)?;
            stage.judge(&mut result)?;
            watcher.turn_ended(&result);
            results.push(result);
        }
        rounds.push(results);
    }
    // Curves are for the eye; those of the last round are enough.
    let last = rounds.len().saturating_sub(1);
    rounds.iter_mut().take(last).flatten().for_each(drop_curves);
    Ok(Measured {
        name: scenario.name().to_owned(),
        about: scenario.about().to_owned(),
        profile,
        goals: scenario.goals(),
        rounds,
    })
}

/// The systems of one scenario, in the order of their turns.
struct Systems {
    targets: Vec<Target>,
    /// They end when this is dropped.
    _started: Vec<Started>,
}

impl Systems {
    /// With TLS, relays pass what is encrypted on as it is: client and broker do the encrypting.
    fn start(plan: &Plan, stage: &Stage, tls: bool) -> anyhow::Result<Self> {
        let (direct, upstream) =
            if tls { (stage.direct_tls(), stage.upstream_tls()) } else { (stage.direct(), stage.upstream()) };
        let direct = Target { name: DIRECT.to_owned(), ..direct };
        let wanted = |name: &str| plan.only.is_empty() || plan.only.iter().any(|only| only == name);
        let mut started = Vec::new();
        let mut targets = vec![direct.clone()];
        for (name, kind) in [(RELAY_EPOLL, Kind::Epoll), (RELAY_RUNTIME, Kind::Glommio)] {
            if wanted(name) {
                let relay = Started::relay(kind, plan.stage.shards, &upstream)?;
                targets.push(relay.target(name, &direct));
                started.push(relay);
            }
        }
        for proxy in plan.proxies.iter().filter(|proxy| wanted(&proxy.name)) {
            let running = Started::proxy(proxy, &upstream)?;
            targets.push(running.target(&proxy.name, &direct));
            started.push(running);
        }
        targets.extend(plan.running.iter().filter(|proxy| wanted(&proxy.name)).map(|proxy| proxy.target(&direct)));
        if wanted(GATEWAY) {
            targets.push(Target { name: GATEWAY.to_owned(), ..stage.gateway() });
        }
        Ok(Self { targets, _started: started })
    }
}

/// So many requests a second as are `part` of what the gateway answers in a closed loop.
fn pace(profile: &Profile, stage: &Stage, part: f64) -> anyhow::Result<u64> {
    let mut closed = profile.clone();
    closed.duration.0 = std::time::Duration::from_secs(CALIBRATION_SECONDS);
    closed.requests_per_second = None;
    let result = run::run(&closed, &stage.gateway())?;
    anyhow::ensure!(result.requests() > 0, "the gateway answered nothing, so there is no capacity to take a part of");
    Ok(((result.requests() as f64 / result.seconds * part) as u64).max(1))
}

fn drop_curves(result: &mut RunResult) {
    for traffic in [&mut result.produce, &mut result.fetch, &mut result.sessions, &mut result.admin] {
        traffic.latency.curve = Vec::new();
        traffic.latency_corrected.curve = Vec::new();
    }
    result.send_lag.curve = Vec::new();
}
