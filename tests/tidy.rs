//! The house checks itself. Each test is one rule of ARCHITECTURE.md, and says what to do.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, lowest floor first. A room imports from the floors below its own and
/// from itself; rooms on one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["model"],
    &["config"],
    &["telemetry"],
    &["conn"],
    &["queue", "rules", "index", "history", "presence", "hub", "health"],
    &["flow"],
    &["http"],
    &["app"],
    &["bin"],
];

/// What only some rooms may name: a crate as a path, or a macro.
const ONLY_IN: &[(&[&str], &[&str], &str)] = &[
    (
        &["metrics::", "metrics_exporter_prometheus::", "metrics_process::"],
        &["telemetry"],
        "say what happened with a struct of telemetry::events and emit() it",
    ),
    (
        &["error!", "warn!", "info!", "debug!", "trace!", "event!"],
        &["telemetry"],
        "say what happened with a struct of telemetry::events and emit() it",
    ),
    (
        &["opentelemetry::", "opentelemetry_sdk::", "opentelemetry_otlp::"],
        &["telemetry"],
        "spans are made in telemetry",
    ),
    (
        &["redis::"],
        &["conn", "queue", "index", "history", "presence"],
        "go through conn::Publisher, conn::Subscriber, queue, index, history or presence",
    ),
    (&["tungstenite::"], &["http"], "only the door of WebSockets reads frames"),
    (
        &["hyper::", "hyper_util::", "http_body_util::"],
        &["http", "app"],
        "only the doors, and the operator's tool, speak HTTP",
    ),
];

/// A line of the house's own code, comments taken off.
struct Line {
    place: String,
    room: String,
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the checkout that is not built, fetched or git's own.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if ["target", ".git", ".tools", "node_modules"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn files_with(extension: &str) -> impl Iterator<Item = (PathBuf, String)> {
    let extension = extension.to_owned();
    let wanted =
        files().into_iter().filter(move |path| path.extension().is_some_and(|e| *e == *extension));
    wanted.map(|path| {
        (path.strip_prefix(root()).unwrap().to_owned(), fs::read_to_string(&path).unwrap())
    })
}

/// A line without its comment, which starts at the first `//` that no string contains.
fn code(line: &str) -> &str {
    let mut slashes = line.match_indices("//").map(|(at, _)| at);
    let outside = |at: &usize| line[..*at].matches('"').count().is_multiple_of(2);
    &line[..slashes.find(outside).unwrap_or(line.len())]
}

/// The room a file of `src/` belongs to: the folder, or the file that is the room.
fn room(path: &Path) -> Option<String> {
    let first = path.strip_prefix("src").ok()?.iter().next()?.to_string_lossy();
    Some(first.trim_end_matches(".rs").to_owned())
}

/// The lines of `src/`.
fn source() -> Vec<Line> {
    let mut lines = Vec::new();
    for (path, text) in files_with("rs") {
        let Some(room) = room(&path) else { continue };
        for (index, line) in text.lines().enumerate() {
            let place = format!("{}:{}", path.display(), index + 1);
            lines.push(Line { place, room: room.clone(), code: code(line).to_owned() });
        }
    }
    lines
}

/// Whether the code names the word itself: `crate::redis::` and `a_redis::` are not `redis::`.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
            || code[..at].ends_with("tracing::")
    })
}

fn none(faults: Vec<String>, rule: &str) {
    assert!(faults.is_empty(), "{rule}\n  {}\n", faults.join("\n  "));
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let long = files_with("rs").filter(|(_, text)| text.lines().count() > 400);
    let long = long.map(|(path, text)| format!("{}: {}", path.display(), text.lines().count()));
    none(long.collect(), "Split the file along its subjects; a room becomes a folder:");
}

#[test]
fn imports_go_downward_only() {
    let floor = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    let mut faults = Vec::new();
    for (path, text) in files_with("rs") {
        let Some(room) = room(&path) else { continue };
        let Some(own) = floor(&room) else { continue };
        for (place, target) in imports(&path, &text) {
            if target != room && floor(&target).is_some_and(|other| other >= own) {
                faults.push(format!("{place}: {room} imports {target}"));
            }
        }
    }
    none(faults, "Move the thing down, pass it in, or let a higher floor join the two:");
}

/// The rooms a file names: after `crate::` or the library's name, alone or in braces, and after
/// as many `super::` as lead out of its own room.
fn imports(path: &Path, text: &str) -> Vec<(String, String)> {
    let text: String = text.lines().map(|line| code(line).to_owned() + "\n").collect();
    // How many `super` lead from the file's own module to the crate's root.
    let depth = path.iter().count() - 1 - usize::from(path.ends_with("mod.rs"));
    let out = "super::".repeat(depth);
    let mut found = Vec::new();
    for prefix in ["crate::", "trunkline::", &out] {
        for (at, _) in text.match_indices(prefix) {
            let place = format!("{}:{}", path.display(), text[..at].lines().count());
            // One more leads out of a `mod tests`.
            let rest = text[at + prefix.len()..].trim_start_matches("super::");
            found.extend(heads(rest).map(|head| (place.clone(), head)));
        }
    }
    found
}

