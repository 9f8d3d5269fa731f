//! What must hold between settings, beyond each being readable by itself.
//!
//! A rule names the settings it is about. It stays silent when one of them could not be read,
//! so that one mistake is one fault.

use std::net::SocketAddr;
use std::time::Duration;

use super::declaration::{
    CommonConfig, HistoryConfig, QueueConfig, RedisConfig, ServerConfig, WorkerConfig,
};
use super::reader::Reader;
use super::source::Surroundings;
use super::word::Environment;
use crate::model::Fault;

/// A configuration that can be judged as a whole.
pub(super) trait Rules {
    /// Records every broken rule as a fault of the reader.
    fn judge(&self, reader: &mut Reader<'_>, around: &Surroundings<'_>);
    /// What the operator should know although nothing is wrong.
    fn warnings(&self) -> Vec<String>;
}

impl Rules for ServerConfig {
    fn judge(&self, reader: &mut Reader<'_>, around: &Surroundings<'_>) {
        common(&self.common, reader, around);
        let production = self.common.environment == Environment::Production;
        reader.require(
            !(production && self.insecure),
            &["TRUNKLINE_INSECURE", "TRUNKLINE_ENV"],
            "is refused in production; leave it out and listen on loopback, behind a proxy that \
             authenticates",
        );
        reader.require(
            is_loopback(self.listen) || self.insecure,
            &["TRUNKLINE_LISTEN", "TRUNKLINE_INSECURE"],
            "is outside loopback, where anyone who reaches it could read and write; listen on \
             127.0.0.1 behind a proxy that authenticates, or add --insecure outside production",
        );
        reader.require(
            self.listen.port() == 0 || self.listen != self.common.admin_listen,
            &["TRUNKLINE_LISTEN", "TRUNKLINE_ADMIN_LISTEN"],
            "is the same address as --admin-listen; give each its own port",
        );
        at_least(reader, "TRUNKLINE_CLIENT_QUEUE", self.client_queue, 1);
        reader.require(
            self.client_queue_bytes >= self.common.max_payload,
            &["TRUNKLINE_CLIENT_QUEUE_BYTES", "TRUNKLINE_MAX_PAYLOAD"],
            "is below --max-payload, so the largest notification could never be delivered; raise \
             it",
        );
        lasts(reader, "TRUNKLINE_DEDUP_WINDOW", self.dedup_window, Duration::from_secs(1));
    }

    fn warnings(&self) -> Vec<String> {
        let unreachable = !is_loopback(self.listen) && self.allowed_hosts.is_empty();
        unreachable
            .then(|| {
                "--listen is outside loopback, but --allowed-hosts is empty: requests must name \
                 localhost or the address itself, a name is refused"
                    .into()
            })
            .into_iter()
            .collect()
    }
}

impl Rules for WorkerConfig {
    fn judge(&self, reader: &mut Reader<'_>, around: &Surroundings<'_>) {
        common(&self.common, reader, around);
        at_least(reader, "TRUNKLINE_CONCURRENCY", self.concurrency, 1);
        at_least(reader, "TRUNKLINE_JOB_ATTEMPTS", self.job_attempts as usize, 1);
        lasts(reader, "TRUNKLINE_JOB_BACKOFF", self.job_backoff, Duration::from_millis(1));
        lasts(reader, "TRUNKLINE_JOB_LEASE", self.job_lease, Duration::from_secs(1));
        let least = Duration::from_secs(60);
        at_least(reader, "TRUNKLINE_DEAD_LETTERS_MAX", self.dead_letters_max as usize, 1);
        lasts(reader, "TRUNKLINE_DEAD_LETTERS_AGE", self.dead_letters_age, least);
        // Renewing a lease may time out once and must still succeed in time.
        reader.require(
            self.job_lease >= 3 * self.common.redis.command_timeout,
            &["TRUNKLINE_JOB_LEASE", "TRUNKLINE_REDIS_COMMAND_TIMEOUT"],
            "is below three times --redis-command-timeout, so one slow command would lose the \
             job; raise it",
        );
    }

    fn warnings(&self) -> Vec<String> {
        vec![]
    }
}

fn history(config: &HistoryConfig, reader: &mut Reader<'_>) {
    reader.require(
        config.size <= 100_000,
        &["TRUNKLINE_HISTORY_SIZE"],
        "is above 100000, which no client could be told in one go; lower it",
    );
    reader.require(
        (Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60)).contains(&config.age),
        &["TRUNKLINE_HISTORY_AGE"],
        "is not from 1s to 24h; to keep nothing, set --history-size to 0",
    );
}

