//! The table by hand, then every event at every reachable state.

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
    assert_eq!(state, State::Ready { epoch: 2, attempt: 0 });
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
fn a_port_that_was_closed_for_long_does_not_lengthen_the_first_wait_after_it_opened() {
    let (mut state, _) = next(State::Idle, Event::Connect);
    for _ in 0..100 {
        let epoch = state.epoch();
        (state, _) = next(state, Event::Failed { epoch, failure: REFUSED });
        (state, _) = next(state, Event::Due { epoch });
    }
    let epoch = state.epoch();
    let (_, effects) = next(state, Event::Failed { epoch, failure: ConnectFailure::Loading });
    assert_eq!(effects, [Effect::Wait { epoch, attempt: 0, pace: Pace::Backoff }]);
}

#[test]
fn a_lost_connection_is_retired_before_anything_else_is_done() {
    let ready = [Event::Wanted, Event::Opened { epoch: 1 }, Event::Confirmed { epoch: 1 }];
    let (state, effects) = walk(&[&ready[..], &[Event::Lost { epoch: 1, reason: EOF }]].concat());
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
    for event in [Event::Opened { epoch }, Event::Confirmed { epoch }, Event::Stable { epoch }] {
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
        for event in every_event(state.epoch()).into_iter().chain(every_event(state.epoch() + 1)) {
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
