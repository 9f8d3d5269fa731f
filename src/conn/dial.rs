//! From nothing to a connection that may be served: DNS, TCP, TLS, HELLO, ready check.
//!
//! The HELLO is written on the raw stream by us: redis-rs cannot name a connection in the same
//! command that logs in, and no authenticated connection of ours is ever unnamed. redis-rs then
//! gets a stream that needs no credentials.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo, Value};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::budget::Permit;
use super::error::{Code, Error};
use super::hello;
use super::options::Options;
use super::socket::{Socket, Transport, Vitals};
use crate::model::{ConnectFailure, Role, Target};
use crate::telemetry::task::spawn;

/// Unacknowledged data makes the kernel give up after this long: without it a black hole took
/// more than 25 s to be noticed, with it 3.4 s (measured). The heartbeat is quicker where the
/// process runs; this frees what the kernel holds.
const USER_TIMEOUT: Duration = Duration::from_secs(3);
/// First keepalive probe after this long without traffic, then every [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_TIME: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How long the end of an aborted driver is awaited before its socket counts as abandoned.
const DRIVER_END: Duration = Duration::from_secs(1);
/// Commands that may wait for the driver to pick them up; more wait inside their own timeout.
const DRIVER_QUEUE: usize = 1024;

/// A connection past its ready check.
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Driver,
    pub(super) vitals: Arc<Vitals>,
}

impl Live {
    /// Forgets the connection while its driver runs on with the socket, as a bug would.
    pub(super) fn abandon(mut self) {
        drop(self.driver.0.take());
        std::mem::forget(self.connection);
    }
}

/// Why a dial came to nothing.
#[derive(Debug)]
pub(super) struct DialError {
    pub(super) failure: ConnectFailure,
    /// For the log: no address, argument or credential of Redis' own text.
    pub(super) detail: String,
}

impl DialError {
    pub(super) fn new(failure: ConnectFailure, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into() }
    }

    pub(super) fn timed_out() -> Self {
        Self::new(ConnectFailure::Timeout, "the connect timeout passed")
    }
}

impl From<Error> for DialError {
    fn from(error: Error) -> Self {
        let failure = match &error {
            Error::Server { code: Code::Loading, .. } => ConnectFailure::Loading,
            Error::Server { code: Code::Readonly, .. } => ConnectFailure::NotMaster,
            Error::Server { code: Code::Noperm, text } if text.starts_with("NOPERM") => {
                ConnectFailure::Noperm
            }
            Error::Server { code: Code::Noperm, .. } => ConnectFailure::Auth,
            Error::Timeout { .. } => ConnectFailure::Timeout,
            _ => ConnectFailure::Other,
        };
        // Of a dial nothing is in doubt: there was no command but its own.
        let detail = match &error {
            Error::Timeout { .. } => "redis did not answer in time".to_owned(),
            Error::Disconnected => "the connection was lost before it was ready".to_owned(),
            error => error.to_string(),
        };
        Self::new(failure, detail)
    }
}

/// The task that moves bytes between a socket and its callers; it owns the socket.
pub(super) struct Driver(Option<JoinHandle<()>>);

