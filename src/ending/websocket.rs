//! Where a WebSocket can be closed: between two frames, better between two messages (RFC 6455, section 5).
//!
//! The tunnel forwards bytes and never frames; only their heads are looked at here, in whatever pieces they come, so that
//! at the end a Close can be put between two of them. Nothing is kept but a few numbers. What is no WebSocket any more has
//! no place to stop for the rest of its life: a Close put in there could not be read.

/// Follows one direction of a WebSocket, slice by slice.
#[derive(Debug, Clone)]
pub struct Frames {
    stage: Stage,
    head: Head,
    /// A message has begun and its last fragment has not come.
    in_message: bool,
    /// A Close has come, whole.
    closed: bool,
}

/// What a slice holds: lengths up to and including a boundary. Whoever wants to end forwards this much and then nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameScan {
    /// To the end of the first frame that ends in it.
    pub frame: Option<usize>,
    /// To the first place with no message under way.
    pub message: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Between two frames.
    Between,
    /// The first byte of a frame has come.
    Flags,
    /// So many bytes of the extended length are still to come.
    Length(u8),
    /// So many bytes of mask and payload are still to come.
    Rest(u64),
    /// What came is no frame.
    Broken,
}

/// The frame under way.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    flags: u8,
    masked: bool,
    length: u64,
}

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;

/// The longest payload of a control frame.
const CONTROL_MAX: u64 = 125;

