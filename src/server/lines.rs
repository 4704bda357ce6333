//! How the lines of HTTP/1 requests end, wherever hyper's parser is more lenient than we want it to be.
//!
//! hyper takes a bare LF for the end of a line, as RFC 9112 section 2.2 lets it, and any number of zeros before a chunk's
//! size. A proxy in front may not, and whatever two readers take differently can hide a request. So the bytes are looked at
//! on their way to hyper: each head, also one that comes in one piece with the body before it, and the lines of chunks.
//!
//! What follows a head is known once hyper has parsed it ([`Lines::goes_on_with`]); what has come by then is kept, and that is
//! no more than one read.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use memchr::memchr_iter;

/// Follows one request after the other, from the first byte of each to its last.
#[derive(Debug, Default)]
pub(super) struct Lines {
    stage: Stage,
    /// The last byte of the line so far.
    last: u8,
    /// Bytes of the line so far.
    length: usize,
    /// A line of the head that is not empty has come: the next empty one ends it.
    begun: bool,
    head: Head,
    broken: bool,
    /// Came behind a head, before it was known what follows that.
    kept: Vec<u8>,
}

/// What is to be known of a head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// A line of it has ended with a bare LF.
    pub(super) bare: bool,
    /// Its length.
    pub(super) bytes: usize,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// A body of so many bytes, or none.
    Sized(u64),
    /// Chunks.
    Chunked,
}

impl Behind {
    /// As a head says that hyper has parsed. What it says in two ways is refused, and the connection ends with that.
    pub(super) fn of(head: &HeaderMap) -> Self {
        if head.contains_key(TRANSFER_ENCODING) {
            return Self::Chunked;
        }
        let length = head.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Self::Sized(length.unwrap_or(0))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Head,
    /// Behind a head, and it is not known what comes.
    Unknown,
    /// So many bytes of a body are left.
    Sized(u64),
    Chunks(Chunk),
}

/// Where a chunked body stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// So many digits of a size have come, and this is their value.
    Size(usize, u64),
    /// White space between a size and its extension.
    Padding(u64),
    Extension(u64),
    /// Before the LF of a size's line.
    SizeEnd(u64),
    /// So many bytes are left.
    Data(u64),
    DataCr,
    DataLf,
    /// Behind the last chunk, where a trailer begins.
    Trailer,
    InTrailer,
    TrailerLf,
    /// Before the last LF of all.
    End,
}

const SIZE_DIGITS_MAX: usize = 16;

impl Lines {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.broken {
            bytes = match self.stage {
                Stage::Head => self.feed_head(bytes),
                Stage::Unknown => {
                    self.kept.extend_from_slice(bytes);
                    &[]
                }
                Stage::Sized(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.stage = sized(left - here as u64);
                    &bytes[here..]
                }
                Stage::Chunks(chunk) => self.feed_chunks(chunk, bytes),
            };
        }
    }

    /// The head has been parsed, and this follows it.
    pub(super) fn goes_on_with(&mut self, behind: Behind) -> Head {
        let head = std::mem::take(&mut self.head);
        self.begun = false;
        self.stage = match behind {
            Behind::Sized(length) => sized(length),
            Behind::Chunked => Stage::Chunks(Chunk::Size(0, 0)),
        };
        let kept = std::mem::take(&mut self.kept);
        self.feed(&kept);
        head
    }

    /// Whether the lines of chunks are such that another reader could take them differently.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Takes bytes of a head. Returns those behind it.
    fn feed_head<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            let last = line.last().copied().unwrap_or(self.last);
            let length = self.length + line.len();
            let is_bare = length == 0 || last != b'\r';
            self.head.bare |= is_bare;
            (self.last, self.length) = (0, 0);
            start = end + 1;
            if length - usize::from(!is_bare) > 0 {
                self.begun = true;
            } else if self.begun {
                self.stage = Stage::Unknown;
                self.head.bytes += start;
                return &bytes[start..];
            }
        }
        if let Some(last) = bytes[start..].last() {
            self.last = *last;
            self.length += bytes.len() - start;
        }
        self.head.bytes += bytes.len();
        &[]
    }

    /// Takes bytes of chunks. Returns those behind the last one.
    fn feed_chunks<'b>(&mut self, mut chunk: Chunk, mut bytes: &'b [u8]) -> &'b [u8] {
        while let [byte, rest @ ..] = bytes {
            if let Chunk::Data(left) = chunk {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let left = left - here as u64;
                chunk = if left == 0 {
                    Chunk::DataCr
                } else {
                    Chunk::Data(left)
                };
                bytes = &bytes[here..];
                continue;
            }
            bytes = rest;
            if (chunk, byte) == (Chunk::End, &b'\n') {
                self.stage = Stage::Head;
                return bytes;
            }
            match chunk.then(*byte) {
                Some(next) => chunk = next,
                None => {
                    self.broken = true;
                    return &[];
                }
            }
        }
        self.stage = Stage::Chunks(chunk);
        bytes
    }
}

