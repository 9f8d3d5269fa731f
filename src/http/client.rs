//! An HTTP client, as small as the operator's tool needs: one connection per request.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::Url;

use crate::conn::Tls;
use crate::telemetry::task::spawn;

/// How long connecting, and then the head of the answer, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A stream that says nothing for this long has lost its server: three comments are missing, at
/// the interval a server begins with.
const SILENCE: Duration = Duration::from_secs(45);
/// The longest answer that is read, and the longest line of a stream: several times the largest
/// notification.
const LONGEST: usize = 4 * 1024 * 1024;

/// Why a server did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be reached.
    #[error("{server} cannot be reached: {problem}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// What the system says.
        problem: String,
    },
    /// It did not answer in time.
    #[error("{server} did not answer within {PATIENCE:?}")]
    Silent {
        /// Host and port.
        server: String,
    },
    /// A stream went silent: its server is gone, and did not or could not say so.
    #[error(
        "nothing has come for {0:?}, not even a comment: the server is gone, or its \
         --heartbeat-interval is longer than that"
    )]
    Stalled(Duration),
    /// It answered with something else than what was asked for.
    #[error("{status}: {detail}")]
    Refused {
        /// The status line's code.
        status: StatusCode,
        /// What the problem document says, or the start of the body.
        detail: String,
    },
    /// The answer broke off or cannot be understood.
    #[error("the answer broke off: {0}")]
    Broken(String),
}

/// A server's address.
#[derive(Clone, Debug)]
pub struct Client {
    base: Url,
    silence: Duration,
}

impl Client {
    /// A client of the server at `base`, `http` or `https`.
    pub fn new(base: Url) -> Self {
        Self { base, silence: SILENCE }
    }

    /// Asks for a JSON document.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for any status but a success.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        json(self.request(Method::GET, path, "application/json", None, Bytes::new()).await?).await
    }

    /// Sends a JSON document and gives the answer's.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for any status but a success.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        document: &Value,
    ) -> Result<Value, ClientError> {
        let body = Bytes::from(document.to_string());
        json(self.request(method, path, "application/json", None, body).await?).await
    }

    /// Opens a stream of server-sent events, after the cursor if there is one.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for any status but a success.
    pub async fn events(&self, path: &str, after: Option<&str>) -> Result<Events, ClientError> {
        let accept = "text/event-stream";
        let response = self.request(Method::GET, path, accept, after, Bytes::new()).await?;
        Ok(Events {
            body: response.into_body(),
            buffer: BytesMut::new(),
            silence: self.silence,
            cursor: after.map(str::to_owned),
            retry: None,
        })
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        after: Option<&str>,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let (host, port) = (
            self.base.host_str().unwrap_or_default().to_owned(),
            self.base.port_or_known_default().unwrap_or(80),
        );
        let server = format!("{host}:{port}");
        let broken = |error: &dyn std::fmt::Display| ClientError::Broken(error.to_string());
        let prefix = self.base.path().trim_end_matches('/');
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{prefix}{path}"))
            .header(HOST, &server)
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("trunkline/", env!("CARGO_PKG_VERSION")));
        if let Some(cursor) = after {
            request = request.header("last-event-id", cursor);
        }
        let request = request.body(Full::new(body)).map_err(|error| broken(&error))?;
        let answering = async {
            let stream = dial(&self.base, &host, port)
                .await
                .map_err(|problem| ClientError::Unreachable { server: server.clone(), problem })?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
            // How the connection ends shows in the answer that is read from it.
            spawn("http client", async { drop(connection.await) });
            sender.send_request(request).await.map_err(|error| broken(&error))
        };
        let response = tokio::time::timeout(PATIENCE, answering)
            .await
            .map_err(|_| ClientError::Silent { server: server.clone() })??;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = whole(response).await?;
        Err(ClientError::Refused { status, detail: explained(&text) })
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn dial(base: &Url, host: &str, port: u16) -> Result<Box<dyn Stream>, String> {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((address, port)).await.map_err(|error| error.to_string())?;
    if base.scheme() == "http" {
        return Ok(Box::new(stream));
    }
    let tls = Tls::new(None, None).map_err(|error| error.to_string())?;
    let stream = tls.connect(address, stream).await.map_err(|error| error.to_string())?;
    Ok(Box::new(stream))
}

async fn json(response: Response<Incoming>) -> Result<Value, ClientError> {
    let text = whole(response).await?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&text).map_err(|error| ClientError::Broken(error.to_string()))
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = http_body_util::Limited::new(response.into_body(), LONGEST);
    let reading = tokio::time::timeout(PATIENCE, body.collect()).await;
    match reading {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => Err(ClientError::Broken(error.to_string())),
        Err(_) => Err(ClientError::Broken("it came too slowly".to_owned())),
    }
}

