//! What Redis refuses after a reconnect although it was confirmed before: its clients are told.

use tokio::sync::watch;

use crate::conn::Subscriber;
use crate::hub::{Frame, Hub, sse_event, ws_message};
use crate::model::{Problem, ProblemKind, Subscription, Transport};

/// Tells the clients of every subscription that leaves the desired set against their will,
/// until the connection's owner is gone.
pub async fn run(subscriber: Subscriber, hub: Hub) {
    let mut refusals: watch::Receiver<u64> = subscriber.refusals();
    while refusals.changed().await.is_ok() {
        // What is heard was confirmed once, so what is no longer desired was refused since.
        for subscription in hub.heard() {
            if !subscriber.wants(&subscription) {
                hub.refuse(&subscription, |transport| told(&subscription, transport));
            }
        }
    }
}

fn told(subscription: &Subscription, transport: Transport) -> Frame {
    let detail = format!("redis no longer allows this server to hear {subscription}");
    let problem = Problem::new(ProblemKind::SubscriptionRefused, detail);
    let bytes = match transport {
        // Not `error`: an EventSource keeps that name for its own troubles.
        Transport::Sse => sse_event("problem", &problem.to_json()),
        Transport::Ws => ws_message("error", &problem.to_json()),
    };
    Frame::announcement(bytes)
}
