//! How a tunnel ends by a drain (P5): when, and with which words.

use std::time::Duration;

use tokio::time::Instant;

use super::{CLOSED, CUT, IDLE, Over, Tunnel};
use crate::ending::close_frame;
use crate::endpoint::Work;
use crate::pool::Signal;
use crate::proxy::admit::Attempt;

/// How far its end by a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Not begun.
    No,
    /// It ends at the next boundary: of a message until `patience`, of a frame from then on, and none later than `latest`.
    Boundary {
        patience: Instant,
        latest: Option<Instant>,
    },
    /// The client has been told, and may answer until then.
    Told { until: Instant },
    /// The same where there are no frames.
    HalfClosed { until: Instant },
}

impl Tunnel {
    /// What the drain and the time say.
    pub(super) fn look(&mut self, now: Instant) -> Option<Over> {
        let ticket = self.attempt.as_ref().map(Attempt::ticket);
        let cut = ticket.is_some_and(|ticket| ticket.signal() == Signal::Cut);
        let moment = ticket.and_then(|ticket| ticket.moment());
        let due = cut || moment.is_some_and(|moment| moment <= now);
        match self.ending {
            Ending::No if due => self.begin_ending(now, cut),
            Ending::Boundary { patience, latest } if cut && latest.is_none() => {
                self.ending = Ending::Boundary {
                    patience,
                    latest: Some(now + BOUNDARY_WAIT),
                };
            }
            Ending::Boundary {
                latest: Some(latest),
                ..
            } if latest <= now && !self.is_at_boundary(now) => {
                self.count_cut();
                return Some(CUT);
            }
            Ending::Told { until } if until <= now && self.down.held.is_empty() => {
                return Some(CLOSED);
            }
            Ending::Told { until } if until <= now => {
                self.count_cut();
                return Some(CUT);
            }
            Ending::HalfClosed { until } if until <= now => return Some(CUT),
            _ => {}
        }
        if self.is_at_boundary(now) {
            self.tell(now);
        }
        if cut && matches!(self.ending, Ending::Told { .. }) {
            // The endpoint's part is over; what is left is the client's (P5).
            self.attempt = None;
        }
        self.idle_at
            .is_some_and(|idle_at| idle_at <= now)
            .then_some(IDLE)
    }

    fn begin_ending(&mut self, now: Instant, cut: bool) {
        self.ending = if self.origin.is_websocket {
            Ending::Boundary {
                patience: now + MESSAGE_WAIT,
                latest: cut.then(|| now + BOUNDARY_WAIT),
            }
        } else {
            self.count_cut();
            self.down.ended = true;
            Ending::HalfClosed {
                until: now + HALF_CLOSE_WAIT,
            }
        };
    }

    pub(super) fn is_at_boundary(&self, now: Instant) -> bool {
        let Ending::Boundary { patience, .. } = self.ending else {
            return false;
        };
        let frames = &self.down.frames;
        frames.is_between_messages()
            || frames.is_between_frames() && patience <= now
            || self.down.ended
    }

    /// Tells the client, once what came before has been handed over. An endpoint that has said Close itself has told it.
    pub(super) fn tell(&mut self, now: Instant) {
        if !self.down.frames.is_closed() && !self.down.ended {
            let code = self.origin.settings.drain.websocket_close.code();
            let close = close_frame(code, CLOSE_REASON);
            self.down.held.extend_from_slice(&close);
        }
        self.ending = Ending::Told {
            until: now + ECHO_WAIT,
        };
        if let Some(attempt) = &self.attempt {
            attempt.ticket().end_well();
        }
    }

    fn count_cut(&self) {
        if let Some(attempt) = &self.attempt {
            attempt.endpoint().count_cut(Work::Tunnel);
        }
    }

    /// When time alone may change something.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let moment = || self.attempt.as_ref().and_then(|it| it.ticket().moment());
        let own = match self.ending {
            Ending::No => moment(),
            Ending::Boundary { patience, latest } => {
                let patience = (patience > Instant::now()).then_some(patience);
                patience.min(latest).or(patience).or(latest)
            }
            Ending::Told { until } | Ending::HalfClosed { until } => Some(until),
        };
        match (own, self.idle_at) {
            (Some(own), Some(idle)) => Some(own.min(idle)),
            (own, idle) => own.or(idle),
        }
    }
}

/// A boundary between messages is waited for so long, before one between frames will do.
const MESSAGE_WAIT: Duration = Duration::from_secs(1);

/// How long any boundary is waited for once the deadline has come (P5).
const BOUNDARY_WAIT: Duration = Duration::from_secs(2);

/// How long the client may take to answer a Close (P5).
const ECHO_WAIT: Duration = Duration::from_secs(5);

/// How long a half-closed tunnel stays so, before it is closed.
const HALF_CLOSE_WAIT: Duration = Duration::from_millis(200);

/// What a client is told with the code.
const CLOSE_REASON: &str = "the endpoint is leaving, please reconnect";