/// What a problem document says, all its faults included.
fn explained(text: &[u8]) -> String {
    let Ok(problem) = serde_json::from_slice::<Value>(text) else {
        return String::from_utf8_lossy(text).chars().take(200).collect();
    };
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let faults = problem["errors"].as_array().cloned().unwrap_or_default();
    let faults = faults
        .iter()
        .map(|fault| format!("\n  {}: {}", word(&fault["path"]), word(&fault["message"])));
    let said = [word(&problem["title"]), word(&problem["detail"])];
    said.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(": ")
        + &faults.collect::<String>()
}

/// A stream of server-sent events.
pub struct Events {
    body: Incoming,
    buffer: BytesMut,
    silence: Duration,
    cursor: Option<String>,
    retry: Option<Duration>,
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// Its name; `message` when the stream gives none.
    pub name: String,
    /// Its data.
    pub data: String,
}

impl Events {
    /// Where the stream is: what to open the next one after.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// After how long the server wants its client back, if it has said so.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The next event; `None` when the server ends the stream. Comments are passed over.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when the stream breaks off, [`ClientError::Stalled`] when nothing,
    /// and no comment either, has come for 45 seconds.
    pub async fn next(&mut self) -> Result<Option<StreamEvent>, ClientError> {
        loop {
            while let Some(end) = find(&self.buffer, b"\n\n") {
                let block = self.buffer.split_to(end + 2);
                let block = String::from_utf8_lossy(&block);
                self.note(&block);
                if let Some(event) = parse(&block) {
                    return Ok(Some(event));
                }
            }
            if self.buffer.len() > LONGEST {
                return Err(ClientError::Broken("an event is too long".to_owned()));
            }
            let frame = tokio::time::timeout(self.silence, self.body.frame()).await;
            match frame.map_err(|_| ClientError::Stalled(self.silence))? {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(ClientError::Broken(error.to_string())),
            }
        }
    }
}

impl Events {
    /// What a block says of the stream itself. It stands before the event or the comment.
    fn note(&mut self, block: &str) {
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", cursor)) => self.cursor = Some(cursor.to_owned()),
                Some(("retry", wait)) => {
                    self.retry = wait.parse().ok().map(Duration::from_millis).or(self.retry);
                }
                _ => {}
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// One block between empty lines, as our servers write it.
fn parse(block: &str) -> Option<StreamEvent> {
    let (mut name, mut data) = ("message", Vec::new());
    for line in block.lines() {
        match line.split_once(':') {
            Some(("event", value)) => name = value.strip_prefix(' ').unwrap_or(value),
            Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value)),
            _ => {}
        }
    }
    let event = || StreamEvent { name: name.to_owned(), data: data.join("\n") };
    (!data.is_empty()).then(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[test]
    fn a_block_is_an_event_and_a_comment_is_none() {
        let event = parse("event: notification\ndata: {\"a\":1}\n\n").expect("an event");
        assert_eq!((event.name.as_str(), event.data.as_str()), ("notification", "{\"a\":1}"));
        assert_eq!(parse(": still here\n\n"), None);
        assert_eq!(parse("retry: 2000\n\n"), None);
    }

    #[tokio::test]
    async fn a_stream_whose_server_is_gone_ends_and_one_that_only_comments_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let silence = Duration::from_secs(2);
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(b"retry: 700\n\nid: a-1\n\n").await.unwrap();
            for _ in 0..8 {
                tokio::time::sleep(silence / 4).await;
                stream.write_all(b"id: a-2\n: still here\n\n").await.unwrap();
            }
            stream.write_all(b"event: notification\ndata: 1\n\n").await.unwrap();
            // It keeps its socket and says no more.
            stream
        });
        let client = Client { base, silence };
        let mut events = client.events("/", Some("a-0")).await.unwrap();
        assert_eq!(events.next().await.unwrap().expect("an event").data, "1");
        assert_eq!(events.cursor(), Some("a-2"));
        assert_eq!(events.retry(), Some(Duration::from_millis(700)));
        let ended = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
        let error = ended.expect("it still waits").unwrap_err();
        assert!(matches!(error, ClientError::Stalled(_)), "{error}");
        drop(serving.await);
    }

    #[test]
    fn a_problem_is_told_with_all_its_faults() {
        let problem = r#"{"title":"Invalid","detail":"two faults","errors":[{"path":"$.type","message":"is missing"}]}"#;
        assert_eq!(explained(problem.as_bytes()), "Invalid: two faults\n  $.type: is missing");
        assert_eq!(explained(b"<html>"), "<html>");
    }
}
