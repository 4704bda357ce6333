use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};

use bytes::BufMut as _;

use super::sending::ROOM;
use super::*;
use crate::clock::Clock;
use crate::http2::frame::{FrameHead, MOST, flag};

/// How often something was woken, and when for the last time.
#[derive(Default)]
struct Woken {
    times: AtomicUsize,
    last: AtomicUsize,
    all: Arc<AtomicUsize>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::Relaxed);
        let now = self.all.fetch_add(1, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
    }
}

impl Woken {
    fn take(&self) -> usize {
        self.times.swap(0, Ordering::Relaxed)
    }
}

/// A connection with some streams, each with its count of wakes.
struct World {
    shared: Rc<Shared>,
    connection: Arc<Woken>,
    streams: Vec<(Rc<Stream>, Arc<Woken>)>,
    _clock: Rc<Clock>,
}

fn world(streams: u32) -> World {
    let clock = Clock::new();
    let all = Arc::new(AtomicUsize::new(0));
    let task = || {
        let woken = Woken {
            all: all.clone(),
            ..Woken::default()
        };
        let (task, woken) = (clock.task(), Arc::new(woken));
        task.register(&Waker::from(woken.clone()));
        (task, woken)
    };
    let (own, connection) = task();
    let windows = Windows {
        stream: 1000,
        connection: 100_000,
    };
    let shared = Shared::new(own, windows, 100);
    let streams = (0..streams)
        .map(|n| {
            let (task, woken) = task();
            (shared.open(2 * n + 1, task, false, None), woken)
        })
        .collect();
    World {
        shared,
        connection,
        streams,
        _clock: clock,
    }
}

impl World {
    fn capacity(&self, stream: usize) -> Poll<Option<usize>> {
        self.shared.poll_capacity(&self.streams[stream].0)
    }

    fn send(&self, stream: usize, size: usize) {
        self.shared
            .send(&self.streams[stream].0, vec![b'x'; size].into(), false);
    }

    /// The connection looks, and writes all.
    fn flush(&self) {
        self.shared.begin_look();
        self.shared.state().out = Outbox::default();
        self.shared.wake_waiting();
        self.shared.end_look();
    }

    /// Those that were woken send what they may, as their tasks would.
    fn run(&self, sent: &mut [usize]) {
        let woken = self.woken();
        let mut order: Vec<_> = (0..woken.len()).filter(|n| woken[*n] > 0).collect();
        order.sort_by_key(|n| self.streams[*n].1.last.load(Ordering::Relaxed));
        for n in order {
            while let Poll::Ready(Some(size)) = self.capacity(n) {
                self.send(n, size);
                sent[n] += size;
            }
        }
    }

    fn woken(&self) -> Vec<usize> {
        self.streams.iter().map(|(_, woken)| woken.take()).collect()
    }
}

#[tokio::test]
async fn one_stream_may_send_until_there_is_no_room() {
    let world = world(1);
    world.shared.state().window = MOST.into();
    assert!(world.shared.widen(&world.streams[0].0, 10_000_000));
    let mut sent = 0;
    while let Poll::Ready(Some(size)) = world.capacity(0) {
        assert!((1..=PAYLOAD_MAX).contains(&size));
        world.send(0, size);
        sent += size;
    }
    assert!((ROOM - 100..=ROOM).contains(&sent), "{sent}");
    assert_eq!(world.connection.take(), 1, "once for all frames");
    assert_eq!(world.woken(), [0]);
    world.flush();
    assert_eq!(world.woken(), [1]);
    assert_eq!(world.capacity(0), Poll::Ready(Some(PAYLOAD_MAX)));
}

#[tokio::test]
async fn streams_that_wait_take_turns() {
    let world = world(3);
    world.shared.state().window = MOST.into();
    for (stream, _) in &world.streams {
        assert!(world.shared.widen(stream, 10_000_000));
    }
    while let Poll::Ready(Some(size)) = world.capacity(0) {
        world.send(0, size);
    }
    assert!(world.capacity(1).is_pending() && world.capacity(2).is_pending());
    for round in 0..5 {
        world.flush();
        assert_eq!(world.woken(), [1, 1, 1], "round {round}");
        for stream in 0..3 {
            assert_eq!(world.capacity(stream), Poll::Ready(Some(PAYLOAD_MAX)));
            world.send(stream, PAYLOAD_MAX);
            assert!(world.capacity(stream).is_pending(), "one frame each");
        }
    }
    // Who is alone again need not wait for anybody.
    world.shared.close(&world.streams[1].0);
    world.shared.close(&world.streams[2].0);
    world.flush();
    world.flush();
    for _ in 0..3 {
        let Poll::Ready(Some(size)) = world.capacity(0) else {
            panic!("it waits for nobody");
        };
        world.send(0, size);
    }
}

