//! The scripts: a change of a chain and of the version are one. The number in a file's name
//! is the number of its KEYS.

use crate::conn::scripts;

scripts! {
    /// Stores a chain.
    PUT = "put-2" + ["advance"];
    /// Removes a chain.
    DELETE = "delete-2" + ["advance"];
}
