//! PUBLISH on the shared connection, counted.

use redis::{FromRedisValue, cmd};

use super::error::Error;
use super::shared::Shared;
use crate::telemetry::events::publish::{NotificationPublished, PublishFailed};

/// Publishes on the shared connection: at most once, never buffered. Cheap to clone; dropping
/// every publisher leaves the connection open.
///
/// A subscriber is another type, and cannot publish:
///
/// ```compile_fail
/// async fn loop_back(subscriber: &trunkline::conn::Subscriber) {
///     subscriber.publish("door", b"open").await;
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Publisher(Shared);

impl Publisher {
    pub(super) fn new(shared: Shared) -> Self {
        Self(shared)
    }

    /// Publishes to a Redis channel, given by its whole name, and returns how many subscribed
    /// connections Redis handed it to. Zero is an answer: it is counted, and nobody heard it.
    ///
    /// # Errors
    /// At once and unsent while the connection is not ready; [`Error::Timeout`] and
    /// [`Error::Disconnected`] mean that it may have been delivered, so repeat it only under the
    /// same notification id.
    pub async fn publish(&self, channel: &str, payload: &[u8]) -> Result<u64, Error> {
        self.counted(payload.len(), self.attempt(channel, payload)).await
    }

    /// Counts an attempt to publish so many bytes, by whatever command; too many are refused
    /// before anything is sent.
    pub(crate) async fn counted(
        &self,
        bytes: usize,
        attempt: impl Future<Output = Result<u64, Error>>,
    ) -> Result<u64, Error> {
        let limit = self.0.max_payload();
        let result =
            if bytes > limit { Err(Error::TooLarge { bytes, limit }) } else { attempt.await };
        match &result {
            Ok(receivers) => NotificationPublished { receivers: *receivers, bytes }.emit(),
            Err(error) => PublishFailed { reason: error.publish_reason() }.emit(),
        }
        result
    }

    async fn attempt(&self, channel: &str, payload: &[u8]) -> Result<u64, Error> {
        let mut publish = cmd("PUBLISH");
        publish.arg(channel).arg(payload);
        let reply = self.0.call(&publish).await?;
        u64::from_redis_value(reply)
            .map_err(|_| Error::Other("the answer to PUBLISH is not a number".into()))
    }
}
