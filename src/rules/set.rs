//! All chains of a namespace, ready to run.

use std::collections::HashMap;
use std::sync::Arc;

use super::chain::RuleChain;
use super::expression::Problem;
use super::run::{self, ChainRun};
use super::stack::on_a_deep_stack;
use crate::model::Event;

/// Expressions with at most this many levels run on the caller's own stack: they need up to
/// 1 MiB of it, and threads of the runtime have 2 MiB.
const SHALLOW: usize = 16;

/// The chains that are enabled, indexed by the type of event they listen to.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// In the order of their ids.
    chains: Vec<Arc<RuleChain>>,
    /// Places of the chains that listen to exactly one type.
    by_type: HashMap<String, Vec<usize>>,
    /// Places of all others.
    by_pattern: Vec<usize>,
}

impl RuleSet {
    /// Indexes chains that are compiled already. Disabled ones are left out.
    pub fn new(chains: impl IntoIterator<Item = Arc<RuleChain>>) -> Self {
        let mut chains: Vec<_> = chains.into_iter().filter(|chain| chain.enabled()).collect();
        chains.sort_by(|a, b| a.id().cmp(b.id()));
        let (mut by_type, mut by_pattern) = (HashMap::<_, Vec<_>>::new(), vec![]);
        for (place, chain) in chains.iter().enumerate() {
            match chain.exact_type() {
                Some(kind) => by_type.entry(kind.to_owned()).or_default().push(place),
                None => by_pattern.push(place),
            }
        }
        Self { chains, by_type, by_pattern }
    }

    /// How many chains there are.
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// The chains that listen to this event, in the order of their ids.
    pub fn matching<'a>(&'a self, event: &Event) -> Vec<&'a RuleChain> {
        let exact = self.by_type.get(event.kind()).map(Vec::as_slice).unwrap_or_default();
        let mut places: Vec<usize> = exact
            .iter()
            .chain(&self.by_pattern)
            .copied()
            .filter(|place| self.chains[*place].matches(event))
            .collect();
        places.sort_unstable();
        places.into_iter().map(|place| &*self.chains[place]).collect()
    }

    /// Runs every chain that listens to this event; one that fails does not stop the others.
    /// An event that no chain listens to costs two look-ups.
    ///
    /// There is no interrupt. What a chain may do on one event is bounded to about a second of
    /// work, so call it off the threads that do IO.
    pub fn evaluate(&self, event: &Event) -> Vec<ChainRun> {
        let chains = self.matching(event);
        if chains.iter().all(|chain| chain.depth() <= SHALLOW) {
            return if chains.is_empty() { vec![] } else { run::run_all(&chains, event) };
        }
        on_a_deep_stack(|| run::run_all(&chains, event)).unwrap_or_else(|| {
            chains.iter().map(|chain| run::failed(chain, Problem::NoThread)).collect()
        })
    }
}
