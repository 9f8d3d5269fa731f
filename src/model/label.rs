//! Every label value a metric or a log line may carry, spelled once.
//!
//! A label is a closed enum: [`Label::ALL`] seeds the legal series at zero and prints the
//! documentation. A channel, a client id, a subject, a key or an error text is never a label.

/// A closed set of label values under one or more label keys.
pub trait Label: Copy + 'static {
    /// The label keys, in the order of [`Label::values`].
    const KEYS: &'static [&'static str];
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// The position in [`Label::ALL`].
    fn index(self) -> usize;
    /// One value for each of [`Label::KEYS`].
    fn values(self) -> Vec<&'static str>;
    /// Whether a process of this component can ever export this value.
    fn legal(self, _component: Component) -> bool {
        true
    }
}

/// Declares closed enums together with the words they are spoken in.
macro_rules! labels {
    ($(
        $(#[$doc:meta])*
        $name:ident as $key:literal {
            $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+
        }
        $(legal($this:ident, $component:ident) = $legal:expr)?;
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }
        impl $name {
            /// The word used in metrics, logs and answers.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
        impl Label for $name {
            const KEYS: &'static [&'static str] = &[$key];
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            fn index(self) -> usize { self as usize }
            fn values(self) -> Vec<&'static str> { vec![self.label()] }
            $(fn legal(self, $component: Component) -> bool { let $this = self; $legal })?
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.label()) }
        }
    )+};
}

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

    /// Why a publish was not answered with a count of receivers.
    PublishFailure as "reason" {
        /// Not connected; nothing was sent.
        NotReady = "not_ready",
        /// Too many commands in flight; nothing was sent.
        Overloaded = "overloaded",
        /// The owner closed the connection; nothing was sent.
        Closed = "closed",
        /// No answer in time; it may have been delivered.
        Timeout = "timeout",
        /// The connection died first; it may have been delivered.
        Disconnected = "disconnected",
        /// Redis is loading.
        Loading = "loading",
        /// Redis is read-only.
        Readonly = "readonly",
        /// The ACL refuses it.
        Noperm = "noperm",
        /// Redis is out of memory.
        Oom = "oom",
        /// The payload is over the limit; nothing was sent.
        TooLarge = "too_large",
        /// Anything else.
        Other = "other",
    };

    /// Why a received message was not routed.
    SubscriberDrop as "reason" {
        /// Not UTF-8, or an envelope that cannot be read.
        Decode = "decode",
        /// Over the payload limit.
        TooLarge = "too_large",
        /// No client is subscribed any more.
        NoRoute = "no_route",
        /// The hand-off queue was full.
        QueueFull = "queue_full",
    };

    /// What kind of message a subscriber received.
    MessageKind as "kind" {
        /// A notification.
        Event = "event",
        /// This process' own probe.
        Probe = "probe",
        /// The fleet's control channel.
        Control = "control",
    };

    /// How a client listens.
    Transport as "transport" {
        /// WebSocket.
        Ws = "ws",
        /// Server-sent events.
        Sse = "sse",
    };

    /// Why a client was closed.
    ClientClose as "reason" {
        /// It left.
        Client = "client",
        /// It did not keep up.
        Slow = "slow",
        /// It did not answer.
        PingTimeout = "ping_timeout",
        /// Its credentials ended.
        Auth = "auth",
        /// It sent too much.
        TooLarge = "too_large",
        /// This process is ending.
        Shutdown = "shutdown",
        /// Its socket failed, or it broke the protocol.
        Error = "error",
    };

    /// The Redis commands we send, by name; anything else is `other`.
    Command as "command" {
        /// PUBLISH.
        Publish = "publish",
        /// EVAL, EVALSHA, SCRIPT.
        Eval = "eval",
        /// XREADGROUP.
        Xreadgroup = "xreadgroup",
        /// XADD.
        Xadd = "xadd",
        /// XINFO, XLEN, XPENDING, XRANGE.
        Xinfo = "xinfo",
        /// XGROUP.
        Xgroup = "xgroup",
        /// GET, MGET.
        Get = "get",
        /// SET.
        Set = "set",
        /// HGET, HGETALL, HMGET.
        Hget = "hget",
        /// HSET, HDEL.
        Hset = "hset",
        /// SUBSCRIBE, PSUBSCRIBE and their opposites.
        Subscribe = "subscribe",
        /// PING.
        Ping = "ping",
        /// CLIENT.
        Client = "client",
        /// INFO, ROLE.
        Info = "info",
        /// Several commands in one pipeline or transaction.
        Pipeline = "pipeline",
        /// Anything else.
        Other = "other",
    };

    /// Why a command failed.
    CommandFailure as "reason" {
        /// Not connected; nothing was sent.
        NotReady = "not_ready",
        /// Too many commands in flight; nothing was sent.
        Overloaded = "overloaded",
        /// The owner closed the connection; nothing was sent.
        Closed = "closed",
        /// Not allowed on a shared connection; nothing was sent.
        Denied = "denied",
        /// No answer in time; it may have been executed.
        Timeout = "timeout",
        /// The connection died first; it may have been executed.
        Disconnected = "disconnected",
        /// Redis is loading.
        Loading = "loading",
        /// Redis is read-only.
        Readonly = "readonly",
        /// The ACL refuses it.
        Noperm = "noperm",
        /// Redis is out of memory.
        Oom = "oom",
        /// Redis answered with another error.
        Server = "server",
        /// Anything else.
        Other = "other",
    };

    /// Where a job is.
    JobState as "state" {
        /// In the stream, not taken.
        Waiting = "waiting",
        /// Taken by a worker, not settled.
        Active = "active",
        /// Waiting for its time.
        Delayed = "delayed",
        /// Given up, kept with its reason.
        Dead = "dead",
    };

    /// What made a job.
    JobType as "job_type" {
        /// An event that was posted.
        Event = "event",
        /// A schedule.
        Scheduled = "scheduled",
    };

    /// How one attempt at a job ended.
    JobOutcome as "outcome" {
        /// Settled.
        Done = "done",
        /// Goes again later.
        Retried = "retried",
        /// Ended in the dead letters.
        Dead = "dead",
    };

    /// Why a job ended in the dead letters.
    DeadReason as "reason" {
        /// Its attempts are used up.
        Attempts = "attempts",
        /// A rule chain failed on it.
        RuleError = "rule_error",
        /// Delivered too often without ever being settled.
        Abandoned = "abandoned",
        /// It cannot be read.
        Malformed = "malformed",
    };

    /// How one evaluation of a rule chain ended.
    RuleOutcome as "outcome" {
        /// At least one action was reached.
        Match = "match",
        /// The chain ended without an action.
        NoMatch = "no_match",
        /// An expression failed.
        Error = "error",
    };

    /// How idle workers learn of new jobs.
    WakeupMode as "mode" {
        /// Client tracking of a per-worker key.
        Tracking = "tracking",
        /// A per-worker channel on the shared connection.
        Subscribe = "subscribe",
        /// Adaptive polling.
        Polling = "polling",
    };

    /// Why a self-probe failed.
    ProbeFailure as "reason" {
        /// Redis did not accept it: says nothing about the receive path.
        Publish = "publish",
        /// Redis accepted it and it did not come back in time.
        Timeout = "timeout",
    };

    /// What a ready process needs.
    Check as "check" {
        /// The shared connection is ready.
        Shared = "shared",
        /// The subscriber connection is ready.
        Subscriber = "subscriber",
        /// Every desired subscription is confirmed.
        Subscriptions = "subscriptions",
        /// The last self-probe is fresh.
        Probe = "probe",
        /// The process is not draining.
        Drain = "drain",
    } legal(check, component) = component == Component::Server || matches!(check, Check::Shared | Check::Drain);

    /// The first digit of an HTTP status.
    StatusClass as "status_class" {
        /// Success (and 1xx, 3xx).
        Success = "2xx",
        /// The caller's fault.
        Client = "4xx",
        /// Ours, or Redis'.
        Server = "5xx",
    };
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

