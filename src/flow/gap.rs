//! What this server has not heard, it reads from the history and hands on late.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::fanout::Fanout;
use super::lost;
use crate::conn::{Error, Message, Status};
use crate::health::Heartbeat;
use crate::history::{History, Missed, Size};
use crate::model::{ConnectionState, GapOutcome, LostReason, Position, Subscription};
use crate::telemetry::events::history::GapSearched;

/// For how long the history is asked for. Messages wait meanwhile, and those that find no room are
/// in the history too.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after a question that failed it is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// The gap between one subscriber connection and the next, or where messages found no room.
pub(super) struct Gap {
    status: watch::Receiver<Status>,
    overflows: watch::Receiver<u64>,
    history: History,
    /// The connection before which there is no gap any more.
    generation: u64,
    /// So many overflows leave none any more.
    overflowed: u64,
}

impl Gap {
    pub(super) fn new(
        status: watch::Receiver<Status>,
        overflows: watch::Receiver<u64>,
        history: History,
    ) -> Self {
        Self { status, overflows, history, generation: 0, overflowed: 0 }
    }

    /// Resolves when there is a new connection, and all subscriptions are confirmed on it: from
    /// then on nothing is missed; or when a message has found no room. Cancel-safe.
    pub(super) async fn opened(&mut self) {
        let Self { status, overflows, generation, overflowed, .. } = self;
        let newer = |status: &Status| status.is_ready() && status.generation > *generation;
        let opened = tokio::select! {
            newer = status.wait_for(newer) => newer.is_ok(),
            more = overflows.wait_for(|count| *count > *overflowed) => more.is_ok(),
        };
        // Their owner is gone.
        if !opened {
            std::future::pending().await
        }
    }

    /// Whether the message is the first after a gap.
    pub(super) fn is_before(&self, message: &Message) -> bool {
        message.generation > self.generation || message.overflows > self.overflowed
    }

    /// Whether the connection before which there is no gap is still there.
    fn stands(&self) -> bool {
        let status = self.status.borrow();
        status.is_ready() && status.generation == self.generation
    }

    /// Fills the gap before a message that may have come before all subscriptions were confirmed.
    pub(super) async fn fill_before(
        &mut self,
        message: &Message,
        fanout: &mut Fanout,
        heartbeat: &Heartbeat,
    ) {
        let newest = self.generation;
        let settled = |status: &Status| {
            message.generation <= newest
                || status.state == ConnectionState::Closed
                || status.is_ready() && status.generation >= message.generation
        };
        while tokio::time::timeout(Heartbeat::INTERVAL, self.status.wait_for(settled))
            .await
            .is_err()
        {
            heartbeat.beat();
        }
        self.fill(fanout, heartbeat).await;
    }

    /// Hands on what was published since the last notification that was, and tells the clients
    /// where something is lost. Afterwards all that is still to come is news.
    pub(super) async fn fill(&mut self, fanout: &mut Fanout, heartbeat: &Heartbeat) {
        // One that is gone again already is not the one that is filled up to.
        let status = self.status.borrow_and_update().clone();
        if status.is_ready() {
            self.generation = status.generation;
        }
        // What found no room until now was published, so it is in the history.
        self.overflowed = *self.overflows.borrow_and_update();
        let (began, history) = (Instant::now(), &self.history);
        let heard = fanout.hub.heard();
        let mut search = Search { heard, filled: 0, lost: false };
        let from_nowhere = fanout.position().is_none();
        // The first connection has missed nothing.
        if self.generation > 1 {
            let unkept = history.unkept(&search.heard);
            search.tell(fanout, &unkept, LostReason::Off, None);
            if history.is_on() && from_nowhere {
                // Where the history was before could never be read.
                let heard = search.heard.clone();
                search.tell(fanout, &heard, LostReason::Unavailable, None);
            }
        }
        while history.is_on() {
            heartbeat.beat();
            // The shared connection may become ready a moment after the subscriber. Either it is
            // ready then, or the step says why not.
            let _ = history.ready(Duration::from_secs(1)).await;
            match search.step(fanout, history).await {
                Ok(true) => {
                    // Learnt only after the connection was lost, it is behind what was missed.
                    if from_nowhere && !self.stands() {
                        fanout.begins_anew();
                    }
                    break;
                }
                Ok(false) => {}
                Err(error) if error.is_outage() && began.elapsed() < PATIENCE => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(_) => {
                    let heard = std::mem::take(&mut search.heard);
                    search.tell(fanout, &heard, LostReason::Unavailable, None);
                    break;
                }
            }
        }
        fanout.write().await;
        let outcome = if search.lost { GapOutcome::Lost } else { GapOutcome::Filled };
        GapSearched { outcome, filled: search.filled }.emit();
    }
}

struct Search {
    heard: Vec<Subscription>,
    filled: u64,
    lost: bool,
}

