//! What an endpoint is asked to do: written in the path and query of each request, so that one endpoint plays every part.

use std::time::Duration;

use crate::document::duration;

/// What an endpoint does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// Answers at once; also what any path without a meaning of its own gets, so that a browser sees something.
    Quick,
    /// Answers after this.
    Slow(Duration),
    /// Answers with a body that takes its time.
    Stream(Drip),
    /// Reads the whole body of the request and says how long it was.
    Upload,
    /// Begins a body and aborts it after as many chunks.
    Abort(Drip),
    /// Closes the connection without an answer.
    Drop,
    /// Answers with this status.
    Status(u16),
    /// Answers at once and leaves no trace in the counts.
    Settle,
}

/// A body in chunks, with a pause between each two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drip {
    /// How many chunks.
    pub(super) chunks: u32,
    /// The pause.
    pub(super) every: Duration,
    /// Bytes of each chunk.
    pub(super) size: usize,
}

impl Drip {
    /// All its bytes.
    pub(super) fn bytes(self) -> u64 {
        u64::from(self.chunks) * self.size as u64
    }
}

impl Script {
    /// Reads a script from a path and a query such as `/stream` and `chunks=20&every=50ms`. What is missing or makes no
    /// sense takes its default.
    pub(super) fn read(path: &str, query: &str) -> Self {
        let value = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
        };
        let drip = || Drip {
            chunks: number(value("chunks"), 20, CHUNKS_MAX),
            every: time(value("every"), Duration::ZERO),
            size: number(value("size"), 1024, SIZE_MAX) as usize,
        };
        match path {
            "/slow" => Self::Slow(time(value("for"), Duration::from_millis(100))),
            "/stream" => Self::Stream(drip()),
            "/abort" => Self::Abort(drip()),
            "/upload" => Self::Upload,
            "/drop" => Self::Drop,
            "/status" => Self::Status(number(value("code"), 503, 599) as u16),
            SETTLE => Self::Settle,
            _ => Self::Quick,
        }
    }
}

fn number(text: Option<&str>, default: u32, most: u32) -> u32 {
    text.and_then(|text| text.parse().ok())
        .unwrap_or(default)
        .min(most)
}

fn time(text: Option<&str>, default: Duration) -> Duration {
    text.and_then(|text| duration(text).ok())
        .unwrap_or(default)
        .min(PAUSE_MAX)
}

/// The path of [`Script::Settle`].
pub(super) const SETTLE: &str = "/.settle";
const CHUNKS_MAX: u32 = 100_000;
const SIZE_MAX: u32 = 1 << 20;
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_asked_and_bounds_it() {
        assert_eq!(Script::read("/", ""), Script::Quick);
        assert_eq!(
            Script::read("/slow", "for=250ms"),
            Script::Slow(Duration::from_millis(250))
        );
        let drip = Drip {
            chunks: 3,
            every: Duration::from_millis(50),
            size: 10,
        };
        assert_eq!(
            Script::read("/stream", "chunks=3&every=50ms&size=10"),
            Script::Stream(drip)
        );
        assert_eq!(drip.bytes(), 30);
        assert_eq!(
            Script::read("/slow", "for=9h"),
            Script::Slow(Duration::from_secs(60))
        );
        assert_eq!(Script::read("/status", "code=x"), Script::Status(503));
    }
}
