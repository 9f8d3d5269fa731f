//! What can go wrong with a command, and whether it was sent.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::{RedisError, Value};

use crate::model::{CommandFailure, ConnectionState, Fault, PublishFailure, Role};

/// Whether a failed command reached Redis. There are these three answers and no fourth, so a
/// `match` on it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing was sent: it is safe to repeat.
    No,
    /// It was sent; Redis may have executed it, or may do so later.
    Maybe,
    /// Redis answered with an error. A single command did nothing; a script or a pipeline may
    /// have done what came before its failing command.
    Refused,
}

/// What kind of error Redis answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// `LOADING`, `MASTERDOWN`, `BUSY`: Redis cannot answer yet.
    Loading,
    /// `READONLY`: this server is a replica. The connection is replaced.
    Readonly,
    /// `NOPERM`, `NOAUTH`, `WRONGPASS`: the user may not do this.
    Noperm,
    /// `OOM`: Redis is at its memory limit.
    Oom,
    /// `NOSCRIPT`: the script is not in Redis' cache, and whoever runs it loads it now.
    Noscript,
    /// Anything else.
    Other,
}

impl Code {
    pub(super) fn of(code: &str) -> Code {
        match code {
            "LOADING" | "MASTERDOWN" | "BUSY" => Code::Loading,
            "READONLY" => Code::Readonly,
            "NOPERM" | "NOAUTH" | "WRONGPASS" => Code::Noperm,
            "OOM" => Code::Oom,
            "NOSCRIPT" => Code::Noscript,
            _ => Code::Other,
        }
    }
}

/// Why a command, a subscription or a connection failed.
///
/// Ask [`Error::sent`] before you repeat anything. A redis-rs call fails with a
/// [`redis::RedisError`]; `Error::from` finds the typed error inside it:
///
/// ```
/// # use trunkline::conn::{Error, Sent};
/// fn may_be_repeated(error: redis::RedisError) -> bool {
///     Error::from(error).sent() == Sent::No
/// }
/// # assert!(may_be_repeated(Error::Closed.into()));
/// # assert!(!may_be_repeated(Error::Disconnected.into()));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection is not ready. Nothing was sent, and nothing will be.
    #[error("redis is not ready: {role} connection {state}; nothing was sent")]
    NotReady {
        /// Which connection.
        role: Role,
        /// Its state at that moment.
        state: ConnectionState,
        /// When it entered that state.
        since: SystemTime,
    },
    /// As many commands as allowed are waiting for their answers. Nothing was sent.
    #[error("{limit} redis commands are in flight already; nothing was sent")]
    Overloaded {
        /// How many are allowed.
        limit: usize,
    },
    /// The owner has closed the connection. Nothing was sent.
    #[error("the redis connection was closed by its owner; nothing was sent")]
    Closed,
    /// The command would block, bind or confuse a connection that others share. Nothing was sent.
    #[error("{command} is not allowed on a shared connection: {why}; nothing was sent")]
    Denied {
        /// The command's name, and the option that makes it so.
        command: String,
        /// What it would do to the others.
        why: &'static str,
    },
    /// The payload is over the limit. Nothing was sent.
    #[error("the payload of {bytes} bytes is over the limit of {limit}; nothing was sent")]
    TooLarge {
        /// The payload's size.
        bytes: usize,
        /// The largest that is allowed.
        limit: usize,
    },
    /// The [`Options`](super::Options) cannot work. Nothing was started.
    #[error("the options of the redis connection: {}", listed(.faults))]
    Options {
        /// All that is wrong with them, by field.
        faults: Vec<Fault>,
    },
    /// This process' budget has no room for another connection of the role.
    #[error("the connection budget has no room for another {role} connection")]
    OverBudget {
        /// The role asked for.
        role: Role,
    },
    /// No answer in time. Outcome unknown: it may have been executed, or will be.
    #[error("redis did not answer within {after:?}; outcome unknown: may have been executed")]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The connection died before the answer. Outcome unknown: it may have been executed.
    #[error("the redis connection was lost; outcome unknown: may have been executed")]
    Disconnected,
    /// Redis answered with an error; see [`Sent::Refused`].
    #[error("redis answered {text}")]
    Server {
        /// What kind of error.
        code: Code,
        /// Its code and first line, without addresses, arguments or credentials.
        text: String,
    },
    /// The answer could not be understood, or the command could not be built.
    #[error("redis client: {0}")]
    Other(String),
}

