//! What waits for one client, and its way into the client's socket. Whoever pushes never waits; a
//! client that falls behind its bound is closed as slow.
//!
//! A notification is *enqueued* when it enters, *delivered* when the kernel took its last
//! byte, and otherwise *dropped* for the reason the client was closed. The account of a client is
//! dropped with it, so whenever nobody is writing enqueued = delivered + dropped + waiting.
//!
//! Two may write: fan-out, straight after it has pushed, while the socket takes everything; and
//! the client's task, which waits for the socket when it does not. Each does so under the lock of
//! the outbox, and what is begun stays first in it. So there is one writer at any time, and no
//! frame is cut by another.

use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::frame::Frame;
use super::hold::Hold;
use super::queue::Queue;
use super::touched::Touched;
use crate::model::{ClientClose, ClientDrop, Position, Transport};
use crate::telemetry::events::client::{ClientJoined, Delivered, Enqueued, Waiting};

/// Frames of one write.
const MAX_SLICES: usize = 64;

/// How much may wait for one client.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Frames.
    pub messages: usize,
    /// Bytes of frames. A single frame may exceed it.
    pub bytes: usize,
}

/// Where a client's frames go.
pub trait Sink: Send + Sync {
    /// Writes as many of these bytes as it takes at once, and says how many. Never waits.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Refused>;
}

/// Why a sink took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is full.
    Full,
    /// Nobody is there any more. Why the client counts as closed.
    Lost(ClientClose),
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Something, and more waits.
    More,
    /// Everything. The task is woken when its turn comes again.
    Everything,
    /// The socket takes no more, so the task has to wait for it. It is woken when the client is
    /// closed meanwhile.
    Blocked,
    /// Nothing will follow: say goodbye.
    Closed(ClientClose),
    /// Nobody is there to whom goodbye could be said.
    Lost(ClientClose),
}

