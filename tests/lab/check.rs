//! What must be true of a round when it is over. Pure: what was said, published, buried and
//! heard goes in, and what is wrong comes out, in words.

use std::collections::{HashMap, HashSet};

use trunkline::model::Position;

use crate::books::{Books, Fate, Published, What, key};
use crate::ear::Ear;

/// Longer lists are cut.
const SHOWN: usize = 10;

/// Everything that was accepted was published or buried, and nothing that was refused; what was
/// published past the queue, once; and what has a key, in the order of its key.
pub fn promises(books: &Books, published: &Published, buried: &HashSet<u64>) -> Vec<String> {
    let mut wrong = Wrong::default();
    for (&what, &fate) in &books.fates {
        let times = published.get(&what).copied().unwrap_or_default();
        let is_buried = matches!(what, What::Event(number) if buried.contains(&number));
        match (what, fate) {
            (What::Event(_), Fate::Accepted) if times.least == 0 && !is_buried => {
                wrong.note("accepted, and neither done nor among the dead letters", what);
            }
            (_, Fate::Refused) if times.most > 0 || is_buried => {
                wrong.note("refused, and done all the same", what);
            }
            (What::Direct(..), Fate::Accepted) if times.least == 0 => {
                wrong.note("answered as published, and not published", what);
            }
            (What::Direct(..), _) if times.least > 1 => {
                wrong.note("published more than once", what)
            }
            _ => {}
        }
    }
    for &what in published.keys().filter(|what| !books.fates.contains_key(what)) {
        wrong.note("published, and never said in this round", what);
    }
    for &what in books.calm.iter().flatten() {
        if books.fates.get(&what) != Some(&Fate::Accepted) {
            wrong.note("not accepted although nothing was wrong", what);
        }
    }
    for what in out_of_order(books, published) {
        wrong.note("published before an earlier one of its key", what);
    }
    wrong.0.into_iter().map(|(why, which)| list(why, which)).collect()
}

/// Those with a key that came before one that was accepted earlier: each time the first counts,
/// because a job that is done again tells again, beside the next of its key if need be.
fn out_of_order(books: &Books, published: &Published) -> Vec<What> {
    // One whose fate nobody knows may have come in late.
    let accepted = books.fates.iter().filter(|(_, fate)| **fate == Fate::Accepted);
    let placed = accepted.filter_map(|(&what, _)| {
        let What::Event(number) = what else { return None };
        Some((key(number)?, number, published.get(&what)?.first?))
    });
    let mut placed: Vec<(u64, u64, Position)> = placed.collect();
    placed.sort_unstable_by_key(|&(key, number, _)| (key, number));
    let follows = |pair: &&[(u64, u64, Position)]| pair[0].0 == pair[1].0;
    let pairs = placed.windows(2).filter(follows);
    let wrong = pairs.filter(|pair| pair[1].2.is_covered_by(pair[0].2));
    wrong.map(|pair| What::Event(pair[1].1)).collect()
}

/// What one client heard is what was published, no more often on one connection, in order, and
/// nothing is missing of what was said in the calm; nothing at all, if it resumes.
pub fn hearing(
    ear: &Ear,
    wants: impl Fn(What) -> bool,
    books: &Books,
    published: &Published,
) -> Vec<String> {
    let mut wrong = Wrong::default();
    let mut times = HashMap::<(u32, What), u32>::new();
    let mut last = HashMap::<(u32, u8), u64>::new();
    for &(connection, what) in &ear.heard {
        let often = times.entry((connection, what)).or_default();
        *often += 1;
        let most = match (what, published.get(&what)) {
            (_, None) => 0,
            (What::Direct(..), Some(_)) => 1,
            (What::Event(_), Some(times)) => times.most,
        };
        if *often > most {
            wrong.note("heard on one connection more often than it was published", what);
        }
        // Only what was answered was published before the next was: the others may come late.
        if let What::Direct(caller, number) = what
            && books.fates.get(&what) == Some(&Fate::Accepted)
        {
            let before = last.insert((connection, caller), number);
            if before > Some(number) {
                wrong.note("heard after a later one", what);
            }
        }
    }
    let heard: HashSet<_> = ear.heard.iter().map(|&(_, what)| what).collect();
    let calm = books.calm.iter().flatten().copied();
    for what in calm.filter(|&what| wants(what) && !heard.contains(&what)) {
        wrong.note("not heard although nothing was wrong", what);
    }
    if ear.resumes && !ear.lost {
        let all = published.keys().copied();
        for what in all.filter(|&what| wants(what) && !heard.contains(&what)) {
            wrong.note("missing after it resumed, and not told as lost", what);
        }
    }
    wrong.0.into_iter().map(|(why, which)| list(why, which)).collect()
}