impl Driver {
    fn spawn(driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(spawn("redis driver", driver)))
    }

    /// Resolves when the socket is gone, by a panic of the driver too. Cancel-safe.
    pub(super) async fn ended(&mut self) {
        if let Some(task) = &mut self.0 {
            // A panic was counted where the task was spawned, and the socket is gone either way.
            let _ = task.await;
            self.0 = None;
        }
    }

    /// Aborts the driver and awaits its end, so that its socket is closed afterwards.
    pub(super) async fn stop(mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
        // A driver that cannot even be aborted keeps its socket: the guard shows it as abandoned.
        let _ = tokio::time::timeout(DRIVER_END, self.ended()).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Receives what Redis pushes without being asked.
pub(super) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Opens, encrypts, logs in and names one connection.
///
/// `opened` is told when the transport is up. On any error, and when this is cancelled, the
/// socket is closed.
pub(super) async fn dial(
    options: &Options,
    role: Role,
    generation: u64,
    permit: &Permit,
    vitals: Arc<Vitals>,
    opened: oneshot::Sender<()>,
    on_push: OnPush,
) -> Result<Live, DialError> {
    let transport = open(options).await?;
    let guard = permit.guard(Arc::clone(&vitals), generation, transport.ends());
    #[cfg(feature = "tls")]
    let transport = encrypt(options, transport).await?;
    let mut socket = Socket::new(transport, role, Arc::clone(&vitals), guard);
    // The receiver is gone only when the dial was abandoned: then nobody needs to know.
    let _ = opened.send(());
    let name = options.connection_name(role, generation);
    if let Some(id) = hello::greet(&mut socket, options, &name).await? {
        socket.identify(id);
    }
    let (connection, driver) = adopt(socket, options, on_push).await?;
    Ok(Live { connection, driver, vitals })
}

async fn open(options: &Options) -> Result<Transport, DialError> {
    match &options.target {
        Target::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Transport::Unix(stream)),
            Err(error) => Err(unreachable_target(&error)),
        },
        Target::Tcp { host, port } => {
            let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), *port))
                .await
                .map_err(|error| DialError::new(ConnectFailure::Dns, error.to_string()))?
                .collect();
            // An address that swallows packets must leave time for the next one.
            let share = options.connect_timeout.div_f64(addresses.len().max(1) as f64);
            let mut last = DialError::new(ConnectFailure::Dns, "the name has no address");
            for address in addresses {
                match tokio::time::timeout(share, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => return tune(stream).map(Transport::Tcp),
                    Ok(Err(error)) => last = unreachable_target(&error),
                    Err(_) => last = DialError::new(ConnectFailure::Timeout, "no answer to TCP"),
                }
            }
            Err(last)
        }
    }
}

fn unreachable_target(error: &io::Error) -> DialError {
    let failure = match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::NotFound
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => ConnectFailure::Refused,
        io::ErrorKind::TimedOut => ConnectFailure::Timeout,
        _ => ConnectFailure::Other,
    };
    DialError::new(failure, error.to_string())
}

fn tune(stream: TcpStream) -> Result<TcpStream, DialError> {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(2);
    let socket = socket2::SockRef::from(&stream);
    socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| {
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
            Ok(())
        })
        .map_err(|error| DialError::new(ConnectFailure::Other, error.to_string()))?;
    Ok(stream)
}

#[cfg(feature = "tls")]
async fn encrypt(options: &Options, transport: Transport) -> Result<Transport, DialError> {
    let (Some(tls), Target::Tcp { host, .. }) = (&options.tls, &options.target) else {
        return Ok(transport);
    };
    let Transport::Tcp(stream) = transport else {
        return Ok(transport);
    };
    let stream = tls
        .connect(host, stream)
        .await
        .map_err(|error| DialError::new(ConnectFailure::Tls, error.to_string()))?;
    Ok(Transport::Tls(Box::new(stream)))
}

/// Hands a logged-in stream to redis-rs and starts its driver.
async fn adopt(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    options: &Options,
    on_push: OnPush,
) -> Result<(MultiplexedConnection, Driver), DialError> {
    // The connection's name says who we are. CLIENT SETINFO would add a right that Redis 7.0
    // cannot even grant, and a line in the ACL log of every later one that does not.
    let info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_db(options.db)
        .set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(Some(options.command_timeout))
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(DRIVER_QUEUE)
        .set_push_sender(move |push: PushInfo| -> Result<(), std::convert::Infallible> {
            on_push(push);
            Ok(())
        });
    let adopting = MultiplexedConnection::new_with_config(&info, socket, config);
    let (connection, driver) = adopting.await.map_err(Error::from)?;
    Ok((connection, Driver::spawn(driver)))
}

/// One command on a stream nobody else uses yet.
pub(super) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    command: &redis::Cmd,
) -> Result<Value, DialError> {
    let broken = |error: &dyn std::fmt::Display| {
        DialError::new(ConnectFailure::Protocol, format!("no answer to HELLO: {error}"))
    };
    stream.write_all(&command.get_packed_command()).await.map_err(|error| broken(&error))?;
    stream.flush().await.map_err(|error| broken(&error))?;
    redis::parse_redis_value_async(&mut Default::default(), stream)
        .await
        .map_err(|error| broken(&error.category()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_leaves_nothing_in_doubt() {
        for error in [Error::Timeout { after: Duration::ZERO }, Error::Disconnected] {
            let DialError { detail, .. } = error.into();
            assert!(!detail.contains("unknown") && !detail.contains("0ns"), "{detail}");
        }
    }
}
