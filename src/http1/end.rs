//! Where a head ends.

use memchr::memchr_iter;

/// Looks for the empty line that ends a head, in what has come so far, and never twice at the same bytes.
///
/// RFC 9112, section 2.2, lets a reader take a bare LF for the end of a line. A proxy in front may not, and what two
/// readers take differently can hide a request, so it is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct End {
    /// Where the line begins that has not ended yet.
    line: usize,
    /// Up to here it has been looked at.
    seen: usize,
    /// A line that is not empty has ended: the next empty one is the end.
    begun: bool,
    /// A line has ended with a bare LF.
    pub bare: bool,
    /// So much had come when its syntax was last looked at.
    parsed: usize,
}

impl End {
    /// The length of the head at the front of `read`, once all of it is there. Empty lines in front belong to it (RFC 9112,
    /// section 2.2).
    pub fn find(&mut self, read: &[u8]) -> Option<usize> {
        for at in memchr_iter(b'\n', &read[self.seen..]) {
            let at = self.seen + at;
            let is_crlf = at > self.line && read[at - 1] == b'\r';
            self.bare |= !is_crlf;
            let is_empty = at - self.line == usize::from(is_crlf);
            self.line = at + 1;
            if !is_empty {
                self.begun = true;
            } else if self.begun {
                return Some(at + 1);
            }
        }
        self.seen = read.len();
        None
    }

    /// Whether it is time to see if what has come so far can be the beginning of a head at all: at first, and then each time
    /// that twice as much has come, so that a head in many pieces costs no more than twice one in one piece.
    pub fn is_due(&mut self, read: &[u8]) -> bool {
        let is_due = read.len() >= 2 * self.parsed;
        if is_due {
            self.parsed = read.len();
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, piece: usize) -> (Option<usize>, bool) {
        let mut end = End::default();
        let mut come = 0;
        while come < text.len() {
            come = (come + piece).min(text.len());
            if let Some(found) = end.find(&text.as_bytes()[..come]) {
                return (Some(found), end.bare);
            }
        }
        (None, end.bare)
    }

    #[test]
    fn finds_the_end_and_every_bare_one_at_every_split() {
        for (head, behind, bare) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "", false),
            (
                "\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
                "body\nbody\r\n\n",
                false,
            ),
            ("GET / HTTP/1.1\nhost: a\r\n\r\n", "", true),
            ("GET / HTTP/1.1\r\nhost: a\n\r\n", "", true),
            ("GET / HTTP/1.1\r\nhost: a\r\n\n", "", true),
            ("\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "", true),
            ("GET / HTTP/1.1\n\n", "body", true),
        ] {
            let text = format!("{head}{behind}");
            for piece in 1..=text.len() {
                assert_eq!(
                    find(&text, piece),
                    (Some(head.len()), bare),
                    "{text:?} by {piece}"
                );
            }
        }
    }

    #[test]
    fn waits_for_what_is_not_there() {
        for text in [
            "",
            "\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n",
            "GET / HTTP/1.1\r\n\r",
            "\r",
        ] {
            assert_eq!(find(text, 1), (None, false), "{text:?}");
        }
    }
}
