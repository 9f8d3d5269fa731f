use super::*;
use crate::hub::fake::Fake;
use crate::model::{ChannelName, Notification};
use bytes::Bytes;
use futures_util::task::noop_waker;
use proptest::prelude::*;
use std::task::Context;

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
fn send(hub: &Hub, name: &str) -> bool {
    let channel = ChannelName::parse(name).unwrap();
    let notification = Notification::from_wire(&channel, b"1").unwrap();
    hub.dispatch(&channel, &mut Encoded::new(&notification), &mut Touched::default()).is_some()
}
/// How many frames wait, or why the client was closed.
fn heard(client: &Client) -> Result<usize, ClientClose> {
    let (text, closed) = read(client);
    match closed {
        Some(reason) if text.is_empty() => Err(reason),
        _ => Ok(text.matches("event: ").count()),
    }
}
/// What waits, and why the client was closed.
fn read(client: &Client) -> (String, Option<ClientClose>) {
    let socket = Fake::of(client.outbox(), usize::MAX);
    loop {
        match client.outbox().write(&mut Context::from_waker(&noop_waker())) {
            Written::More => {}
            Written::Closed(reason) => return (socket.taken(), Some(reason)),
            _ => return (socket.taken(), None),
        }
    }
}

#[test]
fn clients_hear_what_they_want_and_nothing_else() {
    let (hub, _) = house();
    let (door, garden) = (listen(&hub, &["door"]), listen(&hub, &["garden", "garden.*"]));
    assert!(send(&hub, "door"));
    assert!(send(&hub, "garden.gate"));
    assert!(!send(&hub, "street"));
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
    assert!(!send(&hub, "door"));
}

#[test]
fn a_client_that_never_reads_is_closed_and_the_others_still_hear() {
    let (hub, _) = house();
    let (asleep, awake) = (listen(&hub, &["door"]), listen(&hub, &["door"]));
    for _ in 0..2 * BOUNDS.messages {
        send(&hub, "door");
        assert_eq!(heard(&awake), Ok(1));
    }
    assert_eq!(heard(&asleep), Err(ClientClose::Slow));
}

/// Sends numbers on channels to a client that does not read, and gives what is left for it.
fn left(rules: &[&str], sent: &[(&str, u32)]) -> Result<Vec<u32>, ClientClose> {
    let delivery = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let hub = Hub::new(Limits { delivery, ..Limits::new(BOUNDS) }, |_| ());
    let asleep = listen(&hub, &["a", "b", "c.*"]);
    for (name, number) in sent {
        let channel = ChannelName::parse(name).unwrap();
        let notification =
            Notification::from_wire(&channel, number.to_string().as_bytes()).unwrap();
        hub.dispatch(&channel, &mut Encoded::new(&notification), &mut Touched::default());
    }
    let (text, closed) = read(&asleep);
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let number = |json| serde_json::from_str::<serde_json::Value>(json).unwrap()["data"].as_u64();
    let left = data.map(|json| number(json).unwrap() as u32).collect();
    closed.map_or(Ok(left), Err)
}

#[test]
fn the_oldest_give_way_where_the_policy_says_so_and_the_client_stays() {
    let sent: Vec<_> = (0..9).map(|number| ("a", number)).collect();
    assert_eq!(left(&["a=drop-oldest"], &sent), Ok(vec![5, 6, 7, 8]));
    assert_eq!(left(&["b=drop-oldest"], &sent), Err(ClientClose::Slow));
    // Those of other channels stay, and have the room.
    let mixed = [("b", 0), ("a", 1), ("b", 2), ("a", 3), ("b", 4), ("b", 5)];
    assert_eq!(left(&["a=drop-oldest"], &mixed), Ok(vec![0, 2, 4, 5]));
    let too_many = [("b", 0), ("a", 1), ("b", 2), ("b", 3), ("b", 4), ("b", 5)];
    assert_eq!(left(&["a=drop-oldest"], &too_many), Err(ClientClose::Slow));
}

