//! Events in over HTTP, notifications out to browsers.

use std::process::ExitCode;

use trunkline::app;

fn main() -> ExitCode {
    app::main::<app::Server>()
}
