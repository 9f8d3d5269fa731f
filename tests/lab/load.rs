//! Callers that never tire: events in batches, and notifications one after another.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::books::{Books, CALLERS, CHAIN, Fate, SOURCE, What, key, subject};
use crate::fleet::Fleet;
use crate::support::http::Response;

/// How long a caller waits before it asks another server: one may stand still.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a batch whose outcome is unknown is repeated.
const REPEATS: usize = 40;

/// How much is posted.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Events in one request of a caller.
    pub batch: usize,
    /// From one request of a caller to its next.
    pub every: Duration,
}

/// Callers that post until this is dropped.
pub struct Load {
    books: Arc<Mutex<Books>>,
    gate: Arc<RwLock<()>>,
    _callers: JoinSet<()>,
}

/// While it lives nobody posts, and nothing is under way.
pub type Hush = OwnedRwLockWriteGuard<()>;

impl Load {
    /// Callers that begin as soon as the hush that is returned too is dropped.
    pub async fn start(fleet: &Arc<Fleet>, rate: Rate) -> (Load, Hush) {
        let (books, gate) = (Arc::<Mutex<Books>>::default(), Arc::<RwLock<()>>::default());
        let hush = Arc::clone(&gate).write_owned().await;
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (fleet, books, gate) = (Arc::clone(fleet), Arc::clone(&books), Arc::clone(&gate));
            let events = Caller { fleet, books, gate };
            let direct = events.clone();
            callers.spawn(async move {
                let mut numbers = (u64::from(caller)..).step_by(CALLERS.into());
                loop {
                    let batch: Vec<_> = numbers.by_ref().take(rate.batch).collect();
                    events.post_batch(&batch).await;
                    tokio::time::sleep(rate.every).await;
                }
            });
            callers.spawn(async move {
                for number in 0.. {
                    direct.publish(What::Direct(caller, number)).await;
                    tokio::time::sleep(rate.every / 2).await;
                }
            });
        }
        (Load { books, gate, _callers: callers }, hush)
    }

    /// Waits until everything that was posted is answered, and keeps everybody from posting.
    pub async fn hush(&self) -> Hush {
        Arc::clone(&self.gate).write_owned().await
    }

    /// Says that from now on nothing may be refused. What was refused in an earlier calm is
    /// forgiven.
    pub fn calm(&self) {
        self.books.lock().unwrap().calm = Some(Vec::new());
    }

    /// What was said since the calm began.
    pub fn said_in_calm(&self) -> Vec<What> {
        self.books.lock().unwrap().calm.clone().unwrap_or_default()
    }

    /// The books, which begin anew.
    pub fn take(&self) -> Books {
        std::mem::take(&mut *self.books.lock().unwrap())
    }
}

#[derive(Clone)]
struct Caller {
    fleet: Arc<Fleet>,
    books: Arc<Mutex<Books>>,
    gate: Arc<RwLock<()>>,
}

impl Caller {
    /// Posts these events, and again under the same ids while nobody knows whether they are in
    /// the queue, as docs/http.md has it.
    async fn post_batch(&self, batch: &[u64]) {
        let _open = self.gate.read().await;
        let event = |&number: &u64| {
            let mut event = json!({ "specversion": "1.0", "type": CHAIN, "source": SOURCE,
                "id": number.to_string(), "subject": subject(number), "data": { "number": number } });
            if let Some(key) = key(number) {
                event["partitionkey"] = key.to_string().into();
            }
            event
        };
        let body = Value::from_iter(batch.iter().map(event)).to_string();
        let mut fate = Fate::Refused;
        for repeat in 0..REPEATS {
            match self.post("/v1/events", "application/cloudevents-batch+json", &body).await {
                Fate::Accepted => fate = Fate::Accepted,
                Fate::Unknown => fate = Fate::Unknown,
                // It says nothing of what was sent before.
                Fate::Refused if fate == Fate::Unknown => {}
                Fate::Refused => break,
            }
            if fate == Fate::Accepted {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10 << repeat.min(4))).await;
        }
        let mut books = self.books.lock().unwrap();
        batch.iter().for_each(|&number| books.enter(What::Event(number), fate));
    }

    /// Publishes once, whatever comes of it.
    async fn publish(&self, what: What) {
        let _open = self.gate.read().await;
        let What::Direct(_, number) = what else { panic!("{what:?} is for the queue") };
        let body = json!({ "channel": what.channel(), "data": { "number": number } }).to_string();
        let fate = self.post("/v1/notifications", "application/json", &body).await;
        self.books.lock().unwrap().enter(what, fate);
    }

    async fn post(&self, path: &str, content: &str, body: &str) -> Fate {
        let door = self.fleet.door(fastrand::usize(..));
        let fields = [("content-type", content)];
        let answer = door.try_send(Method::POST, path, &fields, body.to_owned());
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => self.read(&answer),
            // The server may have ended after it had sent it on.
            Ok(Err(_)) | Err(_) => Fate::Unknown,
        }
    }

    fn read(&self, answer: &Response) -> Fate {
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let kind = document["type"].as_str().and_then(|kind| kind.rsplit(':').next());
        match (answer.status, kind) {
            (200 | 202, _) => Fate::Accepted,
            (503, Some("outcome-unknown")) => Fate::Unknown,
            (503, Some("redis-unavailable" | "queue-full" | "overloaded" | "shutting-down")) => {
                Fate::Refused
            }
            _ => {
                let odd = format!("an answer that no fault explains: {} {document}", answer.status);
                self.books.lock().unwrap().odd.push(odd);
                Fate::Unknown
            }
        }
    }
}
