//! What the scripts of a page hear: the browser's own WebSocket.

use serde_json::json;

use super::house_that_stays_where_it_is;
use super::support::browser::Browser;
use super::support::house::House;

/// Opens a WebSocket in the page; `heard` is what came, `ended` how it ended.
const OPEN: &str = "heard = []; ended = null;
    socket = new WebSocket('/v1/ws?channel=door');
    socket.onmessage = ({ data }) => heard.push(JSON.parse(data));
    socket.onclose = ({ code, reason, wasClean }) => ended = { code, reason, wasClean }; 0";

#[tokio::test]
async fn a_websocket_of_a_page_subscribes_hears_and_is_told_to_come_back() {
    let house = house_that_stays_where_it_is().await;
    let mut page = Browser::open(house.public.address(), "/?channel=other", 1024).await;
    page.until("document.readyState === 'complete'").await;
    page.value(OPEN).await;
    page.until("heard.length === 1").await;
    assert_eq!(page.value("heard[0].subscribed").await, json!(["door"]));

    page.value("socket.send(JSON.stringify({ subscribe: ['alerts.*'] })); 0").await;
    page.until("heard.length === 2").await;
    assert_eq!(page.value("heard[1].subscribed").await, json!(["alerts.*"]));
    for (channel, text) in [("door", "ünïcödé"), ("alerts.kitchen", "hot")] {
        house.notify(channel, json!({ "text": text })).await;
    }
    page.until("heard.length === 4").await;
    let texts = page.value("heard.slice(2).map(({ notification }) => notification.data.text)");
    assert_eq!(texts.await, json!(["ünïcödé", "hot"]));

    house.server.sigterm();
    page.until("ended !== null").await;
    let ended = page.value("ended").await;
    assert_eq!((&ended["code"], &ended["wasClean"]), (&json!(1001), &json!(true)), "{ended}");
    let told = page.value("heard.at(-1).closing").await;
    assert_eq!(told["reason"], "shutdown");
    assert!(told["reconnect"].as_u64().is_some_and(|ms| ms >= 1_000), "{told}");
    assert_eq!(house.server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_websocket_of_a_page_elsewhere_is_refused() {
    let house = House::start().await;
    let other = House::start().await;
    // A page whose host is ours by another name is a page elsewhere.
    let mut page = Browser::open(other.public.address(), "/", 1024).await;
    page.until("document.readyState === 'complete'").await;
    // Past the page's own policy, so that it is the server that refuses.
    page.call("Page.setBypassCSP", json!({ "enabled": true })).await;
    page.call("Page.reload", json!({})).await;
    page.until("document.readyState === 'complete' && typeof listen === 'function'").await;
    let address = house.public.address();
    let open = OPEN.replace("'/v1/ws", &format!("'ws://{address}/v1/ws"));
    page.value(&open).await;
    page.until("ended !== null").await;
    assert_eq!(page.value("ended.code").await, 1006, "it never was open");
    assert_eq!(page.value("heard").await, json!([]));
}
