use super::*;
use crate::model::{ChannelName, Notification};
use bytes::{Buf, Bytes};
use futures_util::task::noop_waker;
use proptest::prelude::*;
use std::task::{Context, Poll};

const BOUNDS: Bounds = Bounds { messages: 4, bytes: 4_096 };

fn house() -> (Hub, Arc<Mutex<Vec<String>>>) {
    let left = Arc::new(Mutex::new(Vec::new()));
    let hub = Hub::new(Limits { prefixes: 3, ..Limits::new(BOUNDS) }, {
        let left = Arc::clone(&left);
        move |unwanted| left.lock().unwrap().push(unwanted.to_string())
    });
    (hub, left)
}
fn parse(texts: &[&str]) -> Vec<Subscription> {
    texts.iter().map(|text| Subscription::parse(text).unwrap()).collect()
}
fn listen(hub: &Hub, texts: &[&str]) -> Client {
    let mut client = hub.join(Transport::Sse).unwrap();
    let wanted = client.want(&parse(texts)).unwrap();
    client.hear(&wanted);
    client
}
fn send(hub: &Hub, came_by: &str, name: &str) -> bool {
    let channel = ChannelName::parse(name).unwrap();
    let notification = Notification::from_wire(&channel, b"1").unwrap();
    let came_by = Subscription::parse(came_by).unwrap();
    hub.dispatch(&came_by, &mut Encoded::new(&notification)).is_some()
}
/// How many frames wait, or why the client was closed.
fn heard(client: &Client) -> Result<usize, ClientClose> {
    match client.outbox().poll_take(&mut Context::from_waker(&noop_waker())) {
        Poll::Pending => Ok(0),
        Poll::Ready(Taken::Closed(reason)) => Err(reason),
        Poll::Ready(Taken::Batch(mut batch)) => {
            let bytes = batch.copy_to_bytes(batch.remaining());
            Ok(std::str::from_utf8(&bytes).unwrap().matches("event: ").count())
        }
    }
}

#[test]
fn clients_hear_what_they_want_and_nothing_else() {
    let (hub, _) = house();
    let (door, garden) = (listen(&hub, &["door"]), listen(&hub, &["garden", "garden.*"]));
    assert!(send(&hub, "door", "door"));
    assert!(send(&hub, "garden.*", "garden.gate"));
    assert!(!send(&hub, "street", "street"));
    assert_eq!((heard(&door), heard(&garden)), (Ok(1), Ok(1)));
}

#[test]
fn the_last_client_that_leaves_takes_the_subscription_along() {
    let (hub, left) = house();
    let (first, second) = (listen(&hub, &["door", "a.*"]), listen(&hub, &["door", "door"]));
    drop(first);
    assert_eq!(*left.lock().unwrap(), ["a.*"]);
    drop(second);
    assert_eq!(*left.lock().unwrap(), ["a.*", "door"]);
    assert_eq!(hub.clients(), 0);
    assert!(!send(&hub, "door", "door"));
}

#[test]
fn a_client_that_never_reads_is_closed_and_the_others_still_hear() {
    let (hub, _) = house();
    let (asleep, awake) = (listen(&hub, &["door"]), listen(&hub, &["door"]));
    for _ in 0..2 * BOUNDS.messages {
        send(&hub, "door", "door");
        assert_eq!(heard(&awake), Ok(1));
    }
    assert_eq!(heard(&asleep), Err(ClientClose::Slow));
}

#[test]
fn a_client_hears_nothing_before_redis_confirmed() {
    let (hub, _) = house();
    let mut client = hub.join(Transport::Sse).unwrap();
    let wanted = client.want(&parse(&["door"])).unwrap();
    assert!(!send(&hub, "door", "door"));
    client.hear(&wanted);
    assert!(send(&hub, "door", "door"));
    assert_eq!(heard(&client), Ok(1));
}

