//! What goes on with a socket after HTTP: a client that listens for minutes or days.
//!
//! Ten thousand of them wait at a time, so none keeps the buffers that HTTP needs: a session has
//! the bare socket, one task, and what waits for it in its outbox.

use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{sse, ws};
use crate::hub::{Refused, Rest, Sink};
use crate::model::ClientClose;

/// For the last words, and for the peer's answer to them. A client that was too slow may come to
/// itself meanwhile, and then learns why it was closed.
const FAREWELL: Duration = Duration::from_secs(5);

/// A client that listens, of whichever transport. Dropped, it leaves the hub.
pub enum Session {
    /// Server-sent events.
    Events(Box<sse::Session>),
    /// A WebSocket.
    WebSocket(Box<ws::Session>),
}

impl Session {
    /// For who cannot begin it yet: ready when the client was closed meanwhile, as too slow.
    pub(super) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        let client = match self {
            Self::Events(session) => session.client(),
            Self::WebSocket(session) => session.client(),
        };
        client.outbox().poll_cut(cx).map(drop)
    }

    /// Talks until either side ends it. `head` is the answer to the request that began it, and
    /// not written yet; `early` is what the peer sent after that request.
    pub(super) async fn run(self, stream: TcpStream, head: Bytes, early: Bytes) {
        match self {
            Self::Events(session) => {
                // Nobody reads it, and it may be a corner of a large buffer.
                drop(early);
                session.run(stream, head).await;
            }
            Self::WebSocket(session) => session.run(stream, head, early).await,
        }
    }
}

impl Sink for TcpStream {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Refused> {
        let written = match slices {
            // The kernel's shorter way.
            [only] => TcpStream::try_write(self, only),
            several => self.try_write_vectored(several),
        };
        match written {
            Ok(0) => Err(Refused::Lost(ClientClose::Error)),
            Ok(written) => Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Refused::Full),
            Err(error) => Err(Refused::Lost(lost(&error))),
        }
    }
}

/// Why a client counts as closed whose socket failed, whoever found out first: a peer that goes
/// without reading all that was sent resets the connection, and has left.
pub(super) fn lost(error: &io::Error) -> ClientClose {
    use ErrorKind::*;
    match error.kind() {
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected => ClientClose::Client,
        _ => ClientClose::Error,
    }
}

/// Writes what is left of a frame and then `last`, and says that this is all.
pub(super) async fn farewell(stream: &TcpStream, rest: Rest, last: &[u8]) -> io::Result<()> {
    write_all(stream, rest.bytes()).await?;
    rest.written();
    write_all(stream, last).await?;
    SockRef::from(stream).shutdown(Shutdown::Write)
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The ticks of signs of life, the first of them after the whole time.
pub(super) fn heartbeat(every: Duration) -> Interval {
    let mut heartbeat = interval_at(Instant::now() + every, every);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

/// Says goodbye, for as long as that may take.
pub(super) async fn bounded(farewell: impl Future<Output = io::Result<()>>) {
    // In a box, so that it takes no room before it comes. Whoever does not take its last words is
    // gone, and was counted.
    let _ = tokio::time::timeout(FAREWELL, Box::pin(farewell)).await;
}

/// Ready when the peer has left, with what its client counts as closed for. Whatever it says before
/// is passed over.
pub(super) fn poll_left(stream: &TcpStream, cx: &mut Context<'_>) -> Poll<ClientClose> {
    loop {
        if let Err(error) = ready!(stream.poll_read_ready(cx)) {
            return Poll::Ready(lost(&error));
        }
        match stream.try_read(&mut [0; 512]) {
            Ok(1..) => {}
            Ok(0) => return Poll::Ready(ClientClose::Client),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(lost(&error)),
        }
    }
}
