//! Connections that nobody should hold, each leaked on purpose, and a fleet that leaks nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::support::process::{Daemon, Launch};
use crate::support::redis::Redis;
use crate::table::Row;
use crate::watch::{Watch, alarm};
use crate::{Script, fixed, hurried, target};

/// A worker that leaks as `leak` says: see `tests/audit/leaky.rs`.
fn leaky(redis: &Redis, namespace: &str, leak: &str) -> Launch {
    let launch = Daemon::example("leaky").env("REDIS_URL", redis.url());
    let launch = launch.env("TRUNKLINE_TEST_DAEMON", "worker").env("TRUNKLINE_TEST_LEAK", leak);
    hurried(launch, namespace)
}

/// Ends every connection of the namespace whose name ends like this.
fn kill(redis: &Redis, namespace: &str, ending: impl Fn(&str) -> bool) {
    let ours = format!("{namespace}:");
    for client in redis.client_list() {
        if client.name.starts_with(&ours) && ending(&client.name) {
            redis.cli(&["CLIENT", "KILL", "ID", &client.id.to_string()]);
        }
    }
}

/// One guard is forgotten, and in another process nine.
pub async fn guards(redis: &Arc<Redis>) -> Script {
    let one = leaky(redis, "leak-guard", "guard").start();
    let nine = leaky(redis, "leak-guards", "guards").start();
    let targets = vec![
        target("trunkline-leak-guard", &one).await,
        target("trunkline-leak-guards", &nine).await,
    ];
    let redis = Arc::clone(redis);
    Script::new(targets, async move |watch: Arc<Watch>| {
        // It leaks since its start, and is looked at since now.
        let began = Instant::now();
        let labels = |job| [("job", job), ("role", "shared")];
        let warning = alarm(
            "TrunklineConnectionLeak",
            &[&labels("trunkline-leak-guard")[..], &[("severity", "warning")]].concat(),
        );
        let critical = alarm(
            "TrunklineConnectionLeak",
            &[&labels("trunkline-leak-guards")[..], &[("severity", "critical")]].concat(),
        );
        let critical_fires = watch.fires(&critical, began).await;
        let fires = watch.fires(&warning, began).await;
        let ended = Instant::now();
        let generation = |name: &str, those: &[&str]| those.iter().any(|it| name.ends_with(it));
        kill(&redis, "leak-guard", |name| generation(name, &[":1"]));
        let last = nine.connection("shared").await["generation"].to_string();
        kill(&redis, "leak-guards", |name| !generation(name, &[&format!(":{last}")]));
        let resolves = watch.resolves(&warning, ended).await;
        let critical_resolves = watch.resolves(&critical, ended).await;
        drop(one);
        vec![
            Row::new(warning, "a stream is forgotten with its guard", fires, resolves),
            Row::new(critical, "nine streams are forgotten", critical_fires, critical_resolves),
        ]
    })
}

/// A connection below all that is ours, with a name as ours have, and one whose login failed.
pub async fn unknown(redis: &Arc<Redis>) -> Script {
    let named = leaky(redis, "leak-socket", "socket").start();
    let (place, admin) = fixed("trunkline-leak-handshake");
    let nameless = leaky(redis, "leak-handshake", "handshake");
    let nameless = nameless.env("TRUNKLINE_ADMIN_LISTEN", &admin).start();
    let targets = vec![target("trunkline-leak-socket", &named).await, place];
    let redis = Arc::clone(redis);
    Script::new(targets, async move |watch: Arc<Watch>| {
        let began = Instant::now();
        let by_redis = alarm(
            "TrunklineConnectionLeakServerSide",
            &[("job", "trunkline-leak-socket"), ("source", "redis"), ("role", "shared")],
        );
        let by_kernel = alarm(
            "TrunklineConnectionLeakServerSide",
            &[("job", "trunkline-leak-handshake"), ("source", "kernel")],
        );
        let fires = [watch.fires(&by_redis, began).await, watch.fires(&by_kernel, began).await];
        let ended = Instant::now();
        kill(&redis, "leak-socket", |name| name.ends_with(":99"));
        drop(nameless);
        let launch = hurried(Daemon::worker(&redis.url()), "leak-handshake");
        let healthy = launch.env("TRUNKLINE_ADMIN_LISTEN", &admin).start();
        let resolves =
            [watch.resolves(&by_redis, ended).await, watch.resolves(&by_kernel, ended).await];
        drop((named, healthy));
        let named = "a connection under our name is opened past our code";
        let failed = "a connection whose login failed is left open";
        vec![
            Row::new(by_redis, named, fires[0], resolves[0]),
            Row::new(by_kernel, failed, fires[1], resolves[1]),
        ]
    })
}

/// Half an hour in the time of the rules, with a connection lost or a process restarted in each
/// of its minutes.
pub async fn quiet(redis: &Arc<Redis>) -> Script {
    let (place, admin) = fixed("trunkline-quiet");
    let url = redis.url();
    let start = move || {
        let launch = hurried(Daemon::worker(&url), "quiet");
        launch.env("TRUNKLINE_ADMIN_LISTEN", &admin).start()
    };
    let server = hurried(Daemon::server(&redis.url()), "quiet").start();
    let mut worker = start();
    let targets = vec![target("trunkline-quiet", &server).await, place];
    let redis = Arc::clone(redis);
    Script::new(targets, async move |watch: Arc<Watch>| {
        let until = Instant::now() + Duration::from_secs(60);
        for turn in 0.. {
            if Instant::now() > until {
                break;
            }
            if turn % 4 == 3 {
                worker.sigkill();
                worker = start();
            } else {
                kill(&redis, "quiet", |_| true);
            }
            worker.wait_nothing_missing().await;
            server.wait_nothing_missing().await;
            // Prometheus has to see how it is in between, as often as the rules ask.
            sleep(Duration::from_secs(2)).await;
        }
        let leaks = "ALERTS{job=\"trunkline-quiet\", alertname=~\"Trunkline.*Leak.*\", alertstate=\"firing\"}";
        let fired = watch.query(&format!("count_over_time({leaks}[5m])")).await;
        assert_eq!(fired, serde_json::json!([]), "nothing leaks");
        vec![]
    })
}