/// Declares the public HTTP endpoints: the only (method, route) pairs that are ever a label.
macro_rules! endpoints {
    ($($(#[$doc:meta])* $variant:ident = $method:literal $route:literal,)+) => {
        /// A door of the public listener.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Endpoint { $($(#[$doc])* $variant,)+ }
        impl Endpoint {
            /// The HTTP method, in capitals.
            pub const fn method(self) -> &'static str { match self { $(Self::$variant => $method,)+ } }
            /// The path, with its parameters as `{name}`.
            pub const fn route(self) -> &'static str { match self { $(Self::$variant => $route,)+ } }
        }
        impl Label for Endpoint {
            const KEYS: &'static [&'static str] = &["method", "route"];
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            fn index(self) -> usize { self as usize }
            fn values(self) -> Vec<&'static str> { vec![self.method(), self.route()] }
        }
    };
}

endpoints! {
    /// The live page.
    Page = "GET" "/",
    /// Events in.
    PostEvents = "POST" "/v1/events",
    /// A notification without a job.
    PostNotifications = "POST" "/v1/notifications",
    /// Notifications out, as server-sent events.
    Stream = "GET" "/v1/stream",
    /// All rule chains.
    ListChains = "GET" "/v1/rule-chains",
    /// One rule chain.
    GetChain = "GET" "/v1/rule-chains/{id}",
    /// Store a rule chain.
    PutChain = "PUT" "/v1/rule-chains/{id}",
    /// Remove a rule chain.
    DeleteChain = "DELETE" "/v1/rule-chains/{id}",
    /// Any other method or path.
    Unmatched = "other" "unmatched",
}

/// The queue this process works on, by its configured name: one value per process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue;

static QUEUE_NAME: std::sync::OnceLock<&'static str> = std::sync::OnceLock::new();

impl Queue {
    /// Gives the label its value; the first call counts. Called once, at start.
    pub fn configure(name: &str) {
        QUEUE_NAME.get_or_init(|| Box::leak(name.to_owned().into_boxed_str()));
    }
    /// The configured name.
    pub fn label(self) -> &'static str {
        QUEUE_NAME.get().copied().unwrap_or("rule-engine-events")
    }
}

