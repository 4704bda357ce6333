//! What a client has sent and nobody has taken yet: the rest of a request's body, and the beginning of the next request.

use std::task::Waker;

use bytes::Bytes;
use http::HeaderMap;

use crate::http1::{Chunk, Chunks, End, Inbox};

/// How every HTTP/2 client begins (RFC 9113, section 3.4).
pub(in crate::server) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client that waits for it is told before it sends a body (RFC 9110, section 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What has come of a connection.
#[derive(Debug)]
pub(in crate::server) struct Intake {
    pub(in crate::server) inbox: Inbox,
    /// Where the head ends that comes next.
    pub(super) end: End,
    /// The first bytes may be HTTP/2's.
    unclear: bool,
    body: Rest,
    /// What is still to be sent before the client sends the body.
    go_on: &'static [u8],
    /// Somebody may still read the body.
    is_read: bool,
    /// Whoever read the body last, and waits for more of it.
    reader: Option<Waker>,
    /// Nothing is read any more: the connection is over.
    is_closed: bool,
}

/// What is left of the body of the request at hand.
#[derive(Debug)]
pub(super) enum Rest {
    /// Nothing.
    None,
    /// So many bytes.
    Sized(u64),
    /// Chunks.
    Chunked(Chunks),
}

/// What the first bytes of a connection say of what is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
    /// More have to come.
    Unclear,
}

/// The next piece of a body.
pub(super) enum Piece {
    Data(Bytes),
    /// More bytes are needed.
    More,
    End(Option<HeaderMap>),
}

impl Intake {
    pub(in crate::server) fn new(unclear: bool) -> Self {
        Self {
            inbox: Inbox::default(),
            end: End::default(),
            unclear,
            body: Rest::None,
            go_on: &[],
            is_read: false,
            reader: None,
            is_closed: false,
        }
    }

    /// On a clear listener the first bytes say which protocol it is.
    pub(super) fn spoken(&mut self) -> Spoken {
        let read = &self.inbox.bytes;
        if self.unclear && read.starts_with(PREFACE) {
            return Spoken::Http2;
        }
        if self.unclear && PREFACE.starts_with(read) {
            return Spoken::Unclear;
        }
        self.unclear = false;
        Spoken::Http1
    }

    /// A request begins, and this follows its head. `expects`: its client waits for a word before it sends the body.
    pub(super) fn begin(&mut self, body: Rest, expects: bool) {
        self.is_read = !matches!(body, Rest::None | Rest::Sized(0));
        self.body = if self.is_read { body } else { Rest::None };
        // Who has begun to send waits for nothing.
        let waits = expects && self.is_read && self.inbox.bytes.is_empty();
        self.go_on = if waits { CONTINUE } else { &[] };
    }

