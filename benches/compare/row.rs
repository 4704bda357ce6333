//! What is compared: a row for each kind of work.

use clap::ValueEnum;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// HTTP/1.1, connections kept, 100 bytes, as fast as it goes
    KeepAlive,
    /// The same, every request logged to a file
    Logged,
    /// The same without logs, at a steady rate, each request timed from when it was due
    Paced,
    /// HTTP/1.1 over TLS, connections kept, 100 bytes
    Tls,
    /// HTTP/1.1 over TLS, a full handshake for each request
    Handshakes,
    /// HTTP/2 over TLS, ten streams at a time on each connection, 100 bytes
    Http2,
    /// HTTP/1.1, connections kept, 10 KiB
    #[value(name = "10k")]
    TenKib,
    /// HTTP/1.1, connections kept, 1 MiB
    #[value(name = "1m")]
    OneMib,
    /// WebSockets, each of which says 100 bytes and waits for them to come back
    Websocket,
    /// System calls for each request of the first row
    Syscalls,
    /// Memory for each client that was served once and is idle
    Idle,
    /// The same over TLS
    IdleTls,
}

/// In which state the proxies have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Running; what came before does not matter.
    Running,
    /// Running, and logging each request.
    Logging,
    /// Just started: memory that was used once and is free again would hide what is used.
    Fresh,
}

impl Row {
    /// What a reader calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::KeepAlive => "HTTP/1.1, 100 B",
            Self::Logged => "HTTP/1.1, 100 B, access logs",
            Self::Paced => "HTTP/1.1, 100 B, fixed rate",
            Self::Tls => "HTTP/1.1 over TLS, 100 B",
            Self::Handshakes => "full TLS handshakes",
            Self::Http2 => "HTTP/2 over TLS, 100 B",
            Self::TenKib => "HTTP/1.1, 10 KiB",
            Self::OneMib => "HTTP/1.1, 1 MiB",
            Self::Websocket => "WebSocket echo, 100 B",
            Self::Syscalls => "system calls, HTTP/1.1, 100 B",
            Self::Idle => "idle clients",
            Self::IdleTls => "idle clients over TLS",
        }
    }

    /// What its figures are.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Handshakes => "µs of CPU per handshake",
            Self::OneMib => "ms of CPU per GiB",
            Self::Websocket => "µs of CPU per message",
            Self::Syscalls => "calls per request",
            Self::Idle | Self::IdleTls => "KiB per client",
            Self::KeepAlive
            | Self::Logged
            | Self::Paced
            | Self::Tls
            | Self::Http2
            | Self::TenKib => "µs of CPU per request",
        }
    }

    /// Bytes of an answer's body, or of a message.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::TenKib => 10 * 1024,
            Self::OneMib => 1024 * 1024,
            _ => 100,
        }
    }

    /// Microseconds for each answer, in its unit.
    pub(crate) fn in_unit(self, micros: f64) -> f64 {
        match self {
            Self::OneMib => micros * 1024.0 / 1000.0,
            _ => micros,
        }
    }

    pub(crate) fn state(self) -> State {
        match self {
            Self::Logged => State::Logging,
            Self::Idle | Self::IdleTls => State::Fresh,
            _ => State::Running,
        }
    }

    /// Whether its clients are h2load.
    pub(crate) fn needs_h2load(self) -> bool {
        matches!(self, Self::Tls | Self::Handshakes | Self::Http2)
    }
}
