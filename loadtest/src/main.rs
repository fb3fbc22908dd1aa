//! The binary `tidegate-loadtest`: an allocator, the same as the gateway's, and the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Tidegate, and what stands beside it, from outside.
#[derive(Debug, Parser)]
#[command(name = "tidegate-loadtest", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A byte relay that looks at nothing: what the gateway is compared with
    Relay(tidegate_loadtest::relay::Relay),
}

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Relay(relay) => relay.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
