//! THE list of settings. The fields, `--help`, `docs/configuration.md` and `trunkline config`
//! are all rendered from it.
//!
//! Flags and variables are written out whole, so a search finds them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Component, DeliveryRule, RedisEndpoint, Secret, Subscription};

use super::otel::{CollectorUrl, OtelConfig};
use super::reader::Reader;
use super::setting::DefaultText::{PerDaemon, Text, Unset};
use super::setting::{Group, Setting, optional, settings};
use super::value::{ByteSize, Value};
use super::word::{AllowedHost, Environment, LogFormat, Name, Sampler, ServerUrl, WebOrigin};

settings! {
    /// What [`RedisEndpoint`] is put together from.
    pub(super) struct RedisParts under "Redis" of [Server, Worker] {
        /// Which Redis: `redis://`, `rediss://` (TLS) or `redis+unix:///path?db=0&user=…&pass=…`.
        /// On the command line a password is visible to every user of the machine; prefer the
        /// environment or the configuration file.
        url: Option<RedisEndpoint> = Text("redis://127.0.0.1:6379"), flag "--redis-url", env "REDIS_URL";
        /// Host of Redis. This and the other `REDIS_` parts are read when no `REDIS_URL` and no
        /// `--redis-url` is given.
        host: Option<String> = Unset("127.0.0.1"), env "REDIS_HOST";
        /// Port of Redis.
        port: Option<u16> = Unset("6379"), env "REDIS_PORT";
        /// ACL user; needs a password.
        username: Option<String> = Unset("the user `default`"), env "REDIS_USERNAME";
        /// Password.
        password: Option<Secret> = Unset("no authentication"), env "REDIS_PASSWORD";
        /// Logical database. It does not isolate notifications; a namespace does.
        db: Option<u32> = Unset("0"), env "REDIS_DB";
        /// Whether the link is encrypted.
        tls: Option<bool> = Unset("false"), env "REDIS_TLS";
        /// PEM file of the certificate authorities that vouch for Redis.
        tls_ca: Option<PathBuf> = Unset("the system's authorities"), flag "--redis-tls-ca", env "TRUNKLINE_REDIS_TLS_CA";
        /// PEM file of the certificate chain this process shows to Redis.
        tls_cert: Option<PathBuf> = Unset("no client certificate"), flag "--redis-tls-cert", env "TRUNKLINE_REDIS_TLS_CERT";
        /// PEM file of the private key that belongs to the certificate.
        tls_key: Option<PathBuf> = Unset("no client certificate"), flag "--redis-tls-key", env "TRUNKLINE_REDIS_TLS_KEY";
    }

    /// How the one link to Redis is made and kept.
    pub struct RedisConfig under "Redis" of [Server, Worker] {
        inside {
            /// Where Redis is and who we are to it.
            endpoint: RedisEndpoint,
        }
        /// The longest a command may take. One that takes longer fails as "may have been executed".
        command_timeout: Duration = Text("500ms"), flag "--redis-command-timeout", env "TRUNKLINE_REDIS_COMMAND_TIMEOUT";
        /// The longest a dial may take until the connection is ready: name resolution, TCP, TLS,
        /// HELLO and the ready check together.
        connect_timeout: Duration = Text("1s"), flag "--redis-connect-timeout", env "TRUNKLINE_REDIS_CONNECT_TIMEOUT";
        /// The shortest wait before a new dial, after one that was accepted and then failed.
        backoff_min: Duration = Text("50ms"), flag "--redis-backoff-min", env "TRUNKLINE_REDIS_BACKOFF_MIN";
        /// The longest wait before a new dial.
        backoff_max: Duration = Text("2s"), flag "--redis-backoff-max", env "TRUNKLINE_REDIS_BACKOFF_MAX";
        /// Commands that may await their answer at the same time. One more fails at once as `overloaded`.
        max_in_flight: usize = Text("4096"), flag "--redis-max-in-flight", env "TRUNKLINE_REDIS_MAX_IN_FLIGHT";
    }

    /// What a server and a worker have in common.
    pub struct CommonConfig under "Process" of [Server, Worker] {
        inside {
            /// The link to Redis.
            redis: RedisConfig,
            /// The job queue.
            queue: QueueConfig,
            /// What is kept for clients that come back.
            history: HistoryConfig,
            /// How often the process looks after itself.
            intervals: Intervals,
            /// Logging.
            log: LogConfig,
            /// Tracing.
            otel: OtelConfig,
        }
        /// `development`, `staging` or `production`. Production needs a Redis password or client
        /// certificate and refuses `--insecure`.
        environment: Environment = Text("development"), flag "--environment", env "TRUNKLINE_ENV";
        /// The first part of every key, channel and connection name in Redis, `[a-z0-9-]+`. Fleets
        /// that share a Redis need different ones.
        namespace: Name = Text("trunkline"), flag "--namespace", env "TRUNKLINE_NAMESPACE";
        /// The name of this process, `[a-z0-9-]+`. A suffix unique to this start is always added.
        instance: Option<Name> = Unset("random 64-bit hex"), flag "--instance", env "TRUNKLINE_INSTANCE";
        /// Where metrics, health and status are served. It is read-only and may be bound anywhere.
        admin_listen: SocketAddr = PerDaemon { server: "127.0.0.1:9464", worker: "127.0.0.1:9465" }, flag "--admin-listen", env "TRUNKLINE_ADMIN_LISTEN";
        /// Whether the latency histograms keep the last sampled trace of each bucket, for scrapers that
        /// ask `/metrics` for OpenMetrics. Needs tracing.
        exemplars: bool = Text("false"), flag "--exemplars", env "TRUNKLINE_EXEMPLARS";
        /// The largest event or notification.
        max_payload: ByteSize = Text("64 KiB"), flag "--max-payload", env "TRUNKLINE_MAX_PAYLOAD";
    }

    /// The job queue between servers and workers.
    pub struct QueueConfig under "Queue" of [Server, Worker] {
        /// The name of the queue, `[a-z0-9-]+`.
        name: Name = Text("rule-engine-events"), flag "--queue", env "TRUNKLINE_QUEUE";
        /// Jobs in the queue that are worth a warning.
        warning: u64 = Text("10000"), flag "--queue-warning", env "QUEUE_WARNING_THRESHOLD";
        /// Jobs in the queue at which events are refused as `queue-full`.
        critical: u64 = Text("50000"), flag "--queue-critical", env "QUEUE_CRITICAL_THRESHOLD";
        /// Jobs in the queue at which events are taken again. Recovery < warning < critical.
        recovery: u64 = Text("5000"), flag "--queue-recovery", env "QUEUE_RECOVERY_THRESHOLD";
    }

    /// What is kept of notifications, for clients that come back. All processes of a fleet need the same.
    pub struct HistoryConfig under "History" of [Server, Worker] {
        /// Notifications that are kept of each channel, at most 100000. 0 turns history off: then what
        /// a client misses is lost.
        size: usize = Text("100"), flag "--history-size", env "TRUNKLINE_HISTORY_SIZE";
        /// How long a notification is kept, from 1s to 24h.
        age: Duration = Text("2m"), flag "--history-age", env "TRUNKLINE_HISTORY_AGE";
        /// Channels of which nothing is kept, as names or `prefix.*`, separated by commas.
        off: Vec<Subscription> = Unset("none"), flag "--history-off", env "TRUNKLINE_HISTORY_OFF";
    }

    /// How often a process looks after itself.
    pub struct Intervals under "Intervals" of [Server, Worker] {
        /// Time between self-probes through Redis.
        probe: Duration = Text("15s"), flag "--probe-interval", env "TRUNKLINE_PROBE_INTERVAL";
        /// Time between comparisons of our connections with what Redis sees.
        audit: Duration = Text("60s"), flag "--audit-interval", env "TRUNKLINE_AUDIT_INTERVAL";
        /// Time between signs of life that a process leaves in Redis.
        heartbeat: Duration = Text("15s"), flag "--heartbeat-interval", env "TRUNKLINE_HEARTBEAT_INTERVAL";
        /// Time between samples of the queue's depth and age.
        sample: Duration = Text("5s"), flag "--sample-interval", env "TRUNKLINE_SAMPLE_INTERVAL";
    }

    /// How the process logs.
    pub struct LogConfig under "Logging" of [Server, Worker] {
        /// `text` or `json`.
        format: Option<LogFormat> = Unset("text on a terminal, else json"), flag "--log-format", env "TRUNKLINE_LOG_FORMAT";
        /// Which lines are logged, as `tracing` directives such as `info,trunkline=debug`.
        filter: String = Text("info"), env "RUST_LOG";
    }

    /// What [`OtelConfig`] is put together from.
    pub(super) struct OtelParts under "Tracing" of [Server, Worker] {
        /// Base URL of an OTLP/HTTP collector, `http://` only; `/v1/traces` is added. Tracing is off without it.
        endpoint: Option<CollectorUrl> = Unset("tracing is off"), env "OTEL_EXPORTER_OTLP_ENDPOINT";
        /// Whole URL for traces; wins over the base URL.
        traces_endpoint: Option<CollectorUrl> = Unset("from the base URL"), env "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        /// How spans are written; there is no other way than `http/protobuf`.
        protocol: Option<String> = Unset("http/protobuf"), env "OTEL_EXPORTER_OTLP_PROTOCOL";
        /// The same for traces alone; wins over the other.
        traces_protocol: Option<String> = Unset("as for everything"), env "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
        /// Headers sent with every export, as `key=value,key=value`, percent-encoded.
        headers: Option<Secret> = Unset("none"), env "OTEL_EXPORTER_OTLP_HEADERS";
        /// The same for traces alone; wins over the others.
        traces_headers: Option<Secret> = Unset("as for everything"), env "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
        /// `otlp`, or `none` to turn tracing off.
        exporter: String = Text("otlp"), env "OTEL_TRACES_EXPORTER";
        /// Turns tracing off, whatever else is set.
        disabled: bool = Text("false"), env "OTEL_SDK_DISABLED";
        /// Which traces are kept: `always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_`.
        sampler: Sampler = Text("parentbased_always_on"), env "OTEL_TRACES_SAMPLER";
        /// The share of traces a `traceidratio` sampler keeps, from 0 to 1.
        sampler_arg: f64 = Text("1"), env "OTEL_TRACES_SAMPLER_ARG";
        /// The name traces are filed under.
        service_name: String = PerDaemon { server: "trunkline-server", worker: "trunkline-worker" }, env "OTEL_SERVICE_NAME";
    }

    /// Everything a server is told.
    pub struct ServerConfig under "Server" of [Server] {
        inside {
            /// What it shares with a worker.
            common: CommonConfig,
        }
        /// Where events, streams and the live page are served.
        listen: SocketAddr = Text("127.0.0.1:8080"), flag "--listen", env "TRUNKLINE_LISTEN";
        /// Allow the public listener outside loopback although nobody has to authenticate. Refused in production.
        insecure: bool = Text("false"), flag "--insecure", env "TRUNKLINE_INSECURE";
        /// Origins besides our own whose pages may connect, such as `https://app.example.com`, separated by commas.
        allowed_origins: Vec<WebOrigin> = Unset("none beyond same-origin"), flag "--allowed-origins", env "TRUNKLINE_ALLOWED_ORIGINS";
        /// Hosts besides loopback that requests may be addressed to, with or without a port, separated by commas.
        allowed_hosts: Vec<AllowedHost> = Unset("none beyond loopback"), flag "--allowed-hosts", env "TRUNKLINE_ALLOWED_HOSTS";
        /// How long a repeat of an event's source and id makes no second job. Ids the server made
        /// itself are known for at most five minutes.
        dedup_window: Duration = Text("24h"), flag "--dedup-window", env "TRUNKLINE_DEDUP_WINDOW";
        /// Messages that may wait for one client. A client with more is closed as slow.
        client_queue: usize = Text("256"), flag "--client-queue", env "TRUNKLINE_CLIENT_QUEUE";
        /// Bytes that may wait for one client. A client with more is closed as slow.
        client_queue_bytes: ByteSize = Text("1 MiB"), flag "--client-queue-bytes", env "TRUNKLINE_CLIENT_QUEUE_BYTES";
        /// What else may become of notifications for a client that does not keep up, by channel or `prefix.*`, separated
        /// by commas: `telemetry.*=latest-only` lets only the latest of each channel wait, `log.*=drop-oldest` gives up
        /// the oldest instead of the client. The first that matches counts.
        delivery: Vec<DeliveryRule> = Unset("close"), flag "--delivery", env "TRUNKLINE_DELIVERY";
    }

    /// Everything a worker is told.
    pub struct WorkerConfig under "Worker" of [Worker] {
        inside {
            /// What it shares with a server.
            common: CommonConfig,
        }
        /// Jobs worked on at the same time.
        concurrency: usize = Text("20"), flag "--concurrency", env "TRUNKLINE_CONCURRENCY";
        /// How often a job is tried before it is dead. Faults of Redis use up no attempt.
        job_attempts: u32 = Text("3"), flag "--job-attempts", env "TRUNKLINE_JOB_ATTEMPTS";
        /// The wait before the second attempt; it doubles with each further one.
        job_backoff: Duration = Text("500ms"), flag "--job-backoff", env "TRUNKLINE_JOB_BACKOFF";
        /// How long a worker may be silent about a job before another one takes it.
        job_lease: Duration = Text("30s"), flag "--job-lease", env "TRUNKLINE_JOB_LEASE";
        /// Dead letters that are kept; the oldest beyond are dropped, and counted.
        dead_letters_max: u64 = Text("100000"), flag "--dead-letters-max", env "TRUNKLINE_DEAD_LETTERS_MAX";
        /// How long a dead letter is kept; older ones are dropped, and counted.
        dead_letters_age: Duration = Text("30d"), flag "--dead-letters-age", env "TRUNKLINE_DEAD_LETTERS_AGE";
    }

    /// What the operator's tool is told when it speaks to a server.
    pub(super) struct ToolConfig under "Tool" of [Tool] {
        /// The server that `publish` and `tail` speak to.
        server: ServerUrl = Text("http://127.0.0.1:8080"), flag "--server", env "TRUNKLINE_SERVER";
    }
}

#[cfg(test)]
mod tests;
