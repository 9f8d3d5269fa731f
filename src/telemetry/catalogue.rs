//! THE list of metrics. Everything else is rendered from it: registration at start,
//! `docs/metrics.md`, the dashboards, and the tests that hold alerts to it.
//!
//! The whole name is written out, so a search finds it. Every boundary of a histogram that
//! is an integer would read `1` in one Prometheus major version and `1.0` in the next, so
//! the boundaries an alert or a panel names are fractions.

use metrics::{Counter, Gauge, Histogram, KeyName, SharedString};

use super::family::{Family, LabelSet};
use crate::model::*;

/// Counter, gauge or histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Distribution over [`Definition::buckets`].
    Histogram,
}

/// Which programs export a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Server and worker.
    Both,
    /// Servers only.
    Server,
    /// Workers only.
    Worker,
}

impl Scope {
    /// Whether a process of this component exports the metric.
    pub fn includes(self, component: Component) -> bool {
        match self {
            Scope::Both => true,
            Scope::Server => component == Component::Server,
            Scope::Worker => component == Component::Worker,
        }
    }
}

/// One entry of the catalogue.
pub struct Definition {
    /// The whole name, unit and all.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// One sentence: what it counts, in which unit.
    pub help: &'static str,
    /// Who exports it.
    pub scope: Scope,
    /// Upper bounds, ascending; empty unless a histogram.
    pub buckets: &'static [f64],
    /// Present at zero from the first scrape; otherwise it appears with its first value.
    pub from_start: bool,
    /// Label keys.
    pub keys: fn() -> Vec<&'static str>,
    /// Every combination of label values that a component can export.
    pub combinations: fn(Component) -> Vec<Vec<&'static str>>,
    seed: fn(Component),
}

impl Definition {
    /// Whether it tells of connections to Redis and what goes over them: that part of the
    /// catalogue is what a service of one's own exports.
    pub fn is_of_connection(&self) -> bool {
        let parts = ["redis", "publish", "subscriber", "subscriptions", "probe", "fleet", "task"];
        let part = self.name.split('_').nth(1);
        part.is_some_and(|part| parts.contains(&part))
    }

    /// Registers the series this component exports from the first scrape on.
    fn seed(&self, component: Component) {
        if self.from_start && self.scope.includes(component) {
            (self.seed)(component);
        }
    }
}

/// Describes metrics to the installed recorder, and gives those which `component` exports from
/// the first scrape on their zeros.
pub fn describe(component: Component, wanted: impl Fn(&Definition) -> bool) {
    let wanted = || ALL.iter().filter(|metric| wanted(metric));
    metrics::with_recorder(|recorder| {
        for metric in wanted().filter(|metric| metric.scope.includes(component)) {
            let (name, help) =
                (KeyName::from_const_str(metric.name), SharedString::from(metric.help));
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram => recorder.describe_histogram(name, None, help),
            }
        }
    });
    for metric in wanted() {
        metric.seed(component);
    }
}

fn combinations<L: LabelSet>(component: Component) -> Vec<Vec<&'static str>> {
    L::all().into_iter().filter(|set| set.legal(component)).map(LabelSet::values).collect()
}

