//! What a process costs, read from outside.

use std::fs;

/// CPU time of all threads of a process so far, in nanoseconds.
pub fn cpu(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let time = |thread: fs::DirEntry| -> Option<u64> {
        // A thread may end between the two looks.
        let line = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    threads.filter_map(|thread| time(thread.ok()?)).sum()
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1024
}
