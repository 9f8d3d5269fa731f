//! A whole Trunkline: Redis, a server and a worker, and what a user does with it.

use serde_json::{Value, json};

use super::DEADLINE;
use super::http::{Http, Response, Sse};
use super::process::{Daemon, Launch};
use super::redis::Redis;

/// Two daemons on a Redis of their own. All of it ends with the test.
pub struct House {
    /// The server; it ends before its Redis does.
    pub server: Daemon,
    /// The worker.
    pub worker: Daemon,
    /// A client of the server's public listener.
    pub public: Http,
    /// The Redis of both.
    pub redis: Redis,
}

impl House {
    /// Starts all three and returns when both daemons are ready.
    pub async fn start() -> House {
        House::with(|server| server).await
    }

    /// The same with something more said to the server.
    pub async fn with(how: impl FnOnce(Launch) -> Launch) -> House {
        let redis = Redis::start();
        let server = how(Daemon::server(&redis.url()).patient()).start();
        let worker = Daemon::worker(&redis.url()).patient().start();
        server.wait_ready().await;
        worker.wait_ready().await;
        let public = server.public().await;
        House { server, worker, public, redis }
    }

    /// Stores a rule chain under its own id. Panics unless it was taken.
    pub async fn chain(&self, chain: Value) {
        super::chain::store(&self.public, &chain).await;
    }

    /// Posts an event in shorthand. Panics unless it was accepted.
    pub async fn event(&self, event: Value) -> Value {
        let answer = self.public.post("/v1/events", &event).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()
    }

    /// Publishes data on a channel, past queue and rules. Panics unless it was published.
    pub async fn notify(&self, channel: &str, data: Value) -> Value {
        let notification = json!({ "channel": channel, "data": data });
        let answer = self.public.post("/v1/notifications", &notification).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Listens to channels, as `a&channel=b.*`.
    pub async fn listen(&self, channels: &str) -> Sse {
        Sse::open(&self.public, &format!("/v1/stream?channel={channels}")).await
    }

    /// Waits until the worker has settled so many jobs since it started.
    pub async fn settled(&self, jobs: u32) {
        let jobs = f64::from(jobs);
        self.worker.metric("trunkline_job_duration_seconds_count").await.settles(jobs).await;
    }
}

/// The next notification of a stream, passing over what the server says of itself.
pub async fn heard(stream: &mut Sse) -> Value {
    loop {
        let event = stream.event().await;
        match event.event.as_str() {
            "status" => {}
            "notification" => return event.json(),
            other => panic!("a {other} event: {}", event.data),
        }
    }
}

/// The notifications of a stream up to the one whose data is `end`, without it.
pub async fn heard_until(stream: &mut Sse, end: &str) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let notification = heard(stream).await;
        if notification["data"] == end {
            return all;
        }
        all.push(notification);
    }
}

/// The goodbye of a stream, past everything that came before it.
pub async fn goodbye(stream: &mut Sse) -> Value {
    loop {
        match stream.next_event(DEADLINE).await {
            Ok(event) if event.event == "closing" => return event.json(),
            Ok(_) => {}
            Err(end) => panic!("no goodbye: {end}"),
        }
    }
}

/// The status and the last word of the type, of an answer that must be a well-formed problem.
pub fn problem(answer: &Response) -> (u16, String) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{:?}", answer.body);
    let document = answer.json();
    assert_eq!(document["status"], answer.status, "{document}");
    for text in ["type", "title", "detail"] {
        assert!(document[text].as_str().is_some_and(|it| !it.is_empty()), "{text} in {document}");
    }
    let kind = document["type"].as_str().and_then(|uri| uri.strip_prefix("urn:trunkline:problem:"));
    (answer.status, kind.unwrap_or_else(|| panic!("the type in {document}")).to_owned())
}
