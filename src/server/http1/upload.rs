//! The body of a request, read by whoever passes it on, straight off the connection.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::intake::Piece;
use crate::proxy::BrokenOff;
use crate::server::connection::Connection;

/// A request's body. The connection reads nothing else before it is over or dropped.
#[derive(Debug)]
pub(super) struct Upload {
    connection: Rc<Connection>,
}

impl Upload {
    pub(super) fn new(connection: &Rc<Connection>) -> Self {
        Self {
            connection: connection.clone(),
        }
    }

    /// Tells a client that waits for it to send the body.
    fn poll_go_on(&self, cx: &mut Context<'_>) -> Poll<Result<(), BrokenOff>> {
        let watched = &self.connection.watched;
        let mut intake = watched.intake.borrow_mut();
        while !intake.go_on().is_empty() {
            match ready!(watched.poll_write(cx, intake.go_on(), &[])) {
                Ok(sent @ 1..) => intake.went_on(sent),
                Ok(0) | Err(_) => return Poll::Ready(Err(BrokenOff::Gone)),
            }
        }
        watched.poll_flush(cx).map_err(|_| BrokenOff::Gone)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let watched = &self.connection.watched;
        if watched.intake.borrow().is_closed() {
            return Poll::Ready(Some(Err(BrokenOff::Gone)));
        }
        if !watched.intake.borrow().go_on().is_empty() {
            ready!(self.poll_go_on(cx))?;
        }
        let mut intake = watched.intake.borrow_mut();
        loop {
            match intake.next().map_err(BrokenOff::Malformed)? {
                Piece::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Piece::End(trailers) => {
                    return Poll::Ready(trailers.map(|it| Ok(Frame::trailers(it))));
                }
                Piece::More => {}
            }
            match watched.poll_fill(&mut intake, cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Some(Err(BrokenOff::Gone))),
                Poll::Pending => {
                    intake.wait(cx.waker());
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.watched.intake.borrow().is_over()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.connection.watched.intake.borrow_mut().forget();
        if self.connection.waits.take() {
            self.connection.task().wake();
        }
    }
}
