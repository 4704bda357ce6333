//! The messages of `grpc.health.v1.Health/Check`: one field each, so they are written and read by hand.
//!
//! ```text
//! message HealthCheckRequest  { string service = 1; }
//! message HealthCheckResponse { enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; SERVICE_UNKNOWN = 3; }
//!                               ServingStatus status = 1; }
//! ```

/// The method's path.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

/// A request for a service, with the prefix that frames it. The empty name asks for the server as a whole.
pub(super) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | LENGTH);
        push_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.append(&mut message);
    framed
}

/// The status in a response's body; none when that is no such message.
pub(super) fn status(body: &[u8]) -> Option<u64> {
    let (prefix, message) = body.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    // Compressed only if we had said that we understand it.
    if prefix[0] != 0 || message.len() != length as usize {
        return None;
    }
    let mut rest = message;
    // What is not written is 0.
    let mut status = 0;
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        match (key >> 3, (key & 7) as u8) {
            (1, VARINT) => status = take_varint(&mut rest)?,
            (_, VARINT) => drop(take_varint(&mut rest)?),
            (_, FIXED64) => rest = rest.get(8..)?,
            (_, FIXED32) => rest = rest.get(4..)?,
            (_, LENGTH) => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(status)
}

/// The word for a status.
pub(super) const fn word(status: u64) -> &'static str {
    match status {
        SERVING => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

/// The status that means well.
pub(super) const SERVING: u64 = 1;

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A flag and a length before every message.
const PREFIX: usize = 5;

// Protobuf's wire types.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_what_the_specification_says() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("web"), *b"\0\0\0\0\x05\x0a\x03web");
        let long = request(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }

    #[test]
    fn reads_the_status_among_other_fields() {
        assert_eq!(status(b"\0\0\0\0\x02\x08\x01"), Some(SERVING));
        assert_eq!(status(b"\0\0\0\0\x02\x08\x02"), Some(2));
        assert_eq!(status(b"\0\0\0\0\0"), Some(0), "UNKNOWN is not written");
        let others = b"\0\0\0\0\x14\x12\x02hi\x19\x01\x02\x03\x04\x05\x06\x07\x08\x25\x01\x02\x03\x04\x08\x01";
        assert_eq!(status(others), Some(SERVING));
    }

    #[test]
    fn what_is_no_message_has_no_status() {
        for bad in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x03\x08\x01",
            b"\0\0\0\0\x01\x08\x01",
            b"\0\0\0\0\x01\x08",
            b"\0\0\0\0\x02\x0a\x09",
            b"\0\0\0\0\x02\x0b\x01",
        ] {
            assert_eq!(status(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_breaks_it(body in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut framed = vec![0, 0, 0, 0, body.len() as u8];
            framed.extend_from_slice(&body);
            let _ = status(&framed);
        }
    }
}