impl Error {
    /// The word under which metrics count the failure of a command.
    pub fn reason(&self) -> CommandFailure {
        match self {
            Error::NotReady { .. } => CommandFailure::NotReady,
            Error::Overloaded { .. } => CommandFailure::Overloaded,
            Error::Closed => CommandFailure::Closed,
            Error::Denied { .. }
            | Error::Options { .. }
            | Error::OverBudget { .. }
            | Error::TooLarge { .. } => CommandFailure::Denied,
            Error::Timeout { .. } => CommandFailure::Timeout,
            Error::Disconnected => CommandFailure::Disconnected,
            Error::Server { code: Code::Loading, .. } => CommandFailure::Loading,
            Error::Server { code: Code::Readonly, .. } => CommandFailure::Readonly,
            Error::Server { code: Code::Noperm, .. } => CommandFailure::Noperm,
            Error::Server { code: Code::Oom, .. } => CommandFailure::Oom,
            Error::Server { code: Code::Noscript | Code::Other, .. } => CommandFailure::Server,
            Error::Other(_) => CommandFailure::Other,
        }
    }

    /// The word under which metrics count the failure of a publish.
    pub fn publish_reason(&self) -> PublishFailure {
        match self {
            Error::NotReady { .. } => PublishFailure::NotReady,
            Error::Overloaded { .. } => PublishFailure::Overloaded,
            Error::Closed => PublishFailure::Closed,
            Error::TooLarge { .. } => PublishFailure::TooLarge,
            Error::Timeout { .. } => PublishFailure::Timeout,
            Error::Disconnected => PublishFailure::Disconnected,
            Error::Server { code: Code::Loading, .. } => PublishFailure::Loading,
            Error::Server { code: Code::Readonly, .. } => PublishFailure::Readonly,
            Error::Server { code: Code::Noperm, .. } => PublishFailure::Noperm,
            Error::Server { code: Code::Oom, .. } => PublishFailure::Oom,
            Error::Server { code: Code::Noscript | Code::Other, .. }
            | Error::Denied { .. }
            | Error::Options { .. }
            | Error::OverBudget { .. }
            | Error::Other(_) => PublishFailure::Other,
        }
    }

    /// Whether Redis may have executed the command.
    pub fn sent(&self) -> Sent {
        match self {
            Error::NotReady { .. }
            | Error::Overloaded { .. }
            | Error::Closed
            | Error::Denied { .. }
            | Error::TooLarge { .. }
            | Error::Options { .. }
            | Error::OverBudget { .. } => Sent::No,
            Error::Timeout { .. } | Error::Disconnected | Error::Other(_) => Sent::Maybe,
            Error::Server { .. } => Sent::Refused,
        }
    }

    /// Whether the fault lies with Redis or the way to it, so that repeating later can help.
    pub fn is_outage(&self) -> bool {
        match self {
            Error::NotReady { .. }
            | Error::Overloaded { .. }
            | Error::Closed
            | Error::Timeout { .. }
            | Error::Disconnected => true,
            Error::Server { code, .. } => {
                matches!(code, Code::Loading | Code::Readonly | Code::Oom | Code::Noperm)
            }
            Error::Denied { .. }
            | Error::TooLarge { .. }
            | Error::Options { .. }
            | Error::OverBudget { .. }
            | Error::Other(_) => false,
        }
    }

    /// The first error inside an answer: redis-rs hands them out as values.
    pub(super) fn in_reply(reply: &Value) -> Option<Error> {
        match reply {
            Value::ServerError(error) => Some(Error::server(error.code(), error.details())),
            Value::Array(values) => values.iter().find_map(Error::in_reply),
            _ => None,
        }
    }

    fn server(code: &str, details: Option<&str>) -> Error {
        // What a script may not do has no code of its own, in words that differ by version.
        let may_not = ["The user executing the script can't", "ACL failure in script"];
        let refused = |details: &str| may_not.iter().any(|words| details.starts_with(words));
        let code = if details.is_some_and(refused) { "NOPERM" } else { code };
        Error::Server { code: Code::of(code), text: scrub(code, details) }
    }
}