/// The first word of each path: `a` of `a::b`, and `a`, `c` of `{a::b, c::{d, e}}`.
fn heads(code: &str) -> impl Iterator<Item = String> {
    let mut heads = vec![String::new()];
    let mut depth = 0;
    for character in code.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(String::new()),
            ';' => break,
            other if depth <= 1 => heads.last_mut().unwrap().push(other),
            _ => {}
        }
        if depth < 0 || (depth == 0 && character != '_' && !character.is_alphanumeric()) {
            break;
        }
    }
    let word = |head: String| {
        let end = head
            .trim_start()
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .next()
            .map(str::to_owned);
        end.unwrap_or_default()
    };
    heads.into_iter().map(word)
}

#[test]
fn crates_and_macros_stay_in_their_rooms() {
    let mut faults = Vec::new();
    for Line { place, room, code } in source() {
        for (words, rooms, instead) in ONLY_IN {
            for word in words.iter().filter(|word| names(&code, word)) {
                if !rooms.contains(&&*room) {
                    faults.push(format!(
                        "{place}: `{word}` belongs to {}: {instead}",
                        rooms.join(", ")
                    ));
                }
            }
        }
    }
    none(faults, "Say it through the room that owns it:");
}

#[test]
fn every_queue_has_a_bound() {
    let endless =
        source().into_iter().filter(|line| line.code.to_lowercase().contains("unbounded"));
    none(endless.map(|line| line.place).collect(), "Give it a bound, and its overflow a name:");
}

#[test]
fn names_are_the_fields_own() {
    let vague =
        ["util", "utils", "common", "helper", "helpers", "misc", "manager", "service", "types"];
    let called = |path: &PathBuf| {
        let inside = path.strip_prefix(root()).unwrap().with_extension("");
        inside.iter().any(|part| vague.iter().any(|name| part == *name))
    };
    let faults = files().into_iter().filter(called).map(|path| path.display().to_string());
    none(faults.collect(), "Name the file for what it is about:");
}

#[test]
fn nothing_speaks_of_where_it_was_made() {
    // Put together here, so that this file does not contain them.
    let words =
        [concat!("/wo", "rk/"), concat!("/tmp", "/wt"), concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut faults = Vec::new();
    // The schemas are other people's words, and stay as they were.
    for path in files().into_iter().filter(|path| !path.starts_with(root().join("tests/schemas"))) {
        // Pictures and the like are not text.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (index, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(*word)) {
                faults.push(format!("{}:{}: {word}", path.display(), index + 1));
            }
        }
    }
    none(faults, "Do it now or leave it out; and name no place of one machine:");
}

#[test]
fn a_binary_is_a_doorbell() {
    let programs = files_with("rs").filter(|(path, _)| path.starts_with("src/bin"));
    let long = programs.filter(|(_, text)| text.lines().count() > 20);
    none(long.map(|(path, _)| path.display().to_string()).collect(), "Move it to src/app:");
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for (path, text) in files_with("md") {
        for (index, line) in prose(&text) {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for target in targets.filter(|target| !target.contains("://")) {
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let file = match file {
                    "" => root().join(&path),
                    file => root().join(&path).with_file_name(file),
                };
                let there =
                    file.exists() && (heading.is_empty() || headings(&file).contains(heading));
                if !there {
                    faults.push(format!("{}:{index}: {target}", path.display()));
                }
            }
        }
    }
    none(faults, "Mend the link (a heading is in small letters, with - for a space):");
}

#[test]
fn every_test_that_the_page_of_reliability_names_is_there() {
    let page = fs::read_to_string(root().join("docs/reliability.md")).unwrap_or_default();
    let (mut faults, mut named) = (Vec::new(), 0);
    for (index, line) in prose(&page) {
        let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        for (at, file) in quoted.iter().enumerate().filter(|(_, it)| it.starts_with("tests/")) {
            let test = quoted.get(at + 1).copied().unwrap_or_default();
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            let head = format!("fn {test}(");
            let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
            let found =
                lines.iter().position(|it| it.trim_start_matches("async ").starts_with(&head));
            // Its attribute stands before it; there may be another between.
            let before = found.map_or(&[][..], |it| &lines[it.saturating_sub(2)..it]);
            let is_test = |it: &&str| it.starts_with("#[test]") || it.starts_with("#[tokio::test");
            named += 1;
            if !before.iter().any(is_test) {
                faults.push(format!("docs/reliability.md:{index}: no test {test:?} in {file}"));
            }
        }
    }
    none(faults, "Name the file and then the test, each in backticks, as they are called now:");
    for promise in 1..=5 {
        assert!(page.contains(&format!("| {promise}. ")), "who guards promise {promise}?");
    }
    assert!(named >= 5, "docs/reliability.md names {named} tests");
}

/// The numbered lines of a page outside its code blocks.
fn prose(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    page.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        (!code && !fence).then_some((index + 1, line))
    })
}

/// What a page's headings are called in a link to them.
fn headings(file: &Path) -> HashSet<String> {
    let page = fs::read_to_string(file).unwrap_or_default();
    let titles = prose(&page).filter_map(|(_, line)| line.strip_prefix('#'));
    let titles = titles.map(|title| title.trim_start_matches('#').trim().to_lowercase());
    let kept = |c: char| c.is_alphanumeric() || "-_ ".contains(c);
    titles.map(|title| title.replace(|c| !kept(c), "").replace(' ', "-")).collect()
}

#[test]
fn the_readme_says_how_to_start() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap_or_default();
    for command in ["make dev", "make test"] {
        assert!(readme.contains(command), "README.md has to name `{command}`");
    }
}
