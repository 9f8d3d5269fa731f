//! What the queue has to do, without Redis: where each job is, and what is known of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trunkline::queue::{Job, MAX_DELIVERIES, Verdict};

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In front of the workers, or will be there within milliseconds.
    Waiting,
    /// Asked for a time that is far away.
    Later,
    /// In the hands of a worker that lives.
    Taken(usize),
    /// In the hands of one that crashed.
    Lost,
    /// Among the dead letters.
    Dead,
    /// Settled.
    Done,
    /// Fell out of the dead letters, or was deleted from there.
    Dropped,
}

#[derive(Clone, Debug)]
pub struct Known {
    pub place: Place,
    attempt: u32,
    /// Deliveries behind it.
    deliveries: u32,
    deaths: usize,
    /// The next takeover is one too many.
    worn: bool,
}

/// Bounds of the queue under test.
pub struct Bounds {
    pub attempts: u32,
    pub letters: usize,
    pub critical: usize,
    pub recovery: usize,
}

/// A dead letter: the job, its reason, `attempt`, `delivered` and the deaths before this one.
pub type Letter = (String, &'static str, u32, u32, usize);

/// Some jobs share a key, by their names; the others have none.
pub fn key_of(name: &str) -> Option<usize> {
    let number: usize = name.trim_matches(['<', '>']).parse().unwrap();
    Some(number % 6).filter(|key| *key < 2)
}

pub struct Reference {
    pub bounds: Bounds,
    pub jobs: BTreeMap<String, Known>,
    /// The oldest first.
    pub dead: VecDeque<Letter>,
    pub full: bool,
    /// The live jobs of each key, in their order.
    lines: BTreeMap<usize, Vec<String>>,
}

impl Reference {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            jobs: BTreeMap::new(),
            dead: VecDeque::new(),
            full: false,
            lines: BTreeMap::new(),
        }
    }

    /// Those in a place that satisfies the predicate.
    pub fn those(&self, is: impl Fn(Place) -> bool) -> BTreeSet<String> {
        let there = self.jobs.iter().filter(|(_, known)| is(known.place));
        there.map(|(name, _)| name.clone()).collect()
    }

    /// Those that wait for nothing but a worker.
    pub fn ready(&self) -> BTreeSet<String> {
        let mut waiting = self.those(|it| it == Place::Waiting);
        waiting.retain(|name| self.first_of(name) == name);
        waiting
    }

    /// The job that this one waits for, or itself. One that is worn out may have been buried already.
    fn first_of<'a>(&'a self, name: &'a str) -> &'a str {
        let line = key_of(name).and_then(|key| self.lines.get(&key));
        let first = line.and_then(|line| line.iter().find(|it| !self.jobs[*it].worn));
        first.map_or(name, |first| first)
    }

    /// Not finished, wherever that is.
    pub fn live(&self) -> BTreeSet<String> {
        self.those(|it| !matches!(it, Place::Dead | Place::Done | Place::Dropped))
    }

    /// Puts jobs in. For each whether it was known before; `None` when the queue is full.
    pub fn enqueue(&mut self, batch: &[(String, Place)]) -> Option<Vec<bool>> {
        let mut seen: BTreeSet<&String> = self.jobs.keys().collect();
        let repeats: Vec<bool> = batch.iter().map(|(name, _)| !seen.insert(name)).collect();
        let fresh = repeats.iter().filter(|repeat| !**repeat).count();
        if fresh == 0 {
            return Some(repeats);
        }
        let depth = self.live().len();
        let limit = if self.full { self.bounds.recovery + 1 } else { self.bounds.critical };
        if depth >= limit {
            self.full = true;
            return None;
        }
        self.full = depth + fresh >= self.bounds.critical;
        for ((name, place), _) in batch.iter().zip(&repeats).filter(|(_, repeat)| !**repeat) {
            self.put(name, *place);
        }
        Some(repeats)
    }

    fn put(&mut self, name: &str, place: Place) {
        let known = Known { place, attempt: 1, deliveries: 0, deaths: 0, worn: false };
        assert!(self.jobs.insert(name.to_owned(), known).is_none(), "{name} is there already");
        self.line_up(name);
    }

    fn line_up(&mut self, name: &str) {
        if let Some(key) = key_of(name) {
            self.lines.entry(key).or_default().push(name.to_owned());
        }
    }

    fn leave_the_line(&mut self, name: &str) {
        self.lines.values_mut().for_each(|line| line.retain(|it| it != name));
    }

    /// What another hand put into the stream: it is buried by whoever is given it.
    pub fn stranger(&mut self, name: &str) {
        self.put(name, Place::Waiting);
        self.known(name).deliveries = 1;
        self.bury(name, "malformed");
    }

    /// A worker was given a job.
    pub fn take(&mut self, job: &Job, worker: usize) -> String {
        let name = String::from_utf8(job.body.clone()).unwrap();
        assert_eq!(self.first_of(&name), name, "who was there before was passed by");
        let known = self.known(&name);
        let free = matches!(known.place, Place::Waiting | Place::Lost) && !known.worn;
        assert!(free, "{name}, {known:?}, was given to worker {worker}: {job:?}");
        known.deliveries += 1;
        let told = (job.attempt, job.deliveries);
        assert_eq!(told, (known.attempt, known.deliveries), "attempt and deliveries of {name}");
        known.place = Place::Taken(worker);
        name
    }

    /// A worker says what becomes of a job that it has.
    pub fn settle(&mut self, name: &str, verdict: &Verdict) {
        let attempts = self.bounds.attempts;
        let known = self.known(name);
        assert!(matches!(known.place, Place::Taken(_)), "{name}: {known:?}");
        match verdict {
            Verdict::Done => {
                known.place = Place::Done;
                self.leave_the_line(name);
            }
            Verdict::Dead { .. } => self.bury(name, "rule_error"),
            Verdict::Retry { .. } if known.attempt >= attempts => self.bury(name, "attempts"),
            _ if known.deliveries >= MAX_DELIVERIES => self.bury(name, "abandoned"),
            Verdict::Retry { .. } => {
                known.attempt += 1;
                known.place = Place::Waiting;
            }
            Verdict::RetryUncounted => known.place = Place::Waiting,
        }
    }

    fn bury(&mut self, name: &str, reason: &'static str) {
        self.leave_the_line(name);
        let known = self.known(name);
        known.place = Place::Dead;
        let letter = (name.to_owned(), reason, known.attempt, known.deliveries, known.deaths);
        known.deaths += 1;
        self.dead.push_back(letter);
        if self.dead.len() > self.bounds.letters {
            let (oldest, ..) = self.dead.pop_front().unwrap();
            self.known(&oldest).place = Place::Dropped;
        }
    }

    /// A worker ends in peace: what it has goes back as if it had never been given out.
    pub fn drain(&mut self, worker: usize) {
        for name in self.those(|it| it == Place::Taken(worker)) {
            let known = self.known(&name);
            known.place = Place::Waiting;
            known.deliveries -= 1;
        }
    }

    pub fn crash(&mut self, worker: usize) {
        for name in self.those(|it| it == Place::Taken(worker)) {
            self.known(&name).place = Place::Lost;
        }
    }

    /// So many deliveries that nobody settled: the next takeover buries the job.
    pub fn wear_out(&mut self, name: &str) {
        let known = self.known(name);
        known.worn = true;
        // They are those of its present entry, on top of the ones it came with.
        known.deliveries += MAX_DELIVERIES - 1;
    }

    /// The takeover has been.
    pub fn abandon_the_worn(&mut self) {
        for name in self.those(|it| it == Place::Lost) {
            if std::mem::take(&mut self.known(&name).worn) {
                self.bury(&name, "abandoned");
            }
        }
    }

    pub fn time_comes(&mut self, name: &str) {
        assert_eq!(self.known(name).place, Place::Later);
        self.known(name).place = Place::Waiting;
    }

    /// Puts dead letters back, in this order. How many went.
    pub fn requeue(&mut self, names: &[String]) -> usize {
        let mut back = 0;
        let strange: Vec<String> =
            self.dead.iter().filter(|it| it.1 == "malformed").map(|it| it.0.clone()).collect();
        for name in names.iter().filter(|name| !strange.contains(name)) {
            if self.full || self.live().len() >= self.bounds.critical {
                break;
            }
            self.leave_the_dead(name);
            let known = self.known(name);
            let deaths = known.deaths;
            *known =
                Known { place: Place::Waiting, attempt: 1, deliveries: 0, deaths, worn: false };
            self.line_up(name);
            back += 1;
        }
        back
    }

    pub fn delete(&mut self, names: &[String]) {
        for name in names {
            self.leave_the_dead(name);
            self.known(name).place = Place::Dropped;
        }
    }

    fn leave_the_dead(&mut self, name: &str) {
        let at = self.dead.iter().position(|(it, ..)| it == name).unwrap();
        self.dead.remove(at);
    }

    pub fn known(&mut self, name: &str) -> &mut Known {
        self.jobs.get_mut(name).unwrap_or_else(|| panic!("nobody put {name} in"))
    }
}