fn common(config: &CommonConfig, reader: &mut Reader<'_>, around: &Surroundings<'_>) {
    authentication_is_not_built(around).into_iter().for_each(|fault| reader.outside(fault));
    let endpoint = &config.redis.endpoint;
    let certificate = endpoint.tls.as_ref().is_some_and(|tls| tls.client.is_some());
    reader.require(
        config.environment != Environment::Production || endpoint.password.is_some() || certificate,
        &[
            "REDIS_URL",
            "REDIS_PASSWORD",
            "TRUNKLINE_ENV",
            "TRUNKLINE_REDIS_TLS_CERT",
            "TRUNKLINE_REDIS_TLS_KEY",
        ],
        "has no credentials, which production requires; put a password into REDIS_URL or \
         REDIS_PASSWORD, or give --redis-tls-cert and --redis-tls-key",
    );
    link(&config.redis, reader);
    // Smaller than this no event with its attributes fits.
    at_least(reader, "TRUNKLINE_MAX_PAYLOAD", config.max_payload.bytes(), 1024);
    // A batch of events is at most this large.
    reader.require(
        config.max_payload.bytes() <= 4 << 20,
        &["TRUNKLINE_MAX_PAYLOAD"],
        "is above 4 MiB, the most a request may hold; lower it",
    );
    thresholds(&config.queue, reader);
    history(&config.history, reader);
    let intervals = &config.intervals;
    for (variable, interval) in [
        ("TRUNKLINE_PROBE_INTERVAL", intervals.probe),
        ("TRUNKLINE_AUDIT_INTERVAL", intervals.audit),
        ("TRUNKLINE_HEARTBEAT_INTERVAL", intervals.heartbeat),
        ("TRUNKLINE_SAMPLE_INTERVAL", intervals.sample),
    ] {
        lasts(reader, variable, interval, Duration::from_millis(100));
    }
}

/// What must hold for a link to Redis.
pub(super) fn link(redis: &RedisConfig, reader: &mut Reader<'_>) {
    let blink = Duration::from_millis(1);
    lasts(reader, "TRUNKLINE_REDIS_COMMAND_TIMEOUT", redis.command_timeout, blink);
    lasts(reader, "TRUNKLINE_REDIS_CONNECT_TIMEOUT", redis.connect_timeout, blink);
    lasts(reader, "TRUNKLINE_REDIS_BACKOFF_MIN", redis.backoff_min, blink);
    reader.require(
        redis.backoff_min <= redis.backoff_max,
        &["TRUNKLINE_REDIS_BACKOFF_MIN", "TRUNKLINE_REDIS_BACKOFF_MAX"],
        "is above --redis-backoff-max; lower it, or raise the other",
    );
    at_least(reader, "TRUNKLINE_REDIS_MAX_IN_FLIGHT", redis.max_in_flight, 1);
}

/// What must hold between the thresholds of a queue.
pub(super) fn thresholds(queue: &QueueConfig, reader: &mut Reader<'_>) {
    reader.require(
        queue.recovery < queue.warning,
        &["QUEUE_RECOVERY_THRESHOLD", "QUEUE_WARNING_THRESHOLD"],
        "is not below --queue-warning; recovery < warning < critical",
    );
    reader.require(
        queue.warning < queue.critical,
        &["QUEUE_WARNING_THRESHOLD", "QUEUE_CRITICAL_THRESHOLD"],
        "is not below --queue-critical; recovery < warning < critical",
    );
}

/// Whoever sets tokens believes that they are asked for. Never open in silence.
pub(super) fn authentication_is_not_built(around: &Surroundings<'_>) -> Vec<Fault> {
    let reserved =
        |name: &String| name == "TRUNKLINE_API_TOKENS" || name.starts_with("TRUNKLINE_JWT_");
    let mut names: Vec<String> = (around.names)().into_iter().filter(reserved).collect();
    names.sort();
    names.retain(|name| around.set(name).is_some());
    let message =
        "is set, but authentication is not built yet and nothing would be protected; remove it";
    names.into_iter().map(|path| Fault { path, message: message.to_owned() }).collect()
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn at_least(reader: &mut Reader<'_>, variable: &'static str, number: usize, least: usize) {
    reader.require(number >= least, &[variable], format!("is {number}; give {least} or more"));
}

fn lasts(reader: &mut Reader<'_>, variable: &'static str, duration: Duration, least: Duration) {
    reader.require(
        duration >= least,
        &[variable],
        format!(
            "is {}; give {} or more",
            humantime::format_duration(duration),
            humantime::format_duration(least)
        ),
    );
}

#[cfg(test)]
mod tests;
