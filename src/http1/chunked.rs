//! The chunked transfer coding (RFC 9112, section 7.1), strictly: what another reader could take differently is refused.

use std::io::Write as _;
use std::mem::MaybeUninit;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::fields::is_forbidden_trailer;

/// Where a chunked body stands.
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
    /// Bytes of chunk extensions so far; they are dropped, and bounded.
    extensions: usize,
}

#[derive(Debug, Default)]
enum State {
    /// Before a chunk's size.
    #[default]
    Size,
    /// So many bytes of a chunk are left.
    Data(u64),
    /// Before the line end that closes a chunk.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
}

/// What the bytes at hand amount to.
#[derive(Debug)]
pub enum Chunk {
    /// Bytes of the body.
    Data(Bytes),
    /// More bytes are needed.
    More,
    /// The end, with trailers where there are any.
    End(Option<HeaderMap>),
}

const SIZE_DIGITS_MAX: usize = 16;
const EXTENSIONS_MAX: usize = 16 * 1024;
const TRAILERS_MAX: usize = 16 * 1024;
const TRAILER_FIELDS_MAX: usize = 64;

impl Chunks {
    /// Takes the next piece off the front of `read`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn next(&mut self, read: &mut BytesMut) -> Result<Chunk, &'static str> {
        loop {
            match self.state {
                State::Size => match self.size(read)? {
                    None => return Ok(Chunk::More),
                    Some(0) => self.state = State::Trailers,
                    Some(size) => self.state = State::Data(size),
                },
                State::Data(left) => {
                    if read.is_empty() {
                        return Ok(Chunk::More);
                    }
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(read.len());
                    let left = left - here as u64;
                    self.state = if left == 0 {
                        State::DataEnd
                    } else {
                        State::Data(left)
                    };
                    return Ok(Chunk::Data(read.split_to(here).freeze()));
                }
                State::DataEnd => {
                    if read.len() < 2 {
                        return Ok(Chunk::More);
                    }
                    if &read[..2] != b"\r\n" {
                        return Err("a chunk is longer than its size");
                    }
                    read.advance(2);
                    self.state = State::Size;
                }
                State::Trailers => return trailers(read),
            }
        }
    }

    fn size(&mut self, read: &mut BytesMut) -> Result<Option<u64>, &'static str> {
        let Some(end) = read.iter().position(|b| *b == b'\n') else {
            if read.len() > EXTENSIONS_MAX {
                return Err("a chunk's extensions are too long");
            }
            return Ok(None);
        };
        let line = read[..end]
            .strip_suffix(b"\r")
            .ok_or("a chunk's size ends without CR LF")?;
        let (digits, extension) = match line.iter().position(|b| *b == b';') {
            Some(at) => (line[..at].trim_ascii_end(), line.len() - at),
            None => (line, 0),
        };
        self.extensions += extension;
        if self.extensions > EXTENSIONS_MAX || line.contains(&b'\r') {
            return Err("a chunk's extensions are too long or broken");
        }
        if digits.is_empty()
            || digits.len() > SIZE_DIGITS_MAX
            || !digits.iter().all(u8::is_ascii_hexdigit)
        {
            return Err("a chunk's size is no number");
        }
        let size = digits.iter().fold(0, |size, digit| size << 4 | hex(*digit));
        read.advance(end + 1);
        Ok(Some(size))
    }
}

fn hex(digit: u8) -> u64 {
    u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    })
}

fn trailers(read: &mut BytesMut) -> Result<Chunk, &'static str> {
    if read.starts_with(b"\r\n") {
        read.advance(2);
        return Ok(Chunk::End(None));
    }
    let mut fields = [const { MaybeUninit::uninit() }; TRAILER_FIELDS_MAX];
    let mut request = httparse::Response::new(&mut []);
    // httparse reads fields behind a status line only when they may be uninitialised; a line in front costs nothing.
    let mut block = BytesMut::with_capacity(LINE.len() + read.len());
    block.put_slice(LINE);
    block.put_slice(read);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut request, &block, &mut fields)
        .map_err(|_| "the trailers are broken")?;
    let httparse::Status::Complete(length) = parsed else {
        return if read.len() > TRAILERS_MAX {
            Err("the trailers are too long")
        } else {
            Ok(Chunk::More)
        };
    };
    // httparse takes a bare LF for the end of a line; where a body ends, nothing is taken for another thing.
    let lines = block[..length].split(|byte| *byte == b'\n');
    if lines.rev().skip(1).any(|line| !line.ends_with(b"\r")) {
        return Err("a trailer ends without CR LF");
    }
    let mut trailers = HeaderMap::new();
    for field in &*request.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        if let (Ok(name), Ok(value)) = (name, value)
            && !is_forbidden_trailer(&name)
        {
            trailers.append(name, value);
        }
    }
    read.advance(length - LINE.len());
    Ok(Chunk::End((!trailers.is_empty()).then_some(trailers)))
}

