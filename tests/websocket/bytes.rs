//! A client that writes frames by hand, also those that no library would write.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::DEADLINE;
use super::support::house::House;

/// The connection after its handshake.
pub struct Peer {
    stream: BufReader<TcpStream>,
    /// The answer's head, in lower case but for the accepted key.
    pub head: String,
}

/// A frame as the server sent it.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub content: Vec<u8>,
}

impl Frame {
    /// The code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        let code = self.content.get(..2)?;
        (self.first == 0x88).then(|| u16::from_be_bytes([code[0], code[1]]))
    }
}

impl Peer {
    /// Sends a handshake with these headers and reads the answer's head.
    pub async fn open(house: &House, path: &str, headers: &[(&str, &str)]) -> Peer {
        Peer::speaking("HTTP/1.1", house, path, headers).await
    }

    /// The same in a version of HTTP.
    pub async fn speaking(
        version: &str,
        house: &House,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Peer {
        let mut request = format!("GET {path} {version}\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            request += &format!("host: {}\r\n", house.public.address());
        }
        headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
        let mut stream = TcpStream::connect(house.public.address()).await.unwrap();
        stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let mut line = String::new();
            timeout(DEADLINE, stream.read_line(&mut line)).await.unwrap().unwrap();
            let (name, value) = line.split_once(' ').unwrap_or((&line, ""));
            head += &name.to_lowercase();
            head += if value.is_empty() { "" } else { " " };
            head += value;
        }
        Peer { stream, head }
    }

    /// A WebSocket, ready for frames.
    pub async fn websocket(house: &House, query: &str) -> Peer {
        let opening = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let peer = Peer::open(house, &format!("/v1/ws{query}"), &opening).await;
        assert!(peer.head.starts_with("http/1.1 101 "), "{}", peer.head);
        peer
    }

    /// Goes without having read everything, so that the kernel resets the connection.
    pub fn reset(self) {
        self.stream.into_inner().set_zero_linger().unwrap();
    }

    /// Sends bytes. That the server has closed meanwhile shows in what it said.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(DEADLINE, self.stream.get_mut().write_all(bytes)).await;
    }

    /// The next frame; `None` when the server has closed.
    pub async fn frame(&mut self) -> Option<Frame> {
        timeout(DEADLINE, self.read()).await.expect("a frame, or the end, in time").ok()
    }

    /// Reads to the end. The last frame must be a close; its code.
    pub async fn close_code(&mut self) -> Option<u16> {
        let mut last = None;
        while let Some(frame) = self.frame().await {
            last = Some(frame);
        }
        last.and_then(|frame| frame.close_code())
    }

    async fn read(&mut self) -> std::io::Result<Frame> {
        let first = self.stream.read_u8().await?;
        let length = match self.stream.read_u8().await? {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            short => u64::from(short),
        };
        assert!(length < 1 << 24, "a server masks nothing and sends nothing as large");
        let mut content = vec![0; length as usize];
        self.stream.read_exact(&mut content).await?;
        Ok(Frame { first, content })
    }
}

/// A frame with this first byte, masked as a client must.
pub fn masked(first: u8, content: &[u8]) -> Vec<u8> {
    framed(first, 0x80, content)
}

/// One without a mask, as a client must not.
pub fn unmasked(first: u8, content: &[u8]) -> Vec<u8> {
    framed(first, 0, content)
}

fn framed(first: u8, bit: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match content.len() {
        short @ 0..126 => bytes.push(bit | short as u8),
        medium @ 126..65_536 => {
            bytes.push(bit | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(bit | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    let mask: &[u8] = if bit == 0 { &[0] } else { &[0x37, 0xfa, 0x21, 0x3d] };
    if bit != 0 {
        bytes.extend(mask);
    }
    bytes.extend(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
