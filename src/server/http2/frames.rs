//! What each frame of a client's means (RFC 9113, section 6).

use bytes::{Buf, BytesMut};

use super::shared::Stream;
use super::{Conversation, OUT_MAX, Stage};
use crate::http2::frame::{FrameHead, HEAD, MOST, PAYLOAD_MAX, Reason, flag, kind, setting};

/// A client has broken a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Only this stream suffers.
    Stream(u32, Reason),
    /// Nothing can be understood any more.
    Connection(Reason, &'static str),
}

/// What we ask by a PING before we say which request was the last; its answer comes behind all that the client sent before it
/// knew.
pub(super) const LEAVING: [u8; 8] = *b"leaving.";

const SIZE: Wrong = Wrong::Connection(Reason::FRAME_SIZE_ERROR, "a frame of the wrong size");

const WIDE: Wrong = Wrong::Connection(Reason::FLOW_CONTROL_ERROR, "a window that is too large");

const fn broken(why: &'static str) -> Wrong {
    Wrong::Connection(Reason::PROTOCOL_ERROR, why)
}

/// How far frames were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// As far as they are whole.
    All,
    /// As far as there is room for their answers.
    UntilWritten,
}

impl Conversation<'_> {
    /// Takes the frames that are there.
    pub(super) fn take_frames(&mut self) -> Result<Taken, Wrong> {
        let connection = self.connection;
        let mut intake = connection.watched.intake.borrow_mut();
        let read = &mut intake.inbox.bytes;
        while let Some(head) = FrameHead::read(read) {
            if head.length > PAYLOAD_MAX {
                return Err(SIZE);
            }
            if read.len() < HEAD + head.length {
                break;
            }
            if self.shared.state().out.len() > OUT_MAX {
                // What a client asks for costs an answer: who does not take them is not listened to.
                return Ok(Taken::UntilWritten);
            }
            read.advance(HEAD);
            let behind = read.len() - head.length;
            let taken = self.take_frame(head, read);
            // Of most frames nothing is kept.
            read.advance(read.len() - behind);
            match taken {
                Err(Wrong::Stream(id, reason)) => self.refuse_stream(id, reason)?,
                taken => taken?,
            }
        }
        Ok(Taken::All)
    }

    fn take_frame(&mut self, head: FrameHead, read: &mut BytesMut) -> Result<(), Wrong> {
        if self.block.is_some() != (head.kind == kind::CONTINUATION) {
            return Err(broken(
                "a field block that is interrupted, or goes on without a begin",
            ));
        }
        if !self.has_settings && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(broken("no settings at the beginning"));
        }
        let payload = &read[..head.length];
        match head.kind {
            kind::DATA => self.data(head, read),
            kind::HEADERS => self.headers(head, payload),
            kind::CONTINUATION => self.continuation(head, payload),
            kind::PRIORITY if head.stream == 0 => Err(broken("the priority of no stream")),
            // Streams are served as they come.
            kind::PRIORITY if head.length == 5 => Ok(()),
            kind::RST_STREAM => self.rst_stream(head),
            kind::SETTINGS => self.settings(head, payload),
            kind::PUSH_PROMISE => Err(broken("a push from a client")),
            kind::PING => self.ping(head, payload),
            kind::GOAWAY if head.stream != 0 => Err(broken("a stream's GOAWAY")),
            // It opens no more streams, and gets its answers.
            kind::GOAWAY if head.length >= 8 => Ok(()),
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            kind::PRIORITY | kind::GOAWAY => Err(SIZE),
            _ => Ok(()),
        }
    }

    /// A stream is refused, or has gone wrong.
    fn refuse_stream(&mut self, id: u32, reason: Reason) -> Result<(), Wrong> {
        match self.shared.find(id) {
            Some(stream) => {
                self.count_unseen(&stream)?;
                self.shared.reset(&stream, reason);
            }
            None => self.shared.state().say_reset(id, reason),
        }
        self.errors += 1;
        if self.errors > self.entry.settings.limits.stream_errors {
            return Err(Wrong::Connection(
                Reason::ENHANCE_YOUR_CALM,
                "too many errors",
            ));
        }
        Ok(())
    }

    fn data(&mut self, head: FrameHead, read: &mut BytesMut) -> Result<(), Wrong> {
        let (front, length) = unpadded(head, &read[..head.length])?;
        let size = head.length;
        let shared = self.shared.clone();
        {
            let mut state = shared.state();
            state.incoming -= size as i64;
            if state.incoming < 0 {
                const MORE: &str = "more than the connection's window";
                return Err(Wrong::Connection(Reason::FLOW_CONTROL_ERROR, MORE));
            }
        }
        let Some(stream) = shared.find(head.stream) else {
            shared.release(None, size);
            return self.late(head.stream);
        };
        let mut incoming = stream.incoming.borrow_mut();
        let is_last = head.has(flag::END_STREAM);
        let left = incoming.left.map(|left| left.checked_sub(length as u64));
        let wrong = if incoming.ended {
            Some(Reason::STREAM_CLOSED)
        } else if incoming.window < size as i64 {
            Some(Reason::FLOW_CONTROL_ERROR)
        } else if left.is_some_and(|left| left.is_none() || is_last && left != Some(0)) {
            // Not the length that its head has promised.
            Some(Reason::PROTOCOL_ERROR)
        } else {
            None
        };
        if let Some(reason) = wrong {
            drop(incoming);
            shared.release(None, size);
            return Err(Wrong::Stream(head.stream, reason));
        }
        incoming.window -= size as i64;
        incoming.left = left.flatten();
        let is_wanted = !incoming.forgotten;
        if is_wanted {
            read.advance(front);
            incoming.keep(read, length);
        }
        if is_last {
            incoming.end(None);
        }
        drop(incoming);
        if !is_wanted {
            shared.release(None, size);
        } else if size > length {
            // Padding is nobody's.
            shared.release(Some(&stream), size - length);
        }
        if is_last {
            shared.settle(&stream);
        }
        Ok(())
    }

    /// Something of a stream that is not open.
    fn late(&self, id: u32) -> Result<(), Wrong> {
        if id == 0 || id.is_multiple_of(2) {
            return Err(broken("a frame of no stream of a client's"));
        }
        if id > self.last {
            let is_ignored = self.stage == Stage::Last;
            return if is_ignored {
                Ok(())
            } else {
                Err(broken("a frame of a stream that has not begun"))
            };
        }
        if self.shared.state().was_reset(id) {
            // It was on its way already.
            return Ok(());
        }
        Err(Wrong::Stream(id, Reason::STREAM_CLOSED))
    }

    fn rst_stream(&mut self, head: FrameHead) -> Result<(), Wrong> {
        if head.length != 4 {
            return Err(SIZE);
        }
        let Some(stream) = self.shared.find(head.stream) else {
            return self.ignore_late(head.stream);
        };
        self.count_unseen(&stream)?;
        self.shared.close(&stream);
        Ok(())
    }

    /// Counts a stream that goes before anybody has looked at it: its client has us work for nothing, whether it resets the
    /// stream itself (CVE-2023-44487) or has us do it (CVE-2025-8671).
    fn count_unseen(&self, stream: &Stream) -> Result<(), Wrong> {
        if stream.seen.get() {
            return Ok(());
        }
        stream.unseen.set(true);
        let unseen = self.shared.unseen.get() + 1;
        self.shared.unseen.set(unseen);
        if unseen > self.entry.settings.limits.resets {
            return Err(Wrong::Connection(
                Reason::ENHANCE_YOUR_CALM,
                "too many resets",
            ));
        }
        Ok(())
    }

    /// What may come of a stream that is over, but not of one that has not begun.
    fn ignore_late(&self, id: u32) -> Result<(), Wrong> {
        match self.late(id) {
            Err(Wrong::Stream(..)) => Ok(()),
            late => late,
        }
    }

    fn settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Wrong> {
        if head.stream != 0 {
            return Err(broken("a stream's settings"));
        }
        if head.has(flag::ACK) {
            if head.length > 0 {
                return Err(SIZE);
            }
            self.shared.settings_hold();
            return Ok(());
        }
        let (all, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(SIZE);
        }
        let mut window = None;
        for [name_high, name_low, a, b, c, d] in all.iter().copied() {
            let name = u16::from_be_bytes([name_high, name_low]);
            let value = u32::from_be_bytes([a, b, c, d]);
            match name {
                setting::INITIAL_WINDOW_SIZE if value > MOST => return Err(WIDE),
                // Each costs a walk over all streams, and the last one counts.
                setting::INITIAL_WINDOW_SIZE => window = Some(value),
                _ => self.setting(name, value)?,
            }
        }
        if window.is_some_and(|window| !self.shared.widen_all(window)) {
            return Err(WIDE);
        }
        self.has_settings = true;
        self.shared
            .state()
            .out
            .frame(kind::SETTINGS, flag::ACK, 0, &[]);
        Ok(())
    }

    fn setting(&self, name: u16, value: u32) -> Result<(), Wrong> {
        match name {
            setting::HEADER_TABLE_SIZE => self.shared.state().encoder.resize(value as usize),
            setting::ENABLE_PUSH | setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                return Err(broken("a setting that is neither yes nor no"));
            }
            setting::MAX_FRAME_SIZE => {
                if !(PAYLOAD_MAX as u32..1 << 24).contains(&value) {
                    return Err(broken("a size of frames that is out of bounds"));
                }
                self.shared.state().peer_payload = value as usize;
            }
            _ => {}
        }
        Ok(())
    }

    fn ping(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Wrong> {
        if head.stream != 0 {
            return Err(broken("a stream's PING"));
        }
        if head.length != 8 {
            return Err(SIZE);
        }
        if !head.has(flag::ACK) {
            self.shared
                .state()
                .out
                .frame(kind::PING, flag::ACK, 0, payload);
        } else if payload == LEAVING && matches!(self.stage, Stage::Announced(_)) {
            self.say_last();
        }
        Ok(())
    }

    fn window_update(&self, head: FrameHead, payload: &[u8]) -> Result<(), Wrong> {
        let Ok(by) = <[u8; 4]>::try_from(payload).map(u32::from_be_bytes) else {
            return Err(SIZE);
        };
        let by = by & MOST;
        if head.stream == 0 {
            if by == 0 {
                return Err(broken("a window that grows by nothing"));
            }
            let mut state = self.shared.state();
            state.window += i64::from(by);
            if state.window > MOST.into() {
                return Err(WIDE);
            }
            drop(state);
            self.shared.wake_waiting();
            return Ok(());
        }
        let Some(stream) = self.shared.find(head.stream) else {
            return self.ignore_late(head.stream);
        };
        if by == 0 {
            return Err(Wrong::Stream(head.stream, Reason::PROTOCOL_ERROR));
        }
        if !self.shared.widen(&stream, by.into()) {
            return Err(Wrong::Stream(head.stream, Reason::FLOW_CONTROL_ERROR));
        }
        Ok(())
    }
}

/// Where a frame's own bytes begin, behind the length of its padding, and how many they are.
pub(super) fn unpadded(head: FrameHead, payload: &[u8]) -> Result<(usize, usize), Wrong> {
    if !head.has(flag::PADDED) {
        return Ok((0, payload.len()));
    }
    let Some((padding, rest)) = payload.split_first() else {
        return Err(SIZE);
    };
    let length = rest.len().checked_sub(usize::from(*padding));
    let length = length.ok_or(broken("padding that is longer than its frame"))?;
    Ok((1, length))
}
