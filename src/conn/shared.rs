//! The handle everybody holds: commands in, answers out, never a queue for bad times.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisFuture, Value};
use tokio::sync::watch;

use super::commands;
use super::error::{Code, Error};
use super::line::{Line, Request};
use super::signals::{Signal, Signals};
use super::state::Epoch;
use super::status::Status;
use crate::model::{Command, CommandFailure, SocketClose};
use crate::telemetry::events::command::{CommandFinished, CommandRefused, InFlight};

/// The process' one connection for commands. Cheap to clone; has no way to close it.
///
/// Any redis-rs command, pipeline or script runs over it, since it is a
/// [`ConnectionLike`]: instrumented, within the command timeout, and failing at once with a
/// typed error ([`Error::NotReady`]) while there is no connection. Nothing is queued for later
/// and nothing is ever sent twice.
///
/// ```no_run
/// # async fn run(mut shared: trunkline::conn::Shared) -> redis::RedisResult<()> {
/// use redis::AsyncCommands;
///
/// shared.set::<_, _, ()>("shop:open", true).await?;
/// let (sold, left): (i64, i64) = redis::pipe()
///     .atomic()
///     .incr("shop:sold", 1)
///     .decr("shop:left", 1)
///     .query_async(&mut shared)
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// Cancelling a command's future before its answer leaves its outcome unknown: it may have
/// been executed.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    line: Arc<Line>,
    signals: Arc<Signals>,
    in_flight: AtomicUsize,
}

impl Shared {
    pub(super) fn new(line: Arc<Line>, signals: Arc<Signals>) -> Self {
        Self(Arc::new(Inner { line, signals, in_flight: AtomicUsize::new(0) }))
    }

    /// Runs one command and gives its answer; an error that Redis answered is an error here.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::sent`] tells whether it may have been executed.
    pub async fn call(&self, command: &Cmd) -> Result<Value, Error> {
        let reply = self.send(command).await?;
        Error::in_reply(&reply).map_or(Ok(reply), Err)
    }

    /// Waits until the connection is ready, dialling it first if it was never asked for.
    ///
    /// # Errors
    /// What a command would get, when `deadline` passes or the owner closes the connection.
    pub async fn ready(&self, deadline: Duration) -> Result<(), Error> {
        self.0.line.ready(deadline).await
    }

    /// Where the connection is now.
    pub fn status(&self) -> Status {
        self.0.line.status.borrow().clone()
    }

    /// Follows the connection's state.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.line.status.subscribe()
    }

    /// Tells of changes of a key that was named in [`super::Options::signals`].
    pub fn signal(&self, key: &str) -> Signal {
        self.0.signals.of(key)
    }

    /// The largest payload a publish may have, in bytes.
    pub(super) fn max_payload(&self) -> usize {
        self.0.line.options.max_payload
    }

    #[cfg(feature = "bridge")]
    pub(super) fn options(&self) -> &super::options::Options {
        &self.0.line.options
    }

    pub(super) fn probe_channel(&self) -> String {
        self.0.line.options.probe_channel()
    }

    pub(super) fn control_channel(&self) -> String {
        self.0.line.options.control_channel()
    }

    async fn send(&self, command: &Cmd) -> Result<Value, Error> {
        let name = commands::label(command);
        let mut call = self.begin(name, || commands::admit(command))?;
        let result = call.connection.send_packed_command(command).await;
        call.end(result.map_err(Error::from), Error::in_reply)
    }

    async fn send_all(
        &self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> Result<Vec<Value>, Error> {
        let admit = || pipeline.cmd_iter().try_for_each(commands::admit);
        let mut call = self.begin(Command::Pipeline, admit)?;
        let result = call.connection.send_packed_commands(pipeline, offset, count).await;
        call.end(result.map_err(Error::from), |values| values.iter().find_map(Error::in_reply))
    }

    /// Lets a command through, or refuses it before anything is sent.
    fn begin(
        &self,
        command: Command,
        admit: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Call<'_>, Error> {
        let refused = |error: Error| {
            CommandRefused { command, failure: error.reason() }.emit();
            error
        };
        admit().map_err(refused)?;
        let Inner { line, in_flight, .. } = &*self.0;
        let (connection, epoch) = line.take().map_err(refused)?;
        let limit = line.options.max_in_flight;
        let slot = Slot(in_flight, InFlight::enter());
        if in_flight.fetch_add(1, Ordering::Relaxed) >= limit {
            return Err(refused(Error::Overloaded { limit }));
        }
        Ok(Call { line, command, connection, epoch, started: Instant::now(), _slot: slot })
    }

    /// Commands whose answers are awaited.
    pub(super) fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed)
    }
}

/// A place among the commands in flight, free again when dropped.
struct Slot<'a>(&'a AtomicUsize, #[allow(dead_code, reason = "falls with the slot")] InFlight);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One command on its way.
struct Call<'a> {
    line: &'a Line,
    command: Command,
    connection: MultiplexedConnection,
    epoch: Epoch,
    started: Instant,
    _slot: Slot<'a>,
}

impl Call<'_> {
    /// Counts the command by its outcome, errors inside the answer included. Those stay in the
    /// answer, where redis-rs looks for them.
    fn end<T>(
        self,
        result: Result<T, Error>,
        error_in: impl FnOnce(&T) -> Option<Error>,
    ) -> Result<T, Error> {
        let elapsed = self.started.elapsed();
        let (failure, result) = match result {
            Ok(reply) => (error_in(&reply).and_then(|error| self.noted(&error)), Ok(reply)),
            Err(error) => {
                let error = match error {
                    Error::Timeout { .. } => Error::Timeout { after: elapsed },
                    other => other,
                };
                (self.noted(&error), Err(error))
            }
        };
        CommandFinished { command: self.command, elapsed, failure }.emit();
        result
    }

    /// What the error counts as, if it is a failure at all.
    fn noted(&self, error: &Error) -> Option<CommandFailure> {
        match error {
            // The first half of running a script that Redis does not know yet.
            Error::Server { code: Code::Noscript, .. } => return None,
            // This server was demoted; the dial will find out who is master now.
            Error::Server { code: Code::Readonly, .. } => {
                let reason = SocketClose::Readonly;
                self.line.hint(Request::Lost { epoch: self.epoch, reason });
            }
            _ => {}
        }
        Some(error.reason())
    }
}

impl ConnectionLike for Shared {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move { Ok(self.send(cmd).await?) })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move { Ok(self.send_all(cmd, offset, count).await?) })
    }

    fn get_db(&self) -> i64 {
        self.0.line.options.db
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("status", &self.status()).finish_non_exhaustive()
    }
}
