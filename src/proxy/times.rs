//! The time that a request's route gives it, and what is left of that.
//!
//! A request has one time limit at each moment, for what it waits for just then. The route's own times bound all of these:
//! whatever it waits for, it does not wait beyond them.

use std::time::Duration;

use tokio::time::Instant;

use super::Flow;
use crate::route::Timeouts;

/// A route's times, for one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// The route has its own, in place of the service's.
    is_own: bool,
    /// For the whole of an attempt.
    attempt: Duration,
    /// When all of it is over, if ever.
    request_until: Option<Instant>,
    /// When the attempt under way is over, if ever.
    attempt_until: Option<Instant>,
}

impl Times {
    /// Of a request whose head has come at `started`.
    pub(super) fn new(timeouts: Timeouts, started: Instant) -> Self {
        let request = timeouts.request.filter(|time| !time.is_zero());
        Self {
            is_own: !timeouts.is_none(),
            attempt: timeouts.attempt.unwrap_or_default(),
            request_until: request.map(|time| started + time),
            attempt_until: None,
        }
    }

    /// An attempt begins, or another one is looked for.
    fn attempt(&mut self, is_begun: bool) {
        let is_bound = is_begun && !self.attempt.is_zero();
        self.attempt_until = is_bound.then(|| Instant::now() + self.attempt);
    }

    /// When it has to be over, if ever.
    pub(super) fn until(&self) -> Option<Instant> {
        earlier(self.request_until, self.attempt_until)
    }

    /// Whether it has to be over now.
    pub(super) fn is_over(&self) -> bool {
        is_over(self.until())
    }
}

/// Whether a moment has come.
pub(super) fn is_over(until: Option<Instant>) -> bool {
    until.is_some_and(|until| until <= Instant::now())
}

/// The earlier of two moments that there may be.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Flow<'_> {
    /// From here on the endpoint has `request_timeout` until the head of its answer, unless the route says otherwise.
    pub(super) fn limit_to_head(&self) {
        let timeout = self.settings.timeouts.request;
        let is_bound = !timeout.is_zero() && !self.times.is_own;
        self.limit(is_bound.then(|| self.limit_from() + timeout));
    }

    /// The client has its own time for the next bytes of its body.
    pub(super) fn limit_to_upload(&self) {
        self.limit(Some(self.upload.limit(self.downstream)));
    }

    /// A connection has to be there in time.
    pub(super) fn limit_to_connect(&self) {
        let timeout = self.settings.timeouts.connect;
        self.limit((!timeout.is_zero()).then(|| Instant::now() + timeout));
    }

    /// An attempt begins, or another one is looked for.
    pub(super) fn time_attempt(&mut self, is_begun: bool) {
        self.times.attempt(is_begun);
        self.upload.end_by(self.times.until());
    }

    fn limit(&self, at: Option<Instant>) {
        self.downstream.task.limit(earlier(at, self.times.until()));
    }

    /// The request's time runs from its head, or from the end of its upload.
    fn limit_from(&self) -> Instant {
        if self.upload.received() == 0 {
            self.started
        } else {
            Instant::now()
        }
    }
}
