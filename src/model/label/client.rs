//! Words of what is received and handed to clients.

use super::Label;
use super::labels;

labels! {
    /// What kind of message a subscriber received.
    MessageKind as "kind" {
        /// A notification.
        Event = "event",
        /// This process' own probe.
        Probe = "probe",
        /// The fleet's control channel.
        Control = "control",
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

    /// How a client listens.
    Transport as "transport" {
        /// WebSocket.
        Ws = "ws",
        /// Server-sent events.
        Sse = "sse",
    };

    /// Why a client was closed.
    ClientClose as "reason" {
        /// It left, be it by a reset of its connection.
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
        /// Its socket failed otherwise, or it broke the protocol.
        Error = "error",
    };

    /// Why a notification that waited for a client was dropped.
    ClientDrop as "reason" {
        /// The client left, be it by a reset of its connection.
        Client = "client",
        /// The client was closed because it did not keep up.
        Slow = "slow",
        /// The client was closed because it did not answer.
        PingTimeout = "ping_timeout",
        /// The client was closed because its credentials ended.
        Auth = "auth",
        /// The client was closed because it sent too much.
        TooLarge = "too_large",
        /// This process ended.
        Shutdown = "shutdown",
        /// The client's socket failed otherwise, or it broke the protocol.
        Error = "error",
        /// The client stays, and it was the oldest of a channel whose policy is to drop that.
        Oldest = "oldest",
        /// The client stays, and there is a later one of its channel, whose policy is to keep that alone.
        Superseded = "superseded",
    };

    /// Why somebody cannot be told what it has missed.
    LostReason as "reason" {
        /// It is no longer kept.
        Trimmed = "trimmed",
        /// Redis has lost what it kept: a new history has begun.
        Epoch = "epoch",
        /// Redis does not know the position yet: it has lost the end of its history.
        Future = "future",
        /// Nothing is kept of the channel.
        Off = "off",
        /// The history could not be read in time.
        Unavailable = "unavailable",
    };

    /// How the return of a client ended.
    ResumeOutcome as "outcome" {
        /// It heard all that it had missed.
        Recovered = "recovered",
        /// It was told that something is lost.
        Lost = "lost",
        /// It was closed, or left, before all was said: it may come back with its cursor.
        Failed = "failed",
    };

    /// How the search for what this server has missed ended.
    GapOutcome as "outcome" {
        /// Its clients have all of it.
        Filled = "filled",
        /// Its clients were told that something is lost.
        Lost = "lost",
    };

    /// For whom notifications were read from the history.
    Replay as "for" {
        /// For a client that came back.
        Client = "client",
        /// For all who listen, because this server had not heard them.
        Server = "server",
    };

    /// Why a self-probe failed.
    ProbeFailure as "reason" {
        /// Redis did not accept it: says nothing about the receive path.
        Publish = "publish",
        /// Redis accepted it and it did not come back in time.
        Timeout = "timeout",
    };
}

impl From<ClientClose> for ClientDrop {
    /// What waits for a client goes with it.
    fn from(reason: ClientClose) -> Self {
        match reason {
            ClientClose::Client => Self::Client,
            ClientClose::Slow => Self::Slow,
            ClientClose::PingTimeout => Self::PingTimeout,
            ClientClose::Auth => Self::Auth,
            ClientClose::TooLarge => Self::TooLarge,
            ClientClose::Shutdown => Self::Shutdown,
            ClientClose::Error => Self::Error,
        }
    }
}
