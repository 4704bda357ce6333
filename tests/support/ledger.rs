//! What the two sides of an HTTP/2 connection have allowed each other. A client that writes its frames by hand keeps it, so
//! that every test of every subject also sees whether the server keeps to RFC 9113: each frame that comes is looked at.

use std::collections::{BTreeMap, VecDeque};

use super::stream_client::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

/// The account of one connection.
#[derive(Debug)]
pub(super) struct Ledger {
    /// What the client has written that is not a whole frame yet.
    unsent: Vec<u8>,
    /// The preface is behind it.
    begun: bool,
    /// What the client writes are no frames: nothing can be said of its windows.
    lost: bool,
    /// What the client allows: as it is acknowledged, and after each of its SETTINGS that are not.
    allowed: VecDeque<Allowed>,
    /// PINGs of the client that have no answer yet.
    pings: VecDeque<Vec<u8>>,
    /// The highest stream that the client has opened.
    opened: u32,
    to_client: Way,
    to_server: Way,
    /// What a window of a stream towards the server begins with.
    initial: i64,
    /// The server has said its SETTINGS.
    introduced: bool,
    /// The stream whose block of fields is under way from the server.
    in_block: Option<u32>,
    /// The last stream of the server's last GOAWAY.
    last: u32,
    /// The size of the server's table of fields that it has last said, and what the next block has to say at the most, if it
    /// has to say one.
    table: usize,
    table_due: Option<usize>,
}

/// What a client's SETTINGS allow the server.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    window: i64,
    frame: usize,
    table: usize,
}

/// DATA in one direction.
#[derive(Debug, Default)]
struct Way {
    /// Bytes of DATA less those of WINDOW_UPDATE: of the connection, and of each stream.
    connection: i64,
    streams: BTreeMap<u32, Flow>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Flow {
    spent: i64,
    ended: bool,
    reset: bool,
}

impl Ledger {
    pub(super) fn new() -> Self {
        let usual = Allowed {
            window: WINDOW,
            frame: FRAME,
            table: TABLE,
        };
        Self {
            unsent: Vec::new(),
            begun: false,
            lost: false,
            allowed: VecDeque::from([usual]),
            pings: VecDeque::new(),
            opened: 0,
            to_client: Way::default(),
            to_server: Way::default(),
            initial: WINDOW,
            introduced: false,
            in_block: None,
            last: u32::MAX >> 1,
            table: TABLE,
            table_due: None,
        }
    }

    /// Bytes of DATA that the server takes on a stream now.
    pub(super) fn may_send(&self, stream: u32) -> usize {
        let way = &self.to_server;
        let spent = way.streams.get(&stream).map_or(0, |flow| flow.spent);
        let window = (self.initial - spent).min(WINDOW - way.connection);
        usize::try_from(window).unwrap_or(0).min(FRAME)
    }

    /// The first stream that the client has not opened yet.
    pub(super) fn next(&self) -> u32 {
        (self.opened + 1) | 1
    }

    /// The size that the server's table of fields may have.
    pub(super) fn table_max(&self) -> usize {
        self.allowed[0].table
    }

