//! Whatever comes in at a door of a real server: an answer that says what is wrong, never a 5xx,
//! never a hang, and the next caller is served.
#![cfg(feature = "bridge")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(unreachable_pub, reason = "a test binary exports nothing, its modules do to each other")]

#[path = "../support/mod.rs"]
mod support;

mod inputs;
mod raw;
mod rules;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::json;

use inputs::{DOORS, Door, Listener, malformed};
use raw::{Answer, exchange};
use support::house::House;
use support::metrics::parse;
use trunkline::model::{Endpoint, Label};

/// Of each door.
const INPUTS: u64 = 300;
/// Callers at a time.
const CALLERS: usize = 32;
/// No single answer may take longer.
const PATIENCE: Duration = Duration::from_secs(5);

fn seed() -> u64 {
    let given = std::env::var("TRUNKLINE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or(20_251_123);
    println!("TRUNKLINE_TEST_SEED={seed}");
    seed
}

/// That nothing of it left a trace: the server is ready, counted no fault of its own, and does
/// what it is for.
async fn is_unharmed(house: &House) {
    let admin = house.server.admin().await;
    let ready = admin.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["missing"]), (200, &json!([])));
    assert_eq!(admin.get("/livez").await.status, 200);
    for series in parse(admin.get("/metrics").await.text()) {
        let fault = series.labels.get("status_class").is_some_and(|class| class == "5xx")
            || series.name == "trunkline_task_panics_total"
            || series.name == "trunkline_redis_connect_failures_total";
        assert!(!fault || series.value == 0.0, "{series}");
    }
    let mut stream = house.listen("door").await;
    house
        .chain(json!({ "id": "echo", "on": { "type": "fine" }, "nodes": [
        { "id": "tell", "kind": "action", "notify": { "channel": "'door'", "type": "echo" } }] }))
        .await;
    house.event(json!({ "type": "fine", "data": "sane" })).await;
    assert_eq!(support::house::heard(&mut stream).await["data"], "sane");
}

async fn ask(house: &House, door: &Door, request: &[u8]) -> Result<Answer, String> {
    let address = match door.listener {
        Listener::Public => house.public.address(),
        Listener::Admin => house.server.admin().await.address(),
    };
    match tokio::time::timeout(PATIENCE, exchange(address, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

#[tokio::test]
async fn no_door_can_be_broken_from_outside() {
    let house = &House::start().await;
    let seed = seed();
    for door in DOORS {
        let asking = stream::iter(0..INPUTS).map(|number| async move {
            let input = malformed(door, &mut fastrand::Rng::with_seed(seed ^ number), number);
            let answer = ask(house, door, &input.request).await;
            let verdict = answer.and_then(|answer| answer.is_a_problem(input.expected));
            verdict.err().map(|why| {
                let request = String::from_utf8_lossy(&input.request);
                let request: String = request.chars().take(600).collect();
                format!("{} {}: {why}\n{request}", door.path, input.kind)
            })
        });
        let wrong: Vec<_> =
            asking.buffer_unordered(CALLERS).filter_map(async |wrong| wrong).collect().await;
        assert!(
            wrong.is_empty(),
            "{} of {INPUTS}; the first:\n{}",
            wrong.len(),
            wrong[..wrong.len().min(3)].join("\n----\n")
        );
    }
    let accepted = house.server.metric("trunkline_events_accepted_total").await;
    assert_eq!(accepted.value().await, Some(0.0), "nothing of it got in");
    is_unharmed(house).await;
}

#[test]
fn every_door_there_is_gets_its_share() {
    let tried: Vec<_> = DOORS.iter().map(|door| (door.method, door.path)).collect();
    for endpoint in Endpoint::ALL.iter().filter(|door| **door != Endpoint::Unmatched) {
        let path = endpoint.route().replace("{id}", "a").replace("{channel}", "a");
        assert!(tried.contains(&(endpoint.method(), &path)), "{} {path}", endpoint.method());
    }
    const { assert!(INPUTS >= 200) }
}

#[tokio::test]
async fn what_is_no_http_is_turned_away_and_the_next_connection_is_served() {
    let house = House::start().await;
    let mut random = fastrand::Rng::with_seed(seed());
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\n";
    let mut broken: Vec<Vec<u8>> = [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "G\u{e9}T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1 events HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &format!("{head}no colon here\r\n\r\n"),
        &format!("{head}: no name\r\n\r\n"),
        &format!("{head}a b: c\r\n\r\n"),
        &format!("{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
        &format!("{head}Content-Length: -1\r\n\r\n"),
        &format!("{head}Content-Length: 99999999999999999999999\r\n\r\n"),
        &format!("{head}{}\r\n", "x: y\r\n".repeat(200)),
        &format!("{head}x: {}\r\n\r\n", "y".repeat(200_000)),
        &format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(70_000)),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "*1\r\n$4\r\nPING\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    broken.extend((0..100).map(|_| (0..random.usize(1..500)).map(|_| random.u8(..)).collect()));
    for door in DOORS.iter().filter(|door| door.path == "/" || door.path == "/livez") {
        for (number, request) in broken.iter().enumerate() {
            // The end of what is sent is the end of the conversation, so nothing has to wait.
            let answer = tokio::time::timeout(
                PATIENCE,
                raw::shout(
                    match door.listener {
                        Listener::Public => house.public.address(),
                        Listener::Admin => house.server.admin().await.address(),
                    },
                    request,
                ),
            )
            .await
            .unwrap_or_else(|_| panic!("{number}: still talking"));
            let refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
            let said = String::from_utf8_lossy(&answer);
            assert!(refused, "{number}: {said}\n{:?}", String::from_utf8_lossy(request));
        }
    }
    is_unharmed(&house).await;
}

#[tokio::test]
async fn a_body_without_end_is_refused_before_it_has_been_read() {
    let house = House::start().await;
    let post = |path: &str, length: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        )
    };
    for path in ["/v1/events", "/v1/notifications"] {
        // Announced, and not a byte of it sent.
        let announced = post(path, "Content-Length: 1000000000000");
        let answer = exchange(house.public.address(), announced.as_bytes()).await.unwrap();
        answer.is_a_problem(&[413]).unwrap();
        // Not announced: it grows until the caller is told.
        let growing = post(path, "Transfer-Encoding: chunked");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let (answer, sent) =
            raw::pour(house.public.address(), growing.as_bytes(), chunk.as_bytes()).await;
        answer.unwrap().is_a_problem(&[413]).unwrap();
        assert!(sent < 32 << 20, "{sent} bytes were taken");
    }
    is_unharmed(&house).await;
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let house = House::start().await;
    let half = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 20\r\n\r\n{\"type\":";
    // A body has ten seconds.
    let exchange = exchange(house.public.address(), half.as_bytes());
    let answer = tokio::time::timeout(PATIENCE * 3, exchange).await.expect("it is given up");
    answer.unwrap().is_a_problem(&[408]).unwrap();
    is_unharmed(&house).await;
}
