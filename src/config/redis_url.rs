//! The URL of Redis as a setting.

use super::value::Value;
use crate::model::{Fault, RedisEndpoint};

/// What the operator is told about such a URL.
pub(super) const PASSWORD_ON_COMMAND_LINE: &str = "--redis-url holds a password that every user \
    of this machine can see (`ps`); use REDIS_URL or the configuration file";

/// Whether a URL can be read and holds a password.
pub(super) fn holds_password(text: &str) -> bool {
    RedisEndpoint::parse(text).is_ok_and(|endpoint| endpoint.password.is_some())
}

impl Value for RedisEndpoint {
    const FORM: &'static str = "URL";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|fault: Fault| fault.message)
    }

    fn show(text: &str) -> String {
        Self::parse(text).map_or("(not readable)".into(), |endpoint| endpoint.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password_and_one_that_cannot_be_read_not_at_all() {
        assert_eq!(RedisEndpoint::show("redis://:hunter2@h"), "redis://:***@h:6379");
        assert_eq!(RedisEndpoint::show("redis://:hunter2@h:port"), "(not readable)");
    }
}