/// What is wrong, and with which.
#[derive(Default)]
struct Wrong(HashMap<&'static str, Vec<What>>);

impl Wrong {
    fn note(&mut self, why: &'static str, what: What) {
        self.0.entry(why).or_default().push(what);
    }
}

fn list(why: &str, mut which: Vec<What>) -> String {
    which.sort();
    let (all, rest) = (which.len(), which.len().saturating_sub(SHOWN));
    which.truncate(SHOWN);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{all} {why}: {which:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::Times;

    const EVENT: What = What::Event(1);
    const FIRST: What = What::Direct(0, 1);
    const SECOND: What = What::Direct(0, 2);

    fn books(said: &[(What, Fate)]) -> Books {
        Books { fates: said.iter().copied().collect(), ..Books::default() }
    }

    fn ear(heard: &[What]) -> Ear {
        Ear { heard: heard.iter().map(|&what| (1, what)).collect(), ..Ear::default() }
    }

    fn published(what: &[(What, u32)]) -> Published {
        what.iter().map(|&(what, times)| (what, Times::exactly(times))).collect()
    }

    #[test]
    fn an_accepted_event_is_published_or_buried() {
        let books = books(&[(EVENT, Fate::Accepted)]);
        let none = HashSet::new();
        assert_eq!(promises(&books, &published(&[(EVENT, 2)]), &none), [""; 0]);
        assert_eq!(promises(&books, &published(&[]), &HashSet::from([1])), [""; 0]);
        assert_eq!(promises(&books, &published(&[]), &none).len(), 1);
    }

    #[test]
    fn what_was_refused_is_not_published_and_what_was_not_said_neither() {
        let none = HashSet::new();
        let refused = books(&[(EVENT, Fate::Refused), (FIRST, Fate::Refused)]);
        assert_eq!(promises(&refused, &published(&[]), &none), [""; 0]);
        assert_eq!(promises(&refused, &published(&[(EVENT, 1)]), &none).len(), 1);
        assert_eq!(promises(&books(&[]), &published(&[(FIRST, 1)]), &none).len(), 1);
    }

    #[test]
    fn what_goes_past_the_queue_is_published_once() {
        let none = HashSet::new();
        let unknown = books(&[(FIRST, Fate::Unknown)]);
        assert_eq!(promises(&unknown, &published(&[]), &none), [""; 0]);
        assert_eq!(promises(&unknown, &published(&[(FIRST, 2)]), &none).len(), 1);
        let accepted = books(&[(FIRST, Fate::Accepted)]);
        assert_eq!(promises(&accepted, &published(&[(FIRST, 1)]), &none), [""; 0]);
        assert_eq!(promises(&accepted, &published(&[]), &none).len(), 1);
    }

    #[test]
    fn in_the_calm_everything_is_accepted() {
        for fate in [Fate::Refused, Fate::Unknown] {
            let mut books = books(&[(FIRST, fate)]);
            assert_eq!(promises(&books, &published(&[]), &HashSet::new()).len(), 0);
            books.calm = Some(vec![FIRST]);
            assert_eq!(promises(&books, &published(&[]), &HashSet::new()).len(), 1);
        }
    }

    #[test]
    fn events_of_one_key_are_published_in_their_order() {
        // The keys of 0, 1, 20 and 21, and none for 2.
        assert_eq!([0, 1, 20, 21, 2].map(key), [Some(0), Some(1), Some(0), Some(1), None]);
        let none = HashSet::new();
        let wrong = |fate: Fate, places: &[(u64, u64, u64)]| {
            let first =
                |epoch, at| Times { first: Some(Position { epoch, at }), ..Times::exactly(1) };
            let events = places.iter().map(|&(number, epoch, at)| (What::Event(number), epoch, at));
            let published =
                events.clone().map(|(what, epoch, at)| (what, first(epoch, at))).collect();
            let mut books = books(&[]);
            books.fates = events.map(|(what, ..)| (what, Fate::Accepted)).collect();
            books.fates.insert(What::Event(20), fate);
            promises(&books, &published, &none).len()
        };
        assert_eq!(wrong(Fate::Accepted, &[(0, 1, 7), (20, 1, 8), (1, 1, 5), (2, 1, 1)]), 0);
        assert_eq!(wrong(Fate::Accepted, &[(0, 1, 8), (20, 1, 7)]), 1);
        assert_eq!(wrong(Fate::Unknown, &[(0, 1, 8), (20, 1, 7)]), 0, "it may have come late");
        assert_eq!(wrong(Fate::Accepted, &[(0, 1, 8), (20, 2, 7)]), 0, "another history");
    }

    #[test]
    fn a_client_hears_in_order_and_nothing_twice() {
        let books = books(&[(FIRST, Fate::Accepted), (SECOND, Fate::Accepted)]);
        let all = published(&[(FIRST, 1), (SECOND, 1), (EVENT, 2)]);
        let wrong = |heard: &[What]| hearing(&ear(heard), |_| true, &books, &all).len();
        assert_eq!(wrong(&[FIRST, EVENT, SECOND, EVENT]), 0);
        assert_eq!(wrong(&[SECOND]), 0, "without a place to resume from, it may miss some");
        assert_eq!(wrong(&[SECOND, FIRST]), 1);
        assert_eq!(wrong(&[FIRST, FIRST]), 1);
        assert_eq!(wrong(&[EVENT, EVENT, EVENT]), 1);
    }

    #[test]
    fn a_client_misses_nothing_in_the_calm_and_nothing_at_all_if_it_resumes() {
        let mut books = books(&[(FIRST, Fate::Accepted), (SECOND, Fate::Accepted)]);
        books.calm = Some(vec![SECOND]);
        let all = published(&[(FIRST, 1), (SECOND, 1)]);
        let wrong = |ear: &Ear| hearing(ear, |_| true, &books, &all).len();
        assert_eq!(wrong(&ear(&[SECOND])), 0);
        assert_eq!(wrong(&ear(&[FIRST])), 1);
        assert_eq!(wrong(&Ear { resumes: true, ..ear(&[SECOND]) }), 1);
        assert_eq!(wrong(&Ear { resumes: true, lost: true, ..ear(&[SECOND]) }), 0);
    }
}
