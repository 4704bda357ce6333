//! An HTTP/2 client that writes its frames by hand, and remembers every frame that comes.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::PATIENCE;
use super::ledger::{self, Ledger};
pub(crate) use super::stream_answer::Stream;
use super::wire::Wire;

/// How every client begins.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113, section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags of frames.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 32;

/// Codes of errors (RFC 9113, section 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A connection to tidegate. What comes is only read when somebody waits for it.
pub(crate) struct StreamClient {
    io: Wire,
    unread: Vec<u8>,
    decoder: loona_hpack::Decoder<'static>,
    /// Whether PINGs are answered.
    answers: bool,
    /// What each window begins with, and whether it is opened again for what has come.
    window: Option<u32>,
    ledger: Ledger,
    /// The flags and the front of a block of fields that goes on in the next frame.
    block: Option<(u8, Vec<u8>)>,
    seen: Seen,
}

/// Everything that has come.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) streams: BTreeMap<u32, Stream>,
    /// The last stream and the code of each GOAWAY.
    pub(crate) goaways: Vec<(u32, u32)>,
    /// PINGs that are no answers.
    pub(crate) pings: usize,
    /// Settings, by their number.
    pub(crate) settings: BTreeMap<u16, u32>,
    /// How often settings were acknowledged.
    pub(crate) acknowledged: usize,
    /// Bytes of DATA frames.
    pub(crate) data: usize,
    /// The largest frame.
    pub(crate) largest: usize,
    /// What the server's windows have grown by: the connection's (0), and each stream's.
    pub(crate) windows: BTreeMap<u32, u64>,
    /// The connection has ended.
    pub(crate) ended: bool,
}

