//! A request's account: what is counted and logged when it ends, however it ends (P13).

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use http::request::Parts;
use tokio::time::Instant;

use super::admit::Attempt;
use super::inspect::Target;
use super::line::Line;
use super::{Downstream, Failure, Proxy, headers};
use crate::pool::Connection;
use crate::snapshot::Service;
use crate::telemetry::{Client, Record, Try};

/// What is known of a request so far. Dropping it without an end means that the client has gone.
#[derive(Debug)]
pub(super) struct Account {
    proxy: Rc<Proxy>,
    downstream: Rc<Downstream>,
    client: Client,
    started: Instant,
    status: Option<StatusCode>,
    service: Option<Arc<str>>,
    last: Option<Try>,
    tries: Vec<Try>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    reason: Option<&'static str>,
    code: Option<&'static str>,
    line: Line,
    ended: bool,
}

impl Account {
    pub(super) fn begin(
        proxy: &Rc<Proxy>,
        downstream: &Rc<Downstream>,
        parts: &Parts,
        started: Instant,
    ) -> Self {
        Self {
            proxy: proxy.clone(),
            downstream: downstream.clone(),
            client: headers::client(&parts.headers, downstream),
            started,
            status: None,
            service: None,
            last: None,
            tries: Vec::new(),
            bytes_in: 0,
            bytes_out: 0,
            reason: None,
            code: None,
            line: Line::of(parts),
            ended: false,
        }
    }

    /// Who sent it.
    pub(super) fn client(&self) -> Client {
        self.client
    }

    pub(super) fn routed_by(&mut self, target: &Target) {
        self.line.routed_by(target);
    }

    /// The request may last: what its head came in is let go.
    pub(super) fn keep(&mut self) {
        self.line.keep();
    }

    pub(super) fn service(&mut self, service: &Service) {
        self.service = Some(service.name().shared());
    }

    /// An attempt begins, with the connection it got.
    pub(super) fn attempt(&mut self, attempt: &Attempt, connection: Option<&Connection>) {
        self.last = Some(Try {
            endpoint: attempt.endpoint().clone(),
            endpoint_state: attempt.admission().state(),
            connection: connection.map(Connection::id),
            reused: connection.is_some_and(|connection| connection.requests() > 1),
            connection_request: connection.map(Connection::requests),
            reason: None,
        });
    }

    /// The attempt was none: it was called back before a byte was written.
    pub(super) fn forget_attempt(&mut self) {
        self.last = None;
    }

    /// The attempt has failed, and another follows.
    pub(super) fn tried(&mut self, reason: &'static str) {
        if let Some(mut last) = self.last.take() {
            last.reason = Some(reason);
            self.endpoint_outcome(&last, "retried");
            self.tries.push(last);
        }
    }

    pub(super) fn attempts(&self) -> usize {
        self.tries.len() + usize::from(self.last.is_some())
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// tidegate answered itself.
    pub(super) fn failed(mut self, failure: Failure, status: StatusCode, bytes_out: u64) {
        self.status = Some(status);
        self.bytes_out = bytes_out;
        self.reason = Some(failure.reason());
        self.code = Some(failure.code());
        self.end();
    }

    /// The response has ended, whole or for this reason.
    pub(super) fn ended(&mut self, why: Option<(&'static str, &'static str)>) {
        if let Some((code, reason)) = why {
            self.code = Some(code);
            self.reason = Some(reason);
        }
        self.end();
    }

    fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        let took = self
            .proxy
            .clock
            .now()
            .saturating_duration_since(self.started);
        let code = self.status.map_or(CLIENT_CLOSED, |status| status.as_u16());
        let listener = &self.downstream.entrance.listener;
        let service = self.service.as_deref().unwrap_or_default();
        self.proxy.metrics.request(listener, service, code, took);
        if let Some(last) = &self.last {
            self.endpoint_outcome(last, if self.code.is_some() { "failed" } else { "ok" });
        }
        let success = self.code.is_none()
            && self.tries.is_empty()
            && self.status.is_some_and(|status| status.is_success());
        if success && self.proxy.rng.borrow_mut().f64() >= self.proxy.sample.get() {
            return;
        }
        let (method, told) = self.line.tell();
        self.proxy.log.put(&Record {
            time: SystemTime::now(),
            client: self.client,
            method: Some(method),
            authority: told.authority,
            path: Some(told.path),
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration: took,
            listener,
            service: self.service.as_deref(),
            last: self.last.as_ref(),
            tries: &self.tries,
            reason: self.reason,
            code: self.code,
            trace_id: told.trace_id,
        });
    }

    fn endpoint_outcome(&self, attempt: &Try, outcome: &str) {
        if self.proxy.settings.per_endpoint_metrics {
            let about = attempt.endpoint.about();
            self.proxy.metrics.shared().endpoint_request(
                about.service.as_str(),
                about.key.as_str(),
                outcome,
            );
        }
    }
}

/// nginx's number for a client that went away: no standard status says so.
const CLIENT_CLOSED: u16 = 499;

impl Drop for Account {
    fn drop(&mut self) {
        self.ended(Some(("client_closed", "the client went away")));
    }
}
