//! A client that comes back is told what it has missed, and then hears what comes.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::lost;
use crate::conn::Sent;
use crate::history::{Entry, History, Missed, Size};
use crate::hub::{Encoded, Outbox};
use crate::model::{ClientClose, LostReason, Position, ResumeOutcome, Subscription};
use crate::telemetry::events::history::{LossTold, ResumeEnded};

/// Pages that are read at the same time. After an outage all clients come back together; the others
/// wait their turn. Nobody's turn lasts as long as a client takes: a page is read when its client
/// has room for all of it.
const TOGETHER: usize = 32;
/// How long a client may take to be told everything. One that cannot keep up is closed, and may
/// go on from its cursor.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long after a question that Redis did not answer it is asked again, give or take half.
const AGAIN: Duration = Duration::from_millis(200);

/// How clients come back. Clones are the same.
#[derive(Clone)]
pub(super) struct Resumption {
    history: History,
    turns: Arc<Semaphore>,
}

impl Resumption {
    pub(super) fn new(history: History) -> Self {
        Self { history, turns: Arc::new(Semaphore::new(TOGETHER)) }
    }

    /// Tells a held client what came after `after`, and releases it. Dropped or failed, the client
    /// has a cursor to come back with.
    pub(super) async fn run(self, outbox: Arc<Outbox>, wanted: Vec<Subscription>, after: Position) {
        let outcome = ResumeOutcome::Failed;
        let Self { history, turns } = self;
        let mut returning =
            Return { history, turns, outbox, wanted, told: vec![], replayed: 0, outcome };
        match tokio::time::timeout(PATIENCE, returning.tell(after)).await {
            Ok(outcome) => returning.outcome = outcome,
            Err(_) => returning.outbox.close(ClientClose::Error),
        }
    }
}

struct Return {
    history: History,
    turns: Arc<Semaphore>,
    outbox: Arc<Outbox>,
    wanted: Vec<Subscription>,
    /// Those of which it was told that something was trimmed.
    told: Vec<Subscription>,
    replayed: u64,
    /// Failed, until it is over.
    outcome: ResumeOutcome,
}

impl Return {
    async fn tell(&mut self, mut after: Position) -> ResumeOutcome {
        let unkept = self.history.unkept(&self.wanted);
        let mut lost = self.lose(&unkept, LostReason::Off, None);
        if !self.history.is_on() {
            self.outbox.release(None);
            return ResumeOutcome::Lost;
        }
        // Less than the half that is free then: a frame is longer than its payload, and others come.
        let bounds = self.outbox.bounds();
        let size = Size::within(bounds.messages / 4, bounds.bytes / 4);
        loop {
            self.room().await;
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let missed = match self.history.since(after, &self.wanted, size).await {
                Ok(missed) => missed,
                Err(error) if error.is_outage() && error.sent() != Sent::Refused => {
                    drop(turn);
                    tokio::time::sleep(AGAIN.mul_f64(0.5 + fastrand::f64())).await;
                    continue;
                }
                // It would be refused again, to this client as well as to the next.
                Err(_) => {
                    lost |= self.lose(&self.wanted, LostReason::Unavailable, None);
                    if self.outbox.release(None) {
                        break;
                    }
                    continue;
                }
            };
            match missed {
                Missed::Lost { reason, head } => {
                    lost |= self.lose(&self.wanted, reason, Some(head));
                    // Nothing was told, so whatever came meanwhile is news.
                    if self.outbox.release(None) {
                        break;
                    }
                    after = head;
                }
                Missed::Page(page) => {
                    after = page.upto;
                    let mut trimmed = page.trimmed;
                    trimmed.retain(|it| !self.told.contains(it));
                    lost |= self.lose(&trimmed, LostReason::Trimmed, None);
                    self.told.extend(trimmed);
                    self.replay(page.entries);
                    drop(turn);
                    if page.complete {
                        // The other half of what may wait is for what was kept back.
                        self.room().await;
                        if self.outbox.release(Some(after)) {
                            break;
                        }
                    }
                }
            }
        }
        if lost { ResumeOutcome::Lost } else { ResumeOutcome::Recovered }
    }

    fn replay(&mut self, entries: Vec<Entry>) {
        for notification in entries.iter().filter_map(Entry::notification) {
            let transport = self.outbox.transport();
            self.outbox.replay(Encoded::replayed(&notification).frame(transport));
            self.replayed += 1;
        }
    }

    /// Waits until the client took most of what waits for it.
    async fn room(&self) {
        poll_fn(|cx| self.outbox.poll_room(cx)).await;
    }

    /// Whether there is anything to be told.
    fn lose(&self, hit: &[Subscription], reason: LostReason, cursor: Option<Position>) -> bool {
        if !hit.is_empty() {
            self.outbox.push(lost::word(self.outbox.transport(), hit, reason, cursor));
            LossTold { reason, clients: 1 }.emit();
        }
        !hit.is_empty()
    }
}

impl Drop for Return {
    fn drop(&mut self) {
        ResumeEnded { outcome: self.outcome, replayed: self.replayed }.emit();
    }
}
