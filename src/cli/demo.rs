//! `tidegate demo`: a rolling update under load, on loopback, for everyone to watch.
//!
//! The endpoints and the clients come from [`rehearse`](crate::rehearse), the proxy from whoever calls this: it is the real
//! one. This file only shows how it goes, and takes care of the signals.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use comfy_table::{Cell, Color};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::document::duration;
use crate::rehearse::report::{DrainRecord, Report};
use crate::rehearse::summary::{grouped, milliseconds, table};
use crate::rehearse::{Live, Rehearsal, Settings};

/// What can be said on the command line.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// How long it goes on, such as 20s [default: until Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Requests a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// What the summary at the end looks like
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What a summary looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For machines: stdout has nothing else.
    Json,
}

/// A proxy that runs in this process.
pub trait Proxy: Send + 'static {
    /// Ends it, and returns once it has ended.
    ///
    /// # Errors
    /// What it ended with.
    fn stop(self) -> anyhow::Result<()>;
}

/// Runs the demo with the proxy that `start` starts with the config it is given, and returns what to exit with: 0 if nothing
/// was lost.
///
/// # Errors
/// Why there was no demo.
pub fn demo<P: Proxy>(
    args: &DemoArgs,
    start: impl FnOnce(&Path) -> anyhow::Result<P>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime could be started")?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let display = Display::new(args.output, io::stdout().is_terminal());
    let signals = async || signals.next().await;
    play(args, start, display, &mut io::stdout(), &runtime, signals)
}

/// The demo, whatever it is shown on and whoever ends it.
fn play<P: Proxy>(
    args: &DemoArgs,
    start: impl FnOnce(&Path) -> anyhow::Result<P>,
    mut display: Display,
    out: &mut dyn Write,
    runtime: &Runtime,
    mut signals: impl AsyncFnMut() -> i32,
) -> anyhow::Result<ExitCode> {
    let mut rehearsal = Rehearsal::prepare(Settings {
        rate: args.rate,
        duration: args.duration,
        ..Settings::default()
    })?;
    let proxy = start(&rehearsal.config()).context("the proxy could not be started")?;
    let shown = show(&mut rehearsal, &mut display, out, &mut signals);
    let shown = match runtime.block_on(Box::pin(shown)) {
        Ok(Ended::AtOnce(code)) => leave_at_once(rehearsal, code),
        Ok(Ended::Whole(report)) => Ok(report),
        Err(fault) => Err(fault),
    };
    let stopped = runtime.block_on(async {
        let stopping = tokio::task::spawn_blocking(move || proxy.stop());
        tokio::select! {
            biased;
            code = signals() => Err(code),
            stopped = stopping => Ok(stopped),
        }
    });
    let stopped = match stopped {
        Ok(stopped) => stopped,
        Err(code) => leave_at_once(rehearsal, code),
    };
    let report = match shown {
        Ok(report) => report,
        Err(fault) => {
            // It may be in the middle of a drain that no proxy will answer any more.
            rehearsal.abandon();
            return Err(fault);
        }
    };
    drop(rehearsal);
    match args.output {
        Output::Text => write!(out, "\n{}", report.to_text())?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
    }
    out.flush()?;
    stopped
        .context("the proxy's end panicked")?
        .context("the proxy did not end well")?;
    Ok(ExitCode::from(u8::from(!report.passed)))
}

/// How the showing ended.
enum Ended {
    Whole(Box<Report>),
    /// Somebody insisted, and this is what to exit with.
    AtOnce(i32),
}

/// Shows the rehearsal until it has ended. The first signal asks for the end, the second does not wait for it.
async fn show(
    rehearsal: &mut Rehearsal,
    display: &mut Display,
    out: &mut dyn Write,
    signals: &mut impl AsyncFnMut() -> i32,
) -> anyhow::Result<Ended> {
    display.begin(rehearsal, out)?;
    rehearsal.begin();
    let mut tick = interval(REDRAW);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hint = "Ctrl-C ends it with a summary.";
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            code = signals() => {
                if asked {
                    return Ok(Ended::AtOnce(code));
                }
                asked = true;
                hint = "The last replacement is being finished. Ctrl-C again ends at once.";
                rehearsal.stop();
            }
            report = rehearsal.ended() => {
                display.show(&rehearsal.live(), "", out)?;
                return Ok(Ended::Whole(Box::new(report?)));
            }
            _ = tick.tick() => display.show(&rehearsal.live(), hint, out)?,
        }
    }
}

/// Exits without waiting for the proxy or the endpoints; only the directory is removed.
fn leave_at_once(rehearsal: Rehearsal, code: i32) -> ! {
    rehearsal.abandon();
    std::process::exit(code)
}

/// The signals that end a demo.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("no signals")?,
            terminate: signal(SignalKind::terminate()).context("no signals")?,
        })
    }

    /// The next one, as what a process exits with that it ended.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

/// Where and how it is shown.
struct Display {
    kind: Kind,
    /// Lines of the last frame, which the next one replaces.
    lines: usize,
    /// Drains that were shown.
    drains: u64,
    /// The second that was shown last.
    second: u64,
}

