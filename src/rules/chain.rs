//! A rule chain, ready to run.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::expression::Expression;
use super::pattern::Pattern;
use super::reader::read;
use super::stack::on_a_deep_stack;
use crate::model::{Event, Fault};

/// A checked and compiled rule chain. It serialises as the JSON it was made of, `id` included.
#[derive(Debug)]
pub struct RuleChain {
    pub(super) id: String,
    pub(super) enabled: bool,
    pub(super) kind: Pattern,
    pub(super) subject: Pattern,
    pub(super) nodes: Vec<Node>,
    pub(super) depth: usize,
    pub(super) document: Value,
}

/// A station on the path of a run.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) step: Step,
}

/// What a node does. Links are positions among the chain's nodes.
#[derive(Debug)]
pub(super) enum Step {
    /// Chooses the way on.
    Filter { when: Expression, then: Option<usize>, otherwise: Option<usize> },
    /// Sets variables.
    Transform { set: Vec<(String, Expression)>, then: Option<usize> },
    /// Notifies a channel.
    Action { channel: Expression, kind: String, then: Option<usize> },
}

impl RuleChain {
    /// Reads a chain. Its id stands in the document, in the path it is stored under, or both,
    /// and then it is the same. Answers with every fault at once, each with its JSON path.
    ///
    /// Compiling takes milliseconds per expression: keep it off the threads that do IO.
    pub fn parse(id_from_path: Option<&str>, document: Value) -> Result<Self, Vec<Fault>> {
        on_a_deep_stack(|| read(id_from_path, document)).unwrap_or_else(|| {
            let message = "the chain cannot be compiled now; try again".to_owned();
            Err(vec![Fault { path: "$".to_owned(), message }])
        })
    }

    /// Reads a chain as it is stored under its id, like [`RuleChain::parse`].
    pub fn from_json(id: &str, json: &[u8]) -> Result<Self, Vec<Fault>> {
        let document = serde_json::from_slice(json).map_err(|error| {
            vec![Fault { path: "$".to_owned(), message: format!("is not JSON: {error}") }]
        })?;
        Self::parse(Some(id), document)
    }

    /// The id, unique among all chains.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the chain is to run at all.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Whether the chain listens to this event, enabled or not.
    pub fn matches(&self, event: &Event) -> bool {
        self.kind.matches(Some(event.kind())) && self.subject.matches(event.subject())
    }

    /// The one `type` the chain listens to, if it is only one.
    pub(super) fn exact_type(&self) -> Option<&str> {
        match &self.kind {
            Pattern::Exact(kind) => Some(kind),
            Pattern::Any | Pattern::Prefix(_) => None,
        }
    }

    /// The levels of its deepest expression.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }
}

impl Serialize for RuleChain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document.serialize(serializer)
    }
}

impl Step {
    pub(super) fn expressions(&self) -> Vec<&Expression> {
        match self {
            Self::Filter { when, .. } => vec![when],
            Self::Transform { set, .. } => set.iter().map(|(_, expression)| expression).collect(),
            Self::Action { channel, .. } => vec![channel],
        }
    }
}
