//! From settings to the connections of a process.

use std::time::Duration;

use super::daemon::Refusal;
use crate::config::{CommonConfig, Name, QueueConfig, RedisConfig};
use crate::conn::{Error, Limits, Options, Owner, Tls, TlsError};
use crate::history::{History, Retention};
use crate::model::{Component, ConnectionState, Fault, Role, TlsOptions};
use crate::queue::Thresholds;

/// What an envelope adds to the data it carries: attributes are bounded, the longest of them at
/// a kilobyte each.
const ENVELOPE: usize = 8 * 1024;

/// What the connections need to know.
///
/// # Errors
/// When a TLS file cannot be read.
pub(super) fn options(
    config: &CommonConfig,
    component: Component,
    instance: &str,
) -> Result<Options, Refusal> {
    Ok(Options {
        max_payload: config.max_payload.bytes() + ENVELOPE,
        probe_interval: Some(config.intervals.probe),
        audit_interval: Some(config.intervals.audit),
        heartbeat_interval: config.intervals.heartbeat,
        ..to_redis(&config.redis, &config.namespace, component, instance)?
    })
}

/// What is published, and kept for clients that come back, on the connection of `owner`.
pub(super) fn history(config: &CommonConfig, owner: &Owner, channels: String) -> History {
    let kept = &config.history;
    let retention = Retention { size: kept.size, age: kept.age, off: kept.off.clone() };
    let namespace = config.namespace.as_str();
    History::new(owner.shared(), owner.publisher(), namespace, channels, retention)
}

/// What any connection needs to know: the place, the credentials, the name and the patience.
///
/// # Errors
/// When a TLS file cannot be read.
pub(super) fn to_redis(
    redis: &RedisConfig,
    namespace: &Name,
    component: Component,
    instance: &str,
) -> Result<Options, Refusal> {
    let endpoint = &redis.endpoint;
    let tls = match &endpoint.tls {
        None => None,
        Some(tls) => {
            let client = tls.client.as_ref().map(|it| (&*it.cert_file, &*it.key_file));
            let encryption = Tls::new(tls.ca_file.as_deref(), client);
            Some(encryption.map_err(|error| unusable(tls, &error))?)
        }
    };
    Ok(Options {
        tls,
        instance: instance.to_owned(),
        username: endpoint.username.clone(),
        password: endpoint.password.clone(),
        db: i64::from(endpoint.db),
        command_timeout: redis.command_timeout,
        connect_timeout: redis.connect_timeout,
        backoff: Limits { min: redis.backoff_min, max: redis.backoff_max },
        max_in_flight: redis.max_in_flight,
        ..Options::new(endpoint.target.clone(), namespace.as_str(), component)
    })
}

/// The operator's tool on its one connection, outside the fleet's count. `visitor` is what it calls
/// itself there. Some answers are long: it waits for them at least as long as `patience`.
pub(super) fn of_tool(
    redis: &RedisConfig,
    namespace: &Name,
    visitor: &str,
    patience: Duration,
) -> Result<Options, Refusal> {
    let instance = format!("{visitor}-{:016x}", fastrand::u64(..));
    let mut options = to_redis(redis, namespace, Component::Tool, &instance)?;
    options.command_timeout = options.command_timeout.max(patience);
    Ok(options)
}

/// How long the tool's goodbye to Redis may take.
pub(super) const GOODBYE: Duration = Duration::from_millis(200);

/// Waits until the connection is ready or the dial has come to nothing, and then says why, as the
/// metrics name the reason. The connect timeout bounds it.
pub(super) async fn dialled(owner: &Owner) -> Result<(), &'static str> {
    owner.connect().await;
    let Some(mut status) = owner.watch(Role::Shared) else { return Err("other") };
    let settled = status.wait_for(|it| it.is_ready() || it.state == ConnectionState::Backoff).await;
    match settled {
        Ok(status) if status.is_ready() => Ok(()),
        Ok(status) => Err(status.last_reason.unwrap_or("other")),
        Err(_) => Err("other"),
    }
}

/// When the queue is too deep.
pub(super) fn thresholds(queue: &QueueConfig) -> Thresholds {
    Thresholds { warning: queue.warning, critical: queue.critical, recovery: queue.recovery }
}

/// Redis was asked for more than the budget has.
pub(super) fn redis(error: Error) -> Refusal {
    Refusal::Unavailable(vec![Fault { path: "redis".to_owned(), message: error.to_string() }])
}

/// The fault of the setting whose file cannot be used.
fn unusable(tls: &TlsOptions, error: &TlsError) -> Refusal {
    let path = match (error, &tls.client) {
        (TlsError::File { path, .. }, Some(client)) if *path == client.key_file => {
            "--redis-tls-key"
        }
        (TlsError::File { path, .. }, Some(client)) if *path == client.cert_file => {
            "--redis-tls-cert"
        }
        (TlsError::File { .. } | TlsError::NoRoots, _) => "--redis-tls-ca",
        (TlsError::Client(_), _) => "--redis-tls-cert",
    };
    Refusal::Settings(vec![Fault { path: path.to_owned(), message: error.to_string() }])
}
