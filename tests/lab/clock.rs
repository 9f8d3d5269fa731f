//! Wall clocks that can be moved: that of Redis, and one for each place in the fleet.

use std::ffi::OsString;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::fleet::Place;
use crate::lab::Lab;

/// Whose clock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// That of Redis, by which deadlines of jobs and positions in the history are told.
    Redis,
    /// That of whatever process is in this place.
    Process(Place),
}

/// A clock that is wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockFault {
    /// Which.
    pub whose: Whose,
    /// By so many milliseconds it is ahead, or behind if negative.
    pub ms: i64,
}

/// The clocks, and what makes a program read them.
pub struct Clocks {
    directory: TempDir,
}

impl Clocks {
    /// All of them right.
    pub fn right() -> Clocks {
        let directory = tempfile::Builder::new().prefix("clocks-").tempdir().unwrap();
        let clocks = Clocks { directory };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/clock.c");
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-shared", "-fPIC", "-o"]).arg(clocks.library()).arg(source);
        let built = cc.output().expect("cc; type: sudo apt-get install gcc libc6-dev");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Place::all().map(Whose::Process).chain([Whose::Redis]).for_each(|whose| {
            std::fs::write(clocks.file(whose), 0i64.to_ne_bytes()).unwrap();
        });
        clocks
    }

    /// What to put into the environment of a program that shall read this clock.
    pub fn variables(&self, whose: Whose) -> [(&'static str, OsString); 2] {
        [("LD_PRELOAD", self.library().into()), ("LAB_CLOCK", self.file(whose).into())]
    }

    /// Makes it so many milliseconds ahead, at once.
    fn set(&self, whose: Whose, ms: i64) {
        let file = std::fs::File::options().write(true).open(self.file(whose)).unwrap();
        file.write_all_at(&ms.to_ne_bytes(), 0).unwrap();
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("clock.so")
    }

    fn file(&self, whose: Whose) -> PathBuf {
        self.directory.path().join(format!("{whose:?}"))
    }
}

/// Lets a clock be wrong, and sets it right.
pub async fn befall(lab: &Lab, fault: ClockFault, lasts: Duration) {
    block_in_place(|| lab.clocks.set(fault.whose, fault.ms));
    sleep(lasts).await;
    block_in_place(|| lab.clocks.set(fault.whose, 0));
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::support::redis::Redis;

    #[tokio::test]
    async fn a_redis_reads_the_clock_that_it_is_given() {
        let clocks = Clocks::right();
        let redis = clocks.variables(Whose::Redis);
        let redis =
            redis.into_iter().fold(Redis::plan(), |plan, (name, value)| plan.env(name, value));
        let redis = redis.start();
        let ahead = || {
            let right = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            redis.cli(&["TIME"]).texts()[0].parse::<i64>().unwrap() - right as i64
        };
        for hours in [0, 1, -1] {
            clocks.set(Whose::Redis, hours * 3_600_000);
            assert!((ahead() - hours * 3600).abs() <= 2, "{hours} hours, {} s", ahead());
        }
    }
}
