//! Takes jobs, runs rule chains, publishes.

use std::process::ExitCode;

use trunkline::app;

fn main() -> ExitCode {
    app::main::<app::Worker>()
}
