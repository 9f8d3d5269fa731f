//! How many connections this process may have, enforced in one place.
//!
//! A role has one permit. Its supervisor owns it, declares a socket dead, awaits the end of
//! its driver, and only then dials again: so one permit is one connection. The [`Guard`]
//! inside each socket only counts. A socket that was abandoned (forgotten by a bug, or stuck
//! in the kernel) keeps its guard, shows as open > expected, and never blocks a redial.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::audit::{OpenSocket, Sockets};
use super::error::Error;
use super::socket::{Ends, Vitals};
use crate::model::{Component, Label, Role};
use crate::telemetry::catalogue::{self, Definition};
use crate::telemetry::events::connection::{
    BudgetRefused, ExpectedConnections, SocketClosed, SocketOpened,
};

/// Beyond this many abandoned sockets per role dialling is refused: a bug that loses one at
/// every redial must not take Redis' client limit with it.
const MAX_ABANDONED: usize = 16;

/// Dials per second of the whole process, over all roles. Ten are the shared connection's
/// knocks at a closed port; the rest is the subscriber's.
const MAX_DIALS_PER_SECOND: usize = 12;

/// The connections one process may have. Clones are the same budget, and it is spent once: a
/// second [`Owner`](super::Owner) under it is refused, and counted as refused.
///
/// ```
/// use trunkline::conn::Budget;
/// use trunkline::model::Role;
///
/// let budget = Budget::with_subscriber();
/// assert_eq!((budget.expected(Role::Shared), budget.expected(Role::Subscriber)), (1, 1));
/// assert_eq!(Budget::shared_only().expected(Role::Subscriber), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    expected: [usize; Role::ALL.len()],
    taken: [AtomicUsize; Role::ALL.len()],
    sockets: Sockets,
    dials: Mutex<Pacer>,
}

impl Budget {
    /// One connection: commands and publishing. It is all that most services need.
    pub fn shared_only() -> Self {
        Self::of(Component::Worker)
    }

    /// Two connections: the shared one, and a subscriber's.
    pub fn with_subscriber() -> Self {
        Self::of(Component::Server)
    }

    /// The budget of one of Trunkline's own programs: every one has a shared connection, a
    /// server a subscriber too.
    pub fn of(component: Component) -> Self {
        let subscriber = usize::from(component == Component::Server);
        Self(Arc::new(Inner {
            expected: [1, subscriber],
            taken: Default::default(),
            sockets: Sockets::default(),
            dials: Mutex::default(),
        }))
    }

    /// Tells the installed recorder of the [`metrics`] crate what connections of this budget
    /// count, and gives every counter, histogram and gauge of theirs its zero, so that a first
    /// failure shows as a rise. Call it once, after the recorder was installed. The programs of
    /// the bridge have it done for them.
    pub fn describe_metrics(&self) {
        let component = match self.expected(Role::Subscriber) {
            0 => Component::Worker,
            _ => Component::Server,
        };
        catalogue::describe(component, Definition::is_of_connection);
    }

    /// Connections the budget calls for.
    pub fn expected(&self, role: Role) -> usize {
        self.0.expected[role.index()]
    }

    /// Sockets open now, abandoned ones included.
    pub fn open(&self, role: Role) -> usize {
        self.0.sockets.count(role)
    }

    /// Those sockets, the oldest first.
    pub fn sockets(&self) -> Vec<OpenSocket> {
        self.0.sockets.open()
    }

    /// What is known of the sockets there are and were.
    pub(super) fn record(&self) -> &Sockets {
        &self.0.sockets
    }

    /// The right to one connection of the role, until it is dropped.
    ///
    /// # Errors
    /// [`Error::OverBudget`], counted and logged, when there is none left.
    pub(super) fn permit(&self, role: Role) -> Result<Permit, Error> {
        let taken = &self.0.taken[role.index()];
        let expected = self.expected(role);
        let room = |taken| (taken < expected).then_some(taken + 1);
        if taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            BudgetRefused { role, detail: "the role has its connection" }.emit();
            return Err(Error::OverBudget { role });
        }
        ExpectedConnections { role, count: expected }.emit();
        Ok(Permit { role, budget: self.clone() })
    }
}

