//! What becomes of notifications in clients' queues, seen on the page of metrics. The recorder is
//! global, so all of it is one test.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::task::{Context, Poll};

use bytes::Buf;
use futures_util::task::noop_waker;
use support::eventually::eventually;
use trunkline::config::LogFormat;
use trunkline::hub::{Batch, Bounds, Client, Encoded, Hub, Limits, Taken};
use trunkline::model::*;
use trunkline::telemetry::{Telemetry, TelemetryOptions};

const ROOM: usize = 4;

fn listen(hub: &Hub) -> Client {
    let mut client = hub.join(Transport::Sse).unwrap();
    let wanted = client.want(&[Subscription::parse("door").unwrap()]).unwrap();
    client.hear(&wanted);
    client
}

fn publish(hub: &Hub, times: usize) {
    let channel = ChannelName::parse("door").unwrap();
    let came_by = Subscription::Exact(channel.clone());
    for _ in 0..times {
        let notification = Notification::from_wire(&channel, b"1").unwrap();
        hub.dispatch(&came_by, &mut Encoded::new(&notification)).unwrap();
    }
}

fn take(client: &Client) -> Batch {
    match client.outbox().poll_take(&mut Context::from_waker(&noop_waker())) {
        Poll::Ready(Taken::Batch(batch)) => batch,
        _ => panic!("nothing waits"),
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
        let page = telemetry.render().await;
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
        exporting: tokio::runtime::Handle::current(),
    })
    .unwrap();
    let hub = Hub::new(Limits::new(Bounds { messages: ROOM, bytes: 1 << 20 }), |_| {});

    // All of it waits; then one reads everything, one the first and half of the second.
    let (reads, leaves, sleeps) = (listen(&hub), listen(&hub), listen(&hub));
    publish(&hub, 2);
    law(&telemetry, [6, 0, 0, 6]).await;
    let mut batch = take(&reads);
    batch.advance(batch.remaining());
    let mut half = take(&leaves);
    half.advance(half.chunk().len() + 5);
    law(&telemetry, [6, 3, 0, 3]).await;

    // It leaves with half a notification written and two more waiting: three never got there.
    publish(&hub, ROOM - 2);
    drop((half, leaves));
    law(&telemetry, [12, 3, 3, 6]).await;

    // The one that never read is closed as slow, the overflowing one included.
    publish(&hub, 1);
    let slow = r#"reason="slow""#;
    let page = law(&telemetry, [14, 3, 8, 3]).await;
    assert_eq!(sum(&page, "trunkline_client_messages_dropped_total", slow), 5);
    drop((reads, sleeps));
    let page = law(&telemetry, [14, 3, 11, 0]).await;
    assert_eq!(sum(&page, "trunkline_clients_closed_total", slow), 1);
    assert_eq!(sum(&page, "trunkline_clients_closed_total", r#"reason="client""#), 2);
    assert_eq!(sum(&page, "trunkline_clients_connected", "sse"), 0);
}
