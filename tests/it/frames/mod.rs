//! What RFC 9113, 7541 and 8441 ask of an HTTP/2 server, frame by frame, and what attackers make of it. Judged from outside:
//! where the rules leave a choice, every choice is right. What any server must keep to in whatever it sends (windows, sizes,
//! states, fields) the client of all tests looks at, frame by frame (`support/ledger`).

mod attacks;
mod blocks;
mod chance;
mod endings;
mod lifetimes;
mod limits;
mod malformed;
mod messages;
mod preface;
mod settings;
mod sizes;
mod strict;
mod uploads;
mod windows;

use crate::support::stream_client::{
    COMPRESSION_ERROR, END_HEADERS, FRAME_SIZE_ERROR, HEADERS, NO_ERROR, SETTINGS, STREAM_CLOSED,
    Seen, Stream, block, frame,
};
use crate::support::{Endpoint, Setup, StreamClient, Tidegate};

/// An endpoint, and tidegate before it.
struct Scene {
    a: Endpoint,
    tidegate: Tidegate,
    /// Others cannot be served any more.
    over: bool,
}

impl Scene {
    fn start() -> Self {
        Self::with(|setup| setup)
    }

    fn with(setup: impl FnOnce(Setup) -> Setup) -> Self {
        let a = Endpoint::start("a");
        let tidegate = setup(Setup::of(&[&a])).start();
        Self {
            a,
            tidegate,
            over: false,
        }
    }

    /// A client whose SETTINGS have been acknowledged.
    #[track_caller]
    fn client(&self) -> StreamClient {
        let mut client = StreamClient::connect(self.tidegate.address());
        acknowledged(&mut client, 1);
        client
    }

    /// A client that sends this has its connection ended with one of these codes.
    #[track_caller]
    fn breaks(&self, what: &str, frames: &[Vec<u8>], codes: &[u32]) {
        self.client_breaks(self.client(), what, frames, codes);
    }

    #[track_caller]
    fn client_breaks(
        &self,
        mut client: StreamClient,
        what: &str,
        frames: &[Vec<u8>],
        codes: &[u32],
    ) {
        // The end may come before the last byte is written.
        let _ = client.try_send(&frames.concat());
        let broken = client.until(what, |seen| seen.ended.then(|| goaway(seen)));
        let right = broken.is_some_and(|code| codes.contains(&code));
        assert!(
            right,
            "{what}: GOAWAY {broken:?} is none of {codes:?}: {:?}",
            client.seen()
        );
    }

    /// A client that sends this after its stream 1 was opened, and is not over, has the stream reset or its connection ended
    /// with one of these codes.
    #[track_caller]
    fn fails(&self, what: &str, frames: &[Vec<u8>], codes: &[u32]) {
        let mut client = self.client();
        let _ = client.try_send(&frames.concat());
        let fate = fate(&mut client, 1);
        let right =
            matches!(fate, Fate::Reset(code) | Fate::Broken(Some(code)) if codes.contains(&code));
        assert!(right, "{what}: {fate:?} is none of {codes:?}");
    }

    /// A client that sends this notices nothing: it is served before and behind it.
    #[track_caller]
    fn ignores(&self, what: &str, frames: &[Vec<u8>]) {
        let mut client = self.client();
        assert_eq!(client.get("/before").status(), 200, "{what}");
        client.send(&frames.concat());
        assert_eq!(client.get("/behind").status(), 200, "{what}");
        assert!(client.seen().goaways.is_empty(), "{what}");
    }
}

impl Drop for Scene {
    /// Whatever happens, others are served, and no place in flight is left behind.
    fn drop(&mut self) {
        if !self.over && !std::thread::panicking() {
            self.tidegate.in_flight("a", 0);
            assert_eq!(self.tidegate.get("/others").status, 200);
        }
    }
}

/// What becomes of a stream, or of its connection.
#[derive(Debug)]
enum Fate {
    Whole(Stream),
    Reset(u32),
    /// With the code of its GOAWAY, if it had one.
    Broken(Option<u32>),
}

#[track_caller]
fn fate(client: &mut StreamClient, stream: u32) -> Fate {
    client.until("a fate", |seen| {
        let own = seen.streams.get(&stream).cloned().unwrap_or_default();
        match (goaway(seen), own.reset) {
            (Some(code), _) if code != NO_ERROR => Some(Fate::Broken(Some(code))),
            (_, Some(code)) => Some(Fate::Reset(code)),
            _ if own.whole => Some(Fate::Whole(own)),
            (code, _) => seen.ended.then_some(Fate::Broken(code)),
        }
    })
}

/// The code of the last GOAWAY.
fn goaway(seen: &Seen) -> Option<u32> {
    seen.goaways.last().map(|(_, code)| *code)
}

/// Waits until so many SETTINGS have been acknowledged.
#[track_caller]
fn acknowledged(client: &mut StreamClient, count: usize) {
    client.until("an acknowledgement", |seen| {
        (seen.acknowledged >= count).then_some(())
    });
}

/// Says one setting, and waits until it holds.
#[track_caller]
fn set(client: &mut StreamClient, number: u16, value: u32) {
    let before = client.seen().acknowledged;
    client.send(&setting(number, value));
    acknowledged(client, before + 1);
}

/// SETTINGS with one setting.
fn setting(number: u16, value: u32) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.extend(value.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

/// The fields of a request.
fn fields<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":authority", "shop.test"),
        (":path", path),
    ]
}

/// A request's block of fields.
fn asking(path: &str) -> Vec<u8> {
    block(&fields("POST", path))
}

/// A head that opens a stream.
fn opening(stream: u32, path: &str, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &asking(path))
}

/// Codes of what is too long or too short, cannot be unpacked, or comes behind an end.
const SIZE: [u32; 1] = [FRAME_SIZE_ERROR];
const UNPACKED: [u32; 1] = [COMPRESSION_ERROR];
const CLOSED: [u32; 1] = [STREAM_CLOSED];
