//! HTTP written by hand: what no library would send.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header field, or the empty string.
    pub fn header(&self, name: &str) -> &str {
        let field = |line: &'_ str| line.strip_prefix(name)?.strip_prefix(": ").map(str::len);
        let line = self.head.lines().find(|line| field(line).is_some());
        line.map_or("", |line| &line[name.len() + 2..])
    }

    /// Whether it is a well-formed problem document with one of these statuses.
    pub fn is_a_problem(&self, expected: &[u16]) -> Result<(), String> {
        let said = || format!("{}\n{}", self.head, String::from_utf8_lossy(&self.body));
        if !expected.contains(&self.status) {
            return Err(format!("{} instead of {expected:?}: {}", self.status, said()));
        }
        if self.header("content-type") != "application/problem+json" {
            return Err(format!("no problem document: {}", said()));
        }
        let document: Value =
            serde_json::from_slice(&self.body).map_err(|error| format!("{error}: {}", said()))?;
        let is_text =
            |name: &str| document[name].as_str().is_some_and(|text| !text.trim().is_empty());
        let known = document["type"].as_str().is_some_and(|uri| uri.starts_with("urn:trunkline:"));
        let faults = document["errors"].as_array().is_none_or(|errors| {
            !errors.is_empty()
                && errors.iter().all(|it| it["path"].is_string() && it["message"].is_string())
        });
        let whole = known && faults && document["status"] == self.status;
        match whole && is_text("title") && is_text("detail") {
            true => Ok(()),
            false => Err(format!("the document is not whole: {document}")),
        }
    }
}

/// Sends bytes and reads one answer, while it still sends if need be.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Result<Answer, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (read, mut write) = stream.into_split();
    // A server that has heard enough closes; that shows in what it answered.
    let (_, answer) = tokio::join!(write.write_all(request), answer(read));
    answer
}

/// Sends bytes again and again until the server answers or closes. How much it took.
pub async fn pour(
    address: SocketAddr,
    head: &[u8],
    again: &[u8],
) -> (Result<Answer, String>, usize) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (read, mut write) = stream.into_split();
    let mut sent = 0;
    let pouring = async {
        // Ends when the server has heard enough; what it said of that is still to be read.
        let _ = write.write_all(head).await;
        while write.write_all(again).await.is_ok() {
            sent += again.len();
        }
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = answer(read) => answer,
        () = pouring => unreachable!("it is pending"),
    };
    (answer, sent)
}

/// Sends bytes, says that they are all, and reads whatever comes until the server closes.
pub async fn shout(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // Being turned away early is one of the ways this may go.
    if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = stream.read_to_end(&mut answer).await;
    }
    answer
}

async fn answer(read: OwnedReadHalf) -> Result<Answer, String> {
    let mut read = BufReader::new(read);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        match read.read_line(&mut head).await {
            Ok(0) => return Err(format!("the connection ended after {head:?}")),
            Ok(_) => {}
            Err(error) => return Err(format!("{error} after {head:?}")),
        }
    }
    let head = head.replace("\r\n", "\n").to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut answer = Answer { status: status.ok_or(head.clone())?, head, body: vec![] };
    let length = answer.header("content-length").parse().map_err(|_| {
        format!("an answer without a length, which may be a stream:\n{}", answer.head)
    })?;
    answer.body = vec![0; length];
    read.read_exact(&mut answer.body).await.map_err(|error| format!("the body: {error}"))?;
    Ok(answer)
}
