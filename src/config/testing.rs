//! Surroundings for tests: variables from a table and one file, `t.toml`.

use std::io::{Error, ErrorKind};
use std::path::Path;

use super::*;

/// Variables of the environment, as a table.
pub(super) type Variables<'a> = [(&'a str, &'a str)];

/// Runs a reading function in surroundings made of a table and the text of a file.
pub(super) fn within<T>(
    variables: &Variables<'_>,
    file: Option<&str>,
    read: impl FnOnce(&Surroundings<'_>) -> T,
) -> T {
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
    read(&Surroundings {
        variable: &|name| find(name).map(|(_, text)| (*text).to_owned()),
        names: &|| variables.iter().map(|(key, _)| (*key).to_owned()).collect(),
        file: &|path| match file {
            Some(text) if path == Path::new("t.toml") => Ok(text.to_owned()),
            _ => Err(Error::from(ErrorKind::NotFound)),
        },
    })
}

pub(super) fn arguments(flags: &[&str]) -> Vec<OsString> {
    flags.iter().map(OsString::from).collect()
}

fn parse(flags: &[&str], variables: &Variables<'_>, file: Option<&str>) -> Parsed<ServerConfig> {
    let mut flags = flags.to_vec();
    flags.extend(file.map(|_| "--config=t.toml"));
    within(variables, file, |around| super::server(arguments(&flags), around))
}

fn good<T: std::fmt::Debug>(parsed: Parsed<T>) -> (T, Vec<String>) {
    match parsed {
        Parsed::Run { run, warnings } => (run, warnings),
        other => panic!("not a good configuration: {other:?}"),
    }
}

fn bad<T: std::fmt::Debug>(parsed: Parsed<T>) -> Vec<Fault> {
    match parsed {
        Parsed::Faults(faults) => faults,
        Parsed::Run { .. } => vec![],
        Parsed::Print(text) => panic!("printed {text}"),
    }
}

/// A server's configuration and the warnings that came with it.
pub(super) fn run(flags: &[&str], variables: &Variables<'_>) -> (ServerConfig, Vec<String>) {
    good(parse(flags, variables, None))
}

pub(super) fn server(flags: &[&str], variables: &Variables<'_>) -> ServerConfig {
    run(flags, variables).0
}

pub(super) fn server_with_file(
    flags: &[&str],
    variables: &Variables<'_>,
    file: &str,
) -> ServerConfig {
    good(parse(flags, variables, Some(file))).0
}

pub(super) fn worker(flags: &[&str], variables: &Variables<'_>) -> WorkerConfig {
    good(within(variables, None, |around| super::worker(arguments(flags), around))).0
}

pub(super) fn warnings(flags: &[&str], variables: &Variables<'_>) -> Vec<String> {
    run(flags, variables).1
}

/// What is wrong with a server's configuration: nothing, or every fault.
pub(super) fn faults(flags: &[&str], variables: &Variables<'_>) -> Vec<Fault> {
    bad(parse(flags, variables, None))
}

pub(super) fn file_faults(file: &str) -> Vec<Fault> {
    bad(parse(&[], &[], Some(file)))
}

pub(super) fn worker_faults(flags: &[&str], variables: &Variables<'_>) -> Vec<Fault> {
    bad(within(variables, None, |around| super::worker(arguments(flags), around)))
}

/// What a server prints instead of starting.
pub(super) fn printed(flags: &[&str]) -> String {
    match parse(flags, &[], None) {
        Parsed::Print(text) => text,
        other => panic!("nothing printed: {other:?}"),
    }
}