fn listed(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
}

/// The error's code and the first line of its text, cut where it begins to quote the caller.
fn scrub(code: &str, details: Option<&str>) -> String {
    let line = details.unwrap_or_default().lines().next().unwrap_or_default();
    // Redis quotes arguments in 'single' or `back` quotes, and echoes them after "with args".
    let end = line.find(['\'', '`', '"']).unwrap_or(line.len());
    let text: String = line[..end].chars().take(120).collect();
    format!("{code} {}", text.trim_end()).trim_end().to_owned()
}

impl From<RedisError> for Error {
    /// Finds the typed error that [`super::Shared`] put in, or classifies what redis-rs says.
    fn from(error: RedisError) -> Error {
        if let Some(ours) = typed(&error) {
            return ours.clone();
        }
        if error.is_timeout() {
            // The caller knows how long it waited; `Shared` fills it in.
            return Error::Timeout { after: Duration::ZERO };
        }
        if error.is_connection_dropped() || error.is_io_error() {
            return Error::Disconnected;
        }
        let code = error.code().map(str::to_owned);
        let category = error.category().to_owned();
        // A pipeline or transaction that failed says why in the answers to its single commands.
        match (error.into_server_errors().as_deref(), code) {
            (Some([(_, first), ..]), _) => Error::server(first.code(), first.details()),
            (_, Some(code)) => Error::server(&code, None),
            _ => Error::Other(category),
        }
    }
}

impl From<Error> for RedisError {
    /// Wraps the typed error so that [`Error::from`] finds it again behind any redis-rs call.
    fn from(error: Error) -> RedisError {
        let kind = match &error {
            Error::NotReady { .. } | Error::Closed => std::io::ErrorKind::NotConnected,
            Error::Timeout { .. } => std::io::ErrorKind::TimedOut,
            Error::Disconnected => std::io::ErrorKind::BrokenPipe,
            Error::Overloaded { .. } => std::io::ErrorKind::ResourceBusy,
            Error::Denied { .. }
            | Error::TooLarge { .. }
            | Error::Options { .. }
            | Error::OverBudget { .. } => std::io::ErrorKind::InvalidInput,
            Error::Server { .. } | Error::Other(_) => std::io::ErrorKind::Other,
        };
        std::io::Error::new(kind, error).into()
    }
}

fn typed(error: &RedisError) -> Option<&Error> {
    // redis-rs hands its source out behind an `Arc`, which is a type of its own.
    let source = std::error::Error::source(error)?;
    let source = source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    source.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref::<Error>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_error_survives_the_way_through_redis_rs() {
        let refused = Error::Denied { command: "BLPOP".into(), why: "it blocks" };
        let wrapped: RedisError = refused.into();
        assert!(
            matches!(Error::from(wrapped), Error::Denied { command, .. } if command == "BLPOP")
        );

        let wrapped: RedisError = Error::Timeout { after: Duration::from_millis(500) }.into();
        assert!(wrapped.is_timeout());
        assert!(
            matches!(Error::from(wrapped), Error::Timeout { after } if after.as_millis() == 500)
        );
    }

    #[test]
    fn the_text_of_a_server_error_never_quotes_an_argument() {
        let text =
            scrub("ERR", Some("unknown command 'AUTH', with args beginning with: 'hunter2'"));
        assert_eq!(text, "ERR unknown command");
        assert_eq!(
            scrub("WRONGPASS", Some("invalid pair\r\nsecond line")),
            "WRONGPASS invalid pair"
        );
        assert_eq!(scrub("ERR", None), "ERR");
    }

    #[test]
    fn only_errors_from_before_the_wire_say_that_nothing_was_sent() {
        assert_eq!(Error::Closed.sent(), Sent::No);
        assert_eq!(Error::Disconnected.sent(), Sent::Maybe);
        assert_eq!(Error::Timeout { after: Duration::ZERO }.sent(), Sent::Maybe);
        let oom = Error::Server { code: Code::of("OOM"), text: String::new() };
        assert_eq!((oom.sent(), oom.publish_reason()), (Sent::Refused, PublishFailure::Oom));
    }
}
