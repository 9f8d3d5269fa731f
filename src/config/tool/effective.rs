//! `trunkline config`: what is in force for a server or a worker, and whether it is good.

use std::fmt::Write as _;

use clap::ArgMatches;

use crate::config::declaration::{ServerConfig, WorkerConfig};
use crate::config::flags::{collect, program_name};
use crate::config::source::{Flags, Given, Surroundings};
use crate::config::{Parsed, judged, render};
use crate::model::{Component, Fault};

use super::{ToolCommand, text};

/// Answers with text or faults. Without `server` or `worker` it is about both.
pub(super) fn config(matches: &ArgMatches, around: &Surroundings<'_>) -> Parsed<ToolCommand> {
    let programs = match matches.subcommand() {
        Some(("server", inner)) => vec![(Component::Server, collect(inner, Component::Server))],
        Some(("worker", inner)) => vec![(Component::Worker, collect(inner, Component::Worker))],
        _ => vec![(Component::Server, Flags::default()), (Component::Worker, Flags::default())],
    };
    let mut sections = vec![];
    let mut faults: Vec<Fault> = vec![];
    for (program, mut flags) in programs {
        flags.file = flags.file.or_else(|| text(matches, "config").map(str::to_owned));
        let given = Given::gather(program, flags, around);
        let found = if matches.get_flag("check") {
            let (found, warnings) = check(program, &given, around);
            sections.push(verdict(program, &warnings));
            found
        } else {
            sections.push(render::effective(program, &given));
            given.faults
        };
        for fault in found {
            // What a server and a worker share is one fault.
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
    }
    if faults.is_empty() { Parsed::Print(sections.join("\n")) } else { Parsed::Faults(faults) }
}

fn check(
    program: Component,
    given: &Given,
    around: &Surroundings<'_>,
) -> (Vec<Fault>, Vec<String>) {
    if program == Component::Worker {
        let (_, faults, warnings) = judged::<WorkerConfig>(program, given, around);
        (faults, warnings)
    } else {
        let (_, faults, warnings) = judged::<ServerConfig>(program, given, around);
        (faults, warnings)
    }
}

fn verdict(program: Component, warnings: &[String]) -> String {
    let mut text = format!("{}: the configuration is good\n", program_name(program));
    for warning in warnings {
        writeln!(text, "  warning: {warning}").expect("a string takes any text");
    }
    text
}
