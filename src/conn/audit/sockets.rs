//! The first side: what is known of every socket that a guard of ours counts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::finding::Offender;
use crate::conn::status::Status;
use crate::model::Role;

/// Clients whose end Redis may not have noticed yet. More than this many within the minutes that
/// Redis needs for it are remembered as nobody's.
const REMEMBERED_CLIENTS: usize = 256;
/// Addresses that were dialled. A name may move, and its old addresses are forgotten some time.
const REMEMBERED_PEERS: usize = 64;

/// A socket to Redis that this process holds open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenSocket {
    /// What it is for.
    pub role: Role,
    /// Which dial of its role opened it; the last part of its name in Redis.
    pub generation: u64,
    /// When it was opened.
    pub opened: Instant,
    /// Its `id` in Redis' CLIENT LIST; `None` until Redis has greeted it.
    pub client_id: Option<u64>,
    /// Our end; `None` for a unix socket.
    pub local: Option<SocketAddr>,
    /// The address that was dialled; `None` for a unix socket.
    pub peer: Option<SocketAddr>,
    /// The line of code that opened it.
    pub place: &'static Location<'static>,
    /// Of all sockets of the budget.
    pub(in crate::conn) number: u64,
}

impl OpenSocket {
    /// Whether it belongs to the dial that its connection is at. One that does not was given up,
    /// and ought to be closed.
    pub fn is_of(&self, status: &Status) -> bool {
        self.role == status.role && self.generation == status.generation
    }

    /// What is to be told of it, if it should not be there.
    pub fn offender(&self) -> Offender {
        Offender {
            role: Some(self.role),
            generation: Some(self.generation),
            id: self.client_id,
            addr: self.local.map(|local| local.to_string()),
            age: Some(self.opened.elapsed()),
            place: Some(self.place),
            key: self.number,
            ..Offender::default()
        }
    }
}

/// The sockets of one budget: those open now, and what is left to know of others.
#[derive(Debug, Default)]
pub(in crate::conn) struct Sockets(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    opened: u64,
    open: BTreeMap<u64, OpenSocket>,
    closed: VecDeque<Farewell>,
    peers: VecDeque<SocketAddr>,
}

/// A client that Redis may list for a while after we closed its socket: for minutes, where the
/// network lost the end of the connection. Redis numbers its clients afresh when it is restarted,
/// so the number alone is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Farewell {
    pub(super) client_id: u64,
    pub(super) generation: u64,
}

impl Sockets {
    /// Returns the number of the socket.
    pub(in crate::conn) fn opened(&self, socket: OpenSocket) -> u64 {
        let mut known = self.known();
        if let Some(peer) = socket.peer.map(plain)
            && !known.peers.contains(&peer)
        {
            push_bounded(&mut known.peers, peer, REMEMBERED_PEERS);
        }
        known.opened += 1;
        let number = known.opened;
        known.open.insert(number, OpenSocket { number, ..socket });
        number
    }

    pub(in crate::conn) fn identified(&self, number: u64, client_id: u64) {
        if let Some(socket) = self.known().open.get_mut(&number) {
            socket.client_id = Some(client_id);
        }
    }

    pub(in crate::conn) fn closed(&self, number: u64) {
        let mut known = self.known();
        if let Some(OpenSocket { client_id: Some(client_id), generation, .. }) =
            known.open.remove(&number)
        {
            let farewell = Farewell { client_id, generation };
            push_bounded(&mut known.closed, farewell, REMEMBERED_CLIENTS);
        }
    }

    pub(in crate::conn) fn count(&self, role: Role) -> usize {
        self.known().open.values().filter(|socket| socket.role == role).count()
    }

    pub(in crate::conn) fn open(&self) -> Vec<OpenSocket> {
        self.known().open.values().cloned().collect()
    }

    /// Clients that were ours and are closed on our side.
    pub(super) fn farewells(&self) -> BTreeSet<Farewell> {
        self.known().closed.iter().copied().collect()
    }

    /// The addresses where Redis was reached.
    pub(super) fn peers(&self) -> BTreeSet<SocketAddr> {
        self.known().peers.iter().copied().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address as the kernel's table has it: without the scope of a link, and IPv4 as what it is.
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn push_bounded<T>(queue: &mut VecDeque<T>, value: T, bound: usize) {
    if queue.len() == bound {
        queue.pop_front();
    }
    queue.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn socket(generation: u64) -> OpenSocket {
        OpenSocket {
            role: Role::Shared,
            generation,
            opened: Instant::now(),
            client_id: None,
            local: None,
            peer: Some(([127, 0, 0, 1], 6379).into()),
            place: Location::caller(),
            number: 0,
        }
    }

    #[test]
    fn a_socket_is_known_until_it_is_closed_and_its_client_a_while_longer() {
        let sockets = Sockets::default();
        let (first, second) = (sockets.opened(socket(1)), sockets.opened(socket(2)));
        sockets.identified(first, 17);
        sockets.closed(first);
        sockets.closed(second);
        assert_eq!(sockets.count(Role::Shared), 0);
        let all: Vec<_> = sockets.farewells().into_iter().collect();
        assert_eq!(all, [Farewell { client_id: 17, generation: 1 }]);
        assert_eq!(sockets.peers().len(), 1, "the same address twice is one");
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let sockets = Sockets::default();
        for generation in 1..=2 * REMEMBERED_CLIENTS as u64 {
            let number = sockets.opened(socket(generation));
            sockets.identified(number, generation);
            sockets.closed(number);
        }
        let all = sockets.farewells();
        assert_eq!(all.len(), REMEMBERED_CLIENTS);
        assert!(all.iter().all(|it| it.generation > REMEMBERED_CLIENTS as u64), "the oldest goes");
    }
}
