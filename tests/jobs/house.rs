//! A Redis, a server, and the workers and events of a test.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Value, json};
use trunkline::model::chain_notification_id;
use trunkline::queue::{GROUP, Keys};

use crate::support::chain::{self, telling};
use crate::support::eventually::eventually;
use crate::support::http::{Http, Response};
use crate::support::metrics::Metric;
use crate::support::process::{Daemon, Launch};
use crate::support::redis::Redis;
use crate::support::resp::Reply;

/// As short as three command timeouts allow, so that a dead worker's jobs are soon taken over.
const LEASE: &str = "1500ms";

/// A Redis, a server, and the chain that tells of every event of type `told`.
pub struct House {
    pub redis: Redis,
    pub server: Daemon,
    pub http: Http,
    pub keys: Keys,
}

impl House {
    pub async fn start() -> House {
        House::with(|server| server).await
    }

    pub async fn with(settings: impl FnOnce(Launch) -> Launch) -> House {
        let redis = Redis::start();
        let server = settings(Daemon::server(&redis.url()).patient()).start();
        server.wait_ready().await;
        let http = server.public().await;
        chain::store(&http, &telling("told", "told")).await;
        House { redis, server, http, keys: Keys::new("trunkline", "rule-engine-events") }
    }

    /// A worker that takes over what a dead one had after a few seconds, and loses neither what it
    /// has nor an answer where the machine stands still for one.
    pub async fn heir(&self) -> Daemon {
        let settings = ["--job-lease", "4500ms", "--redis-command-timeout", "1500ms"];
        let heir = Daemon::worker(&self.redis.url()).args(settings).start();
        heir.wait_ready().await;
        heir
    }

    /// A worker that keeps what it has, however long the machine stands still.
    pub async fn worker(&self) -> Daemon {
        let worker = Daemon::worker(&self.redis.url()).patient().start();
        worker.wait_ready().await;
        worker
    }

    /// Posts events of type `told` with these numbers as ids, and returns the ids that their
    /// notifications must have.
    pub async fn post(&self, numbers: Range<usize>) -> HashSet<String> {
        let numbers: Vec<_> = numbers.collect();
        for batch in numbers.chunks(100) {
            let answer = self.post_batch(batch).await;
            assert_eq!(answer.status, 202, "{}", answer.text());
        }
        numbers.iter().map(notification_of).collect()
    }

    pub async fn post_batch(&self, numbers: &[usize]) -> Response {
        let event = |number: &usize| {
            let id = number.to_string();
            json!({ "specversion": "1.0", "type": "told", "source": SOURCE, "id": id })
        };
        let body = Value::from_iter(numbers.iter().map(event)).to_string();
        let batch = [("content-type", "application/cloudevents-batch+json")];
        self.http.send(hyper::Method::POST, "/v1/events", &batch, body).await
    }

    /// Jobs that are not settled, wherever they are.
    pub fn unfinished(&self) -> i64 {
        let (stream, delayed) = (self.keys.stream(), self.keys.delayed());
        self.redis.cli(&["XLEN", &stream]).integer()
            + self.redis.cli(&["ZCARD", &delayed]).integer()
            + self.redis.cli(&["ZCARD", &self.keys.blocked()]).integer()
    }

    /// How many jobs each worker that has any has in hand.
    pub fn in_hand(&self) -> Vec<i64> {
        let pending = self.redis.ask(&["XPENDING", &self.keys.stream(), GROUP]);
        // There is no group before the first worker has asked.
        let Reply::List(summary) = pending else { return Vec::new() };
        summary[3].list().iter().map(|one| one.texts()[1].parse().unwrap()).collect()
    }

    pub async fn has_in_hand(&self, workers: usize) -> Vec<i64> {
        eventually(&format!("{workers} workers have jobs in hand"), async || {
            let in_hand = self.in_hand();
            if in_hand.len() == workers { Ok(in_hand) } else { Err(format!("{in_hand:?}")) }
        })
        .await
    }

    /// Returns when Redis has no connection of a worker any more: what they said is done by then.
    pub async fn has_heard_the_last_of_the_workers(&self) {
        eventually("no worker is connected", async || {
            let clients = self.redis.client_list().into_iter();
            let left: Vec<_> =
                clients.map(|it| it.name).filter(|it| it.contains(":worker:")).collect();
            if left.is_empty() { Ok(()) } else { Err(left.join(" ")) }
        })
        .await;
    }

    pub async fn is_drained(&self) {
        eventually("no job is left", async || match self.unfinished() {
            0 => Ok(()),
            left => Err(left),
        })
        .await;
    }

    /// Reason and job id of the dead letters.
    pub fn dead(&self) -> Vec<(String, String)> {
        let letters = self.redis.cli(&["XRANGE", &self.keys.dead(), "-", "+"]);
        let letter = |letter: &Reply| {
            let fields = letter.list()[1].texts();
            let field = |name: &str| {
                let mut pairs = fields.chunks(2);
                pairs.find(|pair| pair[0] == name).map_or(String::new(), |pair| pair[1].clone())
            };
            (field("reason"), field("id"))
        };
        letters.list().iter().map(letter).collect()
    }
}

pub const SOURCE: &str = "/test";

pub fn notification_of(number: &usize) -> String {
    chain_notification_id(SOURCE, &number.to_string(), "told", "tell")
}

/// A worker that soon takes over what a dead one had, and as soon loses what it has itself where
/// it stands still.
pub async fn hasty_worker_at(redis_url: &str) -> Daemon {
    let worker = Daemon::worker(redis_url).args(["--job-lease", LEASE]).start();
    worker.wait_ready().await;
    worker
}

/// How many attempts of this worker ended like this.
pub async fn attempts(worker: &Daemon, outcome: &str) -> Metric {
    worker.metric("trunkline_job_duration_seconds_count").await.label("outcome", outcome)
}