/// The right to one connection of a role.
#[derive(Debug)]
pub(super) struct Permit {
    role: Role,
    budget: Budget,
}

impl Permit {
    /// Asks to dial: how long to wait first, so that the process stays within its dials per second.
    pub(super) fn dial(&self) -> Result<Duration, Error> {
        let role = self.role;
        if self.budget.open(role) > MAX_ABANDONED {
            BudgetRefused { role, detail: "too many abandoned sockets" }.emit();
            return Err(Error::OverBudget { role });
        }
        let mut dials = self.budget.0.dials.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(dials.admit(Instant::now()))
    }

    /// Counts a socket of this generation from now until the guard is dropped, and remembers
    /// where in the code it was opened.
    #[track_caller]
    pub(super) fn guard(&self, vitals: Arc<Vitals>, generation: u64, ends: Ends) -> Guard {
        let role = self.role;
        let socket = OpenSocket {
            role,
            generation,
            opened: Instant::now(),
            client_id: None,
            local: ends.local,
            peer: ends.peer,
            place: Location::caller(),
            number: 0,
        };
        let number = self.budget.0.sockets.opened(socket);
        SocketOpened { role }.emit();
        Guard { role, number, budget: self.budget.clone(), vitals }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.0.taken[self.role.index()].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lives inside a socket: open when made, closed when dropped, exactly once each.
#[derive(Debug)]
pub(super) struct Guard {
    role: Role,
    /// Of all sockets of this budget.
    number: u64,
    budget: Budget,
    vitals: Arc<Vitals>,
}

impl Guard {
    /// Redis said which client this socket is to it.
    pub(super) fn identify(&self, client_id: u64) {
        self.budget.0.sockets.identified(self.number, client_id);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.budget.0.sockets.closed(self.number);
        SocketClosed { role: self.role, reason: self.vitals.ending() }.emit();
    }
}

/// Spreads dials so that no second has more than [`MAX_DIALS_PER_SECOND`].
#[derive(Debug, Default)]
struct Pacer {
    /// When the last dials are to start, oldest first.
    recent: VecDeque<Instant>,
}

impl Pacer {
    fn admit(&mut self, now: Instant) -> Duration {
        let mut start = now;
        if self.recent.len() == MAX_DIALS_PER_SECOND
            && let Some(oldest) = self.recent.pop_front()
        {
            start = start.max(oldest + Duration::from_secs(1));
        }
        self.recent.push_back(start);
        start - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_twelve_dials() {
        let (mut pacer, begin) = (Pacer::default(), Instant::now());
        let starts: Vec<Duration> = (0..60).map(|_| pacer.admit(begin)).collect();
        for window in starts.windows(MAX_DIALS_PER_SECOND + 1) {
            assert!(window[MAX_DIALS_PER_SECOND] - window[0] >= Duration::from_secs(1));
        }
        assert_eq!(pacer.admit(begin + Duration::from_secs(60)), Duration::ZERO);
    }

    #[test]
    fn a_role_has_one_permit_and_a_worker_none_for_a_subscriber() {
        let budget = Budget::of(Component::Worker);
        let permit = budget.permit(Role::Shared).expect("a worker has a shared connection");
        assert!(matches!(budget.permit(Role::Shared), Err(Error::OverBudget { .. })));
        assert!(matches!(budget.permit(Role::Subscriber), Err(Error::OverBudget { .. })));
        drop(permit);
        assert!(budget.permit(Role::Shared).is_ok());
    }

    #[test]
    fn abandoned_sockets_show_as_open_and_stop_dialling_only_beyond_sixteen() {
        let budget = Budget::of(Component::Worker);
        let permit = budget.permit(Role::Shared).expect("free");
        for _ in 0..MAX_ABANDONED {
            std::mem::forget(permit.guard(Arc::default(), 1, Ends::default()));
            assert!(permit.dial().is_ok());
        }
        let last = permit.guard(Arc::default(), 2, Ends::default());
        assert!(matches!(permit.dial(), Err(Error::OverBudget { .. })));
        drop(last);
        assert!(permit.dial().is_ok());
        assert_eq!(budget.open(Role::Shared), MAX_ABANDONED);
    }
}
