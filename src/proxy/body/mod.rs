//! A response's body: passed on as it comes, and the place where a request ends.
//!
//! The body holds everything that has to last until both directions are over (law 4): the place in flight, the connection,
//! the rest of the upload, and the account. However it ends — whole, broken, cut, or dropped because the client went away —
//! all of it is given back by the same few lines.

mod ends;
mod passage;
mod tail;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use thiserror::Error;

use super::account::Account;
use super::admit::Attempt;
use super::upload::Upload;
use crate::pool::Connection;
use passage::Passage;
pub(super) use passage::Passing;

/// A response's body.
#[derive(Debug)]
pub struct Body {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Empty,
    /// All of it: our own, or an endpoint's that came along with its head.
    Whole(Bytes),
    // Boxed: the rest of a connection's future is smaller by it.
    Passing(Box<Passage>),
}

/// Why a body broke off. Its connection or stream ends with it, so that nothing incomplete looks whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Broken(&'static str);

impl Body {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            inner: Inner::Empty,
        }
    }

    /// A short text.
    #[must_use]
    pub fn text(text: String) -> Self {
        Self {
            inner: Inner::Whole(text.into()),
        }
    }

    /// The body of an endpoint's answer, all of which has come.
    pub(super) fn whole(data: Bytes) -> Self {
        Self {
            inner: Inner::Whole(data),
        }
    }

    /// The body of an endpoint's answer.
    pub(super) fn passing(
        passing: Passing,
        connection: Box<Connection>,
        attempt: Attempt,
        upload: Upload,
        account: Account,
    ) -> Self {
        let passage = Passage::begin(passing, connection, attempt, upload, account);
        Self {
            inner: passage.map_or(Inner::Empty, Inner::Passing),
        }
    }

    /// Whether no endpoint is needed for it any more.
    #[must_use]
    pub fn is_all_here(&self) -> bool {
        !matches!(self.inner, Inner::Passing(_))
    }

    /// Whether it is to end although the client takes nothing of it, so that it is not asked for a frame: `Ok` well, with
    /// what it has given so far.
    pub fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match &mut self.inner {
            Inner::Passing(passage) => passage.poll_stopped(cx),
            Inner::Empty | Inner::Whole(_) => Poll::Pending,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let body = self.get_mut();
        match &mut body.inner {
            Inner::Empty => Poll::Ready(None),
            Inner::Whole(data) => {
                let data = std::mem::take(data);
                body.inner = Inner::Empty;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Inner::Passing(passage) => passage.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Whole(data) => data.is_empty(),
            Inner::Passing(passage) => passage.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Inner::Passing(passage) => passage.size(),
        }
    }
}
