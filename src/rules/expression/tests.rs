use super::*;
use crate::rules::stack::on_a_deep_stack;
use proptest::prelude::*;
use serde_json::Map;
use serde_json::json;

fn compiled(source: &str) -> Result<Expression, Vec<String>> {
    on_a_deep_stack(|| Expression::compile(source)).expect("compiling never panics")
}
fn evaluated(source: &str, data: &Value) -> Result<Value, Problem> {
    let expression = compiled(source).expect("a sound expression");
    on_a_deep_stack(|| {
        let event = json!({"subject": "kitchen", "data": data});
        let mut scope = scope();
        bind(&mut scope, "event", Container::borrowed(event.as_object().unwrap())?);
        refuel();
        expression.evaluate(&scope)
    })
    .expect("evaluating never panics")
}
fn refused(source: &str) -> String {
    compiled(source).expect_err(source).join("; ")
}

#[test]
fn numbers_compare_across_int_and_double() {
    let data = json!({"int": 80, "double": 80.0, "list": [80.0], "huge": u64::MAX});
    for source in [
        "event.data.int == 80.0",
        "event.data.double == 80",
        "event.data.int > 79.5",
        "event.data.double > 79",
        "event.data.int in event.data.list",
        "event.data.huge > event.data.double",
        "event.data.int + 1 == 81",
    ] {
        assert_eq!(evaluated(source, &data), Ok(json!(true)), "{source}");
    }
}

#[test]
fn every_json_value_survives_the_way_through_the_language() {
    let data = json!({"a": [1, -2, 2.5, "ü", true, null, {"b": []}], "big": u64::MAX, "f": 80.0});
    assert_eq!(evaluated("event.data", &data), Ok(data));
}

#[test]
fn other_types_of_the_language_become_texts() {
    let made = evaluated(
        "[string(duration('90s')), duration('1500ms'), timestamp('2025-01-31T08:00:00Z'), b'a']",
        &json!(null),
    );
    assert_eq!(made, Ok(json!(["90s", "1.5s", "2025-01-31T08:00:00+00:00", "YQ=="])));
    assert_eq!(evaluated("0.0 / 0.0", &json!(null)), Err(Problem::NotJson));
}

#[test]
fn macros_work_and_may_follow_each_other() {
    let data = json!([{"n": "a", "v": 1}, {"n": "b", "v": 20}]);
    for (source, value) in [
        ("event.data.filter(x, x.v > 2).map(x, x.n)", json!(["b"])),
        ("event.data.exists(x, x.n == 'a') && event.data.all(x, x.v > 0)", json!(true)),
        ("event.data.exists_one(x, x.n.startsWith('a'))", json!(true)),
        ("has(event.data[0].nope)", json!(false)),
        ("event.subject.matches('^k.+n$') ? 'yes' : 'no'", json!("yes")),
    ] {
        assert_eq!(evaluated(source, &data), Ok(value), "{source}");
    }
}

#[test]
fn what_cannot_work_is_refused_when_it_is_loaded() {
    for (source, why) in [
        ("", "is not CEL"),
        ("event.data >", "is not CEL (line 1, column"),
        ("evnt.data", "does not know `evnt`"),
        ("frobnicate(event)", "calls `frobnicate`"),
        ("event.data.lowerAscii()", "calls `lowerAscii`"),
        ("optional.of(1)", "calls `of`"),
        ("event.?data", "unsupported syntax"),
        ("Foo{a: 1}", "cannot make a `Foo`"),
        ("event.data.matches('(')", "not a regular expression"),
        ("event.data.matches(event.subject)", "as a literal text"),
        ("event.data.map(x, x.map(y, y))", "inside another"),
        ("event.data.exists(x, [1].all(y, x == y))", "inside another"),
        ("x || event.data.exists(x, x)", "does not know `x`"),
        ("'@meter' == __meter(1)", "calls `__meter`"),
    ] {
        let faults = refused(source);
        assert!(faults.contains(why), "{source}: {faults}");
    }
    assert!(refused("a == b && c(d)").matches("does not").count() >= 4, "all faults at once");
}

#[test]
fn the_length_and_the_number_of_nodes_are_bounded() {
    assert!(compiled(&format!("'{}'", "x".repeat(MAX_SOURCE_BYTES - 2))).is_ok());
    assert!(refused(&" ".repeat(MAX_SOURCE_BYTES + 1)).contains("4097 bytes"));
    assert!(compiled(&format!("1{}", "+1".repeat(127))).is_ok(), "255 nodes");
    assert!(refused(&format!("1{}", "+1".repeat(128))).contains("257 syntax nodes"));
}

#[test]
fn four_kilobytes_of_anything_do_not_overflow_the_stack() {
    for unit in [
        "(", "[", "{", "!", "-", "! ", "- ", "?", ".", "\"", "'''", "\\", "@", "a.", "a[", "f(",
        "a?", "a?b:", "a&&", "a||", "1+", "a==", "a<", "a in ", "{1:", "!(", "-(", "a.map(x,",
        "a{b:", "([{", "a ", "\u{fffd}", "0x", "1e", "b'", "r'", "//", "\0", "é",
    ] {
        let source = unit.repeat(MAX_SOURCE_BYTES / unit.len());
        assert!(compiled(&source).is_err(), "{unit}");
        // The same with something sound at its end, which the parser reads to the last byte.
        drop(compiled(&format!("{}1", &source[unit.len()..])));
    }
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{1:", "}"), ("f(", ")"), ("a[", "]"), ("-(", ")")]
    {
        let nested = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
        assert!(refused(&nested(1000)).contains("more than 32 levels"), "{open}");
    }
    for chained in [".b", "[0]", ".b()", "+1", "&&a", "==a", ".map(x,x)"] {
        drop(compiled(&format!("a{}", chained.repeat(2000 / chained.len()))));
    }
}

