//! `trunkline doctor`: what it is told, which is a part of what a daemon is told.

use std::time::Duration;

use clap::ArgMatches;

use crate::config::Parsed;
use crate::config::declaration::{QueueConfig, RedisConfig};
use crate::config::flags::collect;
use crate::config::reader::Reader;
use crate::config::rules;
use crate::config::setting::Group;
use crate::config::source::{Given, Surroundings};
use crate::config::value::Value;
use crate::config::word::{Name, ServerUrl};
use crate::model::{Component, Fault};

use super::{ToolCommand, flag};

/// The settings of the daemons that the doctor has flags for beside those of `trunkline queue`. It
/// reads the rest of what they say of Redis and the queue from the environment and the file.
pub(super) const DOCTOR_SETTINGS: &[&str] =
    &["TRUNKLINE_JOB_LEASE", "TRUNKLINE_HEARTBEAT_INTERVAL"];

/// The shortest time between two looks of `--watch`: CLIENT LIST of a big Redis is not for free.
const SHORTEST_WATCH: Duration = Duration::from_millis(200);

/// What `trunkline doctor` is to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Doctor {
    /// The link to Redis, as a daemon would have it.
    pub redis: RedisConfig,
    /// The fleet's namespace.
    pub namespace: Name,
    /// The job queue and its thresholds.
    pub queue: QueueConfig,
    /// How long a worker may be silent about a job.
    pub job_lease: Duration,
    /// Time between signs of life of a process of the fleet.
    pub heartbeat_interval: Duration,
    /// Admin listeners of daemons that are to be asked for their status.
    pub admins: Vec<ServerUrl>,
    /// Whether it prints one JSON document instead of text.
    pub json: bool,
    /// Whether warnings count for the exit code.
    pub strict: bool,
    /// Time between two looks; `None` looks once.
    pub watch: Option<Duration>,
}

/// Reads its settings as a worker would: every one of them is one of a worker's.
pub(super) fn doctor(matches: &ArgMatches, around: &Surroundings<'_>) -> Parsed<ToolCommand> {
    let given = Given::gather(Component::Worker, collect(matches, Component::Worker), around);
    let mut reader = Reader::new(Component::Worker, &given);
    let redis = RedisConfig::read(&mut reader);
    let namespace = reader.value("TRUNKLINE_NAMESPACE");
    let queue = QueueConfig::read(&mut reader);
    let job_lease = reader.value("TRUNKLINE_JOB_LEASE");
    let heartbeat_interval = reader.value("TRUNKLINE_HEARTBEAT_INTERVAL");
    rules::link(&redis, &mut reader);
    rules::thresholds(&queue, &mut reader);
    let mut faults: Vec<Fault> = given.faults.iter().cloned().chain(reader.into_faults()).collect();
    let watch = flag(matches, "watch", &mut faults);
    if watch.is_some_and(|interval| interval < SHORTEST_WATCH) {
        let message = format!("is too often; give {SHORTEST_WATCH:?} or more");
        faults.push(Fault { path: "--watch".into(), message });
    }
    let mut admins = vec![];
    for text in matches.get_many::<String>("admin").unwrap_or_default() {
        match ServerUrl::parse(text) {
            Ok(url) => admins.push(url),
            Err(message) => faults.push(Fault { path: "--admin".into(), message }),
        }
    }
    let doctor = Doctor {
        redis,
        namespace,
        queue,
        job_lease,
        heartbeat_interval,
        admins,
        json: matches.get_flag("json"),
        strict: matches.get_flag("strict"),
        watch,
    };
    Parsed::of(ToolCommand::Doctor(Box::new(doctor)), faults, given.warnings.clone())
}
