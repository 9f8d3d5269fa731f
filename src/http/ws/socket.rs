//! The socket of a WebSocket: reading by tungstenite, writing by us.
//!
//! Notifications are encoded once for all clients, so a library that frames each message for
//! each client would be in the way; what it would write of its own accord (the answers to pings
//! and to a close) we write with the rest, in order.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::net::TcpStream;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use crate::http::session::{self, poll_left};
use crate::hub::Rest;

/// What a client may send in one message: 128 of the longest channels, and some room.
pub(super) const MAX_MESSAGE: usize = 32 * 1024;
/// Bytes read at a time. The room for them is there for as long as the client is, and what
/// clients send is short.
const READ_BUFFER: usize = 512;
/// The longest content of a control frame.
const MAX_CONTROL: usize = 125;

/// A socket, and what was read of it and not yet understood.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    reader: WebSocketContext,
    alive: bool,
}

impl Socket {
    /// `early` is what came after the request that begins it.
    pub(super) fn new(stream: Arc<TcpStream>, early: &[u8]) -> Self {
        Self { stream, reader: reader(early), alive: true }
    }

    /// The next message of the client, put together and checked as RFC 6455 says.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        loop {
            let mut half = ReadHalf { stream: &self.stream, alive: &mut self.alive };
            match self.reader.read(&mut half) {
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_read_ready(cx))?;
                }
                other => return Poll::Ready(other),
            }
        }
    }

    /// Ready when the socket may take more.
    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    /// Whether the peer said anything since this was asked last.
    pub(super) fn was_alive(&mut self) -> bool {
        std::mem::take(&mut self.alive)
    }

    /// Writes what is left and then `last`, says that this is all, and waits until the peer has
    /// closed as well: a socket closed before that may take the last words with it.
    pub(super) async fn farewell(self, rest: Rest, last: Bytes) -> io::Result<()> {
        let Self { stream, reader, .. } = self;
        drop(reader);
        session::farewell(&stream, rest, &last).await?;
        std::future::poll_fn(|cx| poll_left(&stream, cx)).await;
        Ok(())
    }
}

/// What makes messages of bytes. Those that are `early` it has already.
pub(super) fn reader(early: &[u8]) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    WebSocketContext::from_partially_read(early.to_vec(), Role::Server, Some(config))
}

/// What tungstenite reads from. It may believe that what it writes was written.
struct ReadHalf<'a> {
    stream: &'a TcpStream,
    alive: &'a mut bool,
}

impl Read for ReadHalf<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.try_read(buffer)?;
        *self.alive |= read > 0;
        Ok(read)
    }
}

impl Write for ReadHalf<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A ping without content.
pub(super) const PING: &[u8] = &[0x89, 0];

/// The answer to a ping with this content.
pub(super) fn pong(content: &[u8]) -> Bytes {
    control(0x8a, &[content])
}

/// The end, with a code and a reason in words; without a code, as the answer to an end without.
pub(super) fn close(code: Option<u16>, reason: &str) -> Bytes {
    let Some(code) = code else { return control(0x88, &[]) };
    let mut fitting = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(fitting) {
        fitting -= 1;
    }
    control(0x88, &[&code.to_be_bytes(), &reason.as_bytes()[..fitting]])
}

fn control(opcode: u8, content: &[&[u8]]) -> Bytes {
    let length: usize = content.iter().map(|part| part.len()).sum();
    debug_assert!(length <= MAX_CONTROL);
    let mut bytes = BytesMut::with_capacity(2 + length);
    bytes.put_slice(&[opcode, length as u8]);
    content.iter().for_each(|part| bytes.put_slice(part));
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_has_its_code_and_a_reason_that_fits() {
        assert_eq!(close(Some(1001), "bye"), &b"\x88\x05\x03\xe9bye"[..]);
        assert_eq!(close(None, "bye"), &b"\x88\x00"[..]);
        let long = close(Some(1002), &"ü".repeat(99));
        assert_eq!(long.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }
}
