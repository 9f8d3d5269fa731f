//! From the subscriber connection to the clients: decode, encode once, hand to the hub.
//!
//! The connection counted each message as received; here each is counted once more, as routed
//! or as dropped with its reason.

use bytes::Bytes;

use super::gap::Gap;
use crate::conn::{Message, Messages};
use crate::health::Heartbeat;
use crate::history::History;
use crate::hub::{Bounds, Encoded, Hub, Touched};
use crate::model::{ChannelName, Notification, Position, SubscriberDrop, Subscription, unix_ms};
use crate::telemetry::events::subscriber::{LagMeasured, MessageDropped, MessageRouted};
use crate::telemetry::trace::{self, TraceContext, deliver_span};

/// Writes into clients' sockets between which others on the same thread have their turn: less than
/// a millisecond of them.
const TURN: usize = 64;

/// Hands on whatever comes, until the connection's owner closes it. What has come together is
/// written together, straight into the sockets that take it. Never waits for a client, but lets
/// those on the same thread write before a burst has filled their outboxes. Where something may
/// have been missed, it is handed on from the history, before what comes next.
pub async fn run(mut messages: Messages, hub: Hub, history: History, heartbeat: Heartbeat) {
    let mut gap = Gap::new(messages.watch(), messages.overflows(), history);
    let mut fanout = Fanout::new(hub);
    let mut alive = tokio::time::interval(Heartbeat::INTERVAL);
    loop {
        tokio::select! {
            // What came before a gap is handed on before it is filled, and what comes after it
            // afterwards: so positions never go back.
            biased;
            _ = alive.tick() => heartbeat.beat(),
            message = messages.next() => {
                let Some(mut message) = message else { return };
                loop {
                    if gap.is_before(&message) {
                        gap.fill_before(&message, &mut fanout, &heartbeat).await;
                    }
                    fanout.burst.count(message.payload.len());
                    fanout.hand_on(message);
                    if fanout.burst.is_enough() {
                        break;
                    }
                    let Some(next) = messages.try_next() else { break };
                    message = next;
                }
                fanout.write().await;
            }
            () = gap.opened() => gap.fill(&mut fanout, &heartbeat).await,
        }
    }
}

/// What was handed on since the clients had their turn.
struct Burst {
    bounds: Bounds,
    messages: usize,
    bytes: usize,
}

impl Burst {
    fn within(bounds: Bounds) -> Self {
        Self { bounds, messages: 0, bytes: 0 }
    }

    fn count(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    /// Whether it is the clients' turn: a quarter of what may wait for one of them leaves room for
    /// what waits already, and for what a frame adds to a payload.
    fn is_enough(&self) -> bool {
        let Bounds { messages: most, bytes: most_bytes } = self.bounds;
        self.messages >= most.div_ceil(4) || self.bytes >= most_bytes / 4
    }

    /// The clients had their turn.
    fn end(&mut self) {
        (self.messages, self.bytes) = (0, 0);
    }
}

/// One PUBLISH as Redis copies it: once for each subscription of ours that matches.
struct Publish {
    channel: String,
    payload: Bytes,
    came_by: Vec<Subscription>,
    /// Whether anybody heard it when its first copy came.
    heard: bool,
}

pub(super) struct Fanout {
    pub(super) hub: Hub,
    last: Option<Publish>,
    touched: Touched,
    burst: Burst,
    /// Up to here everything was handed on, or told as lost.
    position: Option<Position>,
    /// Whether that is where the history was before anything came: some of what is before it may
    /// still be to come.
    guessed: bool,
}

impl Fanout {
    pub(super) fn new(hub: Hub) -> Self {
        let burst = Burst::within(hub.bounds());
        let touched = Touched::default();
        Self { hub, last: None, touched, burst, position: None, guessed: false }
    }

    /// Up to where everything was handed on, or told as lost.
    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Everything up to here was handed on from the history, or told as lost. It may still come
    /// by the connection: each client knows what it has.
    pub(super) fn has_all_up_to(&mut self, position: Position) {
        (self.position, self.guessed) = (Some(position), false);
    }

