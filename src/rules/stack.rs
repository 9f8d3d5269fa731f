//! A deep stack for what recurses by its input.

use std::thread;

/// The parser and the interpreter recurse: without optimisation, one nested bracket costs the
/// parser up to 170 KiB of stack and one level of the syntax tree costs the interpreter up to
/// 65 KiB (measured). Thirty brackets, or sixty `+`, end a process with the usual 2 MiB.
/// Only the pages that are touched count as memory.
const DEEP_STACK_BYTES: usize = 64 * 1024 * 1024;

/// Runs some work on a thread of its own with a deep stack, and waits for it. `None` if the
/// system gives no thread or the work panicked.
pub(super) fn on_a_deep_stack<R: Send>(work: impl FnOnce() -> R + Send) -> Option<R> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("rules".to_owned())
            .stack_size(DEEP_STACK_BYTES)
            .spawn_scoped(scope, work)
            .ok()?
            .join()
            .ok()
    })
}
