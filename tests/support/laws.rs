//! What the contract promises of a metrics page whenever its process is at rest.

use super::eventually::eventually;
use super::metrics::Page;
use super::process::Daemon;

/// Waits until every law holds on the daemon's page: for a quiescent one, at once. A probe that
/// is under way may break one for a moment.
pub async fn laws_hold(daemon: &Daemon) {
    eventually("the laws of the metrics page hold", async || {
        let broken = broken_laws(&Page::of(daemon).await);
        if broken.is_empty() { Ok(()) } else { Err(broken.join("\n    ")) }
    })
    .await;
}

/// The laws that do not hold on this page, in words.
pub fn broken_laws(page: &Page) -> Vec<String> {
    let mut broken = Vec::new();
    let mut law = |what: String, left: f64, right: f64| {
        if left != right {
            broken.push(format!("{what}: {left} is not {right}"));
        }
    };
    const OPEN: &str = "trunkline_redis_connections_open";
    for role in page.label_values(OPEN, "role") {
        let of_role = |name: &str| page.sum(name, &[("role", &role)]);
        let opened = of_role("trunkline_redis_connections_opened_total");
        let closed = of_role("trunkline_redis_connections_closed_total");
        law(format!("opened - closed = open ({role})"), opened - closed, of_role(OPEN));
        let states = of_role("trunkline_redis_connection_state");
        law(format!("the states sum up to 1 ({role})"), states, 1.0);
    }
    let sum = |name: &str| page.sum(name, &[]);
    law(
        "publish attempts = answered + failures".into(),
        sum("trunkline_publish_attempts_total"),
        sum("trunkline_publish_receivers_count") + sum("trunkline_publish_failures_total"),
    );
    const RECEIVED: &str = "trunkline_subscriber_messages_received_total";
    if page.has(RECEIVED) {
        let routed = sum("trunkline_subscriber_messages_routed_total");
        let dropped = sum("trunkline_subscriber_messages_dropped_total");
        law("received = routed + dropped".into(), sum(RECEIVED), routed + dropped);
    }
    const ENQUEUED: &str = "trunkline_client_messages_enqueued_total";
    for transport in page.label_values(ENQUEUED, "transport") {
        let of_transport = |name: &str| page.sum(name, &[("transport", &transport)]);
        law(
            format!("enqueued = delivered + dropped + waiting ({transport})"),
            of_transport(ENQUEUED),
            of_transport("trunkline_deliveries_total")
                + of_transport("trunkline_client_messages_dropped_total")
                + of_transport("trunkline_client_messages_waiting"),
        );
    }
    broken
}
