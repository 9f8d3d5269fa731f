//! A subscriber that hears Redis itself, past every server.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use trunkline::model::Position;

use crate::books::{Published, Times, What};
use crate::support::eventually::eventually;
use crate::support::redis::Redis;
use crate::support::resp::{Connection, Reply};

/// The name of its connection in CLIENT LIST: no fault is aimed at it.
pub const NAME: &str = "lab:witness";

/// Hears every notification of the laboratory that this Redis publishes, from the moment at
/// which Redis can be reached by anybody: whoever starts Redis again lets the fleet in only
/// after [`Witness::listens`]. So what it has not heard was not published, but for what
/// [`Witness::reads_what_was_kept`] finds.
pub struct Witness {
    told: Arc<Told>,
    /// How many times it was cut off on purpose.
    cuts: AtomicU64,
}

#[derive(Default)]
struct Told {
    published: Mutex<Published>,
    odd: Mutex<Vec<String>>,
    /// Where the last that it heard stands in the history.
    position: Mutex<Option<Position>>,
    /// How many times it has subscribed.
    subscribed: AtomicU64,
    /// How many times that has ended.
    ended: AtomicU64,
    enough: AtomicBool,
}

impl Witness {
    /// Subscribes at the Redis with this unix socket.
    pub async fn start(socket: PathBuf) -> Witness {
        let told = Arc::<Told>::default();
        let thread = Arc::clone(&told);
        std::thread::Builder::new()
            .name("witness".into())
            .spawn(move || {
                while !thread.enough.load(Ordering::Relaxed) {
                    // Ends with Redis; while there is none, there is nothing to hear.
                    if listen(&socket, &thread).is_err() {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
            })
            .expect("a thread");
        let witness = Witness { told, cuts: AtomicU64::new(0) };
        witness.listens().await;
        witness
    }

    /// Says that the Redis it listens to is about to end.
    pub fn will_be_cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until it listens again after as many ends as were announced.
    pub async fn listens(&self) {
        let due = self.cuts.load(Ordering::SeqCst) + 1;
        eventually("the witness listens", async || {
            match self.told.subscribed.load(Ordering::SeqCst) {
                times if times >= due => Ok(()),
                times => Err(format!("it did {times} times of {due}")),
            }
        })
        .await;
    }

    /// Enters what Redis had kept when it crashed and told nobody: it writes to its file before it
    /// writes to anybody. Clients get it from the history, and its job is done again, because
    /// nobody answered whoever published it.
    pub fn reads_what_was_kept(&self, redis: &Redis) {
        let last = *self.told.position.lock().unwrap();
        let after = last.map_or("-".to_owned(), |last| format!("({}-0", last.at));
        for stream in redis.cli(&["KEYS", "trunkline:{history}:stream:lab.*"]).texts() {
            let kept = redis.cli(&["XRANGE", &stream, &after, "+"]);
            for entry in kept.list() {
                let at = entry.list()[0].text();
                let at = at.strip_suffix("-0").and_then(|at| at.parse().ok());
                // The same history: a crash loses nothing of it.
                let position = last.zip(at).map(|(last, at)| Position { at, ..last });
                match entry.list()[1].list().last() {
                    Some(Reply::Text(payload)) => self.told.hear(payload, position),
                    other => panic!("an entry of {stream} ends in {other:?}"),
                }
            }
        }
    }

    /// What it heard since this was last asked, and what it cannot explain.
    pub fn take(&self) -> (Published, Vec<String>) {
        let published = std::mem::take(&mut *self.told.published.lock().unwrap());
        let mut odd = std::mem::take(&mut *self.told.odd.lock().unwrap());
        let (times, due) =
            (self.told.subscribed.load(Ordering::SeqCst), self.cuts.load(Ordering::SeqCst) + 1);
        if times != due {
            odd.push(format!(
                "the witness itself was cut off: it subscribed {times} times, not {due}"
            ));
        }
        (published, odd)
    }
}

impl Witness {
    /// What it has heard since [`Witness::take`].
    pub fn published(&self) -> Published {
        self.told.published.lock().unwrap().clone()
    }

    /// Waits until it has heard all there was to hear from a Redis that has ended.
    pub async fn has_heard_the_end(&self) {
        let due = self.cuts.load(Ordering::SeqCst);
        eventually("the witness hears the end", async || {
            match self.told.ended.load(Ordering::SeqCst) {
                times if times >= due => Ok(()),
                times => Err(format!("it did {times} times of {due}")),
            }
        })
        .await;
    }

    /// Enters what the witness of another Redis has heard while the two followed each other. Each
    /// tells what the other was told to publish too, unless their link was not there yet.
    /// `before` is what this one had heard when the other began.
    pub fn joined_by(&self, other: &Witness, before: &Published) {
        let there = other.published();
        self.told.odd.lock().unwrap().extend(other.told.odd.lock().unwrap().drain(..));
        let mut here = self.told.published.lock().unwrap();
        for (what, there) in there {
            let before = before.get(&what).copied().unwrap_or_default();
            let here = here.entry(what).or_default();
            let since = here.least - before.least;
            *here = Times {
                least: before.least + since.max(there.least),
                most: here.most + there.most,
                first: earlier(here.first, there.first),
            };
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.told.enough.store(true, Ordering::Relaxed);
    }
}

impl Told {
    /// `kept` is where it stands if the history had it and not the channel, which says so itself.
    fn hear(&self, payload: &[u8], kept: Option<Position>) {
        let document = serde_json::from_slice::<Value>(payload).map_err(|error| error.to_string());
        match document.and_then(|notification| What::of(&notification).map(|it| (notification, it)))
        {
            Ok((notification, what)) => {
                let said = notification["position"].as_str().and_then(|text| text.parse().ok());
                let at = said.or(kept);
                self.published.lock().unwrap().entry(what).or_default().again(at);
                if at.is_some() {
                    *self.position.lock().unwrap() = at;
                }
            }
            Err(why) => self.odd.lock().unwrap().push(why),
        }
    }
}

/// The one that stands before the other. Those of different histories do not compare: the first
/// one stays.
fn earlier(one: Option<Position>, other: Option<Position>) -> Option<Position> {
    match (one, other) {
        (Some(one), Some(other)) if other.is_covered_by(one) => Some(other),
        _ => one.or(other),
    }
}

fn listen(socket: &Path, told: &Told) -> std::io::Result<()> {
    // Longer than any silence; the end of Redis ends it too.
    let mut connection = Connection::open(socket, Duration::from_secs(3600))?;
    for command in [&["CLIENT", "SETNAME", NAME][..], &["PSUBSCRIBE", "trunkline:notify:lab.*"]] {
        if let Reply::Error(error) = connection.call(command)? {
            return Err(std::io::Error::other(error));
        }
    }
    told.subscribed.fetch_add(1, Ordering::SeqCst);
    let end = loop {
        let message = match connection.push() {
            Ok(message) => message,
            Err(end) => break end,
        };
        let Some(Reply::Text(payload)) = message.list().get(3) else { continue };
        told.hear(payload, None);
    };
    told.ended.fetch_add(1, Ordering::SeqCst);
    Err(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::Times;

    /// As the history has them: the position is the entry's, and not in the payload.
    fn keep(redis: &Redis, at: u64) -> String {
        let payload = format!(r#"{{"subject":"lab.direct.0","data":{{"number":{at}}}}}"#);
        let (stream, id) = ("trunkline:{history}:stream:lab.direct.0", format!("{at}-0"));
        redis.cli(&["XADD", stream, &id, "before", "0", "payload", &payload]);
        payload.replacen('{', &format!(r#"{{"position":"0000000000000001-{at}","#), 1)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_redis_kept_and_told_nobody_counts_as_published_once() {
        let redis = Redis::start();
        let witness = Witness::start(redis.socket()).await;
        for at in [5, 6] {
            let told = keep(&redis, at);
            redis.cli(&["PUBLISH", "trunkline:notify:lab.direct.0", &told]);
        }
        eventually("the witness hears", async || match witness.published().len() {
            2 => Ok(()),
            some => Err(some),
        })
        .await;
        keep(&redis, 7);
        witness.reads_what_was_kept(&redis);
        let (published, odd) = witness.take();
        assert_eq!(odd, [""; 0]);
        let at = |at| Times { first: Some(Position { epoch: 1, at }), ..Times::exactly(1) };
        let expected = [5, 6, 7].map(|number| (What::Direct(0, number), at(number)));
        assert_eq!(published, expected.into());
    }
}
