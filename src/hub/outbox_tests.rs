use super::*;
use crate::hub::fake::Fake;
use futures_util::task::noop_waker;

const PLENTY: usize = 1 << 30;

fn outbox(messages: usize, bytes: usize) -> Arc<Outbox> {
    let outbox = Outbox::new(Transport::Sse, Bounds { messages, bytes });
    outbox.open();
    outbox
}
fn push(outbox: &Outbox, text: &'static str) {
    outbox.push(Frame::announcement(Bytes::from_static(text.as_bytes())));
}
/// As fan-out does it.
fn hand_on(outbox: &Arc<Outbox>, number: u64, text: &'static str, touched: &mut Touched) {
    let frame = || Frame::announcement(Bytes::from_static(text.as_bytes()));
    assert!(outbox.push_once(number, None, frame, &mut Enqueued::default(), touched));
}
fn write(outbox: &Outbox) -> Written {
    outbox.write(&mut Context::from_waker(&noop_waker()))
}
/// As the task does it, for as long as anything is taken.
fn write_all(outbox: &Outbox) -> Written {
    loop {
        match write(outbox) {
            Written::More => {}
            other => return other,
        }
    }
}
fn waiting(outbox: &Outbox) -> (usize, usize) {
    let queue = &outbox.lock().queue;
    (queue.len(), queue.bytes())
}

#[test]
fn what_queued_up_meanwhile_leaves_in_one_write_in_order() {
    let outbox = outbox(9, 99);
    ["one", "two", "three"].iter().for_each(|text| push(&outbox, text));
    let socket = Fake::of(&outbox, PLENTY);
    assert_eq!(write(&outbox), Written::Everything);
    assert_eq!((socket.taken().as_str(), socket.calls()), ("onetwothree", 1));
    assert_eq!(write(&outbox), Written::Everything);
    assert_eq!(socket.calls(), 1, "nothing waits");
}

#[test]
fn a_socket_may_take_it_in_pieces_of_any_size() {
    for piece in 1..=11 {
        let outbox = outbox(9, 99);
        ["one", "two", "three"].iter().for_each(|text| push(&outbox, text));
        let socket = Fake::of(&outbox, 0);
        assert_eq!(write_all(&outbox), Written::Blocked);
        while write_all(&outbox) == Written::Blocked {
            socket.set_room(piece);
        }
        assert_eq!((socket.taken().as_str(), waiting(&outbox)), ("onetwothree", (0, 0)));
        assert!(outbox.was_unblocked() && !outbox.was_unblocked());
    }
}

#[test]
fn what_fan_out_hands_on_together_leaves_in_one_write_without_the_task() {
    let (outbox, mut touched) = (outbox(9, 99), Touched::default());
    let socket = Fake::of(&outbox, PLENTY);
    assert_eq!(write(&outbox), Written::Everything);
    for (number, text) in ["one", "two", "three"].into_iter().enumerate() {
        hand_on(&outbox, number as u64, text, &mut touched);
    }
    let before = socket.calls();
    assert!(!touched.write(9));
    assert_eq!((socket.taken().as_str(), socket.calls() - before), ("onetwothree", 1));
    assert!(outbox.lock().task.is_some(), "it was not woken");
}

#[test]
fn a_notification_that_comes_again_by_another_subscription_is_no_news() {
    let (outbox, mut touched) = (outbox(9, 99), Touched::default());
    let frame = || Frame::announcement(Bytes::from_static(b"x"));
    let mut push_once =
        |number| outbox.push_once(number, None, frame, &mut Enqueued::default(), &mut touched);
    assert_eq!([1, 1, 2].map(&mut push_once), [true, false, true]);
}

#[test]
fn fan_out_leaves_a_full_socket_to_the_task_which_goes_on_where_it_stopped() {
    let (outbox, mut touched) = (outbox(9, 99), Touched::default());
    let socket = Fake::of(&outbox, 4);
    write(&outbox);
    hand_on(&outbox, 1, "one", &mut touched);
    hand_on(&outbox, 2, "two", &mut touched);
    while touched.write(1) {}
    assert!(outbox.lock().task.is_none(), "it was woken");
    socket.set_room(PLENTY);
    hand_on(&outbox, 3, "three", &mut touched);
    assert!(!touched.write(9));
    assert_eq!(socket.taken(), "onet", "the task writes now, and nobody else");
    assert_eq!(write_all(&outbox), Written::Everything);
    assert_eq!(socket.taken(), "wothree");
    hand_on(&outbox, 4, "four", &mut touched);
    touched.write(9);
    assert_eq!(socket.taken(), "four");
}

#[test]
fn a_client_for_whom_more_waits_than_one_write_takes_lets_the_others_write_first() {
    let (large, small) = (outbox(999, 9_999), outbox(9, 99));
    let mut touched = Touched::default();
    let (many, few) = (Fake::of(&large, PLENTY), Fake::of(&small, PLENTY));
    for number in 0..=MAX_SLICES as u64 {
        hand_on(&large, number, "x", &mut touched);
    }
    hand_on(&small, 0, "y", &mut touched);
    assert!(touched.write(2), "one write more");
    assert_eq!((many.taken().len(), few.taken().as_str()), (MAX_SLICES - 1, "y"));
    assert!(!touched.write(1));
    assert_eq!(many.taken().len(), 2);
}

