//! One client of a WebSocket, from the handshake to the end: one task, one loop.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Number, json};
use tokio::net::TcpStream;
use tokio::task::coop;
use tokio::time::Interval;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message};

use super::message::{self, Command};
use super::socket::{self, Socket};
use crate::flow::listen::{Listen, Returning, Since, Verdicts};
use crate::http::{session, subscribe};
use crate::hub::{Client, Frame, Written, event, ws_message};
use crate::model::{ClientClose, Fault, Position, Problem, Subscription, Transport};

/// What goes on with a socket after the handshake.
pub struct Session {
    client: Client,
    listen: Listen,
    heartbeat: Duration,
    named: Vec<Subscription>,
    unheard: Vec<Subscription>,
    since: Since,
}

impl Session {
    /// A session of `client`, who asked for what is `named` at once, and does not hear all of
    /// it yet.
    pub(super) fn new(
        client: Client,
        listen: Listen,
        heartbeat: Duration,
        named: Vec<Subscription>,
        unheard: Vec<Subscription>,
        since: Since,
    ) -> Self {
        Self { client, listen, heartbeat, named, unheard, since }
    }

    /// Who listens.
    pub(in crate::http) fn client(&self) -> &Client {
        &self.client
    }

    /// Talks until either side ends it.
    pub(in crate::http) async fn run(self, stream: TcpStream, head: Bytes, early: Bytes) {
        let Self { client, listen, heartbeat, named, unheard, since } = self;
        let stream = Arc::new(stream);
        client.outbox().attach(stream.clone(), head);
        let socket = Socket::new(stream, &early);
        drop(early);
        let heartbeat = session::heartbeat(heartbeat);
        client.hear(&[]);
        let (asked, returning) = (None, None);
        let mut talk = Talk { client, listen, socket, heartbeat, asked, returning, begun: false };
        if !named.is_empty() {
            talk.ask(named, unheard, since);
        }
        let end = poll_fn(|cx| talk.poll(cx)).await;
        let Talk { client, socket, .. } = talk;
        client.outbox().close(end.reason);
        // It counts as closed from here on, and what waits for it as dropped.
        let rest = client.outbox().detach();
        drop(client);
        if let Some(last) = end.last {
            session::bounded(socket.farewell(rest, last)).await;
        }
    }
}

/// How a session ends: why, and the last words if there is somebody to hear them.
pub(super) struct End {
    reason: ClientClose,
    pub(super) last: Option<Bytes>,
}

/// What Redis was asked for, in the client's words, and its answer to come.
struct Asked {
    named: Vec<Subscription>,
    since: Since,
    verdicts: Pin<Box<dyn Future<Output = Verdicts> + Send>>,
}

struct Talk {
    client: Client,
    listen: Listen,
    socket: Socket,
    heartbeat: Interval,
    asked: Option<Asked>,
    /// There while the client is told what it has missed.
    returning: Option<Returning>,
    /// Whether it has heard of a subscription yet: the first says where it begins.
    begun: bool,
}

