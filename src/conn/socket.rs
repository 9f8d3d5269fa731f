//! The stream under a connection: counts itself, its bytes, and remembers how it ended.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
#[cfg(feature = "tls")]
use tokio_rustls::client::TlsStream;

use super::budget::Guard;
use crate::model::{Role, SocketClose};
use crate::telemetry::events::connection::{BytesRead, BytesWritten};

/// What the supervisor watches of a socket that its driver owns.
#[derive(Debug)]
pub(super) struct Vitals {
    opened: Instant,
    /// Milliseconds after `opened` at which bytes were last read.
    last_read: AtomicU64,
    /// Past its handshake. Until then, however the socket ends, it is a failed handshake.
    served: AtomicBool,
    ending: OnceLock<SocketClose>,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            last_read: AtomicU64::new(0),
            served: AtomicBool::new(false),
            ending: OnceLock::new(),
        }
    }
}

impl Vitals {
    /// How long nothing was read.
    pub(super) fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last_read.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(last)
    }

    /// The handshake is over: from now on the ways to end are told apart.
    pub(super) fn serve(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    /// Whether it is known that the socket ended, or is about to.
    pub(super) fn ended(&self) -> bool {
        self.ending.get().is_some()
    }

    /// Why the socket ended, or is about to.
    pub(super) fn ending(&self) -> SocketClose {
        match self.ending.get() {
            Some(SocketClose::Shutdown) => SocketClose::Shutdown,
            _ if !self.served.load(Ordering::Relaxed) => SocketClose::HandshakeFailed,
            Some(reason) => *reason,
            // The driver gave up although the socket did not: it read something that is not RESP.
            None => SocketClose::Protocol,
        }
    }

    /// Says why the socket is ended, unless that is known already: the first to know says so.
    pub(super) fn end(&self, reason: SocketClose) {
        self.ending.get_or_init(|| reason);
    }

    fn heard(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_read.store(now, Ordering::Relaxed);
    }

    fn failed(&self, error: &io::Error) {
        self.end(match error.kind() {
            io::ErrorKind::UnexpectedEof => SocketClose::Eof,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => SocketClose::Reset,
            io::ErrorKind::TimedOut => SocketClose::IoTimeout,
            io::ErrorKind::InvalidData => SocketClose::Protocol,
            _ => SocketClose::Other,
        });
    }
}

/// The bytes' way to Redis.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Between which addresses a TCP socket is; nothing of a unix socket, which has none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends {
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
}

impl Transport {
    pub(super) fn ends(&self) -> Ends {
        let stream = match self {
            Transport::Tcp(stream) => stream,
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.get_ref().0,
            Transport::Unix(_) => return Ends::default(),
        };
        Ends { local: stream.local_addr().ok(), peer: stream.peer_addr().ok() }
    }
}

/// A transport that owns the guard which counts it. The transport is dropped first: what the
/// guard no longer counts is closed.
#[derive(Debug)]
pub(super) struct Socket {
    transport: Transport,
    role: Role,
    vitals: Arc<Vitals>,
    guard: Guard,
}

impl Socket {
    pub(super) fn new(transport: Transport, role: Role, vitals: Arc<Vitals>, guard: Guard) -> Self {
        Self { transport, role, vitals, guard }
    }

    /// Redis said which client this is to it.
    pub(super) fn identify(&self, client_id: u64) {
        self.guard.identify(client_id);
    }

    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.vitals.failed(error);
        }
        result
    }
}

/// Calls the same method of whichever transport it is.
macro_rules! each {
    ($socket:expr, $stream:ident => $call:expr) => {
        match &mut $socket.transport {
            Transport::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
            Transport::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let result = ready!(each!(self, stream => stream.poll_read(cx, buffer)));
        self.noted(result)?;
        match buffer.filled().len() - before {
            0 if room > 0 => self.vitals.end(SocketClose::Eof),
            bytes => {
                self.vitals.heard();
                BytesRead { role: self.role, bytes }.emit();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(each!(self, stream => stream.poll_write(cx, buffer)));
        let bytes = self.noted(result)?;
        BytesWritten { role: self.role, bytes }.emit();
        Poll::Ready(Ok(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(each!(self, stream => stream.poll_flush(cx)));
        Poll::Ready(self.noted(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
