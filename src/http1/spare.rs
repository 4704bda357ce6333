//! Buffers that were in use a moment ago, each thread's own.
//!
//! An allocator hands out what was given back longest ago, so that each answer is read into memory that the processor's
//! caches have forgotten by then. What has just been written out is still in them.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

thread_local! {
    /// The one given back last is taken first.
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Many requests may be under way, but one is worked on at a time.
const BUFFERS: usize = 4;

/// Smaller ones stay with their connection, and larger ones would fill the caches by themselves.
const SIZES: std::ops::RangeInclusive<usize> = 8 * 1024..=256 * 1024;

/// An empty buffer with at least this much room.
pub(super) fn take(room: usize) -> BytesMut {
    if SIZES.contains(&room)
        && let Some(mut buffer) = SPARE.with_borrow_mut(Vec::pop)
        && buffer.try_reclaim(room)
    {
        return buffer;
    }
    BytesMut::with_capacity(room)
}

/// Takes back the buffer of what has been written out, unless somebody else still reads what is in it.
pub fn give(written: Bytes) {
    let Ok(mut buffer) = written.try_into_mut() else {
        return;
    };
    buffer.clear();
    if !buffer.try_reclaim(*SIZES.start()) || buffer.capacity() > *SIZES.end() {
        return;
    }
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < BUFFERS {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer of this room that has been written out, and where it is.
    fn written(room: usize) -> (Bytes, usize) {
        let mut buffer = BytesMut::with_capacity(room);
        let at = buffer.as_ptr() as usize;
        buffer.extend_from_slice(b"head body");
        drop(buffer.split_to(5));
        let mut body = buffer.freeze();
        bytes::Buf::advance(&mut body, 4);
        (body, at)
    }

    #[test]
    fn what_was_given_last_is_taken_first_and_whole() {
        let room = 16 * 1024;
        let (first, second) = (written(room), written(room));
        give(first.0);
        give(second.0);
        for at in [second.1, first.1] {
            let buffer = take(room);
            assert_eq!((buffer.as_ptr() as usize, buffer.len()), (at, 0));
            assert!(buffer.capacity() >= room);
        }
    }

    #[test]
    fn what_somebody_reads_is_not_taken() {
        let (body, at) = written(*SIZES.start());
        let reader = body.clone();
        give(body);
        assert_ne!(take(*SIZES.start()).as_ptr() as usize, at);
        drop(reader);
    }

    #[test]
    fn keeps_few_and_none_that_is_small_or_huge() {
        for room in [SIZES.start() / 2, SIZES.end() * 2] {
            give(written(room).0);
        }
        assert!(SPARE.with_borrow(Vec::is_empty));
        for _ in 0..2 * BUFFERS {
            give(written(*SIZES.start()).0);
        }
        assert_eq!(SPARE.with_borrow(Vec::len), BUFFERS);
        // One that is too small for who comes is let go.
        assert!(take(*SIZES.end()).capacity() >= *SIZES.end());
        assert_eq!(SPARE.with_borrow(Vec::len), BUFFERS - 1);
    }
}
