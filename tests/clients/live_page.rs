//! `GET /` in a browser: what a person sees, reaches by keyboard, and has to scroll for.

use serde_json::json;

use super::support::browser::{Browser, Page};
use super::support::house::House;
use super::{house_that_stays_where_it_is, start_again};

/// A phone.
const NARROW: u32 = 390;
const WIDE: u32 = 1280;

/// Opens the page on these channels and waits until it listens.
async fn open(house: &House, channels: &str, width: u32) -> Page {
    let path = format!("/?channels={channels}");
    let mut page = Browser::open(house.public.address(), &path, width).await;
    page.until("document.getElementById('verdict')?.innerText === 'Listening.'").await;
    page
}

const STATES: &str = "[...document.querySelectorAll('#states li')].map((it) => it.innerText)";

#[tokio::test]
async fn the_page_shows_notifications_as_they_arrive_and_how_each_connection_is() {
    let house = House::start().await;
    let mut page = open(&house, "door+alerts.*", WIDE).await;
    // The stream says how its server is right after it opens.
    page.until(&format!("{STATES}.length === 3")).await;
    let states = page.value(STATES).await;
    for (place, start) in ["this page open", "shared ready", "subscriber ready"].iter().enumerate()
    {
        let shown = states[place].as_str().unwrap_or_default();
        assert!(shown.starts_with(start), "{start:?} is missing in {states}");
    }
    let markup = "<img src=x onerror=\"document.title='owned'\"><script>boom()</script>";
    for (channel, data) in [
        ("door", json!("first")),
        ("alerts.kitchen", json!({ "message": "Sensor kitchen is hot" })),
        ("elsewhere", json!("not for us")),
        ("door", json!(markup)),
    ] {
        house.notify(channel, data).await;
    }
    page.until("document.querySelectorAll('#heard li').length === 3").await;
    let said = "[...document.querySelectorAll('#heard .said')].map((it) => it.innerText)";
    assert_eq!(page.value(said).await, json!([markup, "Sensor kitchen is hot", "first"]));
    let count = page.text("count").await;
    assert!(count.starts_with("3 since "), "{count}");
    assert_eq!(page.value("document.title").await, "door alerts.* - Trunkline");
    assert_eq!(page.value("document.querySelectorAll('#heard img').length").await, 0);
    assert_eq!(page.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_page_says_that_redis_is_gone_and_goes_on_by_itself_when_it_is_back() {
    let house = House::start().await;
    let mut page = open(&house, "door", WIDE).await;
    house.redis.kill9();
    page.until("document.getElementById('verdict').innerText.startsWith('No Redis since ')").await;
    assert_eq!(page.value("document.title").await, "No Redis - Trunkline");
    let away = format!("{STATES}.filter((it) => / ready /.test(it)).length === 0");
    page.until(&away).await;
    house.redis.restart();
    page.until("document.getElementById('verdict').innerText === 'Listening.'").await;
    // That Redis kept nothing, so what it may have had meanwhile cannot be told.
    page.until(&format!("{STATES}.some((it) => it.startsWith('lost on door: epoch '))")).await;
    house.server.wait_nothing_missing().await;
    house.notify("door", json!("again")).await;
    page.until("document.querySelector('#heard .said')?.innerText === 'again'").await;
    // The page never lost its server, so there is nothing to complain about.
    assert_eq!(page.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_page_comes_back_by_itself_when_its_server_does() {
    let mut house = house_that_stays_where_it_is().await;
    let mut page = open(&house, "door", WIDE).await;
    house.server.sigterm();
    page.until(
        "/\\(shutdown\\)|cannot be reached/.test(document.getElementById('verdict').innerText)",
    )
    .await;
    house.server.exit().await;
    start_again(&mut house).await;
    page.until("document.getElementById('verdict').innerText === 'Listening.'").await;
    house.notify("door", json!("again")).await;
    page.until("document.querySelector('#heard .said')?.innerText === 'again'").await;
    // A server that is away is the one thing a browser itself complains about.
    let complaints = page.complaints().await;
    assert!(complaints.iter().all(|it| it.contains("\"source\":\"network\"")), "{complaints:?}");
}

#[tokio::test]
async fn all_of_the_page_can_be_done_by_keyboard_on_a_narrow_screen() {
    let house = House::start().await;
    let mut page = open(&house, "door", NARROW).await;
    let mut reached = vec![];
    // Whatever has the focus says so by an outline.
    let focus = "(() => { const it = document.activeElement;
        return [it.id || it.textContent, getComputedStyle(it).outlineStyle]; })()";
    let mut to = async |page: &mut Page, id: &str| loop {
        page.press("Tab").await;
        let focused = page.value(focus).await;
        assert_ne!(focused[1], "none", "{focused} has the focus and does not show it");
        reached.push(focused[0].as_str().unwrap_or_default().to_owned());
        assert!(reached.len() < 20, "{id} is out of reach: {reached:?}");
        if reached.last().is_some_and(|it| it == id) {
            return;
        }
    };
    to(&mut page, "channel").await;
    page.call("Input.insertText", json!({ "text": "door" })).await;
    to(&mut page, "data").await;
    let long = "no-space-to-break-at-".repeat(40);
    page.call("Input.insertText", json!({ "text": long })).await;
    to(&mut page, "Publish").await;
    page.press("Enter").await;
    page.until("document.querySelectorAll('#heard li').length === 1").await;
    page.until("document.getElementById('published').innerText.startsWith('Published at ')").await;

    to(&mut page, "hold").await;
    page.press("Space").await;
    page.until("document.getElementById('hold').innerText === 'Go on'").await;
    house.notify("door", json!("held back")).await;
    page.until("document.getElementById('count').innerText.endsWith('1 held back')").await;
    page.press("Space").await;
    page.until("document.querySelectorAll('#heard li').length === 2").await;
    page.press("Tab").await;
    page.press("Enter").await;
    page.until(
        "document.querySelector('#heard li:first-child pre')?.innerText.includes('held back')",
    )
    .await;

    // The longest there is, opened, and still nothing to scroll for sideways.
    house.notify(&"c".repeat(200), json!("elsewhere")).await;
    house.notify("door", json!({ "message": long, "inside": { "deep": long } })).await;
    page.until("document.querySelectorAll('#heard li').length === 3").await;
    page.value("document.querySelectorAll('details').forEach((it) => { it.open = true; }); 0")
        .await;
    page.until("document.querySelectorAll('#heard pre').length === 3").await;
    let width = page.value("document.documentElement.scrollWidth").await;
    assert_eq!(width, NARROW, "the page is wider than the screen");
    assert_eq!(page.complaints().await, Vec::<String>::new());
}
