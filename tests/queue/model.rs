//! The queue against a reference of it, through random histories: where every job has to be after
//! each step, and that in the end each was done or given up exactly once.
//!
//! `TRUNKLINE_MODEL_SEED=<seed>` repeats the one history that a failure names.

mod reference;
mod stage;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::join_all;
use trunkline::model::DeadReason;
use trunkline::queue::{EnqueueError, NewJob, Partition, Verdict};

use crate::house::event;
use reference::{Bounds, Place, Reference, key_of};
use stage::Stage;

/// Histories at the same time, each with a Redis of its own.
const HISTORIES: usize = 6;
const STEPS: usize = 50;
/// Workers at the same time.
const WORKERS: usize = 3;

#[tokio::test]
async fn whatever_happens_every_job_is_where_it_has_to_be_and_ends_once() {
    let given = std::env::var("TRUNKLINE_MODEL_SEED").ok();
    let seeds: Vec<u64> = match given {
        Some(seed) => vec![seed.parse().expect("TRUNKLINE_MODEL_SEED is a number")],
        None => (0..HISTORIES).map(|_| fastrand::u64(..)).collect(),
    };
    let histories = seeds.iter().map(|seed| AssertUnwindSafe(live(*seed)).catch_unwind());
    for (seed, end) in seeds.iter().zip(join_all(histories).await) {
        assert!(end.is_ok(), "see above; repeat it with TRUNKLINE_MODEL_SEED={seed}");
    }
}

async fn live(seed: u64) {
    let bounds = Bounds { attempts: 3, letters: 4, critical: 18, recovery: 9 };
    let reference = Reference::new(bounds);
    let stage = Stage::new(&reference).await;
    let mut history = History {
        luck: fastrand::Rng::with_seed(seed),
        reference,
        stage,
        named: 0,
        posted: vec![],
    };
    for number in 0..STEPS {
        let step = history.step().await;
        let told = AssertUnwindSafe(history.stage.settles(&mut history.reference)).catch_unwind();
        assert!(told.await.is_ok(), "after step {number}: {step}");
    }
    history.end().await;
}

struct History {
    luck: fastrand::Rng,
    reference: Reference,
    stage: Stage,
    named: usize,
    /// What has a dedup entry.
    posted: Vec<String>,
}

impl History {
    /// Does something to both, and says what.
    async fn step(&mut self) -> String {
        let workers: Vec<usize> = self.stage.workers.keys().copied().collect();
        let worker = self.luck.choice(workers.iter().copied());
        match (self.luck.u8(..20), worker) {
            (0..6, _) => self.enqueue().await,
            (6..12, Some(_)) => self.say(),
            (12, Some(worker)) => {
                let drained = self.stage.drain(worker).await;
                assert_eq!(drained.left, 0);
                self.reference.drain(worker);
                format!("worker {worker} ends")
            }
            (13..15, Some(worker)) => {
                self.stage.crash(worker).await;
                self.reference.crash(worker);
                format!("worker {worker} crashes")
            }
            (15, _) if !self.reference.those(|it| it == Place::Lost).is_empty() => {
                self.take_over().await
            }
            (16, _) => match self.one(|it| it == Place::Later) {
                Some(name) => {
                    self.reference.time_comes(&name);
                    self.stage.make_due(&name);
                    format!("the time of {name} comes")
                }
                None => self.enqueue().await,
            },
            (17..19, _) if !self.reference.dead.is_empty() => self.operate().await,
            (19, Some(_)) if self.busy() < self.stage.slots() => self.stranger(),
            _ if workers.len() < WORKERS => {
                let slots = self.luck.usize(1..=3);
                format!("worker {} begins, with {slots} slots", self.stage.hire(slots).await)
            }
            _ => self.say(),
        }
    }

    fn busy(&self) -> usize {
        self.reference.those(|it| matches!(it, Place::Taken(_))).len()
    }

    fn one(&mut self, is: impl Fn(Place) -> bool) -> Option<String> {
        self.luck.choice(self.reference.those(is))
    }

    fn name(&mut self) -> String {
        self.named += 1;
        format!("<{}>", self.named)
    }

