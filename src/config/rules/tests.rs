use crate::config::testing::{Variables, faults, server, warnings, worker_faults};
use crate::model::Fault;

/// Flags, variables, the fault's path, and what its message says.
type Case<'a> = (&'a [&'a str], &'a Variables<'a>, &'a str, &'a str);

fn each_is_the_only_fault(cases: &[Case<'_>], faults: fn(&[&str], &Variables<'_>) -> Vec<Fault>) {
    for (flags, variables, path, says) in cases {
        let found = faults(flags, variables);
        assert_eq!(found.len(), 1, "{flags:?} {variables:?}: {found:#?}");
        assert_eq!(found[0].path, *path);
        assert!(found[0].message.contains(says), "{}", found[0]);
    }
}

#[test]
#[rustfmt::skip]
fn each_broken_rule_of_both_daemons_is_one_fault_with_its_fix() {
    let cases: &[Case<'_>] = &[
        (&["--environment", "production"], &[], "--redis-url (REDIS_URL)", "put a password into REDIS_URL"),
        (&["--redis-command-timeout", "0s"], &[], "--redis-command-timeout (TRUNKLINE_REDIS_COMMAND_TIMEOUT)", "is 0s; give 1ms or more"),
        (&["--redis-connect-timeout", "0s"], &[], "--redis-connect-timeout (TRUNKLINE_REDIS_CONNECT_TIMEOUT)", "give 1ms or more"),
        (&["--redis-backoff-min", "0s"], &[], "--redis-backoff-min (TRUNKLINE_REDIS_BACKOFF_MIN)", "give 1ms or more"),
        (&["--redis-backoff-min", "3s"], &[], "--redis-backoff-min (TRUNKLINE_REDIS_BACKOFF_MIN)", "above --redis-backoff-max"),
        (&["--redis-max-in-flight", "0"], &[], "--redis-max-in-flight (TRUNKLINE_REDIS_MAX_IN_FLIGHT)", "is 0; give 1 or more"),
        (&["--max-payload", "1"], &[], "--max-payload (TRUNKLINE_MAX_PAYLOAD)", "is 1; give 1024 or more"),
        (&["--queue-recovery", "10000"], &[], "--queue-recovery (QUEUE_RECOVERY_THRESHOLD)", "recovery < warning < critical"),
        (&[], &[("QUEUE_CRITICAL_THRESHOLD", "10000")], "--queue-warning (QUEUE_WARNING_THRESHOLD)", "recovery < warning < critical"),
        (&["--probe-interval", "99ms"], &[], "--probe-interval (TRUNKLINE_PROBE_INTERVAL)", "is 99ms; give 100ms or more"),
        (&["--audit-interval", "0s"], &[], "--audit-interval (TRUNKLINE_AUDIT_INTERVAL)", "give 100ms or more"),
        (&["--heartbeat-interval", "0s"], &[], "--heartbeat-interval (TRUNKLINE_HEARTBEAT_INTERVAL)", "give 100ms or more"),
        (&["--sample-interval", "0s"], &[], "--sample-interval (TRUNKLINE_SAMPLE_INTERVAL)", "give 100ms or more"),
        (&[], &[("TRUNKLINE_API_TOKENS", "hunter2")], "TRUNKLINE_API_TOKENS", "authentication is not built yet"),
        (&[], &[("TRUNKLINE_JWT_ANYTHING", "hunter2")], "TRUNKLINE_JWT_ANYTHING", "remove it"),
    ];
    each_is_the_only_fault(cases, faults);
    each_is_the_only_fault(cases, worker_faults);
}

#[test]
#[rustfmt::skip]
fn each_broken_rule_of_a_server_is_one_fault_with_its_fix() {
    each_is_the_only_fault(&[
        (&["--insecure", "--environment=production", "--redis-url=redis://:p@h"], &[], "--insecure (TRUNKLINE_INSECURE)", "refused in production"),
        (&["--listen", "0.0.0.0:80"], &[], "--listen (TRUNKLINE_LISTEN)", "add --insecure outside production"),
        (&["--listen", "[::]:80"], &[], "--listen (TRUNKLINE_LISTEN)", "listen on 127.0.0.1"),
        (&["--admin-listen", "127.0.0.1:8080"], &[], "--listen (TRUNKLINE_LISTEN)", "same address as --admin-listen"),
        (&["--client-queue", "0"], &[], "--client-queue (TRUNKLINE_CLIENT_QUEUE)", "is 0; give 1 or more"),
        (&["--client-queue-bytes", "1 KiB"], &[], "--client-queue-bytes (TRUNKLINE_CLIENT_QUEUE_BYTES)", "below --max-payload"),
        (&["--max-payload", "5MiB", "--client-queue-bytes", "8MiB"], &[], "--max-payload (TRUNKLINE_MAX_PAYLOAD)", "above 4 MiB"),
        (&["--dedup-window", "0s"], &[], "--dedup-window (TRUNKLINE_DEDUP_WINDOW)", "is 0s; give 1s or more"),
    ], faults);
}

#[test]
#[rustfmt::skip]
fn each_broken_rule_of_a_worker_is_one_fault_with_its_fix() {
    each_is_the_only_fault(&[
        (&["--concurrency", "0"], &[], "--concurrency (TRUNKLINE_CONCURRENCY)", "is 0; give 1 or more"),
        (&["--dead-letters-max", "0"], &[], "--dead-letters-max (TRUNKLINE_DEAD_LETTERS_MAX)", "is 0; give 1 or more"),
        (&["--dead-letters-age", "1s"], &[], "--dead-letters-age (TRUNKLINE_DEAD_LETTERS_AGE)", "is 1s; give 1m or more"),
        (&["--job-attempts", "0"], &[], "--job-attempts (TRUNKLINE_JOB_ATTEMPTS)", "is 0; give 1 or more"),
        (&["--job-backoff", "0s"], &[], "--job-backoff (TRUNKLINE_JOB_BACKOFF)", "give 1ms or more"),
        (&["--job-lease", "900ms", "--redis-command-timeout", "300ms"], &[], "--job-lease (TRUNKLINE_JOB_LEASE)", "is 900ms; give 1s or more"),
        (&["--job-lease", "1s"], &[], "--job-lease (TRUNKLINE_JOB_LEASE)", "three times --redis-command-timeout"),
    ], worker_faults);
}

#[test]
fn every_fault_is_told_at_once() {
    let flags = ["--queue", "Bad", "--listen", "0.0.0.0:80", "--client-queue", "0"];
    let found = faults(
        &flags,
        &[("REDIS_PORT", "port"), ("TRUNKLINE_JWT_SECRET", "x"), ("TRUNKLINE_ENV", "live")],
    );
    let paths: Vec<_> = found.iter().map(|fault| fault.path.as_str()).collect();
    for setting in [
        "--queue",
        "--listen",
        "--client-queue",
        "REDIS_PORT",
        "TRUNKLINE_JWT_SECRET",
        "--environment",
    ] {
        assert!(
            paths.iter().any(|path| path.starts_with(setting)),
            "{setting} is not in {paths:?}"
        );
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn a_setting_that_cannot_be_read_is_blamed_once() {
    let found = faults(
        &["--queue-critical", "many", "--redis-url", "redis://", "--environment", "production"],
        &[],
    );
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn production_starts_with_a_password_or_a_client_certificate() {
    let production = ("TRUNKLINE_ENV", "production");
    server(&[], &[production, ("REDIS_URL", "redis://:secret@h")]);
    server(&[], &[production, ("REDIS_PASSWORD", "secret")]);
    server(&["--redis-url=rediss://h", "--redis-tls-cert=c", "--redis-tls-key=k"], &[production]);
}

#[test]
fn an_empty_token_is_unset() {
    server(&[], &[("TRUNKLINE_API_TOKENS", ""), ("TRUNKLINE_JWT_SECRET", "")]);
}

#[test]
fn loopback_has_several_addresses() {
    for listen in ["127.0.0.2:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        server(&["--listen", listen], &[]);
    }
    server(&["--admin-listen", "0.0.0.0:9464"], &[]);
}

#[test]
fn a_listener_that_nobody_may_address_is_warned_about() {
    let open = ["--insecure", "--listen", "0.0.0.0:80"];
    assert!(warnings(&open, &[])[0].contains("--allowed-hosts"));
    assert_eq!(warnings(&open, &[("TRUNKLINE_ALLOWED_HOSTS", "a.example")]), Vec::<String>::new());
}
