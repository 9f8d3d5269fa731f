//! What a WebSocket client sends, out of bytes of anybody's making: see `crate::fuzzing`.

use std::io::{self, Read, Write};

use serde_json::json;
use tungstenite::{Error, Message};

use super::message::{self, Command};
use super::session::End;
use super::socket;
use crate::model::fuzz::told;
use crate::model::{MAX_FAULTS, Subscription};

/// The longest answer to a message that is refused, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A message as text.
pub fn ws_message(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        understood(text);
    }
}

fn understood(text: &str) {
    let command = match message::parse(text) {
        Ok(command) => command,
        Err(problem) => {
            assert!(problem.to_json().len() <= MAX_ANSWER_BYTES);
            if !problem.errors().is_empty() {
                told(problem.errors(), MAX_FAULTS, |path| path.starts_with('$'));
            }
            return;
        }
    };
    let names = |list: &[Subscription]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let again = match &command {
        Command::Subscribe(list, None) => json!({ "subscribe": names(list) }),
        Command::Subscribe(list, Some(after)) => {
            json!({ "subscribe": names(list), "after": after.to_string() })
        }
        Command::Unsubscribe(list) => json!({ "unsubscribe": names(list) }),
        Command::Ping(number) => json!({ "ping": number }),
    };
    assert_eq!(message::parse(&again.to_string()).expect("it was understood once"), command);
}

/// What comes from a socket after the handshake. The first byte says how it is cut into reads.
pub fn ws_frames(data: &[u8]) {
    let Some((chunk, bytes)) = data.split_first() else { return };
    let whole = conversation(bytes, bytes.len().max(1));
    let cut = conversation(bytes, usize::from(*chunk).max(1));
    assert_eq!(whole, cut, "how it is cut makes a difference");
}

/// Reads to the end, and answers as a session does. What was heard, and the last words.
fn conversation(bytes: &[u8], chunk: usize) -> (Vec<String>, Vec<u8>) {
    // As many bytes as came with the request are there from the start.
    let (early, rest) = bytes.split_at(chunk.min(bytes.len()));
    let mut reader = socket::reader(early);
    let mut peer = Peer { rest, chunk, pause: true };
    let mut heard = vec![];
    loop {
        let end = match reader.read(&mut peer) {
            Ok(Message::Text(text)) => {
                understood(&text);
                heard.push(text.to_string());
                continue;
            }
            Ok(Message::Ping(content)) => {
                let pong = socket::pong(&content);
                assert_eq!((pong[1] as usize, &pong[2..]), (content.len(), &content[..]));
                heard.push(format!("{pong:?}"));
                continue;
            }
            Ok(Message::Binary(content)) => {
                heard.push(format!("{content:?}"));
                break (heard, vec![]);
            }
            Ok(Message::Close(frame)) => End::theirs(frame),
            Ok(Message::Pong(_) | Message::Frame(_)) => continue,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => End::failed(&error),
        };
        assert!(heard.iter().all(|one| one.len() <= 8 * socket::MAX_MESSAGE));
        break (heard, end.last.unwrap_or_default().to_vec());
    }
}

/// A socket that has a chunk to read now and then, and in the end nothing more.
struct Peer<'a> {
    rest: &'a [u8],
    chunk: usize,
    pause: bool,
}

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pause = !self.pause;
        if self.pause {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = self.rest.len().min(self.chunk).min(buffer.len());
        let (now, later) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.rest = later;
        Ok(length)
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
