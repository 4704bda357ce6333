//! The body of a response, as far as it is framed (RFC 9112, section 6.3).

use bytes::Bytes;

use super::head::Length;
use super::{Piece, ReadError};
use crate::http1::{Chunk, Chunks, Inbox};

/// Where the current response's body stands.
#[derive(Debug)]
pub(super) enum Body {
    /// No response is expected, or its body is over.
    Done,
    /// So many bytes are left.
    Sized(u64),
    /// Chunks.
    Chunked(Box<Chunks>),
    /// Until the endpoint closes.
    UntilClose,
}

/// What the bytes at hand amount to.
pub(super) enum Taken {
    Piece(Piece),
    More,
    End,
}

impl Body {
    /// One that is so long.
    pub(super) fn of(length: Length) -> Self {
        match length {
            Length::None | Length::Sized(0) => Self::Done,
            Length::Sized(length) => Self::Sized(length),
            Length::Chunked => Self::Chunked(Box::default()),
            Length::UntilClose => Self::UntilClose,
        }
    }

    /// Whether it is over.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Nothing more comes. Whether it is whole.
    pub(super) fn end(&mut self) -> bool {
        let is_whole = matches!(self, Self::UntilClose);
        if is_whole {
            *self = Self::Done;
        }
        is_whole
    }

    /// The rest of it, if its length was said and all of it has come.
    pub(super) fn take_whole(&mut self, inbox: &mut Inbox) -> Option<Bytes> {
        let left = match self {
            Self::Done => return Some(Bytes::new()),
            Self::Sized(left) => usize::try_from(*left).ok()?,
            Self::Chunked(_) | Self::UntilClose => return None,
        };
        if inbox.bytes.len() < left {
            return None;
        }
        *self = Self::Done;
        Some(inbox.take(left))
    }

    /// The next piece of it, from what has come.
    pub(super) fn take_piece(&mut self, inbox: &mut Inbox) -> Result<Taken, ReadError> {
        let here = inbox.bytes.len();
        match self {
            Self::Done => Ok(Taken::End),
            _ if here == 0 => Ok(Taken::More),
            Self::UntilClose => Ok(Taken::Piece(Piece::Data(inbox.take(here)))),
            Self::Sized(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(here);
                *left -= here as u64;
                let piece = inbox.take(here);
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Taken::Piece(Piece::Data(piece)))
            }
            Self::Chunked(chunks) => match chunks
                .next(&mut inbox.bytes)
                .map_err(ReadError::Malformed)?
            {
                Chunk::Data(data) => Ok(Taken::Piece(Piece::Data(data))),
                Chunk::More => Ok(Taken::More),
                Chunk::End(trailers) => {
                    *self = Self::Done;
                    Ok(trailers.map_or(Taken::End, |trailers| {
                        Taken::Piece(Piece::Trailers(trailers))
                    }))
                }
            },
        }
    }
}
