//! Connections whose time or whose end is what matters: over a pipe in memory, and with a clock that stands still until all wait.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::frames::LEAVING;
use super::*;
use crate::clock::TICK;
use crate::http2::frame::{FrameHead, HEAD, MOST, flag, put_frame};
use crate::server::listener::tests::entry;
use crate::server::{Crowd, Room, Timeouts};

/// What the pipe takes, each way: more than a client may leave lying, so that all of that is written at once where there is room.
const PIPE: usize = 2 * OUT_MAX;

/// How long the last frames are waited for.
const LAST: Duration = Duration::from_secs(2);

/// What no test waits for in vain.
const LONG: Duration = Duration::from_secs(600);

/// As little as is enough for all to wait.
const MOMENT: Duration = Duration::from_millis(1);

/// A connection at work, and its client.
struct World {
    connection: Rc<Connection>,
    client: DuplexStream,
    came: BytesMut,
    over: JoinHandle<Over>,
}

/// Plays with a client that has said that it speaks HTTP/2.
fn play(timeouts: Timeouts, game: impl AsyncFnOnce(World)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let crowd = Crowd::new(&Limits::default(), Room::for_connections(1));
        let entry = entry(&crowd, timeouts);
        tokio::task::spawn_local(entry.proxy.clock().clone().run());
        let (client, ours) = tokio::io::duplex(PIPE);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = Connection::new(&entry, ours.into(), address, address);
        let known = connection.clone();
        let over =
            tokio::task::spawn_local(async move { Box::pin(converse(&entry, &known)).await });
        let mut world = World {
            connection,
            client,
            came: BytesMut::new(),
            over,
        };
        world
            .send(&[PREFACE.to_vec(), frame(kind::SETTINGS, 0, 0, &[])].concat())
            .await;
        world.take().await;
        game(world).await;
    });
}

impl World {
    /// Sends this, which is taken by the other side or by the pipe.
    async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(LONG, self.client.write_all(bytes)).await;
        sent.expect("it is taken").unwrap();
    }

    /// Takes what has come, and what comes once there is room for it.
    async fn take(&mut self) -> Vec<(FrameHead, Bytes)> {
        self.came.reserve(PIPE);
        while let Ok(Ok(1..)) = timeout(MOMENT, self.client.read_buf(&mut self.came)).await {
            self.came.reserve(PIPE);
        }
        let mut frames = Vec::new();
        while let Some(head) = FrameHead::read(&self.came)
            && self.came.len() >= HEAD + head.length
        {
            self.came.advance(HEAD);
            frames.push((head, self.came.split_to(head.length).freeze()));
        }
        frames
    }

    /// Leaves more lying than the pipe takes.
    async fn leave_lying(&mut self) -> usize {
        let count = (PIPE + 10_000) / ping().len();
        self.send(&ping().repeat(count)).await;
        self.all_wait().await;
        count
    }

    /// Bytes that have been read and not been taken yet.
    fn untaken(&self) -> usize {
        self.connection.watched.intake.borrow().inbox.bytes.len()
    }

    /// Everything has happened that can happen now.
    async fn all_wait(&self) {
        sleep(MOMENT).await;
    }

    /// Why it is over, once it is.
    async fn over(&mut self) -> Over {
        let over = timeout(LONG, &mut self.over).await;
        over.expect("it is over").unwrap()
    }

    /// Why it is over, which it is after this time by a clock that is not exact.
    async fn over_after(&mut self, time: Duration) -> Over {
        let begin = Instant::now();
        let over = self.over().await;
        let took = begin.elapsed();
        assert!(
            (time - TICK..time + 4 * TICK).contains(&took),
            "{took:?} instead of {time:?}"
        );
        over
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_frame(&mut frame, kind, flags, stream, payload);
    frame
}

fn ping() -> Vec<u8> {
    frame(kind::PING, 0, 0, b"12345678")
}

/// Fields of a request: GET, http, / and a host.
const FIELDS: &[u8] = b"\x82\x86\x84\x41\x01a";

/// A request, to which there is an answer though nothing is routed anywhere.
fn request(stream: u32) -> Vec<u8> {
    let flags = flag::END_HEADERS | flag::END_STREAM;
    frame(kind::HEADERS, flags, stream, FIELDS)
}

/// Whose answers are whole.
fn answered(frames: &[(FrameHead, Bytes)]) -> Vec<u32> {
    let ends = frames.iter().filter(|(head, _)| {
        matches!(head.kind, kind::HEADERS | kind::DATA) && head.has(flag::END_STREAM)
    });
    ends.map(|(head, _)| head.stream).collect()
}

/// How many PINGs are answered.
fn pings(frames: &[(FrameHead, Bytes)]) -> usize {
    let answers = frames
        .iter()
        .filter(|(head, _)| head.kind == kind::PING && head.has(flag::ACK));
    answers.count()
}

/// The last streams that are named.
fn goaways(frames: &[(FrameHead, Bytes)]) -> Vec<u32> {
    let all = frames.iter().filter(|(head, _)| head.kind == kind::GOAWAY);
    all.map(|(_, payload)| u32::from_be_bytes(*payload.first_chunk().unwrap()))
        .collect()
}

/// Frames that were read, and had to wait since nobody took the answers to those before them, are not forgotten although
/// nothing more comes.
#[test]
fn what_had_to_wait_is_answered_once_answers_are_taken() {
    let mut waited = 0;
    // Wherever the frames that wait begin in what was read at once, which is 64 KiB at the most.
    for more in (0..64 * 1024).step_by(4 * 1024) {
        play(Timeouts::default(), async |mut world| {
            let count = (PIPE + OUT_MAX + more) / ping().len();
            world.send(&ping().repeat(count)).await;
            world.send(&request(1)).await;
            world.all_wait().await;
            waited += usize::from(world.untaken() > 0);
            let came = world.take().await;
            assert_eq!((pings(&came), answered(&came)), (count, vec![1]), "{more}");
            assert!(!world.over.is_finished());
        });
    }
    assert!(waited > 0, "none has waited");
}

