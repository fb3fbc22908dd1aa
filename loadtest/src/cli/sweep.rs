//! `tidegate-loadtest sweep`: how many shards, and what more connections bring.

use clap::Args;

use super::Failure;
use super::progress::Terminal;
use super::report::Output;
use crate::machine::Machine;
use crate::profile::ProfileFlags;
use crate::report::Document;
use crate::scenario::Scenario;
use crate::stage::StageOptions;
use crate::sweep::{Plan, Sweep, measure};

const AFTER_HELP: &str = "\
Examples:
  tidegate-loadtest sweep                                  shards up to the cores, 4 to 256 connections
  tidegate-loadtest sweep --try-shards 1,2,4,8 --try-connections 16   what a byte costs as shards grow";

/// The arguments of `sweep`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Run {
    /// Numbers of shards; by default 1, 2, 4, … up to the cores
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=256))]
    try_shards: Vec<u16>,
    /// Numbers of connections, half of them producing
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [4, 16, 64, 256])]
    try_connections: Vec<u32>,
    /// How often each pair has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    load: ProfileFlags,
    #[command(flatten)]
    stage: StageOptions,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        let profile = self.load.profile_over(Scenario::Bulk.profile()).map_err(Failure::Usage)?;
        let machine = Machine::this();
        let cores = u16::try_from(machine.cores).unwrap_or(256).clamp(1, 256);
        let shards = if self.try_shards.is_empty() {
            let powers =
                std::iter::successors(Some(1u16), |count| count.checked_mul(2)).take_while(|&count| count < cores);
            powers.chain([cores]).collect()
        } else {
            self.try_shards
        };
        let plan =
            Plan { shards, connections: self.try_connections, rounds: usize::from(self.rounds), stage: self.stage };
        let started_unix_millis = super::report::now_unix_millis();
        let points = measure(&profile, &plan, &mut Terminal::new())?;
        let command = super::report::this_command();
        let sweep = Sweep { machine, command, started_unix_millis, profile, points };
        self.output.write("sweep", &Document::Sweep(sweep))
    }
}
