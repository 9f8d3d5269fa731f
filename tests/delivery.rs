//! What becomes of notifications in clients' queues, seen on the page of metrics. The recorder is
//! global, so all of it is one test.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;

use bytes::Bytes;
use futures_util::task::noop_waker;
use support::eventually::eventually;
use trunkline::config::LogFormat;
use trunkline::hub::{Bounds, Client, Encoded, Hub, Limits, Refused, Sink, Touched, Written};
use trunkline::model::*;
use trunkline::telemetry::{PageFormat, Telemetry, TelemetryOptions};

const ROOM: usize = 4;

fn listen(hub: &Hub) -> Client {
    let mut client = hub.join(Transport::Sse).unwrap();
    let wanted = ["door", "last"].map(|name| Subscription::parse(name).unwrap());
    let wanted = client.want(&wanted).unwrap();
    client.hear(&wanted);
    client
}

/// What is returned has yet to be written; dropped, it is left to the clients' tasks.
fn publish(hub: &Hub, times: usize) -> Touched {
    publish_on(hub, "door", times)
}

fn publish_on(hub: &Hub, channel: &str, times: usize) -> Touched {
    let channel = ChannelName::parse(channel).unwrap();
    let mut touched = Touched::default();
    for _ in 0..times {
        let notification = Notification::from_wire(&channel, b"1").unwrap();
        hub.dispatch(&channel, &mut Encoded::new(&notification), &mut touched).unwrap();
    }
    touched
}

/// A socket that takes so many bytes more.
struct Socket(AtomicUsize);

impl Sink for Socket {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Refused> {
        let wanted = slices.iter().map(|slice| slice.len()).sum();
        let taken = self.0.load(Ordering::Relaxed).min(wanted);
        self.0.fetch_sub(taken, Ordering::Relaxed);
        if taken == 0 && wanted > 0 { Err(Refused::Full) } else { Ok(taken) }
    }
}

fn attach(client: &Client, room: usize) -> Arc<Socket> {
    let socket = Arc::new(Socket(AtomicUsize::new(room)));
    client.outbox().attach(socket.clone(), Bytes::new());
    socket
}

/// Writes as its task does, until nothing waits or the socket takes no more.
fn write(client: &Client) -> Written {
    loop {
        match client.outbox().write(&mut Context::from_waker(&noop_waker())) {
            Written::More => {}
            other => return other,
        }
    }
}

/// The sum over the series of a metric whose labels contain `labels`.
fn sum(page: &str, metric: &str, labels: &str) -> u64 {
    let of_metric = |line: &&str| line.split(['{', ' ']).next() == Some(metric);
    let lines = page.lines().filter(of_metric).filter(|line| line.contains(labels));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64).sum()
}

/// Waits for a page with these numbers, since one is handed out for a second, and returns it.
async fn law(telemetry: &Telemetry, expected: [u64; 4]) -> String {
    let [enqueued, delivered, dropped, waiting] = expected;
    assert_eq!(enqueued, delivered + dropped + waiting);
    eventually(&format!("{expected:?}"), async || {
        let page = telemetry.render(PageFormat::Text).await.text;
        let found = [
            "trunkline_client_messages_enqueued_total",
            "trunkline_deliveries_total",
            "trunkline_client_messages_dropped_total",
            "trunkline_client_messages_waiting",
        ]
        .map(|metric| sum(&page, metric, "sse"));
        if found == expected { Ok(page) } else { Err(format!("{found:?}")) }
    })
    .await
}

#[tokio::test]
async fn enqueued_is_delivered_plus_dropped_plus_waiting_however_a_client_ends() {
    let telemetry = Telemetry::start(&TelemetryOptions {
        component: Component::Server,
        instance: "test".into(),
        queue: "jobs".into(),
        log_format: LogFormat::Text,
        log_filter: None,
        tracing: None,
        exemplars: false,
        exporting: tokio::runtime::Handle::current(),
    })
    .unwrap();
    let hub = Hub::new(Limits::new(Bounds { messages: ROOM, bytes: 1 << 20 }), |_| {});

    // All of it waits; then one reads everything, one the first and half of the second.
    let (reads, leaves, sleeps) = (listen(&hub), listen(&hub), listen(&hub));
    drop(publish(&hub, 2));
    law(&telemetry, [6, 0, 0, 6]).await;
    attach(&reads, usize::MAX);
    assert_eq!(write(&reads), Written::Everything);
    let channel = ChannelName::parse("door").unwrap();
    let notification = Notification::from_wire(&channel, b"1").unwrap();
    let one = Encoded::new(&notification).frame(Transport::Sse).bytes().len();
    attach(&leaves, one + one / 2);
    assert_eq!(write(&leaves), Written::Blocked);
    law(&telemetry, [6, 3, 0, 3]).await;

    // It leaves with half a notification written and two more waiting: three never got there.
    drop(publish(&hub, ROOM - 2));
    let rest = leaves.outbox().detach();
    drop((leaves, rest));
    law(&telemetry, [12, 3, 3, 6]).await;

    // The one that never read is closed as slow, the overflowing one included.
    drop(publish(&hub, 1));
    let slow = r#"reason="slow""#;
    let page = law(&telemetry, [14, 3, 8, 3]).await;
    assert_eq!(sum(&page, "trunkline_client_messages_dropped_total", slow), 5);

    // Fan-out writes straight into a socket, as far as it takes something.
    let mut touched = publish(&hub, 1);
    while touched.write(1) {}
    law(&telemetry, [15, 7, 8, 0]).await;
    drop(publish(&hub, 1));
    drop((reads, sleeps));
    let page = law(&telemetry, [16, 7, 9, 0]).await;
    assert_eq!(sum(&page, "trunkline_clients_closed_total", slow), 1);
    assert_eq!(sum(&page, "trunkline_clients_closed_total", r#"reason="client""#), 2);
    assert_eq!(sum(&page, "trunkline_clients_connected", "sse"), 0);

    // What gives way for a later one is dropped for its own reason, and the client stays.
    let delivery = ["door=drop-oldest", "last=latest-only"].map(|rule| rule.parse().unwrap());
    let limits = Limits::new(Bounds { messages: ROOM, bytes: 1 << 20 });
    let hub = Hub::new(Limits { delivery: delivery.into(), ..limits }, |_| {});
    let asleep = listen(&hub);
    drop(publish_on(&hub, "last", 3));
    let page = law(&telemetry, [19, 7, 11, 1]).await;
    let reason = |page: &str, reason: &str| {
        let label = format!(r#"reason="{reason}""#);
        sum(page, "trunkline_client_messages_dropped_total", &label)
    };
    assert_eq!((reason(&page, "superseded"), reason(&page, "oldest")), (2, 0));
    // The latest of the one channel is the oldest of all, once there is no room.
    drop(publish(&hub, ROOM + 1));
    let page = law(&telemetry, [24, 7, 13, 4]).await;
    assert_eq!((reason(&page, "superseded"), reason(&page, "oldest")), (2, 2));
    drop(asleep);
    let page = law(&telemetry, [24, 7, 17, 0]).await;
    assert_eq!(sum(&page, "trunkline_clients_closed_total", slow), 1);
}
