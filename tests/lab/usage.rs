//! What a process takes, so that what is leaked a little with every fault is seen.

use crate::clients::Client;
use crate::fleet::Member;
use crate::support::metrics::Page;

/// Connections of callers come and go, and an allocator keeps what it may need again.
const FILES_MORE: usize = 24;
const TASKS_MORE: usize = 24;
const MEMORY_MORE: usize = 32 << 20;

/// Memory, open files and tasks of one process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident bytes.
    pub memory: usize,
    /// Open files.
    pub files: usize,
    /// Tasks of its runtimes that have not ended.
    pub tasks: usize,
}

impl Usage {
    /// What this process takes now, and says of its tasks on its page.
    pub fn of(member: &Member, page: &Page) -> Usage {
        let of = format!("/proc/{}", member.daemon.pid());
        let sizes = std::fs::read_to_string(format!("{of}/statm")).expect("a process that runs");
        let pages: usize = sizes.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("statm");
        let files = std::fs::read_dir(format!("{of}/fd")).expect("a process that runs").count();
        let tasks = page.sum("trunkline_runtime_alive_tasks", &[]) as usize;
        Usage { memory: pages * rustix::param::page_size(), files, tasks }
    }

    /// What has grown beyond reason since `before`. All clients may have come to this process.
    pub fn grown_since(&self, before: &Usage, clients: &[Client]) -> Vec<String> {
        let limits = [
            ("open files", self.files, before.files, before.files + FILES_MORE + clients.len()),
            ("tasks", self.tasks, before.tasks, before.tasks + TASKS_MORE + 2 * clients.len()),
            ("bytes of memory", self.memory, before.memory, before.memory * 3 / 2 + MEMORY_MORE),
        ];
        let grown = limits.into_iter().filter(|&(_, now, _, limit)| now > limit);
        grown
            .map(|(what, now, then, limit)| format!("{now} {what}, {then} before; at most {limit}"))
            .collect()
    }
}
