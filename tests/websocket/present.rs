//! How many clients hear a channel, as every server of a fleet sees it.

use serde_json::{Value, json};

use super::client::Client;
use super::support::eventually::eventually;
use super::support::house::problem;
use super::support::http::{Http, Sse};
use super::support::process::{Daemon, Launch};
use super::support::redis::Redis;

/// Two servers on one Redis.
struct Pair {
    servers: [Daemon; 2],
    doors: [Http; 2],
    redis: Redis,
}

impl Pair {
    /// Two that give a sign of life this often.
    async fn start(heartbeat: &str) -> Pair {
        let redis = Redis::start();
        let url = redis.url();
        Pair::on(redis, &url, |server| server.env("TRUNKLINE_HEARTBEAT_INTERVAL", heartbeat)).await
    }

    async fn on(redis: Redis, url: &str, how: impl Fn(Launch) -> Launch) -> Pair {
        let servers = [(); 2].map(|()| how(Daemon::server(url).patient()).start());
        for server in &servers {
            server.wait_ready().await;
        }
        let doors = [servers[0].public().await, servers[1].public().await];
        Pair { servers, doors, redis }
    }

    /// What both say of a channel: clients, servers, and how many are here, from either side.
    async fn say(&self, channel: &str) -> [(u64, u64, u64); 2] {
        [said(&self.doors[0], channel).await, said(&self.doors[1], channel).await]
    }

