//! What a client is told about where it is, and what it may say about that.

use hyper::Method;
use serde_json::json;

use super::client::{Client, problem};
use super::listener::Listener;
use super::support::house::{self, House};
use super::support::http::Sse;

#[tokio::test]
async fn what_is_no_cursor_is_refused_with_the_name_of_the_field() {
    let house = House::start().await;
    for cursor in ["7", "latest", "0", "-", "00000000000000ff-01", "00000000000000FF-1"] {
        for (path, headers) in [
            ("/v1/stream?channel=a".to_owned(), vec![("last-event-id", cursor)]),
            (format!("/v1/stream?channel=a&after={cursor}"), vec![]),
        ] {
            let answer = house.public.send(Method::GET, &path, &headers, "").await;
            assert_eq!(house::problem(&answer), (400, "invalid".into()), "{cursor}");
            let field = if headers.is_empty() { "after" } else { "Last-Event-ID" };
            assert_eq!(answer.json()["errors"][0]["path"], field, "{cursor}");
        }
    }
    let mut client = Client::open(&house, "").await;
    let refused = client.ask(json!({ "subscribe": ["a"], "after": "7" })).await;
    assert_eq!(problem(&refused), "invalid");
    assert_eq!(refused["error"]["errors"][0]["path"], "$.after");
    client.subscribe(&["a"]).await;
    let cursor = client.cursor.clone().unwrap();
    let late = client.ask(json!({ "subscribe": ["b"], "after": cursor })).await;
    assert_eq!(late["error"]["errors"][0]["path"], "$.after", "it hears something already");
}

#[tokio::test]
async fn the_cursor_of_a_quiet_client_goes_on_with_its_server() {
    let house = House::with(|server| server.env("TRUNKLINE_HEARTBEAT_INTERVAL", "200ms")).await;
    let mut busy = Listener::open(&house.public, "busy").await;
    let mut quiet = Sse::open(&house.public, "/v1/stream?channel=quiet").await;
    house.notify("busy", json!(1)).await;
    assert_eq!(busy.data().await, 1);
    loop {
        let comment = quiet.next_event(super::support::DEADLINE).await.unwrap();
        assert!(comment.event.is_empty() || comment.event == "status", "{comment:?}");
        if comment.id.as_ref() == Some(&busy.cursor) {
            assert!(comment.comment.is_some() && comment.data.is_empty(), "{comment:?}");
            break;
        }
    }
}

#[tokio::test]
async fn a_websocket_client_that_pings_knows_where_its_server_is_however_quiet_its_channels_are() {
    let house = House::start().await;
    let mut client = Client::open(&house, "").await;
    assert_eq!(client.ask(json!({ "ping": 1 })).await, json!({ "pong": 1 }));
    assert_eq!(client.cursor, None, "it hears nothing yet");
    client.subscribe(&["quiet"]).await;
    let begun = client.cursor.take();
    assert_eq!(client.ask(json!({ "ping": 2 })).await, json!({ "pong": 2 }));
    assert_eq!(client.cursor, None, "{begun:?} is where the server still is");

    let mut busy = Listener::open(&house.public, "busy").await;
    house.notify("busy", json!(1)).await;
    assert_eq!(busy.data().await, 1);
    assert_eq!(client.ask(json!({ "ping": 3 })).await, json!({ "pong": 3 }));
    let cursor = client.cursor.take().unwrap();
    assert_eq!(cursor, busy.cursor);
    client.say(json!({ "ping": 4 })).await;
    assert_eq!(client.next().await, json!({ "pong": 4 }));
    assert_eq!(client.cursor, None, "it knows that already");

    // Whoever comes back with it hears what came after, and nothing else.
    drop(client);
    house.notify("quiet", json!("missed")).await;
    let mut client = Client::open(&house, &format!("?channel=quiet&after={cursor}")).await;
    assert_eq!(client.next().await, json!({ "subscribed": ["quiet"] }));
    assert_eq!(client.heard().await, "missed");
}

#[tokio::test]
async fn a_cursor_is_good_for_other_channels_too_and_for_the_other_transport() {
    let house = House::start().await;
    let listener = Listener::open(&house.public, "a").await;
    let cursor = listener.cursor.clone();
    drop(listener);
    house.notify("b", json!(1)).await;
    let mut client = Client::open(&house, &format!("?channel=b&after={cursor}")).await;
    assert_eq!(client.next().await, json!({ "subscribed": ["b"] }));
    assert_eq!(client.heard().await, 1);
}
