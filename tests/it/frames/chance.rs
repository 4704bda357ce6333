//! Everything at once, by chance: downloads, uploads, cancelled ones, windows, sizes and tables that change, frames cut
//! anywhere. What is not cancelled arrives whole, and the client of all tests looks at every frame.

use std::collections::BTreeMap;

use super::{Scene, asking, block, setting};
use crate::support::StreamClient;
use crate::support::stream_client::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PING, PRIORITY,
    RST_STREAM, WINDOW_UPDATE, frame,
};

/// A sequence that is the same for the same seed (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A client at work.
struct Play {
    chance: Chance,
    client: StreamClient,
    /// What is to be uploaded by each stream that is not over: the rest of it, by the number of the stream.
    uploads: BTreeMap<u32, Vec<u8>>,
    downloads: Vec<u32>,
    cancelled: Vec<u32>,
    next: u32,
}

impl Play {
    fn bytes(&mut self, frames: &[u8]) {
        // In two writes, cut anywhere.
        let at = self.chance.below(frames.len() + 1);
        self.client.send(&frames[..at]);
        self.client.send(&frames[at..]);
    }

    fn number(&mut self) -> u32 {
        let gap = self.chance.of(&[0, 0, 0, 2, 10]);
        let stream = self.next + gap;
        self.next = stream + 2;
        stream
    }

    /// A head, padded or not, in one frame or in more.
    fn head(&mut self, stream: u32, path: &str, flags: u8) {
        let value = "v".repeat(self.chance.below(300));
        let fields = [asking(path), block(&[("x-some", &value)])].concat();
        let at = self.chance.below(fields.len() + 1);
        let (front, back) = fields.split_at(at);
        let frames = match self.chance.below(3) {
            0 => frame(HEADERS, END_HEADERS | flags, stream, &fields),
            1 => [
                frame(HEADERS, flags, stream, front),
                frame(CONTINUATION, END_HEADERS, stream, back),
            ]
            .concat(),
            _ => frame(
                HEADERS,
                END_HEADERS | PADDED | flags,
                stream,
                &[&[9][..], &fields, &[0; 9]].concat(),
            ),
        };
        self.bytes(&frames);
    }

    fn step(&mut self) {
        match self.chance.below(16) {
            0 | 1 if self.downloads.len() < 30 => {
                let stream = self.number();
                self.head(stream, &format!("/down/{stream}"), END_STREAM);
                self.downloads.push(stream);
            }
            2 | 3 if self.uploads.len() < 30 => {
                let stream = self.number();
                self.head(stream, &format!("/up/{stream}"), 0);
                let size = self.chance.of(&[1, 100, 20_000, 70_000, 300_000]);
                self.uploads.insert(stream, body_of(stream, size));
            }
            4..=8 => self.upload(),
            9 if self.downloads.len() > 3 => {
                let at = self.chance.below(self.downloads.len());
                let stream = self.downloads.swap_remove(at);
                self.cancel(stream);
            }
            10 if self.uploads.len() > 3 => {
                let streams: Vec<u32> = self.uploads.keys().copied().collect();
                let stream = self.chance.of(&streams);
                self.uploads.remove(&stream);
                self.cancel(stream);
            }
            11 => {
                let window = self.chance.of(&[0, 1, 100, 5_000, 65_535, 200_000]);
                let frames = setting(4, window);
                self.bytes(&frames);
            }
            12 => {
                let table = self.chance.of(&[0, 60, 200, 4_096, 10_000]);
                let size = self.chance.of(&[16_384, 16_500, 40_000]);
                let frames = [setting(1, table), setting(5, size)].concat();
                self.bytes(&frames);
            }
            13 => {
                let more = [&[0][..], &self.downloads].concat();
                let stream = self.chance.of(&more);
                let size: u32 = self.chance.of(&[1, 100, 10_000, 60_000]);
                self.bytes(&frame(WINDOW_UPDATE, 0, stream, &size.to_be_bytes()));
            }
            14 => {
                let other = self.next + 1_000;
                let frames = [
                    frame(PING, 0, 0, &[self.chance.below(250) as u8; 8]),
                    frame(PRIORITY, 0, other, &[0, 0, 0, 0, 9]),
                    frame(0xbb, 0xff, 1, &vec![7; self.chance.below(200)]),
                ];
                self.bytes(&frames.concat());
            }
            _ => self.client.settle(),
        }
    }

