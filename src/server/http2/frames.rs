//! Where a client is in its frames: whether the head of a request has begun and is not over; and, of the frames to it, which
//! streams were reset.
//!
//! h2 tells of a request once its head is whole, and keeps no time. A head that comes byte by byte, in one frame or in many
//! (CONTINUATION), would be waited for without an end. Nor does it tell of the streams that it resets itself, because their
//! client has broken a rule or has more open than it may; what it writes does.

/// A reader of frames that looks at nothing but their heads.
#[derive(Debug)]
pub(in crate::server) struct Frames {
    /// Bytes of the preface that are still to come.
    preface: usize,
    head: [u8; HEAD],
    /// Bytes of the frame's head that have come.
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    left: usize,
    /// The frame is part of a request's head ...
    in_block: bool,
    /// ... and another one follows.
    goes_on: bool,
}

/// Bytes of a frame's head (RFC 9113, section 4.1).
const HEAD: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

impl Frames {
    /// The frames behind a preface of so many bytes.
    pub(in crate::server) const fn new(preface: usize) -> Self {
        Self {
            preface,
            head: [0; HEAD],
            have: 0,
            left: 0,
            in_block: false,
            goes_on: false,
        }
    }

    /// What has come.
    pub(in crate::server) fn feed(&mut self, mut bytes: &[u8]) {
        let before = self.preface.min(bytes.len());
        self.preface -= before;
        bytes = &bytes[before..];
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
            } else {
                let taken = (HEAD - self.have).min(bytes.len());
                self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
                self.have += taken;
                bytes = &bytes[taken..];
            }
            if self.have == HEAD {
                self.begin();
            }
            if self.left == 0 && !self.goes_on && self.have == 0 {
                self.in_block = false;
            }
        }
    }

    fn begin(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.have = 0;
        self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_block = true;
            self.goes_on = flags & END_HEADERS == 0;
        }
    }

    /// Whether a head, or what may be one, has begun and is not over.
    pub(in crate::server) const fn in_head(&self) -> bool {
        self.in_block || self.have > 0
    }
}

/// A reader of the frames to a client, which notes the resets of streams.
#[derive(Debug, Default)]
pub(in crate::server) struct Resets {
    /// The frame's head, and what a reset says behind it.
    bytes: [u8; RESET],
    have: usize,
    /// Bytes of a frame that are of no interest and still to come.
    left: usize,
    /// Why streams were reset, since this was last taken.
    codes: Vec<u32>,
}

/// Bytes of a frame that resets a stream.
const RESET: usize = HEAD + 4;
const RST_STREAM: u8 = 3;

/// How the reasons are called in metrics (RFC 9113, section 7), by their numbers.
const REASONS: [&str; 14] = [
    "no_error",
    "protocol_error",
    "internal_error",
    "flow_control_error",
    "settings_timeout",
    "stream_closed",
    "frame_size_error",
    "refused_stream",
    "cancel",
    "compression_error",
    "connect_error",
    "enhance_your_calm",
    "inadequate_security",
    "http_1_1_required",
];

impl Resets {
    /// What was written.
    pub(in crate::server) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let whole = if self.have < HEAD { HEAD } else { RESET };
            let taken = (whole - self.have).min(bytes.len());
            self.bytes[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            let [high, middle, low, kind, _, _, _, _, _, a, b, c, d] = self.bytes;
            if self.have == HEAD && kind != RST_STREAM {
                self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.have = 0;
            } else if self.have == RESET {
                self.codes.push(u32::from_be_bytes([a, b, c, d]));
                self.have = 0;
            }
        }
    }

    /// Why streams were reset since this was last asked.
    pub(in crate::server) fn take(&mut self) -> impl Iterator<Item = &'static str> {
        let reason = |code: u32| REASONS.get(code as usize).copied().unwrap_or("other");
        std::mem::take(&mut self.codes).into_iter().map(reason)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![0, (length >> 8) as u8, length as u8, kind, flags];
        frame.extend([0, 0, 0, 1]);
        frame.extend(vec![HEADERS; length]);
        frame
    }

    /// Whether a head is under way after each byte, by a reader that sees all of it.
    fn expected(frames: &[(u8, u8, usize)]) -> Vec<bool> {
        let mut expected = Vec::new();
        let mut open = false;
        for (kind, flags, length) in frames {
            let is_head = matches!(*kind, HEADERS | CONTINUATION);
            let ends = flags & END_HEADERS != 0;
            expected.extend([true; HEAD - 1]);
            let during = is_head || open;
            if is_head {
                open = !ends;
            }
            expected.extend(vec![during; *length]);
            expected.push(open);
        }
        expected
    }

    proptest! {
        #[test]
        fn sees_every_reset_wherever_it_is_cut(
            frames in prop::collection::vec((0u8..11, 0usize..300, 0u32..16), 0..20),
            size in 1usize..100,
        ) {
            let mut sent = Vec::new();
            let mut right = Vec::new();
            for (kind, length, code) in frames {
                if kind == RST_STREAM {
                    sent.extend([0, 0, 4, kind, 0, 0, 0, 0, 1]);
                    sent.extend(code.to_be_bytes());
                    right.push(REASONS.get(code as usize).copied().unwrap_or("other"));
                } else {
                    sent.extend(frame(kind, 0, length));
                }
            }
            let mut reader = Resets::default();
            sent.chunks(size).for_each(|piece| reader.feed(piece));
            prop_assert_eq!(reader.take().collect::<Vec<_>>(), right);
            prop_assert_eq!(reader.take().count(), 0);
        }

        #[test]
        fn knows_when_a_head_is_under_way(
            frames in prop::collection::vec((0u8..11, 0u8..8, 0usize..300), 0..8),
            preface in 0usize..30,
            size in 1usize..100,
        ) {
            let mut sent = vec![b'P'; preface];
            let mut right = vec![false; preface];
            for one in &frames {
                sent.extend(frame(one.0, one.1, one.2));
            }
            right.extend(expected(&frames));
            let mut reader = Frames::new(preface);
            let mut at = 0;
            for piece in sent.chunks(size) {
                reader.feed(piece);
                at += piece.len();
                prop_assert_eq!(reader.in_head(), right[at - 1], "after {} bytes", at);
            }
        }
    }
}
