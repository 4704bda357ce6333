//! The access log: one event for each request, on stdout, formatted and written off the workers (P13).

use std::fmt::{self, Write as _};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use serde::Serialize;

use super::log::Format;
use super::sink::{Drainpipe, Losses, Render, Sink};
use crate::endpoint::Endpoint;

/// What is known of a request when it has ended.
#[derive(Debug)]
pub struct Record {
    /// When it ended.
    pub time: SystemTime,
    /// Who sent it.
    pub client: Client,
    /// Its method; none when no head could be read.
    pub method: Option<Method>,
    /// Its host.
    pub authority: Option<Box<str>>,
    /// Its path and query.
    pub path: Option<Box<str>>,
    /// The status answered; none when the client was gone before.
    pub status: Option<StatusCode>,
    /// Bytes of its body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// From its head to the end of the response.
    pub duration: Duration,
    /// The listener it came by.
    pub listener: Arc<str>,
    /// The service it was routed to.
    pub service: Option<Arc<str>>,
    /// The last attempt.
    pub last: Option<Try>,
    /// The attempts before it.
    pub tries: Vec<Try>,
    /// Why tidegate answered itself, or ended it.
    pub reason: Option<&'static str>,
    /// The termination code of drain.md, or of the failure.
    pub code: Option<&'static str>,
    /// Of its `traceparent`.
    pub trace_id: Option<Box<str>>,
}

/// Who sent a request: the peer, or whom a trusted proxy in front names, without a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The address.
    pub ip: IpAddr,
    /// The port, where it is known.
    pub port: Option<u16>,
}

impl fmt::Display for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(out),
            None => self.ip.fmt(out),
        }
    }
}

/// An attempt at one endpoint.
#[derive(Debug, Clone)]
pub struct Try {
    /// Where.
    pub endpoint: Arc<Endpoint>,
    /// The endpoint's state when the attempt was admitted.
    pub endpoint_state: &'static str,
    /// The upstream connection; none when none came about.
    pub connection: Option<u64>,
    /// Whether it had served before.
    pub reused: bool,
    /// Its how-manieth request this was.
    pub connection_request: Option<u64>,
    /// Why the attempt failed.
    pub reason: Option<&'static str>,
}

/// Where workers put their records.
#[derive(Debug, Clone)]
pub struct AccessLog {
    sink: Option<Sink<Record>>,
}

/// The end of the access log, for whoever waits for the last line.
#[derive(Debug)]
pub struct AccessLogEnd {
    pipe: Drainpipe,
}

impl AccessLog {
    /// A log that writes to `out`.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(
        format: Format,
        out: impl Write + Send + 'static,
    ) -> std::io::Result<(Self, AccessLogEnd)> {
        let render: Render<Record> = match format {
            Format::Json => Box::new(|record, buffer| json(&record, buffer)),
            Format::Text => Box::new(|record, buffer| text(&record, buffer)),
        };
        let (sink, pipe) = Sink::start("tidegate-access", out, render)?;
        Ok((Self { sink: Some(sink) }, AccessLogEnd { pipe }))
    }

    /// A log that nobody reads.
    #[must_use]
    pub fn none() -> Self {
        Self { sink: None }
    }

    /// Hands a record over.
    pub fn put(&self, record: Record) {
        if let Some(sink) = &self.sink {
            sink.put(record);
        }
    }

    /// Lines lost because the log could not be written fast enough.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.sink.as_ref().map(Sink::losses).unwrap_or_default()
    }
}

impl AccessLogEnd {
    /// Waits for the last line, for so long at the most; every [`AccessLog`] has to be dropped before. Returns how many
    /// lines are lost, or may be.
    #[must_use]
    pub fn finish(self, limit: Duration) -> u64 {
        self.pipe.finish(limit)
    }
}

