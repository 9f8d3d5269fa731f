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

/// The laws that do not hold on this page, in words. A law about what a component does not
/// export is not asked.
pub fn broken_laws(page: &Page) -> Vec<String> {
    let mut broken = Vec::new();
    let mut law = |what: String, left: f64, right: f64| {
        if left != right {
            broken.push(format!("{what}: {left} is not {right}"));
        }
    };
    for role in page.label_values("trunkline_redis_connections_open", "role") {
        let of = |name: &str| page.sum(name, &[("role", &role)]);
        let open = of("trunkline_redis_connections_open");
        let opened = of("trunkline_redis_connections_opened_total");
        let closed = of("trunkline_redis_connections_closed_total");
        law(format!("opened - closed = open ({role})"), opened - closed, open);
        let expected = of("trunkline_redis_connections_expected");
        law(format!("open = expected ({role})"), open, expected);
        let states = of("trunkline_redis_connection_state");
        law(format!("the states sum up to 1 ({role})"), states, 1.0);
    }
    let sum = |name: &str| page.sum(name, &[]);
    law(
        "publish attempts = answered + failures".into(),
        sum("trunkline_publish_attempts_total"),
        sum("trunkline_publish_receivers_count") + sum("trunkline_publish_failures_total"),
    );
    law("nothing is in flight".into(), sum("trunkline_redis_commands_in_flight"), 0.0);
    if page.has("trunkline_jobs_in_flight") {
        law("no job is in hand".into(), sum("trunkline_jobs_in_flight"), 0.0);
    }
    if page.has("trunkline_subscriber_messages_received_total") {
        let routed = sum("trunkline_subscriber_messages_routed_total");
        let dropped = sum("trunkline_subscriber_messages_dropped_total");
        let received = sum("trunkline_subscriber_messages_received_total");
        law("received = routed + dropped".into(), received, routed + dropped);
    }
    for transport in page.label_values("trunkline_clients_connected", "transport") {
        let of = |name: &str| page.sum(name, &[("transport", &transport)]);
        law(
            format!("enqueued = delivered + dropped + waiting ({transport})"),
            of("trunkline_client_messages_enqueued_total"),
            of("trunkline_deliveries_total")
                + of("trunkline_client_messages_dropped_total")
                + of("trunkline_client_messages_waiting"),
        );
        law(
            format!("clients opened - closed = connected ({transport})"),
            of("trunkline_clients_opened_total") - of("trunkline_clients_closed_total"),
            of("trunkline_clients_connected"),
        );
    }
    broken
}
