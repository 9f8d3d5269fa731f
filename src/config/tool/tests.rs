use super::*;
use crate::config::testing::{Variables, arguments, within};
use proptest::prelude::*;
use serde_json::json;

fn ask(words: &[&str], variables: &Variables<'_>) -> Parsed<ToolCommand> {
    within(variables, Some("queue = 'from-file'"), |around| tool(arguments(words), around))
}

fn run(words: &[&str]) -> ToolCommand {
    match ask(words, &[]) {
        Parsed::Run { run, .. } => run,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn text(words: &[&str], variables: &Variables<'_>) -> String {
    match ask(words, variables) {
        Parsed::Print(text) => text,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn faults(words: &[&str], variables: &Variables<'_>) -> Vec<String> {
    match ask(words, variables) {
        Parsed::Faults(faults) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn the_command_is_sound() {
    command::command().debug_assert();
}

#[test]
fn every_help_has_an_example_and_the_whole_lists_all_commands() {
    for words in [
        &["--help"][..],
        &["dev", "--help"],
        &["publish", "--help"],
        &["tail", "--help"],
        &["doctor", "--help"],
        &["queue", "--help"],
        &["queue", "status", "--help"],
        &["queue", "dead", "list", "--help"],
        &["queue", "dead", "show", "--help"],
        &["queue", "dead", "requeue", "--help"],
        &["queue", "dead", "delete", "--help"],
        &["config", "--help"],
    ] {
        assert!(text(words, &[]).contains("Example:\n  trunkline "), "{words:?}");
        assert!(text(words, &[]).contains("Usage: trunkline "), "{words:?}");
    }
    let help = text(&[], &[]);
    for command in ["dev", "publish", "tail", "doctor", "queue", "config"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    assert!(text(&["--version"], &[]).starts_with("trunkline 0."));
}

#[test]
fn dev_needs_nothing() {
    let ToolCommand::Dev(dev) = run(&["dev"]) else { panic!("not dev") };
    assert_eq!((dev.redis_url, dev.run_for, dev.feed, dev.insecure), (None, None, true, false));
    assert_eq!(
        (dev.listen.port(), dev.admin_listen.port(), dev.worker_admin_listen.port()),
        (8080, 9464, 9465)
    );
}

#[test]
fn dev_can_be_pointed_elsewhere_ended_and_starved() {
    let words = [
        "dev",
        "--redis-url",
        "redis://:hunter2@h",
        "--for",
        "30s",
        "--no-feed",
        "--listen",
        "127.0.0.1:0",
    ];
    let Parsed::Run { run: ToolCommand::Dev(dev), warnings } = ask(&words, &[]) else {
        panic!("not dev")
    };
    assert_eq!(dev.redis_url.as_ref().map(Secret::expose), Some("redis://:hunter2@h"));
    assert_eq!((dev.run_for, dev.feed), (Some(Duration::from_secs(30)), false));
    assert_eq!(warnings.len(), 1);
    assert!(!format!("{dev:?} {warnings:?}").contains("hunter2"));
}

#[test]
fn dev_ignores_the_redis_of_the_environment() {
    let variables = [("REDIS_URL", "nonsense"), ("REDIS_PORT", "nonsense")];
    let Parsed::Run { run: ToolCommand::Dev(dev), .. } = ask(&["dev"], &variables) else {
        panic!("not dev")
    };
    assert_eq!(dev.redis_url, None);
}

#[test]
fn dev_tells_all_its_faults_at_once() {
    let words = ["dev", "--for", "30", "--listen", "0.0.0.0:80", "--redis-url", "redis://"];
    let variables = [("TRUNKLINE_ENV", "production"), ("TRUNKLINE_API_TOKENS", "hunter2")];
    let found = faults(&words, &variables);
    for (fault, says) in found.iter().zip([
        "--redis-url: ",
        "--for: ",
        "--listen: is outside loopback",
        "TRUNKLINE_ENV: is production",
        "TRUNKLINE_API_TOKENS: is set, but authentication is not built",
    ]) {
        assert!(fault.starts_with(says), "{fault}");
    }
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(matches!(
        ask(&["dev", "--insecure", "--listen", "0.0.0.0:80"], &[]),
        Parsed::Run { .. }
    ));
}

#[test]
fn publish_takes_json_or_plain_text() {
    let data = |typed: &str| match run(&["publish", "a.b", typed, "--type", "t"]) {
        ToolCommand::Publish(publish) => {
            assert_eq!((publish.channel.as_str(), publish.kind.as_deref()), ("a.b", Some("t")));
            publish.data
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(data("{\"open\": true}"), json!({"open": true}));
    assert_eq!(data("-4.5"), json!(-4.5));
    assert_eq!(data("hello there"), json!("hello there"));
    let found = faults(&["publish", "a", "{open: true}"], &[]);
    assert!(found[0].starts_with("DATA: begins like JSON but is not"), "{found:?}");
}

#[test]
fn the_server_comes_from_the_flag_the_environment_or_the_default() {
    let server = |words: &[&str], variables: &Variables<'_>| match ask(words, variables) {
        Parsed::Run { run: ToolCommand::Tail(tail), .. } => tail.server.url().to_string(),
        other => panic!("{other:?}"),
    };
    let variable = [("TRUNKLINE_SERVER", "http://env:1")];
    assert_eq!(server(&["tail", "a"], &[]), "http://127.0.0.1:8080/");
    assert_eq!(server(&["tail", "a"], &variable), "http://env:1/");
    assert_eq!(server(&["tail", "a", "--server", "http://flag:2"], &variable), "http://flag:2/");
    let found = faults(&["tail", "a", "--server", "flag:2"], &[]);
    assert!(found[0].starts_with("--server (TRUNKLINE_SERVER): is not the URL"), "{found:?}");
}

#[test]
fn tail_takes_many_channels() {
    let ToolCommand::Tail(tail) = run(&["tail", "a", "b.*", "--json"]) else { panic!("not tail") };
    assert_eq!((tail.channels, tail.json), (vec!["a".to_owned(), "b.*".to_owned()], true));
}

#[test]
fn the_doctor_reads_what_the_daemons_read_of_redis() {
    let ask_doctor = |words: &[&str], variables: &Variables<'_>| match ask(words, variables) {
        Parsed::Run { run: ToolCommand::Doctor(doctor), .. } => *doctor,
        other => panic!("{other:?}"),
    };
    let parts =
        [("REDIS_HOST", "h"), ("REDIS_PASSWORD", "hunter2"), ("TRUNKLINE_NAMESPACE", "shop")];
    let doctor = ask_doctor(&["doctor", "--config", "t.toml"], &parts);
    assert_eq!(doctor.redis.endpoint.to_string(), "redis://:***@h:6379");
    assert_eq!((doctor.namespace.as_str(), doctor.queue.name.as_str()), ("shop", "from-file"));
    assert_eq!(
        (doctor.watch, doctor.json, doctor.strict, doctor.admins.len()),
        (None, false, false, 0)
    );
    assert!(!format!("{doctor:?}").contains("hunter2"));

    let words = [
        "doctor",
        "--redis-url",
        "redis://flag",
        "--watch",
        "--admin",
        "http://a",
        "--admin",
        "http://b",
    ];
    let doctor = ask_doctor(&words, &parts);
    assert_eq!(doctor.redis.endpoint.to_string(), "redis://flag:6379");
    assert_eq!((doctor.watch, doctor.admins.len()), (Some(Duration::from_secs(5)), 2));
    let doctor = ask_doctor(&["doctor", "--watch", "2s"], &[]);
    assert_eq!(doctor.watch, Some(Duration::from_secs(2)));
}

#[test]
fn the_doctor_tells_all_its_faults_at_once() {
    let words =
        ["doctor", "--watch", "1ms", "--admin", "a", "--queue-warning", "1", "--queue", "No"];
    let found = faults(&words, &[("TRUNKLINE_CONCURRENCY", "many"), ("REDIS_PORT", "many")]);
    let starts =
        ["REDIS_PORT: ", "--queue (", "--queue-recovery (", "--watch: is too often", "--admin: "];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|fault| fault.starts_with(start)), "{start}: {found:#?}");
    }
}

#[test]
fn the_queue_is_told_what_to_do_and_where_by_flags_anywhere() {
    let order = |words: &[&str]| match ask(words, &[("REDIS_HOST", "h")]) {
        Parsed::Run { run: ToolCommand::Queue(operate), .. } => *operate,
        other => panic!("{words:?}: {other:?}"),
    };
    let status = order(&["queue", "status", "--config", "t.toml", "--json"]);
    assert_eq!((status.order, status.json), (Order::Status, true));
    assert_eq!(status.queue.name.as_str(), "from-file");
    assert_eq!(status.redis.endpoint.to_string(), "redis://h:6379");
    assert_eq!(order(&["queue", "dead", "list", "--limit", "7"]).order, Order::List(7));
    assert_eq!(order(&["queue", "dead", "show", "1-0"]).order, Order::Show("1-0".into()));
    let these = Which::These(vec!["1-0".into(), "2-3".into()]);
    assert_eq!(
        order(&["queue", "dead", "requeue", "1-0", "2-3"]).order,
        Order::Requeue(these.clone())
    );
    assert_eq!(order(&["queue", "dead", "delete", "1-0", "2-3"]).order, Order::Delete(these));
    let all = order(&["queue", "--namespace", "shop", "dead", "delete", "--all"]);
    assert_eq!((all.order, all.namespace.as_str()), (Order::Delete(Which::All), "shop"));
}

#[test]
fn what_is_no_dead_letter_is_refused_before_redis_is_asked() {
    for (words, says) in [
        (&["requeue"][..], "<ID>...: is missing; give the ids"),
        (&["delete", "1-0", "--all"], "<ID>...: is given beside --all"),
        (&["show", "0199-x"], "<ID>: \"0199-x\" is not the id of a dead letter"),
        (&["requeue", "1-0", "+"], "<ID>: \"+\" is not"),
        (&["delete", "99999999999999999999-0"], "<ID>: "),
        (&["list", "--limit", "0"], "--limit: is not a number between 1"),
        (&["show"], "<ID>: is missing"),
    ] {
        let found = faults(&[&["queue", "dead"], words].concat(), &[]);
        assert!(found.len() == 1 && found[0].starts_with(says), "{words:?}: {found:#?}");
    }
}

#[test]
fn each_fault_of_the_command_line_says_what_to_type() {
    for (words, says) in [
        (&["tial"][..], "command line: names an unknown command; did you mean tail?"),
        (&["tail"], "<CHANNEL>...: is missing"),
        (&["publish", "a"], "<DATA>: is missing"),
        (&["publish"], "<CHANNEL>, <DATA>: is missing"),
        (&["dev", "--no-fed"], "--no-fed: is not a flag; did you mean --no-feed?"),
        (&["dev", "--for"], "--for: lacks its value"),
        (&["dev", "stray"], "command line: has a word too many"),
    ] {
        let found = faults(words, &[]);
        assert!(found.len() == 1 && found[0].starts_with(says), "{words:?}: {found:#?}");
    }
}

#[test]
fn config_shows_each_value_and_where_it_came_from() {
    let variables =
        [("REDIS_URL", "redis://app:hunter2@h"), ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2")];
    let shown =
        text(&["config", "server", "--listen", "127.0.0.1:1", "--config", "t.toml"], &variables);
    let line = |name: &str| -> Vec<String> {
        let line = shown.lines().find(|line| line.starts_with(name)).expect(name);
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(
        line("--redis-url "),
        ["--redis-url", "redis://app:***@h:6379", "environment", "REDIS_URL"]
    );
    assert_eq!(line("--listen "), ["--listen", "127.0.0.1:1", "flag"]);
    assert_eq!(line("--queue "), ["--queue", "from-file", "file"]);
    assert_eq!(line("--queue-warning "), ["--queue-warning", "10000", "default"]);
    assert_eq!(
        line("OTEL_EXPORTER_OTLP_HEADERS"),
        ["OTEL_EXPORTER_OTLP_HEADERS", "***", "environment", "OTEL_EXPORTER_OTLP_HEADERS"]
    );
    assert!(!shown.contains("--concurrency") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn config_without_a_daemon_shows_both() {
    let shown = text(&["config", "--config", "t.toml"], &[("REDIS_HOST", "h")]);
    assert!(
        shown.contains("# trunkline-server\n") && shown.contains("# trunkline-worker\n"),
        "{shown}"
    );
    assert!(shown.contains("127.0.0.1:9464") && shown.contains("127.0.0.1:9465"));
    assert!(shown.contains("(not used)"), "the default URL gives way to REDIS_HOST");
    assert_eq!(shown.matches("from-file").count(), 2);
}

#[test]
fn config_check_judges_as_the_daemon_would() {
    assert_eq!(
        text(&["config", "worker", "--check"], &[]),
        "trunkline-worker: the configuration is good\n"
    );
    assert_eq!(
        text(&["config", "--check"], &[]).lines().filter(|line| line.ends_with("is good")).count(),
        2
    );
    let bad = [("TRUNKLINE_CONCURRENCY", "0"), ("TRUNKLINE_QUEUE", "Bad")];
    assert_eq!(faults(&["config", "--check"], &bad).len(), 2, "what both read is one fault");
    assert_eq!(faults(&["config", "server", "--check"], &bad).len(), 1);
    let warned = text(&["config", "server", "--check", "--redis-url", "redis://:hunter2@h"], &[]);
    assert!(
        warned.contains("\n  warning: --redis-url holds a password") && !warned.contains("hunter2"),
        "{warned}"
    );
}

proptest! {
    #[test]
    fn no_data_panics(data in ".{0,40}") {
        let _ = ask(&["publish", "a", &data], &[]);
    }
}
