//! `trunkline tail`: prints what arrives, and comes back when its stream breaks off.

use std::time::Duration;

use serde_json::Value;

use super::terminal;
use super::tool::{line, say, stream_path, told};
use crate::config::Tail;
use crate::http::client::{Client, ClientError, Events};

/// How long it waits before it comes back, where the server did not say.
const WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts.
const LONGEST: Duration = Duration::from_secs(30);

/// Prints until it is interrupted or nobody reads on. A stream that breaks off is opened again
/// where it was, as often as it takes.
///
/// # Errors
/// When the first stream cannot be opened, or a later one is refused for good.
pub(super) async fn run(command: Tail) -> Result<(), String> {
    tokio::select! {
        ended = follow(command) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn follow(command: Tail) -> Result<(), String> {
    let Tail { server, channels, json } = command;
    let client = Client::new(server.url().clone());
    let path = stream_path(&channels);
    let mut events = client.events(&path, None).await.map_err(told)?;
    while let Some(Broken { why, wait }) = listen(&mut events, json).await? {
        events = come_back(&client, &path, events.cursor(), &why, wait).await?;
    }
    Ok(())
}

/// How a stream ended that should not.
struct Broken {
    why: String,
    wait: Duration,
}

/// Prints what comes until the stream breaks off; nothing when nobody reads on.
async fn listen(events: &mut Events, json: bool) -> Result<Option<Broken>, String> {
    loop {
        let event = match events.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(Some(broken("the server ended the stream", events))),
            Err(error) => return Ok(Some(broken(&error.to_string(), events))),
        };
        match event.name.as_str() {
            "notification" => {
                let text = if json { event.data } else { line(&event.data) };
                if !say(&text)? {
                    return Ok(None);
                }
            }
            "lost" => warn(&format!("notifications are lost: {}", event.data)),
            "closing" => {
                let said: Value = serde_json::from_str(&event.data).unwrap_or_default();
                let why = format!("the server is leaving: {}", event.data);
                let wait = said["reconnect"].as_u64().map(Duration::from_millis);
                let broken = broken(&why, events);
                return Ok(Some(Broken {
                    wait: wait.unwrap_or(broken.wait).min(LONGEST),
                    ..broken
                }));
            }
            _ => {}
        }
    }
}

fn broken(why: &str, events: &Events) -> Broken {
    let wait = events.retry().unwrap_or(WAIT).min(LONGEST);
    Broken { why: why.to_owned(), wait }
}

/// Opens the stream again after what was heard last, and waits longer each time that fails.
async fn come_back(
    client: &Client,
    path: &str,
    cursor: Option<&str>,
    why: &str,
    mut wait: Duration,
) -> Result<Events, String> {
    let mut why = why.to_owned();
    loop {
        warn(&format!("{why}; coming back in {:.1} s", wait.as_secs_f64()));
        tokio::time::sleep(wait).await;
        match client.events(path, cursor).await {
            Ok(events) => {
                warn(match cursor {
                    Some(_) => "back where it was",
                    None => "back; what came meanwhile is not told, as no history is kept",
                });
                return Ok(events);
            }
            Err(ClientError::Refused { status, detail }) if status.is_client_error() => {
                return Err(format!("{status}: {detail}"));
            }
            Err(error) => why = error.to_string(),
        }
        // Spread, so that not all who lost a server come back to the next one together.
        wait = (wait * 2).min(LONGEST).mul_f64(0.8 + 0.2 * fastrand::f64());
    }
}

fn warn(text: &str) {
    terminal::warn(&format!("trunkline: {}", terminal::harmless(text)));
}
