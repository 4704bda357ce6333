//! Where pieces of a tunnel are copied to for whoever wants to own them: h2 keeps a piece until it is written.

use bytes::{Bytes, BytesMut};

/// A block that is used again: pieces are cut off it one behind the other, and once all of them are gone it begins anew. So
/// a message costs a copy and no allocation, as long as what was sent before is written in time.
#[derive(Debug, Default)]
pub(super) struct Room {
    block: BytesMut,
}

/// What the block holds. Larger pieces are allocated: for so many bytes it does not matter.
const BLOCK: usize = 4 * 1024;

impl Room {
    /// These bytes, to be kept.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > BLOCK {
            return Bytes::copy_from_slice(bytes);
        }
        if self.block.capacity() < bytes.len() && !self.block.try_reclaim(BLOCK) {
            self.block = BytesMut::with_capacity(BLOCK);
        }
        self.block.extend_from_slice(bytes);
        self.block.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_one_block_as_long_as_pieces_are_given_back() {
        let mut room = Room::default();
        let first = room.copy(b"first").as_ptr() as usize;
        let mut kept = room.copy(b"0");
        for n in 1..10_000 {
            let text = n.to_string().repeat(40);
            let piece = room.copy(text.as_bytes());
            assert_eq!(piece, text);
            let at = piece.as_ptr() as usize;
            assert!((first..first + BLOCK).contains(&at), "piece {n}");
            if n % 7 == 0 {
                // What was written last goes before the next piece comes.
                drop(std::mem::take(&mut kept));
            }
        }
    }

    #[test]
    fn leaves_what_is_kept_alone() {
        let mut room = Room::default();
        let kept: Vec<_> = (0..1_000)
            .map(|n| (n, room.copy(format!("piece {n}").as_bytes())))
            .collect();
        for (n, piece) in kept {
            assert_eq!(piece, format!("piece {n}"));
        }
        let large = vec![b'x'; BLOCK + 1];
        assert_eq!(room.copy(&large), large);
    }
}
