//! WebSockets, as far as an echo needs them: messages of one frame each, below 64 KiB.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

/// What a client asks with, and what it is answered with. The key is the standard's own example.
pub(crate) const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: bench.example.com\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The key of a request for a WebSocket; none if it asks for something else.
pub(crate) fn key(head: &[u8]) -> Option<&str> {
    // Few requests are, and nothing is to be spent on the others.
    if !head.starts_with(b"GET /ws") {
        return None;
    }
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_key = name.eq_ignore_ascii_case("sec-websocket-key");
        is_key.then_some(value.trim())
    })
}

/// The answer to a request with this key (RFC 6455, section 4.2.2).
pub(crate) fn accept(key: &str) -> Vec<u8> {
    let salted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes());
    let accept = STANDARD.encode(digest);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

/// A binary message, masked as a client's has to be, or not, as a server's.
pub(crate) fn message(payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![0x82];
    match u8::try_from(payload.len()) {
        Ok(short @ ..126) => bytes.push(masked | short),
        _ => {
            bytes.push(masked | 126);
            bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
    }
    let start = bytes.len() + if mask.is_some() { 4 } else { 0 };
    bytes.extend(mask.into_iter().flatten());
    bytes.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply(mask, &mut bytes[start..]);
    }
    bytes
}

/// What the first message says, and how many bytes it took; none while it is not whole.
pub(crate) fn first(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let second = bytes.get(1)?;
    let (length, mut start) = match second & 0x7f {
        126 => {
            let length = bytes.get(2..4)?;
            (usize::from(length[0]) << 8 | usize::from(length[1]), 4)
        }
        short => (usize::from(short), 2),
    };
    let mask: Option<[u8; 4]> = if second & 0x80 != 0 {
        let mask = bytes.get(start..start + 4)?.try_into().ok()?;
        start += 4;
        Some(mask)
    } else {
        None
    };
    let mut payload = bytes.get(start..start + length)?.to_vec();
    if let Some(mask) = mask {
        apply(mask, &mut payload);
    }
    Some((payload, start + length))
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}
