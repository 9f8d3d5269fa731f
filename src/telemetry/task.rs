//! Tasks whose panics do not go unnoticed.

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::FutureExt;
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
    tokio::spawn(async move {
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
