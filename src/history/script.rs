//! The scripts: keeping and publishing are one step, and a page is read in one. The number in a
//! file's name is the number of its KEYS.

use std::sync::LazyLock;

use redis::Script;

use crate::conn::Error;
use crate::model::Position;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("lua/head.lua"), include_str!($file))))
    };
}

/// Says where the history is.
pub(super) static HEAD: LazyLock<Script> = script!("lua/head-1.lua");
/// Keeps and publishes.
pub(super) static PUBLISH: LazyLock<Script> = script!("lua/publish-3.lua");
/// Reads a page.
pub(super) static READ: LazyLock<Script> = script!("lua/read-2.lua");

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

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_in_a_scripts_name_is_its_number_of_keys() {
        for (keys, text) in [
            (1, include_str!("lua/head-1.lua")),
            (3, include_str!("lua/publish-3.lua")),
            (2, include_str!("lua/read-2.lua")),
        ] {
            let uses = |n: usize| text.contains(&format!("KEYS[{n}]"));
            assert!((1..=keys).all(uses) && !uses(keys + 1), "{keys}");
        }
    }
}
