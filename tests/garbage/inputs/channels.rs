//! Names of channels that are none.

use super::{Kinds, name};

pub(super) const CHANNEL: Kinds = &[
    ("a name with what no name has", &[400], |request, random| {
        let strange = *random.choice(b"*/? %[]{}\x00\r\n\x80\xff").unwrap();
        request.target.push_str(&format!("{}%{strange:02x}", name(random, 0..100)));
    }),
    ("a name that is too long", &[400], |request, random| {
        request.target.push_str(&name(random, 200..2_000));
    }),
    ("a prefix", &[400], |request, random| {
        request.target.push_str(&format!("{}.*", name(random, 0..100)));
    }),
];
