//! The first words on a new socket: log in and name it in one command, then ask whether the
//! server can be worked with.

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Value, cmd};
use tokio::io::{AsyncRead, AsyncWrite};

use super::dial::{DialError, ask};
use super::error::{Code, Error};
use super::options::Options;
use crate::model::ConnectFailure;

/// The oldest Redis that has everything we use (XAUTOCLAIM's three-part answer, XINFO's lag).
const OLDEST_REDIS: u32 = 7;

/// `HELLO 3 AUTH user password SETNAME name`, and what the answer says of the server. Gives the
/// number by which Redis knows this client.
pub(super) async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    options: &Options,
    name: &str,
) -> Result<Option<u64>, DialError> {
    let mut hello = cmd("HELLO");
    hello.arg(3);
    if options.username.is_some() || options.password.is_some() {
        let user = options.username.as_deref().unwrap_or("default");
        // A user may be `nopass`: any password will do, and without AUTH one would be `default`.
        let password = options.password.as_ref().map_or("", |password| password.expose());
        hello.arg("AUTH").arg(user).arg(password);
    }
    hello.arg("SETNAME").arg(name);
    let answer = ask(stream, &hello).await?;
    if let Value::ServerError(error) = &answer {
        return Err(refused(error.code(), error.details().unwrap_or_default()));
    }
    understood(&answer)
}

/// What an error in answer to HELLO means.
fn refused(code: &str, details: &str) -> DialError {
    use ConnectFailure::{Auth, Loading, Maxclients, Noperm, Protocol};
    match code {
        "WRONGPASS" | "NOAUTH" => {
            DialError::new(Auth, format!("{code}: user or password is wrong"))
        }
        "NOPERM" => DialError::new(Noperm, "NOPERM: the user may not use HELLO"),
        "LOADING" => DialError::new(Loading, "redis is loading its data"),
        "ERR" if details.starts_with("max number of clients") => {
            DialError::new(Maxclients, "redis has reached its maxclients")
        }
        "ERR" if details.starts_with("AUTH ") || details.contains("without any password") => {
            DialError::new(Auth, "redis wants no password, or AUTH was malformed")
        }
        "NOPROTO" | "ERR" => DialError::new(
            Protocol,
            "this server does not speak RESP3: Redis 7.0 or newer, or Valkey, is needed",
        ),
        _ => DialError::new(ConnectFailure::Other, code.to_owned()),
    }
}

fn understood(answer: &Value) -> Result<Option<u64>, DialError> {
    let fields =
        std::collections::HashMap::<String, Value>::from_redis_value_ref(answer).map_err(|_| {
            DialError::new(ConnectFailure::Protocol, "the answer to HELLO is not RESP3")
        })?;
    let text = |key| fields.get(key).and_then(|value| String::from_redis_value_ref(value).ok());
    let version = text("version").unwrap_or_default();
    let major: u32 = version.split('.').next().and_then(|part| part.parse().ok()).unwrap_or(0);
    if major < OLDEST_REDIS {
        let detail = format!("redis {version} is too old: 7.0 or newer, or Valkey, is needed");
        return Err(DialError::new(ConnectFailure::Protocol, detail));
    }
    Ok(fields.get("id").and_then(|id| u64::from_redis_value_ref(id).ok()))
}

/// PING finds LOADING, ROLE finds a replica. A user who may not ask for the role is taken at
/// its word: the first READONLY answer tells the truth.
pub(super) async fn check(
    mut connection: MultiplexedConnection,
    any_role: bool,
) -> Result<(), DialError> {
    let pong = answer(&mut connection, "PING").await;
    pong?;
    if any_role {
        return Ok(());
    }
    match answer(&mut connection, "ROLE").await {
        Ok(Value::Array(parts)) => {
            let role = parts.first().and_then(|part| String::from_redis_value_ref(part).ok());
            match role.as_deref() {
                Some("master") => Ok(()),
                role => Err(DialError::new(
                    ConnectFailure::NotMaster,
                    format!("this server is a {}", role.unwrap_or("stranger")),
                )),
            }
        }
        Ok(_) => Err(DialError::new(ConnectFailure::Protocol, "the answer to ROLE is not a list")),
        Err(Error::Server { code: Code::Noperm, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn answer(connection: &mut MultiplexedConnection, name: &str) -> Result<Value, Error> {
    let value = connection.send_packed_command(&cmd(name)).await?;
    Error::in_reply(&value).map_or(Ok(value), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_old_server_is_refused_in_words() {
        let hello = |version: &str| {
            let pair = (Value::BulkString("version".into()), Value::BulkString(version.into()));
            understood(&Value::Map(vec![pair]))
        };
        assert_eq!(hello("7.0.15").expect("new enough"), None);
        assert!(hello("9.1.2").is_ok());
        let error = hello("6.2.14").expect_err("6 is too old");
        assert!(error.detail.contains("6.2.14") && error.detail.contains("7.0 or newer"));
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let reason = |code, details| refused(code, details).failure;
        assert_eq!(reason("WRONGPASS", "invalid username-password pair"), ConnectFailure::Auth);
        assert_eq!(reason("NOAUTH", "HELLO must be called"), ConnectFailure::Auth);
        assert_eq!(reason("ERR", "max number of clients reached"), ConnectFailure::Maxclients);
        assert_eq!(reason("ERR", "unknown command 'HELLO'"), ConnectFailure::Protocol);
    }

    proptest! {
        #[test]
        fn whatever_greets_us_is_judged_by_its_major_version(major in 0u16..12, rest in "(\\.[0-9]{0,3}){0,2}", junk: Vec<u8>) {
            let hello = |version: Vec<u8>| {
                understood(&Value::Map(vec![(Value::BulkString("version".into()), Value::BulkString(version))]))
            };
            let version = format!("{major}{rest}").into_bytes();
            prop_assert_eq!(hello(version).is_ok(), u32::from(major) >= OLDEST_REDIS);
            for strange in [Value::BulkString(junk.clone()), Value::Array(vec![Value::BulkString(junk)]), Value::Nil] {
                prop_assert!(understood(&strange).is_err());
            }
        }
    }
}