impl Frames {
    /// At the start of a connection, where nothing has come.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stage: Stage::Between,
            head: Head {
                flags: 0,
                masked: false,
                length: 0,
            },
            in_message: false,
            closed: false,
        }
    }

    /// Whether nothing of a frame is under way.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.stage == Stage::Between
    }

    /// Whether nothing of a message is under way.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.is_between_frames() && !self.in_message
    }

    /// Whether a Close has come: this side says nothing more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the next slice.
    pub fn feed(&mut self, bytes: &[u8]) -> FrameScan {
        let mut scan = FrameScan::default();
        let mut at = 0;
        while at < bytes.len() {
            at += self.take(&bytes[at..]);
            if self.is_between_frames() {
                scan.frame.get_or_insert(at);
                if !self.in_message {
                    scan.message.get_or_insert(at);
                }
            }
        }
        scan
    }

    /// Takes a byte or more of the frame under way and says how many.
    fn take(&mut self, bytes: &[u8]) -> usize {
        match self.stage {
            Stage::Between => {
                self.head = Head {
                    flags: bytes[0],
                    ..Head::default()
                };
                self.stage = Stage::Flags;
                1
            }
            Stage::Flags => {
                self.head.masked = bytes[0] & MASKED != 0;
                match bytes[0] & !MASKED {
                    126 => self.stage = Stage::Length(2),
                    127 => self.stage = Stage::Length(8),
                    length => self.begin_rest(length.into()),
                }
                1
            }
            Stage::Length(left) => {
                self.head.length = self.head.length << 8 | u64::from(bytes[0]);
                match left {
                    1 => self.begin_rest(self.head.length),
                    left => self.stage = Stage::Length(left - 1),
                }
                1
            }
            Stage::Rest(left) => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.stage = Stage::Rest(left - here as u64);
                if here as u64 == left {
                    self.end_frame();
                }
                here
            }
            Stage::Broken => bytes.len(),
        }
    }

    fn begin_rest(&mut self, length: u64) {
        let is_control = self.head.flags & 0x08 != 0;
        let is_whole = self.head.flags & FIN != 0;
        let is_wrong_control = is_control && (length > CONTROL_MAX || !is_whole);
        // A message begins where none is under way, and is continued where one is.
        let is_wrong_data =
            !is_control && self.in_message != (self.head.flags & 0x0F == CONTINUATION);
        if is_wrong_control || is_wrong_data || length > i64::MAX as u64 || self.closed {
            self.stage = Stage::Broken;
            return;
        }
        let mask = if self.head.masked { 4 } else { 0 };
        match length + mask {
            0 => self.end_frame(),
            left => self.stage = Stage::Rest(left),
        }
    }

    fn end_frame(&mut self) {
        self.stage = Stage::Between;
        match self.head.flags & 0x0F {
            CLOSE => self.closed = true,
            opcode if opcode & 0x08 == 0 => self.in_message = self.head.flags & FIN == 0,
            _ => {}
        }
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

/// A Close from a server to its client: a code and a short reason.
#[must_use]
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    debug_assert!(reason.len() + 2 <= CONTROL_MAX as usize);
    let mut frame = vec![FIN | CLOSE, reason.len() as u8 + 2];
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(reason.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as it is written, by the book.
    fn frame(flags: u8, mask: bool, wide: u8, payload: usize) -> Vec<u8> {
        let bit = if mask { MASKED } else { 0 };
        let mut bytes = vec![flags];
        match (wide, payload) {
            (0, 0..=125) => bytes.push(bit | payload as u8),
            (0 | 1, _) => {
                bytes.push(bit | 126);
                bytes.extend((payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(bit | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        if mask {
            bytes.extend([1, 2, 3, 4]);
        }
        bytes.extend(std::iter::repeat_n(0x81, payload));
        bytes
    }

    /// A conversation's bytes and, naively, its boundaries: whether a message is under way at each.
    fn conversation() -> impl Strategy<Value = (Vec<u8>, Vec<(usize, bool)>)> {
        let fragment = (
            any::<bool>(),
            any::<bool>(),
            0u8..3,
            0usize..200,
            any::<bool>(),
        );
        prop::collection::vec(fragment, 0..6).prop_map(|fragments| {
            let (mut bytes, mut ends, mut open) = (Vec::new(), Vec::new(), false);
            for (fin, mask, wide, payload, ping) in fragments {
                if ping {
                    bytes.extend(frame(0x89, mask, 0, payload % 126));
                    ends.push((bytes.len(), open));
                }
                let opcode = if open { 0 } else { 0x42 };
                bytes.extend(frame(
                    if fin { FIN | opcode } else { opcode },
                    mask,
                    wide,
                    payload,
                ));
                open = !fin;
                ends.push((bytes.len(), open));
            }
            (bytes, ends)
        })
    }

    fn naive(ends: &[(usize, bool)], from: usize, to: usize) -> FrameScan {
        let here = || ends.iter().filter(|(end, _)| *end > from && *end <= to);
        FrameScan {
            frame: here().next().map(|(end, _)| end - from),
            message: here().find(|(_, open)| !open).map(|(end, _)| end - from),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_whole_conversation_at_every_split((bytes, ends) in conversation()) {
            for cut in 0..=bytes.len() {
                let mut frames = Frames::new();
                for (from, to) in [(0, cut), (cut, bytes.len())] {
                    prop_assert_eq!(frames.feed(&bytes[from..to]), naive(&ends, from, to), "{}", cut);
                    let last = ends.iter().find(|(end, _)| *end == to);
                    prop_assert_eq!(frames.is_between_frames(), to == 0 || last.is_some());
                    let whole = to == 0 || last.is_some_and(|(_, open)| !open);
                    prop_assert_eq!(frames.is_between_messages(), whole);
                }
            }
            let mut frames = Frames::new();
            for at in 0..bytes.len() {
                prop_assert_eq!(frames.feed(&bytes[at..=at]), naive(&ends, at, at + 1), "{}", at);
            }
        }

        #[test]
        fn garbage_never_panics_and_what_is_broken_stays_so(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut frames = Frames::new();
            frames.feed(&bytes);
            if frames.stage == Stage::Broken {
                prop_assert_eq!(frames.feed(&bytes), FrameScan::default());
            }
        }
    }

    #[test]
    fn a_close_is_seen_whole_and_nothing_belongs_behind_it() {
        let close = close_frame(1012, "bye");
        assert_eq!(close, [&[0x88, 5, 0x03, 0xF4][..], b"bye"].concat());
        let mut frames = Frames::new();
        frames.feed(&close[..4]);
        assert!(!frames.is_closed());
        frames.feed(&close[4..]);
        assert!(frames.is_closed() && frames.is_between_messages());
        frames.feed(&frame(0x81, false, 0, 1));
        assert!(!frames.is_between_frames());
    }

    #[test]
    fn what_is_no_frame_has_no_boundary() {
        for wrong in [
            frame(0x08, false, 0, 2),
            frame(0x89, false, 1, 126),
            frame(0x80, false, 0, 1),
            [frame(0x01, false, 0, 1), frame(0x81, false, 0, 1)].concat(),
            vec![0x82, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let mut frames = Frames::new();
            frames.feed(&wrong);
            assert!(!frames.is_between_frames(), "{wrong:?}");
        }
    }
}
