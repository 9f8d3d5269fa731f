//! The word for what cannot be told.

use serde_json::json;

use crate::hub::{Frame, Hub, event};
use crate::model::{LostReason, Position, Subscription, Transport};
use crate::telemetry::events::history::LossTold;

/// Tells all who hear these that notifications are lost, and says how many clients that are.
pub(super) fn tell(
    hub: &Hub,
    hit: &[Subscription],
    reason: LostReason,
    cursor: Option<Position>,
) -> u64 {
    if let (LostReason::Future, Some(head)) = (reason, cursor) {
        hub.goes_back(hit, head);
    }
    let clients = hub.tell(hit, |transport, heard| word(transport, heard, reason, cursor));
    LossTold { reason, clients }.emit();
    clients
}

/// `lost`, with the subscriptions that it is about, and where the client resumes from henceforth.
pub(super) fn word(
    transport: Transport,
    hit: &[Subscription],
    reason: LostReason,
    cursor: Option<Position>,
) -> Frame {
    let mut channels: Vec<_> = hit.iter().map(Subscription::to_string).collect();
    channels.sort_unstable();
    let lost = json!({ "channels": channels, "reason": reason.label() }).to_string();
    Frame::announcement(event(transport, "lost", lost.as_bytes(), cursor))
}
