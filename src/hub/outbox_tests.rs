use super::*;
use bytes::Bytes;
use futures_util::task::noop_waker;

fn outbox(messages: usize, bytes: usize) -> Outbox {
    let outbox = Outbox::new(Transport::Sse, Bounds { messages, bytes });
    let outbox = Arc::into_inner(outbox).unwrap();
    outbox.open();
    outbox
}
fn push(outbox: &Outbox, text: &'static str) {
    outbox.push(Frame::announcement(Bytes::from_static(text.as_bytes())));
}
fn take(outbox: &Outbox) -> Poll<Taken> {
    outbox.poll_take(&mut Context::from_waker(&noop_waker()))
}
fn batch(outbox: &Outbox) -> Batch {
    match take(outbox) {
        Poll::Ready(Taken::Batch(batch)) => batch,
        Poll::Ready(Taken::Closed(reason)) => panic!("closed: {reason}"),
        Poll::Pending => panic!("nothing waits"),
    }
}
fn closed(outbox: &Outbox) -> Option<ClientClose> {
    match take(outbox) {
        Poll::Ready(Taken::Closed(reason)) => Some(reason),
        _ => None,
    }
}

#[test]
fn what_queued_up_meanwhile_leaves_as_one_batch_in_order() {
    let outbox = outbox(9, 99);
    ["one", "two", "three"].iter().for_each(|text| push(&outbox, text));
    let mut batch = batch(&outbox);
    let mut slices = [IoSlice::new(&[]); 8];
    assert_eq!(batch.chunks_vectored(&mut slices), 3);
    assert_eq!(batch.copy_to_bytes(batch.remaining()), "onetwothree");
    assert!(take(&outbox).is_pending());
}

#[test]
fn a_socket_may_take_a_batch_in_pieces_of_any_size() {
    for piece in 1..=11 {
        let outbox = outbox(9, 99);
        ["one", "two", "three"].iter().for_each(|text| push(&outbox, text));
        let (mut batch, mut written) = (batch(&outbox), Vec::new());
        while batch.has_remaining() {
            let taken = piece.min(batch.chunk().len());
            written.extend_from_slice(&batch.chunk()[..taken]);
            batch.advance(taken);
        }
        assert_eq!(written, b"onetwothree");
    }
}

#[test]
fn the_head_of_an_answer_is_not_given_up() {
    let mut batch = Batch::of(Frame::announcement(Bytes::from_static(b"head")));
    batch.keep_begun();
    assert_eq!(batch.copy_to_bytes(batch.remaining()), "head");
}

#[test]
fn of_a_batch_given_up_only_a_frame_that_was_begun_is_left() {
    for (taken, left) in [(0, ""), (2, "e"), (3, ""), (4, "wo"), (6, "")] {
        let outbox = outbox(9, 99);
        ["one", "two", "three"].iter().for_each(|text| push(&outbox, text));
        let mut batch = batch(&outbox);
        batch.advance(taken);
        batch.keep_begun();
        assert_eq!(batch.copy_to_bytes(batch.remaining()), left, "after {taken}");
    }
}

#[test]
fn a_writer_that_is_stuck_learns_of_every_end_but_the_shutdown() {
    let cut = |outbox: &Outbox| outbox.poll_cut(&mut Context::from_waker(&noop_waker()));
    let (stopping, slow) = (outbox(9, 99), outbox(1, 99));
    stopping.close(ClientClose::Shutdown);
    assert!(cut(&stopping).is_pending() && cut(&slow).is_pending());
    ["a", "b"].iter().for_each(|text| push(&slow, text));
    assert_eq!(cut(&slow), Poll::Ready(ClientClose::Slow));
}

#[test]
fn an_idle_outbox_keeps_no_room_for_messages() {
    let outbox = outbox(99, 999);
    (0..40).for_each(|_| push(&outbox, "x"));
    batch(&outbox);
    assert_eq!(outbox.lock().waiting.capacity(), 0);
}

#[test]
fn a_batch_is_bounded_and_the_rest_waits_for_the_next() {
    let outbox = outbox(MAX_BATCH + 1, 9_999);
    (0..=MAX_BATCH).for_each(|_| push(&outbox, "x"));
    assert_eq!(batch(&outbox).remaining(), MAX_BATCH);
    assert_eq!(batch(&outbox).remaining(), 1);
}

#[test]
fn a_batch_ends_with_the_frame_that_fills_it() {
    let outbox = outbox(9, 1 << 20);
    let frame = Bytes::from(vec![b'x'; MAX_BATCH_BYTES - 1]);
    (0..5).for_each(|_| outbox.push(Frame::announcement(frame.clone())));
    assert_eq!(batch(&outbox).remaining(), 2 * frame.len());
    assert_eq!(batch(&outbox).remaining(), 2 * frame.len());
    assert_eq!(batch(&outbox).remaining(), frame.len());
    assert!(take(&outbox).is_pending() && outbox.lock().bytes == 0);
}

#[test]
fn one_message_too_many_closes_the_client_as_slow_and_frees_its_memory() {
    let outbox = outbox(2, 99);
    ["a", "b"].iter().for_each(|text| push(&outbox, text));
    push(&outbox, "c");
    assert_eq!(closed(&outbox), Some(ClientClose::Slow));
    assert!(outbox.lock().waiting.is_empty());
}

#[test]
fn one_byte_too_many_closes_the_client_as_slow() {
    let outbox = outbox(9, 4);
    ["ab", "cd"].iter().for_each(|text| push(&outbox, text));
    batch(&outbox);
    ["ab", "cd", "e"].iter().for_each(|text| push(&outbox, text));
    assert_eq!(closed(&outbox), Some(ClientClose::Slow));
}

#[test]
fn an_outbox_is_crowded_by_bytes_as_well_as_by_messages() {
    let (few, long) = (outbox(2, 99), outbox(9, 4));
    push(&few, "a");
    push(&long, "ab");
    assert!(!few.is_crowded() && !long.is_crowded());
    push(&few, "b");
    push(&long, "c");
    assert!(few.is_crowded() && long.is_crowded());
}

#[test]
fn a_single_frame_larger_than_the_bound_still_passes() {
    let outbox = outbox(9, 2);
    push(&outbox, "large");
    assert_eq!(batch(&outbox).remaining(), 5);
}

#[test]
fn at_shutdown_the_client_gets_what_waits_and_then_the_reason() {
    let outbox = outbox(9, 99);
    push(&outbox, "last words");
    outbox.close(ClientClose::Shutdown);
    outbox.close(ClientClose::Error);
    push(&outbox, "too late");
    assert_eq!(batch(&outbox).remaining(), 10);
    assert_eq!(closed(&outbox), Some(ClientClose::Shutdown));
}

#[tokio::test]
async fn a_waiting_reader_is_woken_by_a_frame_and_by_the_close() {
    let outbox = outbox(9, 99);
    let outbox = Arc::new(outbox);
    let reader = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        async move {
            let mut taken = 0;
            loop {
                match std::future::poll_fn(|cx| outbox.poll_take(cx)).await {
                    Taken::Batch(batch) => taken += batch.remaining(),
                    Taken::Closed(_) => return taken,
                }
            }
        }
    });
    tokio::task::yield_now().await;
    push(&outbox, "news");
    tokio::task::yield_now().await;
    outbox.close(ClientClose::Shutdown);
    let taken = tokio::time::timeout(std::time::Duration::from_secs(5), reader).await;
    assert_eq!(taken.unwrap().unwrap(), 4);
}