/// P11: whatever the client answers before it is asked, and however often it does.
#[test]
fn the_last_goaway_is_said_once() {
    play(Timeouts::default(), async |mut world| {
        let answer = frame(kind::PING, flag::ACK, 0, &LEAVING);
        // Nobody has asked yet; and the stream stays open, since its client lets nothing through.
        let window = [0, setting::INITIAL_WINDOW_SIZE as u8, 0, 0, 0, 0];
        let narrow = frame(kind::SETTINGS, 0, 0, &window);
        world
            .send(&[answer.clone(), narrow, request(1)].concat())
            .await;
        assert!(goaways(&world.take().await).is_empty());
        world.connection.announce_end_at(Instant::now());
        assert_eq!(goaways(&world.take().await), [MOST]);
        world.send(&answer.repeat(2)).await;
        assert_eq!(goaways(&world.take().await), [1]);
        world.send(&answer).await;
        assert!(goaways(&world.take().await).is_empty());
        let wide = frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0]);
        world.send(&wide).await;
        let came = world.take().await;
        assert_eq!((answered(&came), goaways(&came)), (vec![1], vec![]));
        assert_eq!(world.over().await, Over::Done);
    });
}

#[test]
fn last_frames_that_nobody_takes_are_not_waited_for() {
    let idle = || Timeouts {
        keep_alive: Duration::from_secs(5),
        ..Timeouts::default()
    };
    // An idle client is told, asked whether it knows, and told what was the last.
    play(idle(), async |mut world| {
        world.leave_lying().await;
        let over = world.over_after(idle().keep_alive + 2 * LAST).await;
        assert_eq!(over, Over::Stalled);
    });
    // One that takes them at the last moment has them all.
    play(idle(), async |mut world| {
        let count = world.leave_lying().await;
        sleep(idle().keep_alive + 2 * LAST - 2 * TICK).await;
        let came = world.take().await;
        assert_eq!((pings(&came), goaways(&came)), (count, vec![MOST, 0]));
        assert_eq!(world.over().await, Over::Done);
    });
    // One that has broken the rules.
    play(idle(), async |mut world| {
        world.leave_lying().await;
        world.send(&frame(kind::DATA, 0, 0, b"x")).await;
        let over = world.over_after(LAST).await;
        assert_eq!(over, Over::Refused(Refusal::Frames));
    });
    // One that says itself that it has no more requests.
    play(idle(), async |mut world| {
        world.leave_lying().await;
        world.client.shutdown().await.unwrap();
        let over = world.over_after(LAST).await;
        assert_eq!(over, Over::Stalled);
    });
}

/// A client that closes its end behind its requests' answers, whether it has taken them yet or not, gets them.
#[test]
fn what_was_said_before_the_clients_end_is_written() {
    play(Timeouts::default(), async |mut world| {
        let count = world.leave_lying().await;
        world.send(&[request(1), request(3)].concat()).await;
        world.all_wait().await;
        world.client.shutdown().await.unwrap();
        world.all_wait().await;
        assert!(!world.over.is_finished());
        let came = world.take().await;
        assert_eq!((pings(&came), answered(&came)), (count, vec![1, 3]));
        assert_eq!(world.over().await, Over::Done);
    });
}

/// Heads in two parts, between which time passes: within a frame's head, within a frame, and between frames.
fn heads(stream: u32) -> [[Vec<u8>; 2]; 3] {
    let cut = |at| {
        let whole = request(stream);
        let (front, back) = whole.split_at(at);
        [front.to_vec(), back.to_vec()]
    };
    let frames = [
        frame(kind::HEADERS, flag::END_STREAM, stream, &FIELDS[..3]),
        frame(kind::CONTINUATION, flag::END_HEADERS, stream, &FIELDS[3..]),
    ];
    [cut(5), cut(12), frames]
}

/// A head that begins right behind another, which was slow but not too slow.
#[test]
fn each_head_has_a_time_of_its_own() {
    let header = Timeouts::default().header;
    let almost = header - 2 * TICK;
    for [front, back] in heads(1) {
        for [next_front, next_back] in heads(3) {
            play(Timeouts::default(), async |mut world| {
                world.send(&front).await;
                world.all_wait().await;
                sleep(almost).await;
                world.send(&[&back[..], &next_front].concat()).await;
                assert_eq!(answered(&world.take().await), [1]);
                sleep(almost).await;
                assert!(answered(&world.take().await).is_empty());
                world.send(&next_back).await;
                assert_eq!(answered(&world.take().await), [3]);
                assert!(!world.over.is_finished());
            });
        }
    }
}

#[test]
fn a_head_is_not_waited_for_longer_than_its_time() {
    let header = Timeouts::default().header;
    for [front, _] in heads(3) {
        play(Timeouts::default(), async |mut world| {
            world.send(&[&request(1)[..], &front].concat()).await;
            assert_eq!(world.over_after(header).await, Over::SlowHead);
        });
    }
    // More of it, byte by byte, is not the whole of it.
    play(Timeouts::default(), async |mut world| {
        let begin = Instant::now();
        let long = frame(kind::HEADERS, flag::END_STREAM, 1, &[0; 1000]);
        for byte in long.chunks(1) {
            if world.over.is_finished() {
                break;
            }
            world.send(byte).await;
            sleep(header / 40).await;
        }
        assert_eq!(world.over().await, Over::SlowHead);
        assert!(begin.elapsed() < header + header / 10);
    });
}
