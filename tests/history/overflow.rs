//! A server that was too slow for a burst reads from the history what found no room.

use std::io::IoSlice;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::json;
use trunkline::conn::{Budget, Options, Owner};
use trunkline::flow::fanout;
use trunkline::flow::listen::{Listen, Since};
use trunkline::health::Progress;
use trunkline::history::{History, Retention};
use trunkline::hub::{Bounds, Limits, Refused, Sink};
use trunkline::model::{Component, Subscription, Transport};

use super::support::DEADLINE;
use super::support::eventually::eventually;
use super::support::http::Http;
use super::support::process::Daemon;
use super::support::redis::Redis;

/// Takes whatever comes.
#[derive(Default)]
struct Ear(Mutex<Vec<u8>>);

impl Sink for Ear {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Refused> {
        let mut heard = self.0.lock().unwrap();
        let before = heard.len();
        slices.iter().for_each(|slice| heard.extend_from_slice(slice));
        Ok(heard.len() - before)
    }
}

impl Ear {
    /// The data of all notifications so far.
    fn heard(&self) -> Vec<u64> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let event = |data| serde_json::from_str::<serde_json::Value>(data).unwrap();
        events.map(event).map(|event| event["data"].as_u64().expect("a notification")).collect()
    }
}

#[tokio::test]
async fn what_found_no_room_on_its_way_to_the_clients_is_heard_in_its_place() {
    const BURST: u64 = 60;
    let redis = Redis::start();
    let publisher = Daemon::server(&redis.url()).patient().start();
    publisher.wait_ready().await;
    let address = publisher.public().await.address();

    // All this server does is done on the thread of this test.
    let mut options = Options::from_url(&redis.url(), "trunkline", "server").unwrap();
    options.hand_off = 8;
    let owner = Owner::new(options, &Budget::of(Component::Server)).unwrap();
    let subscriber = owner.subscriber().unwrap();
    let messages = subscriber.messages().unwrap();
    owner.connect().await;
    owner.shared().ready(DEADLINE).await.unwrap();
    let kept = Retention { size: 100, age: DEADLINE, off: vec![] };
    let channels = "trunkline:notify:".to_owned();
    let history = History::new(owner.shared(), owner.publisher(), "trunkline", channels, kept);
    let limits = Limits::new(Bounds { messages: 1_000, bytes: 1 << 20 });
    let listen = Listen::new(limits, Arc::new(subscriber), DEADLINE, history.clone());
    let heartbeat = Progress::default().watch("fanout");
    let fanout = tokio::spawn(fanout::run(messages, listen.hub().clone(), history, heartbeat));
    let wanted = [Subscription::parse("a").unwrap()];
    let opened = listen.open(Transport::Sse, &wanted, Since::Now).await.unwrap();
    let ear = Arc::new(Ear::default());
    opened.client.outbox().attach(ear.clone(), Bytes::new());

    // It hears nothing meanwhile, and then everything at once.
    let burst = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let public = Http::at(address);
            for number in 0..BURST {
                let body = json!({ "channel": "a", "data": number });
                assert_eq!(public.post("/v1/notifications", &body).await.status, 200);
            }
        });
    });
    burst.join().unwrap();
    eventually("the whole burst is heard", async || match ear.heard() {
        heard if heard == (0..BURST).collect::<Vec<_>>() => Ok(()),
        heard => Err(format!("{heard:?}")),
    })
    .await;
    fanout.abort();
}
