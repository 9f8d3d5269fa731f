//! `trunkline queue`: which queue, and what is to be done with it.

use clap::ArgMatches;

use crate::config::Parsed;
use crate::config::declaration::{QueueConfig, RedisConfig};
use crate::config::flags::collect;
use crate::config::reader::Reader;
use crate::config::rules;
use crate::config::setting::Group;
use crate::config::source::{Given, Surroundings};
use crate::config::word::Name;
use crate::model::{Component, Fault};

use super::{ToolCommand, text};

/// The settings of the daemons that it has flags for, as the doctor has.
pub(super) const QUEUE_SETTINGS: &[&str] = &[
    "REDIS_URL",
    "TRUNKLINE_REDIS_TLS_CA",
    "TRUNKLINE_REDIS_TLS_CERT",
    "TRUNKLINE_REDIS_TLS_KEY",
    "TRUNKLINE_REDIS_COMMAND_TIMEOUT",
    "TRUNKLINE_REDIS_CONNECT_TIMEOUT",
    "TRUNKLINE_NAMESPACE",
    "TRUNKLINE_QUEUE",
    "QUEUE_WARNING_THRESHOLD",
    "QUEUE_CRITICAL_THRESHOLD",
    "QUEUE_RECOVERY_THRESHOLD",
];

/// The most letters that one `dead list` prints.
const MOST_LETTERS: usize = 10_000;

/// What `trunkline queue` is to do, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Operate {
    /// The link to Redis, as a daemon would have it.
    pub redis: RedisConfig,
    /// The fleet's namespace.
    pub namespace: Name,
    /// The queue and its thresholds.
    pub queue: QueueConfig,
    /// What to do.
    pub order: Order,
    /// Whether it prints JSON instead of text.
    pub json: bool,
}

/// What is to be done with a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Say how many jobs there are.
    Status,
    /// List the dead letters, the last first, at most so many.
    List(usize),
    /// Show one dead letter.
    Show(String),
    /// Put dead letters back into the queue.
    Requeue(Which),
    /// Delete dead letters.
    Delete(Which),
}

/// Which dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that are there.
    All,
    /// Those with these ids. Never empty.
    These(Vec<String>),
}

/// Reads its settings as a worker would: every one of them is one of a worker's.
pub(super) fn queue(matches: &ArgMatches, around: &Surroundings<'_>) -> Parsed<ToolCommand> {
    let (name, leaf) = leaf(matches);
    let given = Given::gather(Component::Worker, collect(leaf, Component::Worker), around);
    let mut reader = Reader::new(Component::Worker, &given);
    let redis = RedisConfig::read(&mut reader);
    let namespace = reader.value("TRUNKLINE_NAMESPACE");
    let queue = QueueConfig::read(&mut reader);
    rules::link(&redis, &mut reader);
    rules::thresholds(&queue, &mut reader);
    let mut faults: Vec<Fault> = given.faults.iter().cloned().chain(reader.into_faults()).collect();
    let order = match name {
        "list" => Order::List(limit(leaf, &mut faults)),
        "show" => Order::Show(id(text(leaf, "id").unwrap_or_default(), &mut faults)),
        "requeue" => Order::Requeue(which(leaf, &mut faults)),
        "delete" => Order::Delete(which(leaf, &mut faults)),
        _ => Order::Status,
    };
    let json = leaf.get_flag("json");
    let operate = Operate { redis, namespace, queue, order, json };
    Parsed::of(ToolCommand::Queue(Box::new(operate)), faults, given.warnings.clone())
}

/// The last command of a line, where flags for all of them arrive too.
fn leaf(matches: &ArgMatches) -> (&str, &ArgMatches) {
    let mut found = ("", matches);
    while let Some(next) = found.1.subcommand() {
        found = next;
    }
    found
}

fn limit(matches: &ArgMatches, faults: &mut Vec<Fault>) -> usize {
    let typed = text(matches, "limit").unwrap_or_default();
    match typed.parse() {
        Ok(limit) if (1..=MOST_LETTERS).contains(&limit) => limit,
        _ => {
            let message = format!("is not a number between 1 and {MOST_LETTERS}");
            faults.push(Fault { path: "--limit".into(), message });
            1
        }
    }
}

fn which(matches: &ArgMatches, faults: &mut Vec<Fault>) -> Which {
    let ids: Vec<&String> = matches.get_many("id").unwrap_or_default().collect();
    let mut fault = |message: &str| {
        faults.push(Fault { path: "<ID>...".into(), message: message.into() });
    };
    match (ids.is_empty(), matches.get_flag("all")) {
        (true, true) => return Which::All,
        (true, false) => fault("is missing; give the ids of dead letters, or --all"),
        (false, true) => fault("is given beside --all; keep one of them"),
        (false, false) => {}
    }
    Which::These(ids.into_iter().map(|text| id(text, faults)).collect())
}

/// The id of a dead letter. A job's own id is not: the same job may die twice.
fn id(typed: &str, faults: &mut Vec<Fault>) -> String {
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|it| it.is_ascii_digit())
            && part.parse::<u64>().is_ok()
    };
    if !typed.split_once('-').is_some_and(|(ms, sequence)| number(ms) && number(sequence)) {
        let message = format!(
            "{typed:?} is not the id of a dead letter, such as 1738310400000-0; \
             `trunkline queue dead list` shows them"
        );
        faults.push(Fault { path: "<ID>".into(), message });
    }
    typed.to_owned()
}
