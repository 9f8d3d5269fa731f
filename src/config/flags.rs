//! The command line of the daemons: rendered from the declaration, read back as text.

use std::ffi::OsString;
use std::sync::LazyLock;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::model::{Build, Component, Fault};

use super::declaration;
use super::reader::setting;
use super::setting::{DefaultText, Setting};
use super::source::Flags;

/// The width help is wrapped to; a fixed one, so that it reads the same everywhere.
pub(super) const HELP_WIDTH: usize = 100;

/// What `--version` prints after the program's name.
pub(super) fn version() -> &'static str {
    static VERSION: LazyLock<String> =
        LazyLock::new(|| format!("{} ({}, {})", Build::VERSION, Build::REVISION, Build::RUSTC));
    &VERSION
}

/// The program's name as it is typed.
pub(super) fn program_name(program: Component) -> &'static str {
    match program {
        Component::Server => "trunkline-server",
        Component::Worker => "trunkline-worker",
        Component::Tool => "trunkline",
    }
}

/// The command line of a daemon.
pub(super) fn daemon_command(program: Component) -> Command {
    let (about, example) = match program {
        Component::Worker => (
            "Takes jobs from the queue, runs rule chains, publishes notifications",
            "REDIS_URL=redis://:secret@redis:6379 trunkline-worker --concurrency 50",
        ),
        _ => (
            "Takes events over HTTP, hands notifications to WebSocket and SSE clients",
            "REDIS_URL=redis://:secret@redis:6379 trunkline-server --listen 127.0.0.1:8080",
        ),
    };
    Command::new(program_name(program))
        .about(about)
        .version(version())
        .no_binary_name(true)
        .term_width(HELP_WIDTH)
        .next_line_help(true)
        .after_help(format!(
            "A flag wins over the environment, the environment over the file, the file over the default.\n\
             An empty environment variable is unset. `trunkline config` shows what is in force and why.\n\n\
             Read from the environment alone:\n  {}\n\n\
             Example:\n  {example}",
            environment_alone(program).collect::<Vec<_>>().join("\n  ")
        ))
        .args(daemon_args(program))
}

fn environment_alone(program: Component) -> impl Iterator<Item = &'static str> {
    declaration::settings()
        .filter(move |setting| setting.belongs_to(program) && setting.flag.is_none())
        .map(|setting| setting.variable)
}

/// `--config` and one flag for each setting of the daemon.
pub(super) fn daemon_args(program: Component) -> Vec<Arg> {
    let own = declaration::settings().filter(|setting| setting.belongs_to(program));
    let flags = own.filter_map(|setting| flag_arg(setting, program));
    std::iter::once(config_arg()).chain(flags).collect()
}

/// `--config FILE`.
pub(super) fn config_arg() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE.toml")
        .help("Configuration file. A key is a flag's name with `_`, such as redis_url")
}

/// The flag of a setting, if it has one.
pub(super) fn flag_arg(setting: &'static Setting, program: Component) -> Option<Arg> {
    let name = setting.name()?;
    let arg = Arg::new(name)
        .long(name)
        .value_name(setting.form)
        .help_heading(setting.heading)
        .help(help(setting, program))
        .action(if setting.list { ArgAction::Append } else { ArgAction::Set });
    Some(if setting.switch {
        arg.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        arg
    })
}

fn help(setting: &Setting, program: Component) -> StyledStr {
    let default = match setting.default {
        DefaultText::Unset(words) => words,
        _ => setting.default.text(program).unwrap_or_default(),
    };
    format!("{}\n[env: {}] [default: {default}]", setting.paragraph(), setting.variable).into()
}