macro_rules! catalogue {
    (@kind counter) => { Kind::Counter };
    (@kind gauge) => { Kind::Gauge };
    (@kind late) => { Kind::Gauge };
    (@kind histogram) => { Kind::Histogram };
    (@handle counter) => { Counter };
    (@handle gauge) => { Gauge };
    (@handle late) => { Gauge };
    (@handle histogram) => { Histogram };
    (@from_start late) => { false };
    (@from_start $kind:ident) => { true };
    (@buckets) => { &[] };
    (@buckets $buckets:expr) => { $buckets };
    ($($(#[doc = $help:literal])+ $scope:ident $kind:ident $constant:ident = $name:literal $labels:ty $(, $buckets:expr)?;)+) => {
        $($(#[doc = $help])+ pub static $constant: Family<catalogue!(@handle $kind), $labels> = Family::new($name);)+
        /// Every metric, in the order of the documentation.
        pub static ALL: &[Definition] = &[$(Definition {
            name: $name,
            kind: catalogue!(@kind $kind),
            help: concat!($($help),+).trim_ascii(),
            scope: Scope::$scope,
            buckets: catalogue!(@buckets $($buckets)?),
            from_start: catalogue!(@from_start $kind),
            keys: <$labels as LabelSet>::keys,
            combinations: combinations::<$labels>,
            seed: |component| $constant.seed(component),
        },)+];
    };
}

/// One round trip on a healthy network is well below a millisecond; the command timeout is 0.5 s.
const COMMAND: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.5];
/// The connect timeout is 1 s by default.
const CONNECT: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.95, 2.5];
/// From a blink to an hour.
const OUTAGE: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 0.95, 2.5, 5.5, 15.5, 30.5, 60.5, 300.5, 900.5, 3600.5];
/// From publish to socket; the objective's boundary is 0.5 s.
const DELIVERY: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.95, 2.5, 10.5];
/// From microseconds of a rule to a slow job.
const JOB: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.95, 5.5, 30.5];
const HTTP: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 0.95, 5.5];
const RECEIVERS: &[f64] = &[0.5, 1.5, 2.5, 5.5, 10.5, 25.5, 50.5, 100.5];
const BYTES: &[f64] = &[128.5, 256.5, 512.5, 1_024.5, 4_096.5, 16_384.5, 65_536.5];

