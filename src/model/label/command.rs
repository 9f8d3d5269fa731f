//! Words of commands and publishes.

use super::Label;
use super::labels;

labels! {
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

    /// How idle workers learn of new jobs.
    WakeupMode as "mode" {
        /// Client tracking of a per-worker key.
        Tracking = "tracking",
        /// A per-worker channel on the shared connection.
        Subscribe = "subscribe",
        /// Adaptive polling.
        Polling = "polling",
    };
}
