//! What a program is told: flags, environment, file and defaults, read into typed values.
//!
//! Every setting is declared once, in the private module `declaration`; help, documentation
//! and error messages are rendered from there. Nothing here prints, exits, or looks at the
//! process: arguments and [`Surroundings`] are handed in, and what is to be done comes back
//! as [`Parsed`].

mod declaration;
mod file;
mod flags;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod instance;
mod otel;
mod reader;
mod redis_parts;
mod redis_url;
mod render;
mod rules;
mod setting;
mod source;
#[cfg(test)]
mod testing;
mod tool;
mod value;
mod word;

use std::ffi::OsString;

use crate::model::{Component, Fault};

pub use declaration::{
    CommonConfig, HistoryConfig, Intervals, LogConfig, QueueConfig, RedisConfig, ServerConfig,
    WorkerConfig, settings,
};
pub use instance::instance_name;
pub use otel::OtelConfig;
pub use render::{documentation, fault_report};
pub use setting::{DefaultText, Setting};
pub use source::{Source, Surroundings};
pub use tool::{Dev, Doctor, Operate, Order, Publish, Tail, ToolCommand, Which, tool};
pub use value::ByteSize;
pub use word::{AllowedHost, Environment, LogFormat, Name, Sampler, ServerUrl, WebOrigin};

use reader::Reader;
use rules::Rules;
use setting::Group;
use source::Given;

/// The exit code of a program whose configuration has faults: `EX_USAGE` of sysexits.h.
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed<T> {
    /// Start.
    Run {
        /// What to start with.
        run: T,
        /// What to tell the operator on the way.
        warnings: Vec<String>,
    },
    /// Print this and end well: help, the version, an answer.
    Print(String),
    /// Print [`fault_report`] and end with [`EXIT_BAD_CONFIGURATION`]. Never empty.
    Faults(Vec<Fault>),
}

impl<T> Parsed<T> {
    fn of(run: T, faults: Vec<Fault>, warnings: Vec<String>) -> Self {
        if faults.is_empty() { Self::Run { run, warnings } } else { Self::Faults(faults) }
    }
}

/// Reads the configuration of `trunkline-server`. The arguments come without the program's name.
pub fn server(
    arguments: impl IntoIterator<Item = OsString>,
    around: &Surroundings<'_>,
) -> Parsed<ServerConfig> {
    daemon(Component::Server, arguments, around)
}

/// Reads the configuration of `trunkline-worker`. The arguments come without the program's name.
pub fn worker(
    arguments: impl IntoIterator<Item = OsString>,
    around: &Surroundings<'_>,
) -> Parsed<WorkerConfig> {
    daemon(Component::Worker, arguments, around)
}

fn daemon<C: Group + Rules>(
    program: Component,
    arguments: impl IntoIterator<Item = OsString>,
    around: &Surroundings<'_>,
) -> Parsed<C> {
    match flags::parse_daemon(program, arguments.into_iter().collect()) {
        Err(text) => Parsed::Print(text),
        Ok(flags) => {
            let given = Given::gather(program, flags, around);
            let (config, faults, warnings) = judged(program, &given, around);
            Parsed::of(config, faults, warnings)
        }
    }
}

/// Reads and judges what was given. The configuration may be used if there are no faults.
fn judged<C: Group + Rules>(
    program: Component,
    given: &Given,
    around: &Surroundings<'_>,
) -> (C, Vec<Fault>, Vec<String>) {
    let mut reader = Reader::new(program, given);
    let config = C::read(&mut reader);
    config.judge(&mut reader, around);
    let faults = given.faults.iter().cloned().chain(reader.into_faults()).collect();
    let warnings = given.warnings.iter().cloned().chain(config.warnings()).collect();
    (config, faults, warnings)
}
