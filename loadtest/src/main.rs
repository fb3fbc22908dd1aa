//! The binary `tidegate-loadtest`: an allocator, and the command line in `tidegate_loadtest::cli`.

use std::process::ExitCode;

// The gateway's own allocator, since this binary can also stand in for the gateway (see
// `tidegate_loadtest::gateway`): what is measured then must be what runs in production.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if tidegate_loadtest::gateway::is_stand_in() {
        return tidegate::cli::main();
    }
    tidegate_loadtest::cli::main()
}