catalogue! {
    // -- the connection --
    /// Sockets to Redis this process holds open, counted by the guard that owns the socket.
    Both gauge REDIS_CONNECTIONS_OPEN = "trunkline_redis_connections_open" Role;
    /// Sockets to Redis the connection budget calls for.
    Both gauge REDIS_CONNECTIONS_EXPECTED = "trunkline_redis_connections_expected" Role;
    /// 1 for the state the connection is in, 0 for the others.
    Both gauge REDIS_CONNECTION_STATE = "trunkline_redis_connection_state" (Role, ConnectionState);
    /// When the current state was entered, in Unix seconds.
    Both late REDIS_CONNECTION_STATE_TIMESTAMP = "trunkline_redis_connection_state_timestamp_seconds" Role;
    /// Changes of state, by edge of the state diagram.
    Both counter REDIS_CONNECTION_TRANSITIONS = "trunkline_redis_connection_transitions_total" (Role, Edge);
    /// Dials started.
    Both counter REDIS_CONNECT_ATTEMPTS = "trunkline_redis_connect_attempts_total" Role;
    /// Dials that did not become ready, by why.
    Both counter REDIS_CONNECT_FAILURES = "trunkline_redis_connect_failures_total" (Role, ConnectFailure);
    /// Sockets opened.
    Both counter REDIS_CONNECTIONS_OPENED = "trunkline_redis_connections_opened_total" Role;
    /// Sockets closed, by why.
    Both counter REDIS_CONNECTIONS_CLOSED = "trunkline_redis_connections_closed_total" (Role, SocketClose);
    /// Seconds from the start of a dial until ready.
    Both histogram REDIS_CONNECT_DURATION = "trunkline_redis_connect_duration_seconds" Role, CONNECT;
    /// Seconds from leaving ready until ready again.
    Both histogram REDIS_OUTAGE_DURATION = "trunkline_redis_outage_duration_seconds" Role, OUTAGE;
    /// Connections refused because the budget is spent or too many sockets were abandoned.
    Both counter REDIS_BUDGET_REFUSALS = "trunkline_redis_budget_refusals_total" Role;
    /// Bytes read from Redis.
    Both counter REDIS_READ_BYTES = "trunkline_redis_read_bytes_total" Role;
    /// Bytes written to Redis.
    Both counter REDIS_WRITTEN_BYTES = "trunkline_redis_written_bytes_total" Role;

    // -- the audit of connections --
    /// TCP sockets of this process to the addresses of Redis that it dialled, counted by the kernel. Absent over a unix socket and where there is no /proc.
    Both late REDIS_SOCKETS_OPEN = "trunkline_redis_sockets_open" ();
    /// Clients of Redis that are named for this process, counted by Redis. NaN while Redis cannot be asked or another process of the fleet counts for all.
    Both late REDIS_SERVER_CONNECTIONS = "trunkline_redis_server_connections" Role;
    /// When Redis last listed its clients to this process, in Unix seconds. NaN while another process of the fleet counts for all.
    Both late REDIS_AUDIT_LAST_SUCCESS_TIMESTAMP = "trunkline_redis_audit_last_success_timestamp_seconds" ();
    /// Clients that Redis has, whoever they are.
    Both late REDIS_SERVER_CLIENTS = "trunkline_redis_server_clients" ();
    /// Clients that Redis would take.
    Both late REDIS_SERVER_MAXCLIENTS = "trunkline_redis_server_maxclients" ();
    /// Clients of Redis that are named for any process of the fleet, by whether that gives signs of life. One process counts at a time; NaN on those that did before.
    Both late REDIS_FLEET_CONNECTIONS = "trunkline_redis_fleet_connections" FleetConnection;
    /// When this process last counted the fleet's connections, in Unix seconds. NaN when another does now.
    Both late REDIS_FLEET_AUDIT_TIMESTAMP = "trunkline_redis_fleet_audit_timestamp_seconds" ();

    // -- commands --
    /// Seconds a command took, answered or not; refused commands are not in it.
    Both histogram REDIS_COMMAND_DURATION = "trunkline_redis_command_duration_seconds" Command, COMMAND;
    /// Commands that failed, by why.
    Both counter REDIS_COMMAND_ERRORS = "trunkline_redis_command_errors_total" (Command, CommandFailure);
    /// Commands sent and not yet answered.
    Both gauge REDIS_COMMANDS_IN_FLIGHT = "trunkline_redis_commands_in_flight" ();

    // -- publish --
    /// Notifications handed to Redis, refusals included.
    Both counter PUBLISH_ATTEMPTS = "trunkline_publish_attempts_total" ();
    /// Notifications Redis did not accept, by why.
    Both counter PUBLISH_FAILURES = "trunkline_publish_failures_total" PublishFailure;
    /// Notifications Redis accepted and nobody was subscribed to.
    Both counter PUBLISH_NO_RECEIVERS = "trunkline_publish_no_receivers_total" ();
    /// Subscribed connections that Redis handed a notification to.
    Both histogram PUBLISH_RECEIVERS = "trunkline_publish_receivers" (), RECEIVERS;
    /// Size of published notifications in bytes, envelope included.
    Both histogram PUBLISH_PAYLOAD = "trunkline_publish_payload_bytes" (), BYTES;

    // -- subscriber --
    /// Messages received from Redis.
    Server counter SUBSCRIBER_RECEIVED = "trunkline_subscriber_messages_received_total" MessageKind;
    /// Received messages handed to those they are for.
    Server counter SUBSCRIBER_ROUTED = "trunkline_subscriber_messages_routed_total" ();
    /// Received messages that reached nobody, by why.
    Server counter SUBSCRIBER_DROPPED = "trunkline_subscriber_messages_dropped_total" SubscriberDrop;
    /// Seconds from publish to receipt, by the clocks of two hosts.
    Server histogram SUBSCRIBER_LAG = "trunkline_subscriber_lag_seconds" (), DELIVERY;
    /// Lag samples below zero: the publisher's clock is ahead. Counted as no lag.
    Server counter SUBSCRIBER_CLOCK_SKEW = "trunkline_subscriber_clock_skew_total" ();
    /// Channels and prefixes clients want.
    Server gauge SUBSCRIPTIONS_DESIRED = "trunkline_subscriptions_desired" ();
    /// Desired channels and prefixes Redis has confirmed.
    Server gauge SUBSCRIPTIONS_CONFIRMED = "trunkline_subscriptions_confirmed" ();
    /// Subscriptions the ACL of Redis refused.
    Server counter SUBSCRIPTIONS_REFUSED = "trunkline_subscriptions_refused_total" ();
    /// When the last message was received, in Unix seconds.
    Server late SUBSCRIBER_LAST_MESSAGE_TIMESTAMP = "trunkline_subscriber_last_message_timestamp_seconds" ();
    /// When the last self-probe came back, in Unix seconds.
    Server late PROBE_LAST_SUCCESS_TIMESTAMP = "trunkline_probe_last_success_timestamp_seconds" ();
    /// Seconds a self-probe took from PUBLISH to receipt.
    Server histogram PROBE_DURATION = "trunkline_probe_duration_seconds" (), COMMAND;
    /// Self-probes that failed, by why.
    Server counter PROBE_FAILURES = "trunkline_probe_failures_total" ProbeFailure;
    /// Probes of the fleet's control channel that Redis accepted.
    Both counter FLEET_PROBES = "trunkline_fleet_probes_total" ();
    /// Probes of the fleet's control channel that no server heard.
    Both counter FLEET_PROBES_UNHEARD = "trunkline_fleet_probe_unheard_total" ();

    // -- clients --
    /// Clients listening now.
    Server gauge CLIENTS_CONNECTED = "trunkline_clients_connected" Transport;
    /// Clients that ever listened.
    Server counter CLIENTS_OPENED = "trunkline_clients_opened_total" Transport;
    /// Clients that left or were closed, by why.
    Server counter CLIENTS_CLOSED = "trunkline_clients_closed_total" (Transport, ClientClose);
    /// Notifications put into a client's queue.
    Server counter CLIENT_ENQUEUED = "trunkline_client_messages_enqueued_total" Transport;
    /// Notifications waiting in clients' queues.
    Server gauge CLIENT_WAITING = "trunkline_client_messages_waiting" Transport;
    /// Queued notifications that never reached the socket, by why: the client was closed, or its channel's policy gave them up.
    Server counter CLIENT_DROPPED = "trunkline_client_messages_dropped_total" (Transport, ClientDrop);
    /// Notifications written to a client's socket.
    Server counter DELIVERIES = "trunkline_deliveries_total" Transport;
    /// Seconds from acceptance by Trunkline to the client's socket.
    Server histogram DELIVERY_LATENCY = "trunkline_delivery_latency_seconds" Transport, DELIVERY;

    // -- history --
    /// Clients that came back with a cursor, by how that ended.
    Server counter RESUMES = "trunkline_resumes_total" ResumeOutcome;
    /// Times a client was told that notifications are lost, by why.
    Server counter LOSSES_TOLD = "trunkline_losses_told_total" LostReason;
    /// Searches of this server for what it had not heard, by how they ended.
    Server counter GAPS = "trunkline_history_gaps_total" GapOutcome;
    /// Notifications read from the history, each counted once for each client that came back.
    Server counter REPLAYED = "trunkline_notifications_replayed_total" Replay;

    // -- events and the queue --
    /// Events whose job is in Redis.
    Server counter EVENTS_ACCEPTED = "trunkline_events_accepted_total" ();
    /// Events that made no second job because their source and id were seen before.
    Server counter EVENTS_DUPLICATE = "trunkline_events_duplicate_total" ();
    /// Jobs in the queue, by where they are.
    Both gauge QUEUE_JOBS = "trunkline_queue_jobs" (Queue, JobState);
    /// Seconds the oldest unfinished job has waited; 0 when there is none.
    Both gauge QUEUE_OLDEST_JOB_AGE = "trunkline_queue_oldest_job_age_seconds" Queue;
    /// 1 while the queue is over its critical threshold and refuses events.
    Both gauge QUEUE_FULL = "trunkline_queue_full" Queue;
    /// Seconds from enqueueing, or from when it was due or it was its turn, to being taken by a worker.
    Worker histogram JOB_WAIT = "trunkline_job_wait_seconds" Queue, JOB;
    /// Seconds one attempt at a job took.
    Worker histogram JOB_DURATION = "trunkline_job_duration_seconds" (Queue, JobType, JobOutcome), JOB;
    /// Jobs in this worker's hands.
    Worker gauge JOBS_IN_FLIGHT = "trunkline_jobs_in_flight" Queue;
    /// Attempts that ended in another attempt later.
    Worker counter JOB_RETRIES = "trunkline_job_retries_total" (Queue, JobType);
    /// Jobs that ended in the dead letters, by why.
    Worker counter JOBS_DEAD = "trunkline_jobs_dead_total" (Queue, JobType, DeadReason);
    /// Dead letters that were dropped by their retention, by why. Their jobs are lost.
    Worker counter DEAD_LETTERS_DROPPED = "trunkline_dead_letters_dropped_total" (Queue, DropReason);
    /// Jobs taken over from a worker that stopped renewing its lease.
    Worker counter JOBS_RECLAIMED = "trunkline_jobs_reclaimed_total" Queue;
    /// Partitions that went on because the job they waited for was gone, not settled in order.
    Worker counter PARTITIONS_MENDED = "trunkline_partitions_mended_total" Queue;
    /// Jobs whose lease was lost before they could be settled.
    Worker counter JOB_LEASES_LOST = "trunkline_job_leases_lost_total" Queue;
    /// Jobs that this worker made because the tick of a schedule was due.
    Worker counter SCHEDULES_FIRED = "trunkline_schedules_fired_total" Queue;
    /// Ticks of schedules that were missed because nobody was there in time, by what became of
    /// them. At most 2,000 are counted for one schedule at one time.
    Worker counter SCHEDULES_MISSED = "trunkline_schedules_missed_total" (Queue, MissedPolicy);
    /// Schedules that this worker could not read, and that have no tick any more.
    Worker counter SCHEDULES_UNREADABLE = "trunkline_schedules_unreadable_total" Queue;
    /// 1 for the way this worker learns of new jobs, 0 for the others.
    Worker gauge WAKEUP_MODE = "trunkline_wakeup_mode" WakeupMode;
    /// Rule chains loaded and enabled.
    Worker gauge RULES_LOADED = "trunkline_rules_loaded" ();
    /// Evaluations of a rule chain, by how they ended.
    Worker counter RULE_EVALUATIONS = "trunkline_rule_evaluations_total" RuleOutcome;
    /// Seconds one evaluation of a rule chain took.
    Worker histogram RULE_EVALUATION_DURATION = "trunkline_rule_evaluation_duration_seconds" (), JOB;

    // -- the process --
    /// Seconds until an HTTP answer was ready; for a stream, until its headers were.
    Server histogram HTTP_REQUEST_DURATION = "trunkline_http_request_duration_seconds" (Endpoint, StatusClass), HTTP;
    /// HTTP connections open on the public listener.
    Server gauge HTTP_CONNECTIONS = "trunkline_http_connections" ();
    /// HTTP connections refused because the limit was reached.
    Server counter HTTP_CONNECTIONS_REFUSED = "trunkline_http_connections_refused_total" ();
    /// 1 where this part of readiness holds, without grace.
    Both gauge READY = "trunkline_ready" Check;
    /// Tasks that ended by a panic: a bug.
    Both counter TASK_PANICS = "trunkline_task_panics_total" ();
    /// Spans that did not reach the collector of traces, by why.
    Both counter SPANS_DROPPED = "trunkline_spans_dropped_total" SpanDrop;
    /// Log lines left out because their reader did not keep up.
    Both counter LOG_LINES_DROPPED = "trunkline_log_lines_dropped_total" ();
    /// 1; its labels say what is running.
    Both gauge BUILD_INFO = "trunkline_build_info" Build;
    /// Seconds the last rendering of this page took.
    Both gauge METRICS_RENDER_DURATION = "trunkline_metrics_render_duration_seconds" ();
    /// Worker threads of the runtime.
    Both gauge RUNTIME_WORKERS = "trunkline_runtime_workers" ();
    /// Tasks alive on the runtime.
    Both gauge RUNTIME_TASKS = "trunkline_runtime_alive_tasks" ();
    /// Tasks waiting in the runtime's global queue.
    Both gauge RUNTIME_QUEUE = "trunkline_runtime_global_queue_depth" ();
    /// Whole seconds the runtime's worker threads were busy.
    Both counter RUNTIME_BUSY = "trunkline_runtime_busy_seconds_total" ();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = HashSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.starts_with("trunkline_"), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}: help is a sentence");
            assert_eq!(metric.kind == Kind::Histogram, !metric.buckets.is_empty(), "{name}");
            assert!(metric.buckets.is_sorted(), "{name}");
            assert!(
                metric.buckets.iter().all(|le| le.fract() != 0.0),
                "{name}: a boundary is an integer"
            );
        }
    }

    #[test]
    fn a_server_stays_within_its_budget_of_series() {
        for component in [Component::Server, Component::Worker] {
            let series: usize = ALL
                .iter()
                .filter(|metric| metric.scope.includes(component))
                .map(|metric| {
                    let each =
                        if metric.kind == Kind::Histogram { metric.buckets.len() + 3 } else { 1 };
                    each * (metric.combinations)(component).len()
                })
                .sum();
            assert!(series <= 1_400, "{component}: {series} series; process_* comes on top");
        }
    }
}
