//! The Redis protocol, version 2, as far as an onlooker needs it. Written here and not taken
//! from the client library under test, so that the witness is independent of the accused.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What Redis answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing there.
    Nil,
    /// A number.
    Integer(i64),
    /// A status or a string.
    Text(Vec<u8>),
    /// Several.
    List(Vec<Reply>),
    /// An error: its code first, then words.
    Error(String),
}

impl Reply {
    /// The string, number or error as text; empty for nil. Panics on a list.
    pub fn text(&self) -> String {
        match self {
            Reply::Nil => String::new(),
            Reply::Integer(number) => number.to_string(),
            Reply::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Reply::Error(error) => error.clone(),
            Reply::List(_) => panic!("not one value: {self:?}"),
        }
    }

    /// The number. Panics on anything else.
    pub fn integer(&self) -> i64 {
        match self {
            Reply::Integer(number) => *number,
            other => panic!("not a number: {other:?}"),
        }
    }

    /// The elements; none for nil. Panics on anything else.
    pub fn list(&self) -> &[Reply] {
        match self {
            Reply::List(elements) => elements,
            Reply::Nil => &[],
            other => panic!("not a list: {other:?}"),
        }
    }

    /// The elements as text.
    pub fn texts(&self) -> Vec<String> {
        self.list().iter().map(Reply::text).collect()
    }
}

/// A connection over Redis' unix socket.
pub struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Connects. No answer may take longer than `patience`.
    pub fn open(socket: &Path, patience: Duration) -> io::Result<Connection> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// Sends one command and reads its answer.
    pub fn call(&mut self, command: &[&str]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", command.len());
        for word in command {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.reply()
    }

    /// What Redis says unasked, to a connection that has subscribed.
    pub fn push(&mut self) -> io::Result<Reply> {
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let Some((kind, rest)) = line.split_at_checked(1) else { return Err(garbled(&line)) };
        let number = || rest.parse::<i64>().map_err(|_| garbled(&line));
        Ok(match kind {
            "+" => Reply::Text(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Integer(number()?),
            "$" if number()? < 0 => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; number()? as usize + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Reply::Text(bytes)
            }
            "*" if number()? < 0 => Reply::Nil,
            "*" => Reply::List((0..number()?).map(|_| self.reply()).collect::<io::Result<_>>()?),
            _ => return Err(garbled(&line)),
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn garbled(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not RESP 2: {line:?}"))
}
