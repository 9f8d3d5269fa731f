//! What Redis says it handed to subscribers, against what they say they were handed.

use std::time::Duration;

use crate::fleet::Place;
use crate::lab::Lab;
use crate::support::metrics::Page;

/// A page is rendered once in a second at most.
const FRESH: Duration = Duration::from_millis(1100);

/// Both sides since each process started; only a difference means something, and only while
/// no connection is lost.
#[derive(Clone, Copy, Debug)]
pub struct Handed {
    /// The sum of what every PUBLISH was answered.
    told: f64,
    /// What the servers received, and the witness.
    received: f64,
}

impl Handed {
    /// As of now. Nobody may be publishing.
    pub async fn now(lab: &Lab) -> Handed {
        tokio::time::sleep(FRESH).await;
        let heard =
            lab.witness.published().values().map(|times| u64::from(times.most)).sum::<u64>();
        let mut handed = Handed { told: 0.0, received: heard as f64 };
        for place in Place::all() {
            let page = Page::parse(lab.fleet.at(place).admin.get("/metrics").await.text());
            handed.told += page.sum("trunkline_publish_receivers_sum", &[]);
            if matches!(place, Place::Server(_)) {
                let received = "trunkline_subscriber_messages_received_total";
                handed.received += page.sum(received, &[("kind", "event")]);
            }
        }
        handed
    }

    /// What is wrong with what was handed on since.
    pub fn differs_since(&self, before: &Handed) -> Option<String> {
        let (told, received) = (self.told - before.told, self.received - before.received);
        (told != received).then(|| {
            format!("Redis handed {told} notifications to subscribers, who received {received}")
        })
    }
}
