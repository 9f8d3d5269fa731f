//! Reads a chain from its JSON and names everything that is wrong with it.

use std::collections::HashMap;

use serde_json::Value;

use super::MAX_NODES;
use super::chain::{Node, RuleChain, Step};
use super::document::Fields;
use super::expression::Expression;
use super::graph::{self, Link, Outline};
use super::pattern::Pattern;
use crate::model::{Fault, bounded};

/// The longest name of a chain and `type` of a notification, in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// The most variables one transform sets.
const MAX_VARIABLES: usize = 64;

/// Reads and compiles a chain, on a stack that is deep already.
pub(super) fn read(
    id_from_path: Option<&str>,
    mut document: Value,
) -> Result<RuleChain, Vec<Fault>> {
    if let (Some(id), Value::Object(members)) = (id_from_path, &mut document) {
        members.entry("id").or_insert_with(|| id.into());
    }
    let mut faults = vec![];
    let chain = Reader { faults: &mut faults }.chain(id_from_path, document);
    match chain {
        Some(chain) if faults.is_empty() => Ok(chain),
        _ => Err(bounded(faults)),
    }
}

/// A node whose links are still names; `None` where a part could not be read.
struct Draft {
    outline: Outline,
    step: Option<DraftStep>,
}

enum DraftStep {
    Filter(Expression),
    Transform(Vec<(String, Expression)>),
    Action(Expression, String),
}

struct Reader<'f> {
    faults: &'f mut Vec<Fault>,
}

impl Reader<'_> {
    fn chain(&mut self, id_from_path: Option<&str>, document: Value) -> Option<RuleChain> {
        let mut fields = Fields::open("$", document.clone(), self.faults)?;
        let id = fields.id();
        if let (Some(id), Some(in_path)) = (&id, id_from_path)
            && id != in_path
        {
            fields.fault("id", format!("differs from `{in_path}`, under which it is stored"));
        }
        if fields.text("name").is_some_and(|name| name.len() > MAX_TEXT_BYTES) {
            fields.fault("name", format!("is longer than {MAX_TEXT_BYTES} bytes"));
        }
        let enabled = match fields.take("enabled") {
            None => true,
            Some(Value::Bool(enabled)) => enabled,
            Some(_) => {
                fields.fault("enabled", "must be true or false");
                true
            }
        };
        let on = fields.required("on", "an object with the `type` of the events");
        let nodes =
            match fields.required("nodes", "a list of nodes, the first is where a run begins") {
                Some(Value::Array(nodes)) => Some(nodes),
                Some(_) => {
                    fields.fault("nodes", "must be a list");
                    None
                }
                None => None,
            };
        fields.finish();
        let trigger = on.and_then(|on| self.trigger(on));
        let nodes = nodes.and_then(|nodes| self.nodes(nodes));
        let ((kind, subject), (nodes, depth)) = (trigger?, nodes?);
        Some(RuleChain { id: id?, enabled, kind, subject, nodes, depth, document })
    }

    fn trigger(&mut self, on: Value) -> Option<(Pattern, Pattern)> {
        let mut fields = Fields::open("$.on", on, self.faults)?;
        let kind = fields.required_text("type", "a type, `prefix.*` or `*`");
        let subject = fields.text("subject").unwrap_or_else(|| "*".to_owned());
        let mut pattern = |name: &str, text: &str| {
            Pattern::parse(text).map_err(|message| fields.fault(name, message)).ok()
        };
        let kind = kind.and_then(|kind| pattern("type", &kind));
        let subject = pattern("subject", &subject);
        fields.finish();
        Some((kind?, subject?))
    }

    fn nodes(&mut self, nodes: Vec<Value>) -> Option<(Vec<Node>, usize)> {
        if nodes.is_empty() || nodes.len() > MAX_NODES {
            let message = format!("has {} nodes; a chain has 1 to {MAX_NODES}", nodes.len());
            self.faults.push(Fault { path: "$.nodes".to_owned(), message });
            return None;
        }
        let (outlines, steps): (Vec<_>, Vec<_>) = nodes
            .into_iter()
            .enumerate()
            .map(|(place, node)| self.node(format!("$.nodes[{place}]"), node))
            .map(|draft| (draft.outline, draft.step))
            .unzip();
        let places = graph::places(&outlines, self.faults);
        graph::check(&outlines, &places, self.faults);
        let nodes: Option<Vec<Node>> = outlines
            .iter()
            .zip(steps)
            .map(|(outline, step)| {
                Some(Node { id: outline.id.clone()?, step: link(outline, step?, &places) })
            })
            .collect();
        let nodes = nodes?;
        let depth =
            nodes.iter().flat_map(|node| node.step.expressions()).map(Expression::depth).max();
        Some((nodes, depth.unwrap_or(0)))
    }

    fn node(&mut self, path: String, node: Value) -> Draft {
        let mut outline = Outline { path, id: None, links: vec![] };
        let Some(mut fields) = Fields::open(&outline.path, node, self.faults) else {
            return Draft { outline, step: None };
        };
        outline.id = fields.id();
        let step = match fields
            .required_text("kind", "`filter`, `transform` or `action`")
            .as_deref()
        {
            Some("filter") => {
                let when =
                    fields.required_text("when", "a CEL expression that gives true or false");
                let when = when.and_then(|when| compile(&mut fields, "when", &when));
                let ways = [follow(&mut fields, "then"), follow(&mut fields, "else")];
                if ways.iter().all(Option::is_none) {
                    fields.fault(
                        "then",
                        "a filter leads somewhere; name a node in `then`, `else` or both",
                    );
                }
                outline.links.extend(ways.into_iter().flatten());
                when.map(DraftStep::Filter)
            }
            Some("transform") => {
                let set = fields
                    .required("set", "an object of CEL expressions, by the name of the variable");
                outline.links.extend(follow(&mut fields, "then"));
                set.and_then(|set| variables(&mut fields, set)).map(DraftStep::Transform)
            }
            Some("action") => {
                let notify = fields.required("notify", "an object with `channel` and `type`");
                outline.links.extend(follow(&mut fields, "then"));
                notify.and_then(|notify| notification(&mut fields, notify))
            }
            unknown => {
                if unknown.is_some() {
                    fields.fault("kind", "must be `filter`, `transform` or `action`");
                }
                // Its other fields cannot be judged, but where it leads keeps nodes in reach.
                for name in ["then", "else"] {
                    outline.links.extend(follow(&mut fields, name));
                }
                return Draft { outline, step: None };
            }
        };
        fields.finish();
        Draft { outline, step }
    }
}

