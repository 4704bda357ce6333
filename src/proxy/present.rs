//! Which of the fields that decide something a request has.
//!
//! Most requests have none of them. One walk over the names tells so for less than a single look-up costs, and the
//! look-ups, a dozen otherwise, are left to the requests that have something to find.

use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRANSFER_ENCODING, UPGRADE};

use crate::http1::is_hop_by_hop;

/// Whether each of these fields is there, however often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Present {
    pub(super) connection: bool,
    pub(super) content_length: bool,
    pub(super) expect: bool,
    pub(super) te: bool,
    pub(super) transfer_encoding: bool,
    pub(super) upgrade: bool,
    /// A field that belongs to one connection only and is none of those above.
    pub(super) hop_by_hop: bool,
    /// A field whose name has an underscore.
    pub(super) underscore: bool,
}

impl Present {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            match *name {
                CONNECTION => present.connection = true,
                CONTENT_LENGTH => present.content_length = true,
                EXPECT => present.expect = true,
                TE => present.te = true,
                TRANSFER_ENCODING => present.transfer_encoding = true,
                UPGRADE => present.upgrade = true,
                _ => {
                    present.hop_by_hop |= is_hop_by_hop(name.as_str());
                    present.underscore |= name.as_str().contains('_');
                }
            }
        }
        present
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn sees_every_field_alone_and_nothing_else() {
        let fields = [
            ("connection", |it: Present| it.connection),
            ("content-length", |it| it.content_length),
            ("expect", |it| it.expect),
            ("te", |it| it.te),
            ("transfer-encoding", |it| it.transfer_encoding),
            ("upgrade", |it| it.upgrade),
            ("keep-alive", |it| it.hop_by_hop),
            ("x_y", |it| it.underscore),
        ] as [(&'static str, fn(Present) -> bool); 8];
        for (name, _) in fields {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("a"));
            assert_eq!(Present::of(&headers), Present::default());
            headers.insert(name, HeaderValue::from_static("1"));
            let seen: Vec<_> = fields
                .iter()
                .filter(|(_, is_seen)| is_seen(Present::of(&headers)))
                .map(|(name, _)| *name)
                .collect();
            assert_eq!(seen, [name]);
        }
    }
}
