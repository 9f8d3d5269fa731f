//! The operator's tool.

use std::process::ExitCode;

use trunkline::app;

fn main() -> ExitCode {
    app::tool_main()
}
