//! Waiting for something to be seen, with a deadline.

use std::fmt::Display;
use std::time::{Duration, Instant};

use super::DEADLINE;

/// Looks every 10 ms until `probe` says `Ok`; panics after [`DEADLINE`] with what it saw last.
///
/// ```ignore
/// let count = eventually("two clients", async || match house.clients().await {
///     2 => Ok(2),
///     other => Err(other),
/// }).await;
/// ```
pub async fn eventually<T, E: Display>(what: &str, probe: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(DEADLINE, what, probe).await
}

/// The same with a deadline of its own.
pub async fn within<T, E: Display>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    // The machine's clock, not tokio's: the programs we watch do not live by a paused one.
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(seen) => return seen,
            Err(instead) if started.elapsed() > deadline => {
                panic!("not within {deadline:?}: {what}\n  seen instead: {instead}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
