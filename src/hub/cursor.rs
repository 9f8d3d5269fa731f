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
