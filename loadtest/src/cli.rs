//! The command line: a subcommand a task, the same four exit codes as `tidegate` has.
//!
//! Results go to stdout, everything else to stderr.
// This is the one place that talks to a terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod blackhole;
mod compare;
mod endurance;
mod progress;
mod report;
mod run;
mod sweep;

use std::io::{IsTerminal as _, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Exit codes:
  0    done, and nothing is wrong
  1    this machine or the system under load does not let it run, or the oracle found something
  64   the command line or the profile is wrong
  70   a fault of tidegate-loadtest itself";

/// Measures Tidegate from outside: load, latency, CPU, memory, and whether every byte was right.
#[derive(Debug, Parser)]
#[command(name = "tidegate-loadtest", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put one load on one system
    Run(Box<run::Run>),
    /// Brokers in memory that acknowledge everything and serve prepared batches
    Blackhole(Box<blackhole::Run>),
    /// Put the same loads on several systems in turn: direct, relays, other proxies, the gateway
    Compare(Box<compare::Compare>),
    /// Find how many shards to run here, and what more connections bring
    Sweep(Box<sweep::Run>),
    /// Run for hours with churn, reloads, broker restarts and drains; fails on leaks
    Soak(Box<endurance::Soak>),
    /// What idle connections and new sessions cost
    Connections(Box<endurance::Connections>),
    /// How fast a withdrawn grant bites on busy connections
    Revocation(Box<endurance::Revocation>),
    /// Make HTML, Markdown and JSON of results
    Report(report::Report),
    /// A byte relay that looks at nothing: what the gateway is compared with
    Relay(crate::relay::Relay),
}

/// Why a command ends other than well.
#[derive(Debug)]
pub enum Failure {
    /// This machine or the system under load does not let it run, or what came out is wrong.
    Refused(Vec<String>),
    /// The command line or the profile is wrong.
    Usage(Vec<String>),
    /// A fault of ours.
    Fault(String),
}

impl From<anyhow::Error> for Failure {
    /// What fails while running is the machine's or the system's.
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(vec![format!("{error:#}")])
    }
}

impl Failure {
    /// Says what is wrong and returns the exit code.
    fn report(self) -> u8 {
        let (code, sentences) = match self {
            Self::Refused(sentences) => (1, sentences),
            Self::Usage(sentences) => (64, sentences),
            Self::Fault(sentence) => {
                (70, vec![format!("{sentence} (this is a fault of tidegate-loadtest; please report it)")])
            }
        };
        let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (red, plain) = if colours { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        for sentence in sentences {
            eprintln!("{red}error:{plain} {sentence}");
        }
        code
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match cli.command {
        Command::Run(run) => run.run(),
        Command::Blackhole(blackhole) => blackhole.run(),
        Command::Compare(compare) => compare.run(),
        Command::Sweep(sweep) => sweep.run(),
        Command::Soak(soak) => soak.run(),
        Command::Connections(connections) => connections.run(),
        Command::Revocation(revocation) => revocation.run(),
        Command::Report(report) => report.run(),
        Command::Relay(relay) => relay.run().map_err(Failure::from),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.report()),
    }
}