const LINE: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// Writes the line before a chunk of this size.
pub fn write_size(size: usize, out: &mut BytesMut) {
    // Writing into memory cannot fail.
    let _ = write!(out.writer(), "{size:x}\r\n");
}

/// Writes the last chunk and the trailers.
pub fn write_end(trailers: Option<&HeaderMap>, out: &mut BytesMut) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers
        .into_iter()
        .flatten()
        .filter(|(name, _)| !is_forbidden_trailer(name))
    {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A body, its trailers, and what is left behind its end.
    type Decoded = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// Feeds `text` in pieces; the body, the trailers and what is left behind the end.
    fn decode(text: &[u8], pieces: usize) -> Result<Decoded, &'static str> {
        let mut chunks = Chunks::default();
        let mut read = BytesMut::new();
        let mut body = Vec::new();
        let mut feed = text.chunks(pieces.max(1));
        loop {
            match chunks.next(&mut read) {
                Ok(Chunk::Data(data)) => body.extend_from_slice(&data),
                Ok(Chunk::End(trailers)) => {
                    let rest = read
                        .iter()
                        .copied()
                        .chain(feed.flatten().copied())
                        .collect();
                    return Ok((body, trailers, rest));
                }
                Ok(Chunk::More) => match feed.next() {
                    Some(more) => read.extend_from_slice(more),
                    None => return Err("not whole"),
                },
                Err(why) => return Err(why),
            }
        }
    }

    #[test]
    fn a_bare_lf_ends_no_trailer() {
        for text in [
            "0\r\nx: \n\r\n",
            "0\r\nx: y\r\n\n",
            "0\r\nx: y\nz: y\r\n\r\n",
            "0\r\n\n",
        ] {
            assert!(decode(text.as_bytes(), 1).is_err(), "{text:?}");
        }
    }

    #[test]
    fn reads_the_same_at_every_split() {
        let text =
            b"5;ext=1\r\nhello\r\nA\r\n, world...\r\n0\r\nx-sum: 15\r\nhost: evil\r\n\r\nnext";
        for pieces in 1..=text.len() {
            let (body, trailers, rest) = decode(text, pieces).unwrap();
            assert_eq!(
                (body.as_slice(), rest.as_slice()),
                (&b"hello, world..."[..], &b"next"[..])
            );
            let trailers = trailers.unwrap();
            assert_eq!(
                (trailers["x-sum"].as_bytes(), trailers.len()),
                (&b"15"[..], 1)
            );
        }
    }

    #[test]
    fn refuses_what_another_reader_could_take_differently() {
        for text in [
            &b"+5\r\nhello\r\n0\r\n\r\n"[..],
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"\r\nhello\r\n0\r\n\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhelloo\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"00000000000000005\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"5;a\nb\r\nhello\r\n0\r\n\r\n",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            b"0\r\nx: a\rb\r\n\r\n",
        ] {
            assert!(
                decode(text, 1000).is_err(),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
        assert!(
            decode(b"5\r\nhello\r\n0\r\n", 1000).is_err(),
            "a body without its end is not whole"
        );
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8), pieces in 1usize..40) {
            let mut out = BytesMut::new();
            for part in &parts {
                write_size(part.len(), &mut out);
                out.put_slice(part);
                out.put_slice(b"\r\n");
            }
            write_end(None, &mut out);
            let (body, trailers, rest) = decode(&out, pieces).unwrap();
            prop_assert_eq!(body, parts.concat());
            prop_assert!(trailers.is_none() && rest.is_empty());
        }

        #[test]
        fn never_panics(text in prop::collection::vec(any::<u8>(), 0..200), pieces in 1usize..40) {
            let _ = decode(&text, pieces);
        }
    }
}