    /// Sends some of an upload, as far as the windows let it.
    fn upload(&mut self) {
        let streams: Vec<u32> = self.uploads.keys().copied().collect();
        if streams.is_empty() {
            return;
        }
        let stream = self.chance.of(&streams);
        let padding = self.chance.of(&[0, 0, 0, 1, 200]);
        let most = self.client.may_send(stream);
        let rest = self.uploads.get_mut(&stream).unwrap();
        let piece = (1 + self.chance.below(16_000)).min(rest.len());
        let cost = piece + if padding > 0 { 1 + padding } else { 0 };
        if cost > most {
            return;
        }
        let piece: Vec<u8> = rest.drain(..piece).collect();
        let end = u8::from(rest.is_empty()) * END_STREAM;
        let frames = if padding == 0 {
            frame(DATA, end, stream, &piece)
        } else {
            let padded = [&[padding as u8][..], &piece, &vec![0; padding]].concat();
            frame(DATA, PADDED | end, stream, &padded)
        };
        if end > 0 {
            self.uploads.remove(&stream);
            self.downloads.push(stream);
        }
        self.bytes(&frames);
    }

    fn cancel(&mut self, stream: u32) {
        self.bytes(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
        self.cancelled.push(stream);
    }

    /// All windows are opened, and everything finishes.
    fn finish(&mut self) {
        self.bytes(&setting(4, 1 << 30));
        self.bytes(&frame(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes()));
        for (stream, rest) in std::mem::take(&mut self.uploads) {
            assert_eq!(self.client.upload(stream, &rest), rest.len());
            self.downloads.push(stream);
        }
    }
}

/// What is uploaded by a stream: of each another body.
fn body_of(stream: u32, size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at / 7 + stream as usize) as u8)
        .collect()
}

/// What every request is answered.
const ANSWER: usize = 40_000;

fn play(scene: &Scene, seed: u64, client: StreamClient) {
    let mut play = Play {
        chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        client,
        uploads: BTreeMap::new(),
        downloads: Vec::new(),
        cancelled: Vec::new(),
        next: 1,
    };
    for _ in 0..400 {
        play.step();
    }
    play.finish();
    let answer = body_of(0, ANSWER);
    for stream in &play.downloads {
        let came = play.client.answer(*stream);
        assert!(came.whole && came.body == answer, "seed {seed}: {stream}");
    }
    scene.tidegate.in_flight("a", 0);
    assert!(play.client.seen().goaways.is_empty(), "seed {seed}");
    for request in scene.a.requests() {
        let Some((_, stream)) = request.path().split_once("up/") else {
            continue;
        };
        let stream: u32 = stream.parse().unwrap();
        let size = request.body.len();
        let right = request.whole || play.cancelled.contains(&stream);
        assert!(
            right && request.body == body_of(stream, size),
            "seed {seed}: {stream}"
        );
    }
}

/// Has the endpoint answer everything with a body.
fn ready(scene: &Scene) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER}\r\nX-Some: field\r\n\r\n");
    let answer = [head.as_bytes(), &body_of(0, ANSWER)].concat();
    scene.a.answer_with(answer);
}

#[test]
fn whatever_happens_at_once_everything_arrives_whole() {
    for seed in 1..=SEEDS {
        let scene = Scene::start();
        ready(&scene);
        let client = StreamClient::with_window(scene.tidegate.address(), 5_000);
        play(&scene, seed, client);
    }
}

#[test]
fn the_same_over_tls() {
    let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).unwrap();
    let ca = made.cert.pem();
    for seed in 100..100 + SEEDS / 4 {
        let mut scene = Scene::with(|setup| {
            setup
                .with_file("a.crt", &ca)
                .with_file("a.key", &made.signing_key.serialize_pem())
                .listener("tls: { certificates: [{ cert: a.crt, key: a.key }] }")
        });
        ready(&scene);
        let (mut client, _) = StreamClient::tls(scene.tidegate.address(), &ca, &["h2"]);
        client.begin(Some(5_000));
        play(&scene, seed, client);
        // Others would have to speak TLS, too.
        scene.over = true;
    }
}

/// How many plays there are.
const SEEDS: u64 = 8;
