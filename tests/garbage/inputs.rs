//! Bad requests of every kind, made from a number and a seed.

mod channels;
mod schedules;

use fastrand::Rng;
use serde_json::{Value, json};

/// Which listener a door belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Public,
    Admin,
}

/// A method and a path that exist.
#[derive(Debug)]
pub struct Door {
    pub listener: Listener,
    pub method: &'static str,
    pub path: &'static str,
    /// Takes a document in its body.
    takes: bool,
}

const fn door(listener: Listener, method: &'static str, path: &'static str, takes: bool) -> Door {
    Door { listener, method, path, takes }
}

pub const DOORS: &[Door] = &[
    door(Listener::Public, "POST", "/v1/events", true),
    door(Listener::Public, "POST", "/v1/notifications", true),
    door(Listener::Public, "PUT", "/v1/rule-chains/a", true),
    door(Listener::Public, "GET", "/v1/rule-chains/a", false),
    door(Listener::Public, "DELETE", "/v1/rule-chains/a", false),
    door(Listener::Public, "GET", "/v1/rule-chains", false),
    door(Listener::Public, "PUT", "/v1/schedules/a", true),
    door(Listener::Public, "GET", "/v1/schedules/a", false),
    door(Listener::Public, "DELETE", "/v1/schedules/a", false),
    door(Listener::Public, "GET", "/v1/schedules", false),
    door(Listener::Public, "GET", "/v1/channels/a", false),
    door(Listener::Public, "GET", "/v1/stream", false),
    door(Listener::Public, "GET", "/v1/ws", false),
    door(Listener::Public, "GET", "/", false),
    door(Listener::Admin, "GET", "/livez", false),
    door(Listener::Admin, "GET", "/readyz", false),
    door(Listener::Admin, "GET", "/startupz", false),
    door(Listener::Admin, "GET", "/metrics", false),
    door(Listener::Admin, "GET", "/status", false),
];

/// A bad request.
pub struct Input {
    pub request: Vec<u8>,
    /// What is bad about it.
    pub kind: &'static str,
    /// The statuses that tell the caller so.
    pub expected: &'static [u16],
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    fn to(door: &Door) -> Self {
        let (method, target) = (door.method.to_owned(), door.path.to_owned());
        let headers = vec![("Host", b"localhost".to_vec())];
        Self { method, target, headers, body: vec![] }
    }

    fn header(&mut self, name: &'static str, value: impl Into<Vec<u8>>) {
        self.headers.push((name, value.into()));
    }

    fn drop_header(&mut self, name: &str) {
        self.headers.retain(|(other, _)| *other != name);
    }

    fn written(mut self) -> Vec<u8> {
        let framed = ["Content-Length", "Transfer-Encoding"];
        if !self.headers.iter().any(|(name, _)| framed.contains(name)) && !self.body.is_empty() {
            self.header("Content-Length", self.body.len().to_string());
        }
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body);
        bytes
    }
}

/// The bad request of this number: every kind that fits the door comes in turn.
pub fn malformed(door: &Door, random: &mut Rng, number: u64) -> Input {
    let mut kinds: Vec<(&'static str, &'static [u16], Spoil)> = vec![
        ("an unknown method", &[404, 405], |request, random| {
            let methods =
                ["BREW", "PATCH", "get", "TRACE", "PROPFIND", "M-SEARCH", "X", "SUBSCRIBE"];
            request.method = random.choice(methods).unwrap().repeat(random.usize(1..20));
        }),
        ("an unknown path", &[404], |request, random| {
            let tails = ["/", "/x/y", "//", "/..%2f", "%00", ";a=b", "/%2e%2e/%2e%2e/etc/passwd"];
            let start = if request.target == "/" { "/a" } else { request.target.as_str() };
            request.target =
                format!("{start}{}{}", random.choice(tails).unwrap(), name(random, 1..99));
            request.target += "/z";
        }),
        ("a path of some kilobytes", &[404], |request, random| {
            request.target = format!("/{}/z", name(random, 1_000..30_000));
        }),
    ];
    if door.listener == Listener::Public {
        kinds.extend(PUBLIC);
    }
    if door.takes {
        kinds.extend(DOCUMENT);
    }
    match door.path {
        "/v1/events" => kinds.extend(EVENT),
        "/v1/stream" => kinds.extend(STREAM),
        "/v1/ws" => kinds.extend(WEBSOCKET),
        "/v1/rule-chains/a" | "/v1/schedules/a" if !door.takes => {
            kinds.push(("no such thing", &[404], |request, random| {
                let stem = request.target.trim_end_matches('a');
                request.target = format!("{stem}{}%{:02x}", name(random, 1..300), random.u8(..));
            }))
        }
        "/v1/schedules/a" => kinds.extend(schedules::SCHEDULE),
        "/v1/channels/a" => kinds.extend(channels::CHANNEL),
        _ => {}
    }
    let (kind, expected, spoil) = kinds[number as usize % kinds.len()];
    let mut request = Request::to(door);
    if door.takes {
        let (media, document) = good(door, random);
        request.header("Content-Type", media);
        request.body = document.to_string().into_bytes();
    }
    spoil(&mut request, random);
    Input { request: request.written(), kind, expected }
}