impl Talk {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            // A client that always has more to say shares its thread with the others.
            ready!(coop::poll_proceed(cx)).made_progress();
            if let Some(Asked { verdicts, .. }) = &mut self.asked
                && let Poll::Ready(verdicts) = verdicts.as_mut().poll(cx)
            {
                self.answer(verdicts);
            }
            if let Some(returning) = &mut self.returning
                && returning.as_mut().poll(cx).is_ready()
            {
                self.returning = None;
            }
            // Until it is not due: only then does it wake this task the next time.
            while self.heartbeat.poll_tick(cx).is_ready() {
                if !self.beat() {
                    return Poll::Ready(End::ours(ClientClose::PingTimeout));
                }
            }
            if let Poll::Ready(end) = self.poll_write(cx) {
                return Poll::Ready(end);
            }
            if !self.listens() {
                return Poll::Pending;
            }
            match ready!(self.socket.poll_read(cx)) {
                Ok(message) => {
                    if let Some(end) = self.receive(message) {
                        return Poll::Ready(end);
                    }
                }
                Err(error) => return Poll::Ready(End::failed(&error)),
            }
        }
    }

    /// Whether the client's next message may be read: its answers have room, and the one before
    /// has been dealt with, so that answers come in the order of the questions.
    fn listens(&self) -> bool {
        let busy = self.asked.is_some() || self.returning.is_some();
        !busy && !self.client.outbox().is_crowded()
    }

    /// Writes whatever waits. Ready at the end only.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            // So does one for whom always more comes.
            ready!(coop::poll_proceed(cx)).made_progress();
            match self.client.outbox().write(cx) {
                Written::More => {}
                Written::Everything => return Poll::Pending,
                Written::Blocked => {
                    if let Err(error) = ready!(self.socket.poll_write_ready(cx)) {
                        return Poll::Ready(End::lost(session::lost(&error)));
                    }
                }
                Written::Closed(reason) => return Poll::Ready(End::ours(reason)),
                Written::Lost(reason) => return Poll::Ready(End::lost(reason)),
            }
        }
    }

    /// Asks for a sign of life. False when the last question had none for an answer.
    fn beat(&mut self) -> bool {
        // A peer that takes what it could not take before is there, and whoever is not read from
        // cannot be heard.
        let took = self.client.outbox().was_unblocked();
        let there = self.socket.was_alive() || took || !self.listens();
        self.push(Bytes::from_static(socket::PING));
        there
    }

    fn receive(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Text(text) => match message::parse(&text) {
                Ok(command) => self.obey(command),
                Err(problem) => self.push(error(&problem)),
            },
            Message::Ping(content) => self.push(socket::pong(&content)),
            Message::Pong(_) | Message::Frame(_) => {}
            Message::Binary(_) => {
                let last = socket::close(Some(1003), "send JSON in text frames");
                return Some(End { reason: ClientClose::Error, last: Some(last) });
            }
            Message::Close(frame) => return Some(End::theirs(frame)),
        }
        None
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Subscribe(_, Some(_)) if self.begun => {
                let message = "goes with the first subscribe of a connection, for all that it \
                               is to hear; open another one"
                    .into();
                let fault = Fault { path: "$.after".into(), message };
                self.push(error(&Problem::invalid(vec![fault])));
            }
            Command::Subscribe(named, after) => match self.client.want(&named) {
                Ok(unheard) => {
                    let first = if self.begun { Since::Later } else { Since::Now };
                    self.ask(named, unheard, after.map_or(first, Since::After));
                }
                Err(refusal) => self.push(error(&subscribe::refused(refusal, "$.subscribe"))),
            },
            Command::Unsubscribe(named) => {
                self.client.forget(&named, list("unsubscribed", &named, None));
            }
            Command::Ping(number) => self.pong(&number),
        }
    }

    /// Answers a ping, with where the server is by now where that is news to the client: one that
    /// pings can come back however long it has heard nothing.
    fn pong(&self, number: &Number) {
        let number = number.to_string();
        let pong = |cursor| event(Transport::Ws, "pong", number.as_bytes(), cursor);
        if !self.client.advance(|position| Frame::announcement(pong(Some(position)))) {
            self.push(pong(None));
        }
    }

    fn ask(&mut self, named: Vec<Subscription>, unheard: Vec<Subscription>, since: Since) {
        let verdicts = Box::pin(self.listen.confirm(unheard, since));
        self.asked = Some(Asked { named, since, verdicts });
    }

    /// Tells the client what Redis said.
    fn answer(&mut self, verdicts: Verdicts) {
        let Verdicts { confirmed, denied, failed, at } = verdicts;
        let (failed, why) = failed.map_or((vec![], None), |(failed, why)| (failed, Some(why)));
        let Some(Asked { mut named, since, .. }) = self.asked.take() else { return };
        named.retain(|it| !denied.contains(it) && !failed.contains(it));
        if !named.is_empty() {
            self.begun = true;
            self.returning = self.listen.begin(&self.client, &confirmed, since, at);
            self.client.hear_after(list("subscribed", &named, at), &confirmed);
        }
        if !denied.is_empty() {
            let problem = error(&subscribe::denied(&denied));
            self.client.forget(&denied, Frame::announcement(problem));
        }
        if let Some(why) = why {
            let problem = error(&subscribe::unconfirmed(&failed, &why));
            self.client.forget(&failed, Frame::announcement(problem));
        }
    }

    fn push(&self, bytes: Bytes) {
        self.client.outbox().push(Frame::announcement(bytes));
    }
}

impl End {
    /// Our end of the conversation.
    fn ours(reason: ClientClose) -> Self {
        let (code, words) = match reason {
            ClientClose::Client => (1000, ""),
            ClientClose::Shutdown => (1001, "this server is shutting down"),
            ClientClose::PingTimeout => (1002, "a ping was not answered"),
            ClientClose::Error => (1002, "protocol error"),
            ClientClose::Auth => (1008, "not authorised"),
            ClientClose::TooLarge => (1009, "a message was too large"),
            ClientClose::Slow => (4008, "too slow: more waited than fits the queue"),
        };
        let closing = json!({ "reason": reason.label(), "reconnect": subscribe::reconnect() });
        let closing = ws_message("closing", closing.to_string().as_bytes());
        Self { reason, last: Some([closing, socket::close(Some(code), words)].concat().into()) }
    }

    /// The client said that it ends: the answer is what it said.
    pub(super) fn theirs(frame: Option<CloseFrame>) -> Self {
        let code =
            frame.map(|frame| if frame.code.is_allowed() { frame.code.into() } else { 1002 });
        Self { reason: ClientClose::Client, last: Some(socket::close(code, "")) }
    }

    /// Nobody is there to hear anything.
    fn lost(reason: ClientClose) -> Self {
        Self { reason, last: None }
    }

    /// Reading failed. A broken protocol is told in the code and in words; when to come back
    /// would not help.
    pub(super) fn failed(error: &Error) -> Self {
        use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
        let (reason, code) = match error {
            Error::Protocol(ResetWithoutClosingHandshake) | Error::ConnectionClosed => {
                return Self::lost(ClientClose::Client);
            }
            Error::Protocol(_) | Error::Utf8(_) => (ClientClose::Error, 1002),
            Error::Capacity(_) => (ClientClose::TooLarge, 1009),
            Error::Io(error) => return Self::lost(session::lost(error)),
            _ => return Self::lost(ClientClose::Error),
        };
        Self { reason, last: Some(socket::close(Some(code), &error.to_string())) }
    }
}

fn error(problem: &Problem) -> Bytes {
    ws_message("error", &problem.to_json())
}

fn list(name: &str, subscriptions: &[Subscription], cursor: Option<Position>) -> Frame {
    let mut names: Vec<String> = Vec::with_capacity(subscriptions.len());
    for name in subscriptions.iter().map(Subscription::to_string) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let names = json!(names).to_string();
    Frame::announcement(event(Transport::Ws, name, names.as_bytes(), cursor))
}
