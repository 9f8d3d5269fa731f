//! Publishes as a worker does, and waits for nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::listeners::{DIGITS, MARK};

/// Bytes of a notification on the wire.
const LENGTH: usize = 256;

/// A connection to Redis of its own.
pub struct Publisher {
    redis: TcpStream,
    channel: String,
    answers: Vec<u8>,
}

impl Publisher {
    /// One that publishes on this channel.
    pub fn connect(redis_port: u16, channel: &str) -> Self {
        let redis = TcpStream::connect((Ipv4Addr::LOCALHOST, redis_port)).unwrap();
        redis.set_nodelay(true).unwrap();
        redis.set_nonblocking(true).unwrap();
        Self { redis, channel: channel.to_owned(), answers: vec![0; 4096] }
    }

    /// Publishes a notification that bears this time.
    pub fn publish(&mut self, now: u64) {
        let head = "{\"specversion\":\"1.0\",\"id\":\"0198\",\"source\":\"/rule-chains/bench\",\
                    \"type\":\"bench\",\"time\":\"2026-01-01T00:00:00Z\",\"data\":\"";
        let (mark, tail) = (char::from(MARK), "\"}");
        let room = LENGTH - head.len() - 1 - DIGITS - tail.len();
        let payload = format!("{head}{mark}{now:0DIGITS$x}{}{tail}", "x".repeat(room));
        let (channel, length) = (&self.channel, payload.len());
        let command = format!(
            "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${length}\r\n{payload}\r\n",
            channel.len()
        );
        self.redis.write_all(command.as_bytes()).unwrap();
        match self.redis.read(&mut self.answers) {
            Ok(0) => panic!("Redis is gone"),
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}