type Spoil = fn(&mut Request, &mut Rng);
type Kinds = &'static [(&'static str, &'static [u16], Spoil)];

/// What the door would take, with a content that holds a text and an object.
fn good(door: &Door, random: &mut Rng) -> (&'static str, Value) {
    let plain =
        json!({ "type": "t", "id": name(random, 1..20), "data": { "text": name(random, 1..50) } });
    let mut full = plain.clone();
    full["specversion"] = "1.0".into();
    full["source"] = "/garbage".into();
    match door.path {
        "/v1/events" => match random.u8(..3) {
            0 => ("application/json", plain),
            1 => ("application/cloudevents+json", full),
            _ => ("application/cloudevents-batch+json", json!([full])),
        },
        "/v1/notifications" => ("application/json", json!({ "channel": "a", "data": plain })),
        "/v1/schedules/a" => {
            let event = json!({ "type": "t", "data": name(random, 1..50) });
            ("application/json", json!({ "cron": "0 0 1 1 *", "event": event }))
        }
        _ => (
            "application/json",
            json!({ "id": "a", "on": { "type": "t" }, "nodes": [
                { "id": "n", "kind": "action", "notify": { "channel": "'a'", "type": "t" } }] }),
        ),
    }
}

fn name(random: &mut Rng, length: std::ops::Range<usize>) -> String {
    let length = random.usize(length);
    (0..length).map(|_| random.alphanumeric()).collect()
}

/// Puts bytes behind the first quotation mark, so inside of a text.
fn into_a_text(request: &mut Request, bytes: &[u8]) {
    let at = request.body.iter().position(|byte| *byte == b'"').unwrap() + 1;
    request.body.splice(at..at, bytes.iter().copied());
}

const PUBLIC: Kinds = &[
    ("a foreign host", &[421], |request, random| {
        request.drop_header("Host");
        let host = format!("{}.example:{}", name(random, 1..40), random.u16(1..));
        request.header("Host", host);
    }),
    ("a host that is none", &[400], |request, random| {
        request.drop_header("Host");
        let host = ["", "a b", "localhost:", "x@localhost", "localhost:99999", "[::1", "\u{fc}"];
        request.header("Host", *random.choice(&host).unwrap());
    }),
    ("no host", &[400], |request, _| request.drop_header("Host")),
    ("two hosts", &[400], |request, _| request.header("Host", "localhost")),
    ("a target elsewhere", &[421], |request, random| {
        request.target = format!("http://{}.example{}", name(random, 1..30), request.target);
    }),
    ("a foreign origin", &[403], |request, random| {
        let origin = match random.u8(..4) {
            0 => "null".to_owned(),
            1 => format!("https://{}.example", name(random, 1..60)),
            2 => name(random, 0..30),
            _ => "http://localhost:1".to_owned(),
        };
        request.header("Origin", origin);
    }),
    ("an origin that is no text", &[403], |request, random| {
        request.header("Origin", [0x80 | random.u8(..), 0xff]);
    }),
];

