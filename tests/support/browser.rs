//! A real browser without a window, driven over the DevTools protocol.
//!
//! Every wait has a deadline and says what the page showed instead. What the browser itself
//! complains about is collected: [`Page::complaints`].

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use super::children::Process;
use super::eventually::within;
use super::programs::Program;

/// A browser starts many processes and reads many files before it says where it listens.
const START: Duration = Duration::from_secs(30);
/// How long a page may take to show something: a browser has a lot to do on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between being asked to end and being killed.
const GOODBYE: Duration = Duration::from_secs(5);

/// A browser of one's own, with a profile of its own. Ends with the test.
pub struct Browser {
    process: Process,
    profile: TempDir,
}

impl Browser {
    /// Starts it, and opens this path of a server in its only tab, `width` pixels wide.
    pub async fn open(server: SocketAddr, path: &str, width: u32) -> Page {
        let browser = Browser::start();
        let socket = browser.connect().await;
        let mut page = Page { socket, browser, session: None, last_id: 0, complaints: vec![] };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = page.call("Target.attachToTarget", attach).await;
        page.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            page.call(domain, json!({})).await;
        }
        let screen =
            json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600 });
        page.call("Emulation.setDeviceMetricsOverride", screen).await;
        let there = page.call("Page.navigate", json!({ "url": format!("http://{server}{path}") }));
        let there = there.await;
        assert!(there.get("errorText").is_none(), "{there}");
        page
    }

    fn start() -> Browser {
        let profile = tempfile::Builder::new().prefix("browser-").tempdir().unwrap();
        let mut command = Program::Chromium.command();
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
        // What is small in a container, and what would speak to the world outside.
        command.args(["--disable-dev-shm-usage", "--disable-background-networking"]);
        command.args(["--no-proxy-server", "--disable-component-update", "--disable-sync"]);
        command.arg("--remote-debugging-port=0");
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        // Caches of fonts and the like go into the profile, and with it.
        command.env("HOME", profile.path()).env_remove("XDG_CONFIG_HOME");
        command.env_remove("XDG_CACHE_HOME").env_remove("DBUS_SESSION_BUS_ADDRESS");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start(command).expect("a browser that starts");
        Browser { process, profile }
    }

    async fn connect(&self) -> WebSocketStream<TcpStream> {
        let address = within(START, "the browser listens", async || {
            listening(self.profile.path()).ok_or("no DevToolsActivePort in its profile")
        });
        let (port, path) = address.await;
        let uri = format!("ws://127.0.0.1:{port}{path}");
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let opening = ClientBuilder::new();
        opening.uri(&uri).unwrap().connect_on(stream).await.unwrap().0
    }
}

/// The port and the path of the browser's WebSocket, once it has written both down.
fn listening(profile: &Path) -> Option<(u16, String)> {
    let text = std::fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
    let (port, path) = text.split_once('\n')?;
    (!path.is_empty()).then_some((port.parse().ok()?, path.trim().to_owned()))
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked, it ends its own children first.
        self.process.signal(Signal::TERM);
        let asked = Instant::now();
        while self.process.exited().is_none() && asked.elapsed() < GOODBYE {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process.kill();
        // One of those children may still be on its way out, writing.
        while self.profile.path().exists() && asked.elapsed() < GOODBYE {
            if std::fs::remove_dir_all(self.profile.path()).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// The tab.
pub struct Page {
    socket: WebSocketStream<TcpStream>,
    session: Option<String>,
    last_id: u64,
    complaints: Vec<String>,
    browser: Browser,
}

impl Page {
    /// Calls a method of the protocol. Panics with the browser's error.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut request = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        self.socket.send(Message::text(request.to_string())).await.unwrap();
        loop {
            let mut message = self.message(method).await;
            if message["id"] == self.last_id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
        }
    }

    /// The value of an expression of JavaScript; of a promise, what it comes to.
    pub async fn value(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", params).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true. Panics with what the page shows instead.
    pub async fn until(&mut self, expression: &str) {
        let started = Instant::now();
        while self.value(expression).await != true {
            if started.elapsed() > PATIENCE {
                let shown = self.value("document.body.innerText").await;
                panic!("not within {PATIENCE:?}: {expression}\n  seen instead: {shown}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The text of the element with this id.
    pub async fn text(&mut self, id: &str) -> String {
        let text = self.value(&format!("document.getElementById('{id}').innerText")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Presses and releases a key: `Tab`, `Enter` or `Space`.
    pub async fn press(&mut self, key: &str) {
        let (key, code, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Space" => (" ", 32, " "),
            other => panic!("no such key here: {other}"),
        };
        let mut event = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code });
        event["text"] = text.into();
        self.call("Input.dispatchKeyEvent", event.clone()).await;
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event).await;
    }

    /// Errors of the console so far: of scripts, of policies, of what could not be loaded.
    pub async fn complaints(&mut self) -> Vec<String> {
        // What it has to say comes before the answer to a question.
        self.value("0").await;
        self.complaints.clone()
    }

    async fn message(&mut self, what: &str) -> Value {
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await;
            let next = next.unwrap_or_else(|_| panic!("{what}: no answer from the browser"));
            let next = next.expect("a browser that runs").expect("a message");
            let Some(text) = next.as_text() else { continue };
            let message: Value = serde_json::from_str(text).unwrap();
            let params = &message["params"];
            let is_error = |level: &Value| level == "error" || level == "assert";
            let complaint = match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => is_error(&params["type"]),
                Some("Log.entryAdded") => is_error(&params["entry"]["level"]),
                _ => false,
            };
            if complaint {
                self.complaints.push(params.to_string());
            }
            return message;
        }
    }
}
