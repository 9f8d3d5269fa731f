//! Takes jobs and has them done.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::claim::Claims;
use super::keys::Keys;
use super::lease::Leases;
use super::producer::Thresholds;
use super::retry::{Limits, Retention};
use super::settle::Settler;
use super::take::{Stopped, Taker};
use super::work::Handler;
use crate::conn::Shared;

/// After the drain's grace: time to tell Redis which jobs go back.
pub(super) const HAND_BACK: Duration = Duration::from_secs(2);

/// How a worker takes jobs.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Unique to this start of this process; the consumer's name.
    pub instance: String,
    /// Jobs done at the same time.
    pub concurrency: usize,
    /// How often and how far apart a job is tried.
    pub limits: Limits,
    /// How long a job stays with a worker that says nothing. It is also the longest an
    /// attempt may take.
    pub lease: Duration,
    /// How many dead letters are kept, and for how long.
    pub retention: Retention,
    /// How often a parked worker looks although nobody called, give or take a tenth.
    pub safety_poll: Duration,
    /// When the queue takes no job of a schedule, as it takes none of anybody's.
    pub thresholds: Thresholds,
}

/// What became of the jobs that a worker had when it was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Settled.
    pub finished: u64,
    /// Given back to the queue, no attempt used up.
    pub handed_back: u64,
    /// Left to others once their leases run out: Redis could not be told in time.
    pub left: u64,
}

/// Takes jobs from one queue and gives them to a [`Handler`].
///
/// The connection must have been given [`Keys::wake`] of the instance among its signals.
pub struct Consumer<H> {
    claims: Claims,
    options: ConsumerOptions,
    handler: Arc<H>,
}

impl<H: Handler> Consumer<H> {
    /// A consumer on the shared connection; nothing happens before [`Consumer::run`].
    pub fn new(shared: Shared, keys: Keys, options: ConsumerOptions, handler: H) -> Self {
        let claims = Claims { shared, keys, consumer: options.instance.clone() };
        Self { claims, options, handler: Arc::new(handler) }
    }

    /// Takes and does jobs until `stop` is cancelled, then finishes what is in hand.
    ///
    /// What is not finished `grace` later is cut short and goes back to the queue, with no
    /// attempt used up. Faults of Redis never end it. When the future is dropped, attempts are
    /// cut and their jobs go to other workers once the leases run out.
    pub async fn run(self, stop: CancellationToken, grace: Duration) -> Drained {
        let Self { claims, options, handler } = self;
        let Claims { shared, keys, consumer } = claims.clone();
        let leases = Leases::new(options.lease);
        let (mut settler, settle, due) =
            Settler::new(shared.clone(), keys.clone(), consumer.clone(), options.retention);
        let taker =
            Taker::new(claims.clone(), options.clone(), handler, leases.clone(), settle, due);

        let settled = async {
            let last_moment = async {
                stop.cancelled().await;
                tokio::time::sleep(grace + HAND_BACK).await;
            };
            // Past the last moment the leases take care of what is left.
            tokio::select! { () = settler.run() => {} () = last_moment => {} }
        };
        let (stopped, ()) = tokio::select! {
            both = async { tokio::join!(taker.run(&stop, grace), settled) } => both,
            never = leases.renew(&shared, &keys, &consumer) => match never {},
        };
        let left = leases.all().len() as u64;
        let Stopped { parking, in_hand, handed_back } = stopped;
        // Should Redis not hear it, other workers forget the name in time.
        let _ = claims.leave(&parking).await;
        Drained { finished: in_hand.saturating_sub(handed_back + left), handed_back, left }
    }
}
