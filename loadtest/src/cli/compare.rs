//! `tidegate-loadtest compare`: several systems under the same loads, in turn.

use clap::Args;

use super::Failure;
use super::progress::Terminal;
use super::report::Output;
use crate::compare::{Absent, Comparison, Plan, measure};
use crate::machine::Machine;
use crate::profile::{Profile, ProfileFlags};
use crate::report::Document;
use crate::scenario::Scenario;
use crate::stage::StageOptions;
use crate::system::{ProxyCommand, RunningProxy};

const AFTER_HELP: &str = "\
Systems, in turn: direct (nothing between), relay-epoll, relay-glommio (the gateway's runtime), those
named with --proxy and --running, gateway. Each gets the same load; figures are compared within rounds.

Examples:
  tidegate-loadtest compare
  tidegate-loadtest compare --scenario bulk --rounds 7 --duration 10s
  tidegate-loadtest compare --only relay-glommio,gateway --scenario small --output text
  tidegate-loadtest compare --proxy 'kafka-proxy=kafka-proxy server --http-disable --bootstrap-server-mapping {upstream},{listen}'
  tidegate-loadtest compare --scenario custom --profile my-load.yaml --rate 2000";

/// The arguments of `compare`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Compare {
    /// Which loads; by default bulk, findings1, findings100, small and latency
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// How often each system has its turn; under five, intervals say little
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Only these systems, by name
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Another proxy to start, NAME=COMMAND with {listen} and {upstream} (or {listen_port}, {upstream_port})
    #[arg(long, value_name = "NAME=COMMAND")]
    proxy: Vec<ProxyCommand>,
    /// Another proxy that runs already, NAME=ADDRESS,PID
    #[arg(long, value_name = "NAME=ADDRESS,PID")]
    running: Vec<RunningProxy>,
    /// Say in the report that a system could not be had, NAME=WHY
    #[arg(long, value_name = "NAME=WHY", value_parser = absent)]
    absent: Vec<Absent>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    load: ProfileFlags,
    #[command(flatten)]
    stage: StageOptions,
}

fn absent(text: &str) -> Result<Absent, String> {
    let (name, why) = text.split_once('=').ok_or("must be NAME=WHY")?;
    Ok(Absent { name: name.to_owned(), why: why.to_owned() })
}

impl Compare {
    pub(super) fn run(self) -> Result<(), Failure> {
        let scenarios = if self.scenario.is_empty() { Scenario::USUAL.to_vec() } else { self.scenario };
        let loads: Vec<(Scenario, Profile)> = scenarios
            .into_iter()
            .map(|scenario| Ok((scenario, self.load.profile_over(scenario.profile()).map_err(Failure::Usage)?)))
            .collect::<Result<_, Failure>>()?;
        let plan = Plan {
            rounds: usize::from(self.rounds),
            stage: self.stage,
            proxies: self.proxy,
            running: self.running,
            only: self.only,
        };
        let mut comparison = Comparison {
            machine: Machine::this(),
            command: super::report::this_command(),
            started_unix_millis: super::report::now_unix_millis(),
            scenarios: Vec::with_capacity(loads.len()),
            absent: self.absent,
        };
        let mut terminal = Terminal::new();
        for (scenario, profile) in loads {
            comparison.scenarios.push(measure(scenario, profile, &plan, &mut terminal)?);
        }
        let violations: u64 = comparison
            .scenarios
            .iter()
            .flat_map(|measured| measured.figures())
            .filter_map(|figures| figures.violations)
            .sum();
        self.output.write("comparison", &Document::Comparison(comparison))?;
        if violations > 0 {
            return Err(Failure::Refused(vec![format!(
                "the oracle found {violations} violations; the figures stand for nothing"
            )]));
        }
        Ok(())
    }
}
