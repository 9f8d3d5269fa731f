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
pub type Epoch = u64;

/// Where a connection is, with what must be remembered there.
///
/// `attempt` counts the dials in a row that did not lead to a stable connection; it sets the
/// length of the next wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing was dialled yet.
    Idle,
    /// Resolving, TCP, TLS.
    Connecting {
        /// This dial.
        epoch: Epoch,
        /// Dials in a row before this one.
        attempt: u32,
    },
    /// HELLO, ready check, subscriptions.
    Handshaking {
        /// This dial.
        epoch: Epoch,
        /// Dials in a row before this one.
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
        /// Dials in a row so far.
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
    pub fn label(self) -> ConnectionState {
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
    pub fn epoch(self) -> Epoch {
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
pub enum Event {
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
pub enum Pace {
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
pub enum Effect {
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
        /// Dials in a row so far, the last one not counted.
        attempt: u32,
        /// How long.
        pace: Pace,
    },
}

/// The whole table. What is not in it changes nothing.
pub fn next(state: State, event: Event) -> (State, Vec<Effect>) {
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
            let wait = Effect::Wait { epoch, attempt, pace: Pace::after(failure) };
            (Backoff { epoch, attempt: attempt.saturating_add(1) }, vec![wait])
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
mod tests {
    use std::collections::{HashSet, VecDeque};

    use super::*;
    use crate::model::{Edge, Label};

    const REFUSED: ConnectFailure = ConnectFailure::Refused;
    const EOF: SocketClose = SocketClose::Eof;

    fn walk(events: &[Event]) -> (State, Vec<Effect>) {
        events.iter().fold((State::Idle, vec![]), |(state, mut done), event| {
            let (state, effects) = next(state, *event);
            done.extend(effects);
            (state, done)
        })
    }

    #[test]
    fn a_dial_that_succeeds_serves_and_one_that_is_refused_knocks_again() {
        let (state, effects) = walk(&[
            Event::Connect,
            Event::Failed { epoch: 1, failure: REFUSED },
            Event::Due { epoch: 1 },
            Event::Opened { epoch: 2 },
            Event::Confirmed { epoch: 2 },
        ]);
        assert_eq!(state, State::Ready { epoch: 2, attempt: 1 });
        assert_eq!(
            effects,
            [
                Effect::Dial { epoch: 1 },
                Effect::Wait { epoch: 1, attempt: 0, pace: Pace::Knock },
                Effect::Dial { epoch: 2 },
                Effect::Serve { epoch: 2 },
            ]
        );
    }

    #[test]
    fn a_lost_connection_is_retired_before_anything_else_is_done() {
        let ready = [Event::Wanted, Event::Opened { epoch: 1 }, Event::Confirmed { epoch: 1 }];
        let (state, effects) =
            walk(&[&ready[..], &[Event::Lost { epoch: 1, reason: EOF }]].concat());
        assert_eq!(state, State::Backoff { epoch: 1, attempt: 1 });
        assert_eq!(effects[2], Effect::Retire { epoch: 1, reason: EOF });
        assert_eq!(effects[3], Effect::Wait { epoch: 1, attempt: 0, pace: Pace::Backoff });
    }

    #[test]
    fn a_flapping_connection_waits_longer_each_time_and_a_stable_one_starts_afresh() {
        let mut state = State::Idle;
        (state, _) = next(state, Event::Connect);
        for round in 0..5 {
            let epoch = state.epoch();
            (state, _) = next(state, Event::Opened { epoch });
            (state, _) = next(state, Event::Confirmed { epoch });
            let (lost, effects) = next(state, Event::Lost { epoch, reason: EOF });
            assert_eq!(effects[1], Effect::Wait { epoch, attempt: round, pace: Pace::Backoff });
            (state, _) = next(lost, Event::Due { epoch });
        }
        let epoch = state.epoch();
        for event in [Event::Opened { epoch }, Event::Confirmed { epoch }, Event::Stable { epoch }]
        {
            (state, _) = next(state, event);
        }
        assert_eq!(state, State::Ready { epoch, attempt: 0 });
    }

    #[test]
    fn connect_acts_in_idle_and_closed_only_and_a_command_in_idle_only() {
        for state in every_reachable_state() {
            let (after, _) = next(state, Event::Connect);
            assert_eq!(
                after != state,
                matches!(state, State::Idle | State::Closed { .. }),
                "{state:?}"
            );
            let (after, _) = next(state, Event::Wanted);
            assert_eq!(after != state, state == State::Idle, "{state:?}");
        }
    }

    #[test]
    fn a_stale_answer_moves_nothing() {
        let (state, _) = walk(&[
            Event::Connect,
            Event::Failed { epoch: 1, failure: ConnectFailure::Timeout },
            Event::Due { epoch: 1 },
        ]);
        for event in every_event(1) {
            if event.epoch().is_some() {
                assert_eq!(next(state, event), (state, vec![]), "{event:?}");
            }
        }
    }

    #[test]
    fn a_connection_closed_by_its_owner_comes_back_with_a_new_epoch() {
        let (state, effects) = walk(&[Event::Connect, Event::Close, Event::Connect]);
        assert_eq!(state, State::Connecting { epoch: 2, attempt: 0 });
        assert_eq!(effects[1], Effect::Abandon { epoch: 1 });
    }

    /// Every event at every reachable state: only the diagram's thirteen edges occur, each of
    /// them does, nothing panics, and no socket is ever dialled while another is alive.
    #[test]
    fn an_exhaustive_walk_finds_the_thirteen_edges_and_no_other() {
        let mut edges = HashSet::new();
        for state in every_reachable_state() {
            for event in
                every_event(state.epoch()).into_iter().chain(every_event(state.epoch() + 1))
            {
                let (after, effects) = next(state, event);
                if after.label() != state.label() {
                    edges.insert(Edge { from: state.label(), to: after.label() });
                }
                let had_socket = matches!(
                    state,
                    State::Connecting { .. } | State::Handshaking { .. } | State::Ready { .. }
                );
                let dials = effects.iter().any(|effect| matches!(effect, Effect::Dial { .. }));
                assert!(!(had_socket && dials), "{state:?} {event:?}: two sockets");
                assert!(after.epoch() >= state.epoch(), "an epoch never goes back");
            }
        }
        assert_eq!(edges, Edge::ALL.iter().copied().collect());
    }

    fn every_event(epoch: Epoch) -> Vec<Event> {
        let failed = ConnectFailure::ALL.iter().map(|&failure| Event::Failed { epoch, failure });
        let lost = SocketClose::ALL.iter().map(|&reason| Event::Lost { epoch, reason });
        let plain = [
            Event::Connect,
            Event::Wanted,
            Event::Opened { epoch },
            Event::Confirmed { epoch },
            Event::Due { epoch },
            Event::Stable { epoch },
            Event::Close,
        ];
        failed.chain(lost).chain(plain).collect()
    }

    fn every_reachable_state() -> HashSet<State> {
        let mut seen = HashSet::from([State::Idle]);
        let mut open = VecDeque::from([State::Idle]);
        while let Some(state) = open.pop_front() {
            for event in every_event(state.epoch()) {
                let (after, _) = next(state, event);
                if after.epoch() <= 4 && seen.insert(after) {
                    open.push_back(after);
                }
            }
        }
        seen
    }
}
