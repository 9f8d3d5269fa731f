//! What was given for each setting, and where it came from: flag, environment, file, default.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use crate::model::{Component, Fault};

use super::declaration;
use super::file;
use super::redis_url;
use super::setting::Setting;

/// What lies outside the command line. It is handed in, so reading a configuration touches
/// nothing of the process.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The value of an environment variable, if it is set; bytes that are not UTF-8 as U+FFFD.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The names of all environment variables: `TRUNKLINE_JWT_*` is a family.
    pub names: &'a dyn Fn() -> Vec<String>,
    /// The text of the file that `--config` names.
    pub file: &'a dyn Fn(&Path) -> std::io::Result<String>,
}

impl Surroundings<'_> {
    /// A variable that is set and not empty.
    pub(super) fn set(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|text| !text.is_empty())
    }
}

/// Where a value came from, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The file named by `--config`.
    File,
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Flag => "flag",
            Source::Environment => "environment",
            Source::File => "file",
            Source::Default => "default",
        })
    }
}

/// What the command line of a program said.
#[derive(Default)]
pub(super) struct Flags {
    /// The text of each flag, by the setting's environment variable.
    pub(super) texts: Vec<(&'static str, String)>,
    /// The file named by `--config`.
    pub(super) file: Option<String>,
    /// What is wrong with the command line itself.
    pub(super) faults: Vec<Fault>,
}

/// The text of each setting of a program. It may hold credentials, so it has no `Debug`.
pub(super) struct Given {
    program: Component,
    texts: HashMap<&'static str, (Source, String)>,
    /// What is wrong with the command line or the file.
    pub(super) faults: Vec<Fault>,
    /// What the operator should know although the program can start.
    pub(super) warnings: Vec<String>,
}

/// The variables that stand in for `REDIS_URL`.
const REDIS_PARTS: [&str; 6] =
    ["REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB", "REDIS_TLS"];

impl Given {
    /// Gathers the text of each setting of the program: flag, environment, file, default.
    pub(super) fn gather(program: Component, flags: Flags, around: &Surroundings<'_>) -> Self {
        let mut given =
            Self { program, texts: HashMap::new(), faults: flags.faults, warnings: vec![] };
        let from_file = match &flags.file {
            Some(name) => file::read(name, around, &mut given.faults),
            None => HashMap::new(),
        };
        for setting in given.settings() {
            let variable = setting.variable;
            let flag = flags.texts.iter().find(|(name, _)| *name == variable);
            let found = flag
                .map(|(_, text)| (Source::Flag, text.clone()))
                .or_else(|| Some((Source::Environment, around.set(variable)?)))
                .or_else(|| Some((Source::File, from_file.get(variable)?.clone())))
                .or_else(|| Some((Source::Default, setting.default.text(program)?.to_owned())));
            if let Some(found) = found {
                given.texts.insert(variable, found);
            }
        }
        given.settle_on_one_redis();
        if given.source("REDIS_URL") == Source::Flag
            && given.text("REDIS_URL").is_some_and(redis_url::holds_password)
        {
            given.warnings.push(redis_url::PASSWORD_ON_COMMAND_LINE.into());
        }
        given
    }

    /// A URL and the parts describe the same thing, so one of them is dropped: the URL wins
    /// over the parts, unless only the file or the default has one.
    fn settle_on_one_redis(&mut self) {
        let parts: Vec<&str> =
            REDIS_PARTS.into_iter().filter(|part| self.texts.contains_key(part)).collect();
        let (Some(first), url) = (parts.first(), self.source("REDIS_URL")) else { return };
        match url {
            Source::Flag | Source::Environment => {
                for part in &parts {
                    self.texts.remove(part);
                }
                // A flag is given on purpose, over whatever the environment says.
                if url == Source::Environment {
                    self.warnings.push(format!(
                        "REDIS_URL is set, so these are ignored: {}",
                        parts.join(", ")
                    ));
                }
            }
            Source::File | Source::Default => {
                self.texts.remove("REDIS_URL");
                if url == Source::File {
                    self.warnings
                        .push(format!("{first} is set, so redis_url of the file is ignored"));
                }
            }
        }
    }

    /// The settings of the program.
    pub(super) fn settings(&self) -> impl Iterator<Item = &'static Setting> + use<> {
        let program = self.program;
        declaration::settings().filter(move |setting| setting.belongs_to(program))
    }

    pub(super) fn text(&self, variable: &str) -> Option<&str> {
        self.texts.get(variable).map(|(_, text)| text.as_str())
    }

    pub(super) fn source(&self, variable: &str) -> Source {
        self.texts.get(variable).map_or(Source::Default, |(source, _)| *source)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{faults, run, server, server_with_file, warnings};

    const FILE: &str =
        "queue = \"from-file\"\nnamespace = \"from-file\"\ninstance = \"from-file\"\n";

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let variables =
            [("TRUNKLINE_QUEUE", "from-environment"), ("TRUNKLINE_NAMESPACE", "from-environment")];
        let config = server_with_file(&["--queue", "from-flag"], &variables, FILE).common;
        assert_eq!(config.queue.name.as_str(), "from-flag");
        assert_eq!(config.namespace.as_str(), "from-environment");
        assert_eq!(config.instance.map(|name| name.to_string()).as_deref(), Some("from-file"));
        assert_eq!(config.queue.warning, 10_000);
    }

    #[test]
    fn an_empty_variable_is_unset_and_an_empty_flag_is_not() {
        assert_eq!(
            server(&[], &[("TRUNKLINE_QUEUE", "")]).common.queue.name.as_str(),
            "rule-engine-events"
        );
        assert_eq!(faults(&["--queue="], &[]).len(), 1);
    }

    #[test]
    fn settings_of_the_other_programs_in_the_environment_are_ignored() {
        assert_eq!(
            faults(&[], &[("TRUNKLINE_CONCURRENCY", "many"), ("TRUNKLINE_SERVER", "nowhere")]),
            vec![]
        );
    }

    #[test]
    fn a_url_of_the_environment_wins_over_the_parts_and_says_so() {
        let both = [
            ("REDIS_URL", "redis://url"),
            ("REDIS_HOST", "part"),
            ("REDIS_PORT", "tcp://10.0.0.1:1"),
        ];
        let (config, warnings) = run(&[], &both);
        assert_eq!(config.common.redis.endpoint.to_string(), "redis://url:6379");
        assert_eq!(warnings, ["REDIS_URL is set, so these are ignored: REDIS_HOST, REDIS_PORT"]);
    }

    #[test]
    fn a_url_of_the_command_line_wins_in_silence() {
        let (config, warnings) = run(&["--redis-url", "redis://flag"], &[("REDIS_HOST", "part")]);
        assert_eq!(config.common.redis.endpoint.to_string(), "redis://flag:6379");
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn parts_of_the_environment_win_over_a_url_of_the_file() {
        let config =
            server_with_file(&[], &[("REDIS_HOST", "part")], "redis_url = \"redis://file\"");
        assert_eq!(config.common.redis.endpoint.to_string(), "redis://part:6379");
    }

    #[test]
    fn a_password_on_the_command_line_is_warned_about() {
        let warned = warnings(&["--redis-url", "redis://:hunter2@h"], &[]);
        assert!(warned[0].contains("--redis-url") && warned[0].contains("REDIS_URL"), "{warned:?}");
        assert!(!warned[0].contains("hunter2"));
        assert_eq!(warnings(&[], &[("REDIS_URL", "redis://:hunter2@h")]), Vec::<String>::new());
    }
}
