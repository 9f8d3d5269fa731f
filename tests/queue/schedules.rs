//! Schedules: each tick makes one job, whoever is there and whatever happens in between.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use trunkline::conn::Owner;
use trunkline::model::{Component, JobType, Schedule, tick_time};
use trunkline::queue::*;

use crate::house::{Diary, House, NEVER, Worker, WorkerPlan, event, job};
use crate::support::eventually::eventually;
use crate::support::proxy::{Direction, Proxy};
use crate::support::stalls::Stalls;

/// A tick in the year 2100.
const FAR: &str = "4102444800000";

/// No test is still there at its next tick.
const YEARLY: &str = "0 0 1 1 *";

const HOUR_MS: u64 = 3_600_000;

/// A server's side, on a connection of its own.
struct Office {
    store: ScheduleStore,
    _owner: Owner,
}

impl House {
    async fn office(&self) -> Office {
        let (owner, _) = self.link(Component::Server).await;
        Office { store: ScheduleStore::new(owner.shared(), self.keys.clone()), _owner: owner }
    }

    /// Three workers that look ten times a second.
    async fn three(&self, diary: &Diary) -> Vec<Worker> {
        let mut workers = Vec::new();
        for _ in 0..3 {
            workers.push(self.looking().start(diary).await);
        }
        self.parks(3).await;
        workers
    }

    fn looking(&self) -> WorkerPlan<'_> {
        WorkerPlan { safety_poll: Duration::from_millis(100), ..self.worker() }
    }

    fn tick(&self, id: &str) -> u64 {
        self.redis.cli(&["ZSCORE", &self.keys.ticks(), id]).text().parse().unwrap()
    }

    /// Waits until every schedule has moved on, and no job is left.
    async fn has_moved_on(&self, office: &Office) {
        let now = office.store.now_ms().await.unwrap().to_string();
        eventually("no tick is due", async || {
            match self.redis.cli(&["ZCOUNT", &self.keys.ticks(), "-inf", &now]).integer() {
                0 => Ok(()),
                due => Err(due),
            }
        })
        .await;
        self.is_drained().await;
    }
}

fn document(note: &str, missed: &str) -> Value {
    let event = json!({ "type": "report.due", "data": note });
    json!({ "cron": YEARLY, "event": event, "missed": missed })
}

impl Office {
    /// Stores a schedule whose next tick is so far from now.
    async fn put(&self, id: &str, note: &str, missed: &str, away_ms: i64) -> u64 {
        let tick = self.store.now_ms().await.unwrap().saturating_add_signed(away_ms);
        self.put_at(id, note, missed, tick).await;
        tick
    }

    async fn put_at(&self, id: &str, note: &str, missed: &str, tick: u64) {
        let schedule = Schedule::parse(id, document(note, missed)).unwrap();
        let json = schedule.document().to_string();
        self.store.put(id, json.as_bytes(), tick).await.unwrap().unwrap();
    }
}

fn events(diary: &Diary) -> Vec<Value> {
    diary.bodies().iter().map(|body| serde_json::from_str(body).unwrap()).collect()
}

