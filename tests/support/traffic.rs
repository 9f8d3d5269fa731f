//! Steady traffic through one server, and the books of it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::eventually::{eventually, within};
use super::http::{Http, Sse};
use super::process::Daemon;

/// A client that listens, on one stream that stays open, and remembers everything it heard.
pub struct Ears {
    heard: Arc<Mutex<Vec<Value>>>,
    listening: JoinHandle<String>,
}

impl Ears {
    /// Listens to a channel; returns once the server has confirmed it.
    pub async fn open(server: &Daemon, channel: &str) -> Ears {
        let path = format!("/v1/stream?channel={channel}");
        let mut stream = Sse::open(&server.public().await, &path).await;
        let heard = Arc::<Mutex<Vec<Value>>>::default();
        let ears = Arc::clone(&heard);
        let listening = tokio::spawn(async move {
            loop {
                // Longer than any silence: the stream carries a comment every 15 s.
                match stream.next_event(Duration::from_secs(30)).await {
                    Ok(event) if event.event == "notification" => {
                        ears.lock().unwrap().push(event.json());
                    }
                    Ok(_) => {}
                    Err(why) => return why,
                }
            }
        });
        Ears { heard, listening }
    }

    /// The notifications heard so far. Panics if the stream has ended.
    pub fn heard(&self) -> Vec<Value> {
        assert!(!self.listening.is_finished(), "the stream has ended");
        self.heard.lock().unwrap().clone()
    }

    /// Their ids.
    pub fn ids(&self) -> Vec<String> {
        let heard = self.heard();
        heard.iter().map(|it| it["id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits until each of these ids was heard at least once.
    pub async fn hear_all(&self, ids: &HashSet<String>, deadline: Duration) {
        within(deadline, &format!("all {} ids are heard", ids.len()), async || {
            let heard: HashSet<_> = self.ids().into_iter().collect();
            match ids.difference(&heard).count() {
                0 => Ok(()),
                missing => Err(format!("{missing} are missing")),
            }
        })
        .await;
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What a publish was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200.
    Acknowledged { id: String, receivers: u64 },
    /// 503 `redis-unavailable`: nothing was sent.
    Refused,
    /// 503 `outcome-unknown`: it may have been published.
    Unknown { id: String },
}

/// One publish. Its number is its place among all of them, and what it carries.
#[derive(Clone, Debug)]
pub struct Post {
    /// From the request until the answer.
    pub took: Duration,
    /// The answer.
    pub answer: Answer,
}

/// A caller that publishes to one server, one notification after another, some hundred in a
/// second, and a client of the same server that listens.
pub struct Traffic {
    ears: Ears,
    posts: Arc<Mutex<Vec<Post>>>,
    enough: Arc<AtomicBool>,
    posting: JoinHandle<()>,
}

impl Traffic {
    /// Starts both.
    pub async fn start(server: &Daemon) -> Traffic {
        let ears = Ears::open(server, "traffic").await;
        let http = server.public().await;
        let (posts, enough) = (Arc::<Mutex<Vec<Post>>>::default(), Arc::<AtomicBool>::default());
        let posting = tokio::spawn({
            let (posts, enough) = (Arc::clone(&posts), Arc::clone(&enough));
            async move {
                let mut number = 0;
                while !enough.load(Ordering::Relaxed) {
                    let post = publish(&http, number).await;
                    posts.lock().unwrap().push(post);
                    number += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        Traffic { ears, posts, enough, posting }
    }

    /// The publishes that were answered so far.
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// Waits until ten publishes that begin from now on are heard.
    pub async fn flows(&self) {
        // One may be under way.
        let from = self.posts.lock().unwrap().len() as u64 + 1;
        eventually(&format!("publishes from number {from} on are heard"), async || {
            let heard = self.numbers().into_iter().filter(|&number| number >= from).count();
            if heard >= 10 { Ok(()) } else { Err(self.latest(heard)) }
        })
        .await;
    }

    /// Waits until so many more publishes are refused.
    pub async fn is_refused(&self, more: usize) {
        let refused = || {
            let posts = self.posts.lock().unwrap();
            posts.iter().filter(|post| post.answer == Answer::Refused).count()
        };
        let before = refused();
        eventually(&format!("{more} publishes are refused"), async || {
            let now = refused() - before;
            if now >= more { Ok(()) } else { Err(self.latest(now)) }
        })
        .await;
    }

    /// Ends it and gives the books, once everything that was published after number `settled`
    /// and found a receiver is heard. What was published before may be lost with a connection.
    pub async fn stop(self, settled: usize) -> Books {
        self.enough.store(true, Ordering::Relaxed);
        let Traffic { ears, posts, posting, .. } = self;
        posting.await.expect("every publish is answered in a way we know");
        let posts = posts.lock().unwrap().clone();
        let due = |(number, post): (usize, &Post)| match &post.answer {
            Answer::Acknowledged { id, receivers: 1.. } if number >= settled => Some(id.clone()),
            _ => None,
        };
        let due: HashSet<_> = posts.iter().enumerate().filter_map(due).collect();
        ears.hear_all(&due, super::DEADLINE).await;
        Books { posts, heard: ears.heard(), _ears: ears }
    }

    fn numbers(&self) -> Vec<u64> {
        self.ears.heard().iter().filter_map(|it| it["data"]["number"].as_u64()).collect()
    }

    fn latest(&self, count: usize) -> String {
        format!("{count}; the last answer: {:?}", self.posts.lock().unwrap().last())
    }
}

async fn publish(http: &Http, number: u64) -> Post {
    let started = Instant::now();
    let body = json!({ "channel": "traffic", "data": { "number": number } });
    let response = http.post("/v1/notifications", &body).await;
    let (took, document) = (started.elapsed(), response.json());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let answer = match (response.status, text(&document["type"]).rsplit(':').next()) {
        (200, _) => Answer::Acknowledged {
            id: text(&document["id"]),
            receivers: document["receivers"].as_u64().unwrap(),
        },
        (503, Some("redis-unavailable")) => Answer::Refused,
        (503, Some("outcome-unknown")) => Answer::Unknown { id: text(&document["ids"][0]) },
        _ => panic!("no answer to a publish: {} {document}", response.status),
    };
    if response.status == 503 {
        assert!(!response.header("retry-after").is_empty(), "{:?}", response.headers);
    }
    Post { took, answer }
}

/// What was published and what became of it. Its client still listens.
pub struct Books {
    /// Every publish, in order.
    pub posts: Vec<Post>,
    /// Every notification the client heard, in order.
    pub heard: Vec<Value>,
    _ears: Ears,
}

impl Books {
    /// How many were answered like this.
    pub fn count(&self, like: impl Fn(&Answer) -> bool) -> usize {
        self.posts.iter().filter(|post| like(&post.answer)).count()
    }

    /// Panics unless what was heard was published, once, in order and under its id, and nothing
    /// that was refused was heard all the same.
    pub fn balance(&self) {
        let mut last = None;
        for notification in &self.heard {
            let number = notification["data"]["number"].as_u64().expect("a number of ours");
            assert!(last < Some(number), "{number} is heard after {last:?}");
            last = Some(number);
            match &self.posts[number as usize].answer {
                Answer::Acknowledged { id, .. } | Answer::Unknown { id } => {
                    assert_eq!(notification["id"], *id, "number {number}");
                }
                Answer::Refused => panic!("{number} was refused and is heard"),
            }
        }
    }
}