/// One line, flat: every field is always there, null when empty.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    target: &'static str,
    client: String,
    method: Option<&'a str>,
    authority: Option<&'a str>,
    path: Option<&'a str>,
    status: Option<u16>,
    bytes_in: u64,
    bytes_out: u64,
    duration_ms: f64,
    listener: &'a str,
    service: Option<&'a str>,
    endpoint: Option<&'a str>,
    address: Option<SocketAddr>,
    pod: Option<&'a str>,
    endpoint_state: Option<&'static str>,
    connection: Option<u64>,
    reused: Option<bool>,
    connection_request: Option<u64>,
    attempts: usize,
    tries: Vec<TryLine<'a>>,
    reason: Option<&'static str>,
    code: Option<&'static str>,
    trace_id: Option<&'a str>,
}

#[derive(Serialize)]
struct TryLine<'a> {
    endpoint: &'a str,
    address: SocketAddr,
    pod: Option<&'a str>,
    endpoint_state: &'static str,
    connection: Option<u64>,
    reused: bool,
    connection_request: Option<u64>,
    reason: Option<&'static str>,
}

impl<'a> Line<'a> {
    fn of(record: &'a Record) -> Self {
        let last = record.last.as_ref();
        let about = last.map(|last| last.endpoint.about());
        Self {
            time: humantime::format_rfc3339_micros(record.time).to_string(),
            target: "tidegate::access",
            client: record.client.to_string(),
            method: record.method.as_ref().map(Method::as_str),
            authority: record.authority.as_deref(),
            path: record.path.as_deref(),
            status: record.status.map(|status| status.as_u16()),
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            duration_ms: (record.duration.as_secs_f64() * 1e6).round() / 1e3,
            listener: &record.listener,
            service: record.service.as_deref(),
            endpoint: about.map(|about| about.key.as_str()),
            address: about.map(|about| about.address),
            pod: about.and_then(|about| about.pod.as_deref()),
            endpoint_state: last.map(|last| last.endpoint_state),
            connection: last.and_then(|last| last.connection),
            reused: last.and_then(|last| last.connection.map(|_| last.reused)),
            connection_request: last.and_then(|last| last.connection_request),
            attempts: record.tries.len() + usize::from(last.is_some()),
            tries: record.tries.iter().map(TryLine::of).collect(),
            reason: record.reason,
            code: record.code,
            trace_id: record.trace_id.as_deref(),
        }
    }
}

impl<'a> TryLine<'a> {
    fn of(attempt: &'a Try) -> Self {
        let about = attempt.endpoint.about();
        Self {
            endpoint: about.key.as_str(),
            address: about.address,
            pod: about.pod.as_deref(),
            endpoint_state: attempt.endpoint_state,
            connection: attempt.connection,
            reused: attempt.reused,
            connection_request: attempt.connection_request,
            reason: attempt.reason,
        }
    }
}

fn json(record: &Record, buffer: &mut Vec<u8>) {
    let before = buffer.len();
    // Writing into memory cannot fail, and every field is plain data; a half line would be worse than none.
    if serde_json::to_writer(&mut *buffer, &Line::of(record)).is_err() {
        buffer.truncate(before);
        return;
    }
    buffer.push(b'\n');
}

fn text(record: &Record, buffer: &mut Vec<u8>) {
    let line = Line::of(record);
    let mut out = String::new();
    let status = line
        .status
        .map_or_else(|| "-".to_owned(), |status| status.to_string());
    let (method, authority, path) = (
        line.method.unwrap_or("-"),
        line.authority.unwrap_or("-"),
        line.path.unwrap_or("-"),
    );
    // Writing into a string cannot fail.
    let _ = write!(
        out,
        "{} {} {method} {authority}{} {status} {:.1}ms",
        line.time,
        line.client,
        printable(path),
        line.duration_ms
    );
    if let (Some(service), Some(endpoint)) = (line.service, line.endpoint) {
        let _ = write!(out, " {service}/{endpoint}");
    }
    if line.attempts > 1 {
        let _ = write!(out, " attempts={}", line.attempts);
    }
    for (name, value) in [("reason", line.reason), ("code", line.code)] {
        if let Some(value) = value {
            let _ = write!(out, " {name}={value}");
        }
    }
    out.push('\n');
    buffer.extend_from_slice(out.as_bytes());
}

/// A path as it may be shown in a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}
