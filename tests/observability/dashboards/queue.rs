//! Queue and workers: does work get done, in time, and what is given up?

use trunkline::model::{JobState, Label, WakeupMode};
use trunkline::telemetry::catalogue::*;

use super::board::Dashboard;
use super::expression::*;
use super::panel::*;

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "trunkline-queue",
        title: "Trunkline / Queue and workers",
        description: "Does work get done, in time, by whom, and what is given up?",
        one_process: false,
        rows: vec![
            ("Verdict", verdict()),
            ("Backlog", backlog()),
            ("Work", work()),
            ("Schedules", schedules()),
            ("Workers", workers()),
            ("Rules", rules()),
        ],
    }
}

/// Every process sees the whole queue, so the largest view is the queue.
fn jobs(state: JobState) -> String {
    format!("max by (queue) ({})", of(QUEUE_JOBS.name(), &is(state)))
}

fn oldest() -> String {
    format!("max by (queue) ({})", of(QUEUE_OLDEST_JOB_AGE.name(), ""))
}

fn verdict() -> Vec<Panel> {
    vec![
        Panel::stat("Waiting", "Jobs that no worker has taken. Good: near 0; at 10,000 by default the queue warns, at 50,000 it refuses events.")
            .alert("TrunklineQueueStuck")
            .thresholds(&[(None, GREEN), (Some(10_000.0), ORANGE), (Some(50_000.0), RED)])
            .query(jobs(JobState::Waiting), "{{queue}}"),
        Panel::stat("Oldest job", "How long the oldest unfinished job has waited. Good: below a second; above 60 s notifications come late.")
            .alert("TrunklineQueueOld")
            .unit("s")
            .thresholds(&[(None, GREEN), (Some(10.0), ORANGE), (Some(60.0), RED)])
            .query(oldest(), "{{queue}}"),
        Panel::number("In hand", "Jobs that workers have taken and not settled. Good: at most 20 for each worker by default.")
            .query(jobs(JobState::Active), "{{queue}}"),
        Panel::stat("Delayed", "Jobs that wait for their next attempt. Good: near 0; they are attempts that failed.")
            .thresholds(&[(None, GREEN), (Some(1.0), ORANGE)])
            .query(jobs(JobState::Delayed), "{{queue}}"),
        Panel::stat("Dead letters", "Jobs that were given up, kept with their reason. Good: 0; each is something that nobody was told.")
            .alert("TrunklineJobsDead")
            .thresholds(&[(None, GREEN), (Some(1.0), RED)])
            .query(jobs(JobState::Dead), "{{queue}}"),
        Panel::stat("Events are", "Whether the queue takes events, or refuses them because it is over its critical threshold. Good: taken.")
            .alert("TrunklineQueueStuck")
            .words([("taken", GREEN), ("refused", RED)])
            .query(format!("max by (queue) ({})", of(QUEUE_FULL.name(), "")), "{{queue}}"),
    ]
}

