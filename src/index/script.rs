//! The scripts: a change of a chain and of the version are one. The number in a file's name
//! is the number of its KEYS.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(include_str!("lua/parts/advance.lua"), include_str!($file)))
        })
    };
}

/// Stores a chain.
pub(super) static PUT: LazyLock<Script> = script!("lua/put-2.lua");
/// Removes a chain.
pub(super) static DELETE: LazyLock<Script> = script!("lua/delete-2.lua");

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_in_a_scripts_name_is_its_number_of_keys() {
        for text in [include_str!("lua/put-2.lua"), include_str!("lua/delete-2.lua")] {
            assert!(text.contains("KEYS[2]") && !text.contains("KEYS[3]"));
        }
    }
}
