//! The scripts: keeping and publishing are one step, and a page is read in one. The number in a
//! file's name is the number of its KEYS.

use crate::conn::{Error, scripts};
use crate::model::Position;

scripts! {
    /// Says where the history is.
    HEAD = "head-1" + ["head"];
    /// Keeps and publishes.
    PUBLISH = "publish-3" + ["head"];
    /// Reads a page.
    READ = "read-2" + ["head"];
}

/// A name for a history that begins, should it be the first: nobody has had it before.
pub(super) fn new_epoch() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// The position that a script answered.
pub(super) fn position(epoch: &str, at: u64) -> Result<Position, Error> {
    format!("{epoch}-{at}")
        .parse()
        .map_err(|_| Error::Other("the head of the history cannot be read; delete that key".into()))
}
