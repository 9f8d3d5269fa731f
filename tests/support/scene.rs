//! A server under steady traffic, what happens to its Redis, and everything that must be seen
//! of it afterwards.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::eventually::eventually;
use super::laws::laws_hold;
use super::metrics::Page;
use super::process::{Daemon, Launch, field};
use super::traffic::{Answer, Books, Post, Traffic};

/// A connection that a fault costs: its role, and the reasons it may be counted under.
pub type Loss<'a> = (&'a str, &'a [&'a str]);

/// A server with a caller that publishes and a client that listens.
pub struct Scene {
    /// The server.
    pub server: Daemon,
    /// What goes through it.
    pub traffic: Traffic,
}

impl Scene {
    /// Starts the server; returns when notifications are heard.
    pub async fn start(launch: Launch) -> Scene {
        let server = launch.start();
        server.wait_ready().await;
        let traffic = Traffic::start(&server).await;
        traffic.flows().await;
        Scene { server, traffic }
    }

    /// Lets the fault happen and end, and sees to it that
    ///
    /// - publishing goes on, and the client hears of it on the stream it had all along;
    /// - each lost connection was one outage, no more, in `/status` and on `/metrics`, as long
    ///   as the fault was for a caller: at least what `fault` returns;
    /// - the log told it once, however many publishes failed meanwhile;
    /// - nothing refused was published later, and nothing was heard twice or out of order;
    /// - every answer is counted under its kind, and the laws of the metrics hold.
    ///
    pub async fn survives(
        self,
        losses: &[Loss<'_>],
        fault: impl AsyncFnOnce(&Scene) -> Duration,
    ) -> Survivor {
        let Scene { server, traffic } = &self;
        let (lines_before, before) = (server.logs().len(), traffic.posts().len());
        let began = Instant::now();
        let at_least = fault(&self).await.as_secs_f64();
        let after = traffic.posts().len();
        let outages = ended(server, losses.len()).await;
        let at_most = began.elapsed().as_secs_f64();
        server.wait_nothing_missing().await;
        // One may have been under way while the last connection was not there yet.
        let settled = traffic.posts().len() + 1;
        traffic.flows().await;

        for (role, reasons) in losses {
            let of_role: Vec<_> = outages.iter().filter(|it| it["role"] == *role).collect();
            let [outage] = of_role[..] else { panic!("not one outage of {role}: {outages:?}") };
            assert!(reasons.contains(&field(outage, "reason")), "{outage}");
            // The two connections are not lost in the same instant.
            let lasted = outage["seconds"].as_f64().unwrap() + 0.1;
            assert!(lasted >= at_least && lasted <= at_most + 0.1, "{at_least}: {outage}");
        }
        told(&server.logs()[lines_before..], losses, began.elapsed());

        let Scene { server, traffic } = self;
        let books = traffic.stop(settled).await;
        books.balance();
        counted(&server, &books, losses).await;
        laws_hold(&server).await;
        let (meanwhile, afterwards) = books.posts[before..].split_at(after - before);
        Survivor { server, meanwhile: meanwhile.to_vec(), afterwards: afterwards.to_vec() }
    }
}

/// What is left of a scene.
pub struct Survivor {
    /// The server, which runs on.
    pub server: Daemon,
    /// The publishes that were answered during the fault.
    pub meanwhile: Vec<Post>,
    /// Those that were answered after it.
    pub afterwards: Vec<Post>,
}

/// Waits until `/status` says that this connection is not ready, and returns how long it took.
pub async fn loss(server: &Daemon, role: &str) -> Duration {
    let since = Instant::now();
    eventually(&format!("{role} is found lost"), async || {
        let connection = server.connection(role).await;
        if connection["state"] == "ready" { Err(connection) } else { Ok(()) }
    })
    .await;
    since.elapsed()
}

/// Waits until so many outages have ended and none goes on.
async fn ended(server: &Daemon, count: usize) -> Vec<Value> {
    eventually(&format!("{count} outages have ended"), async || {
        let status = server.status().await;
        let outages = status["outages"].as_array().cloned().unwrap_or_default();
        let over = outages.iter().filter(|outage| outage["ongoing"] == false).count();
        if over >= count && over == outages.len() { Ok(outages) } else { Err(status) }
    })
    .await
}

/// Panics unless each loss was logged once, and no warning or error was repeated for each thing
/// that failed meanwhile: twice, and once more in ten seconds, is the most.
fn told(lines: &[Value], losses: &[Loss<'_>], within: Duration) {
    let mut times = HashMap::<_, usize>::new();
    for line in lines.iter().filter(|line| ["WARN", "ERROR"].contains(&field(line, "level"))) {
        let words = ["message", "role", "command", "reason", "missing"];
        *times.entry(words.map(|word| field(line, word))).or_default() += 1;
    }
    let most = 2 + within.as_secs() as usize / 10;
    assert!(times.values().all(|&count| count <= most), "more than {most} times: {times:?}");
    let lost = lines.iter().filter(|line| field(line, "message") == "redis connection lost");
    assert_eq!(lost.count(), losses.len(), "once for each connection: {times:?}");
}

/// Waits until the server's counters say what the caller and the client know.
async fn counted(server: &Daemon, books: &Books, losses: &[Loss<'_>]) {
    let unheard = |answer: &Answer| matches!(answer, Answer::Acknowledged { receivers: 0, .. });
    let acknowledged = |answer: &Answer| matches!(answer, Answer::Acknowledged { .. });
    let unknown = |answer: &Answer| matches!(answer, Answer::Unknown { .. });
    let expected = [
        ("attempts", books.posts.len()),
        ("acknowledged", books.count(acknowledged)),
        ("refused", books.count(|answer| *answer == Answer::Refused)),
        ("outcome unknown", books.count(unknown)),
        ("without receivers", books.count(unheard)),
        ("delivered", books.heard.len()),
        ("clients that ever listened", 1),
    ];
    let expected = expected.map(|(what, count)| (what, count as f64));
    eventually(&format!("the page says {expected:?}"), async || {
        let page = Page::of(server).await;
        let sum = |name: &str| page.sum(name, &[]);
        let failed = |reason| page.sum("trunkline_publish_failures_total", &[("reason", reason)]);
        let unknown = failed("timeout") + failed("disconnected");
        let seen = [
            ("attempts", sum("trunkline_publish_attempts_total")),
            ("acknowledged", sum("trunkline_publish_receivers_count")),
            ("refused", sum("trunkline_publish_failures_total") - unknown),
            ("outcome unknown", unknown),
            ("without receivers", sum("trunkline_publish_no_receivers_total")),
            ("delivered", sum("trunkline_deliveries_total")),
            ("clients that ever listened", sum("trunkline_clients_opened_total")),
        ];
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let page = Page::of(server).await;
    for role in ["shared", "subscriber"] {
        let lost = losses.iter().any(|(lost, _)| *lost == role);
        let outages = "trunkline_redis_outage_duration_seconds_count";
        let open = "trunkline_redis_connections_open";
        assert_eq!(page.sum(outages, &[("role", role)]), f64::from(lost), "{role}");
        assert_eq!(page.sum(open, &[("role", role)]), 1.0, "{role}");
    }
}
