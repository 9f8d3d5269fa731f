//! Tells the clients how this server's connections to Redis are doing.

use std::time::Duration;

use futures_util::future::select_all;
use serde_json::json;
use tokio::sync::watch;

use crate::conn::Status;
use crate::hub::{Frame, Hub, sse_event};
use crate::model::rfc3339;

/// The shortest time between two announcements. A Redis that refuses is dialled ten times a
/// second; telling every client each time would cost more than it says, and would fill the outbox
/// of one that is only out of reach for a moment.
const PACE: Duration = Duration::from_millis(250);

/// Announces the connections' states now and whenever they have changed, until their owner is
/// gone. What changes within a quarter of a second is told as one.
pub async fn run(mut connections: Vec<watch::Receiver<Status>>, hub: Hub) {
    loop {
        let statuses: Vec<_> =
            connections.iter_mut().map(|status| status.borrow_and_update().clone()).collect();
        hub.announce(Frame::announcement(sse_event("status", &document(&statuses))));
        tokio::time::sleep(PACE).await;
        let changes = connections.iter_mut().map(|status| Box::pin(status.changed()));
        if select_all(changes).await.0.is_err() {
            return;
        }
    }
}

fn document(statuses: &[Status]) -> Vec<u8> {
    let connections: Vec<_> = statuses
        .iter()
        .map(|status| {
            json!({
                "role": status.role.label(),
                "state": status.state.label(),
                "since": rfc3339(status.since),
            })
        })
        .collect();
    json!({ "connections": connections }).to_string().into_bytes()
}