fn notes(diary: &Diary) -> Vec<String> {
    events(diary).iter().map(|event| event["data"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_new_schedule_fires_at_its_tick_though_nobody_polls_and_waits_for_the_next() {
    let house = House::start();
    let office = house.office().await;
    let diary = Diary::done();
    // No takeover looks at the ticks by chance either.
    let _worker = WorkerPlan { lease: NEVER, ..house.worker() }.start(&diary).await;
    house.parks(1).await;
    let stalls = Stalls::watch();
    let tick = office.put("report", "a", "skip", 4_000).await;
    // The worker was woken to learn of it, and waits.
    house.parks(1).await;
    assert!(diary.jobs().is_empty());

    diary.reaches(1).await;
    let fired = office.store.now_ms().await.unwrap();
    let late = 1_500 + stalls.sum().as_millis() as u64;
    assert!((tick..tick + late).contains(&fired), "due {tick}, fired by {fired}");
    let job = diary.jobs().remove(0);
    assert_eq!((job.job_type, job.attempt), (JobType::Scheduled, 1));
    let event = &events(&diary)[0];
    assert_eq!(event["source"], "/v1/schedules/report");
    assert_eq!(event["type"], "report.due");
    assert_eq!(event["time"], tick_time(tick).unwrap());
    house.has_moved_on(&office).await;
    assert!(house.tick("report") > fired);
    let shown = office.store.get("report").await.unwrap().unwrap();
    assert_eq!(shown.next, Some(house.tick("report")));
}

#[tokio::test]
async fn the_job_of_a_tick_waits_behind_others_of_its_key() {
    let house = House::start();
    let (office, post) = (house.office().await, house.producer().await);
    let diary = Diary::new(async |job| match job.body.as_slice() {
        b"held" => std::future::pending().await,
        _ => Verdict::Done,
    });
    let worker = house.worker().start(&diary).await;
    let held = NewJob { partition: Some(Partition::of("sales")), ..event("held") };
    post.producer.enqueue(&[held]).await.unwrap();
    diary.reaches(1).await;
    let event = json!({ "type": "report.due", "partitionkey": "sales" });
    let schedule = Schedule::parse("s", json!({ "cron": YEARLY, "event": event })).unwrap();
    let json = schedule.document().to_string();
    let now = office.store.now_ms().await.unwrap();
    office.store.put("s", json.as_bytes(), now).await.unwrap().unwrap();
    house.has(0, 1).await;
    worker.stop().await;
    // What was held went back, and is the first again.
    let diary = Diary::done();
    let _worker = house.worker().start(&diary).await;
    house.is_drained().await;
    let kinds: Vec<_> = diary.jobs().iter().map(|job| job.job_type).collect();
    assert_eq!(kinds, [JobType::Event, JobType::Scheduled]);
}

#[tokio::test]
async fn workers_that_all_see_a_tick_make_one_job_of_it() {
    const SCHEDULES: usize = 40;
    let house = House::start();
    let office = house.office().await;
    let diary = Diary::done();
    let _workers = house.three(&diary).await;
    for round in 0..3 {
        let tick = office.store.now_ms().await.unwrap() + 700;
        for number in 0..SCHEDULES {
            office.put_at(&format!("s{number}"), &format!("{round}"), "skip", tick).await;
        }
        diary.reaches((round + 1) * SCHEDULES).await;
        house.has_moved_on(&office).await;
        assert_eq!(diary.jobs().len(), (round + 1) * SCHEDULES);
    }
    assert_eq!(diary.distinct(), 3 * SCHEDULES);
}

#[tokio::test]
async fn the_worker_that_knew_of_a_tick_dies_and_another_fires_it() {
    let house = House::start();
    let office = house.office().await;
    let diary = Diary::done();
    let mut workers = house.three(&diary).await;
    office.put("report", "a", "skip", 1_200).await;
    workers.remove(0).crash().await;
    workers.remove(0).crash().await;
    diary.reaches(1).await;
    house.has_moved_on(&office).await;
    assert_eq!(diary.jobs().len(), 1);
}

#[tokio::test]
async fn what_was_missed_is_skipped_or_made_up_once() {
    let house = House::start();
    let office = house.office().await;
    office.put("skipped", "skipped", "skip", -(HOUR_MS as i64)).await;
    let missed = office.put("once", "once", "once", -(HOUR_MS as i64)).await;
    // Two seconds late is not missed.
    office.put("late", "late", "skip", -2_000).await;
    let diary = Diary::done();
    let _workers = house.three(&diary).await;
    diary.reaches(2).await;
    house.has_moved_on(&office).await;
    let mut notes = notes(&diary);
    notes.sort_unstable();
    assert_eq!(notes, ["late", "once"]);
    let once = events(&diary).into_iter().find(|event| event["data"] == "once").unwrap();
    assert_eq!(once["time"], tick_time(missed).unwrap());
}

#[tokio::test]
async fn a_tick_that_fired_does_not_fire_again_when_its_schedule_is_stored_anew() {
    let house = House::start();
    let office = house.office().await;
    let diary = Diary::done();
    let _workers = house.three(&diary).await;
    let tick = office.put("report", "first", "skip", 0).await;
    diary.reaches(1).await;
    house.has_moved_on(&office).await;
    let next = house.tick("report");
    // The same again keeps its tick; another one brings its own, which here has fired already.
    office.put_at("report", "first", "skip", tick).await;
    assert_eq!(house.tick("report"), next);
    office.put_at("report", "second", "once", tick).await;
    house.has_moved_on(&office).await;
    assert_eq!(notes(&diary), ["first"]);
}

/// Says something to Redis where no future can run.
fn say(port: u16, words: &[&str]) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    socket.write_all(text.as_bytes()).unwrap();
    assert!(socket.read(&mut [0; 64]).unwrap() > 0);
}

#[tokio::test]
async fn a_schedule_that_is_changed_removed_or_moved_on_between_look_and_fire_does_not_fire() {
    let mut house = House::start();
    let office = house.office().await;
    let port = house.redis.port();
    let (schedules, ticks) = (house.keys.schedules(), house.keys.ticks());
    let changed = Schedule::parse("changed", document("after", "once")).unwrap();
    let changed = changed.document().to_string();
    // A worker says what a schedule is only when it fires it.
    let proxy = Proxy::to(port);
    proxy.filter(Arc::new(move |direction, piece| {
        let fires = String::from_utf8_lossy(&piece).contains(YEARLY);
        if direction == Direction::ToServer && fires {
            say(port, &["HDEL", &schedules, "removed"]);
            say(port, &["ZREM", &ticks, "removed"]);
            say(port, &["HSET", &schedules, "changed", &changed]);
            say(port, &["ZADD", &ticks, FAR, "moved"]);
        }
        piece
    }));
    office.put("removed", "removed", "once", -1_000).await;
    office.put("changed", "before", "once", -1_000).await;
    // Another worker was first, and its tick is known no longer.
    office.put("moved", "moved", "once", -1_000).await;
    house.detour = Some(proxy.port());
    let diary = Diary::done();
    let _worker = house.looking().start(&diary).await;
    diary.reaches(1).await;
    house.has_moved_on(&office).await;
    assert_eq!(notes(&diary), ["after"]);
    assert_eq!(office.store.get("removed").await.unwrap(), None);
    assert_eq!(house.tick("moved").to_string(), FAR);
}

#[tokio::test]
async fn what_no_worker_can_read_is_left_alone_until_it_is_stored_anew() {
    let house = House::start();
    let office = house.office().await;
    let now = office.store.now_ms().await.unwrap();
    office.store.put("report", b"{}", now).await.unwrap().unwrap();
    // A tick without a schedule.
    house.redis.cli(&["ZADD", &house.keys.ticks(), "5", "lost"]);
    let diary = Diary::done();
    let _workers = house.three(&diary).await;
    house.has_moved_on(&office).await;
    assert_eq!(office.store.get("report").await.unwrap().unwrap().next, None);
    assert_eq!(house.redis.cli(&["ZCARD", &house.keys.ticks()]).integer(), 1);
    let anew = office.store.put("report", b"{}", now).await.unwrap().unwrap();
    assert_eq!(anew, (false, now), "the same, and a worker of today may be able to read it");
    office.put("report", "good", "skip", 0).await;
    diary.reaches(1).await;
    assert_eq!(notes(&diary), ["good"]);
}

#[tokio::test]
async fn a_full_queue_takes_no_job_of_a_schedule_until_it_has_recovered() {
    let mut house = House::start();
    house.thresholds = Thresholds { warning: 1, critical: 2, recovery: 0 };
    let office = house.office().await;
    let post = house.producer().await;
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let held = Diary::new(move |job: Job| {
        let opened = opened.clone();
        async move {
            if job.job_type == JobType::Event {
                opened.notified().await;
            }
            Verdict::Done
        }
    });
    // Its only slot is taken, and it looks for ticks all the same.
    let _worker = WorkerPlan { concurrency: 1, ..house.looking() }.start(&held).await;
    post.producer.enqueue(&[job("holds")]).await.unwrap();
    held.reaches(1).await;
    post.producer.enqueue(&[event("waits")]).await.unwrap();
    house.redis.cli(&["DEL", &house.keys.full()]);
    let tick = office.put("report", "a", "once", 0).await;
    eventually("the fire script finds the queue full", async || {
        match house.redis.cli(&["EXISTS", &house.keys.full()]).integer() {
            1 => Ok(()),
            _ => Err("it does not look"),
        }
    })
    .await;
    assert_eq!((house.tick("report"), held.bodies()), (tick, vec!["holds".to_owned()]));
    gate.notify_one();
    held.reaches(2).await;
    gate.notify_one();
    held.reaches(3).await;
    assert_eq!(held.jobs()[2].job_type, JobType::Scheduled);
}

#[tokio::test]
async fn a_queue_has_a_thousand_schedules_at_most() {
    let house = House::start();
    let office = house.office().await;
    office.put("mine", "a", "skip", HOUR_MS as i64).await;
    let mut words = vec!["ZADD".to_owned(), house.keys.ticks()];
    (1..MAX_SCHEDULES).for_each(|n| words.extend([HOUR_MS.to_string(), format!("s{n}")]));
    house.redis.cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(office.store.put("more", b"{}", 1).await.unwrap(), Err(TooManySchedules));
    let (created, _) = office.store.put("mine", b"{}", 1).await.unwrap().unwrap();
    assert!(!created);
    assert!(office.store.delete("mine").await.unwrap());
    assert!(!office.store.delete("mine").await.unwrap());
    assert!(office.store.put("more", b"{}", 1).await.unwrap().is_ok());
}
