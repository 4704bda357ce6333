//! How a drain that is waited for shows itself: a bar on a terminal, plain lines elsewhere, on stderr.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{plain, span};
use crate::admin::api::{Drains, Endpoint, RunningDrain};

/// What is known of the drain while it is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Under way.
    Running(Box<RunningDrain>),
    /// Still serving, since nobody else can.
    Fallback {
        /// In flight now.
        in_flight: u64,
    },
    /// Nothing is seen of it: it has not begun, or it is just over.
    Unseen,
}

impl Stage {
    /// The newest drain under way of an endpoint, by id or address.
    pub(super) fn running(drains: &Drains, service: &str, endpoint: &str) -> Option<Self> {
        drains
            .running
            .iter()
            .rev()
            .find(|drain| {
                *drain.report.service == *service
                    && (*drain.report.id == *endpoint
                        || drain.report.address.to_string() == endpoint)
            })
            .map(|drain| Self::Running(Box::new(drain.clone())))
    }

    /// What an endpoint that no drain is seen of is up to.
    pub(super) fn of(endpoints: &[Endpoint], endpoint: &str) -> Self {
        endpoints
            .iter()
            .rev()
            .find(|known| {
                (*known.id == *endpoint || known.address.to_string() == endpoint)
                    && known.reason.as_deref() == Some("fallback")
            })
            .map_or(Self::Unseen, |known| Self::Fallback {
                in_flight: known.in_flight,
            })
    }

    /// What it waits for, in words.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Unseen => "waiting for tidegate".into(),
            Self::Fallback { in_flight } => {
                format!("still serving, nothing else can: {in_flight} in flight")
            }
            Self::Running(drain) => {
                let left = drain
                    .left_ms
                    .map_or("no deadline".into(), |left| format!("{} left", span(left)));
                format!("{} in flight, {left}{}", drain.in_flight, held_by(drain))
            }
        }
    }

    /// What a line is worth being written for.
    fn in_flight(&self) -> Option<u64> {
        match self {
            Self::Unseen => None,
            Self::Fallback { in_flight } => Some(*in_flight),
            Self::Running(drain) => Some(drain.in_flight),
        }
    }
}

/// The display.
#[derive(Debug)]
pub(super) struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    last: Option<Stage>,
    silent: u32,
}

impl Progress {
    /// For an endpoint, on stderr.
    pub(super) fn new(name: String) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(1).with_prefix(plain(&name));
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} [{bar:24}] {wide_msg}")
            {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            name,
            bar,
            last: None,
            silent: 0,
        }
    }

    /// Shows how it stands; called at a steady pace.
    pub(super) fn show(&mut self, stage: Stage) {
        if let Some(bar) = &self.bar {
            if let Stage::Running(drain) = &stage {
                bar.set_length(drain.age_ms + drain.left_ms.unwrap_or(drain.age_ms).max(1));
                bar.set_position(drain.age_ms);
            }
            bar.set_message(stage.text());
        } else if self.is_news(&stage) {
            // Nobody needs this line so much that its failure should end the wait.
            let _ = writeln!(
                io::stderr().lock(),
                "{}: {}",
                plain(&self.name),
                stage.text()
            );
            self.silent = 0;
            self.last = Some(stage);
        } else {
            self.silent += 1;
        }
    }

    /// In a log, a line is worth while when the number in flight has changed, or after a while of silence.
    fn is_news(&self, stage: &Stage) -> bool {
        match &self.last {
            None => *stage != Stage::Unseen,
            Some(last) => last.in_flight() != stage.in_flight() || self.silent >= SILENT_MAX,
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn held_by(drain: &RunningDrain) -> String {
    let mut text = String::new();
    for (nth, holder) in drain.held_by.iter().take(HOLDERS_SHOWN).enumerate() {
        text.push_str(if nth == 0 { "; held by " } else { ", " });
        text.push_str(&format!(
            "a {} on {} for {}",
            holder.kind,
            plain(&holder.route),
            span(holder.age_ms)
        ));
    }
    let more = drain.in_flight.saturating_sub(HOLDERS_SHOWN as u64);
    if more > 0 && !text.is_empty() {
        text.push_str(&format!(", and {more} more"));
    }
    text
}

/// How many of the oldest are named.
const HOLDERS_SHOWN: usize = 2;
/// Looks without news before a line is written nevertheless.
const SILENT_MAX: u32 = 20;
/// How often the bar shows that it lives.
const TICK: Duration = Duration::from_millis(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::{Cut, Holder, Report, StartedAfter};

    pub(crate) fn running(id: &str, in_flight: u64) -> RunningDrain {
        RunningDrain {
            report: Report {
                service: "web".into(),
                id: id.into(),
                address: "10.0.0.1:80".parse().unwrap(),
                pod: None,
                cause: "operator".into(),
                seen: [("operator".into(), "2026-11-22T10:00:00.000Z".into())].into(),
                since: "2026-11-22T10:00:00.000Z".into(),
                deadline: Some("2026-11-22T10:00:30.000Z".into()),
                limited_by: "service".into(),
                in_flight_at_start: 5,
                finished: 0,
                retried: 0,
                cut: Cut::default(),
                started_after: StartedAfter::default(),
                ended: None,
                outcome: None,
                duration_ms: None,
            },
            age_ms: 4_000,
            left_ms: Some(26_000),
            in_flight,
            held_by: vec![
                Holder {
                    route: "shop.example.com/api".into(),
                    kind: "request".into(),
                    age_ms: 12_300,
                };
                usize::try_from(in_flight.min(10)).unwrap()
            ],
        }
    }

    #[test]
    fn finds_the_newest_by_id_or_address() {
        let drains = Drains {
            running: vec![
                running("web-1", 3),
                running("web-1", 1),
                running("web-2", 7),
            ],
            drains: vec![],
        };
        let found = |endpoint: &str| {
            Stage::running(&drains, "web", endpoint).map(|stage| stage.in_flight())
        };
        assert_eq!(found("web-1"), Some(Some(1)));
        assert_eq!(found("10.0.0.1:80"), Some(Some(7)));
        assert_eq!(found("web-3"), None);
        assert_eq!(Stage::running(&drains, "api", "web-1"), None);
    }

    #[test]
    fn says_what_holds_it() {
        let text = |in_flight| Stage::Running(Box::new(running("web-1", in_flight))).text();
        assert_eq!(text(0), "0 in flight, 26s left");
        assert_eq!(
            text(1),
            "1 in flight, 26s left; held by a request on shop.example.com/api for 12s"
        );
        assert!(text(5).ends_with(", and 3 more"), "{}", text(5));
    }

    #[test]
    fn writes_lines_for_news_only() {
        let mut progress = Progress {
            name: "web-1".into(),
            bar: None,
            last: None,
            silent: 0,
        };
        let at = |in_flight| Stage::Running(Box::new(running("web-1", in_flight)));
        assert!(!progress.is_news(&Stage::Unseen));
        assert!(progress.is_news(&at(3)));
        progress.show(at(3));
        assert!(!progress.is_news(&at(3)));
        assert!(progress.is_news(&at(2)));
        for _ in 0..SILENT_MAX {
            progress.show(at(3));
        }
        assert!(progress.is_news(&at(3)));
    }
}
