//! Words of the doors and of readiness.

use super::labels;
use super::{Component, Label};

labels! {
    /// Why a span did not reach the collector of traces.
    SpanDrop as "reason" {
        /// The queue of spans was full.
        QueueFull = "queue_full",
        /// The collector did not take the batch, or did not answer in time.
        Export = "export",
    };

    /// The first digit of an HTTP status.
    StatusClass as "status_class" {
        /// Success (and 1xx, 3xx).
        Success = "2xx",
        /// The caller's fault.
        Client = "4xx",
        /// Ours, or Redis'.
        Server = "5xx",
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
    /// The same and more, as a WebSocket.
    WebSocket = "GET" "/v1/ws",
    /// How many clients hear a channel.
    GetChannel = "GET" "/v1/channels/{channel}",
    /// All rule chains.
    ListChains = "GET" "/v1/rule-chains",
    /// One rule chain.
    GetChain = "GET" "/v1/rule-chains/{id}",
    /// Store a rule chain.
    PutChain = "PUT" "/v1/rule-chains/{id}",
    /// Remove a rule chain.
    DeleteChain = "DELETE" "/v1/rule-chains/{id}",
    /// All schedules.
    ListSchedules = "GET" "/v1/schedules",
    /// One schedule.
    GetSchedule = "GET" "/v1/schedules/{id}",
    /// Store a schedule.
    PutSchedule = "PUT" "/v1/schedules/{id}",
    /// Remove a schedule.
    DeleteSchedule = "DELETE" "/v1/schedules/{id}",
    /// Any other method or path.
    Unmatched = "other" "unmatched",
}