#[test]
fn what_fan_out_does_not_write_is_left_to_the_task() {
    let (outbox, mut touched) = (outbox(9, 99), Touched::default());
    let socket = Fake::of(&outbox, PLENTY);
    write(&outbox);
    hand_on(&outbox, 1, "one", &mut touched);
    drop(touched);
    assert!(outbox.lock().task.is_none(), "it was woken");
    assert_eq!((write(&outbox), socket.taken().as_str()), (Written::Everything, "one"));
}

#[test]
fn a_session_that_begins_late_has_its_head_before_what_waits() {
    let (outbox, mut touched) = (outbox(9, 99), Touched::default());
    hand_on(&outbox, 1, "one", &mut touched);
    assert!(!touched.write(9));
    let socket = Fake::headed(&outbox, PLENTY, "head");
    hand_on(&outbox, 2, "two", &mut touched);
    assert!(!touched.write(9));
    assert_eq!(socket.taken(), "headonetwo");
}

#[test]
fn the_head_of_an_answer_is_not_given_up() {
    let outbox = outbox(9, 99);
    push(&outbox, "one");
    let _socket = Fake::headed(&outbox, 0, "head");
    outbox.close(ClientClose::Slow);
    assert_eq!(write(&outbox), Written::Closed(ClientClose::Slow));
    assert_eq!(outbox.detach().bytes(), b"head");
}

#[test]
fn of_what_is_given_up_only_a_frame_that_was_begun_is_left() {
    for (taken, left) in [(0, ""), (2, "e"), (3, ""), (4, "wo"), (6, "")] {
        let outbox = outbox(9, 99);
        ["one", "two", "three"].iter().for_each(|text| push(&outbox, text));
        let _socket = Fake::of(&outbox, taken);
        write_all(&outbox);
        outbox.close(ClientClose::Error);
        assert_eq!(write(&outbox), Written::Closed(ClientClose::Error));
        assert_eq!(outbox.detach().bytes(), left.as_bytes(), "after {taken}");
        assert_eq!(waiting(&outbox), (0, 0));
    }
}

#[test]
fn a_socket_that_fails_is_known_to_the_task_whoever_found_out() {
    for reason in [ClientClose::Client, ClientClose::Error] {
        let (outbox, mut touched) = (outbox(9, 99), Touched::default());
        let socket = Fake::of(&outbox, 0);
        write(&outbox);
        socket.refuse(Refused::Lost(reason));
        hand_on(&outbox, 1, "one", &mut touched);
        assert!(!touched.write(9) && outbox.lock().task.is_none());
        assert_eq!(write(&outbox), Written::Lost(reason));
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
fn one_message_too_many_closes_the_client_as_slow_and_frees_its_memory() {
    let outbox = outbox(2, 99);
    ["a", "b"].iter().for_each(|text| push(&outbox, text));
    push(&outbox, "c");
    assert_eq!((write(&outbox), waiting(&outbox)), (Written::Closed(ClientClose::Slow), (0, 0)));
}

#[test]
fn a_client_that_is_slow_by_what_fan_out_hands_on_is_woken() {
    let (outbox, mut touched) = (outbox(1, 99), Touched::default());
    let _socket = Fake::of(&outbox, 0);
    write(&outbox);
    hand_on(&outbox, 1, "a", &mut touched);
    hand_on(&outbox, 2, "b", &mut touched);
    assert!(outbox.lock().task.is_none());
    assert_eq!(write(&outbox), Written::Closed(ClientClose::Slow));
}

#[test]
fn one_byte_too_many_closes_the_client_as_slow() {
    let outbox = outbox(9, 4);
    ["ab", "cd"].iter().for_each(|text| push(&outbox, text));
    let _socket = Fake::of(&outbox, 1);
    write_all(&outbox);
    push(&outbox, "e");
    assert_eq!(write(&outbox), Written::Blocked);
    push(&outbox, "f");
    assert_eq!(write(&outbox), Written::Closed(ClientClose::Slow));
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
    let socket = Fake::of(&outbox, PLENTY);
    assert_eq!((write_all(&outbox), socket.taken().as_str()), (Written::Everything, "large"));
}

#[test]
fn at_shutdown_the_client_gets_what_waits_and_then_the_reason() {
    let outbox = outbox(9, 99);
    push(&outbox, "last words");
    let socket = Fake::of(&outbox, 4);
    outbox.close(ClientClose::Shutdown);
    outbox.close(ClientClose::Error);
    push(&outbox, "too late");
    assert_eq!(write_all(&outbox), Written::Blocked);
    socket.set_room(PLENTY);
    assert_eq!(write_all(&outbox), Written::Closed(ClientClose::Shutdown));
    assert_eq!(socket.taken(), "last words");
}

#[tokio::test]
async fn a_waiting_task_is_woken_by_a_frame_and_by_the_close() {
    let outbox = outbox(9, 99);
    let socket = Fake::of(&outbox, PLENTY);
    let task = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        std::future::poll_fn(move |cx| match outbox.write(cx) {
            Written::Closed(reason) => Poll::Ready(reason),
            _ => Poll::Pending,
        })
    });
    tokio::task::yield_now().await;
    push(&outbox, "news");
    tokio::task::yield_now().await;
    assert_eq!(socket.taken(), "news");
    outbox.close(ClientClose::Shutdown);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(5), task).await;
    assert_eq!(ended.unwrap().unwrap(), ClientClose::Shutdown);
}
