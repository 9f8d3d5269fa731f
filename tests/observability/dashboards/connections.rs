//! The flagship dashboard: does every process hold exactly the connections it should?

use trunkline::model::{ConnectionState, Label, Role};
use trunkline::telemetry::catalogue::*;

use super::board::Dashboard;
use super::expression::*;
use super::panel::*;
use super::truth::truth;

/// A state's colour; its number on the time line is its place in [`ConnectionState::ALL`].
pub(crate) fn colour(state: ConnectionState) -> &'static str {
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

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "trunkline-connections",
        title: "Trunkline / Fleet connections",
        description: "Does every process hold exactly the Redis connections it should, and do they carry?",
        one_process: false,
        rows: vec![
            ("Verdict", verdict()),
            ("State", states()),
            ("Churn", churn()),
            ("Truth: process, kernel and Redis", truth()),
        ],
    }
}

fn verdict() -> Vec<Panel> {
    let open = of_role(REDIS_CONNECTIONS_OPEN.name(), "");
    let expected = of_role(REDIS_CONNECTIONS_EXPECTED.name(), "");
    let difference =
        |a: &str, b: &str| format!("sum(clamp_min({a} - on (job, instance, role) {b}, 0))");
    vec![
        Panel::number("Connections", "Sockets the fleet holds beside those its budget calls for. Good: the same number twice.")
            .alert("TrunklineConnectionLeak")
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
            .query(r#"count(ALERTS{alertname=~"Trunkline.+|RedisClients.+", alertstate="firing"}) or vector(0)"#, "firing"),
    ]
}

fn states() -> Vec<Panel> {
    let age = format!("(time() - {})", of_role(REDIS_CONNECTION_STATE_TIMESTAMP.name(), ""));
    let not_ready = of_role(REDIS_CONNECTION_STATE.name(), r#"state!="ready""#);
    let number = |role: Role| {
        place("job, instance, role", |one: ConnectionState| {
            of_role(REDIS_CONNECTION_STATE.name(), &format!("{}, {}", is(role), is(one)))
        })
    };
    let excess = format!(
        "{} - on (job, instance, role) {}",
        of_role(REDIS_CONNECTIONS_OPEN.name(), ""),
        of_role(REDIS_CONNECTIONS_EXPECTED.name(), "")
    );
    vec![
        Panel::bands("State", "The state of every connection, subscribers first. Good: unbroken green; a short red and yellow mark is one reconnect.")
            .alert("TrunklineRedisConnectionDown")
            .words(ConnectionState::ALL.iter().map(|state| (state.label(), colour(*state))))
            .sized(16, 10)
            .by_process()
            .query(number(Role::Subscriber), "{{instance}} {{role}}")
            .query(number(Role::Shared), "{{instance}} {{role}}"),
        Panel::table("Not ready now", "Connections that are not ready, their state, and for how long they have been in it. Good: empty.")
            .alert("TrunklineRedisConnectionDown")
            .unit("s")
            .thresholds(&[(None, YELLOW), (Some(30.0), ORANGE), (Some(240.0), RED)])
            .sized(8, 10)
            .by_process()
            .empty("Every connection is ready.")
            .query(format!("sum by (job, instance, role, state) (({not_ready} == 1) * on (job, instance, role) group_left () {age})"), ""),
        Panel::lines("Not ready for", "How long each connection has not been ready, in its present state. Good: 0 everywhere; a saw tooth is a connection that retries.")
            .alert("TrunklineRedisConnectionDown")
            .sized(12, 9)
            .unit("s")
            .by_process()
            .query(format!("max by (job, instance, role) ({age} * on (job, instance, role) (1 - {}))", state(ConnectionState::Ready)), "{{instance}} {{role}}"),
        Panel::lines("Sockets beyond the budget", "Sockets above the expected number, by process. Good: 0; a plateau above 0 is a leak. At 16 the role stops dialling.")
            .alert("TrunklineConnectionLeak")
            .sized(12, 9)
            .thresholds(&[(None, GREEN), (Some(8.0), ORANGE), (Some(16.0), RED)])
            .at_least(18.0)
            .by_process()
            .query(format!("max by (job, instance, role) ({excess})"), "{{instance}} {{role}}"),
    ]
}

fn churn() -> Vec<Panel> {
    let by = |labels: &str, name: &str| sum(labels, &rate(&of_role(name, "")));
    let connect = of_role(&format!("{}_bucket", REDIS_CONNECT_DURATION.name()), "");
    let outage = of_role(&format!("{}_bucket", REDIS_OUTAGE_DURATION.name()), "");
    vec![
        Panel::lines("Dials and sockets", "Dials started and sockets opened per second. Good: 0 outside rollouts. Dials without sockets are refused; many sockets are a storm.")
            .alert("TrunklineReconnectStorm")
            .unit("ops")
            .query(by("role", REDIS_CONNECT_ATTEMPTS.name()), "{{role}} dials")
            .query(by("role", REDIS_CONNECTIONS_OPENED.name()), "{{role}} sockets"),
        Panel::stacked("Failed dials", "Dials that did not become ready, by why. Good: 0. auth and noperm need a person; refused and timeout end with Redis' return.")
            .alert("TrunklineRedisConnectionDown")
            .unit("ops")
            .query(busy(&by("role, reason", REDIS_CONNECT_FAILURES.name())), "{{role}} {{reason}}")
            .empty("No dial has failed."),
        Panel::stacked("Closed sockets", "Sockets closed, by why. Good: shutdown only. eof and reset come from Redis or a proxy; heartbeat, io_timeout and probe_timeout are silence on the line.")
            .alert("TrunklineRedisConnectionFlapping")
            .unit("ops")
            .query(busy(&by("role, reason", REDIS_CONNECTIONS_CLOSED.name())), "{{role}} {{reason}}")
            .empty("No socket was closed."),
        Panel::stacked("Transitions", "Changes of state, by edge. Good: none; ready → backoff is a loss.")
            .alert("TrunklineRedisConnectionFlapping")
            .decimals(0)
            .colours(&[("ready → backoff", RED), ("handshaking → ready", GREEN)])
            .query(busy(&sum("from, to", &increase(&of_role(REDIS_CONNECTION_TRANSITIONS.name(), "")))), "{{from}} → {{to}}")
            .empty("No state has changed."),
        Panel::heatmap("Outages", "How long connections were away, from ready lost to ready again. Good: few, and below a second.", "s")
            .alert("TrunklineRedisConnectionFlapping")
            .query(sum("le", &increase(&outage)), "{{le}}"),
        Panel::lines("Time to connect", "From the start of a dial until ready. Good: milliseconds; the default limit is 1 s.")
            .unit("s")
            .thresholds(&[(None, GREEN), (Some(0.5), ORANGE), (Some(1.0), RED)])
            .query(quantile(0.5, &connect, "role"), "{{role}} p50")
            .query(quantile(0.99, &connect, "role"), "{{role}} p99"),
        Panel::lines("Refused by the budget", "Connections refused because the role has one already, or because too many sockets were abandoned. Good: 0, always.")
            .alert("TrunklineConnectionLeak")
            .thresholds(&[(None, GREEN), (Some(1.0), RED)])
            .at_least(2.0)
            .decimals(0)
            .query(sum("role", &increase(&of_role(REDIS_BUDGET_REFUSALS.name(), ""))), "{{role}}"),
        Panel::lines("Traffic with Redis", "Bytes read and written per second. Good: follows the load; a ready connection at 0 for minutes is silent, because heartbeats and probes never stop.")
            .unit("Bps")
            .sized(16, 9)
            .query(by("role", REDIS_READ_BYTES.name()), "{{role}} read")
            .query(by("role", REDIS_WRITTEN_BYTES.name()), "{{role}} written"),
    ]
}
