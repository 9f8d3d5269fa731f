//! What the events do to the page of metrics: each label read once, and the laws that hold on
//! a process at rest. The recorder is global, so all of it is one test.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use support::eventually::eventually;
use trunkline::config::LogFormat;
use trunkline::model::*;
use trunkline::telemetry::events::client::{Accepted, ClientJoined, Delivered, Enqueued};
use trunkline::telemetry::events::command::{CommandFinished, CommandRefused, InFlight};
use trunkline::telemetry::events::connection::*;
use trunkline::telemetry::events::http::{HttpConnectionOpened, RequestFinished};
use trunkline::telemetry::events::job::{JobDied, JobTaken};
use trunkline::telemetry::events::publish::{FleetProbed, NotificationPublished, PublishFailed};
use trunkline::telemetry::events::queue::QueueMeasured;
use trunkline::telemetry::events::subscriber::*;
use trunkline::telemetry::events::wakeup::WakeupModeChanged;
use trunkline::telemetry::{PageFormat, Telemetry, TelemetryOptions, task};

/// A page, as a scraper reads it.
struct Page(HashMap<String, f64>);

impl Page {
    async fn of(telemetry: &Telemetry) -> Self {
        let text = telemetry.render(PageFormat::Text).await.text;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            lines
                .map(|line| line.rsplit_once(' ').unwrap())
                .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
                .collect(),
        )
    }

    fn at(&self, series: &str) -> f64 {
        let series = format!("trunkline_{series}");
        *self.0.get(&series).unwrap_or_else(|| panic!("{series} is not on the page"))
    }

    /// The sum over all series of a metric whose labels contain `labels`.
    fn sum(&self, metric: &str, labels: &str) -> f64 {
        let series = format!("trunkline_{metric}");
        let of_metric = |name: &str| name.split('{').next() == Some(series.as_str());
        self.0
            .iter()
            .filter(|(name, _)| of_metric(name) && name.contains(labels))
            .map(|it| it.1)
            .sum()
    }
}

