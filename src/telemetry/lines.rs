//! The way of log lines out of the process: a queue with a bound, and a thread that writes.
//!
//! A pipe that nobody reads holds up whoever writes to it. So nothing that works writes: a line
//! that finds the queue full is left out and counted.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::events::process::LogLineDropped;

/// Lines that may wait for their reader.
const WAITING: usize = 1_024;
/// How long the last lines of a process may take to leave.
pub(super) const LAST: Duration = Duration::from_secs(1);

/// Takes lines, one in each call of `write`, and never waits. Clones are the same.
#[derive(Clone)]
pub(super) struct Lines(SyncSender<Step>);

enum Step {
    Line(Box<[u8]>),
    /// Everything before it is written.
    Mark(SyncSender<()>),
}

impl Lines {
    /// Starts the thread that writes to `output`. It ends with the process.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub(super) fn to(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        std::thread::Builder::new().name("log".to_owned()).spawn(|| write(output, waiting))?;
        Ok(Self(lines))
    }

    /// Waits until all that was logged so far is written, for at most `within`. Blocks.
    pub(super) fn flush(&self, within: Duration) {
        let (mark, written) = sync_channel(1);
        // A queue that is full has a reader that does not read: its mark would come too late.
        if self.0.try_send(Step::Mark(mark)).is_ok() {
            // Late or not, the process ends now.
            let _ = written.recv_timeout(within);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Step::Line(line.into())).is_err() {
            LogLineDropped.emit();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(mut output: impl Write, waiting: Receiver<Step>) {
    for step in waiting {
        match step {
            // A reader that has left misses nothing it would read.
            Step::Line(line) => drop(output.write_all(&line)),
            Step::Mark(mark) => {
                drop(output.flush());
                // Whoever asked may have stopped waiting.
                let _ = mark.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    #[test]
    fn a_reader_that_stalls_holds_up_neither_lines_nor_the_end() {
        let (_unread, output) = UnixStream::pair().unwrap();
        let mut lines = Lines::to(output).unwrap();
        let start = Instant::now();
        for _ in 0..10 * WAITING {
            lines.write_all(&[b'x'; 1_000]).unwrap();
        }
        lines.flush(Duration::from_millis(10));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn what_was_logged_before_a_flush_is_written_after_it() {
        use std::io::Read;
        let (mut read, output) = UnixStream::pair().unwrap();
        let mut lines = Lines::to(output).unwrap();
        for _ in 0..100 {
            lines.write_all(b"line\n").unwrap();
        }
        Lines::flush(&lines, Duration::from_secs(10));
        read.set_nonblocking(true).unwrap();
        let mut written = [0; 1_000];
        assert_eq!(read.read(&mut written).unwrap(), 500);
    }
}
