//! The operator's tool: `trunkline dev`, `publish`, `tail`, `doctor`, `queue`, `config`.

use std::process::ExitCode;

use hyper::Method;
use serde_json::{Value, json};

use super::daemon::{print, refuse, surroundings};
use super::{dev, doctor, operate, tail, terminal};
use crate::config::{self, EXIT_BAD_CONFIGURATION, Parsed, Publish, ToolCommand};
use crate::http::client::Client;
use crate::model::Component;

/// The whole life of the tool: 0 when it did what was asked, 64 when it was asked wrongly, 1
/// when it could not. `doctor` has codes of its own: see `docs/doctor.md`.
pub fn main() -> ExitCode {
    match config::tool(std::env::args_os().skip(1), &surroundings()) {
        Parsed::Print(text) => print(&text),
        Parsed::Faults(faults) => refuse(Component::Tool, &faults, EXIT_BAD_CONFIGURATION),
        Parsed::Run { run, warnings } => {
            for warning in warnings {
                terminal::warn(&format!("trunkline: {warning}"));
            }
            // One thread: `dev` must start its children from the thread that lives longest.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let done = runtime.map_err(told).and_then(|runtime| {
                let done = runtime.block_on(async {
                    match run {
                        ToolCommand::Dev(command) => dev::run(command).await.map(|()| 0),
                        ToolCommand::Publish(command) => publish(command).await.map(|()| 0),
                        ToolCommand::Tail(command) => tail::run(command).await.map(|()| 0),
                        ToolCommand::Doctor(command) => doctor::run(*command).await,
                        ToolCommand::Queue(command) => operate::run(*command).await,
                    }
                });
                // A name that is still being resolved does not hold up the end.
                runtime.shutdown_background();
                done
            });
            match done {
                Ok(code) => ExitCode::from(code),
                Err(problem) => {
                    terminal::warn(&format!("trunkline: {problem}"));
                    ExitCode::FAILURE
                }
            }
        }
    }
}

async fn publish(command: Publish) -> Result<(), String> {
    let Publish { server, channel, data, kind } = command;
    let mut document = json!({ "channel": channel, "data": data });
    if let Some(kind) = kind {
        document["type"] = kind.into();
    }
    let client = Client::new(server.url().clone());
    let answer = client.send(Method::POST, "/v1/notifications", &document).await.map_err(told)?;
    say(&format!("{} heard by {} server(s)", word(&answer["id"]), answer["receivers"]))?;
    Ok(())
}

/// Prints a line. Says whether somebody reads on.
pub(super) fn say(text: &str) -> Result<bool, String> {
    terminal::print(text).map_err(|error| format!("standard output: {error}"))
}

/// The stream of some channels.
pub(super) fn stream_path(channels: &[String]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(channels.iter().map(|channel| ("channel", channel)));
    format!("/v1/stream?{}", query.finish())
}

/// A notification in one line for people: time, channel, type, and what it says. Whoever may
/// publish wrote it, so nothing in it can steer the terminal.
pub(super) fn line(notification: &str) -> String {
    let Ok(it) = serde_json::from_str::<Value>(notification) else {
        return terminal::harmless(notification);
    };
    let clock = word(&it["time"]).get(11..19).unwrap_or_default().to_owned();
    let said = match &it["data"] {
        Value::String(text) => text.clone(),
        Value::Object(data) if data.get("message").is_some_and(Value::is_string) => {
            word(&data["message"])
        }
        other => other.to_string(),
    };
    // Wide enough for most names, so that what is said stands in one column.
    let (channel, kind) = (word(&it["subject"]), word(&it["type"]));
    terminal::harmless(&format!("{clock}  {channel:<12}  {kind:<12}  {said}"))
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An error in words.
pub(super) fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_told_in_one_line() {
        let notification = json!({ "time": "2026-11-23T10:20:30.123Z", "subject": "host", "type": "host.pulse",
            "data": { "message": "load 0.4", "load1": 0.4 } });
        assert_eq!(
            line(&notification.to_string()),
            "10:20:30  host          host.pulse    load 0.4"
        );
        assert_eq!(line("not json"), "not json");
    }

    #[test]
    fn a_notification_cannot_steer_the_terminal() {
        let steering = json!({ "data": "\u{1b}]0;owned\u{7}\u{9b}2J\nnext line" });
        for said in [line(&steering.to_string()), line("\u{1b}[2J")] {
            assert!(!said.contains(char::is_control), "{said:?}");
        }
    }

    #[test]
    fn channels_are_escaped_in_the_query() {
        let channels = ["a.b".to_owned(), "a&b=c".to_owned()];
        assert_eq!(stream_path(&channels), "/v1/stream?channel=a.b&channel=a%26b%3Dc");
    }
}
