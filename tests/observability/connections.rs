//! The flagship dashboard: does every process hold exactly the connections it should?

use trunkline::model::{ConnectionState, Label};
use trunkline::telemetry::catalogue::*;

use crate::dashboard::*;

/// A state's colour; its number on the time line is its place in [`ConnectionState::ALL`].
fn colour(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Idle => BLUE,
        ConnectionState::Connecting => YELLOW,
        ConnectionState::Handshaking => ORANGE,
        ConnectionState::Ready => GREEN,
        ConnectionState::Backoff => RED,
        ConnectionState::Closed => GREY,
    }
}

fn state(state: ConnectionState) -> String {
    of_role(REDIS_CONNECTION_STATE.name(), &is(state))
}

/// The number of the current state: all others are 0, so the largest product is it.
fn state_number() -> String {
    let each = ConnectionState::ALL.iter().enumerate();
    let each = each.map(|(number, one)| format!("{} * {number}", state(*one)));
    format!("max by (job, instance, role) ({})", each.collect::<Vec<_>>().join(" or "))
}

/// A quantile of a histogram, by role where there is one.
fn quantile(share: f64, histogram: &str, by: &str) -> String {
    format!("histogram_quantile({share}, sum by ({by}) ({}))", rate(histogram))
}

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "trunkline-connections",
        title: "Trunkline / Fleet connections",
        description: "Does every process hold exactly the Redis connections it should, and do they carry?",
        rows: vec![
            ("Verdict", verdict()),
            ("State", states()),
            ("Churn", churn()),
            ("Publish", publish()),
            ("Subscriber", subscriber()),
        ],
    }
}

