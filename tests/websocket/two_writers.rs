//! The outbox and its two writers as threads that run against each other for real: fan-out, and the
//! client's task. No frame is cut, none is lost or overtaken, and the task is always woken.
//!
//! All that two threads share is under one lock, so what loom would try is the order of whole
//! calls; here a sink that takes little at a time makes many orders of them.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use trunkline::hub::*;
use trunkline::model::{ChannelName, Notification, Origin, Subscription, Transport};

const NOTIFICATIONS: usize = 20_000;
const WORDS: usize = 2_000;

/// Takes some bytes, then is full until somebody makes room.
#[derive(Default)]
struct Narrow {
    taken: Mutex<Vec<u8>>,
    room: AtomicUsize,
}

impl Sink for Narrow {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Refused> {
        let mut taken = self.taken.lock().unwrap();
        let mut room = self.room.load(Ordering::Relaxed);
        if room == 0 {
            return Err(Refused::Full);
        }
        let before = taken.len();
        for slice in slices {
            let part = &slice[..slice.len().min(room)];
            taken.extend_from_slice(part);
            room -= part.len();
        }
        self.room.store(room, Ordering::Relaxed);
        let count = taken.len() - before;
        drop(taken);
        // A call of the system takes its time, in which another could come.
        thread::yield_now();
        Ok(count)
    }
}

struct Bell(Thread, AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::Release);
        self.0.unpark();
    }
}

#[test]
fn two_writers_cut_lose_and_overtake_nothing() {
    let seed = fastrand::u64(..);
    let hub = Hub::new(Limits::new(Bounds { messages: 1 << 20, bytes: 1 << 30 }), |_| {});
    let channel = ChannelName::parse("door").unwrap();
    let mut client = hub.join(Transport::Sse).unwrap();
    let wanted = [Subscription::Exact(channel.clone())];
    client.want(&wanted).unwrap();
    client.hear(&wanted);
    let sink = Arc::new(Narrow::default());
    client.outbox().attach(sink.clone(), Bytes::from_static(b"head\n\n"));

    let total = thread::scope(|scope| {
        scope.spawn(|| fan_out(&hub, &channel, fastrand::Rng::with_seed(seed)));
        scope.spawn(|| {
            for word in 0..WORDS {
                let text = format!("event: word\ndata: {word}\n\n");
                client.outbox().push(Frame::announcement(text.into()));
            }
        });
        scope
            .spawn(|| task(client.outbox(), &sink, fastrand::Rng::with_seed(!seed)))
            .join()
            .unwrap()
    });

    let taken = String::from_utf8(std::mem::take(&mut sink.taken.lock().unwrap())).unwrap();
    let mut frames = taken.split("\n\n");
    assert_eq!(frames.next(), Some("head"));
    let (mut next, mut word) = (0, 0);
    for frame in frames.filter(|frame| !frame.is_empty()) {
        if frame == format!("event: word\ndata: {word}") {
            word += 1;
        } else {
            let told = format!("\"data\":{next}}}");
            assert!(frame.contains(&told), "seed {seed}: {told} is not in {frame}");
            next += 1;
        }
    }
    assert_eq!((next, word, total), (NOTIFICATIONS, WORDS, NOTIFICATIONS + WORDS + 1));
}

/// Pushes, now and then writes, and sometimes dies with what it wanted to write.
fn fan_out(hub: &Hub, channel: &ChannelName, mut luck: fastrand::Rng) {
    let mut touched = Touched::default();
    for number in 0..NOTIFICATIONS {
        let notification = Notification {
            id: number.to_string(),
            kind: "t".into(),
            source: "/s".into(),
            channel: channel.clone(),
            time: "2025-01-31T08:00:00Z".into(),
            traceparent: None,
            data: json!(number),
            accepted_ms: None,
            published_ms: None,
            position: None,
            origin: Origin::Trunkline,
        };
        hub.dispatch(channel, &mut Encoded::new(&notification), &mut touched);
        match luck.u8(..8) {
            // The last is left to the task.
            _ if number + 1 == NOTIFICATIONS => drop(std::mem::take(&mut touched)),
            0..6 => drop(touched.write(luck.usize(1..4))),
            6 => {}
            _ => drop(std::mem::take(&mut touched)),
        }
    }
}

/// Writes when it is woken, and makes room where there is none. How many frames there were.
fn task(outbox: &Outbox, sink: &Narrow, mut luck: fastrand::Rng) -> usize {
    let bell = Arc::new(Bell(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(bell.clone());
    let deadline = Instant::now() + Duration::from_secs(20);
    let (mut seen, mut frames) = (0, 0);
    loop {
        match outbox.write(&mut Context::from_waker(&waker)) {
            Written::More => continue,
            Written::Blocked => {
                sink.room.fetch_add(luck.usize(1..2_000), Ordering::Relaxed);
                continue;
            }
            Written::Everything => {}
            Written::Closed(reason) | Written::Lost(reason) => panic!("{reason:?}"),
        }
        // What fan-out writes to the end it tells nobody, so it is looked for.
        while !bell.1.swap(false, Ordering::Acquire) {
            let taken = sink.taken.lock().unwrap();
            while let Some(end) = taken[seen..].windows(2).position(|two| two == b"\n\n") {
                (seen, frames) = (seen + end + 2, frames + 1);
            }
            drop(taken);
            if frames == NOTIFICATIONS + WORDS + 1 {
                return frames;
            }
            assert!(Instant::now() < deadline, "{frames} frames, and nobody wakes the task");
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}
