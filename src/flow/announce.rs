//! Tells the clients how this server's connections to Redis are doing.

use futures_util::future::select_all;
use serde_json::json;
use tokio::sync::watch;

use crate::conn::Status;
use crate::hub::{Frame, Hub, sse_event};
use crate::model::rfc3339;

/// Announces the connections' states now and at every change, until their owner is gone.
pub async fn run(mut connections: Vec<watch::Receiver<Status>>, hub: Hub) {
    loop {
        let statuses: Vec<_> =
            connections.iter_mut().map(|status| status.borrow_and_update().clone()).collect();
        hub.announce(Frame::announcement(sse_event("status", &document(&statuses))));
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