#[test]
fn the_deepest_expression_evaluates() {
    let text = evaluated(&format!("''{}", "+event.subject".repeat(62)), &json!(null)).unwrap();
    assert_eq!(text.as_str().map(str::len), Some(62 * "kitchen".len()));
    let list = evaluated(&format!("{}1{}", "[".repeat(31), "]".repeat(31)), &json!(null));
    assert!(list.is_ok());
}

#[test]
fn lists_and_maps_are_bounded_in_the_event_and_in_what_is_made() {
    let longest = json!(vec![0; 10_000]);
    assert_eq!(evaluated("size(event.data)", &longest), Ok(json!(10_000)));
    assert_eq!(evaluated("size(event.data)", &json!(vec![0; 10_001])), Err(Problem::TooLong));
    let map: Map<String, Value> = (0..10_001).map(|n| (n.to_string(), json!(0))).collect();
    assert_eq!(evaluated("size(event.data)", &map.into()), Err(Problem::TooLong));
    assert_eq!(evaluated("size(event.data + [1])", &longest), Err(Problem::TooLong));
    assert_eq!(evaluated("event.data + [1]", &longest), Err(Problem::TooLong));
}

#[test]
fn a_value_may_not_be_nested_too_deep() {
    let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    assert!(evaluated("event.data", &nested(115)).is_ok());
    assert_eq!(evaluated("event.data", &nested(125)), Err(Problem::TooDeep));
    assert_eq!(evaluated("[[[[[[[[event.data]]]]]]]]", &nested(115)), Err(Problem::TooDeep));
}

#[test]
fn copying_the_event_over_and_over_ends_early() {
    let data = json!({"list": vec![0; 9_000], "text": "x".repeat(20_000)});
    for source in [
        "event.data.list.map(x, event.data)",
        "event.data.list.map(x, event.data.text + event.data.text)",
        "event.data.list.map(x, {'a': event.data.list})",
        "event.data.list.exists(x, x in event.data.list && false)",
        "event.data.list.all(x, event.data == event.data) || true",
        "event.data.list.filter(x, event.data.text.matches('y$')).size() > 0",
        "[event.data.text].map(x, x+x+x+x+x+x+x+x).map(x, x+x+x+x+x+x+x+x).map(x, x+x+x+x+x+x+x+x).map(x, x+x+x+x+x+x+x)",
    ] {
        assert_eq!(evaluated(source, &data), Err(Problem::TooMuchWork), "{source}");
    }
    let cheap = "event.data.list.map(x, x + 1).filter(x, x > 0).size() == 9000";
    assert_eq!(evaluated(cheap, &data), Ok(json!(true)));
}

#[test]
fn an_error_says_what_is_wrong_without_a_value_of_the_event() {
    let secret = json!({"n": 80, "s": "hunter2", "l": [1], "hunter2x": 1});
    for (source, text) in [
        ("event.data.celsius > 80", "no such key `celsius`; test with has()"),
        ("event.data[event.data.s]", "no such key; test with `in`"),
        (
            "event.data.n * 1.5",
            "cannot `mul` int and float; convert with double(), int() or string()",
        ),
        ("event.data.s > 1", "found no matching overload for '_>_' applied to '(string, int)'"),
        ("int(event.data.s)", "int() refused its argument"),
        ("timestamp(event.data.s)", "timestamp() refused its argument"),
        ("event.data.n / 0", "division by zero or overflow"),
        ("event.data.l[7]", "the list has no such element"),
        (
            "event.data.s + 1",
            "cannot `add` string and int; convert with double(), int() or string()",
        ),
    ] {
        let error = evaluated(source, &secret).unwrap_err().to_string();
        assert_eq!(error, text, "{source}");
        assert!(!error.contains("hunter2") && !error.contains("80 "));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_source_panics(tokens in prop::collection::vec(prop::sample::select(vec![
        "event", ".data", ".a", "[0]", "[", "]", "(", ")", "{", "}", "'x'", "b'x'", "1", "-1", "2.5", "3u",
        "+", "-", "*", "/", "%", "&&", "||", "!", "==", "<", " in ", "?", ":", ",", ".map(x, ", ".all(x, ",
        ".filter(x, ", "has(", "size(", "string(", "timestamp(", "duration(", "int(", "x", "vars", "null",
        ".matches('a*')", ".size()", "true", "9223372036854775807", "'\\u00e9'", "type(", ".getHours('UTC')",
    ]), 1..24)) {
        let source = tokens.concat();
        if compiled(&source).is_ok() {
            drop(evaluated(&source, &json!({"a": [1, "x", 2.5, null]})));
        }
    }

    #[test]
    fn no_text_panics(source in "\\PC{0,60}|[ -~]{0,60}") {
        if let Err(faults) = compiled(&source) {
            prop_assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.is_empty()));
        }
    }

    #[test]
    fn no_source_beyond_its_bounds_is_taken(length in 4_000usize..4_200, terms in 100usize..160) {
        let text = format!("'{}'", "x".repeat(length - 2));
        prop_assert_eq!(compiled(&text).is_ok(), length <= MAX_SOURCE_BYTES);
        prop_assert_eq!(compiled(&format!("1{}", "+1".repeat(terms))).is_ok(), 2 * terms < 256);
    }
}
