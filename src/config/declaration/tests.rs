use std::collections::HashSet;

use super::*;
use crate::config::testing::{arguments, server, within, worker};
use proptest::prelude::*;

/// Flag, variable, default: what is promised to the outside.
#[rustfmt::skip]
const PROMISED: &[(&str, &str, &str)] = &[
    ("--redis-url", "REDIS_URL", "redis://127.0.0.1:6379"),
    ("", "REDIS_HOST", "127.0.0.1"),
    ("", "REDIS_PORT", "6379"),
    ("", "REDIS_USERNAME", "the user `default`"),
    ("", "REDIS_PASSWORD", "no authentication"),
    ("", "REDIS_DB", "0"),
    ("", "REDIS_TLS", "false"),
    ("--environment", "TRUNKLINE_ENV", "development"),
    ("--namespace", "TRUNKLINE_NAMESPACE", "trunkline"),
    ("--instance", "TRUNKLINE_INSTANCE", "random 64-bit hex"),
    ("--listen", "TRUNKLINE_LISTEN", "127.0.0.1:8080"),
    ("--admin-listen", "TRUNKLINE_ADMIN_LISTEN", "127.0.0.1:9464 127.0.0.1:9465"),
    ("--insecure", "TRUNKLINE_INSECURE", "false"),
    ("--allowed-origins", "TRUNKLINE_ALLOWED_ORIGINS", "none beyond same-origin"),
    ("--redis-command-timeout", "TRUNKLINE_REDIS_COMMAND_TIMEOUT", "500ms"),
    ("--redis-connect-timeout", "TRUNKLINE_REDIS_CONNECT_TIMEOUT", "1s"),
    ("--redis-backoff-min", "TRUNKLINE_REDIS_BACKOFF_MIN", "50ms"),
    ("--redis-backoff-max", "TRUNKLINE_REDIS_BACKOFF_MAX", "2s"),
    ("--redis-max-in-flight", "TRUNKLINE_REDIS_MAX_IN_FLIGHT", "4096"),
    ("--queue", "TRUNKLINE_QUEUE", "rule-engine-events"),
    ("--concurrency", "TRUNKLINE_CONCURRENCY", "20"),
    ("--job-attempts", "TRUNKLINE_JOB_ATTEMPTS", "3"),
    ("--job-backoff", "TRUNKLINE_JOB_BACKOFF", "500ms"),
    ("--job-lease", "TRUNKLINE_JOB_LEASE", "30s"),
    ("--dedup-window", "TRUNKLINE_DEDUP_WINDOW", "24h"),
    ("--queue-warning", "QUEUE_WARNING_THRESHOLD", "10000"),
    ("--queue-critical", "QUEUE_CRITICAL_THRESHOLD", "50000"),
    ("--queue-recovery", "QUEUE_RECOVERY_THRESHOLD", "5000"),
    ("--client-queue", "TRUNKLINE_CLIENT_QUEUE", "256"),
    ("--client-queue-bytes", "TRUNKLINE_CLIENT_QUEUE_BYTES", "1 MiB"),
    ("--max-payload", "TRUNKLINE_MAX_PAYLOAD", "64 KiB"),
    ("--probe-interval", "TRUNKLINE_PROBE_INTERVAL", "15s"),
    ("--audit-interval", "TRUNKLINE_AUDIT_INTERVAL", "60s"),
    ("--heartbeat-interval", "TRUNKLINE_HEARTBEAT_INTERVAL", "15s"),
    ("--sample-interval", "TRUNKLINE_SAMPLE_INTERVAL", "5s"),
    ("--log-format", "TRUNKLINE_LOG_FORMAT", "text on a terminal, else json"),
    ("", "OTEL_EXPORTER_OTLP_ENDPOINT", "tracing is off"),
    ("", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "from the base URL"),
    ("", "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ("", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "as for everything"),
    ("", "OTEL_EXPORTER_OTLP_HEADERS", "none"),
    ("", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "as for everything"),
    ("", "OTEL_TRACES_EXPORTER", "otlp"),
    ("", "OTEL_SDK_DISABLED", "false"),
    ("", "OTEL_TRACES_SAMPLER", "parentbased_always_on"),
    ("", "OTEL_TRACES_SAMPLER_ARG", "1"),
    ("", "OTEL_SERVICE_NAME", "trunkline-server trunkline-worker"),
];

#[test]
fn every_promised_setting_has_its_exact_flag_variable_and_default() {
    for (flag, variable, default) in PROMISED {
        let setting = settings().find(|setting| setting.variable == *variable).expect(variable);
        assert_eq!(setting.flag.unwrap_or_default(), *flag, "{variable}");
        let declared = match setting.default {
            Text(text) | Unset(text) => text.to_owned(),
            PerDaemon { server, worker } => format!("{server} {worker}"),
        };
        assert_eq!(declared, *default, "{variable}");
    }
}

#[test]
fn flags_and_variables_are_unique_and_well_formed() {
    let mut seen = HashSet::new();
    for setting in settings() {
        assert!(seen.insert(setting.variable), "{} is declared twice", setting.variable);
        if let Some(flag) = setting.flag {
            assert!(seen.insert(flag), "{flag} is declared twice");
            let name = flag.strip_prefix("--").expect(flag);
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{flag}");
        }
        assert!(
            setting.paragraph().ends_with('.'),
            "{} is documented in whole sentences",
            setting.variable
        );
    }
}

#[test]
fn with_nothing_given_every_default_holds() {
    let server = server(&[], &[]);
    assert_eq!(server.common.redis.endpoint, RedisEndpoint::local());
    assert_eq!(server.common.admin_listen.port(), 9464);
    assert_eq!(server.common.max_payload.bytes(), 65_536);
    assert_eq!((server.client_queue, server.client_queue_bytes.bytes()), (256, 1_048_576));
    assert_eq!(server.dedup_window, Duration::from_secs(86_400));
    assert_eq!((server.common.instance, server.common.log.format), (None, None));
    let worker = worker(&[], &[]);
    assert_eq!(worker.common.admin_listen.port(), 9465);
    assert_eq!((worker.concurrency, worker.job_attempts), (20, 3));
    assert_eq!(worker.job_lease, Duration::from_secs(30));
    assert_eq!(worker.common.log.filter, "info");
}

#[test]
fn no_configuration_prints_its_secrets() {
    let secrets = [("REDIS_PASSWORD", "hunter2"), ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2")];
    assert!(!format!("{:?}", server(&[], &secrets)).contains("hunter2"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_texts_of_settings_panic(text in ".{0,30}", file in ".{0,60}") {
        let variables: Vec<(&str, &str)> =
            settings().map(|setting| (setting.variable, text.as_str())).collect();
        let _ = within(&variables, Some(&file), |around| {
            (crate::config::server(arguments(&["--config=t.toml"]), around),
             crate::config::worker(arguments(&["--config=t.toml"]), around))
        });
    }

    #[test]
    fn no_command_line_panics(words in prop::collection::vec("(--?[a-z-]{0,12}=?)?.{0,8}", 0..6)) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _ = within(&[], None, |around| {
            (crate::config::server(arguments(&words), around), crate::config::tool(arguments(&words), around))
        });
    }
}
