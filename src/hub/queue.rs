//! The frames that wait for one client, in order. Pure.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::frame::{Frame, Spare};
use super::outbox::Bounds;

/// Frames, the first of which a socket may have taken a part of.
///
/// One frame has its place in here. Room for more is asked of the allocator when there are more,
/// and given back with the last of them, so an idle client keeps none, and one that takes each
/// notification at once needs none.
#[derive(Default)]
pub(super) struct Queue {
    first: Option<Frame>,
    /// Empty while there is no first.
    rest: VecDeque<Frame>,
    bytes: usize,
    /// Whether the first has to follow: a part of it was taken, or all else depends on it.
    begun: bool,
}

impl Queue {
    /// How many frames wait.
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// How many bytes of frames wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Puts a frame last.
    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes().len();
        match self.first {
            None => self.first = Some(frame),
            Some(_) => self.rest.push_back(frame),
        }
    }

    /// Puts a frame first, before anything was taken. It must not be given up: without the head
    /// of an answer the peer could not read whatever comes after it.
    pub(super) fn push_first(&mut self, frame: Frame) {
        debug_assert!(!self.begun, "a frame that was begun comes first");
        self.bytes += frame.bytes().len();
        self.begun = true;
        if let Some(second) = self.first.replace(frame) {
            self.rest.push_front(second);
        }
    }

    /// Makes room for a frame, as far as what waits may be given up for it, and says how much was:
    /// earlier ones of its channel, and the oldest. What was begun stays.
    pub(super) fn make_room(&mut self, frame: &Frame, bounds: Bounds) -> (u64, u64) {
        let (mut earlier, mut oldest) = (0, 0);
        if let Spare::Earlier(channel) = frame.spare() {
            let same = |it: &Frame| matches!(it.spare(), Spare::Earlier(other) if other == channel);
            while self.take_out(same) {
                earlier += 1;
            }
        }
        while !self.fits(frame, bounds) && self.take_out(|it| *it.spare() != Spare::No) {
            oldest += 1;
        }
        (earlier, oldest)
    }

    /// Whether a frame has room. A single one may exceed the bound on bytes.
    pub(super) fn fits(&self, frame: &Frame, bounds: Bounds) -> bool {
        let bytes = self.bytes + frame.bytes().len();
        self.len() < bounds.messages && (self.is_empty() || bytes <= bounds.bytes)
    }

    /// Takes out the first frame that is like this and was not begun, and says whether there was one.
    fn take_out(&mut self, like: impl Fn(&Frame) -> bool) -> bool {
        if !self.begun && self.first.as_ref().is_some_and(&like) {
            return self.pop().is_some();
        }
        let found = self.rest.iter().position(like).and_then(|at| self.rest.remove(at));
        self.bytes -= found.as_ref().map_or(0, |frame| frame.bytes().len());
        found.is_some()
    }

    /// Fills in the frames, as many as there is room for, and says how many those are.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let frames = self.first.iter().chain(&self.rest).zip(slices);
        frames.map(|(frame, slice)| *slice = IoSlice::new(frame.bytes())).count()
    }

    /// The only frame, if there is one.
    pub(super) fn only(&self) -> Option<&Frame> {
        self.first.as_ref().filter(|_| self.rest.is_empty())
    }

    /// So many bytes from the front on were taken. `done` is called for each frame whose last byte
    /// is among them.
    pub(super) fn advance(&mut self, mut count: usize, mut done: impl FnMut(&Frame)) {
        assert!(count <= self.bytes, "cannot advance past the end");
        self.bytes -= count;
        while let Some(first) = &mut self.first {
            let length = first.bytes().len();
            if count < length {
                self.begun |= count > 0;
                first.advance(count);
                return;
            }
            count -= length;
            done(first);
            self.begun = false;
            self.next();
        }
    }

    fn next(&mut self) {
        self.first = self.rest.pop_front();
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
    }

    /// Drops every frame of which nothing was taken, but for that of [`Queue::push_first`]. What is
    /// left of one that was begun has to follow, or the peer could not read whatever comes after it.
    /// Says how many notifications are left: one or none.
    pub(super) fn keep_begun(&mut self) -> u64 {
        self.rest = VecDeque::new();
        self.first = self.first.take().filter(|_| self.begun);
        self.bytes = self.first.as_ref().map_or(0, |first| first.bytes().len());
        u64::from(self.first.as_ref().is_some_and(Frame::is_notification))
    }

    /// Takes the first frame out, of which a part may have been taken before.
    pub(super) fn pop(&mut self) -> Option<Frame> {
        let first = self.first.take()?;
        self.bytes -= first.bytes().len();
        self.begun = false;
        self.next();
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn queue(texts: &[&'static str]) -> Queue {
        let mut queue = Queue::default();
        texts.iter().for_each(|text| queue.push(frame(text)));
        queue
    }
    fn frame(text: &'static str) -> Frame {
        Frame::announcement(Bytes::from_static(text.as_bytes()))
    }
    fn all(queue: &Queue) -> String {
        let mut slices = [IoSlice::new(&[]); 9];
        let filled = queue.slices(&mut slices);
        slices[..filled].iter().map(|slice| std::str::from_utf8(slice).unwrap()).collect()
    }

    #[test]
    fn frames_leave_in_the_order_they_came_wherever_it_is_cut() {
        let text = "onetwothree";
        for cut in 0..=text.len() {
            let (mut queue, mut done) = (queue(&["one", "two", "three"]), 0);
            queue.advance(cut, |_| done += 1);
            assert_eq!((all(&queue).as_str(), queue.bytes()), (&text[cut..], text.len() - cut));
            assert_eq!((done, queue.len()), (3 - queue.len(), 3 - done));
            queue.advance(text.len() - cut, |_| done += 1);
            assert!(queue.is_empty() && done == 3);
        }
    }

    #[test]
    fn an_idle_queue_keeps_no_room_and_one_frame_at_a_time_asks_for_none() {
        let mut queue = queue(&["x"]);
        assert_eq!(queue.rest.capacity(), 0);
        (0..40).for_each(|_| queue.push(frame("x")));
        queue.advance(queue.bytes(), |_| ());
        assert_eq!(queue.rest.capacity(), 0);
    }

    #[test]
    fn a_head_comes_first_and_stays_when_all_else_is_given_up() {
        let mut queue = queue(&["one", "two"]);
        queue.push_first(frame("head"));
        assert_eq!((all(&queue).as_str(), queue.len()), ("headonetwo", 3));
        queue.keep_begun();
        assert_eq!((all(&queue).as_str(), queue.bytes()), ("head", 4));
        assert!(queue.pop().is_some() && queue.is_empty() && queue.bytes() == 0);
    }
}
