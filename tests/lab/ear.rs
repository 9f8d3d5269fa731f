//! What one client hears, over all its connections.

use std::collections::HashSet;

use serde_json::Value;

use crate::books::What;

/// What is odd about the end of a connection; a fault or a drain ends one without a word.
pub type End = Option<String>;

/// Filled by a client, and emptied after each round.
#[derive(Default)]
pub struct Ear {
    /// What it heard, in order, and on which of its connections.
    pub heard: Vec<(u32, What)>,
    /// What no fault explains.
    pub odd: Vec<String>,
    /// Whether it was told that something is lost for good.
    pub lost: bool,
    /// Whether a server has ever given it a place to resume from.
    pub resumes: bool,
    /// Whether it is connected and its channels are confirmed.
    pub confirmed: bool,
    /// What it resumes from.
    pub cursor: Option<String>,
    /// Those it was given in this round.
    pub cursors: HashSet<String>,
    /// How many it has had.
    pub connection: u32,
}

impl Ear {
    /// A new connection whose channels are confirmed.
    pub fn opened(&mut self) {
        self.connection += 1;
        self.confirmed = true;
    }

    /// The connection has ended.
    pub fn closed(&mut self, end: End) {
        self.confirmed = false;
        self.odd.extend(end);
    }

    /// A notification, and the place after it if the server said one.
    pub fn notification(&mut self, notification: &Value, cursor: Option<&str>) {
        match What::of(notification) {
            // Of a fault that publishes too much.
            _ if notification["source"] == "/redis" => {}
            Ok(what) => self.heard.push((self.connection, what)),
            Err(why) => self.odd.push(why),
        }
        if let Some(cursor) = cursor {
            if !self.cursors.insert(cursor.to_owned()) {
                self.odd.push(format!("the position {cursor} came twice"));
            }
            self.at(cursor);
        }
    }

    /// A place to resume from.
    pub fn at(&mut self, cursor: &str) {
        self.resumes = true;
        self.cursor = Some(cursor.to_owned());
    }

    /// Hands over what was heard so far, and goes on.
    pub fn take(&mut self) -> Ear {
        self.cursors.clear();
        Ear {
            heard: std::mem::take(&mut self.heard),
            odd: std::mem::take(&mut self.odd),
            lost: std::mem::take(&mut self.lost),
            resumes: self.resumes,
            ..Ear::default()
        }
    }
}