    /// The client writes this.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        if self.lost {
            return;
        }
        self.unsent.extend_from_slice(bytes);
        if !self.begun {
            let front = &self.unsent[..self.unsent.len().min(PREFACE.len())];
            self.lost = !PREFACE.starts_with(front);
            if self.lost || front.len() < PREFACE.len() {
                return;
            }
            self.begun = true;
            self.unsent.drain(..PREFACE.len());
        }
        let unsent = std::mem::take(&mut self.unsent);
        let mut rest = &unsent[..];
        while let Some((head, behind)) = rest.split_at_checked(9)
            && let Some((payload, behind)) = behind.split_at_checked(length(head))
        {
            self.sent_frame(head, payload);
            rest = behind;
        }
        self.unsent = rest.to_vec();
    }

    fn sent_frame(&mut self, head: &[u8], payload: &[u8]) {
        let (kind, flags, stream) = (head[3], head[4], stream(head));
        match kind {
            HEADERS => self.opened = self.opened.max(stream),
            DATA => self.to_server.spend(stream, payload.len()),
            WINDOW_UPDATE if payload.len() == 4 => self.to_client.give(stream, word(payload)),
            PING if flags & ACK == 0 => self.pings.push_back(payload.to_vec()),
            SETTINGS if flags & ACK == 0 && payload.len().is_multiple_of(6) => {
                let mut allowed = self.allowed[self.allowed.len() - 1];
                for (number, value) in settings(payload) {
                    match number {
                        1 => allowed.table = value as usize,
                        4 => allowed.window = i64::from(value),
                        5 => allowed.frame = value as usize,
                        _ => {}
                    }
                }
                self.allowed.push_back(allowed);
            }
            _ => {}
        }
    }

    /// A frame has come from the server.
    #[track_caller]
    pub(super) fn came(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let frame = format!("frame {kind} of stream {id}, flags {flags:#x}");
        let first = !std::mem::replace(&mut self.introduced, true);
        assert!(
            !first || (kind == SETTINGS && flags & ACK == 0),
            "begins with {frame}"
        );
        let most = self.allowed.iter().map(|it| it.frame).max();
        let fits = self.lost || Some(payload.len()) <= most;
        assert!(fits, "{frame} has {} bytes", payload.len());
        let block = self.in_block.map(|stream| (CONTINUATION, stream));
        assert!(
            block.is_none_or(|block| block == (kind, id)),
            "{frame} inside a block of fields"
        );
        let of_connection = matches!(kind, SETTINGS | PING | GOAWAY);
        let of_stream = matches!(
            kind,
            DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION
        );
        assert!(
            if id == 0 { !of_stream } else { !of_connection },
            "{frame}: no such stream"
        );
        assert!(
            id == 0 || kind == PRIORITY || self.lost || (id % 2 == 1 && id <= self.opened),
            "{frame}: nobody has opened it"
        );
        match kind {
            DATA => self.came_data(&frame, flags, id, payload.len()),
            HEADERS | CONTINUATION => self.came_fields(&frame, kind, flags, id, payload),
            RST_STREAM => {
                assert_eq!(payload.len(), 4, "{frame}");
                self.to_client.flow(id).reset = true;
            }
            SETTINGS if flags & ACK != 0 => self.came_acknowledgement(&frame, payload),
            SETTINGS => self.came_settings(&frame, payload),
            PING => {
                assert_eq!(payload.len(), 8, "{frame}");
                if flags & ACK != 0 {
                    let asked = self.pings.iter().position(|ping| ping == payload);
                    assert!(self.lost || asked.is_some(), "{frame}: nobody has asked");
                    asked.map(|at| self.pings.remove(at));
                }
            }
            GOAWAY => {
                assert!(payload.len() >= 8, "{frame}");
                let last = word(payload) & (u32::MAX >> 1);
                assert!(last <= self.last, "{frame}: {last} after {}", self.last);
                self.last = last;
            }
            WINDOW_UPDATE => self.came_window(&frame, id, payload),
            PUSH_PROMISE => panic!("{frame}: a push"),
            _ => {}
        }
    }

    #[track_caller]
    fn came_data(&mut self, frame: &str, flags: u8, id: u32, bytes: usize) {
        self.to_client.spend(id, bytes);
        let window = self.allowed.iter().map(|it| it.window).max();
        let connection = self.to_client.connection;
        let flow = self.to_client.flow(id);
        assert!(!flow.ended && !flow.reset, "{frame} behind its end");
        if bytes > 0 && !self.lost {
            assert!(
                Some(flow.spent) <= window,
                "{frame}: {bytes} bytes too many for its window"
            );
            assert!(
                connection <= WINDOW,
                "{frame}: {bytes} bytes too many for the connection's window"
            );
        }
        flow.ended = flags & END_STREAM != 0;
    }

    #[track_caller]
    fn came_fields(&mut self, frame: &str, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let flow = self.to_client.flow(id);
        assert!(!flow.reset, "{frame} behind its end");
        if kind == HEADERS {
            assert!(!flow.ended, "{frame} behind its end");
            flow.ended = flags & END_STREAM != 0;
            // Neither padding nor a priority is expected from a server, and the client takes none.
            assert!(flags & !(END_STREAM | END_HEADERS) == 0, "{frame}");
            let sizes = sizes(payload);
            if let Some(due) = self.table_due.take() {
                let least = sizes.iter().min();
                assert!(
                    least.is_some_and(|least| *least <= due),
                    "{frame}: a table of {due} is not told of first, but {least:?}"
                );
            }
            self.table = sizes.last().copied().unwrap_or(self.table);
        } else {
            assert!(self.in_block.is_some(), "{frame} outside of a block");
        }
        self.in_block = (flags & END_HEADERS == 0).then_some(id);
    }

    #[track_caller]
    fn came_acknowledgement(&mut self, frame: &str, payload: &[u8]) {
        assert!(payload.is_empty(), "{frame}");
        if self.lost {
            return;
        }
        assert!(
            self.allowed.len() > 1,
            "{frame}: there is nothing to acknowledge"
        );
        self.allowed.pop_front();
        // Only a smaller one has to be told (RFC 9113, section 4.3.1).
        let max = self.table_max();
        if max < self.table_due.unwrap_or(self.table) {
            self.table_due = Some(max);
        }
    }

    #[track_caller]
    fn came_settings(&mut self, frame: &str, payload: &[u8]) {
        assert!(payload.len().is_multiple_of(6), "{frame}");
        for (number, value) in settings(payload) {
            let right = match number {
                // A server does not say that it may be pushed to.
                2 => value == 0,
                4 => value <= u32::MAX >> 1,
                5 => (1 << 14..1 << 24).contains(&value),
                8 => value <= 1,
                _ => true,
            };
            assert!(right, "{frame}: {number} is {value}");
            if number == 4 {
                self.initial = i64::from(value);
            }
        }
    }

    #[track_caller]
    fn came_window(&mut self, frame: &str, id: u32, payload: &[u8]) {
        assert_eq!(payload.len(), 4, "{frame}");
        assert!(word(payload) > 0, "{frame}: of nothing");
        self.to_server.give(id, word(payload));
        let (window, spent) = if id == 0 {
            (WINDOW, self.to_server.connection)
        } else {
            (self.initial, self.to_server.flow(id).spent)
        };
        assert!(window - spent <= MOST, "{frame}: too large a window");
    }
}

