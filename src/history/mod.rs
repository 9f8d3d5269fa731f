//! What was published lately, for those who come back.
//!
//! Each notification is kept in the same atomic step that publishes it, in a stream of its
//! channel, bounded by count and by age. All of them stand in one order, see [`Position`]. Whoever
//! has heard everything up to a position asks for what came after it, and gets exactly that, or
//! hears that something is missing, and why. Nothing here ever passes over a hole in silence.

mod page;
mod script;
mod write;

use std::sync::Arc;
use std::time::Duration;

use crate::conn::{Error, Publisher, Shared};
use crate::model::{ChannelName, Position, Subscription};

pub use page::{Entry, Missed, Page, Size};
use script::HEAD;

/// How much is kept, and of what.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Notifications of each channel. Zero turns history off.
    pub size: usize,
    /// How long each is kept.
    pub age: Duration,
    /// Channels of which nothing is kept.
    pub off: Vec<Subscription>,
}

/// How long the index knows when a channel had its last notification: as long as somebody who
/// was away can be told that nothing happened on it. A day, or as long as notifications are kept.
const INDEX: Duration = Duration::from_secs(24 * 60 * 60);

/// The names of the history's keys. All carry the hash tag `{history}`.
#[derive(Clone, Debug)]
struct Keys {
    prefix: String,
}

impl Keys {
    /// Hash: `epoch`, and `at`, the position given last.
    fn head(&self) -> String {
        format!("{}head", self.prefix)
    }

    /// Sorted set: channels by the position of their last notification.
    fn channels(&self) -> String {
        format!("{}channels", self.prefix)
    }

    /// How the streams' names begin; the channel follows.
    fn streams(&self) -> String {
        format!("{}stream:", self.prefix)
    }
}

/// The history of a namespace, and the only way by which this fleet publishes notifications.
/// Clones are the same.
#[derive(Clone)]
pub struct History(Arc<Inner>);

struct Inner {
    shared: Shared,
    publisher: Publisher,
    keys: Keys,
    /// Comes before every channel's name in Redis.
    channels: String,
    retention: Retention,
}

impl History {
    /// The history of `namespace`. `channels` is what Redis channels begin with.
    pub fn new(
        shared: Shared,
        publisher: Publisher,
        namespace: &str,
        channels: String,
        retention: Retention,
    ) -> Self {
        let keys = Keys { prefix: format!("{namespace}:{{history}}:") };
        Self(Arc::new(Inner { shared, publisher, keys, channels, retention }))
    }

    /// Whether anything is kept at all.
    pub fn is_on(&self) -> bool {
        self.0.retention.size > 0
    }

    /// Whether what is published on this channel is kept.
    pub fn keeps(&self, channel: &ChannelName) -> bool {
        self.is_on() && !self.0.retention.off.iter().any(|off| off.matches(channel))
    }

    /// Those of the subscriptions that can hear a channel of which nothing is kept.
    pub fn unkept(&self, wanted: &[Subscription]) -> Vec<Subscription> {
        let off = |wanted: &&Subscription| {
            !self.is_on() || self.0.retention.off.iter().any(|off| overlap(off, wanted))
        };
        wanted.iter().filter(off).cloned().collect()
    }

    /// Where the history is now: whatever is published from here on comes after this.
    ///
    /// # Errors
    /// Those of a command on the shared connection.
    pub async fn head(&self) -> Result<Position, Error> {
        let mut call = HEAD.key(self.0.keys.head());
        call.arg(script::new_epoch());
        let (epoch, at): (String, u64) = call.invoke_async(&mut self.0.shared.clone()).await?;
        script::position(&epoch, at)
    }

    /// Waits until the shared connection is ready, at most for this long.
    ///
    /// # Errors
    /// The refusal that a command would get then.
    pub async fn ready(&self, deadline: Duration) -> Result<(), Error> {
        self.0.shared.ready(deadline).await
    }

    fn index(&self) -> Duration {
        INDEX.max(self.0.retention.age)
    }
}

/// Whether a channel exists that both mean.
fn overlap(one: &Subscription, other: &Subscription) -> bool {
    match (one, other) {
        (Subscription::Exact(name), it) | (it, Subscription::Exact(name)) => it.matches(name),
        (Subscription::Prefix(one), Subscription::Prefix(other)) => {
            one.starts_with(other.as_str()) || other.starts_with(one.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_overlap_when_a_channel_is_meant_by_both() {
        let overlap = |one: &str, other: &str| {
            let parse = |text: &str| Subscription::parse(text).unwrap();
            let there = overlap(&parse(one), &parse(other));
            assert_eq!(there, overlap(&parse(other), &parse(one)), "{one} {other}");
            there
        };
        for (one, other) in [("a", "a"), ("a.*", "a.b"), ("a.*", "a.b.*"), ("a.*", "a.*")] {
            assert!(overlap(one, other), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("a.*", "a"), ("a.*", "ab.*"), ("a.b.*", "a.c")] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }
}
