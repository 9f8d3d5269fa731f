//! What should be subscribed, what is, and where the messages go.
//!
//! The desired set is the truth. Before the connection is ready everything in it was confirmed
//! by Redis; afterwards one task at a time brings the difference over, so that a subscribe and
//! an unsubscribe of the same channel never overtake each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Notify, mpsc, watch};

use super::desired::{Desired, Pending};
use super::dial::DialError;
use super::error::{Code, Error};
use super::line::Part;
use super::options::Options;
use super::state::Epoch;
use crate::model::{ConnectFailure, MessageKind, SubscriberDrop, Subscription};
use crate::telemetry::events::subscriber::{
    MessageDropped, MessageReceived, MessageRouted, Resubscribed, SubscriptionRefused,
    SubscriptionsChanged,
};

/// Names per SUBSCRIBE: a command of some 30 kB, so that one does not hold up the next for long.
const CHUNK: usize = 512;

/// A message as Redis handed it out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Message {
    /// The subscription it came by: one message comes once for each that matches it.
    pub subscription: Subscription,
    /// Its channel, without the namespace.
    pub channel: String,
    /// Its bytes.
    pub payload: Bytes,
    /// The connection that it came by, as [`Status::generation`](super::Status::generation)
    /// counts. One that rises tells of a gap: what was published in between was not heard.
    pub generation: u64,
    /// How many messages had found no room before this one came. One that rises tells of a gap
    /// too.
    pub overflows: u64,
}

#[derive(Default)]
struct Inner {
    desired: Desired,
    /// The dial whose connection `desired` speaks of. An answer that comes late, from a
    /// connection that was given up, must not say that the new one has a channel.
    epoch: Epoch,
    /// Present once that dial has prepared it.
    connection: Option<MultiplexedConnection>,
    lost: Option<Instant>,
}

pub(super) struct Subscriptions {
    options: Arc<Options>,
    probe_channel: String,
    control_channel: String,
    notify_prefix: String,
    inner: Mutex<Inner>,
    /// Something is to be brought over.
    pub(super) difference: Notify,
    /// How many subscriptions Redis has refused.
    pub(super) refusals: watch::Sender<u64>,
    /// The last probe that came back.
    pub(super) probes: watch::Sender<u64>,
    /// How many messages found no room.
    pub(super) overflows: watch::Sender<u64>,
    /// The dial whose connection speaks: the same as in `inner`, for the driver.
    speaking: AtomicU64,
    hand_off: mpsc::Sender<Message>,
}

impl Subscriptions {
    pub(super) fn new(options: Arc<Options>) -> (Arc<Self>, mpsc::Receiver<Message>) {
        let (hand_off, messages) = mpsc::channel(options.hand_off.max(1));
        let subscriptions = Self {
            probe_channel: options.probe_channel(),
            control_channel: options.control_channel(),
            notify_prefix: options.notify_channel(""),
            options,
            inner: Mutex::default(),
            difference: Notify::new(),
            refusals: watch::Sender::new(0),
            probes: watch::Sender::new(0),
            overflows: watch::Sender::new(0),
            speaking: AtomicU64::new(0),
            hand_off,
        };
        (Arc::new(subscriptions), messages)
    }

    /// `None` when Redis has confirmed it already.
    pub(super) fn want(&self, subscription: &Subscription) -> Option<Pending> {
        let pending = self.change(|inner| inner.desired.want(subscription));
        self.difference.notify_one();
        pending
    }

    pub(super) fn leave(&self, subscription: &Subscription) {
        self.change(|inner| inner.desired.leave(subscription));
        self.difference.notify_one();
    }

    pub(super) fn wants(&self, subscription: &Subscription) -> bool {
        self.inner().desired.wants(subscription)
    }

