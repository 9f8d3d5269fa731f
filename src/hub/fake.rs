//! A socket for tests, which takes as much as it is told to.

use std::io::IoSlice;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::frame::{Encoded, Frame};
use super::outbox::{Outbox, Refused, Sink};
use crate::model::{ChannelName, Notification, Position, Transport};

/// A notification, of which the history has a place, or none.
pub(crate) fn notified(at: Option<u64>) -> Frame {
    let channel = ChannelName::parse("door").unwrap();
    let mut notification = Notification::from_wire(&channel, b"1").unwrap();
    notification.position = at.map(|at| Position { epoch: 1, at });
    Encoded::new(&notification).frame(Transport::Sse)
}

/// A socket with room for so many bytes more.
pub(crate) struct Fake(Mutex<State>);

struct State {
    room: usize,
    refused: Refused,
    calls: usize,
    taken: Vec<u8>,
}

impl Fake {
    /// One that an outbox writes into.
    pub(crate) fn of(outbox: &Outbox, room: usize) -> Arc<Self> {
        Self::headed(outbox, room, "")
    }

    /// The same, with a head to be written before what waits.
    pub(crate) fn headed(outbox: &Outbox, room: usize, head: &'static str) -> Arc<Self> {
        let state = State { room, refused: Refused::Full, calls: 0, taken: Vec::new() };
        let fake = Arc::new(Self(Mutex::new(state)));
        outbox.attach(fake.clone(), Bytes::from_static(head.as_bytes()));
        fake
    }

    /// From now on it has room for so many bytes more.
    pub(crate) fn set_room(&self, room: usize) {
        self.0.lock().unwrap().room = room;
    }

    /// Once it has no room, it fails like this.
    pub(crate) fn refuse(&self, refused: Refused) {
        self.0.lock().unwrap().refused = refused;
    }

    /// What it took since it was asked last.
    pub(crate) fn taken(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap().taken)).unwrap()
    }

    /// How often it was written to.
    pub(crate) fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }
}

impl Sink for Fake {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Refused> {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        let before = state.taken.len();
        for slice in slices {
            let taken = slice.len().min(state.room);
            state.room -= taken;
            state.taken.extend_from_slice(&slice[..taken]);
        }
        match state.taken.len() - before {
            0 if slices.iter().any(|slice| !slice.is_empty()) => Err(state.refused),
            taken => Ok(taken),
        }
    }
}