#[test]
fn too_many_subscriptions_are_refused_and_those_it_has_already_do_not_count() {
    let (hub, _) = house();
    let names: Vec<_> = (0..128).map(|n| format!("c{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut client = listen(&hub, &names);
    assert_eq!(client.want(&parse(&["c0", "c1"])), Ok(vec![]));
    let refusal = client.want(&parse(&["one-more"]));
    assert_eq!(refusal, Err(Refusal::TooManySubscriptions { limit: 128 }));
}

#[test]
fn too_many_prefixes_of_the_server_are_refused_until_one_is_free() {
    let (hub, _) = house();
    let three = listen(&hub, &["a.*", "b.*", "c.*"]);
    let mut late = hub.join(Transport::Sse).unwrap();
    assert_eq!(late.want(&parse(&["d.*"])), Err(Refusal::TooManyPrefixes { limit: 3 }));
    assert_eq!(late.want(&parse(&["a.*"])).unwrap().len(), 1);
    drop(three);
    assert_eq!(late.want(&parse(&["d.*"])).unwrap().len(), 1);
}

#[test]
fn a_closed_hub_says_goodbye_and_admits_nobody() {
    let (hub, _) = house();
    let client = listen(&hub, &["door"]);
    send(&hub, "door", "door");
    hub.close();
    send(&hub, "door", "door");
    assert_eq!(heard(&client), Ok(1));
    assert_eq!(heard(&client), Err(ClientClose::Shutdown));
    let refused = hub.join(Transport::Sse).err();
    assert_eq!(refused, Some(Refusal::Draining));
}

#[test]
fn an_announcement_reaches_those_who_listen_and_is_kept_for_those_to_come() {
    let (hub, _) = house();
    let client = listen(&hub, &["door"]);
    hub.announce(Frame::announcement(sse_event("status", b"{}")));
    assert_eq!(heard(&client), Ok(1));
    assert_eq!(hub.announced().unwrap().bytes(), "event: status\ndata: {}\n\n");
}

fn word(text: &'static str) -> Frame {
    Frame::announcement(Bytes::from_static(text.as_bytes()))
}
fn text(client: &Client) -> String {
    match client.outbox().poll_take(&mut Context::from_waker(&noop_waker())) {
        Poll::Ready(Taken::Batch(mut batch)) => {
            String::from_utf8(batch.copy_to_bytes(batch.remaining()).to_vec()).unwrap()
        }
        _ => String::new(),
    }
}

#[test]
fn a_word_about_a_subscription_stands_before_its_first_and_after_its_last_notification() {
    let (hub, left) = house();
    let mut client = listen(&hub, &[]);
    let wanted = client.want(&parse(&["door"])).unwrap();
    client.hear_after(word("<"), &wanted);
    send(&hub, "door", "door");
    client.forget(&parse(&["door", "never-had"]), word(">"));
    assert_eq!(*left.lock().unwrap(), ["door"]);
    assert!(!send(&hub, "door", "door"));
    let text = text(&client);
    assert!(text.starts_with("<event: ") && text.ends_with("\n\n>"), "{text}");
    assert_eq!(client.want(&wanted).unwrap(), wanted);
}

#[test]
fn what_redis_refused_meanwhile_has_to_be_confirmed_anew() {
    let (hub, _) = house();
    let mut client = listen(&hub, &["door", "a.*"]);
    hub.refuse(&parse(&["door"])[0], |_| word("refused"));
    assert_eq!(client.want(&parse(&["a.*", "door"])).unwrap(), parse(&["door"]));
    // It still had it, so leaving once is leaving.
    client.forget(&parse(&["door"]), word(""));
    assert_eq!(client.want(&parse(&["door"])).unwrap(), parse(&["door"]));
}

/// What a client does between two copies of a notification.
#[derive(Clone, Debug)]
enum Change {
    Hear(usize),
    Forget(usize),
    Nothing,
}

proptest! {
    /// Redis sends one copy for each subscription of the server that matches, the channel's own
    /// first; clients come to subscriptions and leave them before, between and after.
    #[test]
    fn a_client_hears_a_notification_once_however_its_subscriptions_change(
        had in prop::sample::subsequence(vec!["a.b.c", "a.*", "a.b.*", "a.b.c.*", "a.b", "b.*"], 0..6),
        changes in prop::collection::vec(prop_oneof![
            (0usize..6).prop_map(Change::Hear),
            (0usize..6).prop_map(Change::Forget),
            Just(Change::Nothing),
        ], 3),
    ) {
        let all = parse(&["a.b.c", "a.*", "a.b.*", "a.b.c.*", "a.b", "b.*"]);
        let hub = Hub::new(Limits::new(BOUNDS), |_| ());
        let mut client = listen(&hub, &had);
        let mut hears: HashSet<_> = parse(&had).into_iter().collect();
        // Somebody else keeps the server subscribed to everything.
        let _others = listen(&hub, &["a.b.c", "a.*", "a.b.*"]);
        let channel = ChannelName::parse("a.b.c").unwrap();
        let notification = Notification::from_wire(&channel, b"1").unwrap();
        let (mut encoded, mut meant) = (Encoded::new(&notification), false);
        for (copy, change) in all[..3].iter().zip(changes) {
            meant |= hears.contains(copy);
            hub.dispatch(copy, &mut encoded);
            match change {
                Change::Hear(at) => {
                    let wanted = client.want(&all[at..=at]).unwrap();
                    client.hear_after(word(""), &wanted);
                    hears.insert(all[at].clone());
                }
                Change::Forget(at) => {
                    client.forget(&all[at..=at], word(""));
                    hears.remove(&all[at]);
                }
                Change::Nothing => {}
            }
        }
        prop_assert_eq!(text(&client).matches("event: ").count(), usize::from(meant));
    }
}
