//! Process drill-down: how is this one process?

use trunkline::model::{Check, ConnectionState, Label};
use trunkline::telemetry::catalogue::*;

use super::board::Dashboard;
use super::connections::colour;
use super::expression::*;
use super::panel::*;

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "trunkline-process",
        title: "Trunkline / Process",
        description: "How is this one process: what runs, what is it ready for, what does it spend, what does it say to Redis?",
        one_process: true,
        rows: vec![
            ("What runs", what_runs()),
            ("Readiness", readiness()),
            ("Redis commands", commands()),
            ("HTTP", http()),
            ("Resources", resources()),
            ("What it says of itself", telemetry()),
        ],
    }
}

fn what_runs() -> Vec<Panel> {
    vec![
        Panel::number("Version", "Version and revision. Good: what was rolled out.")
            .sized(6, 5)
            .names_only()
            .query(format!("max by (version, revision) ({})", of(BUILD_INFO.name(), "")), "{{version}} {{revision}}"),
        Panel::stat("Up for", "Since the process started. Good: since the last rollout; minutes mean that something restarts it.")
            .alert("TrunklineCrashLooping")
            .unit("s")
            .thresholds(&[(None, ORANGE), (Some(600.0), BLUE)])
            .sized(4, 5)
            .query(format!("time() - max({})", of("process_start_time_seconds", "")), "up"),
        Panel::number("Connections", "Sockets to Redis it holds, beside those it should. Good: the same number twice: 1 for a worker, 2 for a server.")
            .alert("TrunklineConnectionLeak")
            .sized(5, 5)
            .query(sum("", &of_role(REDIS_CONNECTIONS_OPEN.name(), "")), "open")
            .query(sum("", &of_role(REDIS_CONNECTIONS_EXPECTED.name(), "")), "expected"),
        Panel::stat("Readiness checks that fail", "Parts of readiness that do not hold at this moment, without grace. Good: 0.")
            .alert("TrunklineRedisConnectionDown")
            .thresholds(&[(None, GREEN), (Some(1.0), RED)])
            .sized(5, 5)
            .query(format!("sum(1 - {})", of(READY.name(), "")), "fail"),
        Panel::stat("Panics", "Tasks that ended by a panic since the process started, at most. Good: 0; anything else is a bug to report.")
            .thresholds(&[(None, GREEN), (Some(0.5), RED)])
            .sized(4, 5)
            .query(sum("", &format!("increase({}[1d])", of(TASK_PANICS.name(), ""))), "in a day"),
    ]
}

fn readiness() -> Vec<Panel> {
    let check = |check: Check| format!("max by (check) ({})", of(READY.name(), &is(check)));
    let checks = Panel::bands("Ready for", "Each part of readiness. Good: green; a process with a red part for 10 s takes no new work.")
        .alert("TrunklineRedisConnectionDown")
        .words([("no", RED), ("yes", GREEN)])
        .sized(12, 7);
    vec![
        Check::ALL.iter().fold(checks, |panel, one| panel.query(check(*one), "{{check}}")),
        Panel::bands(
            "State of its connections",
            "The state of its connections. Good: unbroken green.",
        )
        .alert("TrunklineRedisConnectionDown")
        .words(ConnectionState::ALL.iter().map(|state| (state.label(), colour(*state))))
        .sized(12, 7)
        .query(
            place("role", |one: ConnectionState| of_role(REDIS_CONNECTION_STATE.name(), &is(one))),
            "{{role}}",
        ),
    ]
}

fn commands() -> Vec<Panel> {
    let name = REDIS_COMMAND_DURATION.name();
    vec![
        Panel::stacked("Commands", "Commands sent to Redis per second, by name. Good: follows the load.")
            .unit("ops")
            .query(busy(&sum("command", &rate(&count(name, "")))), "{{command}}"),
        Panel::lines("Time of commands, p99", "All but one in a hundred answers came within this time. Good: milliseconds; the default limit is 0.5 s.")
            .unit("s")
            .thresholds(&[(None, GREEN), (Some(0.1), ORANGE), (Some(0.5), RED)])
            .query(quantile(0.99, &buckets(name), "command"), "{{command}}"),
        Panel::stacked("Failed commands", "Commands that failed per second, by name and why. Good: 0. not_ready, overloaded, closed and denied sent nothing.")
            .alert("TrunklineRedisConnectionDown")
            .unit("ops")
            .empty("No command has failed.")
            .query(busy(&sum("command, reason", &rate(&of(REDIS_COMMAND_ERRORS.name(), "")))), "{{command}} {{reason}}"),
        Panel::lines("Commands in flight", "Commands sent and not yet answered. Good: small; at 4096 by default the next one is refused.")
            .at_least(1.0)
            .thresholds(&[(None, GREEN), (Some(1024.0), ORANGE), (Some(4096.0), RED)])
            .query(sum("", &of(REDIS_COMMANDS_IN_FLIGHT.name(), "")), "in flight"),
        Panel::heatmap("Time of all commands", "How long commands took, answered or not. Good: dark below a few milliseconds, nothing above.", "s")
            .sized(16, 9)
            .query(sum("le", &increase(&buckets(name))), "{{le}}"),
    ]
}

