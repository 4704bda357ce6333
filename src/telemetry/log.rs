//! The log of the process, on stderr: text for people, JSON for machines.

use std::io::{self, Write};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::sink::{Drainpipe, Sink};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The end of the log, for whoever waits for the last line.
#[derive(Debug)]
pub struct LogEnd {
    pipe: Option<Drainpipe>,
}

/// Sends the log to stderr, by a thread of its own: a full pipe never stops traffic.
///
/// # Errors
/// When `filter` is no filter (its text says what is wrong), or the thread cannot be started.
pub fn start(format: Format, filter: &str) -> Result<LogEnd, String> {
    let filter = EnvFilter::try_new(filter).map_err(|wrong| {
        format!("log filter {filter:?}: {wrong}; as `info` or `tidegate=debug`")
    })?;
    let (sink, pipe) = Sink::start(
        "tidegate-log",
        io::stderr(),
        Box::new(|line: Vec<u8>, buffer| buffer.extend(line)),
    )
    .map_err(|error| format!("the log's thread cannot be started: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(Lines { sink });
    let started = match format {
        Format::Text => registry
            .with(layer.with_ansi(io::IsTerminal::is_terminal(&io::stderr())))
            .try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| format!("the log cannot be started: {error}"))?;
    Ok(LogEnd { pipe: Some(pipe) })
}

impl LogEnd {
    /// Gives the last lines the time to be written. The subscriber lives as long as the process, so the queue never
    /// closes; one empty pass after the other tells that it is empty.
    pub fn finish(mut self, limit: Duration) {
        if let Some(pipe) = self.pipe.take() {
            pipe.flush(limit);
        }
    }
}

/// Makes a writer for each event, which hands the finished line over.
#[derive(Debug, Clone)]
struct Lines {
    sink: Sink<Vec<u8>>,
}

/// One event's line.
#[derive(Debug)]
struct LineWriter {
    sink: Sink<Vec<u8>>,
    line: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter {
            sink: self.sink.clone(),
            line: Vec::new(),
        }
    }
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.sink.put(std::mem::take(&mut self.line));
        }
    }
}