impl Chunk {
    /// Where it stands after a byte that is none of a chunk's data; none when that byte may not stand there.
    fn then(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size(digits, size), _)
                if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX =>
            {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size(digits + 1, size << 4 | u64::from(digit))
            }
            (Self::Size(1.., size), b'\r') | (Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(1.., size) | Self::Padding(size), b' ' | b'\t') => Self::Padding(size),
            (Self::Size(1.., size) | Self::Padding(size), b';') => Self::Extension(size),
            (Self::Extension(size), _) if byte != b'\n' => Self::Extension(size),
            (Self::SizeEnd(0), b'\n') | (Self::TrailerLf, b'\n') => Self::Trailer,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size(0, 0),
            (Self::Trailer, b'\r') => Self::End,
            (Self::InTrailer, b'\r') => Self::TrailerLf,
            (Self::Trailer | Self::InTrailer, _) if byte != b'\n' => Self::InTrailer,
            _ => return None,
        })
    }
}

fn sized(left: u64) -> Stage {
    if left == 0 {
        Stage::Head
    } else {
        Stage::Sized(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_bare(text: &str, piece: usize) -> bool {
        let mut lines = Lines::default();
        text.as_bytes()
            .chunks(piece)
            .for_each(|piece| lines.feed(piece));
        let head = lines.goes_on_with(Behind::Sized(0));
        let end = text.find("\n\r\n").map(|at| at + 3);
        assert!(head.bare || Some(head.bytes) == end, "{head:?} of {text:?}");
        head.bare
    }

    #[test]
    fn sees_a_bare_end_at_every_split_and_only_in_the_head() {
        for (text, bare) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", false),
            (
                "\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\nbody\nbody\r\n\n",
                false,
            ),
            ("GET / HTTP/1.1\nhost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nhost: a\n\r\n", true),
            ("GET / HTTP/1.1\r\nhost: a\r\n\n", true),
            ("\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\n\nbody", true),
        ] {
            for piece in 1..=text.len() {
                assert_eq!(has_bare(text, piece), bare, "{text:?} by {piece}");
            }
        }
    }

    /// A first request whose body has bare ends, and a second one behind it.
    fn second(first: &str, behind: Behind, second: &str, piece: usize) -> (bool, bool) {
        let mut lines = Lines::default();
        let text = format!("POST / HTTP/1.1\r\nhost: a\r\n\r\n{first}{second}");
        let head = text.find("\r\n\r\n").unwrap() + 4;
        let mut told = false;
        for (start, piece) in (0..).step_by(piece).zip(text.as_bytes().chunks(piece)) {
            lines.feed(piece);
            if !told && start + piece.len() >= head {
                told = true;
                assert!(
                    !lines.goes_on_with(behind).bare,
                    "the first head is as it should be"
                );
            }
        }
        (lines.is_broken(), lines.goes_on_with(Behind::Sized(0)).bare)
    }

    #[test]
    fn sees_a_bare_end_in_a_head_that_came_with_the_body_before_it() {
        let chunks = "3;a=b\r\na\nb\r\n0A\r\n0123456\n\r\n\r\n000\r\nx: y\r\n\r\n";
        let good = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let bad = "GET / HTTP/1.1\nhost: a\r\n\r\n";
        for (body, behind) in [
            ("", Behind::Sized(0)),
            ("a\n\r\n", Behind::Sized(4)),
            (chunks, Behind::Chunked),
            ("0 \t;x\r\n\r\n", Behind::Chunked),
        ] {
            for piece in 1..=100 {
                assert_eq!(
                    second(body, behind, good, piece),
                    (false, false),
                    "{body:?}"
                );
                assert_eq!(second(body, behind, bad, piece), (false, true), "{body:?}");
            }
        }
    }

    #[test]
    fn sees_chunks_that_another_reader_could_take_differently() {
        for body in [
            "00000000000000000\r\n\r\n",
            "\r\n",
            " 1\r\n",
            "1 \r\n",
            "0x1\r\n",
            "+1\r\n",
            "1\n",
            "1;a\nb\r\n",
            "1;a\rb\r\n",
            "1\r\nab",
            "1\r\na\n",
            "0\r\n\n",
            "0\r\nx: y\n\r\n",
            "0\r\nx: a\rb\r\n\r\n",
        ] {
            for piece in 1..=40 {
                assert!(
                    second(body, Behind::Chunked, "", piece).0,
                    "{body:?} by {piece}"
                );
            }
        }
    }
}
