//! One stream: a request, and its answer as frames.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use tokio::time::Instant;

use super::byte_stream::ByteStream;
use super::incoming::Upload;
use super::reply;
use super::shared::{Shared, Stream};
use super::streams::Place;
use crate::http2::frame::Reason;
use crate::proxy::{Answer, Body, Downstream, Inbound, Parting, Refusal, Tunnel};
use crate::server::connection::LAST_WAIT;

/// What works on a stream has its end of it. Dropping it before all is sent resets the stream.
#[derive(Debug)]
pub(super) struct Handle {
    shared: Rc<Shared>,
    stream: Rc<Stream>,
}

impl Handle {
    pub(super) fn new(shared: Rc<Shared>, stream: Rc<Stream>) -> Self {
        Self { shared, stream }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.stream.is_gone()
    }

    pub(super) fn upload(&self) -> Upload {
        Upload::new(self.shared.clone(), self.stream.clone())
    }

    pub(super) fn reset(&self, reason: Reason) {
        self.shared.reset(&self.stream, reason);
    }

    pub(super) fn poll_capacity(&self) -> Poll<Option<usize>> {
        self.shared.poll_capacity(&self.stream)
    }

    pub(super) fn send(&self, data: Bytes, is_last: bool) {
        self.shared.send(&self.stream, data, is_last);
    }

    pub(super) fn send_copied(&self, data: &[u8], is_last: bool) {
        self.shared.send_copied(&self.stream, data, is_last);
    }

    fn send_status(&self, status: StatusCode, is_last: bool) {
        self.shared
            .send_fields(&self.stream, is_last, |encoder, out| {
                encoder.begin(out, status)
            });
    }

    fn send_trailers(&self, trailers: &HeaderMap) {
        self.shared.send_fields(&self.stream, true, |encoder, out| {
            encoder.begin_trailers(out);
            for (name, value) in trailers {
                encoder.field(out, name.as_str().as_bytes(), value.as_bytes());
            }
        });
    }

    /// Its task has begun. False when its client has reset it before.
    fn begin(&self) -> bool {
        if self.stream.unseen.get() {
            self.shared.unseen.set(self.shared.unseen.get() - 1);
        }
        self.stream.seen.set(true);
        !self.stream.is_gone()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.stream.ended.get() {
            self.shared.reset(&self.stream, Reason::INTERNAL_ERROR);
        }
    }
}

/// Serves a stream to its end. `parts`: none of a head that was too large.
#[expect(
    clippy::manual_async_fn,
    reason = "its arguments would be kept twice, in a future that there are thousands of"
)]
pub(super) fn serve(
    place: Place,
    parts: Option<Parts>,
    body: Inbound,
    handle: Handle,
) -> impl Future<Output = ()> {
    async move {
        if !handle.begin() {
            return;
        }
        let downstream = downstream(&place);
        let most = place.entry.settings.limits.headers as usize;
        let Some(head) = parts.as_ref().filter(|head| head.headers.len() <= most) else {
            place.entry.proxy.refused(&downstream, Refusal::TooLarge);
            handle.send_status(Refusal::TooLarge.status().0, true);
            return;
        };
        let answer = {
            let mut expectant = head.headers.contains_key(EXPECT);
            let mut first = true;
            let mut handled = pin!(place.entry.proxy.handle(head, body, &downstream));
            std::future::poll_fn(|cx| {
                if !std::mem::take(&mut first) {
                    // The first time it is the connection's turn still.
                    place.entry.proxy.clock().turn();
                }
                let handled = handled.as_mut();
                poll_answer(&place, &handle, &downstream, &mut expectant, handled, cx)
            })
            .await
        };
        let Some(answer) = answer else {
            return;
        };
        if downstream.task.is_expired() || answer.body.is_all_here() {
            // What is left is to hand the answer over.
            let limit = Instant::now() + place.entry.settings.timeouts.body;
            downstream.task.limit(Some(limit));
        }
        if downstream.pins.moment().is_some() {
            // The last of a connection that is pinned to an endpoint which drains (P14).
            place.connection.announce_end_at(Instant::now());
        }
        let tunnel = downstream.tunnel.take();
        let is_last =
            tunnel.is_none() && (head.method == Method::HEAD || answer.body.is_end_stream());
        let dates = &place.entry.dates;
        handle
            .shared
            .send_fields(&handle.stream, is_last, |encoder, out| {
                reply::write_head(encoder, out, &answer, || dates.now());
            });
        let body = answer.into_body();
        drop(parts);
        if let Some(tunnel) = tunnel {
            // Boxed: few streams become one, and all have its size otherwise.
            Box::pin(relay(&place, tunnel, handle)).await;
        } else if !is_last {
            let mut outgoing = Outgoing {
                place: &place,
                handle,
                body,
                chunk: Bytes::new(),
                last: false,
                wrote: false,
            };
            std::future::poll_fn(|cx| outgoing.poll(cx)).await;
        }
    }
}

