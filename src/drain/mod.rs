//! What a drain is: why it began, when it must end, what became of it.
//!
//! Pure decisions and plain values; time comes in as an argument. The writer in `control` carries them out.

mod plan;
mod report;

use std::fmt;
use std::time::Duration;

pub use plan::{Deadline, LimitedBy, Plan, latest_stream_moment, spread_moment, stream_moment};
pub use report::{Counts, Cut, Outcome, Report, StartedAfter};

/// How a service drains its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Work in flight is cut after this (P5).
    pub timeout: Duration,
    /// A pinned, idle downstream connection is closed within this ...
    pub idle_grace: Duration,
    /// ... at a random moment of its last part, this long.
    pub spread: Duration,
    /// What a WebSocket's client is told when its tunnel ends.
    pub websocket_close: WebsocketClose,
}

/// The code of a Close frame (RFC 6455, section 7.4, and its registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebsocketClose {
    /// 1012, service restart: come back, after a random while.
    #[default]
    ServiceRestart,
    /// 1001, going away: for clients that do not know the other.
    GoingAway,
}

impl WebsocketClose {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::ServiceRestart => 1012,
            Self::GoingAway => 1001,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            idle_grace: Duration::from_secs(5),
            spread: Duration::from_secs(2),
            websocket_close: WebsocketClose::default(),
        }
    }
}

/// Who asked for a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// A person, by the admin API or the command line.
    Operator,
    /// A pod's preStop hook.
    Hook,
    /// Somebody who deletes its pod, through the webhook.
    Webhook,
    /// The source says that the endpoint terminates.
    Source,
    /// Its pod is being deleted, says the pod itself.
    Pod,
    /// The endpoint is no longer in its source.
    Removed,
    /// No route leads to it any more: its service or route was removed or re-pointed.
    Route,
}

impl Cause {
    /// The word of the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Hook => "hook",
            Self::Webhook => "webhook",
            // The pods are a part of what the source watches.
            Self::Source | Self::Pod => "source",
            Self::Removed => "removed",
            Self::Route => "route",
        }
    }

    /// The cause of a [teller](Self::teller).
    #[must_use]
    pub fn told_by(word: &str) -> Option<Self> {
        [
            Self::Operator,
            Self::Hook,
            Self::Webhook,
            Self::Source,
            Self::Pod,
            Self::Removed,
            Self::Route,
        ]
        .into_iter()
        .find(|cause| cause.teller() == word)
    }

    /// Whether somebody asked for it, who can take it back.
    #[must_use]
    pub const fn is_asked(self) -> bool {
        matches!(self, Self::Operator | Self::Hook | Self::Webhook)
    }

    /// Who that is, apart from all others, as a report names everyone who told us.
    #[must_use]
    pub const fn teller(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
