//! The tasks a daemon cannot do without.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::telemetry::events::process::DrainStarted;
use crate::telemetry::task::spawn_on;

/// Starts tasks, and notices when one ends that should not: a restart is better than a process
/// that looks alive. Clones watch over the same.
#[derive(Clone, Default)]
pub(super) struct Tasks {
    one_ended: CancellationToken,
}

impl Tasks {
    /// Starts a task that lasts as long as the process. Dropping the handle lets it run on.
    pub(super) fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.spawn_on(&Handle::current(), name, task)
    }

    /// The same on another runtime.
    pub(super) fn spawn_on<F>(
        &self,
        runtime: &Handle,
        name: &'static str,
        task: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let end = self.one_ended.clone().drop_guard();
        spawn_on(runtime, name, async move {
            // Dropped with the task, so a panic shows as well.
            let _end = end;
            task.await
        })
    }

    /// Waits until the process is told to end, or one of the tasks has ended. Returns whether it
    /// was told.
    pub(super) async fn until_stop_or_end(&self, stop: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => true,
            () = self.one_ended.cancelled() => {
                DrainStarted { cause: "a task ended that should not" }.emit();
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test]
    async fn a_task_that_ends_or_panics_ends_the_process() {
        let stop = CancellationToken::new();
        let tasks = Tasks::default();
        tasks.spawn("steady", pending::<()>());
        tasks.spawn("ended", async {});
        assert!(!tasks.until_stop_or_end(&stop).await);
        let tasks = Tasks::default();
        tasks.spawn("broken", async { panic!("on purpose") });
        assert!(!tasks.until_stop_or_end(&stop).await);
    }

    #[tokio::test]
    async fn a_process_that_is_told_to_end_was_told() {
        let (tasks, stop) = (Tasks::default(), CancellationToken::new());
        tasks.spawn("steady", pending::<()>());
        stop.cancel();
        assert!(tasks.until_stop_or_end(&stop).await);
    }
}