    async fn enqueue(&mut self) -> String {
        let mut batch = vec![];
        for _ in 0..self.luck.usize(1..=5) {
            let known = self.luck.choice(&self.posted).cloned();
            let within: Option<&(String, Place)> = self.luck.choice(&batch);
            let name = match (self.luck.u8(..6), known, within.cloned()) {
                (0, Some(known), _) => known,
                (1, _, Some((name, _))) => name,
                _ => self.name(),
            };
            // When exactly one for later takes its place among those of its key is a matter of luck.
            let later = key_of(&name).is_none() && self.luck.u8(..5) == 0;
            let place = if later { Place::Later } else { Place::Waiting };
            batch.push((name, place));
        }
        let now = self.stage.now_ms();
        let jobs: Vec<NewJob> = batch
            .iter()
            .map(|(name, place)| {
                let key = key_of(name);
                let partition = key.map(|key| Partition::of(&key.to_string()));
                let not_before_ms = match place {
                    Place::Later => Some(now + 3_600_000),
                    _ if key.is_some() => None,
                    // Soon is as good as now, and takes another way.
                    _ => self.luck.bool().then_some(now + 20),
                };
                NewJob { not_before_ms, partition, ..event(name) }
            })
            .collect();
        let ought = self.reference.enqueue(&batch);
        let told = match self.stage.post.producer.enqueue(&jobs).await {
            Ok(told) => Some(told.iter().map(|one| one.duplicate).collect()),
            Err(EnqueueError::Full) => None,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(told, ought, "{batch:?}");
        if told.is_some() {
            self.posted.extend(batch.iter().map(|(name, _)| name.clone()));
        }
        format!("{batch:?} put in: {told:?}")
    }

    fn verdict(luck: &mut fastrand::Rng) -> Verdict {
        match luck.u8(..8) {
            0..3 => Verdict::Done,
            3..6 => Verdict::Retry { reason: "again" },
            6 => Verdict::RetryUncounted,
            _ => Verdict::Dead { reason: DeadReason::RuleError, detail: "for good".into() },
        }
    }

    /// Ends one attempt.
    fn say(&mut self) -> String {
        let Some(name) = self.one(|it| matches!(it, Place::Taken(_))) else {
            return "nothing".into();
        };
        let verdict = Self::verdict(&mut self.luck);
        self.reference.settle(&name, &verdict);
        self.stage.say(&name, verdict.clone());
        format!("{name}: {verdict:?}")
    }

    async fn take_over(&mut self) -> String {
        let worn = self.one(|it| it == Place::Lost).filter(|_| self.luck.bool());
        let Self { luck, stage, reference, .. } = self;
        // Those who were given up would have to be in one order, and settle in another.
        let judge = || if luck.bool() { Verdict::Done } else { Verdict::RetryUncounted };
        stage.take_over(reference, worn.as_deref(), judge).await;
        format!("what crashed workers had is taken over, and buried is {worn:?}")
    }

    async fn operate(&mut self) -> String {
        let mut names: Vec<String> = self.reference.dead.iter().map(|it| it.0.clone()).collect();
        self.luck.shuffle(&mut names);
        names.truncate(self.luck.usize(1..=names.len()));
        if self.luck.u8(..4) == 0 {
            self.reference.delete(&names);
            assert!(self.stage.operate("delete", &names).await);
            format!("{names:?} deleted")
        } else {
            let back = self.reference.requeue(&names);
            let all = self.stage.operate("requeue", &names).await;
            assert_eq!(all, back == names.len(), "{back} of {names:?} go back");
            format!("{back} of {names:?} put back")
        }
    }

    /// Another hand puts something there: nothing of ours, or a job whose head is cut off.
    fn stranger(&mut self) -> String {
        let name = self.name();
        let head = self.luck.choice(["", "7 event 1000 1", "7 event 1000 1 0 0"]).unwrap();
        let stream = self.stage.house.keys.stream();
        self.stage.house.redis.cli(&["XADD", &stream, "*", "job", head, "body", &name]);
        self.reference.stranger(&name);
        format!("{name} comes from another hand")
    }

    /// Lets everything come to its end.
    async fn end(mut self) {
        for worker in self.stage.workers.keys().copied().collect::<Vec<_>>() {
            self.stage.drain(worker).await;
            self.reference.drain(worker);
            self.stage.settles(&mut self.reference).await;
        }
        for name in self.reference.those(|it| it == Place::Later) {
            self.reference.time_comes(&name);
            self.stage.make_due(&name);
        }
        let Self { stage, reference, .. } = &mut self;
        stage.take_over(reference, None, || Verdict::Done).await;
        stage.settles(reference).await;
        assert_eq!(reference.live().len(), 0);
        assert!(reference.jobs.len() >= 5, "a history of nothing: {:?}", reference.jobs);
    }
}
