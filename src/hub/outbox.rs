//! What waits for one client. Whoever pushes never waits; a client that falls behind its
//! bound is closed as slow.
//!
//! A notification is *enqueued* when it enters, *delivered* when the kernel took its last
//! byte, and otherwise *dropped* for the reason the client was closed. Its account travels
//! with it, in a [`Batch`] until the socket has it, so at any moment
//! enqueued = delivered + dropped + waiting.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::frame::Frame;
use crate::model::{ClientClose, Transport};
use crate::telemetry::events::client::{ClientJoined, Enqueued};
use bytes::Buf;

/// Frames in one batch: fewer than the slices that one `writev` is given.
const MAX_BATCH: usize = 60;
/// Bytes after which a batch takes no further frame. What is in a batch has left the bound of the
/// outbox, so a client may hold this much, and one frame, beyond it.
const MAX_BATCH_BYTES: usize = 64 * 1024;

/// How much may wait for one client.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Frames.
    pub messages: usize,
    /// Bytes of frames. A single frame may exceed it.
    pub bytes: usize,
}

/// The queue between the hub and one client's socket.
pub struct Outbox {
    transport: Transport,
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// From the first confirmed subscription until the client leaves.
    presence: Option<ClientJoined>,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: Option<ClientClose>,
    reader: Option<Waker>,
    /// The number of the notification that was pushed last.
    last: Option<u64>,
}

struct Waiting {
    frame: Frame,
    /// A notification's account; an announcement has none.
    account: Option<Enqueued>,
}

/// What the transport has to write next.
pub enum Taken {
    /// Everything that queued up meanwhile, up to a bound.
    Batch(Batch),
    /// Nothing will follow: say goodbye.
    Closed(ClientClose),
}

impl Outbox {
    /// An empty outbox.
    pub fn new(transport: Transport, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { transport, bounds, state: Mutex::default() })
    }

    /// How the client listens.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The client listens from now on, and counts as connected.
    pub(super) fn open(&self) {
        let mut state = self.lock();
        if state.presence.is_none() && state.closed.is_none() {
            state.presence = Some(ClientJoined::emit(self.transport));
        }
    }

    /// Puts a notification last, unless a copy of it came already. Says whether it was the first.
    pub(super) fn push_once(&self, number: u64, frame: impl FnOnce() -> Frame) -> bool {
        let mut state = self.lock();
        let first = state.last.replace(number) != Some(number);
        if first {
            self.enter(state, frame());
        }
        first
    }

    /// Puts a frame last. A client that has no room is closed as slow, and what waited for
    /// it is dropped. Before it listens and after it was closed nothing enters.
    pub fn push(&self, frame: Frame) {
        self.enter(self.lock(), frame);
    }

    fn enter(&self, mut state: MutexGuard<'_, State>, frame: Frame) {
        let Some(presence) = state.presence.as_ref().filter(|_| state.closed.is_none()) else {
            return;
        };
        let account = frame.is_notification().then(|| presence.enqueued());
        let length = frame.bytes().len();
        let fits = state.waiting.len() < self.bounds.messages
            && (state.waiting.is_empty() || state.bytes + length <= self.bounds.bytes);
        state.bytes += length;
        state.waiting.push_back(Waiting { frame, account });
        if !fits {
            end(&mut state, ClientClose::Slow);
        }
        wake(state);
    }

    /// Closes the outbox; the first reason stands. At shutdown the client still gets what
    /// waits, otherwise that is dropped.
    pub fn close(&self, reason: ClientClose) {
        let mut state = self.lock();
        if state.closed.is_none() {
            end(&mut state, reason);
            wake(state);
        }
    }

    /// The client is gone: drops what still waits, and its presence.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        if state.closed.is_none() {
            end(&mut state, ClientClose::Client);
        }
        state.waiting.clear();
        state.presence = None;
    }

    /// Takes what waits, or registers the task to be woken when something does.
    pub fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Taken> {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            return match state.closed {
                Some(reason) => Poll::Ready(Taken::Closed(reason)),
                None => {
                    state.wake_later(cx);
                    Poll::Pending
                }
            };
        }
        let mut remaining = 0;
        let taken = state.waiting.iter().take(MAX_BATCH).take_while(|waiting| {
            let room = remaining < MAX_BATCH_BYTES;
            remaining += if room { waiting.frame.bytes().len() } else { 0 };
            room
        });
        let taken = taken.count();
        // An idle client keeps no room for messages: usually all of it goes with the batch.
        let rest = state.waiting.split_off(taken);
        let frames = std::mem::replace(&mut state.waiting, rest);
        state.bytes -= remaining;
        Poll::Ready(Taken::Batch(Batch { frames, remaining, begun: false }))
    }

    /// For a transport that cannot write what it has taken: ready when nobody will ask for the
    /// rest of it, because the client was closed for another reason than shutdown.
    pub fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<ClientClose> {
        let mut state = self.lock();
        match state.closed {
            Some(reason) if reason != ClientClose::Shutdown => Poll::Ready(reason),
            _ => {
                state.wake_later(cx);
                Poll::Pending
            }
        }
    }

    /// Whether more than half of either bound waits. Then whoever answers this client's requests
    /// had better not read the next, since its own answers could be what closes it as slow.
    pub fn is_crowded(&self) -> bool {
        let state = self.lock();
        state.waiting.len() > self.bounds.messages / 2 || state.bytes > self.bounds.bytes / 2
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every section under this lock leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_later(&mut self, cx: &mut Context<'_>) {
        match &mut self.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

fn end(state: &mut State, reason: ClientClose) {
    state.closed = Some(reason);
    if let Some(presence) = &state.presence {
        presence.closing(reason);
    }
    if reason != ClientClose::Shutdown {
        state.waiting.clear();
        state.bytes = 0;
    }
}

/// Wakes the reader after the lock is free again.
fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// Frames on their way into the socket, as one buffer. A frame counts as delivered when its
/// last byte was taken; what is left when the batch is dropped counts as dropped.
#[derive(Default)]
pub struct Batch {
    frames: VecDeque<Waiting>,
    remaining: usize,
    /// Whether the first frame has to follow: a part of it was taken, or all else depends on it.
    begun: bool,
}

impl Batch {
    /// One frame alone, which must not be given up: without the head of an answer the peer could
    /// not read whatever comes after it.
    pub fn of(frame: Frame) -> Self {
        let remaining = frame.bytes().len();
        Self { frames: [Waiting { frame, account: None }].into(), remaining, begun: true }
    }

    /// Drops every frame of which nothing was taken, but for that of [`Batch::of`]. What is left of
    /// one that was begun has to follow, or the peer could not read whatever comes after it.
    pub fn keep_begun(&mut self) {
        self.frames.truncate(usize::from(self.begun));
        self.remaining = self.frames.front().map_or(0, |front| front.frame.bytes().len());
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.frames.front().map_or(&[], |front| front.frame.bytes())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = self.frames.iter().zip(slices);
        filled.map(|(waiting, slice)| *slice = IoSlice::new(waiting.frame.bytes())).count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "cannot advance past the end of a batch");
        self.remaining -= count;
        while let Some(mut front) = self.frames.pop_front() {
            let length = front.frame.bytes().len();
            if count < length {
                self.begun |= count > 0;
                front.frame.advance(count);
                self.frames.push_front(front);
                return;
            }
            count -= length;
            self.begun = false;
            if let Some(account) = front.account {
                account.delivered(front.frame.accepted_ms());
            }
        }
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