#[tokio::test]
async fn the_laws_of_the_counters_hold_on_a_process_at_rest() {
    let telemetry = Telemetry::start(&TelemetryOptions {
        component: Component::Server,
        instance: "test".into(),
        queue: "jobs".into(),
        log_format: LogFormat::Text,
        log_filter: Some("off".into()),
        tracing: None,
        exemplars: false,
        exporting: tokio::runtime::Handle::current(),
    })
    .unwrap();

    a_connection_lives();
    commands_and_publishes();
    messages_arrive();
    let (staying, waiting) = clients_come_and_go();
    work_is_done();
    let panicked = task::spawn("test", async { panic!("on purpose") }).await;
    assert!(panicked.unwrap_err().is_panic());

    let page = Page::of(&telemetry).await;
    let role = r#"role="shared""#;
    assert_eq!(page.at(&format!("redis_connections_open{{{role}}}")), 1.0);
    let opened = page.sum("redis_connections_opened_total", role);
    assert_eq!(opened - page.sum("redis_connections_closed_total", role), 1.0);
    assert_eq!(page.at(r#"redis_connections_closed_total{role="shared",reason="eof"}"#), 1.0);
    assert_eq!(page.sum("redis_connection_state", role), 1.0);
    assert_eq!(page.at(r#"redis_connection_state{role="shared",state="connecting"}"#), 1.0);
    let edge = r#"{role="shared",from="idle",to="connecting"}"#;
    assert_eq!(page.at(&format!("redis_connection_transitions_total{edge}")), 1.0);
    assert_eq!(page.at(r#"redis_connections_expected{role="subscriber"}"#), 1.0);
    let since = page.at(&format!("redis_connection_state_timestamp_seconds{{{role}}}"));
    assert!(since > 1.7e9, "{since}");

    assert_eq!(page.at("redis_commands_in_flight"), 0.0);
    assert_eq!(page.sum("redis_command_duration_seconds_count", ""), 2.0, "refusals take no time");
    assert_eq!(page.sum("redis_command_errors_total", ""), 2.0);
    let receivers = page.at("publish_receivers_count");
    let failures = page.sum("publish_failures_total", "");
    assert_eq!((receivers, failures), (2.0, 2.0));
    assert_eq!(page.at("publish_attempts_total"), receivers + failures);
    assert_eq!(page.at("publish_no_receivers_total"), 1.0);
    assert_eq!(page.at("fleet_probe_unheard_total"), 1.0);

    let received = page.sum("subscriber_messages_received_total", "");
    let dropped = page.sum("subscriber_messages_dropped_total", "");
    assert_eq!(received, page.at("subscriber_messages_routed_total") + dropped);
    assert_eq!(page.at("subscriber_clock_skew_total"), 1.0);
    assert_eq!(page.at("subscriber_lag_seconds_count"), 2.0);
    assert_eq!(page.at(r#"subscriber_lag_seconds_bucket{le="0.0005"}"#), 1.0, "skew is no lag");

    let ws = r#"transport="ws""#;
    let enqueued = page.sum("client_messages_enqueued_total", ws);
    let delivered = page.sum("deliveries_total", ws);
    let lost = page.sum("client_messages_dropped_total", ws);
    let waits = page.sum("client_messages_waiting", ws);
    assert_eq!((enqueued, delivered, lost, waits), (4.0, 1.0, 2.0, 1.0));
    assert_eq!(page.at(r#"client_messages_dropped_total{transport="ws",reason="slow"}"#), 2.0);
    assert_eq!(page.at(r#"clients_closed_total{transport="ws",reason="slow"}"#), 1.0);
    assert_eq!(page.at(r#"clients_closed_total{transport="sse",reason="client"}"#), 1.0);
    let (opened, closed) =
        (page.sum("clients_opened_total", ""), page.sum("clients_closed_total", ""));
    assert_eq!((opened - closed, page.sum("clients_connected", "")), (1.0, 1.0));

    assert_eq!(page.at(r#"queue_jobs{queue="jobs",state="delayed"}"#), 3.0);
    assert_eq!(page.at(r#"queue_jobs{queue="jobs",state="blocked"}"#), 5.0);
    assert_eq!(page.at(r#"queue_full{queue="jobs"}"#), 1.0);
    assert_eq!(page.at(r#"jobs_in_flight{queue="jobs"}"#), 0.0);
    let dead = r#"{queue="jobs",job_type="event",reason="abandoned"}"#;
    assert_eq!(page.at(&format!("jobs_dead_total{dead}")), 1.0);
    assert_eq!(page.sum("wakeup_mode", ""), 1.0);
    let get = r#"{method="GET",route="/v1/rule-chains/{id}",status_class="4xx"}"#;
    assert_eq!(page.at(&format!("http_request_duration_seconds_count{get}")), 1.0);
    assert_eq!(page.at("http_connections"), 0.0);
    assert_eq!(page.at("task_panics_total"), 1.0);

    drop((staying, waiting));
    // A page is handed out for a second.
    eventually("nobody is connected and nothing waits", async || {
        let page = Page::of(&telemetry).await;
        let left = ["clients_connected", "client_messages_waiting"].map(|it| page.sum(it, ""));
        if left == [0.0; 2] { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

fn a_connection_lives() {
    use ConnectionState::*;
    let (role, generation) = (Role::Shared, 1);
    InitialState { role }.emit();
    InitialState { role: Role::Subscriber }.emit();
    ExpectedConnections { role: Role::Subscriber, count: 1 }.emit();
    let edges = [
        (Idle, Connecting),
        (Connecting, Handshaking),
        (Handshaking, Ready),
        (Ready, Backoff),
        (Backoff, Connecting),
    ];
    for (from, to) in edges {
        ConnectionChanged { role, from, to, generation, reason: None }.emit();
    }
    SocketOpened { role }.emit();
    SocketOpened { role }.emit();
    SocketClosed { role, reason: SocketClose::Eof }.emit();
}

fn commands_and_publishes() {
    let elapsed = Duration::from_millis(1);
    let in_flight = InFlight::enter();
    CommandFinished { command: Command::Publish, elapsed, failure: None }.emit();
    let failure = CommandFailure::Timeout;
    CommandFinished { command: Command::Publish, elapsed, failure: Some(failure) }.emit();
    CommandRefused { command: Command::Publish, failure: CommandFailure::NotReady }.emit();
    drop(in_flight);
    NotificationPublished { receivers: 0, bytes: 100 }.emit();
    NotificationPublished { receivers: 2, bytes: 100 }.emit();
    PublishFailed { reason: PublishFailure::Timeout }.emit();
    PublishFailed { reason: PublishFailure::NotReady }.emit();
    FleetProbed { heard: true, again: false }.emit();
    FleetProbed { heard: false, again: false }.emit();
}

fn messages_arrive() {
    for kind in [MessageKind::Event, MessageKind::Event, MessageKind::Probe] {
        MessageReceived { kind }.emit();
    }
    MessageRouted { count: 2 }.emit();
    MessageDropped { reason: SubscriberDrop::Decode }.emit();
    LagMeasured { published_ms: 1_000, received_ms: 1_200 }.emit();
    LagMeasured { published_ms: 1_200, received_ms: 1_000 }.emit();
}

/// Leaves one client connected, with one notification waiting for it.
fn clients_come_and_go() -> (ClientJoined, impl Sized) {
    let slow = ClientJoined::emit(Transport::Ws);
    let mut queue = slow.account();
    (0..3).for_each(|_| queue.enqueue(&mut Enqueued::default()));
    queue.deliver(&mut Delivered::default(), Some(Accepted { at_ms: 0, trace: None }));
    slow.closing(ClientClose::Slow);
    drop(slow);
    drop(queue);
    drop(ClientJoined::emit(Transport::Sse));
    let staying = ClientJoined::emit(Transport::Ws);
    let mut waiting = staying.account();
    waiting.enqueue(&mut Enqueued::default());
    (staying, waiting)
}

fn work_is_done() {
    let oldest = Duration::from_secs(4);
    QueueMeasured { waiting: 1, active: 2, delayed: 3, blocked: 5, dead: 4, oldest, full: true }
        .emit();
    drop(JobTaken { waited: Duration::from_millis(5) }.emit());
    let (job_type, reason) = (JobType::Event, DeadReason::Abandoned);
    JobDied { job_type, elapsed: None, job: "1-0", reason, trace: None }.emit();
    WakeupModeChanged { mode: WakeupMode::Tracking }.emit();
    WakeupModeChanged { mode: WakeupMode::Polling }.emit();
    drop(HttpConnectionOpened::emit());
    let elapsed = Duration::from_millis(1);
    RequestFinished { endpoint: Endpoint::GetChain, status: 404, elapsed, trace: None }.emit();
}
