//! Where a client is in the history, and how it gets from there to what comes now.
//!
//! A client that comes back is *held*: what comes for it is kept back while it is told what it has
//! missed. Then it is *released*: it goes on with what was kept back and is news to it.

use super::frame::Frame;
use super::outbox::{Outbox, State, wake};
use crate::model::Position;
use crate::telemetry::events::client::Enqueued;

impl Outbox {
    /// The client has everything up to here, and hears what comes after.
    pub fn begin_at(&self, position: Position) {
        self.lock().cursor = Some(position);
    }

    /// Keeps back what comes, until [`Outbox::release`].
    pub fn hold(&self) {
        self.lock().hold = Some(Box::default());
    }

    /// Puts a notification of the history last, for a client that comes back.
    pub fn replay(&self, frame: Frame) {
        let mut state = self.lock();
        state.cursor = frame.position().or(state.cursor);
        self.enter(&mut state, frame, &mut Enqueued::default());
        wake(state);
    }

    /// The client knows everything up to `upto`, or else what it was told last, and goes on with
    /// what was kept back since. False when that was too much to be kept: then it has to be read,
    /// and is kept back anew.
    pub fn release(&self, upto: Option<Position>) -> bool {
        let mut state = self.lock();
        let Some(hold) = state.hold.take() else { return true };
        let known = upto.or(state.cursor);
        let Some(frames) = hold.release(known) else {
            state.hold = Some(Box::default());
            return false;
        };
        state.cursor = known;
        for frame in frames {
            state.cursor = frame.position().or(state.cursor);
            self.enter(&mut state, frame, &mut Enqueued::default());
        }
        wake(state);
        true
    }

    /// Everything up to `position` was handed to all clients. Whether that is news to this one,
    /// which has heard nothing lately; `word` then tells it.
    pub(super) fn advance(&self, position: Position, word: impl FnOnce() -> Frame) -> bool {
        let mut state = self.lock();
        let behind =
            state.cursor.is_some_and(|it| it.epoch == position.epoch && it.at < position.at);
        let news = behind && state.hold.is_none();
        if news {
            state.cursor = Some(position);
            self.enter(&mut state, word(), &mut Enqueued::default());
            wake(state);
        }
        news
    }
}

impl State {
    /// Whether the client has it already. What it has by the history may still be on its way to it
    /// by the subscriber connection; each way has the order of the history.
    pub(super) fn knows(&self, position: Option<Position>) -> bool {
        self.cursor.zip(position).is_some_and(|(cursor, position)| position.is_covered_by(cursor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Context;

    use bytes::Bytes;
    use futures_util::task::noop_waker;

    use crate::hub::fake::{Fake, notified};
    use crate::hub::{Bounds, Touched, Written};
    use crate::model::Transport;

    fn outbox() -> Arc<Outbox> {
        let outbox = Outbox::new(Transport::Sse, Bounds { messages: 8, bytes: 9_999 });
        outbox.open();
        outbox
    }
    fn place(at: u64) -> Position {
        Position { epoch: 1, at }
    }
    /// As fan-out does it; whether it is news.
    fn hand_on(outbox: &Arc<Outbox>, at: u64) -> bool {
        let (mut enqueued, mut touched) = (Enqueued::default(), Touched::default());
        let frame = || notified(Some(at));
        outbox.push_once(at, Some(place(at)), frame, &mut enqueued, &mut touched)
    }
    /// Whether a sign of life, when all has heard everything up to here, is news to the client.
    fn advance(outbox: &Outbox, position: Position) -> bool {
        outbox.advance(position, || Frame::announcement(Bytes::new()))
    }
    /// The places of what waits, in order.
    fn told(outbox: &Outbox) -> Vec<u64> {
        let socket = Fake::of(outbox, usize::MAX);
        while outbox.write(&mut Context::from_waker(&noop_waker())) == Written::More {}
        let text = socket.taken();
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        ids.map(|id| id.parse::<Position>().unwrap().at).collect()
    }

    #[test]
    fn a_sign_of_life_moves_a_client_on_once_and_neither_back_nor_into_another_history() {
        let outbox = outbox();
        assert!(!advance(&outbox, place(9)), "nobody knows where it is");
        outbox.begin_at(place(5));
        assert!(!advance(&outbox, place(5)) && !advance(&outbox, place(4)));
        assert!(!advance(&outbox, Position { epoch: 2, at: 7 }));
        assert!(advance(&outbox, place(7)));
        assert!(!advance(&outbox, place(7)) && !advance(&outbox, place(6)));
        assert!(hand_on(&outbox, 8));
        assert!(!advance(&outbox, place(8)), "it was told by the notification");
    }

    /// The history was gone before it was told all of it.
    #[test]
    fn what_a_client_was_told_is_no_news_to_it_when_there_is_no_more_to_tell() {
        let outbox = outbox();
        outbox.hold();
        assert!(hand_on(&outbox, 2) && hand_on(&outbox, 3));
        outbox.replay(notified(Some(2)));
        assert!(outbox.release(None));
        assert_eq!(told(&outbox), [2, 3]);
    }

    #[test]
    fn a_client_that_is_being_told_what_it_missed_is_not_moved_on_past_it() {
        let outbox = outbox();
        outbox.begin_at(place(1));
        outbox.hold();
        assert!(hand_on(&outbox, 4));
        assert!(!advance(&outbox, place(4)));
        outbox.replay(notified(Some(2)));
        assert!(!advance(&outbox, place(4)));
        assert!(outbox.release(Some(place(3))));
        assert!(!advance(&outbox, place(4)), "it was kept back, and is told now");
        assert_eq!(told(&outbox), [2, 4]);
    }

    #[test]
    fn what_a_client_has_by_the_history_is_no_news_when_it_comes() {
        let outbox = outbox();
        outbox.begin_at(place(5));
        assert_eq!([4, 5, 6].map(|at| hand_on(&outbox, at)), [false, false, true]);
        assert_eq!(told(&outbox), [6]);
    }

    #[test]
    fn what_was_kept_back_comes_after_what_was_missed_in_order_and_each_once() {
        let outbox = outbox();
        outbox.hold();
        [5, 6, 7].iter().for_each(|at| assert!(hand_on(&outbox, *at)));
        [4, 5].iter().for_each(|at| outbox.replay(notified(Some(*at))));
        assert!(outbox.release(Some(place(5))));
        assert_eq!(told(&outbox), [4, 5, 6, 7]);
        assert!(!advance(&outbox, place(7)), "it knows where it is");
        assert!(hand_on(&outbox, 8));
        assert!(outbox.release(None), "it is not held any more");
    }

    #[test]
    fn what_was_too_much_to_be_kept_back_is_read_and_what_follows_is_kept_back_again() {
        let outbox = outbox();
        outbox.hold();
        (1..6).for_each(|at| assert!(hand_on(&outbox, at)));
        assert!(!outbox.release(Some(place(0))));
        assert!(hand_on(&outbox, 6));
        assert!(told(&outbox).is_empty());
        (1..6).for_each(|at| outbox.replay(notified(Some(at))));
        assert!(outbox.release(Some(place(5))));
        assert_eq!(told(&outbox), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn what_the_history_had_for_a_released_client_is_no_news_when_it_comes_late() {
        let outbox = outbox();
        outbox.hold();
        outbox.replay(notified(Some(2)));
        assert!(outbox.release(Some(place(3))));
        assert!(!advance(&outbox, place(3)), "it has nothing to learn from that");
        assert_eq!([2, 3, 4].map(|at| hand_on(&outbox, at)), [false, false, true]);
    }
}
