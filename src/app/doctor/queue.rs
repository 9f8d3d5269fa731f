//! The job queue.

use std::collections::BTreeSet;

use super::facts::Seen;
use super::finding::Severity::{Bad, Note, Warn};
use super::finding::{Check, Finding, count};
use super::place::Place;
use crate::config::Doctor;
use crate::conn::survey::Answer;
use crate::queue::{Held, Keys};

/// All findings about the queue.
pub(super) fn check(seen: &Seen, told: &Doctor, place: &Place) -> Vec<Finding> {
    let keys = Keys::new(told.namespace.as_str(), told.queue.name.as_str());
    let unknown = |check: Check| move |refusal: &_| Finding::unknown(check, refusal, place);
    let findings = [
        depth(seen, told, &keys, place).map_err(|it| unknown(Check::Queue)(&it)),
        pending(seen, told, &keys, place).map_err(|it| unknown(Check::Pending)(&it)),
        consumers(seen, &keys, place).map_err(|it| unknown(Check::Consumers)(&it)),
        dead_letters(seen, &keys, place).map_err(|it| unknown(Check::DeadLetters)(&it)),
    ];
    findings.into_iter().map(|finding| finding.unwrap_or_else(|unknown| unknown)).collect()
}

fn depth(seen: &Seen, told: &Doctor, keys: &Keys, place: &Place) -> Answer<Finding> {
    let queue = &seen.queue;
    let (entries, full) = (queue.entries.clone()?, queue.full.clone()?);
    let (delayed, blocked) = (queue.delayed.clone()?, queue.blocked.clone()?);
    let jobs = entries + delayed + blocked;
    let thresholds = &told.queue;
    let is = format!(
        "{}; {} wait for their time, {} behind another of their key. Warning at {}, full at {}.",
        count(jobs as usize, "job", "jobs"),
        delayed,
        blocked,
        thresholds.warning,
        thresholds.critical
    );
    let look = place.redis(&["XINFO", "GROUPS", &keys.stream()]);
    let group = queue.pending.as_ref().ok().map(Option::is_some);
    Ok(if full {
        let means =
            format!("Events are refused as queue-full until {} are left.", thresholds.recovery);
        Finding::new(Check::Queue, Bad, is, means).fix("trunkline-worker").fix(look)
    } else if jobs >= thresholds.warning {
        let means = "Workers do not keep up; at the limit events are refused.";
        Finding::new(Check::Queue, Warn, is, means).fix("trunkline-worker").fix(look)
    } else if entries > 0 && group == Some(false) {
        let is = format!("{is} The group `workers` is not there.");
        let means = "No worker has ever looked at this queue; it makes the group when it starts.";
        Finding::new(Check::Queue, Warn, is, means).fix("trunkline-worker").fix(look)
    } else {
        Finding::ok(Check::Queue, is)
    })
}

fn pending(seen: &Seen, told: &Doctor, keys: &Keys, place: &Place) -> Answer<Finding> {
    let Some(pending) = seen.queue.pending.clone()? else {
        return Ok(Finding::ok(Check::Pending, "No worker has taken a job yet."));
    };
    let jobs = count(pending.count as usize, "job", "jobs");
    Ok(match pending.oldest {
        // A lease is renewed well before it ends, and who finds it ended takes the job.
        Some(Held { entry, consumer, silent }) if silent > 2 * told.job_lease => {
            let is = format!(
                "Job {entry} is in the hands of {consumer}, silent for {} s.",
                silent.as_secs()
            );
            let means = "Its lease has ended and nobody has taken it over: no worker is well.";
            Finding::new(Check::Pending, Warn, is, means)
                .fix("trunkline-worker")
                .fix(place.redis(&["XPENDING", &keys.stream(), "workers"]))
        }
        _ => Finding::ok(
            Check::Pending,
            format!("{jobs} in workers' hands, all within their leases."),
        ),
    })
}

fn consumers(seen: &Seen, keys: &Keys, place: &Place) -> Answer<Finding> {
    let known = seen.queue.consumers.clone()?;
    // Without a list of clients nobody can be told to be gone.
    let clients = seen.survey.clients.clone()?;
    let owners = clients.iter().filter_map(|client| client.owner.as_ref());
    let there: BTreeSet<&str> = owners.map(|owner| owner.instance.as_str()).collect();
    let gone: Vec<_> = known.iter().filter(|it| !there.contains(it.name.as_str())).collect();
    let holding: Vec<_> = gone.iter().filter(|consumer| consumer.pending > 0).collect();
    if holding.is_empty() {
        let is = match gone.len() {
            0 => format!(
                "The queue knows {}, each with its process.",
                count(known.len(), "worker", "workers")
            ),
            gone => format!(
                "The queue knows {}; {gone} more have gone and hold nothing.",
                count(known.len() - gone, "worker", "workers")
            ),
        };
        return Ok(Finding::ok(Check::Consumers, is));
    }
    let jobs: u64 = holding.iter().map(|consumer| consumer.pending).sum();
    let is = format!(
        "{} without a process {} {}.",
        count(holding.len(), "worker", "workers"),
        if holding.len() == 1 { "holds" } else { "hold" },
        count(jobs as usize, "job", "jobs"),
    );
    let means = "It crashed or is cut off; another worker takes them over when their leases end.";
    let about = holding.iter().map(|it| format!("{}  jobs={}", it.name, it.pending));
    Ok(Finding::new(Check::Consumers, Note, is, means)
        .about(about.collect::<Vec<_>>())
        .fix(place.redis(&["XINFO", "CONSUMERS", &keys.stream(), "workers"])))
}

fn dead_letters(seen: &Seen, keys: &Keys, place: &Place) -> Answer<Finding> {
    let dead = seen.queue.dead.clone()?;
    if dead == 0 {
        return Ok(Finding::ok(Check::DeadLetters, "No dead letter."));
    }
    let is = count(dead as usize, "dead letter", "dead letters") + ".";
    let means = "These events were accepted and came to nothing; each says why.";
    let look = place.redis(&["XREVRANGE", &keys.dead(), "+", "-", "COUNT", "10"]);
    let last = seen.queue.last_dead.clone().ok().flatten();
    Ok(Finding::new(Check::DeadLetters, Warn, is, means)
        .about(last.map(|reason| format!("the last: {reason}")))
        .fix(look)
        .fix("# then: trunkline queue dead requeue, or delete"))
}
