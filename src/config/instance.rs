//! The name a process goes by in Redis.

use super::word::Name;

/// The instance's name: the configured one with a suffix unique to this start, or the suffix
/// alone. `random` is 64 bits of the caller's randomness, drawn once at start.
///
/// Two processes that are configured with one name, or one process that starts again while
/// Redis still lists its former connections, are thereby told apart.
pub fn instance_name(configured: Option<&Name>, random: u64) -> String {
    match configured {
        Some(name) => format!("{name}-{random:016x}"),
        None => format!("{random:016x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Value;
    use super::*;

    #[test]
    fn every_start_has_its_own_name() {
        let name = Name::parse("web-1").ok();
        assert_eq!(instance_name(name.as_ref(), 0x9f2c), "web-1-0000000000009f2c");
        assert_eq!(instance_name(None, u64::MAX), "ffffffffffffffff");
    }
}
