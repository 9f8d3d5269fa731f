use super::*;
use std::sync::Arc;

use crate::flow::lost;
use crate::hub::fake::Fake;
use crate::hub::{Client, Frame, Limits};
use crate::model::{LostReason, Transport};
use proptest::prelude::*;

fn house() -> (Fanout, Hub) {
    let hub = Hub::new(Limits::new(Bounds { messages: 99, bytes: 9_999 }), |_| {});
    (Fanout::new(hub.clone()), hub)
}
fn listen(hub: &Hub, text: &str) -> (Client, Arc<Fake>) {
    let mut client = hub.join(Transport::Sse).unwrap();
    hear(&mut client, text);
    let socket = Fake::of(client.outbox(), usize::MAX);
    (client, socket)
}
fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}
fn hear(client: &mut Client, text: &str) {
    let wanted = client.want(&[Subscription::parse(text).unwrap()]).unwrap();
    client.hear(&wanted);
}
fn message(came_by: &str, channel: &str, payload: &[u8]) -> Message {
    let subscription = Subscription::parse(came_by).unwrap();
    let payload = Bytes::copy_from_slice(payload);
    Message { subscription, channel: channel.into(), payload, generation: 1, overflows: 0 }
}
fn ids(socket: &Fake) -> Vec<String> {
    let text = socket.taken();
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let id = |json| serde_json::from_str::<serde_json::Value>(json).unwrap()["id"].to_string();
    events.map(id).collect()
}

#[test]
fn what_cannot_be_read_or_has_no_hearer_is_dropped_with_its_reason() {
    let (mut fanout, hub) = house();
    let _client = listen(&hub, "door");
    let mut verdict = |came_by, payload: &[u8]| fanout.route(message(came_by, came_by, payload));
    assert_eq!(verdict("door", b"1"), Ok(()));
    assert_eq!(verdict("door", b"\xff"), Err(SubscriberDrop::Decode));
    assert_eq!(verdict("window", b"1"), Err(SubscriberDrop::NoRoute));
}

#[test]
fn the_copies_of_one_publish_are_one_notification_and_a_repeat_is_another() {
    let (mut fanout, hub) = house();
    let (exact, prefix) = (listen(&hub, "a.b"), listen(&hub, "a.*"));
    for _ in 0..2 {
        fanout.route(message("a.b", "a.b", b"1")).unwrap();
        fanout.route(message("a.*", "a.b", b"1")).unwrap();
    }
    while fanout.touched.write(1) {}
    let (heard, also_heard) = (ids(&exact.1), ids(&prefix.1));
    assert_eq!(heard, also_heard);
    assert_eq!(heard.len(), 2);
    assert_ne!(heard[0], heard[1]);
}

fn at(at: u64) -> Position {
    Position { epoch: 1, at }
}
fn comes(fanout: &mut Fanout, at: Position) {
    let payload = format!(
        r#"{{"specversion":"1.0","id":"{}","source":"/","type":"t","publishedms":"1","position":"{at}"}}"#,
        at.at
    );
    fanout.route(message("door", "door", payload.as_bytes())).unwrap();
}

/// Read in many pages, from a history that is gone before the last of them.
#[tokio::test]
async fn what_was_handed_on_late_is_no_news_when_it_comes_whatever_became_of_the_history() {
    let (mut fanout, hub) = house();
    let (_client, socket) = listen(&hub, "door");
    comes(&mut fanout, at(3));
    for late in 4..6 {
        let mut notification = Notification::from_wire(&channel("door"), b"0").unwrap();
        notification.id = late.to_string();
        notification.position = Some(at(late));
        fanout.hand_on_late(&notification, 1).await;
    }
    let elsewhere = Position { epoch: 2, at: 9 };
    fanout.has_all_up_to(elsewhere);
    for late in 4..8 {
        comes(&mut fanout, at(late));
    }
    assert_eq!(fanout.position(), Some(elsewhere), "not back in what is gone");
    comes(&mut fanout, Position { epoch: 2, at: 10 });
    while fanout.touched.write(9) {}
    assert_eq!(ids(&socket), ["3", "4", "5", "6", "7", "10"].map(|id| format!("\"{id}\"")));
}

#[tokio::test]
async fn who_comes_while_a_gap_is_filled_hears_what_was_handed_on_before_it_heard() {
    let (mut fanout, hub) = house();
    let mut notification = Notification::from_wire(&channel("door"), b"0").unwrap();
    notification.position = Some(at(4));
    fanout.hand_on_late(&notification, 1).await;
    let (client, socket) = listen(&hub, "door");
    client.outbox().begin_at(at(3));
    fanout.has_all_up_to(at(5));
    let word = |_| Frame::announcement(Bytes::new());
    assert!(!client.advance(word), "it is not where the others are");
    for late in 3..6 {
        comes(&mut fanout, at(late));
    }
    while fanout.touched.write(9) {}
    assert_eq!(ids(&socket), ["\"4\"", "\"5\""]);
}

#[test]
fn where_the_history_was_at_first_is_before_what_comes_then() {
    let (mut fanout, _hub) = house();
    fanout.begins_at(at(5));
    let _ = fanout.route(message("door", "door", b"no place"));
    assert_eq!(fanout.position(), Some(at(5)));
    for (comes, is) in [(3, 3), (4, 4), (6, 6), (5, 6)] {
        fanout.came(at(comes));
        assert_eq!(fanout.position(), Some(at(is)));
    }
}

#[tokio::test]
async fn in_a_history_that_went_back_what_comes_is_news() {
    let (mut fanout, hub) = house();
    let (_client, socket) = listen(&hub, "door");
    comes(&mut fanout, at(5));
    let hit = [Subscription::parse("door").unwrap()];
    lost::tell(&hub, &hit, LostReason::Future, Some(at(2)));
    fanout.has_all_up_to(at(2));
    (3..6).for_each(|late| comes(&mut fanout, at(late)));
    while fanout.touched.write(9) {}
    // Between them it is told what is lost.
    assert_eq!(ids(&socket), ["\"5\"", "null", "\"3\"", "\"4\"", "\"5\""]);
    assert_eq!(fanout.position(), Some(at(5)));
}

proptest! {
    /// Redis sends one copy for each subscription of the server that matches, the channel's own
    /// first. Before, between and after them a client goes over to another subscription, and
    /// hears that before it leaves the one it had.
    #[test]
    fn a_client_that_always_hears_the_channel_hears_each_notification_once(
        covers in prop::collection::vec(prop::option::of(0usize..3), 12),
    ) {
        const COVERS: [&str; 3] = ["a.b.c", "a.*", "a.b.*"];
        let (mut fanout, hub) = house();
        let _everything = COVERS.map(|cover| listen(&hub, cover));
        let (mut client, socket) = listen(&hub, COVERS[0]);
        let mut has = 0;
        for (number, cover) in covers.into_iter().enumerate() {
            let payload = format!("{}", number / COVERS.len());
            let copy = COVERS[number % COVERS.len()];
            fanout.route(message(copy, "a.b.c", payload.as_bytes())).unwrap();
            if let Some(next) = cover.filter(|next| *next != has) {
                hear(&mut client, COVERS[next]);
                let old = Subscription::parse(COVERS[has]).unwrap();
                client.forget(&[old], Frame::announcement(Bytes::new()));
                has = next;
            }
        }
        while fanout.touched.write(9) {}
        prop_assert_eq!(ids(&socket).len(), 4);
    }
}
