//! What no schedule may say.

use serde_json::json;

use super::{Kinds, name};

/// What the door of the schedules refuses.
pub(super) const SCHEDULE: Kinds = &[
    ("a line that is none", &[400], |request, random| {
        let signs: Vec<_> = "*/-,#LW? 0123456789zJANSUN\u{1F552}".chars().collect();
        // Whatever follows, no field begins like this.
        let line: String =
            (0..random.usize(..300)).map(|_| *random.choice(&signs).unwrap()).collect();
        let event = json!({ "type": "t" });
        request.body =
            json!({ "cron": format!("z{line}"), "event": event }).to_string().into_bytes();
    }),
    ("a day that never comes", &[400], |request, random| {
        let days = ["30 2", "31 2", "31 4,6,9,11", "30-31 FEB"];
        let (minute, day) = (random.u8(..60), random.choice(days).unwrap());
        let cron = format!("{minute} * {day} *");
        request.body = json!({ "cron": cron, "event": { "type": "t" } }).to_string().into_bytes();
    }),
    ("a zone that is none", &[400], |request, random| {
        let zone = format!("Mars/{}", name(random, 0..2_000));
        let event = json!({ "type": "t" });
        let document = json!({ "cron": "* * * * *", "timezone": zone, "event": event });
        request.body = document.to_string().into_bytes();
    }),
];
