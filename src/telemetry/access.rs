//! The access log: one event for each request, on stdout (P13).
//!
//! A worker turns its records into lines where they arise, and hands the lines over by the page, to a thread that writes
//! them. A record handed over by itself, to be turned into a line there, would cost more than the line: an allocation that
//! is freed by another core, and counts of references that both cores write to.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use tokio::sync::Notify;

use super::json::{self, Second};
use super::log::Format;
use super::sink::{Drainpipe, Losses, Sink, at_once};
use crate::endpoint::Endpoint;

/// What is known of a request when it has ended.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When it ended.
    pub time: SystemTime,
    /// Who sent it.
    pub client: Client,
    /// Its method; none when no head could be read.
    pub method: Option<&'a Method>,
    /// Its host.
    pub authority: Option<&'a str>,
    /// Its path and query.
    pub path: Option<&'a str>,
    /// The status answered; none when the client was gone before.
    pub status: Option<StatusCode>,
    /// Bytes of its body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// From its head to the end of the response.
    pub duration: Duration,
    /// The listener it came by.
    pub listener: &'a str,
    /// The service it was routed to.
    pub service: Option<&'a str>,
    /// The last attempt.
    pub last: Option<&'a Try>,
    /// The attempts before it.
    pub tries: &'a [Try],
    /// Why tidegate answered itself, or ended it.
    pub reason: Option<&'static str>,
    /// The termination code of drain.md, or of the failure.
    pub code: Option<&'static str>,
    /// Of its `traceparent`.
    pub trace_id: Option<&'a str>,
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

/// Where the lines of all workers go.
#[derive(Debug, Clone)]
pub struct AccessLog {
    out: Option<(Sink, Format)>,
}

/// The end of the access log, for whoever waits for the last line.
#[derive(Debug)]
pub struct AccessLogEnd {
    pipe: Drainpipe,
}

/// Where a worker puts its records. What it still has is handed over when it is dropped.
#[derive(Debug)]
pub struct WorkerLog {
    out: Option<(Sink, Format)>,
    page: RefCell<Page>,
    /// A page has been begun.
    begun: Notify,
}

/// Lines on their way to the thread that writes them.
#[derive(Debug, Default)]
struct Page {
    text: Vec<u8>,
    lines: u64,
    second: Second,
}

/// A page is full then.
const PAGE: usize = 64 * 1024;

/// A page that does not become full is handed over after this time.
const PAGE_TIME: Duration = Duration::from_millis(5);

impl AccessLog {
    /// A log that writes to `out`.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(
        format: Format,
        out: impl Write + AsFd + Send + 'static,
    ) -> std::io::Result<(Self, AccessLogEnd)> {
        let at_once = at_once(&out);
        let (sink, pipe) = Sink::start("tidegate-access", out, at_once)?;
        let out = Some((sink, format));
        Ok((Self { out }, AccessLogEnd { pipe }))
    }

    /// A log that nobody reads.
    #[must_use]
    pub fn none() -> Self {
        Self { out: None }
    }

    /// A worker's part.
    #[must_use]
    pub fn worker(self) -> Rc<WorkerLog> {
        Rc::new(WorkerLog {
            out: self.out,
            page: RefCell::default(),
            begun: Notify::new(),
        })
    }

    /// Lines lost because the log could not be written fast enough.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let out = self.out.as_ref();
        out.map(|(sink, _)| sink.losses()).unwrap_or_default()
    }
}

impl WorkerLog {
    /// Writes a record down.
    pub fn put(&self, record: &Record<'_>) {
        let Some((_, format)) = &self.out else { return };
        let full = {
            let page = &mut *self.page.borrow_mut();
            match format {
                Format::Json => json::write(record, &mut page.second, &mut page.text),
                Format::Text => text(record, &mut page.text),
            }
            page.lines += 1;
            if page.lines == 1 {
                self.begun.notify_one();
            }
            page.text.len() >= PAGE
        };
        if full {
            self.hand_over();
        }
    }

    /// Hands pages over that do not become full, for as long as it is polled.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(PAGE_TIME).await;
            self.hand_over();
        }
    }

    fn hand_over(&self) {
        let page = &mut *self.page.borrow_mut();
        if let Some((sink, _)) = &self.out
            && page.lines > 0
        {
            // A copy is as long as its text, and the worker goes on with the same memory.
            sink.put(page.text.as_slice().into(), page.lines);
            page.text.clear();
            page.lines = 0;
        }
    }
}

impl Drop for WorkerLog {
    fn drop(&mut self) {
        self.hand_over();
    }
}

impl AccessLogEnd {
    /// Waits for the last line, for so long at the most; every [`AccessLog`] and [`WorkerLog`] has to be dropped before.
    /// Returns how many lines are lost, or may be.
    #[must_use]
    pub fn finish(self, limit: Duration) -> u64 {
        self.pipe.finish(limit)
    }
}

/// A line for people.
fn text(record: &Record<'_>, buffer: &mut Vec<u8>) {
    let method = record.method.map_or("-", Method::as_str);
    let authority = record.authority.unwrap_or("-");
    let path = printable(record.path.unwrap_or("-"));
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
    if let (Some(service), Some(last)) = (record.service, record.last) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> Record<'_> {
        Record {
            time: SystemTime::UNIX_EPOCH,
            client: Client {
                ip: [127, 0, 0, 1].into(),
                port: None,
            },
            method: Some(&Method::GET),
            authority: None,
            path: Some(path),
            status: Some(StatusCode::OK),
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            listener: "http",
            service: None,
            last: None,
            tries: &[],
            reason: None,
            code: None,
            trace_id: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hands_a_page_over_when_it_is_full_or_late_or_the_last() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (log, end) = AccessLog::start(Format::Json, file.reopen().unwrap()).unwrap();
        let worker = log.worker();
        let waiting = || worker.page.borrow().lines;
        let long = "/".repeat(PAGE / 4);
        for _ in 0..3 {
            worker.put(&record(&long));
        }
        assert_eq!(waiting(), 3);
        worker.put(&record(&long));
        assert_eq!(waiting(), 0, "full");
        worker.put(&record("/late"));
        let run = tokio::time::timeout(PAGE_TIME * 2, worker.clone().run());
        assert!(run.await.is_err());
        assert_eq!(waiting(), 0, "late");
        worker.put(&record("/last"));
        drop(worker);
        assert_eq!(end.finish(Duration::from_secs(10)), 0);
        let text = std::fs::read_to_string(file.path()).unwrap();
        let paths = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["path"].as_str().unwrap().to_owned()
        });
        let expected = [&*long, &long, &long, &long, "/late", "/last"];
        assert_eq!(paths.collect::<Vec<_>>(), expected);
    }
}
