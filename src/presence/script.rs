//! The scripts: what a server says of its clients changes in one step. The number in a file's name
//! is the number of its KEYS.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("lua/time.lua"), include_str!($file))))
    };
}

/// Writes what has changed, and renews.
pub(super) static CHANGE: LazyLock<Script> = script!("lua/change-2.lua");
/// Writes everything.
pub(super) static REPLACE: LazyLock<Script> = script!("lua/replace-3.lua");
/// Takes everything away.
pub(super) static LEAVE: LazyLock<Script> = script!("lua/leave-3.lua");
/// Counts.
pub(super) static COUNT: LazyLock<Script> = script!("lua/count-1.lua");

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_in_a_scripts_name_is_its_number_of_keys() {
        for (keys, text) in [
            (2, include_str!("lua/change-2.lua")),
            (3, include_str!("lua/replace-3.lua")),
            (3, include_str!("lua/leave-3.lua")),
            (1, include_str!("lua/count-1.lua")),
        ] {
            let uses = |n: usize| text.contains(&format!("KEYS[{n}]"));
            assert!((1..=keys).all(uses) && !uses(keys + 1), "{keys}");
        }
    }
}
