//! How the rooms above declare their scripts.

/// Declares scripts from the files of a room: each is `lua/<name>-<number of its KEYS>.lua`, behind
/// the parts that it names, `lua/parts/<part>.lua`. A script is sent by its hash; redis-rs loads it
/// when Redis does not know it. A test holds each name to the keys that the script uses.
macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal + [$($part:literal),*];)+) => {
        $($(#[$doc])* pub(super) static $name: std::sync::LazyLock<redis::Script> =
            std::sync::LazyLock::new(|| redis::Script::new(concat!(
                $(include_str!(concat!("lua/parts/", $part, ".lua")),)*
                include_str!(concat!("lua/", $file, ".lua"))
            )));)+

        #[cfg(test)]
        mod scripts {
            #[test]
            fn the_number_in_a_scripts_name_is_its_number_of_keys() {
                for (name, text) in
                    [$(($file, include_str!(concat!("lua/", $file, ".lua"))),)+]
                {
                    let keys: usize = name.rsplit_once('-').unwrap().1.parse().unwrap();
                    let uses = |n: usize| text.contains(&format!("KEYS[{n}]"));
                    assert!((1..=keys).all(uses) && !(keys + 1..20).any(uses), "{name}");
                }
            }

            #[test]
            fn no_script_is_another() {
                let all = [$(super::$name.get_hash(),)+];
                let different = std::collections::HashSet::from(all);
                assert_eq!(different.len(), all.len());
            }
        }
    };
}
pub(crate) use scripts;
