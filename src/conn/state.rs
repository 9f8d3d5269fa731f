//! The life of a connection as a pure function: no clock, no socket, no `async`.
//!
//! ```text
//!          Connect | Wanted          Opened                 Confirmed
//!   Idle ───────────────────▶ Connecting ──────▶ Handshaking ────────▶ Ready
//!                              ▲    │ Failed          │ Failed           │ Lost
//!                          Due │    ▼                 ▼                  ▼
//!                            Backoff ◀───────────────────────────────────┘
//!
//!   any ── Close ──▶ Closed ── Connect ──▶ Connecting
//! ```
//!
//! Time and luck arrive as events; what must be done leaves as [`Effect`]s. Every event that
//! comes from a socket bears the epoch of that socket, and other epochs are ignored: a stale
//! answer from a connection that was given up must not move the new one.

use crate::model::{ConnectFailure, ConnectionState, SocketClose};

/// How many dials a role has made; the generation in the connection's name.
pub(super) type Epoch = u64;

/// Where a connection is, with what must be remembered there.
///
/// `attempt` counts the dials in a row that were accepted and did not lead to a stable
/// connection; it sets the length of the next wait. A refused dial does not count: however long
/// the port was closed, the first wait after it opened is a short one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Nothing was dialled yet.
    Idle,
    /// Resolving, TCP, TLS.
    Connecting {
        /// This dial.
        epoch: Epoch,
        /// Failures in a row before this dial.
        attempt: u32,
    },
    /// HELLO, ready check, subscriptions.
    Handshaking {
        /// This dial.
        epoch: Epoch,
        /// Failures in a row before this dial.
        attempt: u32,
    },
    /// Commands go through.
    Ready {
        /// The dial that led here.
        epoch: Epoch,
        /// Zero once the connection has proved stable.
        attempt: u32,
    },
    /// Waiting before the next dial.
    Backoff {
        /// The last dial.
        epoch: Epoch,
        /// Failures in a row so far.
        attempt: u32,
    },
    /// Closed by its owner.
    Closed {
        /// The last dial; zero when there was none.
        epoch: Epoch,
    },
}

impl State {
    /// The state without its memory, as metrics and logs name it.
    pub(super) fn label(self) -> ConnectionState {
        match self {
            State::Idle => ConnectionState::Idle,
            State::Connecting { .. } => ConnectionState::Connecting,
            State::Handshaking { .. } => ConnectionState::Handshaking,
            State::Ready { .. } => ConnectionState::Ready,
            State::Backoff { .. } => ConnectionState::Backoff,
            State::Closed { .. } => ConnectionState::Closed,
        }
    }

    /// The last dial's epoch; zero before the first.
    pub(super) fn epoch(self) -> Epoch {
        match self {
            State::Idle => 0,
            State::Connecting { epoch, .. }
            | State::Handshaking { epoch, .. }
            | State::Ready { epoch, .. }
            | State::Backoff { epoch, .. }
            | State::Closed { epoch } => epoch,
        }
    }
}

/// What can happen to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// The owner asks for a connection.
    Connect,
    /// A first command asks for a connection.
    Wanted,
    /// The transport is up.
    Opened {
        /// The socket's epoch.
        epoch: Epoch,
    },
    /// Logged in, named, checked and subscribed.
    Confirmed {
        /// The socket's epoch.
        epoch: Epoch,
    },
    /// The dial came to nothing.
    Failed {
        /// The dial's epoch.
        epoch: Epoch,
        /// Why.
        failure: ConnectFailure,
    },
    /// A ready connection is no longer good.
    Lost {
        /// The socket's epoch.
        epoch: Epoch,
        /// Why.
        reason: SocketClose,
    },
    /// The wait is over.
    Due {
        /// The dial the wait followed.
        epoch: Epoch,
    },
    /// The connection stayed ready long enough to be trusted.
    Stable {
        /// The socket's epoch.
        epoch: Epoch,
    },
    /// The owner closes the connection.
    Close,
}

impl Event {
    /// The epoch the event belongs to, if it belongs to one.
    fn epoch(self) -> Option<Epoch> {
        match self {
            Event::Connect | Event::Wanted | Event::Close => None,
            Event::Opened { epoch }
            | Event::Confirmed { epoch }
            | Event::Failed { epoch, .. }
            | Event::Lost { epoch, .. }
            | Event::Due { epoch }
            | Event::Stable { epoch } => Some(epoch),
        }
    }
}

