use super::*;
use crate::health::{Facts, Monitor, ProbeFacts, Progress, Report, SubscriptionFacts};
use crate::http::admin::{Admin, Sources};
use crate::model::{ConnectionState, Role};
use crate::telemetry::Rendered;
use std::sync::atomic::{AtomicBool, Ordering};

struct Desk {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    started: Arc<AtomicBool>,
    progress: Progress,
}

impl Desk {
    fn start() -> Self {
        Self::with(Progress::default())
    }

    fn with(progress: Progress) -> Self {
        let nowhere = Target::Unix("/nonexistent/redis.sock".into());
        let options = Options::new(nowhere, "test", Component::Worker);
        let owner = Arc::new(Owner::new(options, &Budget::of(Component::Worker)).unwrap());
        let ready = Arc::new(AtomicBool::new(false));
        let monitor = Monitor::new({
            let ready = ready.clone();
            move || Facts {
                component: Component::Worker,
                connections: match ready.load(Ordering::Relaxed) {
                    true => vec![(Role::Shared, ConnectionState::Ready)],
                    false => vec![],
                },
                subscriptions: SubscriptionFacts::default(),
                probe: ProbeFacts { age: None, limit: PATIENCE },
                draining: false,
            }
        });
        let started = Arc::new(AtomicBool::new(false));
        let sources = Sources {
            started: Box::new({
                let started = started.clone();
                move || started.load(Ordering::Relaxed)
            }),
            report: Box::new(move || Report::new(Component::Worker, "here", &owner)),
            metrics: Box::new(|format| {
                Box::pin(async move { Rendered { format, text: "up 1\n".to_owned() } })
            }),
        };
        let admin = Admin::new(Component::Worker, progress.clone(), Arc::new(monitor), sources);
        let (address, _, _) = serve(admin, 10);
        Self { address, ready, started, progress }
    }

    async fn ask(&self, request: &str) -> Reply {
        Peer::connect(self.address).await.ask(request).await
    }
}

#[tokio::test]
async fn readiness_lists_what_is_missing() {
    let desk = Desk::start();
    let reply = desk.ask("GET /readyz").await;
    assert_eq!((reply.status, &reply.json()["missing"][0]), (503, &"shared".into()));
    desk.ready.store(true, Ordering::Relaxed);
    let reply = desk.ask("GET /readyz?verbose").await;
    let checks = serde_json::json!({ "shared": true, "drain": true });
    assert_eq!((reply.status, &reply.json()["checks"]), (200, &checks));
}

#[tokio::test]
async fn liveness_is_about_loops_and_never_about_redis() {
    let desk = Desk::start();
    assert_eq!(desk.ask("GET /livez").await.status, 200);
    desk.progress.watch_others("supervisors", || Duration::from_secs(31));
    let reply = desk.ask("GET /livez").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["stalled"][0]["loop"], "supervisors");
}

#[tokio::test]
async fn what_has_started_stays_started() {
    let desk = Desk::start();
    for (now, status) in [(false, 503), (true, 200), (false, 200)] {
        desk.started.store(now, Ordering::Relaxed);
        assert_eq!(desk.ask("GET /startupz").await.status, status);
    }
}

#[tokio::test]
async fn the_status_and_the_metrics_can_be_read_and_nothing_can_be_changed() {
    let desk = Desk::start();
    let status = desk.ask("GET /status").await.json();
    assert_eq!((&status["instance"], &status["budget"]), (&"here".into(), &1.into()));
    let connection = &status["connections"][0];
    assert_eq!((&connection["state"], &connection["expected"]), (&"idle".into(), &1.into()));
    assert_eq!(desk.ask("GET /metrics").await.body, b"up 1\n");
    assert_eq!(desk.ask("POST /status").await.problem().0, 405);
    assert_eq!(desk.ask("GET /").await.problem().0, 404);
}

#[tokio::test]
async fn a_line_that_stands_still_shows_while_it_does() {
    let progress = Progress::with_limit(Duration::from_secs(2));
    let desk = Desk::with(progress.clone());
    let (release, held) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let line = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        line.block_on(async move {
            tokio::spawn(async move { progress.watch_runtime().await });
            tokio::task::yield_now().await;
            // As a handler that computes would: nothing else on this thread is polled.
            let _ = held.recv();
            std::future::pending::<()>().await;
        });
    });
    let answers = async |status: u16| loop {
        let reply = desk.ask("GET /livez").await;
        if reply.status == status {
            return reply;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let late = soon(answers(503)).await;
    assert_eq!(late.json()["stalled"][0]["loop"], "runtime");
    drop(release);
    soon(answers(200)).await;
}

#[tokio::test]
async fn a_page_cannot_read_the_admin_listener_and_a_scraper_always_can() {
    let desk = Desk::start();
    for good in [
        "User-Agent: Prometheus/3.1.0\nHost: worker.monitoring.svc:9465",
        "Host: anything.example",
        "User-Agent: Mozilla/5.0\nAccept-Language: en\nHost: localhost:9465",
        "Origin: http://localhost:9465\nHost: localhost:9465",
        "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nHost: localhost:9465",
    ] {
        assert_eq!(desk.ask(&format!("GET /status\n{good}")).await.status, 200, "{good}");
    }
    for (foreign, problem) in [
        ("Origin: https://evil.example\nHost: localhost:9465", (403, "forbidden-origin")),
        ("Origin: null\nHost: localhost:9465", (403, "forbidden-origin")),
        ("Sec-Fetch-Site: cross-site\nHost: localhost:9465", (403, "forbidden-origin")),
        ("Sec-Fetch-Site: same-site\nHost: localhost:9465", (403, "forbidden-origin")),
        // A name of its own that was rebound to this address: to the browser that is one origin.
        ("User-Agent: Mozilla/5.0\nHost: evil.example:9465", (421, "misdirected-host")),
        ("Accept-Language: en\nHost: evil.example:9465", (421, "misdirected-host")),
    ] {
        let (status, kind) = desk.ask(&format!("GET /metrics\n{foreign}")).await.problem();
        assert_eq!((status, kind.as_str()), problem, "{foreign}");
    }
}
