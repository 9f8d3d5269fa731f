//! Whether a client takes what waits for it, for those who would have more wait.

use std::task::{Context, Poll};

use super::outbox::{Outbox, State};

impl Outbox {
    /// Whether more than half of either bound waits. Then whoever answers this client's requests
    /// had better not read the next, since its own answers could be what closes it as slow.
    pub fn is_crowded(&self) -> bool {
        self.crowds(&self.lock())
    }

    /// Ready when the outbox is not crowded. Wakes whoever asked last as soon as something was
    /// written.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if self.crowds(&state) {
            state.room = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn crowds(&self, state: &State) -> bool {
        let (queue, bounds) = (state.queue(), self.bounds());
        queue.len() > bounds.messages / 2 || queue.bytes() > bounds.bytes / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use futures_util::task::noop_waker;

    use crate::hub::fake::{Fake, notified};
    use crate::hub::{Bounds, Written};
    use crate::model::Transport;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_waits_for_room_is_woken_when_there_is_some_even_if_all_of_it_left_at_once() {
        let outbox = Outbox::new(Transport::Sse, Bounds { messages: 6, bytes: 9_999 });
        outbox.open();
        let woken = Arc::new(Woken::default());
        let asks = Waker::from(Arc::clone(&woken));
        let ask = || outbox.poll_room(&mut Context::from_waker(&asks));
        let write = || outbox.write(&mut Context::from_waker(&noop_waker()));
        let socket = Fake::of(&outbox, 0);
        // The head of the answer waits, too.
        (0..2).for_each(|at| outbox.replay(notified(Some(at))));
        assert_eq!(ask(), Poll::Ready(()));
        outbox.replay(notified(Some(2)));
        assert_eq!((ask(), write()), (Poll::Pending, Written::Blocked));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        socket.set_room(usize::MAX);
        assert_eq!(write(), Written::Everything);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(ask(), Poll::Ready(()));
    }
}
