//! Takes jobs, runs rule chains, publishes.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use trunkline::app;

/// Half of what a job costs beyond Redis is small pieces of memory, taken by one thread and given
/// back by another: docs/benchmarks.md. In the programs alone: a library does not choose for others.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    app::main::<app::Worker>()
}
