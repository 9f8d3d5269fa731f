//! Whatever comes in as frames: the right close code, or an error and the conversation goes on.

use fastrand::Rng;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::bytes::{Peer, masked, unmasked};
use super::client::{Client, problem};
use super::support::house::House;
use super::support::laws::laws_hold;

const TEXT: u8 = 0x81;

/// Bytes after the handshake, and the close code they must be answered with.
type Case = (String, Vec<u8>, u16);

/// Every way to break the protocol, each with some luck.
fn broken(random: &mut Rng) -> Vec<Case> {
    let ping = br#"{"ping":1}"#;
    let mut cases: Vec<Case> = vec![];
    let mut case = |name: String, bytes: Vec<u8>, code| cases.push((name, bytes, code));
    for rsv in 1..8u8 {
        for opcode in [0x1, 0x2, 0x9, 0xa, 0x8] {
            let first = 0x80 | rsv << 4 | opcode;
            case(format!("reserved bits {first:#x}"), masked(first, b"12"), 1002);
        }
    }
    for opcode in (0x3..0x8).chain(0xb..=0xf) {
        for fin in [0, 0x80] {
            let noise: Vec<u8> = (0..random.usize(..125)).map(|_| random.u8(..)).collect();
            case(format!("opcode {opcode:#x} {fin:#x}"), masked(fin | opcode, &noise), 1002);
        }
    }
    for opcode in [0x0, 0x1, 0x2, 0x8, 0x9, 0xa] {
        case(format!("no mask {opcode:#x}"), unmasked(0x80 | opcode, ping), 1002);
    }
    for opcode in [0x8, 0x9, 0xa] {
        case(format!("a fragment of control {opcode:#x}"), masked(opcode, b""), 1002);
        for length in [126, 200, 1_000] {
            let long = masked(0x80 | opcode, &vec![b'x'; length]);
            case(format!("{length} bytes of control {opcode:#x}"), long, 1002);
        }
    }
    case("a continuation of nothing".into(), masked(0x80, ping), 1002);
    case("a first fragment twice".into(), [masked(0x1, b"{"), masked(TEXT, b"}")].concat(), 1002);
    for _ in 0..80 {
        let mut text = vec![b'x'; random.usize(1..500)];
        let at = random.usize(..text.len());
        text[at] = random.choice([0xff, 0xfe, 0xc0, 0xc1, 0xf5, 0x80, 0xed]).unwrap();
        if text[at] == 0xed {
            text.splice(at + 1..at + 1, [0xa0, 0x80]);
        }
        case(format!("not UTF-8 at {at}"), masked(TEXT, &text), 1002);
    }
    let halves = [masked(0x1, b"\"\xc3"), masked(0x0, b"x"), masked(0x80, b"\"")].concat();
    case("not UTF-8 across fragments".into(), halves, 1002);
    for length in
        [32_769u64, 65_536, 1 << 20, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX]
    {
        for first in [TEXT, 0x82, 0x1] {
            let head = [&[first, 0xff][..], &length.to_be_bytes(), &[0; 4], b"a few"].concat();
            case(format!("{length} bytes announced"), head, 1009);
        }
    }
    let fragment = masked(0x0, &vec![b' '; 8_000]);
    let endless = [masked(0x1, b" "), fragment.repeat(5)].concat();
    case("fragments that grow".into(), endless, 1009);
    for _ in 0..20 {
        let noise: Vec<u8> = (0..random.usize(..3_000)).map(|_| random.u8(..)).collect();
        case("binary".into(), masked(0x82, &noise), 1003);
    }
    case("a close of one byte".into(), masked(0x88, b"x"), 1002);
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        case(format!("closed with {code}"), masked(0x88, &code.to_be_bytes()), 1002);
    }
    let wrong = [&1000u16.to_be_bytes()[..], b"\xff\xfe"].concat();
    case("a reason that is not UTF-8".into(), masked(0x88, &wrong), 1002);
    cases
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_the_conversation_with_the_code_that_says_so() {
    let house = &House::start().await;
    let mut random = Rng::with_seed(20_251_123);
    let cases = broken(&mut random);
    assert!(cases.len() > 200, "{}", cases.len());
    let wrong: Vec<_> = stream::iter(cases.iter().enumerate())
        .map(|(number, (name, bytes, code))| async move {
            let mut peer = Peer::websocket(house, "?channel=door").await;
            // Some at once, some byte by byte, some after something sane.
            match number % 3 {
                0 => peer.send(bytes).await,
                1 => {
                    for byte in &bytes[..bytes.len().min(300)] {
                        peer.send(&[*byte]).await;
                    }
                    peer.send(&bytes[bytes.len().min(300)..]).await;
                }
                _ => peer.send(&[masked(TEXT, br#"{"ping":1}"#), bytes.clone()].concat()).await,
            }
            let answer = peer.close_code().await;
            (answer != Some(*code)).then(|| format!("{name}: {answer:?} instead of {code}"))
        })
        .buffer_unordered(16)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    is_unharmed(house).await;
}

/// Texts that are no message: each gets an error, and the connection stays.
fn nonsense(random: &mut Rng) -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        " ",
        "{",
        "}",
        "[",
        "nul",
        "NaN",
        "'a'",
        "{'ping':1}",
        "{\"ping\"}",
        "{\"ping\":1}}",
        "{\"ping\":1}{\"ping\":1}",
        "{\"ping\":01}",
        "{\"ping\":1,}",
        "\u{feff}{\"ping\":1}",
        "0",
        "true",
        "null",
        "\"ping\"",
        "[]",
        "[{\"ping\":1}]",
        "{}",
        "{\"\":1}",
        "{\"Ping\":1}",
        "{\"ping\":true}",
        "{\"ping\":\"1\"}",
        "{\"ping\":[1]}",
        "{\"ping\":{}}",
        "{\"ping\":null}",
        "{\"ping\":1e999}",
        "{\"subscribe\":null}",
        "{\"subscribe\":\"door\"}",
        "{\"subscribe\":{}}",
        "{\"subscribe\":[]}",
        "{\"subscribe\":[[]]}",
        "{\"subscribe\":[{\"channel\":\"a\"}]}",
        "{\"subscribe\":[null]}",
        "{\"subscribe\":[7]}",
        "{\"subscribe\":[\"*\"]}",
        "{\"subscribe\":[\"\"]}",
        "{\"subscribe\":[\"a*\"]}",
        "{\"subscribe\":[\"*.a\"]}",
        "{\"subscribe\":[\"a.**\"]}",
        "{\"subscribe\":[\"a..b\"]}",
        "{\"subscribe\":[\"a b\"]}",
        "{\"subscribe\":[\"a\\u0000\"]}",
        "{\"subscribe\":[\"\\ud800\"]}",
        "{\"subscribe\":[\"\u{fc}\"]}",
        "{\"unsubscribe\":[\"*\"]}",
        "{\"unsubscribe\":1}",
        "{\"subscribe\":[\"a\"],\"unsubscribe\":[\"a\"]}",
        "{\"closing\":{}}",
        "{\"notification\":{}}",
        "{\"subscribed\":[\"a\"]}",
        "{\"error\":1}",
    ]
    .map(str::to_owned)
    .into();
    all.push("[".repeat(30_000));
    all.push(format!("{{\"{}\":1}}", "x".repeat(30_000)));
    all.push(format!("{{\"subscribe\":[\"{}\"]}}", "a".repeat(201)));
    all.push(format!("{{\"subscribe\":[{}1]}}", "1,".repeat(10_000)));
    all.push(format!("{{\"subscribe\":[{}\"a\"]}}", "\"a\",".repeat(128)));
    for _ in 0..300 {
        let mut good = json!({ "subscribe": ["a", "b.*"] }).to_string().into_bytes();
        let at = random.usize(..good.len());
        good[at] = random.choice(*b"\"{}[],\\ *\t").unwrap();
        let spoilt = String::from_utf8(good).unwrap();
        let sound = |document: Value| {
            let names = document["subscribe"].as_array().cloned().unwrap_or_default();
            !names.is_empty() && names.iter().all(|name| name == "a" || name == "b.*")
        };
        if !serde_json::from_str(&spoilt).is_ok_and(sound) {
            all.push(spoilt);
        }
    }
    all
}

#[tokio::test]
async fn texts_that_are_no_message_get_an_error_and_the_conversation_goes_on() {
    let house = House::start().await;
    let mut random = Rng::with_seed(7);
    let mut client = Client::hearing(&house, &["door"]).await;
    let all = nonsense(&mut random);
    assert!(all.len() >= 200, "{}", all.len());
    for text in &all {
        client.send(tokio_websockets::Message::text(text.clone())).await;
        let answer = client.next().await;
        assert!(answer.get("error").is_some(), "{text}: {answer}");
        assert!(["malformed", "invalid"].contains(&problem(&answer)), "{text}: {answer}");
        assert!(answer.to_string().len() < 30_000, "{text}");
    }
    house.server.metric("trunkline_subscriptions_desired").await.settles(1.0).await;
    house.notify("door", json!("still")).await;
    assert_eq!(client.heard().await, "still");
    is_unharmed(&house).await;
}

#[tokio::test]
async fn what_the_protocol_allows_is_understood() {
    let house = House::start().await;
    let mut peer = Peer::websocket(&house, "").await;
    // A message in fragments, with a ping between them, which is answered first.
    let pieces = [
        masked(0x1, b"{\"pi"),
        masked(0x0, b""),
        masked(0x89, b"between"),
        masked(0x0, b"ng\":"),
        masked(0x80, b"1}"),
        masked(0x8a, b"nobody asked"),
        masked(TEXT, &[br#"{"ping":2}"#, &[b' '; 300][..]].concat()),
    ];
    for byte in pieces.concat() {
        peer.send(&[byte]).await;
    }
    let pong = peer.frame().await.unwrap();
    assert_eq!((pong.first, &pong.content[..]), (0x8a, &b"between"[..]));
    for number in [1, 2] {
        let answer = peer.frame().await.unwrap();
        assert_eq!(answer.first, TEXT);
        assert_eq!(answer.content, format!("{{\"pong\":{number}}}").into_bytes());
    }
    peer.send(&masked(0x88, b"")).await;
    let close = peer.frame().await.unwrap();
    assert_eq!((close.first, close.content.len()), (0x88, 0));
    assert_eq!(peer.frame().await, None);
}

/// The server is ready, its counters agree, and the next client is served.
async fn is_unharmed(house: &House) {
    let panics = house.server.metric("trunkline_task_panics_total").await;
    assert_eq!(panics.value().await.unwrap_or_default(), 0.0);
    let connected = house.server.metric("trunkline_clients_connected").await;
    let mut next = Client::hearing(house, &["next"]).await;
    connected.label("transport", "ws").reaches(1.0).await;
    house.notify("next", json!(1)).await;
    assert_eq!(next.heard().await, 1);
    laws_hold(&house.server).await;
}
