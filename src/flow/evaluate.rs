//! The threads that evaluate rules, away from the one that does IO.
//!
//! Jobs go there and come back in batches: what the line has ready at one time goes to one
//! thread, and its answers return together. A wake-up of a thread costs about what a job does,
//! so under load it is paid once for a batch. Alone, a job waits for nobody. Jobs that take long
//! are given out one by one, so that all threads have some.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::telemetry::events::process::TaskPanicked;
use crate::telemetry::task;

/// What expressions on a caller's own stack may rely on, whatever the environment says.
const STACK: usize = 2 << 20;
/// Jobs that one thread is given at a time. A slow one delays the others of its batch.
const BATCH: usize = 32;
/// A batch is cut to last about this long, should its jobs take as long as those of the batch
/// before: some tens of times what a wake-up costs, so that nothing is gained by a longer one.
const SLICE: Duration = Duration::from_micros(500);
/// Jobs that may wait for a thread; beyond that they wait for a place.
const WAITING: usize = 256;

/// Threads for what computes. Dropping it ends them, each after the batch it is at.
pub struct Evaluator<I, O> {
    waiting: mpsc::Sender<Request<I, O>>,
}

/// What one job asks, and whom to tell.
struct Request<I, O> {
    input: I,
    answer: oneshot::Sender<Option<O>>,
}

/// An answer on its way back; nothing where the work panicked.
type Answered<O> = (oneshot::Sender<Option<O>>, Option<O>);

impl<I: Send + 'static, O: Send + 'static> Evaluator<I, O> {
    /// Starts the threads, each of which does `work` for one input after the other.
    ///
    /// # Errors
    /// When the system gives no thread.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(
        name: &'static str,
        threads: usize,
        work: impl Fn(I) -> O + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (waiting, mut asked) = mpsc::channel(WAITING);
        let (batches, requests) = mpsc::channel(threads);
        let (answers, mut answered) = mpsc::channel::<Vec<Answered<O>>>(threads);
        let (requests, work) = (Arc::new(Mutex::new(requests)), Arc::new(work));
        let cost = Arc::new(Cost::default());
        for _ in 0..threads {
            let (requests, work, cost) =
                (Arc::clone(&requests), Arc::clone(&work), Arc::clone(&cost));
            let answers = answers.clone();
            let each = move || serve(name, &requests, &answers, &cost, &*work);
            thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(each)?;
        }
        task::spawn(name, async move {
            let mut ready = Vec::new();
            // Runs after all jobs that were ready when the first of them asked.
            while asked.recv_many(&mut ready, BATCH).await > 0 {
                while !ready.is_empty() {
                    let rest = ready.split_off(cost.fitting().min(ready.len()));
                    let batch = std::mem::replace(&mut ready, rest);
                    if batches.send(batch).await.is_err() {
                        return;
                    }
                }
            }
        });
        task::spawn(name, async move {
            while let Some(batch) = answered.recv().await {
                for (answer, output) in batch {
                    // Who does not wait any more was cut short.
                    let _ = answer.send(output);
                }
            }
        });
        Ok(Self { waiting })
    }

    /// Does the work on one of the threads. Nothing when it panicked, which was counted.
    ///
    /// Cancelling gives the work up if it has not begun; what has begun runs to its end.
    pub async fn evaluate(&self, input: I) -> Option<O> {
        let (answer, answered) = oneshot::channel();
        self.waiting.send(Request { input, answer }).await.ok()?;
        answered.await.ok().flatten()
    }
}

/// Nanoseconds that a job of the last batch took; nothing is known at first.
#[derive(Default)]
struct Cost(AtomicU64);

impl Cost {
    fn learn(&self, elapsed: Duration, jobs: usize) {
        let each = elapsed.as_nanos() / jobs.max(1) as u128;
        self.0.store(u64::try_from(each).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many of such jobs make a batch.
    fn fitting(&self) -> usize {
        let fitting = SLICE.as_nanos() as u64 / self.0.load(Ordering::Relaxed).max(1);
        fitting.clamp(1, BATCH as u64) as usize
    }
}

/// One thread: takes a batch, does it, gives it back, until there will be no more.
fn serve<I, O>(
    name: &'static str,
    requests: &Mutex<mpsc::Receiver<Vec<Request<I, O>>>>,
    answers: &mpsc::Sender<Vec<Answered<O>>>,
    cost: &Cost,
    work: &impl Fn(I) -> O,
) {
    // One thread waits for work, the others wait for their turn to.
    let next = || requests.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
    while let Some(batch) = next() {
        let began = Instant::now();
        let wanted = batch.into_iter().filter(|request| !request.answer.is_closed());
        let done = wanted.map(|Request { input, answer }| {
            // What the input held is dropped with it, so nobody sees it half changed.
            let output = catch_unwind(AssertUnwindSafe(|| work(input)));
            if output.is_err() {
                TaskPanicked { task: name }.emit();
            }
            (answer, output.ok())
        });
        let done: Vec<_> = done.collect();
        cost.learn(began.elapsed(), done.len());
        if answers.blocking_send(done).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc as std_mpsc};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn every_job_gets_its_own_answer_whatever_its_neighbours_do() {
        let work = |number: usize| match number % 10 {
            7 => panic!("on purpose"),
            _ => number * 2,
        };
        let evaluator = Evaluator::start("rules", 2, work).unwrap();
        let many = WAITING * 2;
        let answers = join_all((0..many).map(|number| evaluator.evaluate(number))).await;
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, (number % 10 != 7).then_some(number * 2));
        }
    }

    #[tokio::test]
    async fn a_slow_job_keeps_one_thread_and_the_other_goes_on() {
        let (release, held) = std_mpsc::channel::<()>();
        let held = Mutex::new(held);
        let work = move |slow: bool| {
            if slow {
                // Released by the end of the test, also by a failing one.
                let _ = held.lock().unwrap().recv();
            }
        };
        let evaluator = Evaluator::start("rules", 2, work).unwrap();
        let slow = evaluator.evaluate(true);
        tokio::pin!(slow);
        let waits = tokio::time::timeout(Duration::from_millis(20), &mut slow).await;
        assert!(waits.is_err(), "the slow one is done already");
        assert_eq!(evaluator.evaluate(false).await, Some(()));
        drop(release);
        assert_eq!(slow.await, Some(()));
    }

    #[tokio::test]
    async fn jobs_that_take_long_are_spread_over_the_threads() {
        let both = Barrier::new(2);
        let work = move |first: bool| match first {
            true => thread::sleep(SLICE),
            // Returns when two threads have come here.
            false => drop(both.wait()),
        };
        let evaluator = Evaluator::start("rules", 2, work).unwrap();
        assert_eq!(evaluator.evaluate(true).await, Some(()));
        let two = async { tokio::join!(evaluator.evaluate(false), evaluator.evaluate(false)) };
        let met = tokio::time::timeout(Duration::from_secs(9), two).await;
        assert_eq!(met, Ok((Some(()), Some(()))), "one thread was given both");
    }
}
