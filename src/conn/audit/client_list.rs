//! The third side: what Redis says in answer to CLIENT LIST.

use std::time::Duration;

use crate::model::{Label, Role};

/// One client of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::conn) struct Client<'a> {
    /// Rises with every connection, until Redis is restarted.
    pub(in crate::conn) id: u64,
    /// Its end as Redis sees it: behind a proxy or NAT, not our own.
    pub(in crate::conn) addr: &'a str,
    /// Empty if it gave none.
    pub(in crate::conn) name: &'a str,
    pub(in crate::conn) age: Duration,
    pub(in crate::conn) idle: Duration,
    /// Its last command.
    pub(in crate::conn) command: &'a str,
    /// Who it is logged in as; empty where this Redis does not say.
    #[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "for who looks on"))]
    pub(in crate::conn) user: &'a str,
    /// Bytes of answers and messages that wait for it to read.
    #[cfg_attr(not(feature = "bridge"), allow(dead_code, reason = "for who looks on"))]
    pub(in crate::conn) output: u64,
}

/// The parts of the name of a connection of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::conn) struct Name<'a> {
    pub(in crate::conn) namespace: &'a str,
    pub(in crate::conn) component: &'a str,
    pub(in crate::conn) instance: &'a str,
    pub(in crate::conn) role: Role,
    pub(in crate::conn) generation: u64,
}

/// A client that is named as ours are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) component: String,
    pub(super) instance: String,
    pub(super) role: Role,
    pub(super) generation: u64,
    pub(super) id: u64,
    pub(super) addr: String,
    pub(super) age: Duration,
    pub(super) idle: Duration,
    pub(super) command: String,
}

/// Those clients of an answer that belong to a namespace.
pub(super) fn of_namespace(text: &str, namespace: &str) -> Vec<Named> {
    let named = parse(text).filter_map(|client| {
        let name = Name::parse(client.name).filter(|name| name.namespace == namespace)?;
        Some(Named {
            component: name.component.to_owned(),
            instance: name.instance.to_owned(),
            role: name.role,
            generation: name.generation,
            id: client.id,
            addr: client.addr.to_owned(),
            age: client.age,
            idle: client.idle,
            command: client.command.to_owned(),
        })
    });
    named.collect()
}

/// The clients of an answer. Fields come in any order and more of them with every release of
/// Redis; of those that stand twice the first counts. A line without a number is no client.
pub(in crate::conn) fn parse(text: &str) -> impl Iterator<Item = Client<'_>> {
    text.lines().filter_map(client)
}

fn client(line: &str) -> Option<Client<'_>> {
    let (mut id, mut addr, mut name, mut age, mut idle) = (None, None, None, None, None);
    let (mut command, mut user, mut output) = (None, None, None);
    for (field, value) in line.split(' ').filter_map(|pair| pair.split_once('=')) {
        let slot = match field {
            "id" => &mut id,
            "addr" => &mut addr,
            "name" => &mut name,
            "age" => &mut age,
            "idle" => &mut idle,
            "cmd" => &mut command,
            "user" => &mut user,
            "omem" => &mut output,
            _ => continue,
        };
        slot.get_or_insert(value);
    }
    let number = |text: Option<&str>| text.and_then(|it| it.parse().ok()).unwrap_or_default();
    let seconds = |text| Duration::from_secs(number(text));
    Some(Client {
        id: id?.parse().ok()?,
        addr: addr.unwrap_or_default(),
        name: name.unwrap_or_default(),
        age: seconds(age),
        idle: seconds(idle),
        command: command.unwrap_or_default(),
        user: user.unwrap_or_default(),
        output: number(output),
    })
}

impl<'a> Name<'a> {
    /// Reads `<namespace>:<component>:<instance>:<role>:<generation>`; any other name is nobody's
    /// of ours.
    pub(in crate::conn) fn parse(name: &'a str) -> Option<Self> {
        let mut parts = name.split(':');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let (namespace, component, instance) = (part()?, part()?, part()?);
        let role = part()?;
        let role = Role::ALL.iter().copied().find(|it| it.label() == role)?;
        let generation = part()?.parse().ok()?;
        parts.next().is_none().then_some(Self { namespace, component, instance, role, generation })
    }
}

