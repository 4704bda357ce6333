//! A body under way: what comes of the endpoint, and what interrupts it.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::Broken;
use super::ends::{Ends, Events};
use super::tail::{Live, Tail};
use crate::ending::{EventEnds, Grpc, Kind, Messages, web_trailers};
use crate::endpoint::Work;
use crate::pool::h1::{Length, Piece};
use crate::pool::{self, Connection, Signal};
use crate::proxy::account::Account;
use crate::proxy::admit::Attempt;
use crate::proxy::failure::{UNAVAILABLE, add_grpc_status};
use crate::proxy::times::{earlier, is_over};
use crate::proxy::upload::{Upload, UploadError};
use crate::proxy::{Downstream, Proxy};
use crate::snapshot::ServiceSettings;

/// What a passing body is told when it begins.
#[derive(Debug)]
pub(in crate::proxy) struct Passing {
    pub(in crate::proxy) proxy: Rc<Proxy>,
    pub(in crate::proxy) downstream: Rc<Downstream>,
    pub(in crate::proxy) settings: Arc<ServiceSettings>,
    pub(in crate::proxy) length: Length,
    /// Where it can end well.
    pub(in crate::proxy) kind: Kind,
    /// The client takes trailers behind a body with a length.
    pub(in crate::proxy) trailers: bool,
    /// The client cannot tell an early end of a body without a length from its end.
    pub(in crate::proxy) http10: bool,
    /// When it has to be over, if ever.
    pub(in crate::proxy) until: Option<Instant>,
}

/// A body, and what is held for it.
#[derive(Debug)]
pub(super) struct Passage {
    passing: Passing,
    /// Taken when the exchange is over.
    live: Option<Live>,
    account: Account,
    size: SizeHint,
    /// Comes behind what was passed on, when it was ended well.
    last: Option<Frame<Bytes>>,
}

/// How long a boundary is waited for once the deadline has come (P5).
const BOUNDARY_WAIT: Duration = Duration::from_secs(2);

const MID_BODY: (&str, &str) = (
    "drain_deadline_mid_body",
    "the endpoint's drain was over before the body was",
);
const EVENTS_ENDED: (&str, &str) = (
    "drain_sse_ended",
    "the event stream was ended for the endpoint's drain",
);
const UPSTREAM_CLOSED: (&str, &str) = (
    "upstream_closed_mid_body",
    "the endpoint closed the connection before the body's end",
);
const LATE: (&str, &str) = (
    "request_timeout_mid_body",
    "the route's time was over before the body was",
);
const IDLE: (&str, &str) = ("idle_timeout", "nothing came for too long");

impl Passage {
    /// None when there is nothing to be passed on.
    pub(super) fn begin(
        passing: Passing,
        connection: Box<Connection>,
        attempt: Attempt,
        upload: Upload,
        mut account: Account,
    ) -> Option<Box<Self>> {
        account.keep();
        let size = match passing.length {
            Length::None => SizeHint::with_exact(0),
            Length::Sized(length) => SizeHint::with_exact(length),
            Length::Chunked | Length::UntilClose => SizeHint::default(),
        };
        let ends = match passing.kind {
            Kind::Body => None,
            Kind::EventStream => {
                let endless = pool::Kind::Events;
                attempt.slot().is_endless(attempt.ticket(), endless);
                Some(Ends::Events(EventEnds::new()))
            }
            Kind::Grpc(kind) => Some(Ends::Messages(Messages::default(), kind)),
        };
        let events = ends.map(|ends| Events {
            ends,
            ending: false,
            latest: None,
        });
        let live = Live {
            connection,
            upload,
            attempt,
            events,
        };
        let mut passage = Box::new(Self {
            passing,
            live: Some(live),
            account,
            size,
            last: None,
        });
        if passage
            .live
            .as_ref()
            .is_some_and(|live| live.connection.is_done())
        {
            passage.finish();
            return None;
        }
        passage.limit_idle();
        Some(passage)
    }

    /// How much of it there is, as far as that is known.
    pub(super) fn size(&self) -> SizeHint {
        self.size
    }

    /// Whether there is nothing more to be asked for.
    pub(super) fn is_over(&self) -> bool {
        self.live.is_none() && self.last.is_none()
    }