#[derive(PartialEq, Eq)]
enum Kind {
    /// A frame that is drawn again and again.
    Frame,
    /// A line for whatever happens.
    Lines,
    Nothing,
}

impl Display {
    fn new(output: Output, is_terminal: bool) -> Self {
        let kind = match output {
            Output::Json => Kind::Nothing,
            Output::Text if is_terminal => Kind::Frame,
            Output::Text => Kind::Lines,
        };
        Self {
            kind,
            lines: 0,
            drains: 0,
            second: 0,
        }
    }

    fn begin(&self, rehearsal: &Rehearsal, out: &mut dyn Write) -> io::Result<()> {
        let subject = rehearsal.subject();
        let text = format!(
            "proxy      http://{}/\ndashboard  http://{}/\n",
            subject.proxy, subject.admin
        );
        match self.kind {
            Kind::Nothing => io::stderr().lock().write_all(text.as_bytes()),
            Kind::Frame | Kind::Lines => out.write_all(text.as_bytes()),
        }
    }

    fn show(&mut self, live: &Live, hint: &str, out: &mut dyn Write) -> io::Result<()> {
        let text = match self.kind {
            Kind::Nothing => return Ok(()),
            Kind::Lines => self.news(live),
            Kind::Frame => self.redraw(&frame(live, hint)),
        };
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// What happened since the last time: a line for each drain, and one for each second.
    fn news(&mut self, live: &Live) -> String {
        let mut text = String::new();
        let new = usize::try_from(live.drains - self.drains).unwrap_or(usize::MAX);
        let shown = live.last_drains.len().saturating_sub(new);
        for drain in &live.last_drains[shown..] {
            let _ = writeln!(text, "{}", drain_line(drain));
        }
        self.drains = live.drains;
        let second = live.elapsed.as_secs();
        if second > self.second {
            self.second = second;
            let _ = writeln!(text, "{}  {}", counts(live), latency(live));
        }
        text
    }

    /// The frame, in the place of the last one. Lines are not wrapped, or there would be more of them than were counted.
    fn redraw(&mut self, frame: &str) -> String {
        let mut text = String::from("\x1b[?7l");
        if self.lines > 0 {
            let _ = write!(text, "\x1b[{}A\r", self.lines);
        }
        for line in frame.lines() {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J\x1b[?7h");
        self.lines = frame.lines().count();
        text
    }
}

/// Everything there is to see, as it stands.
fn frame(live: &Live, hint: &str) -> String {
    let mut endpoints = table(
        &["ENDPOINT", "ADDRESS", "STATE", "IN FLIGHT", "REQUESTS"],
        0,
    );
    for endpoint in &live.endpoints {
        endpoints.add_row([
            Cell::new(&endpoint.id),
            Cell::new(endpoint.address),
            state(endpoint.state),
            Cell::new(grouped(endpoint.in_flight)),
            Cell::new(grouped(endpoint.requests)),
        ]);
    }
    let mut text = format!(
        "\n{endpoints}\n\n{}\n        {}\n\n",
        counts(live),
        latency(live)
    );
    let first = live.last_drains.len().saturating_sub(DRAINS_SHOWN);
    for drain in &live.last_drains[first..] {
        let _ = writeln!(text, "{}", drain_line(drain));
    }
    let _ = writeln!(text, "\n{hint}");
    text
}

fn state(state: &str) -> Cell {
    // As wide as the widest, so that the table holds still.
    let cell = Cell::new(format!("{state:<8}"));
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return cell;
    }
    match state {
        "ready" => cell.fg(Color::Green),
        "draining" => cell.fg(Color::Yellow),
        _ => cell.fg(Color::DarkGrey),
    }
}

fn counts(live: &Live) -> String {
    let mut text = format!(
        "{:>4} s  {} requests  {} failed  {} reached a draining endpoint  {} in flight",
        live.elapsed.as_secs(),
        grouped(live.requests),
        grouped(live.failed),
        grouped(live.reached_draining),
        grouped(live.in_flight),
    );
    if live.raced > 0 {
        let _ = write!(text, "  {} raced", grouped(live.raced));
    }
    if live.missed > 0 {
        let _ = write!(text, "  {} not started", grouped(live.missed));
    }
    text
}

fn latency(live: &Live) -> String {
    format!(
        "median {} at rest, {} during a drain",
        milliseconds(live.at_rest_ms),
        milliseconds(live.draining_ms),
    )
}

fn drain_line(drain: &DrainRecord) -> String {
    format!(
        "{:<9} by {:<4}  known {:>8}  drained {:>8}  {} too late  {}",
        drain.endpoint,
        drain.by,
        milliseconds(drain.detected_ms),
        milliseconds(drain.drained_ms),
        grouped(drain.late),
        drain.outcome.as_deref().unwrap_or("unknown"),
    )
}

const REDRAW: Duration = Duration::from_millis(250);
const DRAINS_SHOWN: usize = 6;

#[cfg(test)]
mod tests;
