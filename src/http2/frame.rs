//! Frames (RFC 9113, sections 4.1 and 6), and why streams and connections end (section 7).

use bytes::BufMut;

/// What comes before each frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the payload.
    pub length: usize,
    /// What it is: one of [`kind`], or something that nobody knows and everybody ignores.
    pub kind: u8,
    /// Some of [`flag`].
    pub flags: u8,
    /// Whose it is; zero is the connection.
    pub stream: u32,
}

/// Kinds of frames.
pub mod kind {
    #![expect(missing_docs, reason = "the RFC's own names")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    #![expect(missing_docs, reason = "the RFC's own names")]
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

/// Settings.
pub mod setting {
    #![expect(missing_docs, reason = "the RFC's own names")]
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// RFC 8441.
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// Bytes of a frame's head.
pub const HEAD: usize = 9;

/// The largest payload that everybody takes, and that we take.
pub const PAYLOAD_MAX: usize = 16 * 1024;

/// What a window is at the beginning.
pub const WINDOW: u32 = 65_535;

/// What no window may exceed, and the highest stream there can be.
pub const MOST: u32 = (1 << 31) - 1;

impl FrameHead {
    /// Reads a head; none as long as it is not all there.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [high, middle, low, kind, flags, a, b, c, d] = *bytes.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind,
            flags,
            // The highest bit means nothing.
            stream: u32::from_be_bytes([a, b, c, d]) & MOST,
        })
    }

    /// A head as bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; HEAD] {
        let [_, high, middle, low] = (self.length as u32).to_be_bytes();
        let [a, b, c, d] = self.stream.to_be_bytes();
        [high, middle, low, self.kind, self.flags, a, b, c, d]
    }

    /// Whether a flag is set.
    #[must_use]
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes a whole frame with a short payload.
pub fn put_frame(out: &mut impl BufMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let head = FrameHead {
        length: payload.len(),
        kind,
        flags,
        stream,
    };
    out.put_slice(&head.bytes());
    out.put_slice(payload);
}

/// Why a stream or a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    #![expect(missing_docs, reason = "the RFC's own names")]
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const INTERNAL_ERROR: Self = Self(2);
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    pub const REFUSED_STREAM: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION_ERROR: Self = Self(9);
    pub const ENHANCE_YOUR_CALM: Self = Self(11);

    /// How it is called in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 14] = [
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
        NAMES.get(self.0 as usize).copied().unwrap_or("other")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written(
            length in 0usize..1 << 24, kind: u8, flags: u8, stream in 0..=MOST,
        ) {
            let head = FrameHead { length, kind, flags, stream };
            let mut bytes = head.bytes();
            prop_assert_eq!(FrameHead::read(&bytes), Some(head));
            prop_assert_eq!(FrameHead::read(&bytes[..HEAD - 1]), None);
            bytes[5] |= 0x80;
            prop_assert_eq!(FrameHead::read(&bytes), Some(head), "the reserved bit");
        }
    }

    #[test]
    fn reasons_have_the_names_of_the_rfc() {
        assert_eq!(Reason::NO_ERROR.name(), "no_error");
        assert_eq!(Reason::REFUSED_STREAM.name(), "refused_stream");
        assert_eq!(Reason::ENHANCE_YOUR_CALM.name(), "enhance_your_calm");
        assert_eq!(Reason(14).name(), "other");
    }
}
