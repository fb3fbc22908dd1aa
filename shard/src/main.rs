//! The binary `tidegate`: an allocator, and the command line in `tidegate::cli`.

use std::process::ExitCode;

// mimalloc hands out memory from mappings that the kernel fills only when they are touched.
// kafka-protocol reserves an array by the count that a message announces before it reads the first
// element: with an allocator that touches or counts such reservations, a few lying bytes would cost
// gigabytes. It is also the faster one for buffers that come and go on one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
}
