//! A notification as bytes. Each transport encodes it once, however many clients hear it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::{ChannelName, DeliveryPolicy, Notification, Position, Transport};
use crate::telemetry::TraceId;
use crate::telemetry::events::client::Accepted;
use crate::telemetry::trace::TraceContext;

/// Bytes ready for a client's socket, shared by all clients of a transport.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Bytes,
    content: Content,
}

/// What a frame carries. Only notifications are counted, from queue to socket.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Notification { accepted: Option<Accepted>, position: Option<Position>, spare: Spare },
    Announcement,
}

/// What may be given up instead of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Spare {
    /// Nothing.
    #[default]
    No,
    /// This, when it is the oldest and there is no room.
    Oldest,
    /// This, as soon as there is a later one of its channel.
    Earlier(Arc<ChannelName>),
}

impl Frame {
    /// Something this server says about itself.
    pub fn announcement(bytes: Bytes) -> Self {
        Self { bytes, content: Content::Announcement }
    }

    /// The bytes as they go to the socket.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it carries a notification.
    pub(super) fn is_notification(&self) -> bool {
        matches!(self.content, Content::Notification { .. })
    }

    /// When the notification was accepted by Trunkline; a foreign one never was.
    pub(super) fn accepted(&self) -> Option<Accepted> {
        match &self.content {
            Content::Notification { accepted, .. } => *accepted,
            Content::Announcement => None,
        }
    }

    /// Where a notification stands in the history, if that has it.
    pub(super) fn position(&self) -> Option<Position> {
        match &self.content {
            Content::Notification { position, .. } => *position,
            Content::Announcement => None,
        }
    }

    /// What may be given up instead of the client.
    pub(super) fn spare(&self) -> &Spare {
        match &self.content {
            Content::Notification { spare, .. } => spare,
            Content::Announcement => &Spare::No,
        }
    }

    /// The same frame, of which only the bytes from `at` on are left to be written.
    pub(super) fn advance(&mut self, at: usize) {
        bytes::Buf::advance(&mut self.bytes, at);
    }
}

/// A notification on its way to clients; encoded for a transport when its first client comes.
#[derive(Debug)]
pub struct Encoded {
    json: Vec<u8>,
    accepted: Option<Accepted>,
    position: Option<Position>,
    late: bool,
    spare: Spare,
    sse: Option<Bytes>,
    ws: Option<Bytes>,
}

impl Encoded {
    /// Encodes the CloudEvent that every client sees.
    pub fn new(notification: &Notification) -> Self {
        Self::traced(notification, None)
    }

    /// The same, whose delivery is part of a trace.
    pub fn traced(notification: &Notification, context: Option<TraceContext>) -> Self {
        let trace = TraceId::of(context);
        let accepted = notification.accepted_ms.map(|at_ms| Accepted { at_ms, trace });
        let (json, position) = (notification.to_client_json(), notification.position);
        let (late, spare) = (false, Spare::No);
        Self { json, accepted, position, late, spare, sse: None, ws: None }
    }

    /// A notification for a client that was away when it came. How late it is says nothing about
    /// this service, so its latency is not measured.
    pub fn replayed(notification: &Notification) -> Self {
        Self { accepted: None, ..Self::new(notification) }
    }

    /// One that is handed on from the history, and may come once more. Who begins to listen in
    /// between hears it then, so what is before it is not yet behind everybody.
    pub fn late(notification: &Notification) -> Self {
        Self { late: true, ..Self::new(notification) }
    }

    /// Whether it is [`Encoded::late`].
    pub(super) fn is_late(&self) -> bool {
        self.late
    }

    /// Where it stands in the history, if that has it.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// What becomes of it for a client that does not keep up.
    pub(super) fn by(&mut self, channel: &ChannelName, policy: DeliveryPolicy) {
        self.spare = match policy {
            DeliveryPolicy::Close => Spare::No,
            DeliveryPolicy::DropOldest => Spare::Oldest,
            DeliveryPolicy::LatestOnly => Spare::Earlier(Arc::new(channel.clone())),
        };
    }

    /// The frame for one transport.
    pub fn frame(&mut self, transport: Transport) -> Frame {
        let Self { json, accepted, position, .. } = self;
        let encode = || event(transport, "notification", json, *position);
        let bytes = match transport {
            Transport::Sse => self.sse.get_or_insert_with(encode),
            Transport::Ws => self.ws.get_or_insert_with(encode),
        };
        let (accepted, position, spare) = (*accepted, *position, self.spare.clone());
        let content = Content::Notification { accepted, position, spare };
        Frame { bytes: bytes.clone(), content }
    }
}