    /// Whether it is to end although it is not asked for a frame.
    pub(super) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.passing.downstream.task.register(cx.waker());
        match self.interrupted() {
            // There is a last frame to be asked for.
            Some(Ok(())) if self.last.is_some() => Poll::Pending,
            stop => stop.map_or(Poll::Pending, Poll::Ready),
        }
    }

    /// The next frame; none at its end.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.poll_live(cx) {
            Poll::Ready(None) => Poll::Ready(self.last.take().map(Ok)),
            frame => frame,
        }
    }

    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let task = self.passing.downstream.task.clone();
        task.register(cx.waker());
        if let Some(stop) = self.interrupted() {
            return Poll::Ready(stop.err().map(Err));
        }
        let Some(live) = &mut self.live else {
            return Poll::Ready(None);
        };
        if !live.upload.is_over()
            && let Poll::Ready(Err(UploadError::Client(failure))) =
                live.upload
                    .poll(cx, &mut live.connection, &self.passing.downstream)
        {
            let why = (failure.code(), failure.reason());
            return Poll::Ready(Some(Err(self.breaks(why))));
        }
        match live.connection.poll_piece(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(Piece::Data(data)))) => {
                Poll::Ready(Some(Ok(Frame::data(self.take(data)))))
            }
            Poll::Ready(Some(Ok(Piece::Trailers(trailers)))) => {
                self.finish();
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(self.breaks(UPSTREAM_CLOSED)))),
        }
    }

    /// Whether the drain or a time limit ends it now: `Ok` well, `Err` not.
    fn interrupted(&mut self) -> Option<Result<(), Broken>> {
        let live = self.live.as_ref()?;
        if is_over(self.passing.until) {
            return Some(Err(self.breaks(LATE)));
        }
        let signal = live.attempt.ticket().signal();
        let expired = self.passing.downstream.task.is_expired();
        if signal < Signal::End && !expired && live.events.is_none() {
            return None;
        }
        if live.events.is_some() {
            return self.interrupted_events(signal, expired);
        }
        if signal == Signal::Cut {
            live.attempt.endpoint().count_cut(Work::Request);
            return Some(Err(self.breaks(MID_BODY)));
        }
        expired.then(|| Err(self.breaks(IDLE)))
    }

    /// An event stream ends at a boundary: from its moment on at the next one, and at the deadline not without one either,
    /// unless none comes in time.
    fn interrupted_events(&mut self, signal: Signal, expired: bool) -> Option<Result<(), Broken>> {
        let now = Instant::now();
        let live = self.live.as_mut()?;
        let moment = live.attempt.ticket().moment();
        let events = live.events.as_mut()?;
        let task = &self.passing.downstream.task;
        if signal == Signal::Cut && events.latest.is_none() {
            events.ending = true;
            events.latest = Some(now + BOUNDARY_WAIT);
            task.limit(earlier(events.latest, self.passing.until));
        } else if !events.ending && moment.is_some_and(|moment| moment <= now) {
            events.ending = true;
            // From here on the next boundary ends it, or the deadline, or silence.
            self.limit_idle();
        } else if !events.ending && moment.is_some() {
            task.limit(earlier(moment, self.passing.until));
        } else if expired && events.latest.is_none() {
            return Some(Err(self.breaks(IDLE)));
        }
        let live = self.live.as_mut()?;
        let events = live.events.as_mut()?;
        if events.ending && events.ends.at_boundary() {
            self.end_events();
            return Some(Ok(()));
        }
        if events.latest.is_some_and(|latest| latest <= now) {
            live.attempt.endpoint().count_cut(Work::Stream);
            return Some(Err(self.breaks(MID_BODY)));
        }
        None
    }

    /// Takes a piece on its way to the client. The last piece ends the exchange: a body with a length is not polled again.
    fn take(&mut self, mut data: Bytes) -> Bytes {
        self.limit_idle();
        let mut ends = false;
        if let Some(live) = &mut self.live {
            if let Some(events) = &mut live.events {
                let first = events.ends.feed(&data);
                if let (true, Some(first)) = (events.ending, first) {
                    data.truncate(first);
                    ends = true;
                }
            }
            self.account.bytes_out += data.len() as u64;
            let over = if self.passing.trailers {
                live.connection.is_done()
            } else {
                live.connection.is_filled()
            };
            if over {
                self.finish();
            } else if ends {
                self.end_events();
            }
        }
        data
    }

    /// The time until the next byte; once a stream has to end, the time until it has.
    fn limit_idle(&self) {
        let idle = self.passing.settings.timeouts.idle;
        let latest = self
            .live
            .as_ref()
            .and_then(|live| live.events.as_ref())
            .and_then(|events| events.latest);
        let limit =
            latest.or_else(|| (!idle.is_zero()).then(|| self.passing.proxy.clock().now() + idle));
        let limit = earlier(limit, self.passing.until);
        self.passing.downstream.task.limit(limit);
    }

    /// The exchange is whole.
    fn finish(&mut self) {
        let Some(live) = self.live.take() else { return };
        self.account.bytes_in = live.upload.received();
        self.account.ended(None);
        if live.upload.is_over() {
            live.done(self.passing.proxy.clock().now());
        } else {
            let tail = Tail::new(&self.passing, live);
            self.passing.proxy.tails().spawn_local(tail.run());
        }
    }

    /// The stream ends between two events, and is whole for the client; or between two messages, and a status follows.
    fn end_events(&mut self) {
        let Some(live) = self.live.take() else { return };
        self.account.bytes_in = live.upload.received();
        let Some(Ends::Messages(_, kind)) = live.events.map(|events| events.ends) else {
            self.account.ended(Some(EVENTS_ENDED));
            return;
        };
        live.attempt.endpoint().count_cut(Work::Stream);
        self.last = Some(match kind {
            Grpc::Plain => {
                let mut trailers = HeaderMap::with_capacity(2);
                add_grpc_status(&mut trailers, UNAVAILABLE, MID_BODY.1);
                Frame::trailers(trailers)
            }
            Grpc::Web | Grpc::WebText => Frame::data(web_trailers(UNAVAILABLE, MID_BODY.1).into()),
        });
        self.account.ended(Some(MID_BODY));
    }

    /// The exchange has failed, and the client must see it.
    fn breaks(&mut self, why: (&'static str, &'static str)) -> Broken {
        if let Some(live) = self.live.take() {
            self.account.bytes_in = live.upload.received();
            self.account.ended(Some(why));
        }
        if self.passing.http10 && self.size.exact().is_none() {
            self.passing.downstream.reset.set(true);
        }
        Broken(why.1)
    }
}
