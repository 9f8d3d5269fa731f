//! Entries of the queue out of bytes of anybody's making: see `crate::fuzzing`.

use redis::Value;

use super::job::{Entry, Job};

/// A reply with one entry, as RESP when it begins like one; else a line `<id> <deliveries>`, then
/// one line for each field: its name, a space, its value.
pub fn envelope(data: &[u8]) {
    let reply = if data.starts_with(b"*") {
        let Ok(reply) = redis::parse_redis_value(data) else { return };
        reply
    } else {
        in_lines(data)
    };
    let fields = match &reply {
        Value::Array(parts) => parts.last().cloned(),
        _ => None,
    };
    for entry in [Entry::first(reply.clone()), Entry::again(reply)].into_iter().flatten() {
        let (Some(job), Some(Value::Array(fields))) = (entry.into_job(), &fields) else { continue };
        goes_again(&job, fields.clone());
    }
}

fn in_lines(data: &[u8]) -> Value {
    let mut lines = data.split(|byte| *byte == b'\n').map(pair);
    let (id, deliveries) = lines.next().unwrap_or_default();
    let deliveries = std::str::from_utf8(deliveries).ok().and_then(|text| text.parse().ok());
    let fields = lines.flat_map(|(name, value)| [bulk(name), bulk(value)]).collect();
    Value::Array(vec![bulk(id), Value::Int(deliveries.unwrap_or(1)), Value::Array(fields)])
}

/// What stands before and after the first space.
fn pair(line: &[u8]) -> (&[u8], &[u8]) {
    let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    (&line[..space], line.get(space + 1..).unwrap_or_default())
}

fn bulk(bytes: &[u8]) -> Value {
    Value::BulkString(bytes.to_vec())
}

/// A job that failed is put back as `retry-3.lua` does it, and read with its next attempt.
fn goes_again(job: &Job, mut fields: Vec<Value>) {
    let (attempt, deliveries) = (job.attempt.wrapping_add(1), job.deliveries);
    let mut pairs: Vec<_> = fields.chunks_exact_mut(2).collect();
    let head = pairs.iter_mut().find_map(|pair| Some((start_of(pair)?, &mut pair[1])));
    if let Some((start, value)) = head {
        *value = bulk(&[&start, format!(" {attempt} {deliveries}").as_bytes()].concat());
    } else {
        for (name, number) in [("attempt", attempt), ("deliveries", deliveries)] {
            let same = pairs.iter_mut().filter(|pair| pair[0] == bulk(name.as_bytes()));
            same.for_each(|pair| pair[1] = bulk(number.to_string().as_bytes()));
        }
    }
    let read = Entry::first(Value::Array(vec![bulk(b"6-1"), Value::Array(fields)]));
    let read = read.and_then(Entry::into_job).expect("a job that was put back");
    assert_eq!(Job { attempt, deliveries: read.deliveries, ..job.clone() }, read);
}

/// Id, type and time of a field `job`, if it is what `head_of` of `entry.lua` takes for one.
fn start_of(pair: &[Value]) -> Option<Vec<u8>> {
    let [Value::BulkString(name), Value::BulkString(value)] = pair else { return None };
    let words: Vec<_> = value.split(|byte| *byte == b' ').collect();
    let [id, kind, at, attempt, deliveries] = words[..] else { return None };
    // C's `isspace`, as Lua has it.
    let space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let word = |word: &[u8]| !word.is_empty() && !word.iter().any(space);
    let digits = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let sound = name == b"job" && word(id) && word(kind);
    let numbers = [at, attempt, deliveries].into_iter().all(digits);
    (sound && numbers).then(|| [id, kind, at].join(&b' '))
}
