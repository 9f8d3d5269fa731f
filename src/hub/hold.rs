//! What comes for a client that is still being told what it has missed.

use std::collections::VecDeque;

use super::Bounds;
use super::frame::Frame;
use crate::model::Position;

/// Notifications in the order they came, half of what may wait for a client. One too many, and
/// none is kept: the history has them.
#[derive(Default)]
pub(super) struct Hold {
    frames: VecDeque<Frame>,
    bytes: usize,
    overflowed: bool,
}

impl Hold {
    pub(super) fn push(&mut self, frame: Frame, bounds: Bounds) {
        self.bytes += frame.bytes().len();
        self.overflowed |=
            self.frames.len() >= (bounds.messages / 2).max(1) || self.bytes > bounds.bytes / 2;
        if self.overflowed {
            (self.frames, self.bytes) = (VecDeque::new(), 0);
        } else {
            self.frames.push_back(frame);
        }
    }

    /// What is news to somebody who knows everything up to a position, in order; `None` when some
    /// of it could not be kept.
    pub(super) fn release(self, upto: Option<Position>) -> Option<impl Iterator<Item = Frame>> {
        let known = move |frame: &Frame| {
            upto.zip(frame.position()).is_some_and(|(upto, position)| position.is_covered_by(upto))
        };
        let frames = self.frames.into_iter().filter(move |frame| !known(frame));
        (!self.overflowed).then_some(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::fake::notified;

    fn held(positions: &[Option<u64>], messages: usize) -> Hold {
        let mut hold = Hold::default();
        let bounds = Bounds { messages, bytes: 9_999 };
        positions.iter().for_each(|at| hold.push(notified(*at), bounds));
        hold
    }

    #[test]
    fn what_was_told_meanwhile_is_left_out_and_what_no_history_has_is_not() {
        let upto = Some(Position { epoch: 1, at: 5 });
        let left = held(&[Some(4), None, Some(5), Some(6)], 99).release(upto).unwrap();
        let left: Vec<_> = left.map(|frame| frame.position().map(|it| it.at)).collect();
        assert_eq!(left, [None, Some(6)]);
        let other = Some(Position { epoch: 2, at: 5 });
        assert_eq!(held(&[Some(4)], 99).release(other).unwrap().count(), 1);
        assert_eq!(held(&[Some(4)], 99).release(None).unwrap().count(), 1);
    }

    #[test]
    fn more_than_half_of_what_may_wait_is_not_kept() {
        assert_eq!(held(&[None; 4], 8).release(None).unwrap().count(), 4);
        let too_many = held(&[None; 5], 8);
        assert!(too_many.frames.is_empty() && too_many.release(None).is_none());
        assert_eq!(held(&[None], 1).release(None).unwrap().count(), 1, "one has room in any");
        let large = Bounds { messages: 99, bytes: 10 };
        let mut hold = Hold::default();
        hold.push(notified(None), large);
        assert!(hold.frames.is_empty() && hold.release(None).is_none());
    }
}