#[test]
fn of_each_channel_only_the_latest_waits_where_the_policy_says_so() {
    let sent = [("c.x", 0), ("c.y", 1), ("c.x", 2), ("a", 3), ("c.x", 4), ("a", 5)];
    assert_eq!(left(&["c.*=latest-only"], &sent), Ok(vec![1, 3, 4, 5]));
    // However many there were, they take the room of one, be they first or behind another.
    let many = (1..99).map(|number| ("c.x", number));
    assert_eq!(left(&["c.*=latest-only"], &many.clone().collect::<Vec<_>>()), Ok(vec![98]));
    let behind: Vec<_> = [("b", 0)].into_iter().chain(many).collect();
    assert_eq!(left(&["c.*=latest-only"], &behind), Ok(vec![0, 98]));
    // The latest of a channel is the oldest of all when there are too many channels.
    let wide: Vec<_> = ["c.1", "c.2", "c.3", "c.4", "c.5", "c.6"].into_iter().zip(1..).collect();
    assert_eq!(left(&["c.*=latest-only"], &wide), Ok(vec![3, 4, 5, 6]));
}

#[test]
fn what_a_socket_took_a_part_of_is_not_given_up_for_a_later_one() {
    for rule in ["a=latest-only", "a=drop-oldest"] {
        let delivery = vec![rule.parse().unwrap()];
        let hub = Hub::new(Limits { delivery, ..Limits::new(BOUNDS) }, |_| ());
        let client = listen(&hub, &["a"]);
        send(&hub, "a");
        let socket = Fake::of(client.outbox(), 9);
        let write = || client.outbox().write(&mut Context::from_waker(&noop_waker()));
        while write() == Written::More {}
        (0..9).for_each(|_| assert!(send(&hub, "a")));
        socket.set_room(usize::MAX);
        while write() == Written::More {}
        let text = socket.taken();
        assert!(text.ends_with("\n\n"), "{rule}: {text}");
        for event in text.split_terminator("\n\n") {
            assert!(event.starts_with("event: notification\ndata: {"), "{rule}: {event}");
        }
    }
}

#[test]
fn a_client_hears_nothing_before_redis_confirmed() {
    let (hub, _) = house();
    let mut client = hub.join(Transport::Sse).unwrap();
    let wanted = client.want(&parse(&["door"])).unwrap();
    assert!(!send(&hub, "door"));
    client.hear(&wanted);
    assert!(send(&hub, "door"));
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
    send(&hub, "door");
    hub.close();
    send(&hub, "door");
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
#[test]
fn a_word_about_a_subscription_stands_before_its_first_and_after_its_last_notification() {
    let (hub, left) = house();
    let mut client = listen(&hub, &[]);
    let wanted = client.want(&parse(&["door"])).unwrap();
    client.hear_after(word("<"), &wanted);
    send(&hub, "door");
    client.forget(&parse(&["door", "never-had"]), word(">"));
    assert_eq!(*left.lock().unwrap(), ["door"]);
    assert!(!send(&hub, "door"));
    let (text, _) = read(&client);
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

proptest! {
    #[test]
    fn a_client_hears_a_notification_once_by_however_many_subscriptions(
        had in prop::sample::subsequence(vec!["a.b.c", "a.*", "a.b.*", "a.b.c.*", "a.b", "b.*"], 0..6),
    ) {
        let hub = Hub::new(Limits::new(BOUNDS), |_| ());
        let client = listen(&hub, &had);
        // Whatever somebody else hears it by.
        let _others = listen(&hub, &["a.b.c", "a.*", "a.b.*"]);
        prop_assert!(send(&hub, "a.b.c"));
        let meant = had.iter().any(|text| ["a.b.c", "a.*", "a.b.*"].contains(text));
        prop_assert_eq!(heard(&client), Ok(usize::from(meant)));
    }
}
