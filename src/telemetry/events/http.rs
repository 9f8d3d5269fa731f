//! The listeners.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::model::{Endpoint, StatusClass};
use crate::telemetry::catalogue::*;
use crate::telemetry::exemplar::{self, TraceId};
use crate::telemetry::limit::LogLimit;
use crate::telemetry::trace::TraceContext;

/// A listener is bound: connections are queued from now on.
pub struct Listening {
    /// `public` or `admin`.
    pub listener: &'static str,
    /// Where, with the port the kernel chose.
    pub address: SocketAddr,
}

impl Listening {
    /// Logs it.
    pub fn emit(self) {
        info!(listener = self.listener, address = %self.address, "listening");
    }
}

/// A listener could not accept a connection, for a reason that is not the connection's own:
/// most likely no file descriptor is left.
pub struct AcceptFailed<'a> {
    /// `public` or `admin`.
    pub listener: &'static str,
    /// What the kernel said.
    pub error: &'a io::Error,
}

impl AcceptFailed<'_> {
    /// Logs it. The connection stays in the kernel's queue, so nothing is lost yet.
    pub fn emit(self) {
        static LIMIT: LogLimit<()> = LogLimit::new();
        if let Some(suppressed) = LIMIT.admit(()) {
            let (listener, error) = (self.listener, self.error);
            warn!(listener, %error, suppressed, "cannot accept a connection");
        }
    }
}

/// A request was answered; for a stream, its headers were.
pub struct RequestFinished {
    /// The door.
    pub endpoint: Endpoint,
    /// The HTTP status.
    pub status: u16,
    /// Since its headers were read.
    pub elapsed: Duration,
    /// The trace it is part of.
    pub trace: Option<TraceContext>,
}

impl RequestFinished {
    /// Measures it.
    #[inline]
    pub fn emit(self) {
        let Self { endpoint, status, elapsed, trace } = self;
        let measured = HTTP_REQUEST_DURATION.at((endpoint, status_class(status)));
        exemplar::during(TraceId::of(trace), || measured.record(elapsed.as_secs_f64()));
        debug!(
            method = endpoint.method(),
            route = endpoint.route(),
            status,
            elapsed_seconds = elapsed.as_secs_f64(),
            "request answered"
        );
    }
}

/// 1xx and 3xx are what the caller asked for.
fn status_class(status: u16) -> StatusClass {
    match status {
        100..=399 => StatusClass::Success,
        400..=499 => StatusClass::Client,
        _ => StatusClass::Server,
    }
}

/// An HTTP connection on the public listener, for as long as this lives.
#[must_use = "the connection leaves the gauge when this is dropped"]
pub struct HttpConnectionOpened(());

impl HttpConnectionOpened {
    /// Counts a connection as open.
    pub fn emit() -> Self {
        HTTP_CONNECTIONS.at(()).increment(1.0);
        Self(())
    }
}

impl Drop for HttpConnectionOpened {
    fn drop(&mut self) {
        HTTP_CONNECTIONS.at(()).decrement(1.0);
    }
}

/// An HTTP connection was refused because there are too many.
pub struct HttpConnectionRefused {
    /// `public` or `admin`.
    pub listener: &'static str,
    /// The limit.
    pub limit: usize,
    /// Whether it counts: only the public listener has metrics, and a worker has none.
    pub metered: bool,
}

impl HttpConnectionRefused {
    /// Counts it where it is metered, and logs it.
    pub fn emit(self) {
        static LIMIT: LogLimit<()> = LogLimit::new();
        let Self { listener, limit, metered } = self;
        if metered {
            HTTP_CONNECTIONS_REFUSED.at(()).increment(1);
        }
        if let Some(suppressed) = LIMIT.admit(()) {
            warn!(listener, limit, suppressed, "too many http connections: one was refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_a_success_and_nonsense_is_our_fault() {
        let classes = [101, 200, 304, 400, 499, 500, 599, 0, 999].map(status_class);
        use StatusClass::*;
        assert_eq!(
            classes,
            [Success, Success, Success, Client, Client, Server, Server, Server, Server]
        );
    }
}
