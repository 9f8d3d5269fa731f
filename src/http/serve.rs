//! The accept loop of a listener.

use std::convert::Infallible;
use std::future::Future;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::http::response;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::plug::Plug;
use super::session::Session;
use crate::model::{Problem, ProblemKind};
use crate::telemetry::events::http::{
    AcceptFailed, HttpConnectionOpened, HttpConnectionRefused, Listening,
};
use crate::telemetry::events::process::TaskPanicked;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// For the head of a request, and for the next request on a connection that is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// What the HTTP library may hold of an answer that the socket does not take yet; the head of a
/// request may be as large. A client's own queue is the outbox, not this.
const WRITE_BUFFER: usize = 64 * 1024;
/// After this long without an acknowledgement of what was sent the kernel gives a peer up, also
/// one that keeps its window shut.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
/// For connections that are cut to end.
const CUT: Duration = Duration::from_secs(1);
/// When no descriptor is left, accepting again at once would only fail again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which of the two listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Events in, notifications out.
    Public,
    /// Health and metrics: read only.
    Admin,
}

impl Door {
    /// The word used in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

/// The connection a request came on.
#[derive(Debug)]
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
}

/// Answers requests.
pub trait Answer: Send + Sync + 'static {
    /// Answers one request. Dropped when the connection ends first.
    fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// A bound listener that accepts nothing yet.
pub struct Listener {
    door: Door,
    socket: TcpListener,
    max_connections: usize,
}

impl Listener {
    /// Binds. One connection more than `max_connections` is refused and counted.
    pub fn bind(door: Door, address: SocketAddr, max_connections: usize) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let socket = socket.listen(BACKLOG)?;
        Listening { listener: door.label(), address: socket.local_addr()? }.emit();
        Ok(Self { door, socket, max_connections })
    }

    /// Where it listens: the port is known even if it was bound to port 0.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts and answers until `stop`, then finishes what is in flight for at most `drain`.
    /// Clients that listen are served on the runtime of `sessions`. Returns how many connections
    /// had to be cut then. Dropped, it cuts all at once.
    pub async fn serve(
        self,
        answer: Arc<impl Answer>,
        sessions: Handle,
        stop: CancellationToken,
        drain: Duration,
    ) -> usize {
        let Self { door, socket, max_connections } = self;
        let mut connections = JoinSet::new();
        let (mut pause, mut pausing) = (pin!(tokio::time::sleep(Duration::ZERO)), false);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                () = &mut pause, if pausing => {
                    pausing = false;
                    continue;
                }
                Some(ended) = connections.join_next() => {
                    go_on(&mut connections, ended, &sessions);
                    continue;
                }
                accepted = socket.accept(), if !pausing => accepted,
            };
            match accepted {
                Ok(_) if connections.len() >= max_connections => {
                    let (listener, metered) = (door.label(), door == Door::Public);
                    HttpConnectionRefused { listener, limit: max_connections, metered }.emit();
                }
                Ok((stream, _)) => {
                    // A socket that died since it was accepted has no address, and no request.
                    let Ok(local) = prepare(&stream) else { continue };
                    let connection = Connection { local };
                    let answer = Arc::clone(&answer);
                    let stop = stop.clone();
                    let opened = (door == Door::Public).then(HttpConnectionOpened::emit);
                    connections.spawn(async move {
                        let begun = speak_http(stream, &connection, &*answer, stop).await;
                        begun.map(|session| (session, opened))
                    });
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    AcceptFailed { listener: door.label(), error: &error }.emit();
                    pause.as_mut().reset(Instant::now() + ACCEPT_PAUSE);
                    pausing = true;
                }
            }
        }
        drop(socket);
        let finished = async {
            while let Some(ended) = connections.join_next().await {
                go_on(&mut connections, ended, &sessions);
            }
        };
        // Whoever is not finished by then counts as left.
        let _ = tokio::time::timeout(drain, finished).await;
        while let Some(ended) = connections.try_join_next() {
            go_on(&mut connections, ended, &sessions);
        }
        let left = connections.len();
        // They end at once, unless their thread stands still.
        let _ = tokio::time::timeout(CUT, connections.shutdown()).await;
        left
    }
}