/// What its request needs to know of the client, with a task of its own.
fn downstream(place: &Place) -> Rc<Downstream> {
    let known = &place.connection.downstream;
    Rc::new(Downstream {
        client: known.client,
        local: known.local,
        entrance: known.entrance.clone(),
        task: place.task().clone(),
        pins: known.pins.clone(),
        reset: false.into(),
        uploading: false.into(),
        tails: 0.into(),
        flaw: None.into(),
        tunnel: Default::default(),
    })
}

/// Passes bytes on between the client and an endpoint, until both have enough.
async fn relay(place: &Place, mut tunnel: Box<Tunnel>, handle: Handle) {
    let mut client = ByteStream::new(handle, tunnel.take_incoming());
    let parting = std::future::poll_fn(|cx| {
        place.task().register(cx.waker());
        if client.is_broken() {
            tunnel.abandon();
            return Poll::Ready(None);
        }
        if place.connection.forced.get() {
            return Poll::Ready(Some(tunnel.cut()));
        }
        tunnel.poll(cx, &mut client).map(Some)
    });
    match parting.await {
        Some(Parting::Orderly) => client.finish(),
        Some(Parting::Broken) => client.reset(),
        None => {}
    }
}

/// The answer to a request; none when there is nobody to hear it any more. `expectant`: the client waits for a word before it
/// sends the body.
fn poll_answer(
    place: &Place,
    handle: &Handle,
    downstream: &Downstream,
    expectant: &mut bool,
    handled: Pin<&mut impl Future<Output = Answer>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Answer>> {
    place.task().register(cx.waker());
    if place.connection.forced.get() {
        handle.reset(Reason::INTERNAL_ERROR);
        return Poll::Ready(None);
    }
    // Reset by the client, or gone with its connection: dropping the request takes it back from its endpoint.
    if handle.is_gone() {
        return Poll::Ready(None);
    }
    let answer = handled.poll(cx);
    if *expectant && answer.is_pending() && downstream.uploading.get() {
        *expectant = false;
        handle.send_status(StatusCode::CONTINUE, false);
    }
    answer.map(Some)
}

/// A body on its way to the client.
struct Outgoing<'p> {
    place: &'p Place,
    handle: Handle,
    body: Body,
    /// What waits for the client's windows.
    chunk: Bytes,
    /// Nothing comes after it.
    last: bool,
    /// The client has taken something since its time began.
    wrote: bool,
}

impl Outgoing<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.place.entry.proxy.clock().turn();
        self.place.task().register(cx.waker());
        if self.place.connection.forced.get() {
            return self.reset();
        }
        self.renew();
        loop {
            // What is reset takes nothing more, which is noticed there.
            while !self.chunk.is_empty() {
                match self.poll_send() {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(()),
                    Poll::Pending => return self.poll_stopped(cx),
                }
            }
            if self.last || self.handle.is_gone() {
                return Poll::Ready(());
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    self.handle.send_copied(&[], true);
                    return Poll::Ready(());
                }
                Some(Err(_)) => return self.reset(),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.take(data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.handle.send_trailers(&trailers);
                        }
                        return Poll::Ready(());
                    }
                },
            }
        }
    }

    /// A client that is slow but takes something is not idle, as over HTTP/1.
    fn renew(&mut self) {
        let task = self.place.task();
        if task.is_expired() && !self.chunk.is_empty() && std::mem::take(&mut self.wrote) {
            task.limit(Some(
                Instant::now() + self.place.entry.settings.timeouts.body,
            ));
        }
    }

    fn take(&mut self, data: Bytes) {
        self.last = self.body.is_end_stream();
        if data.is_empty() && self.last {
            self.handle.send_copied(&[], true);
            return;
        }
        self.chunk = data;
    }

    /// Sends as much as the client's windows allow. False when the client has gone.
    fn poll_send(&mut self) -> Poll<bool> {
        let Some(capacity) = ready!(self.handle.poll_capacity()) else {
            return Poll::Ready(false);
        };
        self.wrote = true;
        let size = capacity.min(self.chunk.len());
        let data = self.chunk.split_to(size);
        let is_last = self.last && self.chunk.is_empty();
        self.handle.send(data, is_last);
        Poll::Ready(true)
    }

    /// The client takes nothing, so the body is not asked. It may have to end all the same.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.body.poll_stopped(cx) {
            Poll::Ready(Err(_)) => return self.reset(),
            Poll::Ready(Ok(())) if !self.last => {
                // What waits is the end of a body that ends well, if it is taken in time.
                self.last = true;
                let limit = Instant::now() + LAST_WAIT;
                self.place.task().limit(Some(limit));
            }
            _ => {}
        }
        if self.place.task().is_expired() {
            return self.reset();
        }
        Poll::Pending
    }

    /// What is incomplete must not look whole.
    fn reset(&mut self) -> Poll<()> {
        self.handle.reset(Reason::INTERNAL_ERROR);
        Poll::Ready(())
    }
}