/// The texts of the flags that were given.
pub(super) fn collect(matches: &ArgMatches, program: Component) -> Flags {
    let mut flags =
        Flags { file: matches.get_one::<String>("config").cloned(), ..Flags::default() };
    for setting in declaration::settings().filter(|setting| setting.belongs_to(program)) {
        let Some(name) = setting.name() else { continue };
        // A command of the tool may take some of them only.
        if let Ok(Some(texts)) = matches.try_get_many::<String>(name) {
            flags.texts.push((setting.variable, texts.cloned().collect::<Vec<_>>().join(",")));
        }
    }
    flags
}

/// Reads the command line of a daemon, going on after an unknown flag to find the next one.
/// Help and version come back as text.
pub(super) fn parse_daemon(
    program: Component,
    mut arguments: Vec<OsString>,
) -> Result<Flags, String> {
    let mut faults = vec![];
    loop {
        let problem = match daemon_command(program).try_get_matches_from(&arguments) {
            Ok(matches) => return Ok(Flags { faults, ..collect(&matches, program) }),
            Err(problem) => problem,
        };
        if let Some(text) = printed(&problem) {
            return Err(text);
        }
        faults.push(fault(&problem));
        if !(problem.kind() == ErrorKind::UnknownArgument && remove(&problem, &mut arguments)) {
            return Ok(salvage(program, &arguments, faults));
        }
    }
}

/// What can be read of a command line that cannot be read whole, so that its other faults show too.
fn salvage(program: Component, arguments: &[OsString], faults: Vec<Fault>) -> Flags {
    let matches = daemon_command(program).ignore_errors(true).try_get_matches_from(arguments);
    let mut flags = matches.map(|matches| collect(&matches, program)).unwrap_or_default();
    // A flag that is at fault already is not read on top of it.
    flags.texts.retain(|(variable, _)| {
        faults.iter().all(|fault| Some(&*fault.path) != setting(variable).flag)
    });
    Flags { faults, ..flags }
}

/// Takes the unknown argument out, and what looks like its value. Whether there was one.
fn remove(problem: &clap::Error, arguments: &mut Vec<OsString>) -> bool {
    let unknown = context(problem, ContextKind::InvalidArg).unwrap_or_default();
    let bare =
        |argument: &OsString| argument.to_string_lossy().split('=').next().map(str::to_owned);
    let name = unknown.split(['=', ' ']).next().map(str::to_owned);
    let Some(at) = arguments.iter().position(|one| bare(one) == name) else { return false };
    let removed = arguments.remove(at);
    let value_follows =
        arguments.get(at).is_some_and(|next| !next.to_string_lossy().starts_with('-'));
    let dashed = removed.to_string_lossy();
    if value_follows && dashed.starts_with("--") && !dashed.contains('=') {
        arguments.remove(at);
    }
    true
}

/// The text of help or version, if that is what was asked for.
pub(super) fn printed(problem: &clap::Error) -> Option<String> {
    use ErrorKind::*;
    matches!(
        problem.kind(),
        DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand
    )
    .then(|| problem.render().to_string())
}

/// The problem in our words: what was typed wrong and what to type. A value is not repeated, as
/// it may be a credential.
pub(super) fn fault(problem: &clap::Error) -> Fault {
    let argument = context(problem, ContextKind::InvalidArg).unwrap_or_default();
    let argument = match problem.kind() {
        ErrorKind::MissingRequiredArgument => &argument,
        _ => argument.split(['=', ' ']).next().unwrap_or_default(),
    };
    let path = if argument.starts_with(['-', '<']) { argument } else { "command line" };
    let tip = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand]
        .into_iter()
        .find_map(|kind| context(problem, kind))
        .map_or_else(|| "see --help".into(), |near| format!("did you mean {near}?"));
    let message = match problem.kind() {
        ErrorKind::UnknownArgument if path == "command line" => {
            "has a word too many; a value follows its flag, as in --queue NAME".into()
        }
        ErrorKind::UnknownArgument => format!("is not a flag; {tip}"),
        ErrorKind::InvalidSubcommand => format!("names an unknown command; {tip}"),
        ErrorKind::ArgumentConflict => "is given twice; keep one".into(),
        ErrorKind::InvalidUtf8 => "holds bytes that are not UTF-8; write it in UTF-8".into(),
        ErrorKind::InvalidValue | ErrorKind::NoEquals | ErrorKind::WrongNumberOfValues => {
            "lacks its value; see --help".into()
        }
        ErrorKind::MissingRequiredArgument => "is missing; see --help".into(),
        ErrorKind::TooManyValues => "has a value it does not take; see --help".into(),
        kind => format!("cannot be read ({kind}); see --help"),
    };
    Fault { path: path.to_owned(), message }
}

