//! The socket under HTTP, which tells when it takes no more.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A socket that HTTP may have to give back.
pub(super) struct Plug<'a> {
    pub(super) io: TokioIo<TcpStream>,
    /// Whether HTTP wanted to write last and could not: it has bytes left that are not written.
    pub(super) clogged: &'a AtomicBool,
}

impl Plug<'_> {
    fn told<T>(&self, outcome: Poll<T>) -> Poll<T> {
        self.clogged.store(outcome.is_pending(), Ordering::Relaxed);
        outcome
    }
}

impl Read for Plug<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Plug<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.told(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.told(outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.told(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn what_the_socket_does_not_take_is_known_until_it_takes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, ours) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut peer, io) = (peer.unwrap(), TokioIo::new(ours.unwrap().0));
        let clogged = AtomicBool::new(false);
        let mut plug = Plug { io, clogged: &clogged };
        let mut written = 0;
        loop {
            let write = poll_fn(|cx| Poll::Ready(Pin::new(&mut plug).poll_write(cx, &[7; 9_999])));
            let Poll::Ready(taken) = write.await else { break };
            assert!(!clogged.load(Ordering::Relaxed));
            written += taken.unwrap();
        }
        assert!(clogged.load(Ordering::Relaxed));
        let mut rest = vec![0; written];
        peer.read_exact(&mut rest).await.unwrap();
        poll_fn(|cx| Pin::new(&mut plug).poll_write(cx, b"last")).await.unwrap();
        assert!(!clogged.load(Ordering::Relaxed));
    }
}
