use super::*;
use crate::conn::Code;
use crate::hub::{Frame, sse_event};
use crate::model::{ConnectionState, Role};

/// Waits until a fact that nobody reports is true.
async fn until(what: impl Fn() -> bool) {
    soon(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_hears_what_is_published_after_its_200() {
    let house = House::start();
    house.hub.announce(Frame::announcement(sse_event("status", b"{}")));
    let mut peer = house.peer().await;
    let reply = peer.ask("GET /v1/stream?channel=door").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(reply.header("date").is_some_and(|date| date.ends_with(" GMT")));
    assert!(peer.line().await.starts_with("retry: "));
    assert_eq!(peer.line().await, "event: status");
    assert_eq!(peer.line().await, "data: {}");
    house.publish("door", "1");
    house.publish("window", "2");
    house.publish("door", "3");
    for expected in [1, 3] {
        assert_eq!(peer.line().await, "event: notification");
        let line = peer.line().await;
        let event: Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((&event["data"], &event["subject"]), (&expected.into(), &"door".into()));
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_subscriptions_along() {
    let house = House::start();
    let mut peer = house.peer().await;
    assert_eq!(peer.ask("GET /v1/stream?channel=door&channel=a.*").await.status, 200);
    drop(peer);
    until(|| house.hub.clients() == 0).await;
    let mut left = house.redis.left.lock().unwrap().clone();
    left.sort();
    assert_eq!(left, ["a.*", "door"]);
}

#[tokio::test]
async fn a_stream_is_refused_without_a_sound_channel_or_with_too_many() {
    let house = House::start();
    for query in ["", "?channel=", "?channel=*", "?channels=a"] {
        let reply = house.ask(&format!("GET /v1/stream{query}")).await;
        assert_eq!(reply.problem(), (400, "invalid".into()), "{query}");
    }
    let many: Vec<_> = (0..129).map(|n| format!("channel=c{n}")).collect();
    let reply = house.ask(&format!("GET /v1/stream?{}", many.join("&"))).await;
    assert_eq!(reply.problem(), (400, "invalid".into()));
    assert_eq!(house.hub.clients(), 0);
}

#[tokio::test]
async fn a_stream_that_redis_does_not_confirm_is_a_503_and_nothing_of_it_stays() {
    let house = House::start();
    let away = conn::Error::NotReady {
        role: Role::Subscriber,
        state: ConnectionState::Backoff,
        since: std::time::SystemTime::now(),
    };
    let denied = conn::Error::Server { code: Code::Noperm, text: "NOPERM".into() };
    for (answer, expected) in
        [(away, (503, "redis-unavailable")), (denied, (403, "subscription-refused"))]
    {
        *house.redis.answer.lock().unwrap() = Some(answer);
        let reply = house.ask("GET /v1/stream?channel=door").await;
        assert_eq!(reply.problem(), (expected.0, expected.1.into()));
        assert_eq!(house.hub.clients(), 0);
        assert_eq!(house.redis.left.lock().unwrap().pop().as_deref(), Some("door"));
    }
}

#[tokio::test]
async fn an_idle_stream_carries_comments() {
    let house = House::with(BOUNDS, Duration::from_millis(20), 10);
    let mut peer = house.peer().await;
    peer.ask("GET /v1/stream?channel=door").await;
    assert!(peer.line().await.starts_with("retry: "));
    assert_eq!([peer.line().await, peer.line().await], [":", ":"]);
}

#[tokio::test]
async fn a_closing_hub_delivers_what_waits_and_says_goodbye() {
    let house = House::start();
    let mut peer = house.peer().await;
    peer.ask("GET /v1/stream?channel=door").await;
    house.publish("door", "1");
    house.hub.close();
    let rest = peer.line().await + &peer.line().await + &peer.line().await;
    assert!(rest.contains("event: notification"), "{rest}");
    assert_eq!(peer.line().await, "event: closing");
    assert!(peer.line().await.starts_with("retry: "));
    assert!(peer.line().await.starts_with(r#"data: {"reason":"shutdown","reconnect":"#));
    let reply = house.ask("GET /v1/stream?channel=door").await;
    assert_eq!(reply.problem(), (503, "shutting-down".into()));
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_and_the_others_still_hear() {
    let house = House::with(Bounds { messages: 8, bytes: 1 << 20 }, Duration::from_secs(15), 10);
    let (mut asleep, mut awake) = (house.peer().await, house.peer().await);
    asleep.ask("GET /v1/stream?channel=door").await;
    awake.ask("GET /v1/stream?channel=door").await;
    awake.line().await;
    let large = "x".repeat(60_000);
    soon(async {
        while house.hub.clients() == 2 {
            house.publish("door", &large);
            assert_eq!(awake.line().await, "event: notification");
            awake.line().await;
        }
    })
    .await;
    house.publish("door", "still here");
    assert_eq!(awake.line().await, "event: notification");
    assert!(!asleep.rest().await.contains("still here"));
}

#[tokio::test]
async fn a_stream_may_be_asked_for_before_earlier_answers_are_read() {
    const PAGES: usize = 100;
    let house = House::start();
    let mut peer = house.peer().await;
    let (page, end) = ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", " HTTP/1.1\r\n");
    let asked = page.repeat(PAGES)
        + &page.replacen("/ HTTP", "/v1/stream?channel=door HTTP", 1)
        + "GET /never-read"
        + end;
    peer.0.get_mut().write_all(asked.as_bytes()).await.unwrap();
    for _ in 0..PAGES {
        let mut reply = peer.head().await;
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
        reply.body = vec![0; reply.header("content-length").unwrap().parse().unwrap()];
        soon(peer.0.read_exact(&mut reply.body)).await.unwrap();
        assert!(reply.body.ends_with(b"</html>\n"));
    }
    let stream = peer.head().await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(peer.line().await.starts_with("retry: "));
    house.publish("door", "1");
    assert_eq!(peer.line().await, "event: notification");
}
