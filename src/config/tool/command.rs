//! The commands, flags and help of the tool.

use clap::{Arg, ArgAction, Command};

use crate::config::flags::{HELP_WIDTH, config_arg, daemon_args, flag_arg, version};
use crate::config::reader::setting;
use crate::model::Component;

use super::doctor::DOCTOR_SETTINGS;
use super::queue::QUEUE_SETTINGS;

/// The whole command line of `trunkline`.
pub(super) fn command() -> Command {
    Command::new("trunkline")
        .about(
            "One instrumented Redis connection per process, and a notification bridge that can \
            see itself",
        )
        .version(version())
        .no_binary_name(true)
        .bin_name("trunkline")
        .term_width(HELP_WIDTH)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .after_help("Example:\n  trunkline dev")
        .subcommands([
            dev_command(),
            publish_command(),
            tail_command(),
            doctor_command(),
            queue_command(),
            config_command(),
        ])
}

fn dev_command() -> Command {
    Command::new("dev")
        .about("Run Redis, a server and a worker on this machine, with a sample rule chain")
        .long_about(
            "Runs a private Redis, a server and a worker on this machine, with a sample rule chain fed by the machine's own \
             telemetry. Ctrl-C stops everything and leaves nothing behind. REDIS_URL, REDIS_HOST and the like are ignored; \
             TRUNKLINE_ENV=production is refused.",
        )
        .after_help("Example:\n  trunkline dev --for 30s --listen 127.0.0.1:8081")
        .args([
            option("redis-url", "URL", "Use this Redis instead of a private one".into()),
            option("for", "DURATION", "End by itself after this time, such as 30s".into()),
            switch("no-feed", "Leave out this machine's telemetry"),
            option("listen", "ADDRESS", setting("TRUNKLINE_LISTEN").paragraph()).default_value("127.0.0.1:8080"),
            option("admin-listen", "ADDRESS", "The server's metrics, health and status".into()).default_value("127.0.0.1:9464"),
            option("worker-admin-listen", "ADDRESS", "The worker's metrics, health and status".into()).default_value("127.0.0.1:9465"),
            switch("insecure", "Allow --listen outside loopback"),
        ])
}

fn publish_command() -> Command {
    Command::new("publish")
        .about("Publish one notification through a server")
        .after_help(
            "Example:\n  trunkline publish alerts.door '{\"open\": true}' --type alert.door",
        )
        .args([
            Arg::new("channel")
                .value_name("CHANNEL")
                .required(true)
                .help("Channel, such as alerts.door"),
            Arg::new("data")
                .value_name("DATA")
                .required(true)
                .allow_hyphen_values(true)
                .help("JSON, or plain text"),
            option("type", "TYPE", "Type of the notification".into()),
            server_arg(),
        ])
}

fn tail_command() -> Command {
    Command::new("tail")
        .about("Print notifications as they arrive at a server")
        .long_about(
            "Prints notifications as they arrive at a server, until it is interrupted. When the server leaves or dies, it \
             comes back where it was and says so, and what is lost, on standard error.",
        )
        .after_help("Example:\n  trunkline tail 'alerts.*' jobs --json")
        .args([
            Arg::new("channel")
                .value_name("CHANNEL")
                .required(true)
                .num_args(1..)
                .help("Channels, or prefix.* for all below a prefix"),
            switch("json", "Print each notification as one line of JSON"),
            server_arg(),
        ])
}

fn doctor_command() -> Command {
    let settings = QUEUE_SETTINGS.iter().chain(DOCTOR_SETTINGS).map(|variable| setting(variable));
    let flags = settings.filter_map(|setting| flag_arg(setting, Component::Worker));
    Command::new("doctor")
        .about("Look at Redis and the fleet, and say what is wrong and what to type")
        .long_about(
            "Opens one connection to Redis, outside the fleet's count, looks, and says in words what is wrong and what to type. \
             It changes nothing. Exit code: 0 nothing bad, 1 it could not look, 2 something bad (with --strict, or a warning), \
             64 bad flags. REDIS_URL, REDIS_HOST and the like are read as by the daemons.",
        )
        .next_line_help(true)
        .after_help("Example:\n  trunkline doctor --admin http://10.0.0.7:9464 --strict")
        .args([
            Arg::new("admin")
                .long("admin")
                .value_name("URL")
                .action(ArgAction::Append)
                .help("Admin listener of a daemon, to be asked for its /status; may be repeated"),
            switch("json", "Print one JSON document instead of text"),
            switch("strict", "Let warnings count: exit code 2 for them, too"),
            option("watch", "INTERVAL", "Look again and again, by default every 5s, until Ctrl-C".into())
                .num_args(0..=1)
                .default_missing_value("5s"),
        ])
        .arg(config_arg())
        .args(flags)
}

fn queue_command() -> Command {
    let settings = QUEUE_SETTINGS.iter().map(|variable| setting(variable));
    let flags = settings.filter_map(|setting| flag_arg(setting, Component::Worker));
    let command = |name: &'static str, about: &'static str, example: &'static str| {
        Command::new(name).about(about).after_help(format!("Example:\n  trunkline queue {example}"))
    };
    let ids = || {
        [
            Arg::new("id").value_name("ID").num_args(0..).help("Ids of dead letters"),
            switch("all", "All that are there, in batches, the oldest first"),
        ]
    };
    let dead = command("dead", "Look at the dead letters, put them back, delete them", "dead list")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([
            command("list", "List the dead letters, the last first", "dead list --limit 20 --json")
                .arg(option("limit", "COUNT", "At most so many".into()).default_value("50")),
            command("show", "Show one dead letter and its job", "dead show 1738310400000-0")
                .arg(Arg::new("id").value_name("ID").required(true).help("Id of a dead letter")),
            command(
                "requeue",
                "Put dead letters back into the queue, at their first attempt",
                "dead requeue 1738310400000-0",
            )
            .args(ids()),
            command("delete", "Delete dead letters for good", "dead delete 1738310400000-0")
                .args(ids()),
        ]);
    command("queue", "Say how many jobs there are, and operate on the dead letters", "status")
        .long_about(
            "Opens one connection to Redis, outside the fleet's count. Exit code: 0 done, 1 it could not, or not with all that \
             were named, 64 bad flags. REDIS_URL, REDIS_HOST and the like are read as by the daemons.",
        )
        .next_line_help(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([command("status", "Say how many jobs there are, and how old", "status"), dead])
        .arg(switch("json", "Print JSON instead of text").global(true))
        .arg(config_arg().global(true))
        .args(flags.map(|flag| flag.global(true)))
}

fn config_command() -> Command {
    let daemon = |name: &'static str, program, about: &'static str| {
        Command::new(name).about(about).args(daemon_args(program))
    };
    Command::new("config")
        .about("Show the effective configuration and where each value came from")
        .after_help("Example:\n  trunkline config server --config trunkline.toml --check")
        .disable_help_subcommand(true)
        .args([
            config_arg(),
            switch("check", "Only say whether the configuration is good; exit code 64 if not")
                .global(true),
        ])
        .subcommands([
            daemon("server", Component::Server, "Of a server; takes all its flags"),
            daemon("worker", Component::Worker, "Of a worker; takes all its flags"),
        ])
}

fn option(name: &'static str, form: &'static str, help: String) -> Arg {
    Arg::new(name).long(name).value_name(form).help(help)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn server_arg() -> Arg {
    let default = "[env: TRUNKLINE_SERVER] [default: http://127.0.0.1:8080]";
    option("server", "URL", format!("{} {default}", setting("TRUNKLINE_SERVER").paragraph()))
}
