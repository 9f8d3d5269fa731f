//! The doctor on a terminal.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::kept;
use crate::support::children::Process;
use crate::support::eventually::eventually;
use crate::support::process::configures;
use crate::support::redis::Redis;

/// A terminal with one program on it.
struct Terminal {
    process: Process,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn of(columns: u16, rows: u16, redis: &Redis, arguments: &[&str], no_color: &str) -> Terminal {
        let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&own).unwrap();
        unlockpt(&own).unwrap();
        tcsetwinsize(&own, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let name = ptsname(&own, Vec::new()).unwrap();
        let place = OsStr::from_bytes(name.as_bytes());
        let its = OpenOptions::new().read(true).write(true).open(place).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| configures(name)) {
            command.env_remove(name);
        }
        command.arg("doctor").args(arguments).env("REDIS_URL", redis.url());
        command.env("NO_COLOR", no_color).stdin(Stdio::null());
        command.stdout(its.try_clone().unwrap()).stderr(its);
        let process = Process::start(command).unwrap();
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let (mut screen, seen) = (File::from(own), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            // The last one to close its end makes it an error.
            while let Ok(bytes @ 1..) = screen.read(&mut some) {
                seen.lock().unwrap().extend_from_slice(&some[..bytes]);
            }
        });
        Terminal { process, shown }
    }

    fn text(&self) -> String {
        String::from_utf8(self.shown.lock().unwrap().clone()).unwrap()
    }

    async fn shows(&self, what: &str, times: usize) -> String {
        eventually(&format!("{times} times {what:?} on the terminal"), async || {
            let text = self.text();
            if text.matches(what).count() >= times { Ok(text) } else { Err(text) }
        })
        .await
    }

    async fn exit(&mut self) -> Option<i32> {
        let process = &mut self.process;
        eventually("it ends", async || process.exited().ok_or("it runs")).await.code()
    }
}

/// A text without what steers a terminal.
fn bare(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once(|c: char| c.is_alphabetic()).unwrap().1)
}

#[tokio::test]
async fn lines_are_as_wide_as_the_terminal_and_severities_have_colours() {
    let redis = kept().argument("tcp-keepalive", "0").start();
    let mut terminal = Terminal::of(60, 50, &redis, &[], "");
    assert_eq!(terminal.exit().await, Some(0));
    let text = terminal.shows("verdict: healthy", 1).await;
    assert!(text.contains("\u{1b}[32mok") && text.contains("\u{1b}[33mwarn"), "{text}");
    let bare = bare(&text);
    let prose = |line: &&str| !line.trim_start().starts_with(['$', '#', '-']);
    // Below the head.
    let long: Vec<_> = bare
        .lines()
        .skip(1)
        .filter(prose)
        .filter(|line| line.starts_with("  ") && line.chars().count() > 60)
        .collect();
    assert_eq!(long, [""; 0]);
}

#[tokio::test]
async fn no_colours_where_none_are_wanted() {
    let redis = kept().start();
    let mut terminal = Terminal::of(100, 50, &redis, &[], "1");
    assert_eq!(terminal.exit().await, Some(0));
    let text = terminal.shows("verdict: healthy", 1).await;
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn watching_redraws_in_place_and_gives_the_cursor_back() {
    let redis = kept().start();
    let mut terminal = Terminal::of(100, 12, &redis, &["--watch", "200ms"], "");
    let text = terminal.shows("verdict: ", 3).await;
    let frames: Vec<_> = text.split("\u{1b}[H\u{1b}[J").skip(1).collect();
    assert!(frames.len() >= 3, "each is drawn over the one before: {text}");
    let whole = frames[1].lines().count();
    assert!(whole <= 12, "{whole} lines on a terminal that has 12");
    assert!(frames[1].contains("trunkline doctor: "), "the head stays: {}", frames[1]);
    assert!(text.contains("\u{1b}[?25l") && !text.contains("\u{1b}[?25h"));
    terminal.process.signal(Signal::INT);
    assert_eq!(terminal.exit().await, Some(0));
    let text = terminal.shows("\u{1b}[?25h", 1).await;
    assert!(text.ends_with("\u{1b}[?25h"), "nothing comes after it");
}
