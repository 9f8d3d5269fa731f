//! The shape of a chain: its nodes form a directed acyclic graph that hangs together.

use std::collections::HashMap;

use super::MAX_CHAIN_ID_BYTES;
use crate::model::Fault;

/// One `then` or `else` as it was written.
pub(super) struct Link {
    /// The JSON path of the field.
    pub(super) path: String,
    /// The id it names.
    pub(super) target: String,
}

/// A node's id and links, as far as they could be read.
pub(super) struct Outline {
    /// The JSON path of the node.
    pub(super) path: String,
    /// Its id; absent if it is not usable.
    pub(super) id: Option<String>,
    /// Where it leads.
    pub(super) links: Vec<Link>,
}

/// Finds where each id stands; an id that stands twice is a fault.
pub(super) fn places(nodes: &[Outline], faults: &mut Vec<Fault>) -> HashMap<String, usize> {
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, node) in nodes.iter().enumerate() {
        let Some(id) = &node.id else { continue };
        if let Some(first) = places.get(id) {
            let first = &nodes[*first].path;
            let message = format!("`{id}` is already the id of {first}; every node needs its own");
            faults.push(Fault { path: format!("{}.id", node.path), message });
        } else {
            places.insert(id.clone(), place);
        }
    }
    places
}

/// Names every link that leads nowhere or back, and every node that no path reaches.
pub(super) fn check(nodes: &[Outline], places: &HashMap<String, usize>, faults: &mut Vec<Fault>) {
    let mut walk = Walk { nodes, places, seen: vec![Seen::Never; nodes.len()], faults };
    if !nodes.is_empty() {
        walk.visit(0);
    }
    // Of a part that hangs loose only the first node is named.
    for (place, node) in nodes.iter().enumerate() {
        if walk.seen[place] == Seen::Never {
            let message = "cannot be reached from the first node; name it in a `then` or `else`, or remove it";
            let path = node.path.clone();
            walk.faults.push(Fault { path, message: message.to_owned() });
            walk.visit(place);
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Never,
    OnThePath,
    Done,
}

struct Walk<'a> {
    nodes: &'a [Outline],
    places: &'a HashMap<String, usize>,
    seen: Vec<Seen>,
    faults: &'a mut Vec<Fault>,
}

impl Walk<'_> {
    /// Depth first; as deep as there are nodes, so at most 64.
    fn visit(&mut self, place: usize) {
        self.seen[place] = Seen::OnThePath;
        let nodes = self.nodes;
        for link in &nodes[place].links {
            let wrong = match self.places.get(&link.target) {
                None => Some(format!("there is no node `{}`", shortened(&link.target))),
                Some(next) if self.seen[*next] == Seen::OnThePath => {
                    Some(format!("leads back to `{}`; a chain has no cycle", link.target))
                }
                Some(next) => {
                    if self.seen[*next] == Seen::Never {
                        self.visit(*next);
                    }
                    None
                }
            };
            self.faults.extend(wrong.map(|message| Fault { path: link.path.clone(), message }));
        }
        self.seen[place] = Seen::Done;
    }
}

/// What is repeated of a name that can be nobody's id.
fn shortened(name: &str) -> String {
    if name.len() <= MAX_CHAIN_ID_BYTES {
        return name.to_owned();
    }
    name.chars().take(MAX_CHAIN_ID_BYTES).chain(['…']).collect()
}
