//! The clients to whom fan-out has pushed something that is not written yet.

use std::collections::VecDeque;
use std::sync::Arc;

use super::outbox::Outbox;
use crate::telemetry::events::client::Delivered;

/// Outboxes that wait to be written, each once. Dropped, it leaves them to their clients' tasks.
///
/// Several notifications pushed before [`Touched::write`] leave in one write for each client. That
/// is bounded by what may wait for a client, and by the clients there are.
#[derive(Default)]
pub struct Touched(VecDeque<Arc<Outbox>>);

impl Touched {
    pub(super) fn push(&mut self, outbox: Arc<Outbox>) {
        self.0.push_back(outbox);
    }

    /// Writes into sockets, so many times at most; a client for whom more waits than one write
    /// takes comes last. Says whether anything is left to be written. A client whose socket is
    /// full is left to its task.
    pub fn write(&mut self, times: usize) -> bool {
        let mut delivered = Delivered::default();
        for _ in 0..times {
            let Some(outbox) = self.0.pop_front() else { return false };
            if outbox.write_through(&mut delivered) {
                self.0.push_back(outbox);
            }
        }
        !self.0.is_empty()
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|outbox| outbox.leave_to_task());
    }
}
