//! One run of one chain over one event.

use std::fmt;

use cel::Context;
use serde_json::{Map, Value};

use super::chain::{Node, RuleChain, Step};
use super::expression::{self, Container, Expression, Problem};
use crate::model::{ChannelName, Event, RuleOutcome};

/// What a chain made of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainRun {
    /// The chain.
    pub chain_id: String,
    /// How the run ended.
    pub outcome: RuleOutcome,
    /// What is to be published, in order. Empty if the run failed: a chain speaks whole or not
    /// at all.
    pub notifications: Vec<Planned>,
    /// Why the run failed.
    pub error: Option<RuleError>,
}

/// A notification that an action wants published.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The action.
    pub node_id: String,
    /// Where to.
    pub channel: ChannelName,
    /// The notification's `type`.
    pub kind: String,
    /// The variables if a transform set any, else the event's data; binary data stays Base64.
    pub data: Value,
}

/// Why a run failed, and at which node. Its text holds no value of the event, so it may be
/// logged and stored. The same event fails the same way again: it is not worth a retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct RuleError {
    /// The node.
    pub node_id: String,
    /// The field of the node, such as `when` or `set.message`.
    pub field: String,
    /// What went wrong there.
    pub problem: Problem,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node `{}`, `{}`: {}", self.node_id, self.field, self.problem)
    }
}

/// Runs every chain over the event, in order; one that fails does not stop the others.
pub(super) fn run_all(chains: &[&RuleChain], event: &Event) -> Vec<ChainRun> {
    let mut scope = expression::scope();
    match Container::borrowed(event.as_map()) {
        Ok(converted) => expression::bind(&mut scope, "event", converted),
        Err(problem) => return chains.iter().map(|chain| failed(chain, problem.clone())).collect(),
    }
    chains
        .iter()
        .map(|chain| {
            expression::refuel();
            let mut run = Run { event, scope: scope.new_inner_scope(), vars: Map::new() };
            let (notifications, error) = match run.walk(&chain.nodes) {
                Ok(notifications) => (notifications, None),
                Err(error) => (vec![], Some(error)),
            };
            let outcome = match (&error, notifications.is_empty()) {
                (Some(_), _) => RuleOutcome::Error,
                (None, true) => RuleOutcome::NoMatch,
                (None, false) => RuleOutcome::Match,
            };
            ChainRun { chain_id: chain.id().to_owned(), outcome, notifications, error }
        })
        .collect()
}

/// A run that failed before its first node was asked.
pub(super) fn failed(chain: &RuleChain, problem: Problem) -> ChainRun {
    let node_id = chain.nodes.first().map(|node| node.id.clone()).unwrap_or_default();
    ChainRun {
        chain_id: chain.id().to_owned(),
        outcome: RuleOutcome::Error,
        notifications: vec![],
        error: Some(RuleError { node_id, field: "event".to_owned(), problem }),
    }
}

struct Run<'e, 'p, 'v> {
    event: &'e Event,
    scope: Context<'p, 'v>,
    vars: Map<String, Value>,
}

impl Run<'_, '_, '_> {
    /// Follows one path from the first node. A chain has no cycle, so the path ends.
    fn walk(&mut self, nodes: &[Node]) -> Result<Vec<Planned>, RuleError> {
        let mut planned = vec![];
        let mut at = nodes.first();
        self.bind_vars().map_err(|problem| error(at, "vars", problem))?;
        while let Some(node) = at {
            let failed = |field: &str, problem| error(Some(node), field, problem);
            let next = match &node.step {
                Step::Filter { when, then, otherwise } => {
                    match self.value(when).map_err(|problem| failed("when", problem))? {
                        Value::Bool(true) => then,
                        Value::Bool(false) => otherwise,
                        _ => return Err(failed("when", Problem::NotABoolean)),
                    }
                }
                Step::Transform { set, then } => {
                    // All see the variables as they were: an object has no order.
                    let values: Result<Vec<_>, _> = set
                        .iter()
                        .map(|(name, expression)| {
                            let value = self.value(expression);
                            let value =
                                value.map_err(|problem| failed(&format!("set.{name}"), problem))?;
                            Ok((name.clone(), value))
                        })
                        .collect();
                    self.vars.extend(values?);
                    self.bind_vars().map_err(|problem| failed("set", problem))?;
                    then
                }
                Step::Action { channel, kind, then } => {
                    let channel = self
                        .channel(channel)
                        .map_err(|problem| failed("notify.channel", problem))?;
                    let (node_id, kind) = (node.id.clone(), kind.clone());
                    let data = self.data().map_err(|problem| failed("notify", problem))?;
                    planned.push(Planned { node_id, channel, kind, data });
                    then
                }
            };
            at = next.and_then(|place| nodes.get(place));
        }
        Ok(planned)
    }

    fn value(&self, expression: &Expression) -> Result<Value, Problem> {
        expression.evaluate(&self.scope)
    }

    fn channel(&self, expression: &Expression) -> Result<ChannelName, Problem> {
        let name = self.value(expression)?;
        name.as_str().and_then(|name| ChannelName::parse(name).ok()).ok_or(Problem::NotAChannel)
    }

    fn bind_vars(&mut self) -> Result<(), Problem> {
        self.vars.values().try_for_each(expression::spend)?;
        expression::bind(&mut self.scope, "vars", Container::owned(&self.vars)?);
        Ok(())
    }

    fn data(&self) -> Result<Value, Problem> {
        if !self.vars.is_empty() {
            self.vars.values().try_for_each(expression::spend)?;
            return Ok(Value::Object(self.vars.clone()));
        }
        let members = self.event.as_map();
        let data = members.get("data").or_else(|| members.get("data_base64"));
        data.map_or(Ok(()), expression::spend)?;
        Ok(data.cloned().unwrap_or(Value::Null))
    }
}

fn error(node: Option<&Node>, field: &str, problem: Problem) -> RuleError {
    let node_id = node.map(|node| node.id.clone()).unwrap_or_default();
    RuleError { node_id, field: field.to_owned(), problem }
}
