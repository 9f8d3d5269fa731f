//! Who is let in, and how much one client may have.

use hyper::Method;
use serde_json::{Value, json};

use super::bytes::Peer;
use super::client::{Client, problem};
use super::closed;
use super::support::house::{House, problem as answered};
use super::support::process::Daemon;
use super::support::redis::Redis;

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("c{number}")).collect()
}

/// The headers that begin a WebSocket.
const OPENING: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test]
async fn a_client_may_have_128_subscriptions() {
    let house = House::start().await;
    let mut client = Client::open(&house, "").await;
    let most = client.ask(json!({ "subscribe": names(0..128) })).await;
    assert_eq!(most["subscribed"].as_array().map(Vec::len), Some(128));
    let more = client.ask(json!({ "subscribe": ["c1", "one-more"] })).await;
    assert_eq!(problem(&more), "invalid");
    assert_eq!(more["error"]["errors"][0]["path"], "$.subscribe");
    client.subscribe(&["c1"]).await;
    client.ask(json!({ "unsubscribe": ["c1"] })).await;
    client.subscribe(&["one-more"]).await;
    let confirmed = house.server.metric("trunkline_subscriptions_confirmed").await;
    confirmed.settles(128.0).await;
}

#[tokio::test]
async fn a_server_may_have_1000_prefixes_and_one_that_is_free_again_can_be_had() {
    let house = House::start().await;
    let mut clients = vec![];
    for number in 0..8 {
        let mut client = Client::open(&house, "").await;
        let prefixes: Vec<_> = (0..125).map(|other| format!("p{number}.{other}.*")).collect();
        let answer = client.ask(json!({ "subscribe": prefixes })).await;
        assert_eq!(answer["subscribed"].as_array().map(Vec::len), Some(125), "{answer}");
        clients.push(client);
    }
    let mut late = Client::open(&house, "").await;
    assert_eq!(problem(&late.ask(json!({ "subscribe": ["late.*"] })).await), "prefixes-exhausted");
    late.subscribe(&["p0.0.*", "exact"]).await;
    clients[1].ask(json!({ "unsubscribe": ["p1.0.*"] })).await;
    late.subscribe(&["late.*"]).await;
}

#[tokio::test]
async fn a_handshake_with_a_fault_is_refused_with_a_problem() {
    let house = House::start().await;
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let answer = house.public.send(Method::GET, path, headers, "").await;
        (answered(&answer), answer)
    };
    let (kind, answer) = ask("/v1/ws", &[]).await;
    assert_eq!(kind, (426, "upgrade-required".into()));
    assert_eq!(answer.header("upgrade"), "websocket");
    assert_eq!(answer.header("sec-websocket-version"), "13");
    let old = OPENING.map(|it| if it.0 == "sec-websocket-version" { (it.0, "8") } else { it });
    assert_eq!(ask("/v1/ws", &old).await.0, (426, "upgrade-required".into()));
    let key = OPENING.map(|it| if it.0 == "sec-websocket-key" { (it.0, "short") } else { it });
    assert_eq!(ask("/v1/ws", &key).await.0, (400, "malformed".into()));
    for bad in ["channel=*", "channel=a..b", "channel=", "channel=good&channel=a%20b"] {
        let (kind, answer) = ask(&format!("/v1/ws?{bad}"), &OPENING).await;
        assert_eq!(kind, (400, "invalid".into()), "{bad}");
        assert_eq!(answer.json()["errors"][0]["path"], "channel");
    }
    let many: Vec<_> = names(0..129).iter().map(|name| format!("channel={name}")).collect();
    let (kind, _) = ask(&format!("/v1/ws?{}", many.join("&")), &OPENING).await;
    assert_eq!(kind, (400, "invalid".into()));
    let mut foreign = OPENING.to_vec();
    foreign.push(("origin", "https://evil.example"));
    assert_eq!(ask("/v1/ws", &foreign).await.0, (403, "forbidden-origin".into()));
    let mut rebound = OPENING.to_vec();
    rebound.push(("host", "evil.example"));
    assert_eq!(ask("/v1/ws", &rebound).await.0, (421, "misdirected-host".into()));
    let connected = house.server.metric("trunkline_clients_opened_total").await;
    connected.settles(0.0).await;
}

#[tokio::test]
async fn a_client_of_http_1_0_is_told_what_a_websocket_needs() {
    let house = House::start().await;
    let head = Peer::speaking("HTTP/1.0", &house, "/v1/ws?channel=door", &OPENING).await.head;
    assert!(head.starts_with("http/1.0 426 "), "{head}");
}

#[tokio::test]
async fn a_page_of_our_own_and_of_an_allowed_origin_may_open_one() {
    let house =
        House::with(|server| server.env("TRUNKLINE_ALLOWED_ORIGINS", "https://app.example")).await;
    let own = format!("http://{}", house.public.address());
    for origin in [own.as_str(), "https://app.example"] {
        let mut headers = OPENING.to_vec();
        headers.push(("origin", origin));
        // The answer has no end, since the socket goes on: its head is all that is looked at.
        let head = Peer::open(&house, "/v1/ws", &headers).await.head;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(
            head.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn channels_that_redis_refuses_are_an_error_and_the_others_are_heard() {
    let line = "user default on nopass ~* +@all resetchannels &trunkline:probe:* &trunkline:ctl \
                &trunkline:notify:open &trunkline:notify:fine.*";
    let redis = Redis::plan().users(&[line]).start();
    let server = Daemon::server(&redis.url()).start();
    server.wait_ready().await;
    let address = server.public().await.address();
    let mut client = Client::at(address, "?channel=open&channel=secret&channel=fine.*").await;
    assert_eq!(client.next().await, json!({ "subscribed": ["open", "fine.*"] }));
    let told = client.next().await;
    assert_eq!(problem(&told), "subscription-refused");
    let detail = |told: &Value| told["error"]["detail"].as_str().unwrap().to_owned();
    assert!(detail(&told).contains("secret") && !detail(&told).contains("open"), "{told}");
    // Alone, and once more: nothing but the error.
    let told = client.ask(json!({ "subscribe": ["secret"] })).await;
    assert_eq!(problem(&told), "subscription-refused");
    assert_eq!(client.ask(json!({ "ping": 1 })).await, json!({ "pong": 1 }));
    assert_eq!(server.admin().await.get("/readyz").await.json()["missing"], json!([]));
    redis.cli(&["PUBLISH", "trunkline:notify:open", "1"]);
    assert_eq!(client.heard().await, 1);
}

#[tokio::test]
async fn a_thousand_clients_may_come_and_go() {
    let house = House::start().await;
    for _ in 0..10 {
        let opening = (0..100).map(|_| Client::hearing(&house, &["door"]));
        let mut clients = futures_util::future::join_all(opening).await;
        house.notify("door", json!(1)).await;
        for client in &mut clients {
            assert_eq!(client.heard().await, 1);
        }
    }
    closed(&house, "client", 1_000).await;
}