/// One number of an answer to INFO, such as `maxclients`.
pub(super) fn number(info: &str, field: &str) -> Option<u64> {
    let mut values = info.lines().filter_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    values.next()?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REDIS_7_0: &str = "id=3 addr=127.0.0.1:40644 laddr=127.0.0.1:6379 fd=8 name=trunkline:worker:9f2c:shared:1 age=12 idle=4 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=26 qbuf-free=20448 argv-mem=10 multi-mem=0 rbs=1024 rbp=0 obl=0 oll=0 omem=0 tot-mem=22298 events=r cmd=evalsha user=default redir=-1 resp=3";
    const REDIS_8: &str = "id=14 addr=/run/redis.sock:0 laddr=/run/redis.sock:0 fd=9 name= age=0 idle=0 flags=U db=0 sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=16384 rbp=0 obl=0 oll=0 omem=0 tot-mem=17152 events=r cmd=client|list user=default redir=-1 resp=2 lib-name=jedis lib-ver=5.1 io-thread=0 tot-net-in=26 tot-net-out=0 tot-cmds=1";

    #[test]
    fn every_release_of_redis_is_understood() {
        let both = format!("{REDIS_7_0}\n{REDIS_8}\n");
        let clients: Vec<_> = parse(&both).collect();
        let of_7 = Client {
            id: 3,
            addr: "127.0.0.1:40644",
            name: "trunkline:worker:9f2c:shared:1",
            age: Duration::from_secs(12),
            idle: Duration::from_secs(4),
            command: "evalsha",
            user: "default",
            output: 0,
        };
        assert_eq!(clients[0], of_7);
        assert_eq!((clients[1].id, clients[1].name, clients[1].command), (14, "", "client|list"));
        assert_eq!(clients.len(), 2);
        let ours = of_namespace(&both, "trunkline");
        assert_eq!((ours.len(), ours[0].instance.as_str(), ours[0].generation), (1, "9f2c", 1));
        assert_eq!(of_namespace(&both, "shop"), []);
    }

    #[test]
    fn a_name_of_ours_has_five_parts_and_a_role() {
        let name = Name::parse("shop:checkout:pod-7:subscriber:12").unwrap();
        let parts = (name.namespace, name.component, name.instance, name.role, name.generation);
        assert_eq!(parts, ("shop", "checkout", "pod-7", Role::Subscriber, 12));
        for foreign in [
            "",
            "shop",
            "shop:checkout:pod-7:shared",
            "shop:checkout:pod-7:blocking:1",
            "shop:checkout:pod-7:shared:one",
            "shop:checkout:pod-7:shared:1:2",
            "shop::pod-7:shared:1",
        ] {
            assert_eq!(Name::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn info_has_the_number_of_clients_and_of_those_it_would_take() {
        let info =
            "# Clients\r\nconnected_clients:5\r\ncluster_connections:0\r\nmaxclients:10000\r\n";
        assert_eq!(number(info, "connected_clients"), Some(5));
        assert_eq!(number(info, "maxclients"), Some(10_000));
        assert_eq!(number(info, "clients"), None);
    }

    proptest! {
        #[test]
        fn a_client_is_read_whatever_stands_around_it(
            id: u64,
            age in 0..u64::from(u32::MAX),
            idle in 0..u64::from(u32::MAX),
            name in "[!-~&&[^=]]{0,40}",
            before in "([a-z-]{7,9}=[!-~]{0,9} ){0,5}",
            after in "( [a-z-]{7,9}=[!-~]{0,9}){0,5}",
        ) {
            let line = format!("{before}id={id} name={name} age={age} idle={idle} cmd=ping{after}");
            let clients: Vec<_> = parse(&line).collect();
            prop_assert_eq!(clients.len(), 1);
            let client = &clients[0];
            prop_assert_eq!((client.id, client.name, client.command), (id, &*name, "ping"));
            prop_assert_eq!((client.age.as_secs(), client.idle.as_secs()), (age, idle));
        }

        #[test]
        fn a_name_is_read_back(namespace in "[a-z0-9-]{1,9}", component in "[a-z0-9-]{1,9}", instance in "[a-z0-9-]{1,80}", generation: u64) {
            for role in Role::ALL {
                let text = format!("{namespace}:{component}:{instance}:{role}:{generation}");
                let name = Name::parse(&text).unwrap();
                prop_assert_eq!((name.namespace, name.component, name.instance), (&*namespace, &*component, &*instance));
                prop_assert_eq!((name.role, name.generation), (*role, generation));
            }
        }

        #[test]
        fn no_answer_is_too_strange(text in "(\\PC|\n)*", words in "([a-z]{2,4}=[0-9a-z:=]{0,9}[ \n]){0,20}") {
            for text in [&text, &words] {
                for client in parse(text) {
                    Name::parse(client.name);
                }
                number(text, "id");
            }
        }
    }
}
