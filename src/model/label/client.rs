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

    /// Why a self-probe failed.
    ProbeFailure as "reason" {
        /// Redis did not accept it: says nothing about the receive path.
        Publish = "publish",
        /// Redis accepted it and it did not come back in time.
        Timeout = "timeout",
    };
}