/// Turns the names a node leads to into places. A name without a place is a fault already.
fn link(outline: &Outline, step: DraftStep, places: &HashMap<String, usize>) -> Step {
    let place = |field: &str| {
        let link = outline.links.iter().find(|link| link.path.ends_with(field))?;
        places.get(&link.target).copied()
    };
    let then = place(".then");
    match step {
        DraftStep::Filter(when) => Step::Filter { when, then, otherwise: place(".else") },
        DraftStep::Transform(set) => Step::Transform { set, then },
        DraftStep::Action(channel, kind) => Step::Action { channel, kind, then },
    }
}

fn follow(fields: &mut Fields, name: &'static str) -> Option<Link> {
    let target = fields.text(name)?;
    Some(Link { path: fields.path(name), target })
}

fn compile(fields: &mut Fields, name: &str, source: &str) -> Option<Expression> {
    match Expression::compile(source) {
        Ok(expression) => Some(expression),
        Err(messages) => {
            messages.into_iter().for_each(|message| fields.fault(name, message));
            None
        }
    }
}

fn variables(fields: &mut Fields, set: Value) -> Option<Vec<(String, Expression)>> {
    let Value::Object(set) = set else {
        fields.fault("set", "must be an object");
        return None;
    };
    if set.is_empty() || set.len() > MAX_VARIABLES {
        fields.fault(
            "set",
            format!("has {} variables; a transform sets 1 to {MAX_VARIABLES}", set.len()),
        );
        return None;
    }
    let compiled: Vec<_> = set
        .into_iter()
        .map(|(name, source)| {
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let field = if plain {
                format!("set.{name}")
            } else {
                format!("set[{}]", Value::from(name.as_str()))
            };
            if name.is_empty() || name.len() > MAX_TEXT_BYTES {
                fields.fault(
                    "set",
                    format!("the name of a variable has 1 to {MAX_TEXT_BYTES} bytes"),
                );
                return None;
            }
            let Value::String(source) = source else {
                fields.fault(&field, "must be a CEL expression, as a text");
                return None;
            };
            Some((name, compile(fields, &field, &source)?))
        })
        .collect();
    compiled.into_iter().collect()
}

fn notification(fields: &mut Fields, notify: Value) -> Option<DraftStep> {
    let path = fields.path("notify");
    let mut fields = Fields::open(&path, notify, fields.faults())?;
    let channel = fields
        .required_text("channel", "a CEL expression that gives the channel, such as `'alerts'`");
    let channel = channel.and_then(|channel| compile(&mut fields, "channel", &channel));
    let kind =
        fields.required_text("type", "the type of the notification, such as `alert.overheat`");
    let sound = |kind: &String| {
        (1..=MAX_TEXT_BYTES).contains(&kind.len()) && !kind.chars().any(char::is_control)
    };
    if kind.as_ref().is_some_and(|kind| !sound(kind)) {
        fields.fault(
            "type",
            format!("must be 1 to {MAX_TEXT_BYTES} bytes without control characters"),
        );
    }
    fields.finish();
    Some(DraftStep::Action(channel?, kind?))
}
