//! The threads that evaluate rules, away from the one that does IO.
//!
//! Jobs go there and come back in batches: what the line has ready at one time goes to one
//! thread, and its answers return together. A wake-up of a thread costs about what a job does,
//! so under load it is paid once for a batch. Alone, a job waits for nobody.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::telemetry::events::process::TaskPanicked;
use crate::telemetry::task;

/// Jobs that one thread is given at a time. A slow one delays the others of its batch.
const BATCH: usize = 32;
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
        for _ in 0..threads {
            let (requests, work) = (Arc::clone(&requests), Arc::clone(&work));
            let answers = answers.clone();
            let each = move || serve(name, &requests, &answers, &*work);
            thread::Builder::new().name(name.to_owned()).spawn(each)?;
        }
        task::spawn(name, async move {
            let mut batch = Vec::with_capacity(BATCH);
            // Runs after all jobs that were ready when the first of them asked.
            while asked.recv_many(&mut batch, BATCH).await > 0 {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                if batches.send(full).await.is_err() {
                    return;
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

/// One thread: takes a batch, does it, gives it back, until there will be no more.
fn serve<I, O>(
    name: &'static str,
    requests: &Mutex<mpsc::Receiver<Vec<Request<I, O>>>>,
    answers: &mpsc::Sender<Vec<Answered<O>>>,
    work: &impl Fn(I) -> O,
) {
    // One thread waits for work, the others wait for their turn to.
    let next = || requests.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
    while let Some(batch) = next() {
        let wanted = batch.into_iter().filter(|request| !request.answer.is_closed());
        let done = wanted.map(|Request { input, answer }| {
            // What the input held is dropped with it, so nobody sees it half changed.
            let output = catch_unwind(AssertUnwindSafe(|| work(input)));
            if output.is_err() {
                TaskPanicked { task: name }.emit();
            }
            (answer, output.ok())
        });
        if answers.blocking_send(done.collect()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as std_mpsc;
    use std::time::Duration;

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
}
