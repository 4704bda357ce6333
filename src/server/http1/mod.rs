//! One downstream HTTP/1 connection (RFC 9112): requests and their answers in turns, read and written by one task.
//!
//! tidegate reads HTTP/1 itself, with httparse for heads. A server library would parse every field into a map and print it
//! again, keep a buffer and a state of its own for as long as a connection lives, and take more than we do for a line's end,
//! so that its bytes would have to be looked at a second time. Here the body of a request is read straight off the connection
//! by whoever passes it on ([`Upload`]), a response's lines go through as they came ([`Fields`](crate::http1::Fields)), and
//! what is left over between two requests is one buffer ([`Intake`]), which an idle connection does without.

mod head;
mod intake;
mod reply;
mod upload;

pub(super) use intake::{Intake, PREFACE};

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{Method, Version};
use http_body::Body as _;
use tokio::time::Instant;

use super::connection::{Connection, Over, Turn};
use super::listener::Entry;
use super::wire::Phase;
use crate::proxy::{Answer, Inbound, Tunnel, takes_trailers};
use head::Head;
use intake::{Piece, Rest, Spoken};
use reply::{Asked, Framing, Out, Reply};
use upload::Upload;

/// So much of a body that nobody reads is thrown away for the sake of the next request.
const WASTE_MAX: usize = 64 * 1024;

/// Requests and their answers, until one side has enough or nothing comes for a while.
pub(super) async fn converse(entry: &Rc<Entry>, connection: &Rc<Connection>) -> Turn {
    let mut talk = pin!(talk(entry, connection));
    let mut head_seen = false;
    let clock = entry.proxy.clock();
    let turn = std::future::poll_fn(|cx| {
        clock.turn();
        connection.task().register(cx.waker());
        connection.renew();
        if let Poll::Ready(turn) = talk.as_mut().poll(cx) {
            return Poll::Ready(turn);
        }
        if connection.may_rest() {
            return Poll::Ready(Turn::Rest);
        }
        match connection.look(&mut head_seen) {
            Some(over) => Poll::Ready(Turn::Over(over)),
            None => Poll::Pending,
        }
    })
    .await;
    match &turn {
        Turn::Over(_) => connection.watched.intake.borrow_mut().close(),
        Turn::Rest => connection.watched.intake.borrow_mut().inbox.clear(),
        Turn::Http2 | Turn::Heard => {}
    }
    turn
}

async fn talk(entry: &Rc<Entry>, connection: &Rc<Connection>) -> Turn {
    let mut out = Out::default();
    loop {
        let head = std::future::poll_fn(|cx| poll_head(entry, connection, cx));
        let head = match head.await {
            Ok(head) => head,
            Err(turn) => return turn,
        };
        match exchange(entry, connection, head, &mut out).await {
            Ok(After::Next) => connection.idle(),
            Ok(After::Tunnel(tunnel)) => return Turn::Over(relay(connection, tunnel).await),
            Err(over) => return Turn::Over(over),
        }
    }
}

/// What follows an answer.
enum After {
    /// The next request, if there is one.
    Next,
    /// Bytes of another protocol.
    Tunnel(Box<Tunnel>),
}

/// Waits for the head of a request.
fn poll_head(
    entry: &Entry,
    connection: &Connection,
    cx: &mut Context<'_>,
) -> Poll<Result<Head, Turn>> {
    let watched = &connection.watched;
    let mut intake = watched.intake.borrow_mut();
    loop {
        if !intake.inbox.bytes.is_empty() {
            if matches!(watched.phase.get(), Phase::New | Phase::Idle) {
                // Whether it came just now or along with the request before.
                watched.phase.set(Phase::Head);
            }
            match intake.spoken() {
                Spoken::Http2 => return Poll::Ready(Err(Turn::Http2)),
                Spoken::Unclear => {}
                Spoken::Http1 => match head::parse(&mut intake, &entry.settings.limits) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(refusal) => return Poll::Ready(Err(Turn::Over(Over::Refused(refusal)))),
                },
            }
        }
        if !ready!(watched.poll_fill(&mut intake, cx)) {
            let over = if intake.inbox.bytes.is_empty() {
                Over::Done
            } else {
                Over::Broken
            };
            return Poll::Ready(Err(Turn::Over(over)));
        }
    }
}

