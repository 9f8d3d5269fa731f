//! The rule chains of the index, compiled: what path 2 runs over every event.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use crate::index::{ChainCache, IndexError, Snapshot};
use crate::rules::{RuleChain, RuleSet};
use crate::telemetry::events::job::{RuleChainRejected, RulesLoaded};
use crate::telemetry::task::spawn_blocking;

/// The chains as they are now. A job that finds them unchanged takes no lock.
pub struct Rules {
    chains: ChainCache,
    compiled: ArcSwapOption<Compiled>,
    /// One job compiles after a change, the others wait for what it makes.
    compiling: Mutex<()>,
}

/// Why there are no rules to run.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// They cannot be known fresh.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Compiling them panicked, which was counted.
    #[error("the rules do not compile")]
    Compile,
}

impl Rules {
    /// The rules of one namespace; nothing is loaded yet.
    pub fn new(chains: ChainCache) -> Self {
        Self { chains, compiled: ArcSwapOption::empty(), compiling: Mutex::new(()) }
    }

    /// The chains as they are now. After a change the chains that changed are compiled, off the
    /// threads that do IO; the others are taken over.
    ///
    /// # Errors
    /// Without a copy that is known to be fresh there are no rules. Cancelling is safe.
    pub async fn now(&self) -> Result<Arc<RuleSet>, RulesError> {
        let snapshot = self.chains.snapshot().await?;
        if let Some(rules) = self.of(&snapshot) {
            return Ok(rules);
        }
        let _alone = self.compiling.lock().await;
        // What is asked for while another compiled may have changed again.
        let snapshot = self.chains.snapshot().await?;
        if let Some(rules) = self.of(&snapshot) {
            return Ok(rules);
        }
        let before = self.compiled.load_full();
        let compiling = move || Compiled::new(snapshot, before.as_deref());
        let compiled = spawn_blocking("rules", compiling).await.ok_or(RulesError::Compile)?;
        let rules = Arc::clone(&compiled.rules);
        RulesLoaded { chains: rules.len() }.emit();
        self.compiled.store(Some(Arc::new(compiled)));
        Ok(rules)
    }

    fn of(&self, snapshot: &Arc<Snapshot>) -> Option<Arc<RuleSet>> {
        let compiled = self.compiled.load();
        let compiled = compiled.as_ref().filter(|it| Arc::ptr_eq(&it.of, snapshot))?;
        Some(Arc::clone(&compiled.rules))
    }
}

/// The chains of one snapshot.
struct Compiled {
    of: Arc<Snapshot>,
    /// In the order of the snapshot; nothing where a chain cannot be used.
    chains: Vec<Option<Arc<RuleChain>>>,
    rules: Arc<RuleSet>,
}

impl Compiled {
    fn new(of: Arc<Snapshot>, before: Option<&Self>) -> Self {
        let compile = |(id, json): &(String, Vec<u8>)| match before.and_then(|it| it.of(id, json)) {
            Some(unchanged) => unchanged.clone(),
            None => RuleChain::from_json(id, json)
                .map(Arc::new)
                .map_err(|faults| RuleChainRejected { chain: id, faults: faults.len() }.emit())
                .ok(),
        };
        let chains: Vec<_> = of.chains.iter().map(compile).collect();
        let rules = Arc::new(RuleSet::new(chains.iter().flatten().cloned()));
        Self { of, chains, rules }
    }

    /// What the very same chain was compiled to.
    fn of(&self, id: &str, json: &[u8]) -> Option<&Option<Arc<RuleChain>>> {
        let place = self.of.chains.binary_search_by(|(known, _)| known.as_str().cmp(id)).ok()?;
        (self.of.chains[place].1 == json).then(|| &self.chains[place])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(chains: &[(&str, &str)]) -> Arc<Snapshot> {
        let teller = |channel: &str| {
            let tell = json!({"id": "tell", "kind": "action",
                "notify": {"channel": channel, "type": "t"}});
            json!({"on": {"type": "*"}, "nodes": [tell]}).to_string().into_bytes()
        };
        let chains = chains.iter().map(|(id, channel)| ((*id).to_owned(), teller(channel)));
        Arc::new(Snapshot { version: 1, chains: chains.collect() })
    }

    #[test]
    fn a_change_of_one_chain_compiles_that_one_alone() {
        let before = Compiled::new(snapshot(&[("a", "'a'"), ("b", "'b'"), ("c", "'c'")]), None);
        let after =
            Compiled::new(snapshot(&[("b", "'b'"), ("c", "'other'"), ("d", "'d'")]), Some(&before));
        let chain = |compiled: &Compiled, place: usize| compiled.chains[place].clone().unwrap();
        assert!(Arc::ptr_eq(&chain(&before, 1), &chain(&after, 0)), "b is what it was");
        assert!(!Arc::ptr_eq(&chain(&before, 2), &chain(&after, 1)), "c says something else");
        assert_eq!(after.rules.len(), 3, "b, c and d");
    }

    #[test]
    fn a_stored_chain_that_cannot_be_used_does_not_stop_the_others() {
        let compiled = Compiled::new(snapshot(&[("a", "'a'"), ("b", "'"), ("c", "no such")]), None);
        assert_eq!(compiled.rules.len(), 1);
        assert_eq!(
            compiled.chains.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, false, false]
        );
    }
}