impl Search {
    /// One page; true after the last.
    async fn step(&mut self, fanout: &mut Fanout, history: &History) -> Result<bool, Error> {
        let Some(after) = fanout.position() else {
            fanout.begins_at(history.head().await?);
            return Ok(true);
        };
        match history.since(after, &self.heard, Size::MOST).await? {
            Missed::Lost { reason, head } => {
                let heard = std::mem::take(&mut self.heard);
                self.tell(fanout, &heard, reason, Some(head));
                fanout.has_all_up_to(head);
                Ok(true)
            }
            Missed::Page(page) => {
                self.tell(fanout, &page.trimmed, LostReason::Trimmed, None);
                for entry in page.entries {
                    let Some(notification) = entry.notification() else { continue };
                    fanout.hand_on_late(&notification, entry.payload.len()).await;
                    self.filled += 1;
                }
                fanout.has_all_up_to(page.upto);
                Ok(page.complete)
            }
        }
    }

    fn tell(
        &mut self,
        fanout: &Fanout,
        hit: &[Subscription],
        reason: LostReason,
        cursor: Option<Position>,
    ) {
        if !hit.is_empty() {
            self.lost |= lost::tell(&fanout.hub, hit, reason, cursor) > 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::time::SystemTime;

    use bytes::Bytes;
    use futures_util::FutureExt;

    use crate::conn::{Budget, Options, Owner, Target};
    use crate::health::Progress;
    use crate::history::Retention;
    use crate::hub::{Bounds, Hub, Limits};
    use crate::model::{Component, Role};

    fn status(state: ConnectionState, generation: u64) -> Status {
        let (since, entered) = (SystemTime::now(), Instant::now());
        let role = Role::Subscriber;
        Status { role, state, since, entered, generation, attempts: 0, last_reason: None }
    }

    /// A gap that no history fills, and the ways to say how its connection is and how many found
    /// no room.
    fn gap() -> (watch::Sender<Status>, watch::Sender<u64>, Gap, Fanout) {
        let nowhere = Target::Unix("/nonexistent/redis.sock".into());
        let options = Options::new(nowhere, "test", Component::Server);
        let owner = Owner::new(options, &Budget::of(Component::Server)).unwrap();
        let nothing = Retention { size: 0, age: PATIENCE, off: vec![] };
        let (shared, publisher) = (owner.shared(), owner.publisher());
        let history = History::new(shared, publisher, "test", "test:".into(), nothing);
        let hub = Hub::new(Limits::new(Bounds { messages: 9, bytes: 999 }), |_| ());
        let (say, connection) = watch::channel(status(ConnectionState::Backoff, 0));
        let (drop, overflows) = watch::channel(0);
        (say, drop, Gap::new(connection, overflows, history), Fanout::new(hub))
    }

    fn message(generation: u64, overflows: u64) -> Message {
        let subscription = Subscription::parse("a").unwrap();
        let (channel, payload) = ("a".to_owned(), Bytes::new());
        Message { subscription, channel, payload, generation, overflows }
    }

    #[tokio::test]
    async fn what_found_no_room_is_before_the_next_message_and_is_filled_without_one_too() {
        let (say, drop, mut gap, mut fanout) = gap();
        let heartbeat = Progress::default().watch("fanout");
        say.send(status(ConnectionState::Ready, 1)).unwrap();
        gap.fill(&mut fanout, &heartbeat).await;
        // One of the connection that is gone waits for no other.
        say.send(status(ConnectionState::Backoff, 1)).unwrap();
        for overflows in 1..3 {
            drop.send(overflows).unwrap();
            assert!(!gap.is_before(&message(1, overflows - 1)), "it came before that");
            assert!(gap.is_before(&message(1, overflows)));
            assert!(gap.opened().now_or_never().is_some());
            gap.fill_before(&message(1, overflows), &mut fanout, &heartbeat)
                .now_or_never()
                .unwrap();
            assert!(!gap.is_before(&message(1, overflows)));
            assert!(gap.opened().now_or_never().is_none());
        }
    }

    #[tokio::test]
    async fn a_gap_is_over_when_a_newer_connection_has_everything_confirmed() {
        let (say, _drop, mut gap, mut fanout) = gap();
        let heartbeat = Progress::default().watch("fanout");
        for (state, generation, over) in [
            (ConnectionState::Backoff, 1, false),
            (ConnectionState::Ready, 2, true),
            (ConnectionState::Ready, 2, false),
            (ConnectionState::Backoff, 3, false),
            (ConnectionState::Ready, 3, true),
        ] {
            say.send(status(state, generation)).unwrap();
            let told = gap.opened().now_or_never().is_some();
            assert_eq!(told, over, "{state:?} {generation}");
            // Be it for an overflow: one that is not ready ends no gap.
            gap.fill(&mut fanout, &heartbeat).await;
        }
    }

    #[tokio::test]
    async fn before_a_message_of_a_newer_connection_that_has_to_have_everything_confirmed() {
        let (say, _drop, mut gap, mut fanout) = gap();
        let heartbeat = Progress::default().watch("fanout");
        let message = message(2, 0);
        assert!(gap.is_before(&message));
        {
            let mut filled = pin!(gap.fill_before(&message, &mut fanout, &heartbeat));
            for (state, generation) in [(ConnectionState::Ready, 1), (ConnectionState::Backoff, 2)]
            {
                say.send(status(state, generation)).unwrap();
                assert!(filled.as_mut().now_or_never().is_none(), "{state:?} {generation}");
            }
            say.send(status(ConnectionState::Ready, 2)).unwrap();
            assert!(filled.as_mut().now_or_never().is_some());
        }
        assert!(!gap.is_before(&message));
    }
}