fn backlog() -> Vec<Panel> {
    let done = sum("", &rate(&count(JOB_DURATION.name(), r#"outcome!="retried""#)));
    let states = Panel::lines("Jobs", "Jobs in the queue, by where they are. Good: waiting near 0; a ramp is more work than workers. Blocked wait behind another of their partitionkey: a ramp of them is more work of one key than can be done one after the other.")
            .at_least(1.0)
        .alert("TrunklineQueueStuck")
        .colours(&[(".* waiting", YELLOW), (".* active", BLUE), (".* delayed", ORANGE), (".* blocked", PURPLE), (".* dead", RED)]);
    vec![
        JobState::ALL.iter().fold(states, |panel, state| {
            panel.query(jobs(*state), &format!("{{{{queue}}}} {}", state.label()))
        }),
        Panel::lines("Age of the oldest job", "How long the oldest unfinished job has waited. Good: below a second. A slope of one second per second means that nothing is taken.")
            .alert("TrunklineQueueOld")
            .unit("s")
            .thresholds(&[(None, GREEN), (Some(60.0), RED)])
            .query(oldest(), "{{queue}}"),
        Panel::lines("In and out", "Events that became jobs, and jobs that ended, per second. Good: two lines on each other.")
            .alert("TrunklineQueueStuck")
            .unit("ops")
            .query(sum("", &rate(&of(EVENTS_ACCEPTED.name(), ""))), "in")
            .query(done, "out"),
        Panel::heatmap("Wait", "From enqueueing to being taken. Good: milliseconds; seconds mean too few workers.", "s")
            .alert("TrunklineQueueOld")
            .sized(12, 9)
            .query(sum("le", &increase(&buckets(JOB_WAIT.name()))), "{{le}}"),
        Panel::lines("Wait, by share of jobs", "Half of the jobs, and all but one in a hundred, were taken within this time. Good: milliseconds.")
            .alert("TrunklineQueueOld")
            .unit("s")
            .sized(12, 9)
            .query(quantile(0.5, &buckets(JOB_WAIT.name()), ""), "p50")
            .query(quantile(0.99, &buckets(JOB_WAIT.name()), ""), "p99"),
    ]
}

fn work() -> Vec<Panel> {
    let by = |labels: &str, name: &str| sum(labels, &increase(&of(name, "")));
    vec![
        Panel::stacked("Attempts", "Attempts at jobs per second, by how they ended. Good: done only.")
            .alert("TrunklineQueueStuck")
            .unit("ops")
            .colours(&[(".* done", GREEN), (".* retried", ORANGE), (".* dead", RED)])
            .query(busy(&sum("job_type, outcome", &rate(&count(JOB_DURATION.name(), "")))), "{{job_type}} {{outcome}}"),
        Panel::heatmap("Time of an attempt", "How long one attempt at a job took. Good: milliseconds; the lease is 30 s by default.", "s")
            .query(sum("le", &increase(&buckets(JOB_DURATION.name()))), "{{le}}"),
        Panel::lines("Time of an attempt, by outcome", "All but one in a hundred attempts took at most this long. Good: milliseconds.")
            .unit("s")
            .colours(&[("done", GREEN), ("retried", ORANGE), ("dead", RED)])
            .query(quantile(0.99, &buckets(JOB_DURATION.name()), "outcome"), "{{outcome}}"),
        Panel::stacked("Given up", "Jobs that ended in the dead letters, by why. Good: none. rule_error is a chain to mend, malformed a stranger in the queue.")
            .sized(6, 9)
            .at_least(1.0)
            .decimals(0)
            .alert("TrunklineJobsDead")
            .empty("No job was given up.")
            .query(busy(&by("job_type, reason", JOBS_DEAD.name())), "{{job_type}} {{reason}}"),
        Panel::stacked("Dead letters dropped", "Dead letters beyond `--dead-letters-max` or `--dead-letters-age`: their jobs are lost. Good: none; requeue or delete before.")
            .sized(6, 9)
            .at_least(1.0)
            .decimals(0)
            .empty("No dead letter was dropped.")
            .query(busy(&by("reason", DEAD_LETTERS_DROPPED.name())), "{{reason}}"),
        Panel::stacked("Tried again", "Attempts that ended in another attempt later. Good: none outside an outage.")
            .sized(6, 9)
            .at_least(1.0)
            .decimals(0)
            .empty("No job was tried again.")
            .query(busy(&by("job_type", JOB_RETRIES.name())), "{{job_type}}"),
        Panel::lines("Leases", "Jobs taken over from a worker that stopped renewing, and leases that were lost before the job was settled. Good: 0 outside a crash.")
            .sized(6, 9)
            .at_least(1.0)
            .decimals(0)
            .query(by("", JOBS_RECLAIMED.name()), "taken over")
            .query(by("", JOB_LEASES_LOST.name()), "lost")
            .query(by("", PARTITIONS_MENDED.name()), "partitions mended"),
    ]
}

fn schedules() -> Vec<Panel> {
    let by = |labels: &str, name: &str| sum(labels, &increase(&of(name, "")));
    vec![
        Panel::stacked("Schedules fired", "Jobs made because the tick of a schedule was due. Good: as many as the schedules ask for.")
            .sized(12, 9)
            .at_least(1.0)
            .decimals(0)
            .empty("No schedule fired.")
            .query(busy(&by("queue", SCHEDULES_FIRED.name())), "{{queue}}"),
        Panel::stacked("Ticks missed", "Ticks that no worker was there for within ten seconds, by policy: skip loses them, once makes up for all of them by one job. Unreadable schedules fire no more until they are stored anew. Good: none outside an outage.")
            .sized(12, 9)
            .at_least(1.0)
            .decimals(0)
            .empty("No tick was missed.")
            .colours(&[("skip", RED), ("once", ORANGE), ("unreadable", YELLOW)])
            .query(busy(&by("policy", SCHEDULES_MISSED.name())), "{{policy}}")
            .query(busy(&by("", SCHEDULES_UNREADABLE.name())), "unreadable"),
    ]
}

fn workers() -> Vec<Panel> {
    let mode = |mode: WakeupMode| of(WAKEUP_MODE.name(), &is(mode));
    vec![
        Panel::stacked("Jobs in hand", "Jobs in each worker's hands. Good: even; one worker at its limit while others idle is stuck.")
            .alert("TrunklineQueueStuck")
            .by_process()
            .query(sum("job, instance", &of(JOBS_IN_FLIGHT.name(), "")), "{{instance}}"),
        Panel::stacked("Share of the work", "Attempts per second, by worker. Good: bands of about the same width.")
            .unit("ops")
            .by_process()
            .query(sum("job, instance", &rate(&count(JOB_DURATION.name(), ""))), "{{instance}}"),
        Panel::bands("How workers learn of jobs", "Whether Redis tells a worker of new jobs, or the worker asks. Good: the same for all, tracking; polling is the fallback and costs up to its interval.")
            .words([(WakeupMode::ALL[0].label(), GREEN), (WakeupMode::ALL[1].label(), BLUE), (WakeupMode::ALL[2].label(), YELLOW)])
            .sized(8, 9)
            .by_process()
            .query(place("job, instance", mode), "{{instance}}"),
    ]
}

fn rules() -> Vec<Panel> {
    vec![
        Panel::lines("Chains loaded", "Rule chains loaded and enabled, by worker. Good: the same for all within a second of a change.")
            .by_process()
            .query(sum("job, instance", &of(RULES_LOADED.name(), "")), "{{instance}}"),
        Panel::stacked("Evaluations", "Evaluations of rule chains per second, by how they ended. Good: no error.")
            .alert("TrunklineRuleEvaluationErrors")
            .unit("ops")
            .colours(&[("match", GREEN), ("no_match", BLUE), ("error", RED)])
            .query(sum("outcome", &rate(&of(RULE_EVALUATIONS.name(), ""))), "{{outcome}}"),
        Panel::lines("Time of an evaluation", "Half of the evaluations, and all but one in a hundred. Good: well below a millisecond.")
            .unit("s")
            .query(quantile(0.5, &buckets(RULE_EVALUATION_DURATION.name()), ""), "p50")
            .query(quantile(0.99, &buckets(RULE_EVALUATION_DURATION.name()), ""), "p99"),
    ]
}
