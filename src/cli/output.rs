//! What commands say on stdout.

use std::io::{self, Write};

/// Writes an error's lines to stderr.
pub(super) fn complain(text: &str) {
    // There is nowhere left to complain about that.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes and flushes. False when nobody reads any more, which is how `tidegate status | head` ends and no error.
pub(super) fn say(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match said {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// A span of time for people: a decimal while it is short, whole seconds and minutes later.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..10 => format!("{}.{}s", seconds, ms % 1000 / 100),
        10..120 => format!("{seconds}s"),
        _ => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

/// A number of things: `1 request`, `2 requests`.
pub(super) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A name as it may be shown in a terminal: names come from sources, and a control character could say anything there.
pub(super) fn plain(name: &str) -> String {
    name.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_spans_for_people() {
        for (ms, text) in [
            (0, "0.0s"),
            (999, "0.9s"),
            (9_999, "9.9s"),
            (10_000, "10s"),
            (119_999, "119s"),
            (125_000, "2m05s"),
        ] {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn shows_no_control_characters() {
        assert_eq!(plain("web\u{1b}[2J-1\n"), "web\u{fffd}[2J-1\u{fffd}");
    }
}
