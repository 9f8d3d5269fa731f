//! Processes that are gone, that do not stay, and that run out of file descriptors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::time::sleep;

use crate::support::process::{Daemon, Launch};
use crate::support::redis::Redis;
use crate::table::Row;
use crate::watch::{Watch, alarm};
use crate::{Script, fixed, hurried, target};

/// A worker that speaks to another namespace, then no worker and no server.
pub async fn absent(redis: &Arc<Redis>) -> Script {
    let url = redis.url();
    let (server_target, server_admin) = fixed("trunkline-server");
    let (worker_target, worker_admin) = fixed("trunkline-worker");
    let server = move |url: &str| {
        hurried(Daemon::server(url), "absent").env("TRUNKLINE_ADMIN_LISTEN", &server_admin).start()
    };
    let worker = move |url: &str, namespace: &str| {
        let launch = hurried(Daemon::worker(url), namespace);
        launch.env("TRUNKLINE_ADMIN_LISTEN", &worker_admin).start()
    };
    let (first_server, first_worker) = (server(&url), worker(&url, "absent"));
    Script::new(vec![server_target, worker_target], async move |watch: Arc<Watch>| {
        let began = Instant::now();
        drop(first_worker);
        let elsewhere = worker(&url, "elsewhere");
        let unheard = alarm("TrunklinePublishesUnheard", &[("job", "trunkline-worker")]);
        let fires = watch.fires(&unheard, began).await;
        let ended = Instant::now();
        drop(elsewhere);
        let at_home = worker(&url, "absent");
        let resolves = watch.resolves(&unheard, ended).await;
        let unheard = Row::new(unheard, "a worker in another namespace", fires, resolves);

        let began = Instant::now();
        drop((first_server, at_home));
        let absent = ["trunkline-server", "trunkline-worker"]
            .map(|job| alarm("TrunklineAbsent", &[("job", job)]));
        let fires = [watch.fires(&absent[0], began).await, watch.fires(&absent[1], began).await];
        let ended = Instant::now();
        let back = (server(&url), worker(&url, "absent"));
        let mut rows = vec![unheard];
        for ((absent, fires), fault) in
            absent.into_iter().zip(fires).zip(["the only server dies", "the only worker dies"])
        {
            let resolves = watch.resolves(&absent, ended).await;
            rows.push(Row::new(absent, fault, fires, resolves));
        }
        drop(back);
        rows
    })
}

/// A process that is killed and started again, four times.
pub async fn crash_loop(redis: &Arc<Redis>) -> Script {
    let url = redis.url();
    let (target, admin) = fixed("trunkline-crashing");
    let start = move || -> Daemon {
        let launch: Launch = hurried(Daemon::worker(&url), "crashing");
        launch.env("TRUNKLINE_ADMIN_LISTEN", &admin).start()
    };
    let mut worker = start();
    Script::new(vec![target], async move |watch: Arc<Watch>| {
        let crashing = alarm("TrunklineCrashLooping", &[("job", "trunkline-crashing")]);
        let began = Instant::now();
        for _ in 0..4 {
            worker.sigkill();
            worker = start();
            worker.wait_ready().await;
            // Prometheus has to see each of its lives, and they begin in whole seconds.
            sleep(Duration::from_secs(3)).await;
        }
        let ended = Instant::now();
        let fires = watch.fires(&crashing, began).await;
        let resolves = watch.resolves(&crashing, ended).await;
        vec![Row::new(crashing, "a worker is killed and started again four times", fires, resolves)]
    })
}

/// A limit that is nearly reached.
pub async fn descriptors(redis: &Arc<Redis>) -> Script {
    let server = hurried(Daemon::server(&redis.url()), "descriptors").start();
    Script::new(vec![target("trunkline-descriptors", &server).await], async move |watch| {
        let full = alarm("TrunklineFileDescriptorsNearLimit", &[("job", "trunkline-descriptors")]);
        let limit = |descriptors| {
            let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
            let limit = Rlimit { current: descriptors, ..getrlimit(Resource::Nofile) };
            prlimit(pid, Resource::Nofile, limit).unwrap()
        };
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as u64;
        let began = Instant::now();
        let before = limit(Some(open + 2));
        let fires = watch.fires(&full, began).await;
        let ended = Instant::now();
        limit(before.current);
        let resolves = watch.resolves(&full, ended).await;
        vec![Row::new(full, "the limit is lowered to what is in use", fires, resolves)]
    })
}
