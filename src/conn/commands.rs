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

/// What is denied, and why: by its name, and by an option where only that makes it so. A `match`,
/// since every command comes by here, and what is allowed is told by a few of its bytes.
fn denied(name: &[u8], command: &Cmd) -> Option<(String, &'static str)> {
    const BLOCKS: &str = "it blocks everybody else's commands";
    const CHANGES: &str = "it changes the connection for everybody";
    let (options, why): (&[&str], _) = match name {
        b"BLPOP" | b"BRPOP" | b"BRPOPLPUSH" | b"BLMOVE" | b"BLMPOP" | b"BZPOPMIN" | b"BZPOPMAX"
        | b"BZMPOP" | b"WAIT" | b"WAITAOF" => (&[], BLOCKS),
        b"XREAD" | b"XREADGROUP" => (&["BLOCK"], BLOCKS),
        b"SUBSCRIBE" | b"UNSUBSCRIBE" | b"PSUBSCRIBE" | b"PUNSUBSCRIBE" | b"SSUBSCRIBE"
        | b"SUNSUBSCRIBE" => (&[], "subscriptions belong to the Subscriber"),
        b"MULTI" | b"EXEC" | b"DISCARD" | b"WATCH" | b"UNWATCH" => {
            (&[], "others' commands would end up in it; use an atomic pipeline or a script")
        }
        b"MONITOR" | b"SELECT" | b"RESET" | b"QUIT" | b"HELLO" | b"AUTH" | b"READONLY"
        | b"SYNC" | b"PSYNC" => (&[], CHANGES),
        b"CLIENT" => (&["REPLY", "SETNAME", "TRACKING", "CACHING"], CHANGES),
        _ => return None,
    };
    let asked = options.iter().find(|option| asks(command, option.as_bytes()));
    let name = String::from_utf8_lossy(name);
    match asked {
        Some(option) => Some((format!("{name} {option}"), why)),
        None => options.is_empty().then(|| (name.into_owned(), why)),
    }
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
            Err(Error::Denied { command, .. }) if command == "XREADGROUP BLOCK"
        ));
        assert!(admit(&read("COUNT")).is_ok(), "a stream may be called block");
        assert!(admit(cmd("CLIENT").arg("LIST")).is_ok());
        assert!(admit(cmd("CLIENT").arg("reply").arg("OFF")).is_err());
        assert!(admit(cmd("GET").arg("SUBSCRIBE")).is_ok());
    }
}
