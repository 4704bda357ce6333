//! Where an event of an event stream ends: just after a blank line.
//!
//! Lines end with CR, LF or CRLF, in any mix. A CR ends its line at once, for nothing may follow for an hour; should the
//! next byte be LF, it belongs to that line's end and is no line of its own, also when it comes in the next slice. A byte
//! order mark at the start counts as a part of its line, which can only make a boundary unseen, never one too many.

/// Follows an event stream, slice by slice.
#[derive(Debug, Clone)]
pub struct EventEnds {
    /// Nothing of the current line has come yet.
    line_is_empty: bool,
    /// The last byte was a CR, so that an LF now would belong to it.
    after_cr: bool,
    /// Nothing has come since the last blank line ended.
    at_boundary: bool,
}

/// What a slice holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// The length of the slice up to and including its first boundary: whoever wants to end forwards this much and then
    /// nothing.
    pub first: Option<usize>,
    /// Whether the stream may end after the whole slice.
    pub at_boundary: bool,
}

impl EventEnds {
    /// At the start of a stream, which is a boundary: nothing has been promised yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            line_is_empty: true,
            after_cr: false,
            at_boundary: true,
        }
    }

    /// Whether the stream may end here: nothing has come since the last blank line.
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.at_boundary
    }

    /// Takes the next slice of the stream.
    pub fn feed(&mut self, bytes: &[u8]) -> Scan {
        let mut first = None;
        for (index, &byte) in bytes.iter().enumerate() {
            let belongs_to_cr = self.take(byte);
            // The LF of a CRLF moves the boundary that its CR has made.
            if self.at_boundary && (first.is_none() || belongs_to_cr && first == Some(index)) {
                first = Some(index + 1);
            }
        }
        Scan {
            first,
            at_boundary: self.at_boundary,
        }
    }

    /// Takes a byte and says whether it is the second half of a line's end.
    fn take(&mut self, byte: u8) -> bool {
        let belongs_to_cr = self.after_cr && byte == b'\n';
        self.after_cr = byte == b'\r';
        if belongs_to_cr {
            return true;
        }
        let ends_line = matches!(byte, b'\r' | b'\n');
        self.at_boundary = ends_line && self.line_is_empty;
        self.line_is_empty = ends_line;
        false
    }
}

impl Default for EventEnds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The naive model: every place in the whole text where a blank line has just ended, by cutting the text into lines.
    fn boundaries(text: &[u8]) -> Vec<usize> {
        let mut found = Vec::new();
        let mut start = 0;
        while let Some(length) = text[start..]
            .iter()
            .position(|b| matches!(b, b'\r' | b'\n'))
        {
            let end = start + length;
            let after = end
                + if text[end..].starts_with(b"\r\n") {
                    2
                } else {
                    1
                };
            if length == 0 {
                found.push(after);
            }
            start = after;
        }
        found
    }

    fn may_end(text: &[u8]) -> bool {
        text.is_empty() || boundaries(text).last() == Some(&text.len())
    }

    /// What a slice should say, from the whole text so far.
    fn naive(before: &[u8], slice: &[u8]) -> Scan {
        let whole = [before, slice].concat();
        let first = boundaries(&whole)
            .into_iter()
            .find(|&end| end > before.len());
        Scan {
            first: first.map(|end| end - before.len()),
            at_boundary: may_end(&whole),
        }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop::sample::select(vec![b'\r', b'\n', b'a', b':', 0xEF, 0]);
        prop::collection::vec(bytes, 0..14)
    }

    proptest! {
        #[test]
        fn agrees_with_the_whole_text_at_every_split(text in text()) {
            for a in 0..=text.len() {
                for b in a..=text.len() {
                    let mut ends = EventEnds::new();
                    for (from, to) in [(0, a), (a, b), (b, text.len())] {
                        let scan = ends.feed(&text[from..to]);
                        prop_assert_eq!(scan, naive(&text[..from], &text[from..to]), "{} {}", a, b);
                        prop_assert_eq!(ends.at_boundary(), scan.at_boundary);
                    }
                }
            }
        }

        #[test]
        fn what_is_forwarded_up_to_the_first_boundary_ends_whole(head in text(), chunk in text()) {
            let mut ends = EventEnds::new();
            ends.feed(&head);
            if let Some(first) = ends.feed(&chunk).first {
                prop_assert!(may_end(&[&head, &chunk[..first]].concat()));
            }
        }
    }

    #[test]
    fn a_cr_at_the_end_counts_at_once_and_its_lf_belongs_to_it() {
        let mut ends = EventEnds::new();
        let scan = ends.feed(b"data: x\r\n\r");
        assert_eq!((scan.first, scan.at_boundary), (Some(10), true));
        let scan = ends.feed(b"\ndata: y\n");
        assert_eq!((scan.first, scan.at_boundary), (Some(1), false));
        let scan = ends.feed(b"\n");
        assert_eq!((scan.first, scan.at_boundary), (Some(1), true));
    }

    #[test]
    fn a_crlf_over_two_slices_is_one_line_end() {
        let mut ends = EventEnds::new();
        assert_eq!(ends.feed(b"data: x\r").first, None);
        assert_eq!(ends.feed(b"\n").first, None);
        assert!(!ends.at_boundary());
        assert_eq!(ends.feed(b"\r\ndata").first, Some(2));
    }

    #[test]
    fn the_start_may_end_and_an_open_event_may_not() {
        let mut ends = EventEnds::new();
        assert!(ends.at_boundary());
        ends.feed("\u{feff}:hello".as_bytes());
        assert!(!ends.at_boundary());
        ends.feed(b"\n\n");
        assert!(ends.at_boundary());
    }
}
