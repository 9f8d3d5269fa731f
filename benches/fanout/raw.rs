//! What the kernel alone costs: a thread that hears Redis and writes the bytes of each message
//! into each socket, and does nothing else that a server must.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

use rustix::time::{ClockId, clock_gettime};

/// A running thread.
pub struct Raw {
    /// Where it accepts.
    pub address: SocketAddr,
    ask: mpsc::Sender<mpsc::Sender<u64>>,
    redis: TcpStream,
}

impl Raw {
    /// Accepts so many clients, then hears this channel for them.
    pub fn start(redis_port: u16, channel: &str, clients: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut redis = TcpStream::connect((Ipv4Addr::LOCALHOST, redis_port)).unwrap();
        let subscribe = format!("*2\r\n$9\r\nSUBSCRIBE\r\n${}\r\n{channel}\r\n", channel.len());
        redis.write_all(subscribe.as_bytes()).unwrap();
        let (ask, asked) = mpsc::channel::<mpsc::Sender<u64>>();
        let heard = redis.try_clone().unwrap();
        std::thread::spawn(move || {
            let sockets: Vec<_> = (0..clients)
                .map(|_| {
                    let (socket, _) = listener.accept().unwrap();
                    socket.set_nodelay(true).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket
                })
                .collect();
            hand_on(heard, &sockets, &asked);
        });
        Self { address, ask, redis }
    }

    /// CPU time of the thread so far, in nanoseconds. It answers with the next message.
    pub fn cpu(&self, nudge: impl FnOnce()) -> u64 {
        let (send, receive) = mpsc::channel();
        self.ask.send(send).unwrap();
        nudge();
        receive.recv().unwrap()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The thread reads an end and goes. Had it gone before, there is nothing to shut down.
        let _ = self.redis.shutdown(std::net::Shutdown::Both);
    }
}

/// Each read's bytes go out in one write per socket: under load that coalesces.
fn hand_on(mut redis: TcpStream, sockets: &[TcpStream], asked: &mpsc::Receiver<mpsc::Sender<u64>>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match redis.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        while let Ok(answer) = asked.try_recv() {
            let now = clock_gettime(ClockId::ThreadCPUTime);
            answer.send(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64).unwrap();
        }
        for mut socket in sockets {
            match socket.write(&buffer[..read]) {
                Ok(written) => assert_eq!(written, read, "a socket is full"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "a client left"),
            }
        }
    }
}
