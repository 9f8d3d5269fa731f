//! A notification goes out.

use std::time::Duration;

use super::History;
use super::script::{PUBLISH, new_epoch};
use crate::conn::Error;
use crate::model::{ChannelName, Notification};

/// What Redis adds to the payload: `,"position":"…"`.
const POSITION: usize = 14 + 33;

impl History {
    /// Publishes at once, at most once, and keeps it unless its channel's history is off. Returns
    /// how many subscribed connections Redis handed it to.
    ///
    /// # Errors
    /// Those of [`Publisher::publish`](crate::conn::Publisher::publish). What failed without
    /// having been sent, or was refused by Redis, is not kept either.
    pub async fn publish(&self, notification: &Notification) -> Result<u64, Error> {
        let channel = &notification.channel;
        let address = format!("{}{channel}", self.0.channels);
        let payload = notification.to_wire();
        let publisher = &self.0.publisher;
        if self.keeps(channel) {
            publisher
                .counted(payload.len() + POSITION, self.keep(channel, &address, &payload))
                .await
        } else {
            publisher.publish(&address, &payload).await
        }
    }

    async fn keep(
        &self,
        channel: &ChannelName,
        address: &str,
        payload: &[u8],
    ) -> Result<u64, Error> {
        let keys = &self.0.keys;
        let mut call = PUBLISH.key(keys.head());
        call.key(keys.channels()).key(format!("{}{channel}", keys.streams()));
        call.arg(channel.as_str()).arg(address).arg(payload);
        let retention = &self.0.retention;
        call.arg(retention.size).arg(micros(retention.age)).arg(micros(self.index()));
        call.arg(new_epoch());
        Ok(call.invoke_async(&mut self.0.shared.clone()).await?)
    }
}

/// Microseconds, as positions count.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
