//! The fields of a message on their way through.
//!
//! Most responses are passed on as they came, without what belongs to the connection. To take their fields apart and to
//! put them together again would cost more than everything else that a small response needs, so they stay the lines that
//! they were until somebody wants to look at one or to change one.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

/// Fields, as they came or taken apart.
#[derive(Debug, Default)]
pub struct Fields {
    /// As they came by HTTP/1, as long as nobody has taken them apart.
    lines: Option<Lines>,
    map: HeaderMap,
}

/// The lines of fields, each valid and ended by CR LF.
#[derive(Debug, Default)]
pub struct Lines {
    text: Bytes,
    count: usize,
    /// There is a `Content-Length`.
    pub has_length: bool,
    /// There is a `Date`.
    pub has_date: bool,
}

impl Fields {
    /// The fields as they came, if nobody has taken them apart.
    #[must_use]
    pub fn lines(&self) -> Option<&Lines> {
        self.lines.as_ref()
    }

    /// The fields that somebody has taken apart; none of those that are lines still.
    #[must_use]
    pub fn as_map(&self) -> &HeaderMap {
        &self.map
    }

    /// The fields taken apart, to be looked at and changed.
    pub fn map(&mut self) -> &mut HeaderMap {
        if let Some(lines) = self.lines.take() {
            self.map = lines.apart();
        }
        &mut self.map
    }

    /// The fields, taken apart.
    #[must_use]
    pub fn into_map(mut self) -> HeaderMap {
        std::mem::take(self.map())
    }
}

impl From<Lines> for Fields {
    fn from(lines: Lines) -> Self {
        Self {
            lines: Some(lines),
            map: HeaderMap::new(),
        }
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        Self { lines: None, map }
    }
}

impl Lines {
    /// The lines that `keep` keeps of a head that has been parsed and found to be valid: `head` is all of it, `fields` are what
    /// the parser made of it.
    pub fn of(
        head: &Bytes,
        fields: &[httparse::Header<'_>],
        mut keep: impl FnMut(&httparse::Header<'_>) -> bool,
    ) -> Self {
        let place =
            |field: &httparse::Header<'_>| field.name.as_ptr() as usize - head.as_ptr() as usize;
        // The empty line at the end is nobody's.
        let end = head.len() - 2;
        let mut lines = Self::default();
        let mut kept = BytesMut::new();
        // Since here all lines are kept.
        let mut since = fields.first().map_or(end, place);
        for (index, field) in fields.iter().enumerate() {
            if keep(field) {
                lines.count += 1;
                lines.has_length |= field.name.eq_ignore_ascii_case("content-length");
                lines.has_date |= field.name.eq_ignore_ascii_case("date");
                continue;
            }
            let next = fields.get(index + 1).map_or(end, place);
            kept.put_slice(&head[since..place(field)]);
            since = next;
        }
        lines.text = if kept.is_empty() {
            head.slice(since..end)
        } else {
            kept.put_slice(&head[since..end]);
            kept.freeze()
        };
        lines
    }

    /// The lines themselves.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    fn apart(&self) -> HeaderMap {
        // Whoever takes them apart may add one or two.
        let mut map = HeaderMap::with_capacity(self.count + 2);
        let mut rest = &self.text[..];
        while let Some(end) = memchr(b'\n', rest) {
            let (line, behind) = rest.split_at(end + 1);
            rest = behind;
            let Some(colon) = memchr(b':', line) else {
                continue;
            };
            let value = self.text.slice_ref(line[colon + 1..].trim_ascii());
            append(&mut map, &line[..colon], value);
        }
        map
    }
}

/// Appends a field that has been found to be valid.
fn append(map: &mut HeaderMap, name: &[u8], value: Bytes) {
    if let (Ok(name), Ok(value)) = (
        HeaderName::from_bytes(name),
        HeaderValue::from_maybe_shared(value),
    ) {
        map.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of a head without the fields of this name: as lines, and taken apart.
    fn without(name: &str, text: &str) -> (String, Vec<(String, String)>) {
        let head = Bytes::from(text.to_owned());
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        assert_eq!(
            response.parse(&head),
            Ok(httparse::Status::Complete(head.len()))
        );
        let lines = Lines::of(&head, response.headers, |field| field.name != name);
        let kept = String::from_utf8(lines.text().to_vec()).unwrap();
        let map = Fields::from(lines).into_map();
        let map = map
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        (kept, map.collect())
    }

    #[test]
    fn keeps_all_lines_but_those_that_are_not_to_be_kept() {
        let kept = ["A: 1\r\n", "b:2 \r\n", "C:\r\n", "a: 3\r\n"];
        for places in 0..32u32 {
            let mut text = "HTTP/1.1 200 OK\r\n".to_owned();
            for place in 0..5 {
                if places & 1 << place != 0 {
                    text.push_str("x: y\r\n");
                }
                text.push_str(kept.get(place).unwrap_or(&""));
            }
            text.push_str("\r\n");
            let (lines, map) = without("x", &text);
            assert_eq!(lines, kept.concat(), "{places:b}");
            let map: Vec<_> = map
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            assert_eq!(map, [("a", "1"), ("a", "3"), ("b", "2"), ("c", "")]);
        }
        let none = without("x", "HTTP/1.1 200 OK\r\nx: y\r\n\r\n");
        assert_eq!(none, (String::new(), Vec::new()));
        let none = without("x", "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(none, (String::new(), Vec::new()));
    }
}