const DOCUMENT: Kinds = &[
    ("cut off", &[400], |request, random| {
        let length = random.usize(..request.body.len());
        request.body.truncate(length);
        request.header("Content-Length", length.to_string());
    }),
    ("a control character", &[400], |request, random| {
        into_a_text(request, &[random.u8(..0x20)]);
    }),
    ("not UTF-8", &[400], |request, random| {
        into_a_text(request, &[0xf8 | random.u8(..)]);
    }),
    ("half a surrogate", &[400], |request, _| into_a_text(request, b"\\ud800")),
    ("an escape that is none", &[400], |request, _| into_a_text(request, b"\\x")),
    ("nested too deep", &[400], |request, random| {
        let depth = random.usize(130..20_000);
        let (open, close) = *random.choice(&[("[", "]"), ("{\"a\":", "}")]).unwrap();
        let depth = depth.min(60_000 / (open.len() + 1));
        request.body = format!("{}1{}", open.repeat(depth), close.repeat(depth)).into_bytes();
    }),
    ("something behind it", &[400], |request, random| {
        request.body.extend(*random.choice(&[&b"}"[..], b"]", b"{}", b"\0", b"x"]).unwrap());
    }),
    ("no object", &[400], |request, random| {
        let other = ["1", "true", "null", "\"x\"", "[1]", "[[]]", "[null]"];
        request.body = random.choice(other).unwrap().into();
    }),
    ("nothing that is required", &[400], |request, _| {
        request.body = if request.body[0] == b'[' { b"[{}]".to_vec() } else { b"{}".to_vec() };
    }),
    ("members of other types", &[400], |request, random| {
        let wrong = ["1", "[]", "{}", "true", "\"\""];
        let wrong = random.choice(wrong).unwrap();
        let body = format!(
            "{{\"specversion\":\"1.0\",\"id\":{wrong},\"source\":{wrong},\"type\":{wrong},\
             \"channel\":{wrong},\"on\":{wrong},\"nodes\":{wrong}}}"
        );
        let batch = request.body[0] == b'[';
        request.body = if batch { format!("[{body}]") } else { body }.into_bytes();
    }),
    ("a member of an impossible name", &[400], |request, random| {
        let member = format!("\"Na-me {}\":1,", name(random, 0..80));
        let at = request.body.iter().position(|byte| *byte == b'{').unwrap() + 1;
        request.body.splice(at..at, member.into_bytes());
    }),
    ("a number beyond all numbers", &[400], |request, _| {
        request.body = b"{\"type\":\"t\",\"channel\":\"a\",\"data\":1e999}".to_vec();
    }),
    ("random bytes", &[400], |request, random| {
        request.body = (0..random.usize(1..5_000)).map(|_| random.u8(..)).collect();
        request.body[0] |= 0x80;
    }),
    ("another encoding of text", &[400], |request, _| {
        let text = String::from_utf8(request.body.clone()).unwrap();
        request.body = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    }),
    ("a byte order mark", &[400], |request, _| {
        request.body.splice(..0, *b"\xef\xbb\xbf");
    }),
    ("a foreign content type", &[415], |request, random| {
        request.drop_header("Content-Type");
        let types = [
            "text/plain",
            "",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "text/plain; application/json",
            "multipart/form-data; boundary=x",
            ";",
            "\u{fc}",
        ];
        request.header("Content-Type", *random.choice(&types).unwrap());
    }),
    ("no content type", &[415], |request, _| request.drop_header("Content-Type")),
    ("two content types", &[415], |request, _| request.header("Content-Type", "text/html")),
    ("an encoded body", &[415], |request, random| {
        request.header("Content-Encoding", *random.choice(&["gzip", "br", "x", ""]).unwrap());
    }),
    ("too large by its own word", &[413], |request, random| {
        let length = random.u64(1 << 23..1 << 40);
        request.header("Content-Length", length.to_string());
    }),
    ("chunks that are none", &[400], |request, _| {
        request.header("Transfer-Encoding", "chunked");
        request.body = b"ZZ\r\nnonsense\r\n0\r\n\r\n".to_vec();
    }),
];

