//! A plain reading of RFC 7541, for what the tests' other side writes and reads.

use std::collections::VecDeque;

use super::super::huffman;

/// A field as it is in a block.
pub(super) type Plain = (Vec<u8>, Vec<u8>);

/// How a field is told in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Indexed,
    Inserted,
    Literal,
    Secret,
}

/// A table, fixed part and all.
#[derive(Debug, Clone)]
pub(super) struct PlainTable {
    pub(super) inserted: VecDeque<Plain>,
    pub(super) max: usize,
}

impl PlainTable {
    pub(super) fn new(max: usize) -> Self {
        Self {
            inserted: VecDeque::new(),
            max,
        }
    }

    pub(super) fn all(&self) -> Vec<Plain> {
        let fixed = FIXED
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        fixed.chain(self.inserted.iter().cloned()).collect()
    }

    pub(super) fn size(&self) -> usize {
        self.inserted
            .iter()
            .map(|(name, value)| name.len() + value.len() + 32)
            .sum()
    }

    pub(super) fn insert(&mut self, field: Plain) {
        self.inserted.push_front(field);
        self.evict();
    }

    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict();
    }

    fn evict(&mut self) {
        while self.size() > self.max {
            self.inserted.pop_back();
        }
    }

    /// Reads a block that is right, and panics on any other.
    pub(super) fn read(&mut self, mut block: &[u8]) -> Vec<(Plain, Told)> {
        let mut fields = Vec::new();
        while let Some(first) = block.first().copied() {
            let (told, bits) = match first {
                0x80.. => (Told::Indexed, 7),
                0x40.. => (Told::Inserted, 6),
                0x20.. => {
                    assert!(fields.is_empty(), "a size behind a field");
                    let max = number(&mut block, 5);
                    self.resize(max);
                    continue;
                }
                0x10.. => (Told::Secret, 4),
                _ => (Told::Literal, 4),
            };
            let index = number(&mut block, bits);
            let field = if told == Told::Indexed {
                self.all()[index - 1].clone()
            } else {
                let name = match index {
                    0 => string(&mut block),
                    _ => self.all()[index - 1].0.clone(),
                };
                (name, string(&mut block))
            };
            if told == Told::Inserted {
                self.insert(field.clone());
            }
            fields.push((field, told));
        }
        fields
    }
}

fn number(block: &mut &[u8], bits: u32) -> usize {
    let mask = (1usize << bits) - 1;
    let mut value = usize::from(block[0]) & mask;
    *block = &block[1..];
    if value == mask {
        for shift in (0..).step_by(7) {
            let byte = block[0];
            *block = &block[1..];
            value += usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
    }
    value
}

fn string(block: &mut &[u8]) -> Vec<u8> {
    assert!(block[0] < 0x80, "we write no code");
    let length = number(block, 7);
    let (string, rest) = block.split_at(length);
    *block = rest;
    string.to_vec()
}

/// Writes a number, with bits in front of it.
pub(super) fn write_number(out: &mut Vec<u8>, pattern: u8, bits: u32, mut value: usize) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        return out.push(pattern | value as u8);
    }
    out.push(pattern | mask as u8);
    value -= mask;
    while value > 127 {
        out.push(0x80 | (value % 128) as u8);
        value /= 128;
    }
    out.push(value as u8);
}

/// Writes a string, in the code or as it is.
pub(super) fn write_string(out: &mut Vec<u8>, string: &[u8], coded: bool) {
    let (pattern, bytes) = if coded {
        (0x80, huffman::encode(string))
    } else {
        (0, string.to_vec())
    };
    write_number(out, pattern, 7, bytes.len());
    out.extend_from_slice(&bytes);
}

/// Appendix A.
pub(super) const FIXED: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