/// What a connection comes to: nothing, or a session and the count of open connections it keeps.
type Outcome = Option<(Begun, Option<HttpConnectionOpened>)>;

/// A connection has ended, and how is nobody's business here: a request that was answered was
/// counted by its door, a client that listened by its guard. Or it goes on as a session.
fn go_on(connections: &mut JoinSet<Outcome>, ended: Result<Outcome, JoinError>, sessions: &Handle) {
    match ended {
        Ok(None) => {}
        Ok(Some((begun, opened))) => {
            let session = async move {
                begun.run().await;
                drop(opened);
                None
            };
            connections.spawn_on(session, sessions);
        }
        Err(error) if error.is_panic() => TaskPanicked { task: "http connection" }.emit(),
        Err(_) => {}
    }
}

/// A socket that HTTP has left to a session, between two runtimes.
struct Begun {
    stream: std::net::TcpStream,
    early: Bytes,
    head: Bytes,
    session: Session,
}

impl Begun {
    async fn run(self) {
        let Self { stream, early, head, session } = self;
        // A socket that the runtime does not take is closed, and its client has left.
        if let Ok(stream) = TcpStream::from_std(stream) {
            session.run(stream, head, early).await;
        }
    }
}

/// Answers requests until the peer has left, or until one of them begins a session.
async fn speak_http(
    stream: TcpStream,
    connection: &Connection,
    answer: &impl Answer,
    stop: CancellationToken,
) -> Option<Begun> {
    let (begun, clogged) = (Mutex::new(None), AtomicBool::new(false));
    let service = service_fn(|request| {
        let begun = &begun;
        Box::pin(async move {
            let (head, body) = answer.answer(request, connection).await.into_parts();
            match body {
                Body::Session(session) => {
                    *lock(begun) = Some((head, session));
                    // HTTP has nothing to write, and is left as soon as this is seen.
                    pending().await
                }
                body => Ok::<_, Infallible>(Response::from_parts(head, body)),
            }
        })
    });
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(WRITE_BUFFER)
        .serve_connection(Plug { io: TokioIo::new(stream), clogged: &clogged }, service);
    let (mut stopped, mut stopping) = (pin!(stop.cancelled()), false);
    let (head, session) = poll_fn(|cx| {
        if !stopping && stopped.as_mut().poll(cx).is_ready() {
            stopping = true;
            Pin::new(&mut http).graceful_shutdown();
        }
        if http.poll_without_shutdown(cx).is_ready() {
            return Poll::Ready(None);
        }
        let mut begun = lock(&begun);
        match begun.as_ref() {
            // An answer to an earlier request is still on its way, and must not be lost.
            Some((_, session)) if clogged.load(Ordering::Relaxed) => {
                session.poll_cut(cx).map(|()| None)
            }
            Some(_) => Poll::Ready(begun.take()),
            None => Poll::Pending,
        }
    })
    .await?;
    let Parts { io, read_buf: early, .. } = http.into_parts();
    let stream = io.io.into_inner().into_std().ok()?;
    Some(Begun { stream, early, head: written(&head), session })
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The head of an answer as it goes over the wire.
fn written(head: &response::Parts) -> Bytes {
    let status = head.status;
    let reason = status.canonical_reason().unwrap_or_default();
    let date = Utc::now().format("%a, %d %b %Y %H:%M:%S GMT");
    let mut bytes =
        format!("HTTP/1.1 {} {reason}\r\ndate: {date}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.into()
}

/// Small answers leave at once, and a peer that is gone is found out.
fn prepare(stream: &TcpStream) -> io::Result<SocketAddr> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    {
        sockopt::set_tcp_keepidle(stream, PEER_TIMEOUT)?;
        sockopt::set_tcp_user_timeout(stream, PEER_TIMEOUT.as_millis() as u32)?;
    }
    stream.local_addr()
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// A handler that panics answers 500; its connection lives on.
pub(super) async fn catch_panic(
    task: &'static str,
    answer: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        TaskPanicked { task }.emit();
        Problem::new(ProblemKind::Internal, "this is a bug in the server; it was counted")
            .into_response()
    })
}
