//! The log of the process, on stderr: text for people, JSON for machines.

use std::io::{self, Write};
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::sink::{Drainpipe, Sink, at_once};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// What is logged when nobody says otherwise.
pub const LEVEL: &str = "info";

/// What is logged, to be changed while it runs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Level {
    filter: reload::Handle<EnvFilter, Registry>,
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
pub fn start(format: Format, filter: &str) -> Result<(LogEnd, Level), String> {
    let filter = filter_of(filter).map_err(|wrong| {
        format!("log filter {filter:?}: {wrong}; as `info` or `tidegate=debug`")
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let (sink, pipe) = Sink::start("tidegate-log", io::stderr(), at_once(&io::stderr()))
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
    Ok((LogEnd { pipe: Some(pipe) }, Level { filter: handle }))
}

/// Judges a level or filter of a config. A word that is no level would be the name of a module to `tracing`, and everything
/// else silent; here it is taken for the slip that it is.
///
/// # Errors
/// What is wrong with it.
pub fn judge(filter: &str) -> Result<(), String> {
    let parts = || filter.split(',').map(str::trim);
    let slip = |part: &&str| {
        let level = part.parse::<LevelFilter>().is_ok();
        part.is_empty() || (!level && !part.contains(['=', '[']))
    };
    if let Some(part) = parts().find(slip) {
        return Err(format!("{part:?} is no level"));
    }
    match filter_of(filter) {
        Ok(_) => Ok(()),
        Err(wrong) => Err(wrong.to_string()),
    }
}

/// A filter, in which what the client of Kubernetes tells of each fault is silent unless it is asked for by name: we tell
/// the same once, and in our words.
fn filter_of(filter: &str) -> Result<EnvFilter, ParseError> {
    // Of two directives for one target the later one counts.
    EnvFilter::try_new(format!("kube_client=off,{filter}"))
}

impl Level {
    /// Logs by another level or filter from now on. One that [`judge`] does not pass changes nothing.
    pub fn set(&self, filter: &str) {
        if let Ok(filter) = filter_of(filter) {
            // It fails only without a subscriber, and then there is no log.
            let _ = self.filter.reload(filter);
        }
    }
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
    sink: Sink,
}

/// One event's line.
#[derive(Debug)]
struct LineWriter {
    sink: Sink,
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
            self.sink.put(std::mem::take(&mut self.line).into(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_level_from_a_slip() {
        for good in [
            "info",
            "WARN",
            "off",
            "tidegate::pool=debug",
            "warn,tidegate=trace",
            "[span]=info",
        ] {
            assert_eq!(judge(good), Ok(()), "{good}");
        }
        for slip in [
            "inof",
            "",
            "warn,",
            "tidegate",
            "tidegate=loud",
            "warn,debgu",
        ] {
            assert!(judge(slip).is_err(), "{slip}");
        }
    }
}
