//! Somebody else's EventSource, which by itself connects, waits as it is told, and comes back.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest_eventsource::{Event, EventSource, ReadyState};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::support::DEADLINE;
use super::support::house::House;
use super::{house_that_stays_where_it_is, start_again};

/// Opens `/v1/stream` and waits until it is open.
async fn open(house: &House, channels: &str) -> EventSource {
    let address = house.public.address();
    let mut source = EventSource::get(format!("http://{address}/v1/stream?channel={channels}"));
    assert!(matches!(next(&mut source).await, Ok(Event::Open)));
    source
}

/// The next thing it says, or why it lost the stream.
async fn next(source: &mut EventSource) -> Result<Event, reqwest_eventsource::Error> {
    timeout(DEADLINE, source.next()).await.expect("in time").expect("it never gives up")
}

/// The next message that says something of this kind; there may be a `status` before it.
async fn message(source: &mut EventSource, kind: &str) -> (Value, Option<Duration>) {
    loop {
        match next(source).await.unwrap() {
            Event::Message(message) if message.event == kind => {
                return (serde_json::from_str(&message.data).unwrap(), message.retry);
            }
            Event::Message(message) => assert_eq!(message.event, "status", "{message:?}"),
            Event::Open => panic!("it was open already"),
        }
    }
}

async fn heard(source: &mut EventSource) -> Value {
    message(source, "notification").await.0
}

#[tokio::test]
async fn an_event_source_hears_notifications_as_they_are_and_comments_not_at_all() {
    let house = House::with(|server| server.env("TRUNKLINE_HEARTBEAT_INTERVAL", "100ms")).await;
    let mut source = open(&house, "door&channel=alerts.*").await;
    let mut ours = house.listen("door").await;
    let comments = async {
        for _ in 0..5 {
            while ours.next_event(DEADLINE).await.unwrap().comment.is_none() {}
        }
    };
    timeout(DEADLINE, comments).await.expect("comments");
    let texts = ["plain", "two\nlines\r\n", "data: x\n\nevent: closing\n", "\u{2028}ü\0", ": no"];
    for text in texts {
        house.notify("door", json!({ "text": text })).await;
        let notification = heard(&mut source).await;
        assert_eq!(notification["data"]["text"], text);
        assert_eq!(
            (&notification["subject"], &notification["specversion"]),
            (&json!("door"), &json!("1.0"))
        );
    }
    house.notify("alerts.kitchen.1", json!(7)).await;
    assert_eq!(heard(&mut source).await["subject"], "alerts.kitchen.1");
    assert_eq!(source.ready_state(), ReadyState::Open);
}

#[tokio::test]
async fn an_event_source_that_is_told_closing_comes_back_when_it_was_told_and_hears_again() {
    let mut house = house_that_stays_where_it_is().await;
    let mut source = open(&house, "door").await;
    house.notify("door", json!("before")).await;
    assert_eq!(heard(&mut source).await["data"], "before");

    house.server.sigterm();
    let (goodbye, retry) = message(&mut source, "closing").await;
    assert_eq!(goodbye["reason"], "shutdown");
    let reconnect = Duration::from_millis(goodbye["reconnect"].as_u64().unwrap());
    assert_eq!(retry, Some(reconnect), "what it is told and what makes it wait are the same");
    assert!(reconnect >= Duration::from_secs(1), "{reconnect:?}");
    // Before it learns of the end: from there on it waits.
    let since = Instant::now();
    let ended = next(&mut source).await.unwrap_err();
    assert!(matches!(ended, reqwest_eventsource::Error::StreamEnded), "{ended}");
    assert_eq!(house.server.exit().await.code(), Some(0));
    start_again(&mut house).await;

    // It does all of this itself.
    let mut first_try = None;
    loop {
        let came = next(&mut source).await;
        first_try.get_or_insert(since.elapsed());
        match came {
            Ok(Event::Open) => break,
            Ok(Event::Message(message)) => panic!("{message:?} before it was open"),
            Err(error) => assert!(!matches!(source.ready_state(), ReadyState::Closed), "{error}"),
        }
    }
    assert!(first_try.unwrap() >= reconnect, "{first_try:?}, told {reconnect:?}");
    house.notify("door", json!("after")).await;
    assert_eq!(heard(&mut source).await["data"], "after");
}

#[tokio::test]
async fn an_event_source_survives_a_server_that_dies_without_a_word() {
    let mut house = house_that_stays_where_it_is().await;
    let mut source = open(&house, "door").await;
    house.server.sigkill();
    // Cut off in the middle of it: an error, and then it tries again.
    let mut lost = false;
    let came_back = async {
        loop {
            match source.next().await.expect("it never gives up") {
                Ok(Event::Open) if lost => return source,
                Ok(_) => {}
                Err(_) => lost = true,
            }
        }
    };
    let (_, came_back) = tokio::join!(start_again(&mut house), timeout(DEADLINE, came_back));
    let mut source = came_back.expect("it comes back in time");
    house.notify("door", json!("after")).await;
    assert_eq!(heard(&mut source).await["data"], "after");
}