fn http() -> Vec<Panel> {
    let name = HTTP_REQUEST_DURATION.name();
    vec![
        Panel::stacked("Requests", "Requests per second, by route. Good: follows the callers. A worker has no public listener, and nothing here.")
            .unit("reqps")
            .empty("No requests.")
            .query(busy(&sum("method, route", &rate(&count(name, "")))), "{{method}} {{route}}"),
        Panel::stacked("Refused and failed", "Answers 4xx and 5xx per second, by route. Good: no 5xx; 4xx is the caller's fault.")
            .unit("reqps")
            .colours(&[("5xx.*", RED)])
            .empty("No request was refused.")
            .query(busy(&sum("method, route, status_class", &rate(&count(name, r#"status_class=~"4xx|5xx""#)))), "{{status_class}} {{method}} {{route}}"),
        Panel::lines("Time to answer, p99", "All but one in a hundred answers were ready within this time; of a stream, its headers. Good: milliseconds.")
            .unit("s")
            .thresholds(&[(None, GREEN), (Some(0.5), ORANGE), (Some(0.95), RED)])
            .query(quantile(0.99, &buckets(name), "method, route"), "{{method}} {{route}}"),
        Panel::lines("Connections from outside", "HTTP connections open on the public listener, and those refused per second because the limit was reached. Good: the listeners and a few; no refusals.")
            .sized(24, 7)
            .query(sum("", &of(HTTP_CONNECTIONS.name(), "")), "open")
            .query(sum("", &rate(&of(HTTP_CONNECTIONS_REFUSED.name(), ""))), "refused per second"),
    ]
}

fn resources() -> Vec<Panel> {
    let busy_share = format!(
        "sum({}) / sum({})",
        rate(&of(RUNTIME_BUSY.name(), "")),
        of(RUNTIME_WORKERS.name(), "")
    );
    vec![
        Panel::lines("CPU", "Cores in use; the counter behind it counts whole seconds, so short ranges look like steps. Good: below the cores it was given.")
            .at_least(1.0)
            .query(sum("", &rate(&of("process_cpu_seconds_total", ""))), "cores"),
        Panel::lines("Memory", "Resident memory. Good: level under a level load; a ramp over days is a leak.")
            .unit("bytes")
            .query(sum("", &of("process_resident_memory_bytes", "")), "resident"),
        Panel::lines("Open files", "File descriptors in use, sockets included, as a share of those the system allows. Good: below half; at 100 % no client and no connection can be accepted.")
            .alert("TrunklineFileDescriptorsNearLimit")
            .unit("percentunit")
            .max(1.0)
            .thresholds(&[(None, GREEN), (Some(0.7), ORANGE), (Some(0.9), RED)])
            .query(format!("sum({}) / sum({})", of("process_open_fds", ""), of("process_max_fds", "")), "in use"),
        Panel::lines("Busy", "Share of the time that the runtime's threads were at work. Good: below 70 %; above, answers wait for a thread.")
            .unit("percentunit")
            .max(1.0)
            .thresholds(&[(None, GREEN), (Some(0.7), ORANGE), (Some(0.9), RED)])
            .query(busy_share, "busy"),
        Panel::lines("Tasks and threads", "Tasks alive on the runtime, its worker threads, and all threads of the process. Good: tasks follow the clients; threads are level.")
            .query(sum("", &of(RUNTIME_TASKS.name(), "")), "tasks")
            .query(sum("", &of(RUNTIME_WORKERS.name(), "")), "worker threads")
            .query(sum("", &of("process_threads", "")), "threads"),
        Panel::lines("Tasks that wait", "Tasks in the runtime's global queue. Good: near 0; a plateau means that its threads do not keep up.")
            .at_least(1.0)
            .query(sum("", &of(RUNTIME_QUEUE.name(), "")), "waiting"),
    ]
}

fn telemetry() -> Vec<Panel> {
    vec![
        Panel::lines("Series", "Series on its page of metrics. Good: level, and below 1,500; a ramp is a label without a bound, which the design excludes.")
            .alert("TrunklineSeriesCountHigh")
            .at_least(1600.0)
            .sized(12, 7)
            .thresholds(&[(None, GREEN), (Some(1500.0), ORANGE), (Some(3000.0), RED)])
            .query(sum("", &of("scrape_samples_scraped", "")), "series"),
        Panel::lines("Time to render", "Seconds to render the page, and seconds until Prometheus had it. Good: milliseconds; Prometheus gives up at 5 s.")
            .sized(12, 7)
            .unit("s")
            .query(sum("", &of(METRICS_RENDER_DURATION.name(), "")), "rendered")
            .query(sum("", &of("scrape_duration_seconds", "")), "scraped"),
        Panel::stacked("Spans lost", "Spans that did not reach the collector of traces, per second, by why. Good: none; a trace with a hole tells half of it.")
            .unit("ops")
            .sized(12, 7)
            .empty("No span was lost.")
            .query(busy(&sum("reason", &rate(&of(SPANS_DROPPED.name(), "")))), "{{reason}}"),
        Panel::lines("Log lines lost", "Log lines left out, per second, because their reader did not keep up. Good: 0.")
            .unit("ops")
            .sized(12, 7)
            .at_least(1.0)
            .query(sum("", &rate(&of(LOG_LINES_DROPPED.name(), ""))), "lost"),
    ]
}
