//! What goes on with a socket after HTTP: a client that listens for minutes or days.
//!
//! Ten thousand of them wait at a time, so none keeps the buffers that HTTP needs: a session has
//! the bare socket, one task, and what waits for it in its outbox.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{sse, ws};
use crate::hub::{Batch, Frame};

/// For the last words, and for the peer's answer to them. A client that was too slow may come to
/// itself meanwhile, and then learns why it was closed.
const FAREWELL: Duration = Duration::from_secs(5);
/// Slices of one `writev`; a batch has fewer frames.
const MAX_SLICES: usize = 64;

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

/// What is on its way into a client's socket.
pub(super) struct Writer {
    batch: Batch,
    blocked: bool,
    unblocked: bool,
}

impl Writer {
    /// Begins with these bytes.
    pub(super) fn new(first: Bytes) -> Self {
        Self { batch: Batch::of(Frame::announcement(first)), blocked: false, unblocked: false }
    }

    /// Puts the next batch in place. The one before must have been written.
    pub(super) fn begin(&mut self, batch: Batch) {
        debug_assert!(!self.batch.has_remaining(), "one batch at a time");
        self.batch = batch;
    }

    /// Writes what is left of the batch, all its frames in one call where the kernel takes them.
    pub(super) fn poll_write(
        &mut self,
        stream: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.batch.has_remaining() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let filled = self.batch.chunks_vectored(&mut slices);
            // The usual case, and the kernel's shorter way.
            let written = match &slices[..filled] {
                [only] => stream.try_write(only),
                several => stream.try_write_vectored(several),
            };
            match written {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.batch.advance(written);
                    self.unblocked |= std::mem::take(&mut self.blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    ready!(stream.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the peer, since this was asked last, took what it could not take before: it is
    /// there.
    pub(super) fn was_unblocked(&mut self) -> bool {
        std::mem::take(&mut self.unblocked)
    }

    /// Gives up every notification that is not on its way already.
    pub(super) fn drop_waiting(&mut self) {
        self.batch.keep_begun();
    }

    /// Writes what is left and then `last`, and says that this is all.
    pub(super) async fn farewell(mut self, stream: &mut TcpStream, last: &[u8]) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_write(stream, cx)).await?;
        stream.write_all(last).await?;
        stream.shutdown().await
    }
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

/// Ready when the peer has left. Whatever it says before is passed over.
pub(super) fn poll_left(stream: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        if ready!(stream.poll_read_ready(cx)).is_err() {
            return Poll::Ready(());
        }
        match stream.try_read(&mut [0; 512]) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return Poll::Ready(()),
        }
    }
}