    /// The history is here, and nothing has come yet.
    pub(super) fn begins_at(&mut self, head: Position) {
        (self.position, self.guessed) = (Some(head), true);
    }

    /// Where the history was when this began is not known.
    pub(super) fn begins_anew(&mut self) {
        self.position = None;
    }

    /// This came by the connection. By the clock, because what comes late from before a flush of
    /// Redis is not where the history is.
    fn came(&mut self, position: Position) {
        if self.guessed || self.position.is_none_or(|it| it.at < position.at) {
            self.has_all_up_to(position);
        }
    }

    /// Writes what was handed on into the sockets.
    pub(super) async fn write(&mut self) {
        loop {
            let more = self.touched.write(TURN);
            if more || self.burst.is_enough() {
                self.burst.end();
                tokio::task::yield_now().await;
            }
            if !more {
                return;
            }
        }
    }

    /// Hands on a notification that was missed, and lets the clients write when it is their turn.
    pub(super) async fn hand_on_late(&mut self, notification: &Notification, bytes: usize) {
        let mut encoded = Encoded::late(notification);
        self.hub.dispatch(&notification.channel, &mut encoded, &mut self.touched);
        self.burst.count(bytes);
        if self.burst.is_enough() {
            self.write().await;
        }
    }

    fn hand_on(&mut self, message: Message) {
        match self.route(message) {
            Ok(()) => MessageRouted { count: 1 }.emit(),
            Err(reason) => MessageDropped { reason }.emit(),
        }
    }

    fn route(&mut self, message: Message) -> Result<(), SubscriberDrop> {
        let Message { subscription, channel, payload, .. } = message;
        let name = ChannelName::parse(&channel).map_err(|_| SubscriberDrop::Decode)?;
        let copied = |last: &Publish| last.copied(&subscription, &channel, &payload);
        let publish = match self.last.take().filter(copied) {
            // Whoever hears the channel by another subscription has heard it with the first copy.
            Some(last) => self.last.insert(last),
            None => {
                let (mut notification, context) = decode(&name, &payload)?;
                if let Some(position) = notification.position() {
                    self.came(position);
                }
                let span = deliver_span(context);
                let dispatch = || self.hub.dispatch(&name, &mut notification, &mut self.touched);
                let clients = span.in_scope(dispatch);
                span.delivered(clients.unwrap_or_default());
                let (came_by, heard) = (Vec::new(), clients.is_some());
                self.last.insert(Publish { channel, payload, came_by, heard })
            }
        };
        publish.came_by.push(subscription);
        if publish.heard { Ok(()) } else { Err(SubscriberDrop::NoRoute) }
    }
}

fn decode(
    channel: &ChannelName,
    payload: &[u8],
) -> Result<(Encoded, Option<TraceContext>), SubscriberDrop> {
    let notification =
        Notification::from_wire(channel, payload).map_err(|_| SubscriberDrop::Decode)?;
    // Whoever writes straight into Redis stamps nothing we could trust.
    if let Some(published_ms) = notification.published_ms.filter(|_| !notification.is_foreign()) {
        LagMeasured { published_ms, received_ms: unix_ms() }.emit();
    }
    // What comes without a trace begins none here.
    let traceparent = notification.traceparent.as_deref();
    let context = traceparent.and_then(|traceparent| trace::decide(Some(traceparent)));
    Ok((Encoded::traced(&notification, context), context))
}

impl Publish {
    /// Whether a message is another copy of this PUBLISH. Copies come one after another, each
    /// by a subscription of its own, and the one of the channel itself comes before those of
    /// prefixes; the same subscription again means a new PUBLISH.
    fn copied(&self, subscription: &Subscription, channel: &str, payload: &Bytes) -> bool {
        matches!(subscription, Subscription::Prefix(_))
            && self.channel == channel
            && !self.came_by.contains(subscription)
            && self.payload == *payload
    }
}

#[cfg(test)]
#[path = "fanout_tests.rs"]
mod tests;
