//! The access log: one event for each request, on stdout, formatted and written off the workers (P13).

use std::fmt::{self, Write as _};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use super::json;
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
            Format::Json => Box::new(|record, buffer| json::write(&record, buffer)),
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

/// A line for people.
fn text(record: &Record, buffer: &mut Vec<u8>) {
    let method = record.method.as_ref().map_or("-", Method::as_str);
    let authority = record.authority.as_deref().unwrap_or("-");
    let path = printable(record.path.as_deref().unwrap_or("-"));
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write!(
        out,
        "{} {} {method} {authority}{path} ",
        humantime::format_rfc3339_micros(record.time),
        record.client,
    );
    let _ = match record.status {
        Some(status) => write!(out, "{}", status.as_u16()),
        None => write!(out, "-"),
    };
    let _ = write!(out, " {:.1}ms", record.duration.as_secs_f64() * 1e3);
    if let (Some(service), Some(last)) = (&record.service, &record.last) {
        let _ = write!(out, " {service}/{}", last.endpoint.about().key.as_str());
    }
    let attempts = record.tries.len() + usize::from(record.last.is_some());
    if attempts > 1 {
        let _ = write!(out, " attempts={attempts}");
    }
    for (name, value) in [("reason", record.reason), ("code", record.code)] {
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