fn verdict() -> Vec<Panel> {
    let open = of_role(REDIS_CONNECTIONS_OPEN.name(), "");
    let expected = of_role(REDIS_CONNECTIONS_EXPECTED.name(), "");
    let difference =
        |a: &str, b: &str| format!("sum(clamp_min({a} - on (job, instance, role) {b}, 0))");
    vec![
        Panel::stat("Connections", "Sockets the fleet holds beside those its budget calls for. Good: the same number twice.")
            .alert("TrunklineConnectionLeak")
            .thresholds(&[(None, BLUE)])
            .query(format!("sum({open})"), "open")
            .query(format!("sum({expected})"), "expected"),
        Panel::stat("Too many", "Sockets above the budget of their process; a surplus here does not make up for a lack elsewhere. Good: 0, and 1 only while a socket is replaced.")
            .alert("TrunklineConnectionLeak")
            .thresholds(&[(None, GREEN), (Some(1.0), ORANGE), (Some(9.0), RED)])
            .query(difference(&open, &expected), "too many"),
        Panel::stat("Too few", "Sockets that processes lack. Good: 0.")
            .alert("TrunklineRedisConnectionDown")
            .thresholds(&[(None, GREEN), (Some(1.0), RED)])
            .query(difference(&expected, &open), "too few"),
        Panel::stat("Ready", "Share of the expected connections that are ready, by role. Good: 100 %. At 0 % a role is gone for the whole fleet.")
            .alert("TrunklineRedisConnectionDownFleet")
            .unit("percentunit")
            .max(1.0)
            .thresholds(&[(None, RED), (Some(0.5), ORANGE), (Some(1.0), GREEN)])
            .query(format!("sum by (role) ({}) / (sum by (role) ({expected}) > 0)", state(ConnectionState::Ready)), "{{role}}"),
        Panel::stat("Processes", "Processes that Prometheus reaches, by job. Good: what was rolled out.")
            .alert("TrunklineAbsent")
            .thresholds(&[(None, RED), (Some(1.0), GREEN)])
            .query(format!("sum by (job) ({})", of("up", "")), "{{job}}"),
        Panel::stat("Alerts firing", "Trunkline alerts that fire now, on any job. Good: 0.")
            .thresholds(&[(None, GREEN), (Some(1.0), RED)])
            .query(r#"count(ALERTS{alertname=~"Trunkline.+", alertstate="firing"}) or vector(0)"#, "firing"),
    ]
}

fn states() -> Vec<Panel> {
    let age = format!("(time() - {})", of_role(REDIS_CONNECTION_STATE_TIMESTAMP.name(), ""));
    let not_ready = of_role(REDIS_CONNECTION_STATE.name(), r#"state!="ready""#);
    let excess = format!(
        "{} - on (job, instance, role) {}",
        of_role(REDIS_CONNECTIONS_OPEN.name(), ""),
        of_role(REDIS_CONNECTIONS_EXPECTED.name(), "")
    );
    vec![
        Panel::bands("State", "The state of every connection. Good: unbroken green; a short red and yellow mark is one reconnect.")
            .alert("TrunklineRedisConnectionDown")
            .words(ConnectionState::ALL.iter().map(|state| (state.label(), colour(*state))))
            .query(state_number(), "{{instance}} {{role}}"),
        Panel::table("Not ready now", "Connections that are not ready, their state, and for how long they have been in it. Good: empty.")
            .alert("TrunklineRedisConnectionDown")
            .unit("s")
            .thresholds(&[(None, YELLOW), (Some(30.0), ORANGE), (Some(240.0), RED)])
            .empty("Every connection is ready.")
            .query(format!("sum by (job, instance, role, state) (({not_ready} == 1) * on (job, instance, role) group_left () {age})"), ""),
        Panel::lines("Not ready for", "How long each connection has not been ready, in its present state. Good: 0 everywhere; a saw tooth is a connection that retries.")
            .alert("TrunklineRedisConnectionDown")
            .sized(12, 8)
            .unit("s")
            .query(format!("max by (instance, role) ({age} * on (job, instance, role) (1 - {}))", state(ConnectionState::Ready)), "{{instance}} {{role}}"),
        Panel::lines("Sockets beyond the budget", "Sockets above the expected number, by process. Good: 0; a plateau above 0 is a leak. At 16 the role stops dialling.")
            .alert("TrunklineConnectionLeak")
            .sized(12, 8)
            .thresholds(&[(None, GREEN), (Some(8.0), ORANGE), (Some(16.0), RED)])
            .query(format!("max by (instance, role) ({excess})"), "{{instance}} {{role}}"),
    ]
}

fn churn() -> Vec<Panel> {
    let by_role = |name: &str| format!("sum by (role) ({})", rate(&of_role(name, "")));
    let by_reason = |name: &str| format!("sum by (role, reason) ({})", rate(&of_role(name, "")));
    let connect = of_role(&format!("{}_bucket", REDIS_CONNECT_DURATION.name()), "");
    let outage = of_role(&format!("{}_bucket", REDIS_OUTAGE_DURATION.name()), "");
    let increase = |series: &str| format!("increase({series}[$__rate_interval])");
    vec![
        Panel::lines("Dials and sockets", "Dials started and sockets opened per second. Good: 0 outside rollouts. Dials without sockets are refused; many sockets are a storm.")
            .alert("TrunklineReconnectStorm")
            .unit("ops")
            .query(by_role(REDIS_CONNECT_ATTEMPTS.name()), "{{role}} dials")
            .query(by_role(REDIS_CONNECTIONS_OPENED.name()), "{{role}} sockets"),
        Panel::stacked("Failed dials", "Dials that did not become ready, by why. Good: 0. auth and noperm need a person; refused and timeout end with Redis' return.")
            .alert("TrunklineRedisConnectionDown")
            .unit("ops")
            .query(by_reason(REDIS_CONNECT_FAILURES.name()), "{{role}} {{reason}}"),
        Panel::stacked("Closed sockets", "Sockets closed, by why. Good: shutdown only. eof and reset come from Redis or a proxy; heartbeat, io_timeout and probe_timeout are silence on the line.")
            .alert("TrunklineRedisConnectionFlapping")
            .unit("ops")
            .query(by_reason(REDIS_CONNECTIONS_CLOSED.name()), "{{role}} {{reason}}"),
        Panel::stacked("Transitions", "Changes of state, by edge. Good: none; ready → backoff is a loss.")
            .alert("TrunklineRedisConnectionFlapping")
            .query(format!("sum by (from, to) ({})", increase(&of_role(REDIS_CONNECTION_TRANSITIONS.name(), ""))), "{{from}} → {{to}}"),
        Panel::heatmap("Outages", "How long connections were away, from ready lost to ready again. Good: few, and below a second.", "s")
            .alert("TrunklineRedisConnectionFlapping")
            .query(format!("sum by (le) ({})", increase(&outage)), "{{le}}"),
        Panel::lines("Time to connect", "From the start of a dial until ready. Good: milliseconds; the default limit is 1 s.")
            .unit("s")
            .thresholds(&[(None, GREEN), (Some(0.5), ORANGE), (Some(1.0), RED)])
            .query(quantile(0.5, &connect, "le, role"), "{{role}} p50")
            .query(quantile(0.99, &connect, "le, role"), "{{role}} p99"),
        Panel::lines("Refused by the budget", "Connections refused because the role has one already, or because too many sockets were abandoned. Good: 0, always.")
            .alert("TrunklineConnectionLeak")
            .thresholds(&[(None, GREEN), (Some(1.0), RED)])
            .query(format!("sum by (instance, role) ({})", increase(&of_role(REDIS_BUDGET_REFUSALS.name(), ""))), "{{instance}} {{role}}"),
        Panel::lines("Traffic with Redis", "Bytes read and written per second. Good: follows the load; a ready connection at 0 for minutes is silent, because heartbeats and probes never stop.")
            .unit("Bps")
            .sized(16, 8)
            .query(by_role(REDIS_READ_BYTES.name()), "{{role}} read")
            .query(by_role(REDIS_WRITTEN_BYTES.name()), "{{role}} written"),
    ]
}

fn publish() -> Vec<Panel> {
    let by_job = |name: &str| format!("sum by (job) ({})", rate(&of(name, "")));
    vec![
        Panel::lines("Publishes", "Notifications handed to Redis per second, and those nobody was subscribed to. Good: follows the load; nobody listening to a channel is no fault.")
            .unit("ops")
            .query(by_job(PUBLISH_ATTEMPTS.name()), "{{job}} attempts")
            .query(by_job(PUBLISH_NO_RECEIVERS.name()), "{{job}} without receivers"),
        Panel::stacked("Failed publishes", "Publishes Redis did not accept, by why. Good: 0. not_ready, overloaded and closed sent nothing; timeout and disconnected may have arrived.")
            .alert("TrunklinePublishBudgetBurn")
            .unit("ops")
            .query(format!("sum by (reason) ({})", rate(&of(PUBLISH_FAILURES.name(), ""))), "{{reason}}"),
        Panel::lines("Share of failed publishes", "The objective is 99.9 % in 30 days. Good: below 0.1 %; above 1.44 % an hour costs 2 % of the month's budget.")
            .alert("TrunklinePublishBudgetBurn")
            .unit("percentunit")
            .thresholds(&[(None, GREEN), (Some(0.001), ORANGE), (Some(0.0144), RED)])
            .query(format!("{} / ({} > 0)", by_job(PUBLISH_FAILURES.name()), by_job(PUBLISH_ATTEMPTS.name())), "{{job}}"),
        Panel::lines("Fleet probes unheard", "Share of the probes of the control channel that no server heard. Good: 0; near 1 no server hears anything.")
            .alert("TrunklinePublishesUnheard")
            .unit("percentunit")
            .max(1.0)
            .thresholds(&[(None, GREEN), (Some(0.5), RED)])
            .query(format!("{} / ({} > 0)", by_job(FLEET_PROBES_UNHEARD.name()), by_job(FLEET_PROBES.name())), "{{job}}"),
        Panel::heatmap("Receivers per publish", "Subscribed connections that Redis handed a notification to. Good: at most the number of servers.", "short")
            .query(format!("sum by (le) (increase({}[$__rate_interval]))", of(&format!("{}_bucket", PUBLISH_RECEIVERS.name()), "")), "{{le}}"),
        Panel::heatmap("Payload", "Size of published notifications. Good: well below the limit, 64 KiB by default.", "bytes")
            .query(format!("sum by (le) (increase({}[$__rate_interval]))", of(&format!("{}_bucket", PUBLISH_PAYLOAD.name()), "")), "{{le}}"),
    ]
}

fn subscriber() -> Vec<Panel> {
    let age = |name: &str| format!("max by (instance) (time() - {})", of(name, ""));
    let sum = |name: &str| format!("sum by (instance) ({})", of(name, ""));
    let bucket = |name: &str| of(&format!("{name}_bucket"), "");
    vec![
        Panel::lines("Received", "Messages received from Redis per second, by kind, and those handed on. Good: routed is the sum of the kinds; probe and control never stop.")
            .alert("TrunklineSubscriberSilent")
            .unit("ops")
            .query(format!("sum by (kind) ({})", rate(&of(SUBSCRIBER_RECEIVED.name(), ""))), "{{kind}}")
            .query(format!("sum({})", rate(&of(SUBSCRIBER_ROUTED.name(), ""))), "routed"),
        Panel::stacked("Dropped", "Received messages that reached nobody, by why. Good: 0, but for no_route while clients leave.")
            .alert("TrunklineMessagesDropped")
            .unit("ops")
            .query(format!("sum by (reason) ({})", rate(&of(SUBSCRIBER_DROPPED.name(), ""))), "{{reason}}"),
        Panel::lines("Subscriptions", "Channels and prefixes that clients want, that Redis confirmed, and that its ACL refuses. Good: desired and confirmed lie on each other, refused is 0.")
            .alert("TrunklineSubscriptionsMissing")
            .query(sum(SUBSCRIPTIONS_DESIRED.name()), "{{instance}} desired")
            .query(sum(SUBSCRIPTIONS_CONFIRMED.name()), "{{instance}} confirmed")
            .query(format!("sum by (instance) (increase({}[$__rate_interval]))", of(SUBSCRIPTIONS_REFUSED.name(), "")), "{{instance}} refused"),
        Panel::lines("Age of the last probe and message", "Seconds since a self-probe came back, and since anything was received. Good: below the probe interval, 15 s by default.")
            .alert("TrunklineSubscriberSilent")
            .unit("s")
            .thresholds(&[(None, GREEN), (Some(30.0), ORANGE), (Some(90.0), RED)])
            .query(age(PROBE_LAST_SUCCESS_TIMESTAMP.name()), "{{instance}} probe")
            .query(age(SUBSCRIBER_LAST_MESSAGE_TIMESTAMP.name()), "{{instance}} message"),
        Panel::lines("Probe round trip", "From PUBLISH to receipt on the subscriber of the same process, and probes that failed. Good: milliseconds, no failures.")
            .alert("TrunklineSubscriberSilent")
            .unit("s")
            .query(quantile(0.5, &bucket(PROBE_DURATION.name()), "le"), "p50")
            .query(quantile(0.99, &bucket(PROBE_DURATION.name()), "le"), "p99"),
        Panel::stacked("Failed probes", "Self-probes that failed, by why. Good: 0. publish says nothing about the receive path, timeout is silence on it.")
            .alert("TrunklineSubscriberSilent")
            .query(format!("sum by (instance, reason) (increase({}[$__rate_interval]))", of(PROBE_FAILURES.name(), "")), "{{instance}} {{reason}}"),
        Panel::heatmap("Lag", "From publish to receipt, by the clocks of two hosts. Good: milliseconds.", "s")
            .sized(16, 8)
            .query(format!("sum by (le) (increase({}[$__rate_interval]))", bucket(SUBSCRIBER_LAG.name())), "{{le}}"),
        Panel::lines("Clock skew", "Lag samples below zero: the publisher's clock is ahead, and Lag reads too low. Good: 0.")
            .unit("ops")
            .query(format!("sum by (instance) ({})", rate(&of(SUBSCRIBER_CLOCK_SKEW.name(), ""))), "{{instance}}"),
    ]
}
