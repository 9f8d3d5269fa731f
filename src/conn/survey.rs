//! What Redis says of itself, to somebody who only looks: typed answers, and a typed reason for
//! each that was not given.
//!
//! Every question is asked by itself, since an ACL or a hosted Redis may refuse any of them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Value, cmd};

use super::audit::{HEARTBEATS_YOUNG, Name, living, parse_clients};
use super::error::{Code, Error};
use super::shared::Shared;
use crate::model::Role;

/// What Redis answered to one question, or why it did not.
pub(crate) type Answer<T> = Result<T, Refusal>;

/// Why a question has no answer.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The command, as it is typed.
    pub(crate) command: &'static str,
    /// What went wrong.
    pub(crate) error: Error,
}

impl Refusal {
    /// The right that would help, as an ACL line has it; `None` where it is not about rights.
    pub(crate) fn right(&self) -> Option<String> {
        let refused = matches!(&self.error, Error::Server { code: Code::Noperm, .. });
        refused.then(|| format!("+{}", self.command.to_lowercase().replace(' ', "|")))
    }
}

/// Asks one question. `command` is its name as it is typed, with its second word if it has one.
pub(crate) async fn ask<T: FromRedisValue>(
    shared: &Shared,
    command: &'static str,
    question: &Cmd,
) -> Answer<T> {
    let refusal = |error| Refusal { command, error };
    let answer = shared.call(question).await.map_err(refusal)?;
    T::from_redis_value(answer).map_err(|error| refusal(Error::Other(error.to_string())))
}

/// The same for a command and what follows it.
pub(crate) async fn ask_words<T: FromRedisValue>(
    shared: &Shared,
    command: &'static str,
    rest: &[&str],
) -> Answer<T> {
    ask(shared, command, &spelled(command.split(' ').chain(rest.iter().copied()))).await
}

fn spelled<'a>(mut words: impl Iterator<Item = &'a str>) -> Cmd {
    let mut command = cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        command.arg(word);
    });
    command
}

/// The answer to INFO.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info(HashMap<String, String>);

impl Info {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(pairs.map(|(field, value)| (field.to_owned(), value.to_owned())).collect())
    }

    /// A field, if this Redis has it.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// A field that is a number.
    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        self.text(field)?.parse().ok()
    }
}

/// One client of Redis.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    /// Its end as Redis sees it.
    pub(crate) addr: String,
    /// Empty if it gave none.
    pub(crate) name: String,
    /// Whose it is, if it is named as connections of this namespace are.
    pub(crate) owner: Option<ClientOwner>,
    pub(crate) age: Duration,
    pub(crate) idle: Duration,
    /// Its last command.
    pub(crate) command: String,
    /// Who it is logged in as.
    pub(crate) user: String,
    /// Bytes that wait for it to read.
    pub(crate) output: u64,
}

/// What the name of a connection says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientOwner {
    pub(crate) component: String,
    pub(crate) instance: String,
    pub(crate) role: Role,
    pub(crate) generation: u64,
}

/// The clients of an answer to CLIENT LIST.
fn clients(text: &str, namespace: &str) -> Vec<Client> {
    let owner = |name| {
        let name = Name::parse(name).filter(|name| name.namespace == namespace)?;
        Some(ClientOwner {
            component: name.component.to_owned(),
            instance: name.instance.to_owned(),
            role: name.role,
            generation: name.generation,
        })
    };
    let owned = parse_clients(text).map(|client| Client {
        id: client.id,
        addr: client.addr.to_owned(),
        name: client.name.to_owned(),
        owner: owner(client.name),
        age: client.age,
        idle: client.idle,
        command: client.command.to_owned(),
        user: client.user.to_owned(),
        output: client.output,
    });
    owned.collect()
}

/// What a user lacks for one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The command itself.
    Command,
    /// One of its keys.
    Key(String),
    /// Its channel.
    Channel(String),
    /// Redis says so in other words.
    Other(String),
}

/// Whether a user may do something, by ACL DRYRUN: nothing is executed.
pub(crate) async fn lacks(shared: &Shared, user: &str, words: &[&str]) -> Answer<Option<Lack>> {
    const NAME: &str = "ACL DRYRUN";
    let question = spelled(["ACL", "DRYRUN", user].into_iter().chain(words.iter().copied()));
    Ok(lack(&ask::<String>(shared, NAME, &question).await?))
}

