//! From the subscriber connection to the clients: decode, encode once, hand to the hub.
//!
//! The connection counted each message as received; here each is counted once more, as routed
//! or as dropped with its reason.

use bytes::Bytes;

use crate::conn::{Message, Messages};
use crate::health::Heartbeat;
use crate::hub::{Bounds, Encoded, Hub};
use crate::model::{ChannelName, Notification, SubscriberDrop, Subscription, unix_ms};
use crate::telemetry::events::subscriber::{LagMeasured, MessageDropped, MessageRouted};
use crate::telemetry::trace::{self, TraceContext, deliver_span};

/// Hands on whatever comes, until the connection's owner closes it. Never waits for a client, but
/// lets those on the same thread write before a burst has filled their outboxes.
pub async fn run(mut messages: Messages, hub: Hub, heartbeat: Heartbeat) {
    let mut burst = Burst::within(hub.bounds());
    let mut fanout = Fanout::new(hub);
    let mut alive = tokio::time::interval(Heartbeat::INTERVAL);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => {
                    let bytes = message.payload.len();
                    fanout.hand_on(message);
                    if burst.is_enough(bytes) {
                        tokio::task::yield_now().await;
                    }
                }
                None => return,
            },
            _ = alive.tick() => heartbeat.beat(),
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

    /// Counts a message, and says whether it is the clients' turn: a quarter of what may wait for
    /// one of them leaves room for what waits already, and for what a frame adds to a payload.
    fn is_enough(&mut self, bytes: usize) -> bool {
        self.messages += 1;
        self.bytes += bytes;
        let Bounds { messages: most, bytes: most_bytes } = self.bounds;
        let enough = self.messages >= most.div_ceil(4) || self.bytes >= most_bytes / 4;
        if enough {
            (self.messages, self.bytes) = (0, 0);
        }
        enough
    }
}

/// One PUBLISH as Redis copies it: once for each subscription of ours that matches.
struct Publish {
    channel: String,
    payload: Bytes,
    came_by: Vec<Subscription>,
    notification: Encoded,
    /// Of the trace it was published in.
    context: Option<TraceContext>,
}

struct Fanout {
    hub: Hub,
    last: Option<Publish>,
}

impl Fanout {
    fn new(hub: Hub) -> Self {
        Self { hub, last: None }
    }

    fn hand_on(&mut self, message: Message) {
        match self.route(message) {
            Ok(()) => MessageRouted { count: 1 }.emit(),
            Err(reason) => MessageDropped { reason }.emit(),
        }
    }

    fn route(&mut self, message: Message) -> Result<(), SubscriberDrop> {
        let Message { subscription, channel, payload } = message;
        let name = ChannelName::parse(&channel).map_err(|_| SubscriberDrop::Decode)?;
        let copied = |last: &Publish| last.copied(&subscription, &channel, &payload);
        let mut publish = match self.last.take().filter(copied) {
            Some(last) => last,
            None => {
                let (notification, context) = decode(&name, &payload)?;
                Publish { channel, payload, came_by: Vec::new(), notification, context }
            }
        };
        let span = deliver_span(publish.context);
        let clients = span.in_scope(|| self.hub.dispatch(&subscription, &mut publish.notification));
        span.delivered(clients.unwrap_or_default());
        publish.came_by.push(subscription);
        self.last = Some(publish);
        clients.map(drop).ok_or(SubscriberDrop::NoRoute)
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
    Ok((Encoded::new(&notification), context))
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
mod tests {
    use super::*;
    use crate::hub::{Client, Limits, Taken};
    use crate::model::Transport;
    use bytes::Buf;
    use std::task::{Context, Poll};

    fn house() -> (Fanout, Hub) {
        let hub = Hub::new(Limits::new(Bounds { messages: 9, bytes: 9_999 }), |_| {});
        (Fanout::new(hub.clone()), hub)
    }
    fn listen(hub: &Hub, text: &str) -> Client {
        let mut client = hub.join(Transport::Sse).unwrap();
        let wanted = client.want(&[Subscription::parse(text).unwrap()]).unwrap();
        client.hear(&wanted);
        client
    }
    fn message(came_by: &str, channel: &str, payload: &[u8]) -> Message {
        let subscription = Subscription::parse(came_by).unwrap();
        let payload = Bytes::copy_from_slice(payload);
        Message { subscription, channel: channel.into(), payload }
    }
    fn ids(client: &Client) -> Vec<String> {
        let waker = futures_util::task::noop_waker();
        let Poll::Ready(Taken::Batch(mut batch)) =
            client.outbox().poll_take(&mut Context::from_waker(&waker))
        else {
            return vec![];
        };
        let bytes = batch.copy_to_bytes(batch.remaining());
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        let events = lines.filter_map(|line| line.strip_prefix("data: "));
        let id = |json| serde_json::from_str::<serde_json::Value>(json).unwrap()["id"].to_string();
        events.map(id).collect()
    }

    #[test]
    fn what_cannot_be_read_or_has_no_hearer_is_dropped_with_its_reason() {
        let (mut fanout, hub) = house();
        let _client = listen(&hub, "door");
        let mut verdict =
            |came_by, payload: &[u8]| fanout.route(message(came_by, came_by, payload));
        assert_eq!(verdict("door", b"1"), Ok(()));
        assert_eq!(verdict("door", b"\xff"), Err(SubscriberDrop::Decode));
        assert_eq!(verdict("window", b"1"), Err(SubscriberDrop::NoRoute));
    }

    #[test]
    fn the_copies_of_one_publish_are_one_notification_and_a_repeat_is_another() {
        let (mut fanout, hub) = house();
        let (exact, prefix) = (listen(&hub, "a.b"), listen(&hub, "a.*"));
        for _ in 0..2 {
            fanout.route(message("a.b", "a.b", b"1")).unwrap();
            fanout.route(message("a.*", "a.b", b"1")).unwrap();
        }
        let (heard, also_heard) = (ids(&exact), ids(&prefix));
        assert_eq!(heard, also_heard);
        assert_eq!(heard.len(), 2);
        assert_ne!(heard[0], heard[1]);
    }
}