impl Way {
    fn flow(&mut self, stream: u32) -> &mut Flow {
        self.streams.entry(stream).or_default()
    }

    fn spend(&mut self, stream: u32, bytes: usize) {
        self.connection += bytes as i64;
        self.flow(stream).spent += bytes as i64;
    }

    fn give(&mut self, stream: u32, bytes: u32) {
        let bytes = i64::from(bytes & (u32::MAX >> 1));
        if stream == 0 {
            self.connection -= bytes;
        } else {
            self.flow(stream).spent -= bytes;
        }
    }
}

/// The length of a payload, by its frame's head.
pub(super) fn length(head: &[u8]) -> usize {
    u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize
}

/// The stream of a frame, by its head. The first bit says nothing.
pub(super) fn stream(head: &[u8]) -> u32 {
    word(&head[5..]) & (u32::MAX >> 1)
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// What SETTINGS say, by number.
pub(super) fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload
        .chunks_exact(6)
        .map(|one| (u16::from_be_bytes([one[0], one[1]]), word(&one[2..])))
}

/// The sizes of the table that a block begins with (RFC 7541, section 6.3).
fn sizes(mut block: &[u8]) -> Vec<usize> {
    let mut sizes = Vec::new();
    while let [first @ 0x20..0x40, rest @ ..] = block {
        let mut size = usize::from(first & 0x1f);
        block = rest;
        let mut shift = 0;
        while size >= 0x1f
            && let [next, rest @ ..] = block
        {
            size += usize::from(next & 0x7f) << shift;
            shift += 7;
            block = rest;
            if next & 0x80 == 0 {
                break;
            }
        }
        sizes.push(size);
    }
    sizes
}

/// What holds until SETTINGS say otherwise (RFC 9113, section 6.5.2).
const WINDOW: i64 = 65_535;
const FRAME: usize = 16_384;
const TABLE: usize = 4_096;

/// The largest window.
const MOST: i64 = (1 << 31) - 1;
