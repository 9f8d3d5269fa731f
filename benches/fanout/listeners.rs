//! Many clients on one thread: they open, read what comes, and count.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

/// What precedes the time in a payload. It occurs nowhere else in a frame, so counting it counts
/// notifications, whatever the transport wraps around them.
pub const MARK: u8 = b'|';
/// Digits of the time: nanoseconds in hexadecimal.
pub const DIGITS: usize = 16;

/// How clients listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Bytes of a protocol of our own: what the kernel alone costs.
    Raw,
    /// Server-sent events.
    Sse,
    /// WebSocket.
    Ws,
}

impl Transport {
    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Sse => "sse",
            Self::Ws => "ws",
        }
    }

    fn request(self, channel: &str) -> Option<String> {
        match self {
            Self::Raw => None,
            Self::Sse => Some(format!(
                "GET /v1/stream?channel={channel} HTTP/1.1\r\nhost: localhost\r\n\r\n"
            )),
            Self::Ws => Some(format!(
                "GET /v1/ws?channel={channel} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
                 upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dHJ1bmtsaW5lIGJlbmNoIQ==\r\n\r\n"
            )),
        }
    }
}

/// Clients that are connected and whose channel is confirmed.
pub struct Listeners {
    epoll: OwnedFd,
    sockets: Vec<TcpStream>,
    buffer: Vec<u8>,
    started: Instant,
    /// Notifications read, by all together.
    pub heard: u64,
    /// Nanoseconds from publishing to reading.
    pub latencies: Vec<u64>,
}

impl Listeners {
    /// Opens so many. They come from several addresses: one has too few ports for more.
    pub fn open(transport: Transport, server: SocketAddr, channel: &str, count: usize) -> Self {
        Self::open_from(0, transport, server, channel, count)
    }

    /// The same after so many others, whose ports may not be free yet.
    pub fn open_from(
        first: usize,
        transport: Transport,
        server: SocketAddr,
        channel: &str,
        count: usize,
    ) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let mut listeners = Self {
            epoll,
            sockets: Vec::with_capacity(count),
            buffer: vec![0; 256 * 1024],
            started: Instant::now(),
            heard: 0,
            latencies: Vec::new(),
        };
        let request = transport.request(channel);
        // All ask before the first is answered: a round trip for each would take long.
        for number in 0..count {
            let mut socket = connect(server, first + number);
            if let Some(request) = &request {
                socket.write_all(request.as_bytes()).unwrap();
            }
            listeners.sockets.push(socket);
            // No more than the server's backlog holds.
            if number % 100 == 99 {
                listeners.opened(transport, number - 99);
            }
        }
        listeners.opened(transport, count - count % 100);
        listeners
    }

    fn opened(&mut self, transport: Transport, from: usize) {
        for number in from..self.sockets.len() {
            let mut socket = &self.sockets[number];
            if transport != Transport::Raw {
                let mut head = Vec::new();
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    let read = socket.read(&mut self.buffer).unwrap();
                    assert!(read > 0, "{}", String::from_utf8_lossy(&head));
                    head.extend_from_slice(&self.buffer[..read]);
                }
                let good = head.starts_with(b"HTTP/1.1 200") || head.starts_with(b"HTTP/1.1 101");
                assert!(good, "{}", String::from_utf8_lossy(&head));
            }
            socket.set_nonblocking(true).unwrap();
            let data = EventData::new_u64(number as u64);
            epoll::add(&self.epoll, socket.as_fd(), data, EventFlags::IN).unwrap();
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.sockets.len() as u64
    }

    /// The clock of the payloads.
    pub fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Forgets what was heard so far.
    pub fn reset(&mut self) {
        self.heard = 0;
        self.latencies.clear();
    }

    /// Reads whatever is there; waits at most so long for something to be.
    pub fn read(&mut self, patience: Duration) {
        let mut events = Vec::<epoll::Event>::with_capacity(1024);
        let patience = Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        let spare = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&self.epoll, spare, Some(&patience)).unwrap();
        for event in events {
            let number = event.data.u64() as usize;
            match (&self.sockets[number]).read(&mut self.buffer) {
                Ok(0) => panic!("the server closed client {number}"),
                Ok(read) => self.count_marks(read),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("client {number}: {error}"),
            }
        }
    }

    fn count_marks(&mut self, read: usize) {
        let now = self.now();
        let bytes = &self.buffer[..read];
        for at in memchr::memchr_iter(MARK, bytes) {
            self.heard += 1;
            // One whose time is cut in two is counted, and not timed.
            let Some(digits) = bytes.get(at + 1..at + 1 + DIGITS) else { continue };
            let digits = std::str::from_utf8(digits).unwrap();
            let published = u64::from_str_radix(digits, 16).unwrap();
            self.latencies.push(now.saturating_sub(published));
        }
    }
}

fn connect(server: SocketAddr, number: usize) -> TcpStream {
    let from = Ipv4Addr::new(127, 0, 0, 1 + (number / 10_000) as u8);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.into()
}