fn context(problem: &clap::Error, kind: ContextKind) -> Option<String> {
    match problem.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{faults, printed, server, warnings};

    fn messages(flags: &[&str]) -> Vec<String> {
        faults(flags, &[]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_commands_are_sound() {
        daemon_command(Component::Server).debug_assert();
        daemon_command(Component::Worker).debug_assert();
    }

    #[test]
    fn help_names_flag_environment_and_default_and_gives_an_example() {
        let help = printed(&["--help"]);
        for part in [
            "--redis-url <URL>",
            "[env: TRUNKLINE_QUEUE] [default: rule-engine-events]",
            "Example:",
            "--config <FILE.toml>",
        ] {
            assert!(help.contains(part), "{part} is not in\n{help}");
        }
        assert!(!help.contains("--concurrency"), "that is a worker's");
        assert!(help.lines().all(|line| line.chars().count() <= HELP_WIDTH), "{help}");
    }

    #[test]
    fn version_says_what_was_built_from_what() {
        assert!(
            printed(&["--version"]).starts_with(&format!("trunkline-server {} (", Build::VERSION))
        );
    }

    #[test]
    fn a_switch_may_stand_alone_and_a_list_may_be_repeated() {
        assert!(server(&["--insecure"], &[]).insecure);
        assert!(!server(&["--insecure=false"], &[("TRUNKLINE_INSECURE", "true")]).insecure);
        let flags = ["--allowed-origins", "https://a", "--allowed-origins", "https://b,https://c"];
        assert_eq!(server(&flags, &[]).allowed_origins.len(), 3);
    }

    #[test]
    fn every_unknown_flag_is_named_together_with_every_other_fault() {
        let found = messages(&[
            "--lisen",
            "127.0.0.1:1",
            "--zzz=1",
            "--queue",
            "Bad Name",
            "--client-queue",
            "x",
        ]);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert_eq!(found[0], "--lisen: is not a flag; did you mean --listen?");
        assert_eq!(found[1], "--zzz: is not a flag; see --help");
        assert!(found[2].starts_with("--queue (TRUNKLINE_QUEUE): "));
        assert!(found[3].starts_with("--client-queue (TRUNKLINE_CLIENT_QUEUE): "));
    }

    #[test]
    fn each_fault_of_a_command_line_says_what_to_type() {
        for (flags, says) in [
            (vec!["--queue", "a", "--queue", "b"], "--queue: is given twice; keep one"),
            (vec!["--queue"], "--queue: lacks its value"),
            (vec!["stray"], "command line: has a word too many"),
            (vec!["-x"], "-x: is not a flag"),
        ] {
            let found = messages(&flags);
            assert!(found.len() == 1 && found[0].starts_with(says), "{flags:?}: {found:#?}");
        }
    }

    #[test]
    fn a_mistyped_command_line_does_not_repeat_a_password() {
        for flags in [
            vec!["redis://:hunter2@h"],
            vec!["--redis-ulr=redis://:hunter2@h"],
            vec!["--redis-ulr", "redis://:hunter2@h"],
        ] {
            let found = messages(&flags);
            assert!(found.len() == 1 && !found[0].contains("hunter2"), "{found:?}");
        }
        assert_eq!(warnings(&[], &[]), Vec::<String>::new());
    }
}
