//! What came after a position, and what can no longer be told.

use bytes::Bytes;

use super::History;
use super::script::{READ, new_epoch, position};
use super::write::micros;
use crate::conn::Error;
use crate::model::{ChannelName, LostReason, Notification, Position, Subscription};

/// Channels that had something since, of which those below a prefix are looked for.
const INDEX_ROWS: usize = 20_000;
/// Channels that one reader can be told about.
const CHANNELS: usize = 4_096;

/// How much one page may hold.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    entries: usize,
    bytes: usize,
}

impl Size {
    /// A few milliseconds of Redis' time.
    pub const MOST: Self = Self { entries: 256, bytes: 1 << 20 };

    /// So many entries, with so many bytes of payloads, within [`Size::MOST`]. One entry fits into
    /// any page.
    pub fn within(entries: usize, bytes: usize) -> Self {
        let Self { entries: most, bytes: most_bytes } = Self::MOST;
        Self { entries: entries.clamp(1, most), bytes: bytes.min(most_bytes) }
    }
}

/// A notification that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it was published.
    pub channel: ChannelName,
    /// Where it stands.
    pub position: Position,
    /// The notification as on the wire, without its position.
    pub payload: Bytes,
}

impl Entry {
    /// The notification, with its place. What is kept was written by this fleet, so it can be
    /// read: `None` is for what another hand has put there.
    pub fn notification(&self) -> Option<Notification> {
        let mut notification = Notification::from_wire(&self.channel, &self.payload).ok()?;
        notification.position = Some(self.position);
        Some(notification)
    }
}

/// A part of what came after a position, without a hole in between but for what is `lost`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub entries: Vec<Entry>,
    /// Subscriptions of which something before these entries is gone: it was trimmed.
    pub trimmed: Vec<Subscription>,
    /// What was read up to: the cursor for the next page.
    pub upto: Position,
    /// Whether that is all there is by now.
    pub complete: bool,
}

/// What somebody has missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// This, and maybe more.
    Page(Page),
    /// It cannot be told. From `head` on it can.
    Lost {
        /// Why.
        reason: LostReason,
        /// Where the history is now.
        head: Position,
    },
}

impl History {
    /// What came after a position on what these subscriptions hear, in one round trip. Channels
    /// whose history is off are not in it, see [`History::unkept`].
    ///
    /// # Errors
    /// Those of a command on the shared connection. Asking again is harmless.
    pub async fn since(
        &self,
        after: Position,
        wanted: &[Subscription],
        size: Size,
    ) -> Result<Missed, Error> {
        let keys = &self.0.keys;
        let (mut names, mut prefixes) = (Vec::new(), Vec::new());
        for wanted in wanted {
            match wanted {
                Subscription::Exact(name) => names.push(name.as_str()),
                Subscription::Prefix(prefix) => prefixes.push(prefix.as_str()),
            }
        }
        let mut call = READ.key(keys.head());
        call.key(keys.channels()).arg(new_epoch()).arg(keys.streams()).arg(after.at);
        call.arg(size.entries).arg(size.bytes).arg(INDEX_ROWS).arg(CHANNELS);
        call.arg(names.len()).arg(names).arg(&prefixes[..]);
        let answer: Answer = call.invoke_async(&mut self.0.shared.clone()).await?;
        let (epoch, head, upto, missing, wide, rows) = answer;
        let head = position(&epoch, head)?;
        if let Some(reason) = verdict(after, head, micros(self.index())) {
            return Ok(Missed::Lost { reason, head });
        }
        let trimmed = trimmed(wanted, &missing, wide);
        let entries = rows.into_iter().map(|(channel, at, payload)| {
            let unreadable = |_| Error::Other("the history has a channel that is none".into());
            let channel = ChannelName::parse(&channel).map_err(unreadable)?;
            let position = Position { epoch: head.epoch, at };
            Ok(Entry { channel, position, payload: payload.into() })
        });
        let entries = entries.collect::<Result<_, Error>>()?;
        let upto = Position { epoch: head.epoch, at: upto };
        Ok(Missed::Page(Page { entries, trimmed, upto, complete: upto == head }))
    }
}

/// Epoch and place of the head, what the page is whole up to, channels of which something is
/// missing, whether there are too many channels, and the entries.
type Answer = (String, u64, u64, Vec<String>, bool, Vec<(String, u64, Vec<u8>)>);

/// Why what came after a position cannot be told from the history whose head this is; `index`
/// microseconds back it knows which channels had something.
fn verdict(after: Position, head: Position, index: u64) -> Option<LostReason> {
    if after.epoch != head.epoch {
        Some(LostReason::Epoch)
    } else if after.at > head.at {
        Some(LostReason::Future)
    } else if head.at - after.at > index {
        Some(LostReason::Trimmed)
    } else {
        None
    }
}

/// The subscriptions that hear a channel of which something is missing, each once.
fn trimmed(wanted: &[Subscription], missing: &[String], wide: bool) -> Vec<Subscription> {
    let missing: Vec<_> = missing.iter().filter_map(|it| ChannelName::parse(it).ok()).collect();
    let hit = |wanted: &&Subscription| {
        wide && matches!(wanted, Subscription::Prefix(_))
            || missing.iter().any(|channel| wanted.matches(channel))
    };
    wanted.iter().filter(hit).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(epoch: u64, at: u64) -> Position {
        Position { epoch, at }
    }

    #[test]
    fn what_cannot_be_told_has_a_reason() {
        assert_eq!(verdict(at(1, 5), at(1, 5), 9), None);
        assert_eq!(verdict(at(1, 5), at(1, 14), 9), None);
        assert_eq!(verdict(at(1, 5), at(1, 15), 9), Some(LostReason::Trimmed));
        assert_eq!(verdict(at(1, 6), at(1, 5), 9), Some(LostReason::Future));
        assert_eq!(verdict(at(2, 5), at(1, 5), 9), Some(LostReason::Epoch));
    }

    #[test]
    fn who_hears_a_channel_with_a_hole_is_told_and_nobody_else() {
        let wanted: Vec<_> =
            ["a", "b", "c.*", "d.*"].iter().map(|it| Subscription::parse(it).unwrap()).collect();
        assert_eq!(
            trimmed(&wanted, &["a".into(), "c.x".into(), "c.y".into()], false),
            [wanted[0].clone(), wanted[2].clone()]
        );
        assert_eq!(trimmed(&wanted, &[], false), []);
        assert_eq!(trimmed(&wanted, &["b".into()], true), wanted[1..]);
    }

    proptest! {
        #[test]
        fn no_position_is_both_known_and_lost(epoch in 0u64..3, place in 0u64..30, head in 0u64..30) {
            let lost = verdict(at(epoch, place), at(1, head), 10);
            let known = epoch == 1 && place <= head && head - place <= 10;
            prop_assert_eq!(lost.is_none(), known);
        }
    }
}