/// What the answer of ACL DRYRUN means.
fn lack(answer: &str) -> Option<Lack> {
    if answer == "OK" {
        return None;
    }
    let quoted = answer.split('\'').nth(1).unwrap_or_default().to_owned();
    Some(match answer.trim_end_matches('.').rsplit(' ').next() {
        Some("command") => Lack::Command,
        Some("key") => Lack::Key(quoted),
        Some("channel") => Lack::Channel(quoted),
        _ => Lack::Other(answer.to_owned()),
    })
}

/// Redis, looked at once. Everything but the answer to one question may be missing.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// As whom we are logged in.
    pub(crate) user: Answer<String>,
    /// INFO, without the rare sections.
    pub(crate) info: Answer<Info>,
    /// Those of the settings that we have something to say about.
    pub(crate) settings: Answer<HashMap<String, String>>,
    /// All clients but ourselves.
    pub(crate) clients: Answer<Vec<Client>>,
    /// Those instances among the clients' owners that give signs of life.
    pub(crate) living: Answer<BTreeSet<String>>,
    /// Up to this age a connection without a sign of life is left alone.
    pub(crate) young: Duration,
    /// Connections that listen to the fleet's control channel.
    pub(crate) control_listeners: Answer<u64>,
}

/// The settings that [`Survey::settings`] has.
const SETTINGS: &[&str] =
    &["appendfsync", "client-output-buffer-limit", "tcp-keepalive", "timeout"];

impl Survey {
    /// Asks everything, one question after the other. Each takes at most the command timeout.
    pub(crate) async fn take(shared: &Shared) -> Self {
        let info = ask_words::<String>(shared, "INFO", &[]).await;
        let options = shared.options();
        let listed = ask_words::<String>(shared, "CLIENT LIST", &[]).await;
        let ourselves = |client: &Client| {
            client.owner.as_ref().is_some_and(|it| it.instance == options.instance)
        };
        let clients = listed.map(|text| {
            let all = clients(&text, &options.namespace).into_iter();
            all.filter(|client| !ourselves(client)).collect::<Vec<_>>()
        });
        let owners = clients.iter().flatten().filter_map(|client| client.owner.as_ref());
        let instances = owners.map(|owner| owner.instance.clone()).collect();
        let living = living(shared, options, instances).await;
        let control = shared.control_channel();
        let heard = ask_words::<(Value, u64)>(shared, "PUBSUB NUMSUB", &[&control]).await;
        Self {
            user: ask_words(shared, "ACL WHOAMI", &[]).await,
            info: info.map(|text| Info::parse(&text)),
            settings: ask_words(shared, "CONFIG GET", SETTINGS).await,
            living: living.map_err(|error| Refusal { command: "EXISTS", error }),
            young: options.heartbeat_interval * HEARTBEATS_YOUNG,
            clients,
            control_listeners: heard.map(|(_, listeners)| listeners),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_right_that_would_help() {
        let refusal = |error| Refusal { command: "CONFIG GET", error };
        let server = |code| Error::Server { code, text: String::new() };
        assert_eq!(refusal(server(Code::Noperm)).right().as_deref(), Some("+config|get"));
        assert_eq!(refusal(server(Code::Other)).right(), None);
        assert_eq!(refusal(Error::Disconnected).right(), None);
    }

    #[test]
    fn a_dry_run_says_what_is_lacking() {
        assert_eq!(lack("OK"), None);
        let refused = "User worker has no permissions to run the 'publish' command";
        assert_eq!(lack(refused), Some(Lack::Command));
        let key = "User worker has no permissions to access the 'a:b' key";
        assert_eq!(lack(key), Some(Lack::Key("a:b".to_owned())));
        let channel = "User worker has no permissions to access the 'a:c' channel";
        assert_eq!(lack(channel), Some(Lack::Channel("a:c".to_owned())));
        assert_eq!(lack("no"), Some(Lack::Other("no".to_owned())));
    }

    #[test]
    fn info_is_read_by_field() {
        let info = Info::parse("# Clients\r\nmaxclients:10000\r\nos:Linux: 6\r\n\r\n");
        assert_eq!(info.number("maxclients"), Some(10_000));
        assert_eq!((info.text("os"), info.number("os")), (Some("Linux: 6"), None));
        assert_eq!(info.text("role"), None);
    }
}
