//! The accept loop of a listener.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::ws::Session;
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
/// How long a slow client's socket may still take its goodbye.
const CUT_GRACE: Duration = Duration::from_secs(1);
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
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
    /// Cancelled, it ends the connection after a short grace even if the peer takes nothing.
    pub cut: CancellationToken,
    /// What goes on with the socket when HTTP has ended.
    session: Mutex<Option<Box<Session>>>,
}

impl Connection {
    fn new(local: SocketAddr) -> Self {
        Self { local, cut: CancellationToken::new(), session: Mutex::default() }
    }

    /// Leaves the socket to a session, once the answer that agrees to it is written.
    pub(super) fn hand_over(&self, session: Box<Session>) {
        *self.slot() = Some(session);
    }

    fn slot(&self) -> MutexGuard<'_, Option<Box<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// Returns how many connections had to be cut then. Dropped, it cuts all at once.
    pub async fn serve(
        self,
        answer: Arc<impl Answer>,
        stop: CancellationToken,
        drain: Duration,
    ) -> usize {
        let Self { door, socket, max_connections } = self;
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok(_) if connections.len() >= max_connections => {
                    let (listener, metered) = (door.label(), door == Door::Public);
                    HttpConnectionRefused { listener, limit: max_connections, metered }.emit();
                }
                Ok((stream, _)) => {
                    // A socket that died since it was accepted has no address, and no request.
                    let Ok(local) = prepare(&stream) else { continue };
                    let connection = Connection::new(local);
                    let answer = Arc::clone(&answer);
                    let stop = stop.clone();
                    let opened = (door == Door::Public).then(HttpConnectionOpened::emit);
                    connections.spawn(async move {
                        converse(stream, connection, answer, stop).await;
                        drop(opened);
                    });
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    AcceptFailed { listener: door.label(), error: &error }.emit();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(socket);
        let finished = async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        };
        // Whoever is not finished by then counts as left.
        let _ = tokio::time::timeout(drain, finished).await;
        while let Some(ended) = connections.try_join_next() {
            report(ended);
        }
        let left = connections.len();
        connections.shutdown().await;
        left
    }
}

/// One connection, from its first request to its end.
async fn converse(
    stream: TcpStream,
    connection: Connection,
    answer: Arc<impl Answer>,
    stop: CancellationToken,
) {
    // In a box, so that a WebSocket does not keep for hours the room that HTTP needed.
    Box::pin(speak_http(stream, &connection, &*answer, stop)).await;
    let session = connection.slot().take();
    if let Some(session) = session {
        session.run().await;
    }
}

async fn speak_http(
    stream: TcpStream,
    connection: &Connection,
    answer: &impl Answer,
    stop: CancellationToken,
) {
    let service = service_fn(|request| async move {
        Ok::<_, Infallible>(answer.answer(request, connection).await)
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(WRITE_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut http = pin!(http);
    let mut stopping = false;
    // How a connection ends is nobody's business here: a request that was answered was counted
    // by its door, a client that listened by its guard.
    loop {
        tokio::select! {
            _ = &mut http => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                http.as_mut().graceful_shutdown();
            }
            () = connection.cut.cancelled() => {
                let _ = tokio::time::timeout(CUT_GRACE, http).await;
                return;
            }
        }
    }
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

fn report(ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        TaskPanicked { task: "http connection" }.emit();
    }
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