    /// How many are desired, and how many of those Redis has confirmed.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.inner().desired.counts()
    }

    /// Brings the present connection up to the desired set, if there is one.
    pub(super) async fn reconcile(&self) -> Result<(), Error> {
        let (connection, epoch) = {
            let inner = self.inner();
            (inner.connection.clone(), inner.epoch)
        };
        match connection {
            Some(mut connection) => {
                self.bring_over(&mut connection, epoch).await.map(|_refused| ())
            }
            None => Ok(()),
        }
    }

    /// Returns how many were refused.
    async fn bring_over(
        &self,
        connection: &mut MultiplexedConnection,
        epoch: Epoch,
    ) -> Result<usize, Error> {
        let mut refused = 0;
        loop {
            let (missing, surplus) = self.inner().desired.difference(CHUNK);
            if missing.is_empty() && surplus.is_empty() {
                return Ok(refused);
            }
            for group in by_kind(surplus) {
                let names = self.names(&group);
                match group[0] {
                    Subscription::Exact(_) => connection.unsubscribe(&names[..]).await?,
                    Subscription::Prefix(_) => connection.punsubscribe(&names[..]).await?,
                }
                self.answered(epoch, |desired| desired.unsubscribed(&group))?;
            }
            for group in by_kind(missing) {
                refused += self.subscribe(connection, epoch, group).await?;
            }
        }
    }

    /// Subscribes to a group; where the ACL refuses it, halves it until the culprits are alone.
    async fn subscribe(
        &self,
        connection: &mut MultiplexedConnection,
        epoch: Epoch,
        group: Vec<Subscription>,
    ) -> Result<usize, Error> {
        let (mut groups, mut refused) = (vec![group], 0);
        while let Some(mut group) = groups.pop() {
            let names = self.names(&group);
            let answer = match group[0] {
                Subscription::Exact(_) => connection.subscribe(&names[..]).await,
                Subscription::Prefix(_) => connection.psubscribe(&names[..]).await,
            };
            match answer.map_err(Error::from) {
                Ok(()) => self.answered(epoch, |desired| desired.subscribed(&group))?,
                Err(Error::Server { code: Code::Noperm, .. }) if group.len() > 1 => {
                    groups.push(group.split_off(group.len() / 2));
                    groups.push(group);
                }
                Err(Error::Server { code: Code::Noperm, .. }) => {
                    self.answered(epoch, |desired| desired.refused(&group[0]))?;
                    SubscriptionRefused.emit();
                    self.refusals.send_modify(|count| *count += 1);
                    refused += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    fn names(&self, group: &[Subscription]) -> Vec<String> {
        group
            .iter()
            .map(|subscription| self.options.notify_channel(&subscription.to_string()))
            .collect()
    }

    fn received(
        &self,
        subscription: Result<Subscription, crate::model::Fault>,
        channel: &str,
        payload: Vec<u8>,
    ) {
        MessageReceived { kind: MessageKind::Event }.emit();
        let dropped = |reason| MessageDropped { reason }.emit();
        let Ok(subscription) = subscription else { return dropped(SubscriberDrop::NoRoute) };
        if payload.len() > self.options.max_payload {
            return dropped(SubscriberDrop::TooLarge);
        }
        let (channel, payload) = (channel.to_owned(), payload.into());
        let generation = self.speaking.load(Ordering::Relaxed);
        let overflows = *self.overflows.borrow();
        let message = Message { subscription, channel, payload, generation, overflows };
        match self.hand_off.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                dropped(SubscriberDrop::QueueFull);
                self.overflows.send_modify(|overflows| *overflows += 1);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => dropped(SubscriberDrop::NoRoute),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something and shows the new counts, in this order for everybody.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner();
        let result = change(&mut inner);
        let (desired, confirmed) = inner.desired.counts();
        SubscriptionsChanged { desired, confirmed }.emit();
        result
    }

    /// Takes in what Redis answered on the connection of `epoch`.
    ///
    /// # Errors
    /// [`Error::Disconnected`] when that is no longer the present one.
    fn answered(&self, epoch: Epoch, change: impl FnOnce(&mut Desired)) -> Result<(), Error> {
        self.change(|inner| {
            if inner.epoch != epoch {
                return Err(Error::Disconnected);
            }
            change(&mut inner.desired);
            Ok(())
        })
    }
}

/// Channels and patterns need commands of their own.
fn by_kind(subscriptions: Vec<Subscription>) -> impl Iterator<Item = Vec<Subscription>> {
    let (exact, prefixes): (Vec<_>, Vec<_>) =
        subscriptions.into_iter().partition(|s| matches!(s, Subscription::Exact(_)));
    [exact, prefixes].into_iter().filter(|group| !group.is_empty())
}

impl Part for Subscriptions {
    fn pushed(&self, push: PushInfo) {
        let mut data = push.data.into_iter();
        let mut next = || match data.next() {
            Some(Value::BulkString(bytes)) => bytes,
            _ => Vec::new(),
        };
        match push.kind {
            PushKind::Message => {
                let (channel, payload) = (next(), next());
                let channel = String::from_utf8_lossy(&channel);
                if channel == self.probe_channel {
                    MessageReceived { kind: MessageKind::Probe }.emit();
                    let nonce =
                        std::str::from_utf8(&payload).ok().and_then(|text| text.parse().ok());
                    self.probes.send_replace(nonce.unwrap_or(0));
                    MessageRouted { count: 1 }.emit();
                } else if channel == self.control_channel {
                    MessageReceived { kind: MessageKind::Control }.emit();
                    MessageRouted { count: 1 }.emit();
                } else {
                    let channel = channel.strip_prefix(&self.notify_prefix).unwrap_or_default();
                    self.received(Subscription::parse(channel), channel, payload);
                }
            }
            PushKind::PMessage => {
                let (pattern, channel, payload) = (next(), next(), next());
                let pattern = String::from_utf8_lossy(&pattern);
                let channel = String::from_utf8_lossy(&channel);
                let bare = |name: &str| {
                    name.strip_prefix(&self.notify_prefix).unwrap_or_default().to_owned()
                };
                self.received(Subscription::parse(&bare(&pattern)), &bare(&channel), payload);
            }
            _ => {}
        }
    }

    fn prepare(
        self: Arc<Self>,
        mut connection: MultiplexedConnection,
        epoch: Epoch,
    ) -> BoxFuture<'static, Result<(), DialError>> {
        async move {
            self.change(|inner| {
                inner.desired.lost();
                inner.epoch = epoch;
            });
            self.speaking.store(epoch, Ordering::Relaxed);
            let ours = [self.probe_channel.as_str(), self.control_channel.as_str()];
            connection.subscribe(&ours[..]).await.map_err(|error| match Error::from(error) {
                Error::Server { code: Code::Noperm, .. } => DialError::new(
                    ConnectFailure::Noperm,
                    "the user may not subscribe to the probe and control channels",
                ),
                error => error.into(),
            })?;
            let refused = self.bring_over(&mut connection, epoch).await?;
            let mut inner = self.inner();
            if inner.epoch != epoch {
                return Err(Error::Disconnected.into());
            }
            inner.connection = Some(connection);
            let ((_, channels), lost) = (inner.desired.counts(), inner.lost.take());
            drop(inner);
            if let Some(lost) = lost {
                Resubscribed { channels, refused, gap: lost.elapsed() }.emit();
            }
            Ok(())
        }
        .boxed()
    }

    fn ready(&self) {
        // What was wanted between the end of prepare and now.
        self.difference.notify_one();
    }

    fn lost(&self) {
        self.change(|inner| {
            inner.desired.lost();
            inner.epoch = 0;
            if inner.connection.take().is_some() {
                inner.lost = Some(Instant::now());
            }
        });
    }
}