#[tokio::test]
async fn each_window_is_waited_for_and_kept() {
    let world = world(2);
    for window in [&world.streams[0].0.window, &world.streams[1].0.window] {
        window.set(100);
    }
    world.shared.state().window = 150;
    assert_eq!(world.capacity(0), Poll::Ready(Some(100)));
    world.send(0, 100);
    assert!(world.capacity(0).is_pending(), "its own window");
    assert_eq!(world.capacity(1), Poll::Ready(Some(50)));
    world.send(1, 50);
    assert!(world.capacity(1).is_pending(), "the connection's window");
    world.flush();
    assert_eq!(world.woken(), [0, 0]);
    assert!(world.shared.widen(&world.streams[0].0, 10));
    assert_eq!(world.woken(), [1, 0]);
    assert!(world.capacity(0).is_pending(), "the connection's window");
    world.shared.state().window += 5;
    world.shared.wake_waiting();
    assert_eq!(world.woken(), [0, 1], "who waits for longer");
    assert!(world.capacity(0).is_pending());
    assert_eq!(world.capacity(1), Poll::Ready(Some(5)));
}

#[tokio::test]
async fn a_narrow_window_is_shared() {
    let world = world(3);
    world.shared.state().window = 0;
    for (n, (stream, _)) in world.streams.iter().enumerate() {
        assert!(world.shared.widen(stream, 10_000_000));
        assert!(world.capacity(n).is_pending());
    }
    world.woken();
    let mut sent = [0; 3];
    for _ in 0..90 {
        world.shared.state().window += 20_000;
        loop {
            world.flush();
            if world.shared.state().window == 0 {
                break;
            }
            world.run(&mut sent);
        }
    }
    assert_eq!(sent.iter().sum::<usize>(), 1_800_000);
    for share in sent {
        assert!((550_000..650_000).contains(&share), "{sent:?}");
    }
}

#[tokio::test]
async fn a_turn_that_nobody_uses_is_anothers() {
    let world = world(3);
    world.shared.state().window = 0;
    for n in 0..3 {
        assert!(world.capacity(n).is_pending());
    }
    world.shared.state().window = 10;
    world.flush();
    assert_eq!(world.woken(), [1, 0, 0]);
    // It is reset, and does not ask. The next one has its turn and does not use it for another reason.
    world.shared.close(&world.streams[0].0);
    assert!(world.shared.end_look());
    world.woken();
    world.flush();
    assert_eq!(world.woken(), [0, 1, 0]);
    assert!(world.shared.end_look());
    world.flush();
    assert_eq!(world.woken(), [0, 0, 1]);
    assert_eq!(world.capacity(2), Poll::Ready(Some(10)));
    assert!(!world.shared.end_look(), "nobody waits");
    assert!(!world.shared.state().turns.is_awaited());
}

#[tokio::test]
async fn nobody_waits_who_is_gone() {
    let world = world(1);
    world.shared.state().window = 0;
    assert!(world.capacity(0).is_pending() && world.capacity(0).is_pending());
    let woken = world.shared.state().turns.give(1 << 20).len();
    assert_eq!(woken, 1, "once");
    assert!(world.capacity(0).is_pending());
    world.shared.close(&world.streams[0].0);
    assert!(!world.shared.state().turns.is_awaited());
    let world = self::world(1);
    world.shared.state().window = 0;
    assert!(world.capacity(0).is_pending());
    world.shared.send_copied(&world.streams[0].0, b"", true);
    assert!(!world.shared.state().turns.is_awaited(), "it has said all");
}

#[tokio::test]
async fn a_window_may_shrink_below_zero_and_not_exceed_what_there_is() {
    let world = world(2);
    world.send(0, 60_000);
    assert!(world.shared.widen_all(10_000));
    assert_eq!(world.streams[0].0.window.get(), -50_000);
    assert!(world.capacity(0).is_pending());
    assert!(world.shared.widen(&world.streams[0].0, 50_000));
    assert!(world.capacity(0).is_pending() && world.woken() == [0, 0]);
    assert!(world.shared.widen(&world.streams[0].0, 1));
    assert_eq!(
        (world.woken(), world.capacity(0)),
        (vec![1, 0], Poll::Ready(Some(1)))
    );
    assert!(!world.shared.widen(&world.streams[1].0, MOST.into()));
    let world = self::world(1);
    assert!(
        world
            .shared
            .widen(&world.streams[0].0, i64::from(MOST - WINDOW))
    );
    assert!(!world.shared.widen_all(WINDOW + 1));
}

