//! Field blocks (RFC 9113, section 4.3): put together from their frames, decoded, and told apart.

use std::rc::Rc;

use bytes::BytesMut;

use super::Conversation;
use super::frames::{Wrong, unpadded};
use super::incoming::Upload;
use super::request::{Fields, Head};
use super::shared::Stream;
use super::stream::{self, Handle};
use super::streams::Place;
use crate::http2::frame::{FrameHead, PAYLOAD_MAX, Reason, flag};
use crate::proxy::Inbound;

/// A field block that has begun and is not over.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    /// The stream's last.
    is_last: bool,
    bytes: BytesMut,
    frames: u32,
}

/// So many frames may make up a block: more only keep us busy (CVE-2024-27316 and its like).
const FRAMES_MAX: u32 = 128;

const FLOOD: Wrong = Wrong::Connection(Reason::ENHANCE_YOUR_CALM, "a field block without an end");

impl Conversation<'_> {
    pub(super) fn headers(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Wrong> {
        const SHORT: Wrong =
            Wrong::Connection(Reason::FRAME_SIZE_ERROR, "a head that is too short");
        if head.stream.is_multiple_of(2) {
            const NONE: &str = "the head of no stream of a client's";
            return Err(Wrong::Connection(Reason::PROTOCOL_ERROR, NONE));
        }
        let (front, length) = unpadded(head, payload)?;
        let mut block = &payload[front..front + length];
        if head.has(flag::PRIORITY) {
            // What depends on what is nobody's business any more (section 5.3.2).
            block = block.get(5..).ok_or(SHORT)?;
        }
        let is_last = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.take_block(head.stream, is_last, block);
        }
        self.block = Some(Block {
            stream: head.stream,
            is_last,
            bytes: BytesMut::from(block),
            frames: 1,
        });
        Ok(())
    }

    pub(super) fn continuation(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Wrong> {
        // What is too large is answered, and the table kept right for it; but there is an end to that.
        let most = 2 * self.entry.settings.limits.header_bytes as usize + PAYLOAD_MAX;
        let Some(mut block) = self.block.take_if(|block| block.stream == head.stream) else {
            const OTHER: &str = "a field block that goes on for another stream";
            return Err(Wrong::Connection(Reason::PROTOCOL_ERROR, OTHER));
        };
        block.frames += 1;
        if block.frames > FRAMES_MAX || block.bytes.len() + payload.len() > most {
            return Err(FLOOD);
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.take_block(block.stream, block.is_last, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    fn take_block(&mut self, id: u32, is_last: bool, block: &[u8]) -> Result<(), Wrong> {
        // Another that is slow has a time of its own.
        self.head_since = None;
        let most = self.entry.settings.limits.header_bytes as usize;
        let mut fields = Fields::default();
        let decoded = self
            .decoder
            .decode(block, |field, size| fields.take(field, size, most));
        if let Err(flaw) = decoded {
            tracing::debug!(listener = %self.entry.name(), %flaw, "fields that cannot be decoded");
            const WHY: &str = "fields that cannot be decoded";
            return Err(Wrong::Connection(Reason::COMPRESSION_ERROR, WHY));
        }
        if id > self.last {
            return self.begin(id, is_last, fields);
        }
        if let Some(stream) = self.shared.find(id) {
            return self.trailers(&stream, is_last, fields);
        }
        if self.shared.state().was_reset(id) {
            return Ok(());
        }
        Err(Wrong::Connection(
            Reason::STREAM_CLOSED,
            "a head on a stream that is over",
        ))
    }

    /// A stream is a request.
    fn begin(&mut self, id: u32, is_last: bool, fields: Fields) -> Result<(), Wrong> {
        if self.is_last_said() {
            // The client knows, or will know soon, that it may send it again elsewhere.
            return Ok(());
        }
        self.last = id;
        let limits = &self.entry.settings.limits;
        let head = if fields.is_too_large(limits.header_bytes as usize) {
            None
        } else {
            Some(fields.into_head().map_err(|why| {
                tracing::debug!(listener = %self.entry.name(), why, "a malformed request");
                Wrong::Stream(id, Reason::PROTOCOL_ERROR)
            })?)
        };
        let length = head.as_ref().and_then(|head| head.length);
        if is_last && length.is_some_and(|length| length > 0) {
            return Err(Wrong::Stream(id, Reason::PROTOCOL_ERROR));
        }
        let is_full = self.shared.streams() >= limits.streams as usize;
        let place = (!is_full).then(|| Place::take(self.entry, self.connection));
        let Some(place) = place.flatten() else {
            // Nothing has been done with it: the client may send it again.
            self.shared.state().say_reset(id, Reason::REFUSED_STREAM);
            return Ok(());
        };
        let stream = self.shared.open(id, place.task().clone(), is_last, length);
        self.serve(place, stream, head, is_last);
        Ok(())
    }

    fn serve(&self, place: Place, stream: Rc<Stream>, head: Option<Head>, is_last: bool) {
        let body = if is_last {
            Inbound::None
        } else {
            Inbound::Body(Box::pin(Upload::new(self.shared.clone(), stream.clone())))
        };
        let handle = Handle::new(self.shared.clone(), stream);
        let parts = head.map(|head| head.parts);
        // Boxed: on its way into a task, and out of it when it is over, a future is moved half a dozen times, and this one is
        // kilobytes.
        self.entry
            .spawn(Box::pin(stream::serve(place, parts, body, handle)));
    }

    fn trailers(&self, stream: &Stream, is_last: bool, fields: Fields) -> Result<(), Wrong> {
        let most = self.entry.settings.limits.header_bytes as usize;
        let mut incoming = stream.incoming.borrow_mut();
        if incoming.ended {
            return Err(Wrong::Stream(stream.id, Reason::STREAM_CLOSED));
        }
        let is_short = incoming.left.is_some_and(|left| left > 0);
        if !is_last || is_short || fields.is_too_large(most) {
            return Err(Wrong::Stream(stream.id, Reason::PROTOCOL_ERROR));
        }
        let trailers = fields
            .into_trailers()
            .map_err(|_| Wrong::Stream(stream.id, Reason::PROTOCOL_ERROR))?;
        incoming.end((!trailers.is_empty()).then_some(trailers));
        drop(incoming);
        self.shared.settle(stream);
        Ok(())
    }
}
