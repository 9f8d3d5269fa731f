//! The configuration file: one flat TOML table of settings.

use std::collections::HashMap;
use std::path::Path;

use toml::{Table, Value};

use crate::model::Fault;

use super::declaration;
use super::source::Surroundings;

/// Reads the file into texts by environment variable. A file may serve several programs, so it
/// may hold the settings of all of them; a key that is nobody's setting is a fault.
pub(super) fn read(
    name: &str,
    around: &Surroundings<'_>,
    faults: &mut Vec<Fault>,
) -> HashMap<&'static str, String> {
    let mut fault = |path: String, message: String| faults.push(Fault { path, message });
    let text = match (around.file)(Path::new(name)) {
        Ok(text) => text,
        Err(problem) => {
            fault("--config".into(), format!("cannot read {name:?}: {problem}"));
            return HashMap::new();
        }
    };
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(problem) => {
            // Not the error's own text: that repeats the line, which may hold a password.
            let problem: toml::de::Error = problem;
            let line = 1 + problem.span().map_or(0, |span| {
                text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
            });
            fault(
                "--config".into(),
                format!("{name:?} is not TOML in line {line}: {}", problem.message()),
            );
            return HashMap::new();
        }
    };
    let mut texts = HashMap::new();
    for (key, value) in table {
        let Some(setting) =
            declaration::settings().find(|setting| setting.key().as_ref() == Some(&key))
        else {
            fault(format!("{key} in {name}"), unknown(&key));
            continue;
        };
        match plain(&value, setting.list) {
            Some(text) => {
                texts.insert(setting.variable, text);
            }
            None => {
                let form = if setting.list {
                    "a list of strings"
                } else {
                    "a string, a whole number, true or false"
                };
                fault(
                    format!("{key} in {name}"),
                    format!("is of type {}; write {form}", value.type_str()),
                );
            }
        }
    }
    texts
}

fn unknown(key: &str) -> String {
    let wanted = key.to_ascii_lowercase();
    let same = declaration::settings()
        .find(|setting| {
            setting.name() == Some(&wanted) || setting.variable.eq_ignore_ascii_case(key)
        })
        .and_then(|setting| setting.key());
    match same {
        Some(right) => format!("is not a setting; write {right}"),
        None => {
            "is not a setting; a key is a flag's name with `_`, and `trunkline config` lists all"
                .into()
        }
    }
}

/// The text that a flag would have for this value.
fn plain(value: &Value, list: bool) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Array(members) if list => members
            .iter()
            .map(Value::as_str)
            .collect::<Option<Vec<_>>>()
            .map(|members| members.join(",")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{file_faults, server_with_file};

    #[test]
    fn a_file_holds_strings_numbers_truths_and_lists() {
        let config = server_with_file(
            &[],
            &[],
            "
            redis_command_timeout = '250ms'
            queue_warning = 6000
            max_payload = 1024
            insecure = true
            allowed_origins = ['https://a.example', 'https://b.example']
            concurrency = 7 # a worker's
        ",
        );
        assert_eq!(config.common.redis.command_timeout.as_millis(), 250);
        assert_eq!(config.common.queue.warning, 6000);
        assert_eq!(config.common.max_payload.bytes(), 1024);
        assert!(config.insecure);
        assert_eq!(config.allowed_origins.len(), 2);
    }

    #[test]
    fn each_fault_of_a_file_names_its_key_and_the_fix() {
        for (text, path, says) in [
            ("colour = 'red'", "colour in t.toml", "is not a setting"),
            ("queue-warning = 1", "queue-warning in t.toml", "write queue_warning"),
            ("TRUNKLINE_QUEUE = 'q'", "TRUNKLINE_QUEUE in t.toml", "write queue"),
            ("[queue]\nname = 'q'", "queue in t.toml", "is of type table; write a string"),
            ("listen = 1.5", "listen in t.toml", "is of type float"),
            ("allowed_hosts = [1]", "allowed_hosts in t.toml", "a list of strings"),
            ("\nqueue = ", "--config", "line 2"),
            ("queue = 'a'\nqueue = 'b'", "--config", "duplicate key"),
            ("queue = 7.5", "queue in t.toml", "is of type float"),
            ("queue = ''", "--queue (TRUNKLINE_QUEUE)", "a-z, 0-9 and - (from the file)"),
        ] {
            let found = file_faults(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].path, path);
            assert!(found[0].message.contains(says), "{}", found[0]);
        }
    }

    #[test]
    fn a_broken_file_does_not_repeat_its_passwords() {
        let found = file_faults("redis_url = redis://:hunter2@h");
        assert!(!found[0].to_string().contains("hunter2"), "{}", found[0]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_fault() {
        let found = crate::config::testing::faults(&["--config", "absent.toml"], &[]);
        assert_eq!(found[0].path, "--config");
        assert!(found[0].message.starts_with("cannot read \"absent.toml\": "), "{}", found[0]);
    }
}
