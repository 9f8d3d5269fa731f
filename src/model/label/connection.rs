//! Words of a connection.

use super::Label;
use super::labels;

labels! {
    /// Which program of the fleet a process is.
    Component as "component" {
        /// HTTP in, events out, holds the subscriber.
        Server = "server",
        /// Takes jobs, runs rule chains, publishes.
        Worker = "worker",
        /// The operator's tool; outside the fleet's count.
        Tool = "tool",
    };

    /// What a connection is for. A worker has no subscriber.
    Role as "role" {
        /// Queue, index, health and PUBLISH.
        Shared = "shared",
        /// Subscriptions only.
        Subscriber = "subscriber",
    } legal(role, component) = role == Role::Shared || component == Component::Server;

    /// Where a connection is in its life.
    ConnectionState as "state" {
        /// Nothing was dialled yet.
        Idle = "idle",
        /// Resolving, TCP, TLS.
        Connecting = "connecting",
        /// HELLO, ready check, subscriptions.
        Handshaking = "handshaking",
        /// Commands go through.
        Ready = "ready",
        /// Waiting before the next dial.
        Backoff = "backoff",
        /// Closed by its owner.
        Closed = "closed",
    };

    /// Why a dial did not become ready.
    ConnectFailure as "reason" {
        /// The host name did not resolve.
        Dns = "dns",
        /// Nobody listens: refused, unreachable, or no such socket file.
        Refused = "refused",
        /// The connect timeout passed.
        Timeout = "timeout",
        /// The TLS handshake failed.
        Tls = "tls",
        /// Wrong or missing credentials.
        Auth = "auth",
        /// The user may not do what the handshake needs.
        Noperm = "noperm",
        /// Redis has no room for another client.
        Maxclients = "maxclients",
        /// Redis is still loading its data.
        Loading = "loading",
        /// The server is a replica.
        NotMaster = "not_master",
        /// The peer does not speak RESP3, or not Redis.
        Protocol = "protocol",
        /// Anything else.
        Other = "other",
    };

    /// Why a socket was closed.
    SocketClose as "reason" {
        /// The owner closed it.
        Shutdown = "shutdown",
        /// Given up in favour of a new one.
        Replaced = "replaced",
        /// Redis closed it.
        Eof = "eof",
        /// Reset or broken pipe.
        Reset = "reset",
        /// The kernel gave up on unacknowledged data.
        IoTimeout = "io_timeout",
        /// The heartbeat was not answered in time.
        Heartbeat = "heartbeat",
        /// Two accepted self-probes did not come back.
        ProbeTimeout = "probe_timeout",
        /// Redis became read-only.
        Readonly = "readonly",
        /// The dial did not become ready.
        HandshakeFailed = "handshake_failed",
        /// The peer sent something that is not RESP.
        Protocol = "protocol",
        /// Anything else.
        Other = "other",
    };

    /// Who is asked how many connections there are.
    AuditSide as "side" {
        /// The guards in our own sockets.
        Guards = "guards",
        /// The kernel's table of TCP sockets.
        Kernel = "kernel",
        /// Redis' list of clients, this process' entries.
        Redis = "redis",
        /// The same list, the whole fleet's entries.
        Fleet = "fleet",
    };

    /// What an audit came to.
    AuditState as "state" {
        /// Nobody was asked yet.
        Pending = "pending",
        /// As many as there should be, or what is too many was seen only once so far.
        Ok = "ok",
        /// The same connections were too many twice in a row.
        Leak = "leak",
        /// This side cannot be asked here.
        Unsupported = "unsupported",
        /// Another process of the fleet asks for all.
        Elsewhere = "elsewhere",
    };

    /// Whether the process a connection is named for gives signs of life.
    FleetOwner as "owner" {
        /// Its heartbeat is there, or the connection is too young to tell.
        Live = "live",
        /// It has none.
        Dead = "dead",
    };
}

/// A connection of any process of the fleet. A worker that counts for all sees subscribers too,
/// which it has none of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetConnection {
    /// What it is for.
    pub role: Role,
    /// Whether its process lives.
    pub owner: FleetOwner,
}

impl Label for FleetConnection {
    const KEYS: &'static [&'static str] = &["role", "owner"];
    const ALL: &'static [Self] = {
        const fn of(role: Role, owner: FleetOwner) -> FleetConnection {
            FleetConnection { role, owner }
        }
        &[
            of(Role::Shared, FleetOwner::Live),
            of(Role::Shared, FleetOwner::Dead),
            of(Role::Subscriber, FleetOwner::Live),
            of(Role::Subscriber, FleetOwner::Dead),
        ]
    };
    fn index(self) -> usize {
        self.role.index() * FleetOwner::ALL.len() + self.owner.index()
    }
    fn values(self) -> Vec<&'static str> {
        vec![self.role.label(), self.owner.label()]
    }
}

/// One edge of the connection's state diagram; no other edge exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// The state that was left.
    pub from: ConnectionState,
    /// The state that was entered.
    pub to: ConnectionState,
}

impl Label for Edge {
    const KEYS: &'static [&'static str] = &["from", "to"];
    const ALL: &'static [Self] = {
        use ConnectionState::*;
        const fn edge(from: ConnectionState, to: ConnectionState) -> Edge {
            Edge { from, to }
        }
        &[
            edge(Idle, Connecting),
            edge(Connecting, Handshaking),
            edge(Connecting, Backoff),
            edge(Handshaking, Ready),
            edge(Handshaking, Backoff),
            edge(Ready, Backoff),
            edge(Backoff, Connecting),
            edge(Closed, Connecting),
            edge(Idle, Closed),
            edge(Connecting, Closed),
            edge(Handshaking, Closed),
            edge(Ready, Closed),
            edge(Backoff, Closed),
        ]
    };
    fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|edge| *edge == self)
            .unwrap_or_else(|| unreachable!("{} to {} is not an edge", self.from, self.to))
    }
    fn values(self) -> Vec<&'static str> {
        vec![self.from.label(), self.to.label()]
    }
}
