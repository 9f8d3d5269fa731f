//! Bridge flow and SLO: what comes in, what of it comes out, and how late?

use trunkline::model::MessageKind;
use trunkline::telemetry::catalogue::*;

use super::board::Dashboard;
use super::expression::*;
use super::panel::*;

/// The share of publishes that may fail, as the alert has it: 99.9 % in 30 days.
const ALLOWED: f64 = 0.001;

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "trunkline-bridge",
        title: "Trunkline / Bridge flow and SLO",
        description: "Does what comes in come out, in time, and is the objective kept?",
        one_process: false,
        rows: vec![
            ("Objective", objective()),
            ("Flow", flow()),
            ("Publish", publish()),
            ("Subscriber", subscriber()),
            ("Fan-out", fan_out()),
        ],
    }
}

/// The share of publishes that failed in a window of the objective.
fn failed(window: &str) -> String {
    let over = |name: &str| format!("sum(increase({}[{window}]))", of(name, ""));
    format!("{} / ({} > 0)", over(PUBLISH_FAILURES.name()), over(PUBLISH_ATTEMPTS.name()))
}

/// The share of deliveries that took at most half a second, over 30 days.
fn in_time() -> String {
    let name = DELIVERY_LATENCY.name();
    let (fast, all) = (of(&format!("{name}_bucket"), r#"le="0.5""#), count(name, ""));
    format!("sum(increase({fast}[30d])) / (sum(increase({all}[30d])) > 0)")
}

fn objective() -> Vec<Panel> {
    vec![
        Panel::stat("Published, 30 days", "Share of publishes that Redis accepted in 30 days. The objective is 99.9 %. Good: above it.")
            .alert("TrunklinePublishBudgetBurn")
            .unit("percentunit")
            .decimals(3)
            .max(1.0)
            .thresholds(&[(None, RED), (Some(1.0 - ALLOWED), GREEN)])
            .empty("Nothing published.")
            .query(format!("1 - {}", failed("30d")), "published"),
        Panel::stat("Budget left", "What is left of the failures that the objective allows in 30 days. Good: more than half; below zero the objective is missed.")
            .alert("TrunklinePublishBudgetBurn")
            .unit("percentunit")
            .decimals(1)
            .max(1.0)
            .thresholds(&[(None, RED), (Some(0.0), ORANGE), (Some(0.5), GREEN)])
            .empty("Nothing published.")
            .query(format!("1 - {} / {ALLOWED}", failed("30d")), "left"),
        Panel::stat("Burn, 1 hour", "How many times faster than allowed the budget was spent in the last hour. Good: below 1; at 14.4 somebody is called.")
            .alert("TrunklinePublishBudgetBurn")
            .decimals(1)
            .thresholds(&[(None, GREEN), (Some(1.0), ORANGE), (Some(14.4), RED)])
            .empty("Nothing published.")
            .query(format!("{} / {ALLOWED}", failed("1h")), "1 h"),
        Panel::stat("Burn, 6 hours", "The same over six hours. Good: below 1; at 6 somebody is called.")
            .alert("TrunklinePublishBudgetBurn")
            .decimals(1)
            .thresholds(&[(None, GREEN), (Some(1.0), ORANGE), (Some(6.0), RED)])
            .empty("Nothing published.")
            .query(format!("{} / {ALLOWED}", failed("6h")), "6 h"),
        Panel::stat("In time, 30 days", "Share of deliveries whose bytes were written to the client's socket within 0.5 s of acceptance. Good: above 99 %.")
            .alert("TrunklineDeliveryLatencyBudgetBurn")
            .unit("percentunit")
            .decimals(2)
            .max(1.0)
            .thresholds(&[(None, RED), (Some(0.95), ORANGE), (Some(0.99), GREEN)])
            .empty("Nothing delivered.")
            .query(in_time(), "in time"),
        Panel::number("Clients", "Clients that listen now, by transport. Good: what is usual at this hour.")
            .query(sum("transport", &of(CLIENTS_CONNECTED.name(), "")), "{{transport}}"),
    ]
}

fn flow() -> Vec<Panel> {
    let accepted = sum("", &rate(&of(EVENTS_ACCEPTED.name(), "")));
    let done = sum("", &rate(&count(JOB_DURATION.name(), r#"outcome="done""#)));
    let published = format!(
        "{} - {}",
        sum("", &rate(&of(PUBLISH_ATTEMPTS.name(), ""))),
        sum("", &rate(&of(PUBLISH_FAILURES.name(), "")))
    );
    let received = sum("", &rate(&of(SUBSCRIBER_RECEIVED.name(), &is(MessageKind::Event))));
    let delivered = sum("", &rate(&of(DELIVERIES.name(), "")));
    let step = |title, good: &str, query: &str| {
        Panel::number(title, good).unit("ops").query(query, "per second")
    };
    vec![
        step("1 Accepted", "Events whose job is in Redis. Good: follows the callers.", &accepted)
            .alert("TrunklineAbsent"),
        step("2 Done", "Jobs that workers finished. Good: as many as were accepted.", &done)
            .alert("TrunklineQueueStuck"),
        step("3 Published", "Notifications that Redis accepted, from rules and from callers. Good: follows what rules say.", &published)
            .alert("TrunklinePublishBudgetBurn"),
        step("4 Received", "Notifications that servers received, each counted once by every server that has listeners for it. Good: follows what is published.", &received)
            .alert("TrunklineSubscriberSilent"),
        step("5 Delivered", "Notifications written to clients' sockets. Good: follows what is received, times the listeners.", &delivered)
            .alert("TrunklineMessagesDropped"),
        Panel::number("Seen before", "Events that made no second job because their source and id were seen. Good: near 0; more means that callers repeat themselves.")
            .unit("ops")
            .query(sum("", &rate(&of(EVENTS_DUPLICATE.name(), ""))), "per second"),
        Panel::lines("From event to client", "The five steps in one picture. Good: lines that move together. A line that falls while the one before it does not is where things are lost or wait.")
            .alert("TrunklineQueueStuck")
            .unit("ops")
            .sized(24, 11)
            .wide_scale()
            .colours(&[("1 .*", BLUE), ("2 .*", PURPLE), ("3 .*", GREEN), ("4 .*", YELLOW), ("5 .*", ORANGE)])
            .query(accepted, "1 accepted")
            .query(done, "2 done")
            .query(published, "3 published")
            .query(received, "4 received")
            .query(delivered, "5 delivered"),
    ]
}

fn publish() -> Vec<Panel> {
    let by_job = |name: &str| sum("job", &rate(&of(name, "")));
    vec![
        Panel::lines("Publishes", "Notifications handed to Redis per second, and those nobody was subscribed to. Good: follows the load; nobody listening to a channel is no fault.")
            .unit("ops")
            .query(by_job(PUBLISH_ATTEMPTS.name()), "{{job}} attempts")
            .query(by_job(PUBLISH_NO_RECEIVERS.name()), "{{job}} without receivers"),
        Panel::stacked("Failed publishes", "Publishes Redis did not accept, by why. Good: 0. not_ready, overloaded and closed sent nothing; timeout and disconnected may have arrived.")
            .alert("TrunklinePublishBudgetBurn")
            .unit("ops")
            .empty("No publish has failed.")
            .query(busy(&sum("reason", &rate(&of(PUBLISH_FAILURES.name(), "")))), "{{reason}}"),
        Panel::lines("Share of failed publishes", "The objective is 99.9 % in 30 days. Good: below 0.1 %; above 1.44 % an hour costs 2 % of the month's budget.")
            .alert("TrunklinePublishBudgetBurn")
            .unit("percentunit")
            .max(1.0)
            .thresholds(&[(None, GREEN), (Some(ALLOWED), ORANGE), (Some(0.0144), RED)])
            .query(format!("{} / ({} > 0)", by_job(PUBLISH_FAILURES.name()), by_job(PUBLISH_ATTEMPTS.name())), "{{job}}"),
        Panel::lines("Fleet probes unheard", "Share of the probes of the control channel that no server heard. Good: 0; near 1 no server hears anything.")
            .alert("TrunklinePublishesUnheard")
            .unit("percentunit")
            .max(1.0)
            .thresholds(&[(None, GREEN), (Some(0.5), RED)])
            .query(format!("{} / ({} > 0)", by_job(FLEET_PROBES_UNHEARD.name()), by_job(FLEET_PROBES.name())), "{{job}}"),
        Panel::heatmap("Receivers per publish", "Subscribed connections that Redis handed a notification to. Good: at most the number of servers.", "short")
            .query(sum("le", &increase(&buckets(PUBLISH_RECEIVERS.name()))), "{{le}}"),
        Panel::heatmap("Payload", "Size of published notifications. Good: well below the limit, 64 KiB by default.", "bytes")
            .query(sum("le", &increase(&buckets(PUBLISH_PAYLOAD.name()))), "{{le}}"),
    ]
}

fn subscriber() -> Vec<Panel> {
    let age = |name: &str| format!("max by (job, instance) (time() - {})", of(name, ""));
    let each = |name: &str| sum("job, instance", &of(name, ""));
    vec![
        Panel::lines("Received", "Messages received from Redis per second, by kind, and those handed on. Good: routed is the sum of the kinds; probe and control never stop.")
            .alert("TrunklineSubscriberSilent")
            .unit("ops")
            .query(sum("kind", &rate(&of(SUBSCRIBER_RECEIVED.name(), ""))), "{{kind}}")
            .query(sum("", &rate(&of(SUBSCRIBER_ROUTED.name(), ""))), "routed"),
        Panel::stacked("Dropped", "Received messages that reached nobody, by why. Good: 0, but for no_route while clients leave.")
            .alert("TrunklineMessagesDropped")
            .unit("ops")
            .empty("No message was dropped.")
            .query(busy(&sum("reason", &rate(&of(SUBSCRIBER_DROPPED.name(), "")))), "{{reason}}"),
        Panel::stacked("Caught up from the history", "Notifications that clients, or a whole server, had missed and got late. Good: none but after deploys, and after outages.")
            .unit("ops")
            .empty("Nobody had missed anything.")
            .query(busy(&sum("for", &rate(&of(REPLAYED.name(), "")))), "for a {{for}}"),
        Panel::stacked("Lost and told", "Times a client was told that notifications are lost, by why; searches that ended so, and returns that failed. Good: none.")
            .unit("short")
            .empty("Nothing is lost.")
            .query(busy(&sum("reason", &increase(&of(LOSSES_TOLD.name(), "")))), "{{reason}}")
            .query(busy(&sum("outcome", &increase(&of(GAPS.name(), "outcome=\"lost\"")))), "gap of a server")
            .query(busy(&sum("outcome", &increase(&of(RESUMES.name(), "outcome=\"failed\"")))), "return of a client"),
        Panel::lines("Subscriptions", "Channels and prefixes that clients want, that Redis confirmed, and that its ACL refuses. Good: desired and confirmed lie on each other, refused is 0.")
            .alert("TrunklineSubscriptionsMissing")
            .by_process()
            .query(each(SUBSCRIPTIONS_DESIRED.name()), "{{instance}} desired")
            .query(each(SUBSCRIPTIONS_CONFIRMED.name()), "{{instance}} confirmed")
            .query(sum("job, instance", &increase(&of(SUBSCRIPTIONS_REFUSED.name(), ""))), "{{instance}} refused"),
        Panel::lines("Age of the last probe and message", "Seconds since a self-probe came back, and since anything was received. Good: below the probe interval, 15 s by default.")
            .alert("TrunklineSubscriberSilent")
            .unit("s")
            .thresholds(&[(None, GREEN), (Some(30.0), ORANGE), (Some(90.0), RED)])
            .by_process()
            .query(age(PROBE_LAST_SUCCESS_TIMESTAMP.name()), "{{instance}} probe")
            .query(age(SUBSCRIBER_LAST_MESSAGE_TIMESTAMP.name()), "{{instance}} message"),
        Panel::lines("Probe round trip", "From PUBLISH to receipt on the subscriber of the same process. Good: milliseconds.")
            .alert("TrunklineSubscriberSilent")
            .unit("s")
            .query(quantile(0.5, &buckets(PROBE_DURATION.name()), ""), "p50")
            .query(quantile(0.99, &buckets(PROBE_DURATION.name()), ""), "p99"),
        Panel::stacked("Failed probes", "Self-probes that failed, by why. Good: 0. publish says nothing about the receive path, timeout is silence on it.")
            .at_least(1.0)
            .decimals(0)
            .alert("TrunklineSubscriberSilent")
            .by_process()
            .query(sum("job, instance, reason", &increase(&of(PROBE_FAILURES.name(), ""))), "{{instance}} {{reason}}"),
        Panel::heatmap("Lag", "From publish to receipt, by the clocks of two hosts. Good: milliseconds.", "s")
            .sized(16, 9)
            .query(sum("le", &increase(&buckets(SUBSCRIBER_LAG.name()))), "{{le}}"),
        Panel::lines("Clock skew", "Lag samples below zero: the publisher's clock is ahead, and Lag reads too low. Good: 0.")
            .at_least(1.0)
            .unit("ops")
            .by_process()
            .query(sum("job, instance", &rate(&of(SUBSCRIBER_CLOCK_SKEW.name(), ""))), "{{instance}}"),
    ]
}

fn fan_out() -> Vec<Panel> {
    let by = |labels: &str, name: &str| sum(labels, &rate(&of(name, "")));
    vec![
        Panel::stacked("Clients by server", "Clients that listen, by server and transport. Good: even between servers; a cliff is a server that went away.")
            .by_process()
            .query(sum("job, instance, transport", &of(CLIENTS_CONNECTED.name(), "")), "{{instance}} {{transport}}"),
        Panel::lines("Clients that came", "Clients that began to listen, per second. Good: calm; a burst is a reconnect of many after a loss.")
            .at_least(1.0)
            .unit("ops")
            .query(by("transport", CLIENTS_OPENED.name()), "{{transport}}"),
        Panel::stacked("Clients that left", "Clients that left or were closed, per second, by why. Good: client only, and shutdown in a rollout. slow is a reader that does not keep up.")
            .alert("TrunklineSlowConsumersDropped")
            .unit("ops")
            .colours(&[(".* slow", ORANGE), (".* error", RED), (".* ping_timeout", YELLOW)])
            .empty("Nobody has left.")
            .query(busy(&by("transport, reason", CLIENTS_CLOSED.name())), "{{transport}} {{reason}}"),
        Panel::lines("Queued and delivered", "Notifications put into clients' queues and written to their sockets, per second. Good: two lines on each other for each transport.")
            .unit("ops")
            .query(by("transport", CLIENT_ENQUEUED.name()), "{{transport}} queued")
            .query(by("transport", DELIVERIES.name()), "{{transport}} delivered"),
        Panel::lines("Waiting for clients", "Notifications in clients' queues. Good: near 0; what stays is clients that read slowly, each closed at 256 by default.")
            .at_least(1.0)
            .by_process()
            .query(sum("job, instance, transport", &of(CLIENT_WAITING.name(), "")), "{{instance}} {{transport}}"),
        Panel::stacked("Dropped with a client", "Queued notifications that never reached the socket because the client was closed first, by why, or because its channel lets them give way: oldest, superseded. Good: near 0.")
            .unit("ops")
            .empty("Nothing was dropped.")
            .query(busy(&by("transport, reason", CLIENT_DROPPED.name())), "{{transport}} {{reason}}"),
        Panel::heatmap("Delivery latency", "From acceptance by Trunkline to the client's socket. Good: milliseconds; the objective's boundary is 0.5 s.", "s")
            .alert("TrunklineDeliveryLatencyBudgetBurn")
            .sized(12, 9)
            .query(sum("le", &increase(&buckets(DELIVERY_LATENCY.name()))), "{{le}}"),
        Panel::lines("Delivery latency by transport", "Half of the deliveries, and all but one in a hundred. Good: below 0.5 s.")
            .alert("TrunklineDeliveryLatencyBudgetBurn")
            .unit("s")
            .sized(12, 9)
            .thresholds(&[(None, GREEN), (Some(0.5), RED)])
            .query(quantile(0.5, &buckets(DELIVERY_LATENCY.name()), "transport"), "{{transport}} p50")
            .query(quantile(0.99, &buckets(DELIVERY_LATENCY.name()), "transport"), "{{transport}} p99"),
    ]
}
