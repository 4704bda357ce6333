//! HTTP/1 messages, read strictly and byte by byte as they came: what a library would repair must be seen.

/// A start line and its fields, in order and as spelled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    /// The request line or the status line.
    pub(crate) start: String,
    /// Names and values.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// Takes a head from the front of `bytes`, once it is whole.
    pub(super) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let end = find(bytes, b"\r\n\r\n")?;
        let head: Vec<u8> = bytes.drain(..end + 4).collect();
        let text = String::from_utf8_lossy(&head[..end]).into_owned();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        Some(Self {
            start,
            fields: lines.map(field).collect(),
        })
    }

    /// The value of a field that is there at most once.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() < 2, "{name} more than once: {self:?}");
        values.first().copied()
    }

    /// All values of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let own = self.fields.iter();
        own.filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Whether a field lists a word.
    pub(crate) fn lists(&self, name: &str, word: &str) -> bool {
        let values = self.values(name);
        values
            .iter()
            .flat_map(|value| value.split(','))
            .any(|own| own.trim().eq_ignore_ascii_case(word))
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}

/// A body on its way.
#[derive(Debug, Clone)]
pub(super) struct Body {
    framing: Framing,
    /// What has come of it, without framing.
    pub(super) data: Vec<u8>,
    /// The fields after a chunked one.
    pub(super) trailers: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Done,
    Sized(usize),
    /// At the line with a chunk's size.
    ChunkSize,
    /// In a chunk, with so many bytes left and the line's end after them.
    Chunk(usize),
    Trailers,
    UntilEnd,
}

impl Body {
    /// The body that a request's head announces.
    pub(super) fn of_request(head: &Head) -> Self {
        let is_switch = head.lists("connection", "upgrade") && head.start.contains(" /held/tunnel");
        if is_switch || head.start.starts_with("CONNECT ") {
            return Self::new(Framing::UntilEnd);
        }
        Self::framed(head, Framing::Done)
    }

    /// The body that a response's head announces.
    pub(super) fn of_response(head: &Head, status: u16, to_head: bool) -> Self {
        if to_head || status < 200 || status == 204 || status == 304 {
            return Self::new(Framing::Done);
        }
        Self::framed(head, Framing::UntilEnd)
    }

    fn framed(head: &Head, otherwise: Framing) -> Self {
        Self::new(if head.lists("transfer-encoding", "chunked") {
            Framing::ChunkSize
        } else if let Some(length) = head.field("content-length") {
            Framing::Sized(
                length
                    .parse()
                    .unwrap_or_else(|_| panic!("length {length:?}")),
            )
        } else {
            otherwise
        })
    }

    fn new(framing: Framing) -> Self {
        let framing = if framing == Framing::Sized(0) {
            Framing::Done
        } else {
            framing
        };
        Self {
            framing,
            data: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Takes what belongs to it from the front of `bytes`.
    pub(super) fn take(&mut self, bytes: &mut Vec<u8>) {
        loop {
            match self.framing {
                Framing::Done => return,
                Framing::UntilEnd => return self.data.append(bytes),
                Framing::Sized(left) => {
                    let here = left.min(bytes.len());
                    self.data.extend(bytes.drain(..here));
                    self.framing = if here == left {
                        Framing::Done
                    } else {
                        Framing::Sized(left - here)
                    };
                    return;
                }
                Framing::ChunkSize => {
                    let Some(line) = take_line(bytes) else { return };
                    let size = usize::from_str_radix(&line, 16)
                        .unwrap_or_else(|_| panic!("chunk size {line:?}"));
                    self.framing = if size == 0 {
                        Framing::Trailers
                    } else {
                        Framing::Chunk(size)
                    };
                }
                Framing::Chunk(left) => {
                    let here = left.min(bytes.len());
                    self.data.extend(bytes.drain(..here));
                    self.framing = Framing::Chunk(left - here);
                    if here < left || bytes.len() < 2 {
                        return;
                    }
                    assert_eq!(
                        bytes.drain(..2).collect::<Vec<_>>(),
                        b"\r\n",
                        "after a chunk"
                    );
                    self.framing = Framing::ChunkSize;
                }
                Framing::Trailers => {
                    let Some(line) = take_line(bytes) else { return };
                    if line.is_empty() {
                        self.framing = Framing::Done;
                    } else {
                        self.trailers.push(field(&line));
                    }
                }
            }
        }
    }

    /// Whether it has come to its end.
    pub(super) fn is_done(&self) -> bool {
        self.framing == Framing::Done
    }

    /// Whether the connection's end is its own.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.framing == Framing::UntilEnd
    }
}

fn take_line(bytes: &mut Vec<u8>) -> Option<String> {
    let end = find(bytes, b"\r\n")?;
    let line: Vec<u8> = bytes.drain(..end + 2).collect();
    Some(String::from_utf8_lossy(&line[..end]).into_owned())
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
