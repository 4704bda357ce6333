//! One stream: a request, and its answer as frames.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::time::Instant;

use super::streams::Place;
use crate::proxy::{Answer, Body, ByteStream, Downstream, Inbound, Parting, Refusal, Tunnel};
use crate::server::connection::LAST_WAIT;

/// What is asked of the client's windows at a time: enough for a full frame, and no more than other streams can spare.
const AT_ONCE: usize = 16 * 1024;

/// Serves a stream to its end.
pub(super) async fn serve(
    place: Place,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let head_only = request.method() == Method::HEAD;
    let known = &place.connection.downstream;
    let downstream = Rc::new(Downstream {
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
    });
    let settings = &place.entry.settings;
    if request.headers().len() > settings.limits.headers as usize {
        place.entry.proxy.refused(&downstream, Refusal::TooLarge);
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        // A client that has gone needs no answer.
        let _ = respond.send_response(response, true);
        return;
    }
    let Some(answer) = answer(&place, request, &mut respond, &downstream).await else {
        return;
    };
    if downstream.task.is_expired() || answer.body.is_all_here() {
        // What is left is to hand the answer over.
        let limit = Instant::now() + settings.timeouts.body;
        downstream.task.limit(Some(limit));
    }
    if known.pins.moment().is_some() {
        // The last of a connection that is pinned to an endpoint which drains (P14).
        place.connection.announce_end_at(Instant::now());
    }
    let (head, body) = prepare(&place, answer);
    if let Some(tunnel) = downstream.tunnel.take() {
        // Boxed: few streams become one, and all have its size otherwise.
        Box::pin(relay(&place, tunnel, respond, head)).await;
        return;
    }
    let is_over = head_only || body.is_end_stream();
    if let Ok(stream) = respond.send_response(head, is_over)
        && !is_over
    {
        let mut outgoing = Outgoing {
            place: &place,
            stream,
            body,
            chunk: Bytes::new(),
            last: false,
            wrote: false,
        };
        std::future::poll_fn(|cx| outgoing.poll(cx)).await;
    }
}

/// Passes bytes on between the client and an endpoint, until both have enough.
async fn relay(
    place: &Place,
    mut tunnel: Box<Tunnel>,
    mut respond: SendResponse<Bytes>,
    head: Response<()>,
) {
    let (Some(incoming), Ok(stream)) = (tunnel.take_incoming(), respond.send_response(head, false))
    else {
        tunnel.abandon();
        return;
    };
    let mut client = ByteStream::new(stream, incoming);
    let parting = std::future::poll_fn(|cx| {
        if client.poll_broken(cx).is_ready() {
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

/// The answer to a request; none when there is nobody to hear it any more.
async fn answer(
    place: &Place,
    request: Request<RecvStream>,
    respond: &mut SendResponse<Bytes>,
    downstream: &Rc<Downstream>,
) -> Option<Answer> {
    let mut expectant = request.headers().contains_key(EXPECT);
    let request = request.map(Inbound::Http2);
    let mut handled = pin!(place.entry.proxy.handle(request, downstream));
    std::future::poll_fn(|cx| {
        place.entry.proxy.clock().turn();
        place.task().register(cx.waker());
        if place.connection.forced.get() {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Poll::Ready(None);
        }
        // Reset by the client, or gone with its connection: dropping the request takes it back from its endpoint.
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        let answer = handled.as_mut().poll(cx);
        if expectant && answer.is_pending() && downstream.uploading.get() {
            expectant = false;
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            // A client that has gone will be noticed.
            let _ = respond.send_informational(go_on);
        }
        answer.map(Some)
    })
    .await
}

/// The head as HTTP/2 has it. That a connection is to be closed is nothing that a stream says.
fn prepare(place: &Place, answer: Answer) -> (Response<()>, Body) {
    let body = answer.body;
    let mut fields = answer.fields.into_map();
    fields.remove(CONNECTION);
    if !fields.contains_key(DATE) {
        fields.insert(DATE, place.entry.dates.now());
    }
    if !body.is_end_stream()
        && let Some(length) = body.size_hint().exact()
        && !fields.contains_key(CONTENT_LENGTH)
    {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut head = Response::new(());
    *head.status_mut() = answer.status;
    *head.headers_mut() = fields;
    (head, body)
}

/// A body on its way to the client.
struct Outgoing<'p> {
    place: &'p Place,
    stream: SendStream<Bytes>,
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
                match self.poll_send(cx) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(()),
                    Poll::Pending => return self.poll_stopped(cx),
                }
            }
            if self.last {
                return Poll::Ready(());
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return self.stream.poll_reset(cx).map(drop);
            };
            match frame {
                None => {
                    // Fails only when the client has gone, as below.
                    let _ = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(());
                }
                Some(Err(_)) => return self.reset(),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.take(data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let _ = self.stream.send_trailers(trailers);
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
            let _ = self.stream.send_data(data, true);
            return;
        }
        self.chunk = data;
    }

    /// Sends as much as the client's windows allow. False when the client has gone.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut capacity = self.stream.capacity();
        if capacity == 0 {
            self.stream.reserve_capacity(self.chunk.len().min(AT_ONCE));
            capacity = self.stream.capacity();
        }
        while capacity == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(more)) => capacity = more,
                Some(Err(_)) | None => return Poll::Ready(false),
            }
        }
        self.wrote = true;
        let size = capacity.min(self.chunk.len());
        let data = self.chunk.split_to(size);
        let is_end = self.last && self.chunk.is_empty();
        Poll::Ready(self.stream.send_data(data, is_end).is_ok())
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
        self.stream.send_reset(Reason::INTERNAL_ERROR);
        Poll::Ready(())
    }
}