/// Something with a name, as each transport says it. The client resumes from `cursor`, if there is
/// one.
pub fn event(transport: Transport, name: &str, json: &[u8], cursor: Option<Position>) -> Bytes {
    match (transport, cursor) {
        (Transport::Sse, None) => sse_event(name, json),
        (Transport::Sse, Some(cursor)) => [id(cursor), sse_event(name, json)].concat().into(),
        (Transport::Ws, None) => ws_message(name, json),
        (Transport::Ws, Some(cursor)) => {
            let cursor = format!(",\"cursor\":\"{cursor}\"");
            ws_text(&[b"{\"", name.as_bytes(), b"\":", json, cursor.as_bytes(), b"}"])
        }
    }
}

/// The line by which the client of an event stream learns where to resume from.
pub fn id(cursor: Position) -> Bytes {
    format!("id: {cursor}\n").into()
}

/// One server-sent event. `json` is compact JSON, which never holds a line break.
pub fn sse_event(name: &str, json: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(name.len() + json.len() + 16);
    for part in [b"event: ", name.as_bytes(), b"\ndata: ", json, b"\n\n"] {
        bytes.put_slice(part);
    }
    bytes.freeze()
}

/// One message of a WebSocket server, an object with one member.
pub fn ws_message(name: &str, json: &[u8]) -> Bytes {
    ws_text(&[b"{\"", name.as_bytes(), b"\":", json, b"}"])
}

/// A text frame, header included, whole and unmasked as a server sends it (RFC 6455, section 5.2).
fn ws_text(parts: &[&[u8]]) -> Bytes {
    const TEXT: u8 = 0x81;
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = BytesMut::with_capacity(length + 10);
    bytes.put_u8(TEXT);
    match length {
        0..126 => bytes.put_u8(length as u8),
        126..65_536 => {
            bytes.put_u8(126);
            bytes.put_u16(length as u16);
        }
        _ => {
            bytes.put_u8(127);
            bytes.put_u64(length as u64);
        }
    }
    parts.iter().for_each(|part| bytes.put_slice(part));
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChannelName;

    #[test]
    fn a_notification_is_one_event_on_one_line_and_is_encoded_once() {
        let channel = ChannelName::parse("door").unwrap();
        let foreign = Notification::from_wire(&channel, b"\"two\\nlines\"").unwrap();
        let mut encoded = Encoded::new(&foreign);
        let (first, second) = (encoded.frame(Transport::Sse), encoded.frame(Transport::Sse));
        assert_eq!(first.bytes().as_ptr(), second.bytes().as_ptr());
        let text = std::str::from_utf8(first.bytes()).unwrap();
        let data = text.strip_prefix("event: notification\ndata: ").unwrap();
        let json = data.strip_suffix("\n\n").unwrap();
        assert!(!json.contains(['\n', '\r']));
        let event: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(event["data"], "two\nlines");
    }

    #[test]
    fn a_websocket_message_wraps_the_same_document_and_is_encoded_once() {
        let channel = ChannelName::parse("door").unwrap();
        let foreign = Notification::from_wire(&channel, b"7").unwrap();
        let mut encoded = Encoded::new(&foreign);
        let (first, second) = (encoded.frame(Transport::Ws), encoded.frame(Transport::Ws));
        assert_eq!(first.bytes().as_ptr(), second.bytes().as_ptr());
        let (header, text) = first.bytes().split_at(4);
        assert_eq!(header[..2], [0x81, 126]);
        assert_eq!(usize::from(u16::from_be_bytes([header[2], header[3]])), text.len());
        let message: serde_json::Value = serde_json::from_slice(text).unwrap();
        assert_eq!(message["notification"]["data"], 7);
    }

    #[test]
    fn who_can_resume_is_told_from_where() {
        let position = Position { epoch: 7, at: 9 };
        let sse = event(Transport::Sse, "lost", b"1", Some(position));
        assert_eq!(sse, "id: 0000000000000007-9\nevent: lost\ndata: 1\n\n");
        let ws = event(Transport::Ws, "lost", b"1", Some(position));
        let message: serde_json::Value = serde_json::from_slice(&ws[2..]).unwrap();
        assert_eq!(message, serde_json::json!({ "lost": 1, "cursor": position.to_string() }));
        assert_eq!(event(Transport::Ws, "lost", b"1", None), ws_message("lost", b"1"));
    }

    #[test]
    fn the_length_of_a_websocket_message_takes_as_little_room_as_it_may() {
        for (length, header) in [
            (125, &[0x81, 125][..]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 255, 255]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = ws_message("pong", &vec![b'1'; length - 9]);
            assert_eq!(&frame[..header.len()], header);
            assert_eq!(frame.len(), header.len() + length);
        }
    }
}