impl StreamClient {
    /// Connects with prior knowledge, with windows that let everything through.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::silent(address);
        client.begin(None);
        client
    }

    /// Connects with windows of this size, which stay shut once they are used up.
    #[track_caller]
    pub(crate) fn with_window(address: SocketAddr, window: u32) -> Self {
        let mut client = Self::silent(address);
        client.begin(Some(window));
        client
    }

    /// Connects and sends nothing.
    #[track_caller]
    pub(crate) fn silent(address: SocketAddr) -> Self {
        Self::over(Wire::tcp(address))
    }

    /// Connects over TLS, offering these protocols. Returns what was chosen.
    #[track_caller]
    pub(crate) fn tls(address: SocketAddr, ca: &str, offers: &[&str]) -> (Self, Option<String>) {
        let (wire, chosen) = Wire::tls(address, ca, offers);
        (Self::over(wire), chosen)
    }

    /// The same with the server of this name, or why there is no handshake.
    pub(crate) fn tls_as(
        name: &'static str,
        address: SocketAddr,
        ca: &str,
        offers: &[&str],
    ) -> io::Result<(Self, Option<String>)> {
        let (wire, chosen) = Wire::try_tls_as(name, address, ca, offers)?;
        Ok((Self::over(wire), chosen))
    }

    fn over(io: Wire) -> Self {
        Self {
            io,
            unread: Vec::new(),
            decoder: loona_hpack::Decoder::new(),
            answers: true,
            window: None,
            ledger: Ledger::new(),
            block: None,
            seen: Seen::default(),
        }
    }

    /// Sends the preface.
    #[track_caller]
    pub(crate) fn begin(&mut self, window: Option<u32>) {
        self.window = window;
        let mut settings = vec![0, 4];
        settings.extend(window.unwrap_or(1 << 30).to_be_bytes());
        self.send(PREFACE);
        self.frame(SETTINGS, 0, 0, &settings);
        if window.is_none() {
            self.frame(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes());
        }
    }

    /// Answers no PING from now on, or again.
    pub(crate) fn answer_pings(&mut self, answers: bool) {
        self.answers = answers;
    }

    /// Sends a request without a body. Returns its stream.
    #[track_caller]
    pub(crate) fn ask(&mut self, path: &str) -> u32 {
        self.open("GET", path, &[], END_STREAM)
    }

    /// Sends a request without a body, and takes the answer.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Stream {
        let stream = self.ask(path);
        self.answer(stream)
    }

    /// Opens a stream. Returns it.
    #[track_caller]
    pub(crate) fn open(
        &mut self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        flags: u8,
    ) -> u32 {
        let mut fields = vec![
            (":method", method),
            (":scheme", "http"),
            (":authority", "shop.test"),
            (":path", path),
        ];
        fields.extend(more);
        self.open_with(&fields, flags)
    }

    /// Opens a stream with exactly these fields. Returns it.
    #[track_caller]
    pub(crate) fn open_with(&mut self, fields: &[(&str, &str)], flags: u8) -> u32 {
        let stream = self.ledger.next();
        self.frame(HEADERS, END_HEADERS | flags, stream, &block(fields));
        stream
    }

    /// Sends some of a stream's body.
    #[track_caller]
    pub(crate) fn data(&mut self, stream: u32, data: &[u8], flags: u8) {
        self.frame(DATA, flags, stream, data);
    }

    /// Sends the last of a stream's body, as the server's windows let it. Returns how much was sent when the stream ends
    /// before that, or all of it.
    #[track_caller]
    pub(crate) fn upload(&mut self, stream: u32, body: &[u8]) -> usize {
        let mut sent = 0;
        while sent < body.len() {
            let over = self.seen.streams.get(&stream).is_some_and(Stream::is_over);
            if over || self.seen.ended {
                return sent;
            }
            let piece = self.ledger.may_send(stream).min(body.len() - sent);
            if piece == 0 {
                self.read_frame();
                continue;
            }
            let last = u8::from(sent + piece == body.len()) * END_STREAM;
            self.data(stream, &body[sent..sent + piece], last);
            sent += piece;
        }
        sent
    }

    /// Bytes of DATA that the server takes on a stream now.
    pub(crate) fn may_send(&self, stream: u32) -> usize {
        self.ledger.may_send(stream)
    }

    /// Waits until the server takes so many bytes of DATA on a stream.
    #[track_caller]
    pub(crate) fn until_window(&mut self, stream: u32, bytes: usize) {
        while self.may_send(stream) < bytes {
            assert!(!self.seen.ended, "no window but {:?}", self.seen);
            self.read_frame();
        }
    }

    /// Resets a stream.
    #[track_caller]
    pub(crate) fn reset(&mut self, stream: u32, code: u32) {
        self.frame(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// Sends a frame.
    #[track_caller]
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&frame(kind, flags, stream, payload));
    }

    /// Sends these bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.ledger.sent(bytes);
        self.io.write_all(bytes).unwrap();
        self.io.flush().unwrap();
    }

    /// Sends these bytes, or as many as are taken before the other side is gone.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.ledger.sent(bytes);
        self.io.write_all(bytes)?;
        self.io.flush()
    }

    /// Sends these bytes, as many as are taken without reading anything: until the other side is gone, or takes no more for a
    /// while. Returns how many.
    pub(crate) fn flood(&mut self, bytes: &[u8]) -> usize {
        self.io.socket().set_write_timeout(Some(STUCK)).unwrap();
        let mut sent = 0;
        while let Ok(written) = self.io.write(&bytes[sent..])
            && written > 0
        {
            self.ledger.sent(&bytes[sent..sent + written]);
            sent += written;
        }
        self.io.socket().set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        self.io.finish();
    }

    /// Everything that has come so far.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Waits for the end of a stream, whatever it is.
    #[track_caller]
    pub(crate) fn answer(&mut self, stream: u32) -> Stream {
        self.until("an answer", |seen| {
            seen.streams
                .get(&stream)
                .filter(|stream| stream.is_over())
                .cloned()
        })
    }

    /// Waits until so many bytes of a stream's body have come.
    #[track_caller]
    pub(crate) fn body_of(&mut self, stream: u32, bytes: usize) -> Vec<u8> {
        self.until("a body", |seen| {
            let body = &seen.streams.get(&stream)?.body;
            (body.len() >= bytes).then(|| body.clone())
        })
    }

    /// Waits until everything that was sent before has been read.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        // An unknown stream's frame would be an error, a PING is answered in order.
        self.frame(PING, 0, 0, b"settled?");
        loop {
            let Some((kind, flags, payload)) = self.read_frame() else {
                panic!("no answer to a PING but {:?}", self.seen)
            };
            if kind == PING && flags & ACK != 0 && payload == b"settled?" {
                return;
            }
        }
    }

    /// Waits until the other side ends the connection.
    #[track_caller]
    pub(crate) fn end(&mut self) {
        self.until("the end", |seen| seen.ended.then_some(()));
    }

    /// Waits until what has come says so.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, what: &str, ask: impl Fn(&Seen) -> Option<T>) -> T {
        loop {
            if let Some(answer) = ask(&self.seen) {
                return answer;
            }
            assert!(!self.seen.ended, "no {what} but {:?}", self.seen);
            self.read_frame();
        }
    }

    #[track_caller]
    fn read_frame(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let head = self.take(9)?;
        let (kind, flags, stream) = (head[3], head[4], ledger::stream(&head));
        let payload = self.take(ledger::length(&head))?;
        self.ledger.came(kind, flags, stream, &payload);
        self.seen.largest = self.seen.largest.max(payload.len());
        self.note(kind, flags, stream, &payload);
        Some((kind, flags, payload))
    }

    #[track_caller]
    fn note(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let stream = self.seen.streams.entry(id).or_default();
        match kind {
            HEADERS | CONTINUATION => {
                let (first, mut block) = self.block.take().unwrap_or((flags, Vec::new()));
                block.extend_from_slice(payload);
                if flags & END_HEADERS == 0 {
                    self.block = Some((first, block));
                    return;
                }
                self.decoder
                    .set_max_allowed_table_size(self.ledger.table_max());
                let fields = self.decoder.decode(&block).unwrap();
                stream.take_fields(fields, first & END_STREAM != 0);
            }
            DATA => {
                self.seen.data += payload.len();
                stream.take_data(unpadded(flags, payload), flags & END_STREAM != 0);
            }
            RST_STREAM => stream.reset = Some(word(0)),
            GOAWAY => self.seen.goaways.push((word(0), word(4))),
            SETTINGS if flags & ACK == 0 => {
                self.seen.settings.extend(ledger::settings(payload));
                // A server that has gone needs no answer.
                let _ = self.try_send(&frame(SETTINGS, ACK, 0, &[]));
            }
            PING if flags & ACK == 0 => {
                self.seen.pings += 1;
                if self.answers {
                    let _ = self.try_send(&frame(PING, ACK, 0, payload));
                }
            }
            SETTINGS => self.seen.acknowledged += 1,
            WINDOW_UPDATE => {
                *self.seen.windows.entry(id).or_default() += u64::from(word(0));
            }
            _ => {}
        }
    }

    #[track_caller]
    fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        let mut bytes = [0; 64 * 1024];
        while self.unread.len() < size {
            match self.io.read(&mut bytes) {
                Ok(0) => {
                    self.seen.ended = true;
                    return None;
                }
                Ok(read) => self.unread.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("nothing came within {PATIENCE:?} after {:?}", self.seen)
                }
                Err(_) => {
                    self.seen.ended = true;
                    return None;
                }
            }
        }
        Some(self.unread.drain(..size).collect())
    }
}

/// How long a flood that nobody takes is kept up.
const STUCK: Duration = Duration::from_millis(200);

/// What padding leaves of a payload.
fn unpadded(flags: u8, payload: &[u8]) -> &[u8] {
    if flags & PADDED == 0 {
        return payload;
    }
    &payload[1..payload.len() - usize::from(payload[0])]
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A block of fields, each as a literal that nobody remembers (RFC 7541, section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            number(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A length with a prefix of seven bits (RFC 7541, section 5.1).
fn number(block: &mut Vec<u8>, mut number: usize) {
    if number < 127 {
        block.push(number as u8);
        return;
    }
    block.push(127);
    number -= 127;
    while number >= 128 {
        block.push(number as u8 | 128);
        number >>= 7;
    }
    block.push(number as u8);
}