    /// Whether the body of the request at hand is over.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.body, Rest::None)
    }

    /// Whether the client still waits for a word before it sends the body.
    pub(super) fn is_awaited(&self) -> bool {
        self.go_on.len() == CONTINUE.len()
    }

    /// What is still to be sent of the word that the client waits for.
    pub(super) fn go_on(&self) -> &'static [u8] {
        self.go_on
    }

    /// So much of that word has been sent.
    pub(super) fn went_on(&mut self, sent: usize) {
        self.go_on = &self.go_on[sent..];
    }

    /// Takes the rest of that word, if some of it has been sent.
    pub(super) fn take_word(&mut self) -> &'static [u8] {
        if self.is_awaited() {
            return &[];
        }
        std::mem::take(&mut self.go_on)
    }

    /// Whether somebody may still read the body.
    pub(super) fn is_read(&self) -> bool {
        self.is_read && !self.is_over()
    }

    /// Nobody will read the body any more.
    pub(super) fn forget(&mut self) {
        (self.is_read, self.reader) = (false, None);
    }

    /// Whoever reads the body waits for more of it.
    pub(super) fn wait(&mut self, reader: &Waker) {
        match &mut self.reader {
            Some(known) if known.will_wake(reader) => {}
            known => *known = Some(reader.clone()),
        }
    }

    /// The connection is over: whoever reads the body is told.
    pub(in crate::server) fn close(&mut self) {
        self.is_closed = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes the next piece of the body.
    pub(super) fn next(&mut self) -> Result<Piece, &'static str> {
        let here = self.inbox.bytes.len();
        let piece = match &mut self.body {
            Rest::None => Piece::End(None),
            Rest::Sized(_) if here == 0 => Piece::More,
            Rest::Sized(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(here);
                *left -= here as u64;
                if *left == 0 {
                    self.body = Rest::None;
                }
                Piece::Data(self.inbox.take(here))
            }
            Rest::Chunked(chunks) => match chunks.next(&mut self.inbox.bytes)? {
                Chunk::Data(data) => Piece::Data(data),
                Chunk::More => Piece::More,
                Chunk::End(trailers) => {
                    self.body = Rest::None;
                    Piece::End(trailers)
                }
            },
        };
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    /// What the first bytes say, with each byte that comes.
    fn spoken(text: &[u8]) -> (Vec<Spoken>, Vec<u8>) {
        let mut intake = Intake::new(true);
        let mut said = Vec::new();
        for byte in text {
            intake.inbox.bytes.extend_from_slice(&[*byte]);
            said.push(intake.spoken());
        }
        (said, intake.inbox.bytes.to_vec())
    }

    #[test]
    fn tells_the_protocols_apart_at_the_first_byte_that_differs() {
        for (text, differs, spoken_then) in [
            ([PREFACE, b"frames"].concat(), PREFACE.len(), Spoken::Http2),
            (b"PRI * HTTP/1.1\r\n\r\n".to_vec(), 12, Spoken::Http1),
            (b"PRIVATE / HTTP/1.1\r\n".to_vec(), 4, Spoken::Http1),
            (b"GET / HTTP/1.1\r\n".to_vec(), 1, Spoken::Http1),
            (b"PRI * HT".to_vec(), 99, Spoken::Http1),
        ] {
            let (said, kept) = spoken(&text);
            assert_eq!(kept, text, "nothing is lost");
            for (come, said) in (1..).zip(said) {
                let expected = if come < differs {
                    Spoken::Unclear
                } else {
                    spoken_then
                };
                assert_eq!(said, expected, "{come} bytes of {text:?}");
            }
        }
    }

    #[test]
    fn tells_whoever_reads_when_it_closes() {
        struct Told(AtomicBool);
        impl Wake for Told {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let told = Arc::new(Told(AtomicBool::new(false)));
        let mut intake = Intake::new(false);
        intake.begin(Rest::Sized(3), false);
        intake.wait(&Waker::from(told.clone()));
        assert!(!intake.is_closed() && !told.0.load(Ordering::Relaxed));
        intake.close();
        assert!(intake.is_closed() && told.0.load(Ordering::Relaxed));
    }

    #[test]
    fn is_asked_to_go_on_only_by_who_waits() {
        let begin = |body, expects, early: &[u8]| {
            let mut intake = Intake::new(false);
            intake.inbox.bytes.extend_from_slice(early);
            intake.begin(body, expects);
            intake.is_awaited()
        };
        assert!(begin(Rest::Sized(3), true, b""));
        assert!(!begin(Rest::Sized(3), true, b"a"));
        assert!(!begin(Rest::Sized(3), false, b""));
        assert!(!begin(Rest::Sized(0), true, b""));
        let mut intake = Intake::new(false);
        intake.begin(Rest::Chunked(Chunks::default()), true);
        assert_eq!(intake.take_word(), b"");
        intake.went_on(5);
        assert_eq!(intake.take_word(), &CONTINUE[5..]);
        assert_eq!(intake.take_word(), b"");
    }
}
