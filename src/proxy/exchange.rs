//! One attempt at one endpoint, until the head of its answer.

use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Method, Version};

use super::admit::Attempt;
use super::headers::{self, Last};
use super::retry::Failed;
use super::upload::UploadError;
use super::{Failure, Flow, Proxy, stream_head};
use crate::endpoint::{EndpointId, Work};
use crate::pool::h1::{Asked, Head, ReadError};
use crate::pool::{Connection, Signal};

/// An endpoint's answer: its head, and the connection that its body comes by.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) head: Head,
    pub(super) connection: Box<Connection>,
}

impl Proxy {
    /// Sends a request to the endpoint of `attempt` and waits for the head of the answer.
    pub(super) async fn exchange(
        self: &Rc<Self>,
        flow: &mut Flow<'_>,
        mut attempt: Attempt,
    ) -> Result<(Answered, Attempt), (Failed, EndpointId)> {
        let endpoint = attempt.endpoint().id();
        let mut connection = match self.connect(flow, &mut attempt).await {
            Ok(connection) => connection,
            Err(failed) => {
                if failed == Failed::Recalled {
                    attempt.give_back(&flow.downstream.pins);
                } else {
                    flow.account.attempt(&attempt, None);
                    flow.downstream.pins.remove(endpoint);
                }
                return Err((failed, endpoint));
            }
        };
        if let Err(failure) = self.begin(flow, &attempt, &mut connection) {
            return Err((Failed::Final(failure), endpoint));
        }
        flow.account.attempt(&attempt, Some(&connection));
        attempt.endpoint().count_start(attempt.admission());
        if let Some(why) = attempt.admission().why() {
            self.metrics
                .shared()
                .dispatched_to_draining(flow.service.name().as_str(), why);
        }
        let wish = flow.wish.clone();
        let asked = match &wish {
            Some(wish) => wish.asked(),
            None if flow.parts.method == Method::HEAD => Asked::Head,
            None => Asked::Body,
        };
        let mut sending = true;
        let answer = std::future::poll_fn(|cx| {
            poll_answer(cx, flow, &attempt, &mut connection, &mut sending, asked)
        });
        match answer.await {
            Ok(head) => {
                let length = head.length;
                debug_assert!(connection.is_answered() || length == crate::pool::h1::Length::None);
                Ok((Answered { head, connection }, attempt))
            }
            Err(Failed::Recalled) => {
                flow.account.forget_attempt();
                attempt.endpoint().count_unstarted(attempt.admission());
                attempt.give_back(&flow.downstream.pins);
                Err((Failed::Recalled, endpoint))
            }
            Err(failed) => {
                if let Failed::Final(Failure::DrainDeadline { .. }) = failed {
                    attempt.endpoint().count_cut(Work::Request);
                }
                if !connection.is_written() {
                    attempt.endpoint().count_unstarted(attempt.admission());
                }
                Err((failed, endpoint))
            }
        }
    }

    fn begin(
        &self,
        flow: &mut Flow<'_>,
        attempt: &Attempt,
        connection: &mut Connection,
    ) -> Result<(), Failure> {
        let framing = flow.upload.framing();
        let last = Last {
            close: attempt.admission().is_draining(),
            wish: flow.wish.as_ref(),
        };
        let one_of_many = flow.parts.version == Version::HTTP_2;
        match connection {
            Connection::Http1(connection) => connection.begin(one_of_many, |out| {
                headers::write_request(out, flow.outgoing(), flow.downstream, framing, last)
            }),
            Connection::Http2(_) if flow.parts.method == Method::CONNECT => {
                return Err(Failure::NotServed(
                    "the endpoint is spoken to by HTTP/2, where no tunnel is opened",
                ));
            }
            Connection::Http2(exchange) => {
                let head = stream_head::request(flow.outgoing(), flow.downstream, framing)?;
                exchange.begin(head, flow.upload.is_over());
            }
        }
        flow.time_attempt(true);
        if flow.upload.is_over() {
            flow.limit_to_head();
        } else {
            flow.limit_to_upload();
        }
        Ok(())
    }
}

/// Sends what is there, and reads what comes, until the head of the answer is whole.
fn poll_answer(
    cx: &mut Context<'_>,
    flow: &mut Flow<'_>,
    attempt: &Attempt,
    connection: &mut Connection,
    sending: &mut bool,
    asked: Asked<'_>,
) -> Poll<Result<Head, Failed>> {
    let task = flow.downstream.task.clone();
    task.register(cx.waker());
    let signal = attempt.ticket().signal();
    if signal == Signal::Cut {
        let mid_upload = !flow.upload.is_whole();
        return Poll::Ready(Err(Failed::Final(Failure::DrainDeadline { mid_upload })));
    }
    if signal == Signal::Recall && !connection.is_written() {
        return Poll::Ready(Err(Failed::Recalled));
    }
    if task.is_expired() {
        let stalled = *sending && flow.downstream.uploading.get() && !flow.times.is_over();
        let failure = if stalled {
            Failure::UploadStalled
        } else {
            Failure::RequestTimeout
        };
        return Poll::Ready(Err(Failed::Final(failure)));
    }
    if *sending {
        match flow.upload.poll(cx, connection, flow.downstream) {
            Poll::Ready(Ok(())) => {
                *sending = false;
                flow.downstream.uploading.set(false);
                flow.limit_to_head();
            }
            // The endpoint takes no more, but what it said before may still be read.
            Poll::Ready(Err(UploadError::Refused)) => *sending = false,
            Poll::Ready(Err(UploadError::Client(failure))) => {
                return Poll::Ready(Err(Failed::Final(failure)));
            }
            Poll::Pending => {}
        }
        if connection.is_written() {
            attempt.ticket().write();
        }
    }
    connection
        .poll_head(cx, asked)
        .map_err(|error| read_failed(&error, connection))
}

/// What the end of a connection means, by what was sent and what has come (P10).
fn read_failed(error: &ReadError, connection: &Connection) -> Failed {
    match error {
        ReadError::Malformed(why) => Failed::Final(Failure::BadResponse(why)),
        _ if connection.is_answered() => {
            Failed::Final(Failure::BadResponse("the response's head is cut short"))
        }
        ReadError::Refused => Failed::RefusedStream,
        ReadError::Reset => Failed::Final(Failure::UpstreamClosed),
        ReadError::Closed if !connection.is_written() && connection.requests() > 1 => Failed::Stale,
        ReadError::Closed if !connection.is_written() => Failed::Unconnected,
        ReadError::Closed if connection.requests() > 1 => Failed::ReusedClosed,
        ReadError::Closed => Failed::Final(Failure::UpstreamClosed),
    }
}
