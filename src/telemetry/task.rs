//! Tasks whose panics do not go unnoticed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::events::process::TaskPanicked;

/// Spawns a task on the current runtime; a panic is counted and logged under `name`, and then
/// reaches the [`JoinHandle`] as ever. Dropping the handle lets the task run on.
///
/// # Panics
/// Outside of a Tokio runtime.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    spawn_on(&Handle::current(), name, future)
}

/// Spawns a task as [`spawn`] does, on another runtime.
pub fn spawn_on<F>(runtime: &Handle, name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    runtime.spawn(async move {
        // What the task held is dropped with it, so nobody sees it half changed.
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(output) => output,
            Err(panic) => {
                TaskPanicked { task: name }.emit();
                resume_unwind(panic)
            }
        }
    })
}

/// Runs what computes or blocks on the threads kept for that; a panic in it is counted and
/// logged under `name`. Nothing when it panicked, or when the runtime ended before it began.
///
/// Cancelling leaves it to run on; nobody hears how it ends.
///
/// # Panics
/// Outside of a Tokio runtime.
pub async fn spawn_blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let counted = move || match catch_unwind(AssertUnwindSafe(work)) {
        Ok(output) => Some(output),
        Err(_text_went_to_standard_error) => {
            TaskPanicked { task: name }.emit();
            None
        }
    };
    tokio::task::spawn_blocking(counted).await.ok().flatten()
}
