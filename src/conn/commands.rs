//! Which commands there are, as metrics name them, and which may not use a shared connection.

use redis::{Arg, Cmd};

use super::error::Error;
use crate::model::Command;

/// Longer names are nobody's command.
const LONGEST: usize = 20;

/// The metric label of a command, without allocating.
pub(super) fn label(command: &Cmd) -> Command {
    with_name(command, |name| match name {
        b"PUBLISH" | b"SPUBLISH" => Command::Publish,
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" | b"SCRIPT" | b"FCALL" => Command::Eval,
        b"XREADGROUP" | b"XREAD" => Command::Xreadgroup,
        b"XADD" => Command::Xadd,
        b"XINFO" | b"XLEN" | b"XPENDING" | b"XRANGE" | b"XREVRANGE" => Command::Xinfo,
        b"XGROUP" => Command::Xgroup,
        b"GET" | b"MGET" => Command::Get,
        b"SET" => Command::Set,
        b"HGET" | b"HGETALL" | b"HMGET" => Command::Hget,
        b"HSET" | b"HDEL" => Command::Hset,
        b"SUBSCRIBE" | b"UNSUBSCRIBE" | b"PSUBSCRIBE" | b"PUNSUBSCRIBE" => Command::Subscribe,
        b"PING" => Command::Ping,
        b"CLIENT" => Command::Client,
        b"INFO" | b"ROLE" => Command::Info,
        _ => Command::Other,
    })
}

/// Refuses what would block, bind or confuse a connection that others share.
///
/// # Errors
/// [`Error::Denied`] with the command's name and what it would do.
pub(super) fn admit(command: &Cmd) -> Result<(), Error> {
    match with_name(command, |name| denied(name, command)) {
        Some((command, why)) => Err(Error::Denied { command, why }),
        None => Ok(()),
    }
}

/// Why commands are denied, and which: each by its name, and by an option where only that makes it
/// so.
const DENIED: &[(&str, &[&str])] = &[
    (
        "it blocks everybody else's commands",
        &[
            "BLPOP",
            "BRPOP",
            "BRPOPLPUSH",
            "BLMOVE",
            "BLMPOP",
            "BZPOPMIN",
            "BZPOPMAX",
            "BZMPOP",
            "WAIT",
            "WAITAOF",
            "XREAD BLOCK",
            "XREADGROUP BLOCK",
        ],
    ),
    (
        "subscriptions belong to the Subscriber",
        &["SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE"],
    ),
    (
        "others' commands would end up in it; use an atomic pipeline or a script",
        &["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"],
    ),
    (
        "it changes the connection for everybody",
        &[
            "MONITOR",
            "SELECT",
            "RESET",
            "QUIT",
            "HELLO",
            "AUTH",
            "READONLY",
            "SYNC",
            "PSYNC",
            "CLIENT REPLY",
            "CLIENT SETNAME",
            "CLIENT TRACKING",
            "CLIENT CACHING",
        ],
    ),
];

fn denied(name: &[u8], command: &Cmd) -> Option<(&'static str, &'static str)> {
    let is_it = |denied: &&&str| match denied.as_bytes().strip_prefix(name) {
        Some([]) => true,
        Some([b' ', option @ ..]) => asks(command, option),
        _ => false,
    };
    DENIED.iter().find_map(|(why, commands)| Some((*commands.iter().find(is_it)?, *why)))
}

/// Whether an option stands among the arguments before the keys and values begin.
fn asks(command: &Cmd, option: &[u8]) -> bool {
    command
        .args_iter()
        .skip(1)
        .map_while(|argument| match argument {
            Arg::Simple(word) if !word.eq_ignore_ascii_case(b"STREAMS") => Some(word),
            _ => None,
        })
        .any(|word| word.eq_ignore_ascii_case(option))
}

fn with_name<T>(command: &Cmd, look: impl FnOnce(&[u8]) -> T) -> T {
    let mut upper = [0_u8; LONGEST];
    match command.args_iter().next() {
        Some(Arg::Simple(name)) if name.len() <= LONGEST => {
            let upper = &mut upper[..name.len()];
            upper.copy_from_slice(name);
            upper.make_ascii_uppercase();
            look(upper)
        }
        _ => look(b""),
    }
}

#[cfg(test)]
mod tests {
    use redis::cmd;

    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_unknown_ones_are_other() {
        assert_eq!(label(&cmd("publish")), Command::Publish);
        assert_eq!(label(&cmd("EvalSha")), Command::Eval);
        assert_eq!(label(&cmd("FLUSHALL")), Command::Other);
        assert_eq!(label(&cmd("a-name-no-redis-command-has-ever-had")), Command::Other);
        assert_eq!(label(&Cmd::new()), Command::Other);
    }

    #[test]
    fn what_blocks_or_binds_is_refused_and_what_merely_looks_like_it_is_not() {
        for refused in ["blpop", "SUBSCRIBE", "Monitor", "SELECT", "WATCH", "MULTI", "WAIT"] {
            assert!(admit(&cmd(refused)).is_err(), "{refused}");
        }
        let read = |option: &str| {
            let mut read = cmd("XREADGROUP");
            read.arg("GROUP")
                .arg("g")
                .arg("c")
                .arg(option)
                .arg(1)
                .arg("STREAMS")
                .arg("block")
                .arg(">");
            read
        };
        assert!(matches!(
            admit(&read("block")),
            Err(Error::Denied { command: "XREADGROUP BLOCK", .. })
        ));
        assert!(admit(&read("COUNT")).is_ok(), "a stream may be called block");
        assert!(admit(cmd("CLIENT").arg("LIST")).is_ok());
        assert!(admit(cmd("CLIENT").arg("reply").arg("OFF")).is_err());
        assert!(admit(cmd("GET").arg("SUBSCRIBE")).is_ok());
    }
}