#[tokio::test]
async fn what_was_passed_on_may_be_sent_again() {
    let world = world(1);
    world.shared.settings_hold();
    let stream = &world.streams[0].0;
    stream.incoming.borrow_mut().window -= 600;
    world.shared.release(Some(stream), 400);
    assert!(world.shared.state().out.is_empty());
    world.shared.release(Some(stream), 200);
    assert_eq!(stream.incoming.borrow().window, 1000);
    assert_eq!(world.shared.state().out.len(), 13, "one WINDOW_UPDATE");
    world.shared.release(None, 50_000);
    assert_eq!(
        world.shared.state().out.len(),
        26,
        "and one of the connection"
    );
}

#[tokio::test]
async fn a_stream_is_over_when_both_sides_are() {
    let world = world(3);
    let [first, second, third] = [0, 1, 2].map(|n| &world.streams[n].0);
    world.shared.send_copied(first, b"", true);
    assert_eq!(world.shared.streams(), 3, "its client may go on");
    first.incoming.borrow_mut().end(None);
    world.shared.settle(first);
    assert_eq!(world.shared.streams(), 2);
    assert!(world.shared.state().resets.is_empty());
    // Its client would go on, but nobody reads it.
    world.shared.forget(second);
    world.shared.send_copied(second, b"", true);
    assert_eq!(world.shared.state().resets, [Reason::NO_ERROR]);
    world.shared.reset(third, Reason::CANCEL);
    world.shared.reset(third, Reason::CANCEL);
    assert_eq!(
        world.shared.state().resets,
        [Reason::NO_ERROR, Reason::CANCEL]
    );
    assert_eq!(
        (world.shared.streams(), world.capacity(2)),
        (0, Poll::Ready(None))
    );
    assert_eq!(world.woken(), [0, 0, 1]);
    let state = world.shared.state();
    assert_eq!([1, 3, 5].map(|id| state.was_reset(id)), [false, true, true]);
}

#[tokio::test]
async fn fields_are_cut_into_frames_that_the_client_takes() {
    let world = world(1);
    world
        .shared
        .send_fields(&world.streams[0].0, true, |_, out| {
            out.put_bytes(b'x', 2 * PAYLOAD_MAX + 5);
        });
    let mut state = world.shared.state();
    let mut seen = Vec::new();
    let mut rest = state.out.tail().split().freeze();
    while let Some(head) = FrameHead::read(&rest) {
        seen.push((head.kind, head.flags, head.length));
        bytes::Buf::advance(&mut rest, crate::http2::frame::HEAD + head.length);
    }
    let expected = [
        (kind::HEADERS, flag::END_STREAM, PAYLOAD_MAX),
        (kind::CONTINUATION, 0, PAYLOAD_MAX),
        (kind::CONTINUATION, flag::END_HEADERS, 5),
    ];
    assert_eq!((seen.as_slice(), rest.len()), (&expected[..], 0));
}

#[tokio::test]
async fn what_nobody_reads_may_be_sent_again() {
    let world = world(2);
    for (n, gone) in [(0, false), (1, true)] {
        let stream = &world.streams[n].0;
        let before = world.shared.state().incoming;
        let mut piece = bytes::BytesMut::from(&[b'x'; 60_000][..]);
        stream.incoming.borrow_mut().keep(&mut piece, 60_000);
        if gone {
            world.shared.close(stream);
        } else {
            world.shared.forget(stream);
        }
        // All of it, and once: the connection's window is as it was, and 60,000 larger.
        assert_eq!(world.shared.state().incoming, before + 60_000, "{gone}");
        assert_eq!(world.shared.state().out.len(), 13 * (n + 1), "{gone}");
    }
}

#[tokio::test]
async fn who_had_a_turn_and_found_nothing_is_first_again() {
    let world = world(2);
    world.shared.state().window = 0;
    for n in 0..2 {
        assert!(world.capacity(n).is_pending());
    }
    for _ in 0..3 {
        world.shared.state().window = 10;
        world.flush();
        assert_eq!(world.woken(), [1, 0]);
        // Somebody who needed no turn was quicker.
        world.shared.state().window = 0;
        assert!(world.capacity(0).is_pending());
    }
}