const EVENT: Kinds = &[
    ("a binary event with a fault", &[400], |request, random| {
        request.drop_header("Content-Type");
        request.header("Content-Type", "application/json");
        let fault = random.usize(..7);
        let spoilt = |place: usize, good: &'static str, bad: &'static str| {
            if fault == place { bad } else { good }
        };
        request.header("ce-specversion", spoilt(0, "1.0", "0.3"));
        request.header("ce-id", spoilt(1, "1", ""));
        request.header("ce-source", spoilt(2, "/s", "%zz not a reference"));
        request.header("ce-type", spoilt(3, "t", "%ff"));
        request.header("ce-time", spoilt(4, "2025-01-31T08:00:00Z", "yesterday"));
        request.header(spoilt(5, "ce-other", "ce-data"), "x");
        if fault == 6 {
            request.body.pop();
        }
    }),
    ("an event over the limit", &[413], |request, random| {
        let large = "x".repeat(random.usize(66_000..70_000));
        request.body = format!("{{\"type\":\"t\",\"data\":\"{large}\"}}").into_bytes();
        request.drop_header("Content-Type");
        request.header("Content-Type", "application/json");
    }),
    ("a batch that is too long", &[400], |request, random| {
        let count = random.usize(101..3_000);
        request.body = format!("[{}1]", "1,".repeat(count)).into_bytes();
        request.drop_header("Content-Type");
        request.header("Content-Type", "application/cloudevents-batch+json");
    }),
];

const STREAM: Kinds = &[
    ("no channel", &[400], |request, random| {
        request.target +=
            random.choice(["", "?", "?channels=a", "?Channel=a", "?=a", "?&&&"]).unwrap();
    }),
    ("a name that is none", &[400], |request, random| {
        let names = [
            "", "*", "a*", ".a", "a.", "a..b", "*.a", "a.*.b", "a%20b", "%ff", "%00", "a%0ab",
            "%C3%BC", "a/b", "a.**",
        ];
        request.target =
            format!("/v1/stream?channel=good&channel={}", random.choice(names).unwrap());
    }),
    ("a name that is too long", &[400], |request, random| {
        request.target = format!("/v1/stream?channel={}", name(random, 201..9_000));
    }),
    ("a good name and a broken one, written anyhow", &[400], |request, random| {
        let escaped = |text: &str, random: &mut Rng| -> String {
            let escape = |byte: u8| match random.u8(..3) {
                0 => format!("%{byte:02x}"),
                1 => format!("%{byte:02X}"),
                _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            };
            text.bytes().map(escape).collect()
        };
        let broken = random.choice([" ", "a b", "a,b", "a;b", "a\\", "a\"", "\u{1}", "a\u{2028}"]);
        let (key, broken) = (escaped("channel", random), escaped(broken.unwrap(), random));
        request.target = format!("/v1/stream?x=y&{key}=good.%2A&{key}={broken}&&=");
    }),
    ("too many channels", &[400], |request, random| {
        let count = random.usize(129..2_000);
        let all: Vec<_> = (0..count).map(|number| format!("channel=c{number}")).collect();
        request.target = format!("/v1/stream?{}", all.join("&"));
    }),
];

const WEBSOCKET: Kinds = &[
    ("no WebSocket", &[426], |request, random| {
        request.target += random.choice(["", "?", "?channel=a", "?channel=*"]).unwrap();
        if random.bool() {
            request
                .header("Upgrade", *random.choice(&["h2c", "websockets", "", "TLS/1.0"]).unwrap());
        }
    }),
    ("a handshake with a fault", &[400, 426], |request, random| {
        let fault = random.usize(..4);
        let spoilt = |place: usize, good: &'static str, bad: &'static str| {
            if fault == place { bad } else { good }
        };
        request.header("Connection", spoilt(0, "Upgrade", "keep-alive"));
        request.header("Upgrade", "websocket");
        request.header("Sec-WebSocket-Version", spoilt(1, "13", "12"));
        let key = spoilt(2, "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ");
        request.header("Sec-WebSocket-Key", key);
        request.target += spoilt(3, "?channel=a", "?channel=a&channel=b*");
    }),
];
