//! An answer of HTTP/2, as its frames come: each block of fields and each piece of a body has to be a right one (RFC 9113,
//! section 8).

/// What has come of an answer.
#[derive(Debug, Default, Clone)]
pub(crate) struct Stream {
    /// Codes of interim answers.
    pub(crate) interim: Vec<u16>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// It has come to its end.
    pub(crate) whole: bool,
    /// It was reset, with this code.
    pub(crate) reset: Option<u32>,
}

impl Stream {
    /// The status; 0 before it has come.
    pub(crate) fn status(&self) -> u16 {
        self.field(":status")
            .map_or(0, |text| text.parse().unwrap())
    }

    /// A field of the head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// It has come to its end, or was reset.
    pub(crate) fn is_over(&self) -> bool {
        self.whole || self.reset.is_some()
    }

    /// A block of fields has come.
    #[track_caller]
    pub(super) fn take_fields(&mut self, fields: Vec<(Vec<u8>, Vec<u8>)>, ends: bool) {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let fields: Vec<_> = fields
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        let is_trailers = !self.fields.is_empty();
        let pseudo = fields.iter().filter(|(name, _)| name.starts_with(':'));
        let right = fields.iter().all(|(name, value)| {
            !name.contains(|letter: char| letter.is_ascii_uppercase() || letter == ' ')
                && !OF_CONNECTIONS.contains(&name.as_str())
                && !value.contains(['\0', '\r', '\n'])
        });
        assert!(right, "{fields:?}");
        assert_eq!(pseudo.count(), usize::from(!is_trailers), "{fields:?}");
        if is_trailers {
            assert!(ends, "trailers are the end: {fields:?}");
            self.trailers = fields;
        } else {
            let (name, status) = &fields[0];
            assert!(name == ":status" && status.len() == 3, "{fields:?}");
            if status.starts_with('1') {
                assert!(!ends && status != "101", "{fields:?}");
                self.interim.push(status.parse().unwrap());
            } else {
                self.fields = fields;
            }
        }
        self.end(ends);
    }

    #[track_caller]
    pub(super) fn take_data(&mut self, data: &[u8], ends: bool) {
        assert!(!self.fields.is_empty(), "a body before its head");
        self.body.extend_from_slice(data);
        self.end(ends);
    }

    /// A body has the length that was said; where there is none, it may have been asked for by HEAD.
    #[track_caller]
    fn end(&mut self, ends: bool) {
        self.whole |= ends;
        let length = self.field("content-length").map(|it| it.parse().unwrap());
        let have = self.body.len();
        let right = length.is_none_or(|length: usize| {
            have == 0
                || if self.whole {
                    have == length
                } else {
                    have <= length
                }
        });
        assert!(right, "{have} bytes of {:?}", self.fields);
    }
}

/// Fields that are of one connection (RFC 9113, section 8.2.2).
const OF_CONNECTIONS: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];