    /// Waits until that many clients hear the channel at the one and at the other server, and both
    /// say so.
    async fn sees(&self, channel: &str, there: [u64; 2]) {
        let servers = there.iter().filter(|clients| **clients > 0).count() as u64;
        let expected = there.map(|here| (there.iter().sum(), servers, here));
        eventually(&format!("{channel}: {expected:?}"), async || match self.say(channel).await {
            seen if seen == expected => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    async fn streams(&self, channels: &str) -> [Sse; 2] {
        let path = format!("/v1/stream?channel={channels}");
        [Sse::open(&self.doors[0], &path).await, Sse::open(&self.doors[1], &path).await]
    }

    async fn websocket(&self, server: usize, channels: &[&str]) -> Client {
        let mut client = Client::at(self.doors[server].address(), "").await;
        client.subscribe(channels).await;
        client
    }

    /// The servers' numbers in Redis, and until when each counts.
    fn kept(&self) -> Vec<String> {
        self.redis.cli(&["ZRANGE", SERVERS, "0", "-1", "WITHSCORES"]).texts()
    }
}

const SERVERS: &str = "trunkline:{present}:servers";

async fn said(door: &Http, channel: &str) -> (u64, u64, u64) {
    let answer = door.get(&format!("/v1/channels/{channel}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let document = answer.json();
    let number = |name: &str| document[name].as_u64().unwrap();
    let numbers = (number("clients"), number("servers"), number("here"));
    let (clients, servers, here) = numbers;
    let whole = json!({ "channel": channel, "clients": clients, "servers": servers, "here": here });
    assert_eq!(document, whole);
    numbers
}

#[tokio::test]
async fn both_servers_say_how_many_clients_of_the_fleet_hear_a_channel_each_once() {
    let pair = Pair::start("15s").await;
    assert_eq!(pair.say("a.b").await, [(0, 0, 0); 2]);
    let stream =
        Sse::open(&pair.doors[0], "/v1/stream?channel=a.b&channel=a.*&channel=other").await;
    let exact = pair.websocket(0, &["a.b"]).await;
    let mut overlapping = pair.websocket(1, &["a.b.c", "a.b", "a.*", "a.b.*"]).await;
    pair.sees("a.b", [2, 1]).await;
    pair.sees("a.b.c", [1, 1]).await;
    pair.sees("a.elsewhere", [1, 1]).await;
    pair.sees("other", [1, 0]).await;
    pair.sees("a", [0, 0]).await;
    // What a wider subscription stood for stands for itself.
    overlapping.ask(json!({ "unsubscribe": ["a.*"] })).await;
    pair.sees("a.elsewhere", [1, 0]).await;
    pair.sees("a.b", [2, 1]).await;
    pair.sees("a.b.c", [1, 1]).await;
    drop(stream);
    pair.sees("a.b", [1, 1]).await;
    drop((exact, overlapping));
    pair.sees("a.b", [0, 0]).await;
    eventually("nothing is left in redis", async || {
        match pair.redis.cli(&["KEYS", "*{present}*"]).texts() {
            none if none.is_empty() => Ok(()),
            some => Err(some.join(" ")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_killed_does_not_count_for_long_and_one_that_lives_counts_on() {
    let pair = Pair::start("1s").await;
    let _streams = pair.streams("door").await;
    pair.sees("door", [1, 1]).await;
    let until = |kept: Vec<String>| -> Vec<f64> {
        kept.iter().skip(1).step_by(2).map(|score| score.parse().unwrap()).collect()
    };
    let first = until(pair.kept()).into_iter().fold(0.0, f64::max);
    eventually("both have said again that they live", async || {
        assert_eq!(pair.say("door").await, [(2, 2, 1); 2]);
        let now = until(pair.kept());
        if now.iter().all(|until| *until > first + 3_000.0) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    pair.servers[1].sigkill();
    eventually("one is left", async || match said(&pair.doors[0], "door").await {
        (1, 1, 1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    eventually("and nothing of the other", async || match pair.kept().len() {
        2 => Ok(()),
        other => Err(other),
    })
    .await;
    let hashes = pair.redis.cli(&["KEYS", "trunkline:{present}:clients:*"]).texts();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
}

#[tokio::test]
async fn a_server_that_has_drained_counts_no_more() {
    let mut pair = Pair::start("60s").await;
    let _streams = pair.streams("door").await;
    pair.sees("door", [1, 1]).await;
    pair.servers[1].sigterm();
    assert!(pair.servers[1].exit().await.success());
    assert_eq!(said(&pair.doors[0], "door").await, (1, 1, 1));
    // As one that never came.
    let url = pair.redis.url();
    pair.servers[1] = Daemon::server(&url).patient().start();
    pair.servers[1].wait_ready().await;
    pair.doors[1] = pair.servers[1].public().await;
    pair.sees("door", [1, 0]).await;
}

#[tokio::test]
async fn what_redis_has_lost_is_said_again() {
    let pair = Pair::start("500ms").await;
    let _streams = pair.streams("door").await;
    pair.sees("door", [1, 1]).await;
    // In one, since the next sign of life may come right after it.
    let empty = "redis.call('FLUSHALL') return redis.call('EXISTS', KEYS[1])";
    assert_eq!(pair.redis.cli(&["EVAL", empty, "1", SERVERS]).integer(), 0);
    pair.sees("door", [1, 1]).await;
}

#[tokio::test]
async fn after_a_restart_of_redis_everything_is_said_at_once_however_much_it_is() {
    let pair = Pair::start("60s").await;
    let channels: Vec<_> = (0..640).map(|number| format!("c{number}")).collect();
    let mut clients = Vec::new();
    for channels in channels.chunks(128) {
        let channels: Vec<_> = channels.iter().map(String::as_str).collect();
        clients.push(pair.websocket(1, &channels).await);
    }
    let all_seen = async || {
        // From every part of what is written at once.
        for channel in channels.iter().step_by(71) {
            pair.sees(channel, [0, 1]).await;
        }
    };
    all_seen().await;
    let before = pair.kept();
    pair.redis.kill9();
    eventually("nobody can say", async || {
        let answer = pair.doors[0].get("/v1/channels/c0").await;
        match problem(&answer) {
            (503, kind) if kind == "redis-unavailable" => {
                assert_eq!(answer.header("retry-after"), "1");
                Ok::<_, Value>(())
            }
            _ => Err(answer.json()),
        }
    })
    .await;
    pair.redis.restart();
    for server in &pair.servers {
        server.wait_nothing_missing().await;
    }
    all_seen().await;
    assert_ne!(pair.kept(), before);
}

/// Runs a script of the room as a server would.
fn run(redis: &Redis, script: &str, words: &[&str]) -> i64 {
    let script = format!("{}{script}", include_str!("../../src/presence/lua/parts/time.lua"));
    redis.cli(&[&["EVAL", &script], words].concat()).integer()
}

#[tokio::test]
async fn numbers_that_are_written_in_parts_count_when_all_of_them_are_there() {
    let pair = Pair::start("60s").await;
    let script = include_str!("../../src/presence/lua/replace-3.lua");
    let part = |number: &str, of: &str, channel: &str, clients: &str| {
        let keys = ["trunkline:{present}:clients:x", "trunkline:{present}:next:x"];
        let words = ["3", SERVERS, keys[0], keys[1], "x", "60000", number, of, channel, clients];
        run(&pair.redis, script, &words) == 1
    };
    let clients = async |channel: &str| said(&pair.doors[0], channel).await.0;
    // A server that dies while it writes leaves nothing for long either.
    let lasts = |key: &str| pair.redis.cli(&["PTTL", &format!("trunkline:{{present}}:{key}:x")]);
    assert!(part("1", "1", "old", "7"));
    assert!(lasts("clients").integer() > 0);
    assert_eq!(clients("old").await, 7);
    assert!(part("1", "2", "new", "8"));
    assert!(lasts("next").integer() > 0);
    assert_eq!((clients("old").await, clients("new").await), (7, 0));
    pair.redis.cli(&["DEL", "trunkline:{present}:next:x"]);
    assert!(!part("2", "2", "newer", "9"), "the first part was gone");
    assert_eq!((clients("old").await, clients("newer").await), (7, 0));
    assert!(part("1", "2", "new", "8") && part("2", "2", "newer", "9"));
    let seen = (clients("old").await, clients("new").await, clients("newer").await);
    assert_eq!(seen, (0, 8, 9));
}

#[tokio::test]
async fn a_name_may_be_escaped_and_what_is_none_is_refused() {
    let pair = Pair::start("60s").await;
    let _client = pair.websocket(0, &["a:b.c"]).await;
    let answer = pair.doors[0].get("/v1/channels/a%3Ab.c").await;
    assert_eq!((answer.status, &answer.json()["channel"]), (200, &json!("a:b.c")));
    assert_eq!(answer.json()["here"], 1);
    for (bad, named) in [("a.*", "`a.*`"), ("a%20b", "`a b`"), ("a%2Fb", "`a/b`")] {
        let answer = pair.doors[0].get(&format!("/v1/channels/{bad}")).await;
        assert_eq!(problem(&answer), (400, "invalid".to_owned()));
        let fault = &answer.json()["errors"][0];
        assert_eq!(fault["path"], "channel");
        assert!(fault["message"].as_str().unwrap().contains(named), "{fault}");
    }
    assert_eq!(problem(&pair.doors[0].get("/v1/channels/").await).0, 404);
}

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let text = include_str!("../../docs/redis.md");
    let mut blocks =
        text.split("```acl\n").skip(1).map(|it| it.split("```").next().unwrap().trim());
    let users = blocks.next().unwrap().replace("<password>", "pw");
    let audit = blocks.next().unwrap();
    let mut users: Vec<_> = users.lines().map(|user| format!("{user} {audit}")).collect();
    users.push("user default off".to_owned());
    let users: Vec<_> = users.iter().map(String::as_str).collect();
    let redis = Redis::plan().users(&users).start();
    let url = redis.url().replace("redis://", "redis://trunkline-server:pw@");
    let how = |server: Launch| server.env("TRUNKLINE_HEARTBEAT_INTERVAL", "1s");
    let pair = Pair::on(redis, &url, how).await;
    let streams = pair.streams("door").await;
    pair.sees("door", [1, 1]).await;
    let first = pair.kept();
    eventually("they say it again", async || match pair.kept() {
        then if then.len() == 4 && then[1] != first[1] && then[3] != first[3] => Ok(()),
        then => Err(then.join(" ")),
    })
    .await;
    drop(streams);
    pair.sees("door", [0, 0]).await;
    pair.servers[1].sigterm();
    assert!(pair.servers[1].exit().await.success());
    let refused = pair.redis.cli(&["ACL", "LOG"]);
    let refused: Vec<_> = refused.list().iter().map(|entry| format!("{entry:?}")).collect();
    assert_eq!(refused, [""; 0]);
}