/// Answers a request.
async fn exchange(
    entry: &Rc<Entry>,
    connection: &Rc<Connection>,
    head: Head,
    out: &mut Out,
) -> Result<After, Over> {
    let parts = &head.parts;
    let http10 = parts.version == Version::HTTP_10;
    let asked = Asked {
        http10,
        head_only: parts.method == Method::HEAD,
        trailers: !http10 && takes_trailers(&parts.headers),
        connect: parts.method == Method::CONNECT,
    };
    let persistent = head.persistent;
    connection.downstream.flaw.set(head.flaw);
    let body = begin(connection, head.body, head.expects);
    let mut answer = answer(entry, connection, parts, body).await?;
    let tunnel = connection.downstream.tunnel.take();
    let mut last = !persistent || answer.close;
    if tunnel.is_none() && connection.announces_end(entry) {
        connection.how.set(Some("announced"));
        last = true;
    }
    let rest = {
        let mut intake = connection.watched.intake.borrow_mut();
        // Nobody knows whether a client will still send what it has not been asked for.
        last |= intake.is_awaited();
        intake.take_word()
    };
    out.small.extend_from_slice(rest);
    let date = || entry.dates.now();
    let framing = reply::write_head(&mut out.small, &mut answer, asked, last, date);
    last |= framing == Framing::UntilClose;
    let body = answer.into_body();
    let mut reply = Reply {
        connection,
        out,
        is_last: framing == Framing::None || body.is_end_stream(),
        body,
        framing,
        trailers: asked.trailers,
    };
    if reply.is_last && framing == Framing::Chunked {
        reply.end();
    }
    let written = std::future::poll_fn(|cx| match reply.poll(cx) {
        Poll::Pending if connection.is_gone(cx) => Poll::Ready(Err(reply::Broken)),
        written => written,
    });
    written.await.map_err(|_| Over::Broken)?;
    drop(reply);
    if let Some(tunnel) = tunnel {
        return Ok(After::Tunnel(tunnel));
    }
    std::future::poll_fn(|cx| poll_upload_end(connection, last, cx)).await?;
    Ok(After::Next)
}

/// A request begins, and this follows its head.
fn begin(connection: &Rc<Connection>, body: Rest, expects: bool) -> Inbound {
    let watched = &connection.watched;
    watched.phase.set(Phase::Busy);
    let mut intake = watched.intake.borrow_mut();
    intake.begin(body, expects);
    if intake.is_read() {
        Inbound::Body(Box::pin(Upload::new(connection)))
    } else {
        Inbound::None
    }
}

/// What the proxy answers; an error when the client goes away meanwhile.
async fn answer(
    entry: &Rc<Entry>,
    connection: &Rc<Connection>,
    parts: &Parts,
    body: Inbound,
) -> Result<Answer, Over> {
    let mut handled = pin!(entry.proxy.handle(parts, body, &connection.downstream));
    let answer = std::future::poll_fn(|cx| match handled.as_mut().poll(cx) {
        Poll::Pending if connection.is_gone(cx) => Poll::Ready(Err(Over::Broken)),
        Poll::Pending => Poll::Pending,
        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
    });
    let answer = answer.await?;
    if connection.task().is_expired() {
        // What is left is to hand the answer over.
        let limit = Instant::now() + entry.settings.timeouts.body;
        connection.task().limit(Some(limit));
    }
    Ok(answer)
}

/// Waits for the end of an upload that goes on behind its answer. What nobody reads is thrown away, as far as it is there,
/// so that the next request is found behind it; after the `last` one there is none.
fn poll_upload_end(
    connection: &Connection,
    last: bool,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Over>> {
    let watched = &connection.watched;
    let mut intake = watched.intake.borrow_mut();
    if intake.is_over() && !last {
        return Poll::Ready(Ok(()));
    }
    if intake.is_read() {
        // Whoever reads it keeps its time.
        connection.task().limit(None);
        connection.waits.set(true);
        return Poll::Pending;
    }
    let mut wasted = 0;
    while !last && wasted <= WASTE_MAX {
        match intake.next() {
            Ok(Piece::Data(data)) => wasted += data.len(),
            Ok(Piece::End(_)) => return Poll::Ready(Ok(())),
            Ok(Piece::More) if matches!(watched.poll_fill(&mut intake, cx), Poll::Ready(true)) => {}
            Ok(Piece::More) | Err(_) => break,
        }
        if intake.is_over() {
            return Poll::Ready(Ok(()));
        }
    }
    // More of it is on its way, and would be taken for a request.
    Poll::Ready(Err(Over::Done))
}

/// Passes bytes on between the client and an endpoint, until both have enough.
async fn relay(connection: &Connection, mut tunnel: Box<Tunnel>) -> Over {
    connection.watched.phase.set(Phase::Busy);
    drop(tunnel.take_incoming());
    // Nothing else comes by this connection: the tunnel keeps its place, and gives it back before its client is done.
    connection.downstream.pins.release();
    let early = connection.watched.intake.borrow_mut().inbox.bytes.split();
    tunnel.begin(&early);
    drop(early);
    std::future::poll_fn(|cx| {
        if connection.forced.get() {
            // The connection ends by force, however the tunnel would.
            let _ = tunnel.cut();
            return Poll::Ready(Over::Forced);
        }
        let mut stream = connection.watched.stream.borrow_mut();
        let over = tunnel.poll(cx, &mut *stream);
        if tunnel.is_client_done() {
            connection.watched.ended.set(true);
        }
        over.map(|_| Over::Done)
    })
    .await
}

impl Connection {
    /// Whether the client has gone while it is answered. Looked at only where nothing else is read: what it sends is kept for
    /// later, and once something is there no more is read.
    fn is_gone(&self, cx: &mut Context<'_>) -> bool {
        let mut intake = self.watched.intake.borrow_mut();
        intake.is_over()
            && intake.inbox.bytes.is_empty()
            && matches!(self.watched.poll_fill(&mut intake, cx), Poll::Ready(false))
    }
}
