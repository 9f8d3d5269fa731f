//! The scripts: what a server says of its clients changes in one step. The number in a file's name
//! is the number of its KEYS.

use crate::conn::scripts;

scripts! {
    /// Writes what has changed, and renews.
    CHANGE = "change-2" + ["time"];
    /// Writes everything.
    REPLACE = "replace-3" + ["time"];
    /// Takes everything away.
    LEAVE = "leave-3" + [];
    /// Counts.
    COUNT = "count-1" + ["time"];
}
