//! Reads values out of what was given, and collects every fault on the way.

use std::collections::HashSet;

use crate::model::{Component, Fault};

use super::declaration;
use super::setting::Setting;
use super::source::{Given, Source};
use super::value::Value;

/// Reads the settings of one program. Faults are collected, never returned early.
pub(super) struct Reader<'a> {
    program: Component,
    given: &'a Given,
    unreadable: HashSet<&'static str>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(program: Component, given: &'a Given) -> Self {
        Self { program, given, unreadable: HashSet::new(), faults: vec![] }
    }

    /// The value of the setting with this variable. A text that cannot be read is a fault, and
    /// the default stands in for it.
    pub(super) fn value<T: Value>(&mut self, variable: &'static str) -> T {
        let setting = setting(variable);
        let read = self.given.text(variable).map(|text| {
            // What stands for bytes of the environment that are no text.
            match text.contains(char::REPLACEMENT_CHARACTER) {
                true => Err("holds bytes that are not UTF-8; write it in UTF-8".to_owned()),
                false => T::parse(text),
            }
        });
        match read {
            Some(Ok(value)) => return value,
            Some(Err(problem)) => {
                let problem = format!(
                    "{problem}{} (from the {})",
                    self.hint(setting),
                    self.given.source(variable)
                );
                self.fault(&[variable], problem);
                self.unreadable.insert(variable);
            }
            None => {}
        }
        T::absent().or_else(|| T::parse(setting.default.text(self.program)?).ok()).expect(
            "a setting has a readable default, or a type that can be absent; a test reads \
                all of them",
        )
    }

    fn hint(&self, setting: &Setting) -> &'static str {
        let service_link =
            self.given.text(setting.variable).is_some_and(|text| text.starts_with("tcp://"));
        match (setting.variable, self.given.source(setting.variable)) {
            ("REDIS_PORT", Source::Environment) if service_link => {
                "; Kubernetes sets it for a service called redis: set REDIS_URL, or \
                 enableServiceLinks: false"
            }
            _ => "",
        }
    }

    /// Whether the setting was given at all.
    pub(super) fn is_given(&self, variable: &str) -> bool {
        self.given.source(variable) != Source::Default
    }

    /// Records a fault about these settings, named after the first of them. A setting that could
    /// not be read is not blamed twice, nor is its default blamed in its place.
    pub(super) fn fault(&mut self, variables: &[&'static str], message: impl Into<String>) {
        if variables.iter().all(|variable| !self.unreadable.contains(variable)) {
            let path = variables.first().map_or_else(String::new, |first| setting(first).title());
            self.faults.push(Fault { path, message: message.into() });
        }
    }

    /// Records a fault unless the condition holds.
    pub(super) fn require(
        &mut self,
        holds: bool,
        variables: &[&'static str],
        message: impl Into<String>,
    ) {
        if !holds {
            self.fault(variables, message);
        }
    }

    /// Records a fault about a variable that is not a setting.
    pub(super) fn outside(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}

/// The setting with this variable.
pub(super) fn setting(variable: &str) -> &'static Setting {
    declaration::settings()
        .find(|setting| setting.variable == variable)
        .unwrap_or_else(|| unreachable!("{variable} is not declared"))
}
