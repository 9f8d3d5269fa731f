//! Configurations out of bytes of anybody's making: see `crate::fuzzing`.

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;

use super::{Component, Parsed, Surroundings, fault_report, server, tool, worker};
use crate::model::fuzz::told;

/// Is set unless the input sets it, and must not be in any answer.
const PASSWORD: &str = "pa55word-of-nobody";

/// Up to a line `---` one argument, or `NAME=value` of the environment, on each line; then the
/// file. Without that line all of it is the file.
pub fn settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (words, file) = match text.strip_prefix("---\n") {
        Some(file) => ("", file),
        None => text.split_once("\n---\n").unwrap_or(("", &text)),
    };
    let variable = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let named = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        (named && !name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    let mut variables: Vec<_> = words.lines().filter_map(variable).collect();
    variables.push(("REDIS_PASSWORD".to_owned(), PASSWORD.to_owned()));
    let arguments: Vec<_> = words.lines().filter(|line| variable(line).is_none()).collect();
    let around = Surroundings {
        variable: &|name| Some(variables.iter().find(|(key, _)| key == name)?.1.clone()),
        names: &|| variables.iter().map(|(key, _)| key.clone()).collect(),
        file: &|path| match path == Path::new("f.toml") {
            true => Ok(file.to_owned()),
            false => Err(io::ErrorKind::NotFound.into()),
        },
    };
    let line = |before: &[&str]| -> Vec<OsString> {
        before.iter().chain(&["--config", "f.toml"]).chain(&arguments).map(OsString::from).collect()
    };
    answered(&server(line(&[]), &around));
    answered(&worker(line(&[]), &around));
    answered(&tool(line(&["config", "server"]), &around));
    answered(&tool(arguments.iter().map(OsString::from), &around));
}

/// Either it can start, or it says why not.
fn answered<T: Debug>(parsed: &Parsed<T>) {
    match parsed {
        Parsed::Run { warnings, .. } => assert!(warnings.iter().all(|warning| !warning.is_empty())),
        Parsed::Print(text) => assert!(!text.is_empty()),
        Parsed::Faults(faults) => {
            told(faults, usize::MAX, |path| !path.is_empty());
            assert!(!fault_report(Component::Tool, faults).is_empty());
        }
    }
    assert!(!format!("{parsed:?}").contains(PASSWORD), "a password is told: {parsed:?}");
}
