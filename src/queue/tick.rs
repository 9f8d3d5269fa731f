//! The worker's side of schedules: fires what is due.
//!
//! Every worker knows the next tick, since each claim tells it, and each that is there when it is
//! due looks. Whoever is first moves the schedule on, and the script that does so enqueues the job.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::job::DedupKey;
use super::keys::Keys;
use super::partition::Partition;
use super::producer::Thresholds;
use super::schedules::NEVER_MS;
use super::script::{Call, DUE, FIRE};
use super::settle::due_in;
use crate::conn::{Error, Shared};
use crate::model::{MissedPolicy, Schedule};
use crate::telemetry::events::schedule::{ScheduleFired, ScheduleUnreadable, TicksMissed};

/// Schedules that are looked at in one call, at most: each has an event.
const AT_ONCE: usize = 16;

/// After a fault, or when the queue is full, a tick is looked at again so much later.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// Workers look apart from each other by up to so much: the first one leaves nothing to the others.
const SPREAD: Duration = Duration::from_millis(100);

/// For so long a tick is known to have fired, should its schedule be stored anew meanwhile.
const KNOWN: Duration = Duration::from_secs(300);

/// What [`FIRE`] answers where nothing was done because the queue is full.
const FULL: i64 = -2;

/// Nothing more fires for now: the queue is full, or Redis failed.
pub(super) struct NotNow;

/// The schedules of a queue, as a worker has to do with them.
pub(super) struct Ticks<'a> {
    pub(super) shared: &'a Shared,
    pub(super) keys: &'a Keys,
    pub(super) thresholds: Thresholds,
}

/// A schedule that is due: its id, its tick, its JSON.
type Due = (String, u64, Vec<u8>);

/// The job of a tick.
#[derive(Debug, PartialEq, Eq)]
struct TickJob {
    key: DedupKey,
    partition: Option<Partition>,
    body: Vec<u8>,
}

/// What is to be done about one schedule.
struct Step {
    id: String,
    tick_ms: u64,
    json: Vec<u8>,
    next_ms: u64,
    job: Option<TickJob>,
    /// By which policy so many ticks are missed; `None` if it cannot be read.
    missed: Option<(MissedPolicy, u64)>,
}

impl Ticks<'_> {
    /// When this worker looks, after a script told in how many milliseconds the next tick is due.
    pub(super) fn seen(millis: i64) -> Option<Instant> {
        let spread = if millis > 0 { SPREAD.mul_f64(fastrand::f64()) } else { Duration::ZERO };
        due_in(millis).map(|due| due + spread)
    }

    /// Fires what is due, and answers when to look again. A fault of Redis is not the caller's:
    /// without memory no tick fires, but taking jobs is what gives memory back.
    pub(super) async fn pass(&self) -> Result<Option<Instant>, NotNow> {
        // The connection has counted and logged the error.
        self.fire().await.unwrap_or(Err(NotNow))
    }

    async fn fire(&self) -> Result<Result<Option<Instant>, NotNow>, Error> {
        let look = Call::new(&DUE, [self.keys.schedules(), self.keys.ticks()]).arg(AT_ONCE);
        let (now_ms, due, wait): (u64, Vec<Due>, i64) = look.send(self.shared).await?;
        if due.is_empty() {
            return Ok(Ok(Self::seen(wait)));
        }
        let steps: Vec<_> =
            due.into_iter().map(|(id, tick_ms, json)| step(id, tick_ms, json, now_ms)).collect();
        let codes: Vec<i64> = self.call(&steps).send(self.shared).await?;
        let wait = codes.get(steps.len()).copied().unwrap_or(-1);
        for (step, code) in steps.iter().zip(&codes) {
            step.tell(*code);
        }
        // What could not fire is due all the same.
        match codes.contains(&FULL) {
            true => Ok(Err(NotNow)),
            false => Ok(Ok(Self::seen(wait))),
        }
    }

    fn call(&self, steps: &[Step]) -> Call {
        let keys = self.keys;
        let names = [
            keys.schedules(),
            keys.ticks(),
            keys.stream(),
            keys.delayed(),
            keys.idle(),
            keys.full(),
            keys.dedup(),
            keys.partitions(),
            keys.blocked(),
        ];
        let Thresholds { critical, recovery, .. } = self.thresholds;
        let call =
            Call::new(&FIRE, names).arg(critical).arg(recovery).arg(KNOWN.as_millis() as u64);
        steps.iter().fold(call, |call, step| {
            let (hash, partition, body) = match &step.job {
                Some(TickJob { key, partition, body }) => {
                    (key.to_string(), *partition, body.as_slice())
                }
                None => (String::new(), None, &[][..]),
            };
            let partition = partition.map(|it| it.to_string()).unwrap_or_default();
            let call = call.arg(&step.id).arg(step.tick_ms).arg(&step.json).arg(step.next_ms);
            call.arg(hash).arg(Uuid::now_v7().to_string()).arg(partition).arg(body)
        })
    }
}

/// Decides when the clock of Redis shows `now_ms`. A schedule that cannot be read has no tick any
/// more, or it would be due for ever.
fn step(id: String, tick_ms: u64, json: Vec<u8>, now_ms: u64) -> Step {
    let read = Schedule::from_json(&id, &json);
    let Some(schedule) = read else {
        return Step { id, tick_ms, json, next_ms: NEVER_MS, job: None, missed: None };
    };
    let turn = schedule.turn(tick_ms, now_ms);
    let job = turn.fire.and_then(|tick| schedule.event(tick).ok());
    let job = job.map(|event| TickJob {
        key: DedupKey::new(event.source(), event.id()),
        partition: event.partition_key().map(Partition::of),
        body: event.to_json(),
    });
    let missed = Some((schedule.missed(), turn.missed));
    Step { id, tick_ms, json, next_ms: turn.next.unwrap_or(NEVER_MS), job, missed }
}

impl Step {
    /// Tells what became of it, if it was this worker that did it.
    fn tell(&self, code: i64) {
        if code < 1 {
            return;
        }
        let schedule = &self.id;
        match self.missed {
            None => ScheduleUnreadable { schedule }.emit(),
            Some((policy, count)) => TicksMissed { schedule, policy, count }.emit(),
        }
        if code == 1 && self.job.is_some() {
            ScheduleFired { schedule }.emit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_read_is_never_due_again() {
        let broken = step("a".into(), 1_000, b"{}".to_vec(), 2_000);
        assert_eq!((broken.next_ms, broken.job.is_none()), (NEVER_MS, true));
        assert!(broken.missed.is_none());
    }

    #[test]
    fn the_job_of_a_tick_is_known_by_its_events_source_and_id() {
        let document = json!({ "cron": "* * * * *", "event": { "type": "t" } });
        let first = step("a".into(), 60_000, document.to_string().into_bytes(), 60_001);
        let again = step("a".into(), 60_000, document.to_string().into_bytes(), 60_900);
        assert_eq!(first.next_ms, 120_000);
        assert_eq!(first.job, again.job);
        assert!(first.job.is_some());
    }
}
