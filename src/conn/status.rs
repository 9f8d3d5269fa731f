//! What anyone may know about a connection.

use std::time::{Duration, Instant, SystemTime};

use crate::model::{ConnectionState, Role};

/// One connection at one moment. Watch it through [`super::Owner::watch`]: the present value
/// is always there, and no change is missed for ever.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Which connection.
    pub role: Role,
    /// Where it is.
    pub state: ConnectionState,
    /// When it got there, by the wall clock.
    pub since: SystemTime,
    /// The same moment, for ages.
    pub entered: Instant,
    /// Dials so far; the last part of the connection's name.
    pub generation: u64,
    /// Dials since it was last ready.
    pub attempts: u64,
    /// Why the last dial failed or the last connection was lost, as metrics name it.
    pub last_reason: Option<&'static str>,
}

impl Status {
    pub(super) fn idle(role: Role) -> Self {
        Self {
            role,
            state: ConnectionState::Idle,
            since: SystemTime::now(),
            entered: Instant::now(),
            generation: 0,
            attempts: 0,
            last_reason: None,
        }
    }

    /// Whether commands go through.
    pub fn is_ready(&self) -> bool {
        self.state == ConnectionState::Ready
    }
}

/// A stretch without a ready connection, from losing it to having it again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outage {
    /// Which connection.
    pub role: Role,
    /// When it was lost.
    pub since: SystemTime,
    /// How long it lasted, or has lasted so far.
    pub duration: Duration,
    /// Whether it goes on.
    pub ongoing: bool,
    /// Why it began, as metrics name it.
    pub reason: &'static str,
    /// Dials meanwhile.
    pub attempts: u64,
    /// Commands refused meanwhile.
    pub refused: u64,
}
