//! Hearing of changed keys on the shared connection, without a second one and without polling.
//!
//! Broadcast client tracking is asked for first: unlike a subscription it does not put the
//! connection under Redis' output-buffer limit for pub/sub clients (measured: a reply of
//! 40 MiB is fine with tracking, and gets a subscribed connection killed). Where tracking is
//! not to be had, the key doubles as a channel. Where neither is, one has to poll.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value, cmd};
use tokio::sync::watch;

use super::dial::DialError;
use super::error::Error;
use super::line::Part;
use super::state::Epoch;
use crate::model::WakeupMode;
use crate::telemetry::events::wakeup::WakeupModeChanged;

/// The keys of [`super::Options::signals`], each with a count of what was heard of it.
pub(super) struct Signals {
    keys: Vec<(String, watch::Sender<u64>)>,
    mode: watch::Sender<WakeupMode>,
    connected: AtomicBool,
}

impl Signals {
    pub(super) fn new(keys: &[String]) -> Arc<Self> {
        let keys = keys.iter().map(|key| (key.clone(), watch::Sender::new(0))).collect();
        let mode = watch::Sender::new(WakeupMode::Polling);
        Arc::new(Self { keys, mode, connected: AtomicBool::new(false) })
    }

    /// The signal of a key named in the options; of any other key, one that never changes.
    pub(super) fn of(self: &Arc<Self>, key: &str) -> Signal {
        let found = self.keys.iter().find(|(name, _)| name == key);
        let changes = found.map(|(_, changes)| changes.subscribe());
        Signal { all: Arc::clone(self), changes }
    }

    fn heard(&self, key: &[u8]) {
        // Tracking is by prefix, so the key may be longer than the one that was asked for.
        for (name, changes) in &self.keys {
            if key.starts_with(name.as_bytes()) {
                changes.send_modify(|count| *count += 1);
            }
        }
    }

    fn all_changed(&self) {
        for (_, changes) in &self.keys {
            changes.send_modify(|count| *count += 1);
        }
    }

    async fn arm(&self, mut connection: MultiplexedConnection) -> Result<WakeupMode, DialError> {
        let mut tracking = cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST");
        for (key, _) in &self.keys {
            tracking.arg("PREFIX").arg(key);
        }
        if granted(connection.send_packed_command(&tracking).await)? {
            return Ok(WakeupMode::Tracking);
        }
        let channels: Vec<&str> = self.keys.iter().map(|(key, _)| key.as_str()).collect();
        let subscribed = connection.subscribe(&channels[..]).await;
        if granted(subscribed.map(|()| Value::Okay))? {
            return Ok(WakeupMode::Subscribe);
        }
        Ok(WakeupMode::Polling)
    }
}

/// Whether Redis did what was asked; its "no" is an answer, silence is a failed dial.
fn granted(result: redis::RedisResult<Value>) -> Result<bool, DialError> {
    let answer = result.map_err(Error::from);
    match answer.and_then(|value| Error::in_reply(&value).map_or(Ok(()), Err)) {
        Ok(()) => Ok(true),
        Err(Error::Server { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Part for Signals {
    fn pushed(&self, push: PushInfo) {
        match (push.kind, push.data.as_slice()) {
            (PushKind::Invalidate, [Value::Array(keys)]) => {
                for key in keys {
                    if let Value::BulkString(key) = key {
                        self.heard(key);
                    }
                }
            }
            // No list of keys: everything was flushed.
            (PushKind::Invalidate, _) => self.all_changed(),
            (PushKind::Message, [Value::BulkString(channel), _]) => self.heard(channel),
            _ => {}
        }
    }

    fn prepare(
        self: Arc<Self>,
        connection: MultiplexedConnection,
        _epoch: Epoch,
    ) -> BoxFuture<'static, Result<(), DialError>> {
        async move {
            if self.keys.is_empty() {
                return Ok(());
            }
            let mode = self.arm(connection).await?;
            if self.mode.send_replace(mode) != mode {
                WakeupModeChanged { mode }.emit();
            }
            Ok(())
        }
        .boxed()
    }

    fn ready(&self) {
        self.connected.store(true, Ordering::Release);
        // Whatever changed while nobody listened was not heard.
        self.all_changed();
    }

    fn lost(&self) {
        // A dial that came to nothing changes nothing.
        if self.connected.swap(false, Ordering::AcqRel) {
            self.all_changed();
        }
    }
}

/// Tells when a key may have changed. Clones hear independently.
#[derive(Clone)]
pub struct Signal {
    all: Arc<Signals>,
    changes: Option<watch::Receiver<u64>>,
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Signal {
    /// Resolves when the key may have changed since the last time this resolved: Redis said so,
    /// or the connection was lost or came back. Many changes are one. Cancel-safe.
    pub async fn changed(&mut self) {
        if let Some(changes) = &mut self.changes
            && changes.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// Rises with everything that was heard: the same count twice means that the key did not
    /// change in between, provided that [`Signal::listening`] holds.
    pub fn count(&self) -> u64 {
        self.changes.as_ref().map_or(0, |changes| *changes.borrow())
    }

    /// Whether Redis would tell of a change at this moment.
    pub fn listening(&self) -> bool {
        self.changes.is_some()
            && self.all.connected.load(Ordering::Acquire)
            && self.mode() != WakeupMode::Polling
    }

    /// How changes are heard on the present connection.
    pub fn mode(&self) -> WakeupMode {
        *self.all.mode.borrow()
    }
}
