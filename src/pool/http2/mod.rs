//! HTTP/2 to endpoints (RFC 9113): a connection shared by the requests of a worker, one stream for each.
//!
//! The h2 crate keeps the protocol; who may use a connection and when it ends is kept here.
//!
//! * [`Shared`]: a connection. A task of its own drives it, since no single request may; it asks for a sign of life when
//!   nothing comes, and ends with the last stream once the endpoint drains (P4) or says GOAWAY.
//! * [`Exchange`]: one stream, polled by its request's own task. Dropping it cancels what is not over; where only the
//!   endpoint's word for it is missing, the connection waits for that a while (`finishing`).
//! * [`handshake`]: from a byte stream to a connection. It waits for the endpoint's SETTINGS: its limit of streams is known
//!   before the first one, and an endpoint that speaks something else is found out while nothing has been sent (P10).
//!
//! What counts as written (P1, P10) is the head of a request handed to the driver within the endpoint's limit of streams.

mod exchange;
mod finishing;
mod head;
mod pulse;
mod shared;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};

pub use exchange::Exchange;
pub(super) use shared::{Drive, Shared};

use crate::net::Stream;
use pulse::{Heard, Listened};

/// What a handshake gives.
pub(super) struct Spoken {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) connection: Connection<Listened, Bytes>,
    pub(super) heard: Rc<Heard>,
}

/// What one stream may have under way before its client takes it: the memory that a stalled one holds, and the speed of one by
/// the round trip (64 MiB/s at a millisecond).
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for all of a connection: more than all of its streams together may have. Whoever stalls holds up their own streams,
/// and however many those are, nobody else's.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// What a stream may have waiting to be written.
const SEND_BUFFER: usize = 256 * 1024;

/// A response's head, or its trailers, may be so long.
const HEAD_MAX: u32 = 64 * 1024;

const FRAME_MAX: u32 = 64 * 1024;

/// Speaks HTTP/2 on a stream, until the endpoint's own settings are known.
pub(super) async fn handshake(stream: Stream) -> io::Result<Spoken> {
    let (listened, heard) = Listened::new(stream);
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_MAX)
        .max_header_list_size(HEAD_MAX)
        .max_send_buffer_size(SEND_BUFFER)
        // None before the endpoint has said how many.
        .initial_max_send_streams(0)
        .handshake(listened)
        .await
        .map_err(io::Error::other)?;
    poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        if sender.current_max_send_streams() > 0 {
            return Poll::Ready(Ok(()));
        }
        match ended {
            Poll::Ready(Ok(())) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    Ok(Spoken {
        sender,
        connection,
        heard,
    })
}
