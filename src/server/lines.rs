//! How the lines of a request's head end.
//!
//! hyper takes a bare LF for the end of a line, as RFC 9112 section 2.2 lets it. A proxy in front may not, and whatever two
//! readers take differently can hide a request. So the bytes of a head are looked at on their way to hyper.

use memchr::memchr_iter;

/// Follows one head after the other, from the first byte of each to its empty line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The last byte of the line so far.
    last: u8,
    /// Bytes of the line so far.
    length: usize,
    /// A line that is not empty has come: the next empty one ends the head.
    begun: bool,
    over: bool,
    bare: bool,
}

impl Lines {
    /// Takes the next bytes. What follows the head is none of its lines.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            if self.over {
                return;
            }
            let line = &bytes[start..end];
            let last = line.last().copied().unwrap_or(self.last);
            let length = self.length + line.len();
            let is_bare = length == 0 || last != b'\r';
            self.bare |= is_bare;
            if length - usize::from(!is_bare) == 0 {
                self.over = self.begun;
            } else {
                self.begun = true;
            }
            (self.last, self.length) = (0, 0);
            start = end + 1;
        }
        if let Some(last) = bytes[start..].last() {
            self.last = *last;
            self.length += bytes.len() - start;
        }
    }

    /// Whether a line of the head has ended with a bare LF.
    pub(super) fn has_bare(&self) -> bool {
        self.bare
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
        lines.has_bare()
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
}
