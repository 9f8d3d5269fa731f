//! Takes jobs, runs rule chains, publishes.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use trunkline::app;

/// A job is many small pieces of memory, taken by one thread and given back by another: a fifth of
/// its cost (docs/benchmarks.md). Not the server's: its pieces are large and few, and this keeps a
/// large page for each size and thread. Not the library's: it does not choose for others.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    app::main::<app::Worker>()
}