/// How long to wait before the next dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pace {
    /// Nobody listens, so a dial costs next to nothing: knock often, be back at once.
    Knock,
    /// The dial was accepted and then failed: exponential, full jitter.
    Backoff,
    /// Only an operator can mend it: wait about the longest time there is.
    Cap,
}

impl Pace {
    fn after(failure: ConnectFailure) -> Pace {
        match failure {
            ConnectFailure::Refused => Pace::Knock,
            ConnectFailure::Auth | ConnectFailure::Noperm => Pace::Cap,
            ConnectFailure::Dns
            | ConnectFailure::Timeout
            | ConnectFailure::Tls
            | ConnectFailure::Maxclients
            | ConnectFailure::Loading
            | ConnectFailure::NotMaster
            | ConnectFailure::Protocol
            | ConnectFailure::Other => Pace::Backoff,
        }
    }
}

/// What must be done, in this order, before the next event is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// Start a dial.
    Dial {
        /// Its epoch.
        epoch: Epoch,
    },
    /// Give up the dial under way and await its end.
    Abandon {
        /// Its epoch.
        epoch: Epoch,
    },
    /// Let commands through.
    Serve {
        /// The socket's epoch.
        epoch: Epoch,
    },
    /// Stop commands, abort the driver and await its end.
    Retire {
        /// The socket's epoch.
        epoch: Epoch,
        /// What the closed socket is counted as.
        reason: SocketClose,
    },
    /// Send [`Event::Due`] after a while.
    Wait {
        /// The last dial.
        epoch: Epoch,
        /// Failures in a row, the last one not counted.
        attempt: u32,
        /// How long.
        pace: Pace,
    },
}

/// The whole table. What is not in it changes nothing.
pub(super) fn next(state: State, event: Event) -> (State, Vec<Effect>) {
    use State::{Backoff, Closed, Connecting, Handshaking, Idle, Ready};
    match (state, event) {
        (s, e) if e.epoch().is_some_and(|epoch| epoch != s.epoch()) => (s, vec![]),

        (Idle, Event::Connect | Event::Wanted) => dial(1, 0),
        (Closed { epoch }, Event::Connect) => dial(epoch + 1, 0),
        (Backoff { epoch, attempt }, Event::Due { .. }) => dial(epoch + 1, attempt),

        (Connecting { epoch, attempt }, Event::Opened { .. }) => {
            (Handshaking { epoch, attempt }, vec![])
        }
        (Handshaking { epoch, attempt }, Event::Confirmed { .. }) => {
            (Ready { epoch, attempt }, vec![Effect::Serve { epoch }])
        }
        (
            Connecting { epoch, attempt } | Handshaking { epoch, attempt },
            Event::Failed { failure, .. },
        ) => {
            let pace = Pace::after(failure);
            let failures = attempt.saturating_add(u32::from(pace != Pace::Knock));
            (Backoff { epoch, attempt: failures }, vec![Effect::Wait { epoch, attempt, pace }])
        }
        (Ready { epoch, attempt }, Event::Lost { reason, .. }) => {
            let retire = Effect::Retire { epoch, reason };
            let wait = Effect::Wait { epoch, attempt, pace: Pace::Backoff };
            // The loss itself counts as an attempt: a link that flaps must not redial at once for ever.
            (Backoff { epoch, attempt: attempt.saturating_add(1) }, vec![retire, wait])
        }
        (Ready { epoch, .. }, Event::Stable { .. }) => (Ready { epoch, attempt: 0 }, vec![]),

        (Connecting { epoch, .. } | Handshaking { epoch, .. }, Event::Close) => {
            (Closed { epoch }, vec![Effect::Abandon { epoch }])
        }
        (Ready { epoch, .. }, Event::Close) => {
            (Closed { epoch }, vec![Effect::Retire { epoch, reason: SocketClose::Shutdown }])
        }
        (Idle | Backoff { .. }, Event::Close) => (Closed { epoch: state.epoch() }, vec![]),

        (unmoved, _) => (unmoved, vec![]),
    }
}

fn dial(epoch: Epoch, attempt: u32) -> (State, Vec<Effect>) {
    (State::Connecting { epoch, attempt }, vec![Effect::Dial { epoch }])
}

#[cfg(test)]
mod tests;