/// The queue between the hub and one client's socket.
pub struct Outbox {
    transport: Transport,
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// From the first confirmed subscription until the client leaves.
    presence: Option<(ClientJoined, Waiting)>,
    queue: Queue,
    closed: Option<ClientClose>,
    /// From the beginning of the session until its end, or until it was found broken.
    sink: Option<Arc<dyn Sink>>,
    lost: bool,
    /// Whether the sink was full and has taken nothing since: the task waits for it.
    blocked: bool,
    /// Whether it took something after that.
    unblocked: bool,
    /// Whether fan-out will write what waits.
    touched: bool,
    task: Option<Waker>,
    /// Who waits until something was written.
    pub(super) room: Option<Waker>,
    /// The number of the notification that was pushed last.
    last: Option<u64>,
    /// There while the client is told what it has missed.
    pub(super) hold: Option<Box<Hold>>,
    /// Up to here everything was pushed that the client is to hear; what comes again is no news.
    pub(super) cursor: Option<Position>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new(transport: Transport, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { transport, bounds, state: Mutex::default() })
    }

    /// How much may wait.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// How the client listens.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The client listens from now on, and counts as connected.
    pub(super) fn open(&self) {
        let mut state = self.lock();
        if state.presence.is_none() && state.closed.is_none() {
            let joined = ClientJoined::emit(self.transport);
            let account = joined.account();
            state.presence = Some((joined, account));
        }
    }

    /// Gives what waits a way out, and `head` the place before it.
    pub fn attach(&self, sink: Arc<dyn Sink>, head: Bytes) {
        let mut state = self.lock();
        state.queue.push_first(Frame::announcement(head));
        state.sink = Some(sink);
    }

    /// Puts a notification last, unless it came already by another subscription. Says whether it is
    /// news. `touched` has to write it; the task is not woken.
    pub(super) fn push_once(
        self: &Arc<Self>,
        number: u64,
        position: Option<Position>,
        frame: impl FnOnce() -> Frame,
        enqueued: &mut Enqueued,
        touched: &mut Touched,
    ) -> bool {
        let mut state = self.lock();
        if state.last.replace(number) == Some(number) || state.knows(position) {
            return false;
        }
        if let Some(hold) = &mut state.hold {
            hold.push(frame(), self.bounds);
            return true;
        }
        state.cursor = position.or(state.cursor);
        if !self.enter(&mut state, frame(), enqueued) {
            wake(state);
        } else if state.sink.is_some() && !state.blocked && !state.touched {
            state.touched = true;
            drop(state);
            touched.push(Arc::clone(self));
        }
        true
    }

    /// Puts a frame last, and wakes the task. A client that has no room is closed as slow, and what
    /// waited for it is dropped. Before it listens and after it was closed nothing enters.
    pub fn push(&self, frame: Frame) {
        let mut state = self.lock();
        self.enter(&mut state, frame, &mut Enqueued::default());
        wake(state);
    }

    /// Says whether there was room.
    pub(super) fn enter(&self, state: &mut State, frame: Frame, enqueued: &mut Enqueued) -> bool {
        let Some((_, account)) = state.presence.as_mut().filter(|_| state.closed.is_none()) else {
            return true;
        };
        if frame.is_notification() {
            account.enqueue(enqueued);
        }
        let queue = &mut state.queue;
        let (earlier, oldest) = queue.make_room(&frame, self.bounds);
        account.give_up(earlier, ClientDrop::Superseded);
        account.give_up(oldest, ClientDrop::Oldest);
        let fits = queue.fits(&frame, self.bounds);
        queue.push(frame);
        if !fits {
            state.end(ClientClose::Slow);
        }
        fits
    }

    /// Closes the outbox; the first reason stands. At shutdown the client still gets what
    /// waits, otherwise that is dropped.
    pub fn close(&self, reason: ClientClose) {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.end(reason);
            wake(state);
        }
    }

    /// Gives the socket back, and what is left of a frame that was begun, which has to follow.
    /// Everything else that waits is dropped.
    pub fn detach(&self) -> Rest {
        let mut state = self.lock();
        state.sink = None;
        state.give_up();
        let frame = state.queue.pop();
        let counted = u64::from(frame.as_ref().is_some_and(Frame::is_notification));
        let account = state.presence.as_mut().map(|(_, account)| account.split(counted));
        Rest { frame, account }
    }

    /// The client is gone: drops what still waits, and its presence.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.end(ClientClose::Client);
        }
        state.sink = None;
        state.queue = Queue::default();
        state.presence = None;
    }

    /// For the client's task: writes what waits, or says what the task has to wait for. One call of
    /// the system at most.
    pub fn write(&self, cx: &mut Context<'_>) -> Written {
        let mut state = self.lock();
        let written = match state.closed {
            Some(reason) if state.lost => Written::Lost(reason),
            Some(reason) if reason != ClientClose::Shutdown => Written::Closed(reason),
            closed => match (state.write(&mut Delivered::default()), closed) {
                (Written::Everything, Some(reason)) => Written::Closed(reason),
                (written, _) => written,
            },
        };
        if matches!(written, Written::Everything | Written::Blocked) {
            state.wake_later(cx);
        }
        written
    }

    /// For fan-out: the same, unless the task waits for the socket. Says whether more waits that
    /// is to be written soon.
    pub(super) fn write_through(&self, delivered: &mut Delivered) -> bool {
        let mut state = self.lock();
        state.touched = false;
        if state.blocked || state.sink.is_none() {
            return false;
        }
        let written = state.write(delivered);
        state.touched = written == Written::More;
        match written {
            Written::More | Written::Everything => {}
            Written::Blocked | Written::Closed(_) | Written::Lost(_) => wake(state),
        }
        written == Written::More
    }

    /// Fan-out will not write it after all.
    pub(super) fn leave_to_task(&self) {
        let mut state = self.lock();
        state.touched = false;
        wake(state);
    }

    /// For a client whose socket cannot be given to it yet: ready when nobody will ask for it any
    /// more, because the client was closed for another reason than shutdown.
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

    /// Whether the peer, since this was asked last, took what it could not take before: it is
    /// there.
    pub fn was_unblocked(&self) -> bool {
        std::mem::take(&mut self.lock().unblocked)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Every section under this lock leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    fn wake_later(&mut self, cx: &mut Context<'_>) {
        match &mut self.task {
            Some(task) => task.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    fn write(&mut self, delivered: &mut Delivered) -> Written {
        let Self { sink, queue, presence, .. } = self;
        let Some(sink) = sink else { return Written::Blocked };
        // The usual case first: one frame, for which no table of slices is made.
        let taken = match queue.only() {
            Some(only) => sink.try_write(&[IoSlice::new(only.bytes())]),
            None if queue.is_empty() => return Written::Everything,
            None => {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let filled = queue.slices(&mut slices);
                sink.try_write(&slices[..filled])
            }
        };
        match taken {
            Ok(count) => {
                queue.advance(count, |done| {
                    if let Some((_, account)) = presence.as_mut().filter(|_| done.is_notification())
                    {
                        account.deliver(delivered, done.accepted());
                    }
                });
                self.unblocked |= std::mem::take(&mut self.blocked);
                self.room.take().into_iter().for_each(Waker::wake);
                if self.queue.is_empty() { Written::Everything } else { Written::More }
            }
            Err(Refused::Full) => {
                self.blocked = true;
                Written::Blocked
            }
            Err(Refused::Lost(reason)) => {
                self.lost = true;
                self.end(reason);
                Written::Lost(reason)
            }
        }
    }

    fn end(&mut self, reason: ClientClose) {
        let reason = *self.closed.get_or_insert(reason);
        if let Some((presence, _)) = &self.presence {
            presence.closing(reason);
        }
        if self.lost || reason != ClientClose::Shutdown {
            self.give_up();
        }
    }

    /// Drops what waits, but for a frame that was begun.
    fn give_up(&mut self) {
        self.hold = None;
        let kept = self.queue.keep_begun();
        if let Some((_, account)) = &mut self.presence {
            *account = account.split(kept);
        }
    }
}

/// Wakes the task after the lock is free again.
pub(super) fn wake(mut state: MutexGuard<'_, State>) {
    let task = state.task.take();
    drop(state);
    if let Some(task) = task {
        task.wake();
    }
}

/// What is left of the frame that was on its way when a session ended. Dropped before
/// [`Rest::written`], a notification counts as dropped.
#[must_use = "a frame that was begun has to follow"]
pub struct Rest {
    frame: Option<Frame>,
    account: Option<Waiting>,
}

impl Rest {
    /// The bytes that have to follow.
    pub fn bytes(&self) -> &[u8] {
        self.frame.as_ref().map_or(&[], |frame| frame.bytes())
    }

    /// The socket took them.
    pub fn written(mut self) {
        let notification = self.frame.as_ref().filter(|frame| frame.is_notification());
        if let (Some(frame), Some(account)) = (notification, &mut self.account) {
            account.deliver(&mut Delivered::default(), frame.accepted());
        }
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