impl Label for Queue {
    const KEYS: &'static [&'static str] = &["queue"];
    const ALL: &'static [Self] = &[Queue];
    fn index(self) -> usize {
        0
    }
    fn values(self) -> Vec<&'static str> {
        vec![self.label()]
    }
}

/// What is running: version, revision, compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Build;

impl Build {
    /// The package's version.
    pub const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    /// The commit it was built from, or `unknown`.
    pub const REVISION: &'static str = match option_env!("TRUNKLINE_REVISION") {
        Some(revision) => revision,
        None => "unknown",
    };
    /// The compiler that built it.
    pub const RUSTC: &'static str = env!("TRUNKLINE_RUSTC");
}

impl Label for Build {
    const KEYS: &'static [&'static str] = &["version", "revision", "rustc"];
    const ALL: &'static [Self] = &[Build];
    fn index(self) -> usize {
        0
    }
    fn values(self) -> Vec<&'static str> {
        vec![Self::VERSION, Self::REVISION, Self::RUSTC]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_diagram_has_thirteen_edges_and_each_knows_its_place() {
        assert_eq!(Edge::ALL.len(), 13);
        for (at, edge) in Edge::ALL.iter().enumerate() {
            assert_eq!(edge.index(), at);
        }
    }

    #[test]
    fn a_worker_has_no_subscriber() {
        assert!(!Role::Subscriber.legal(Component::Worker));
        assert!(Role::Subscriber.legal(Component::Server));
        assert!(Role::Shared.legal(Component::Worker));
    }
}
