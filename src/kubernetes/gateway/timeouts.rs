//! A rule's timeouts. Pure.

use std::time::Duration;

use super::api::HttpTimeouts;
use crate::route::Timeouts;

/// What a rule says of its time, and what is wrong with that. What cannot be is left out, and the rest holds.
pub(super) fn timeouts(said: Option<&HttpTimeouts>) -> (Timeouts, Vec<String>) {
    let Some(said) = said else {
        return (Timeouts::default(), Vec::new());
    };
    let mut faults = Vec::new();
    let mut read = |name: &str, text: &Option<String>| {
        let text = text.as_deref()?;
        let read = duration(text);
        if read.is_none() {
            faults.push(format!(
                "timeouts.{name} {text:?} is no duration and is ignored"
            ));
        }
        read
    };
    let mut timeouts = Timeouts {
        request: read("request", &said.request),
        attempt: read("backendRequest", &said.backend_request),
    };
    if timeouts.check().is_err() {
        timeouts.attempt = None;
        faults
            .push("timeouts.backendRequest is longer than timeouts.request and is ignored".into());
    }
    (timeouts, faults)
}

/// A duration as GEP-2257 has it: up to four whole numbers of up to five digits, each with its unit, and their sum.
fn duration(text: &str) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    let mut rest = text;
    for _ in 0..PARTS_MAX {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=DIGITS_MAX).contains(&digits) {
            return None;
        }
        let (number, behind) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        // A unit ends where the next number begins.
        let letters = behind.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, behind) = behind.split_at(letters);
        sum += match unit {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        rest = behind;
        if rest.is_empty() {
            return Some(sum);
        }
    }
    None
}

const PARTS_MAX: usize = 4;
const DIGITS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_as_the_api_has_them() {
        for (text, wanted_ms) in [
            ("0s", 0),
            ("0h0m0s0ms", 0),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1h30m15s5ms", 5_415_005),
            ("30s1m", 90_000),
            ("99999h", 359_996_400_000),
        ] {
            let wanted = Duration::from_millis(wanted_ms);
            assert_eq!(duration(text), Some(wanted), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "1.5s",
            "-1s",
            "1d",
            "1us",
            "1s ",
            "100000s",
            "1S",
            "1s1s1s1s1s",
            "1m 5s",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_left_out_and_told() {
        let read = |request: Option<&str>, attempt: Option<&str>| {
            let said = HttpTimeouts {
                request: request.map(Into::into),
                backend_request: attempt.map(Into::into),
            };
            let (timeouts, faults) = timeouts(Some(&said));
            let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
            (
                seconds(timeouts.request),
                seconds(timeouts.attempt),
                faults.join("; "),
            )
        };
        let said = |request, attempt, fault: &str| (request, attempt, fault.to_owned());
        assert_eq!(read(None, None), said(None, None, ""));
        assert_eq!(read(Some("5s"), Some("5s")), said(Some(5), Some(5), ""));
        assert_eq!(read(Some("0s"), Some("5s")), said(Some(0), Some(5), ""));
        assert_eq!(
            read(Some("5s"), Some("6s")),
            said(
                Some(5),
                None,
                "timeouts.backendRequest is longer than timeouts.request and is ignored"
            )
        );
        assert_eq!(
            read(Some("soon"), Some("6s")),
            said(
                None,
                Some(6),
                "timeouts.request \"soon\" is no duration and is ignored"
            )
        );
    }
}
