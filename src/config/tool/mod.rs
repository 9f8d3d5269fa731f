//! The operator's tool: what it can be asked, and how the command line asks it.

mod command;
mod doctor;
mod effective;
mod queue;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use clap::ArgMatches;
use serde_json::Value as Json;

use crate::model::{Component, Fault, RedisEndpoint, Secret};

use super::declaration::ToolConfig;
use super::reader::Reader;
use super::redis_url;
use super::rules::authentication_is_not_built;
use super::setting::Group;
use super::source::{Flags, Given, Surroundings};
use super::value::Value;
use super::word::ServerUrl;
use super::{Parsed, flags};

pub use doctor::Doctor;
pub use queue::{Operate, Order, Which};

/// What the operator asked of `trunkline`. `trunkline config` is answered with text.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolCommand {
    /// Run everything on this machine, for development.
    Dev(Dev),
    /// Publish one notification through a server.
    Publish(Publish),
    /// Print notifications as a server hands them out.
    Tail(Tail),
    /// Look at Redis and the fleet, and say what is wrong.
    Doctor(Box<Doctor>),
    /// Look at the queue, or operate on its dead letters.
    Queue(Box<Operate>),
}

/// What `trunkline dev` is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Dev {
    /// The URL of a Redis to use; `None` starts a private one. It has been read once, so it is
    /// a good URL.
    pub redis_url: Option<Secret>,
    /// When to end by itself.
    pub run_for: Option<Duration>,
    /// Whether this machine's telemetry is fed in as events.
    pub feed: bool,
    /// The server's public listener.
    pub listen: SocketAddr,
    /// The server's admin listener.
    pub admin_listen: SocketAddr,
    /// The worker's admin listener.
    pub worker_admin_listen: SocketAddr,
    /// Whether the public listener may be outside loopback.
    pub insecure: bool,
}

/// What `trunkline publish` is to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// The server to send it to.
    pub server: ServerUrl,
    /// The channel, as typed; the server judges it.
    pub channel: String,
    /// The data: JSON, or a string if what was typed is not JSON.
    pub data: Json,
    /// The notification's type; `None` leaves it to the server.
    pub kind: Option<String>,
}

/// What `trunkline tail` is to print.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// The server to listen to.
    pub server: ServerUrl,
    /// Channels or `prefix.*`, as typed; the server judges them. Never empty.
    pub channels: Vec<String>,
    /// Whether each notification is printed as one line of JSON instead of for people.
    pub json: bool,
}

/// Reads the command line of `trunkline`, without the program's name.
pub fn tool(
    arguments: impl IntoIterator<Item = OsString>,
    around: &Surroundings<'_>,
) -> Parsed<ToolCommand> {
    let matches = match command::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(problem) => {
            return match flags::printed(&problem) {
                Some(text) => Parsed::Print(text),
                None => Parsed::Faults(vec![flags::fault(&problem)]),
            };
        }
    };
    match matches.subcommand() {
        Some(("dev", matches)) => dev(matches, around),
        Some(("publish", matches)) => publish(matches, around),
        Some(("tail", matches)) => tail(matches, around),
        Some(("doctor", matches)) => doctor::doctor(matches, around),
        Some(("queue", matches)) => queue::queue(matches, around),
        Some(("config", matches)) => effective::config(matches, around),
        _ => unreachable!("clap requires one of the subcommands above"),
    }
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

/// Reads one flag of `dev`; a text that cannot be read is a fault.
fn flag<T: Value>(matches: &ArgMatches, name: &str, faults: &mut Vec<Fault>) -> Option<T> {
    match T::parse(text(matches, name)?) {
        Ok(value) => Some(value),
        Err(message) => {
            faults.push(Fault { path: format!("--{name}"), message });
            None
        }
    }
}

fn dev(matches: &ArgMatches, around: &Surroundings<'_>) -> Parsed<ToolCommand> {
    let mut faults = vec![];
    let endpoint: Option<RedisEndpoint> = flag(matches, "redis-url", &mut faults);
    let run_for = flag(matches, "for", &mut faults);
    let listen: Option<SocketAddr> = flag(matches, "listen", &mut faults);
    let admin_listen = flag(matches, "admin-listen", &mut faults);
    let worker_admin_listen = flag(matches, "worker-admin-listen", &mut faults);
    let insecure = matches.get_flag("insecure");
    let mut fault = |path: &str, message: &str| {
        faults.push(Fault { path: path.into(), message: message.into() })
    };
    if listen.is_some_and(|listen| !listen.ip().to_canonical().is_loopback()) && !insecure {
        fault(
            "--listen",
            "is outside loopback, where anyone who reaches it could read and write; add \
             --insecure if that is wanted",
        );
    }
    if around.set("TRUNKLINE_ENV").as_deref() == Some("production") {
        fault(
            "TRUNKLINE_ENV",
            "is production, where `trunkline dev` has no business; run trunkline-server and \
             trunkline-worker, or unset it",
        );
    }
    faults.extend(authentication_is_not_built(around));
    let (Some(listen), Some(admin_listen), Some(worker_admin_listen), true) =
        (listen, admin_listen, worker_admin_listen, faults.is_empty())
    else {
        return Parsed::Faults(faults);
    };
    let warned = endpoint.is_some_and(|endpoint| endpoint.password.is_some());
    Parsed::Run {
        run: ToolCommand::Dev(Dev {
            redis_url: text(matches, "redis-url").map(Secret::new),
            run_for,
            feed: !matches.get_flag("no-feed"),
            listen,
            admin_listen,
            worker_admin_listen,
            insecure,
        }),
        warnings: warned.then(|| redis_url::PASSWORD_ON_COMMAND_LINE.into()).into_iter().collect(),
    }
}

/// The server to speak to, with the faults there may be.
fn server(matches: &ArgMatches, around: &Surroundings<'_>) -> (ServerUrl, Vec<Fault>) {
    let mut flags = Flags::default();
    flags.texts.extend(text(matches, "server").map(|url| ("TRUNKLINE_SERVER", url.to_owned())));
    let given = Given::gather(Component::Tool, flags, around);
    let mut reader = Reader::new(Component::Tool, &given);
    let config = ToolConfig::read(&mut reader);
    (config.server, reader.into_faults())
}

fn publish(matches: &ArgMatches, around: &Surroundings<'_>) -> Parsed<ToolCommand> {
    let (server, mut faults) = server(matches, around);
    let typed = text(matches, "data").unwrap_or_default();
    let data = serde_json::from_str(typed).unwrap_or_else(|problem| {
        if typed.trim_start().starts_with(['{', '[', '"']) {
            let message = format!(
                "begins like JSON but is not ({problem}); quote it for the \
                shell, as in '{{\"open\": true}}'"
            );
            faults.push(Fault { path: "DATA".into(), message });
        }
        Json::String(typed.to_owned())
    });
    let channel = text(matches, "channel").unwrap_or_default().to_owned();
    let kind = text(matches, "type").map(str::to_owned);
    Parsed::of(ToolCommand::Publish(Publish { server, channel, data, kind }), faults, vec![])
}

fn tail(matches: &ArgMatches, around: &Surroundings<'_>) -> Parsed<ToolCommand> {
    let (server, faults) = server(matches, around);
    let channels = matches.get_many::<String>("channel").unwrap_or_default().cloned().collect();
    Parsed::of(
        ToolCommand::Tail(Tail { server, channels, json: matches.get_flag("json") }),
        faults,
        vec![],
    )
}

#[cfg(test)]
mod tests;
