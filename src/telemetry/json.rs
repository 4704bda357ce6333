//! A line of the access log as JSON: flat, every field always there, null when empty.
//!
//! Written by hand: the names are constants, and nearly no text has anything to escape. serde_json, which asks each field
//! for its name and looks at each byte of it, took 15,500 instructions for a line, half of what the request itself takes.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::access::{Record, Try};

/// Appends the line, its end included. `second` is what the line before has left.
pub(super) fn write(record: &Record<'_>, second: &mut Second, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    second.write(record.time, out);
    out.extend_from_slice(b"\",\"target\":\"tidegate::access\",\"client\":\"");
    address(record.client.ip, record.client.port, out);
    out.extend_from_slice(b"\",\"method\":");
    text(record.method.map(http::Method::as_str), out);
    out.extend_from_slice(b",\"authority\":");
    text(record.authority, out);
    out.extend_from_slice(b",\"path\":");
    text(record.path, out);
    out.extend_from_slice(b",\"status\":");
    number(record.status.map(|status| status.as_u16().into()), out);
    out.extend_from_slice(b",\"bytes_in\":");
    number(Some(record.bytes_in), out);
    out.extend_from_slice(b",\"bytes_out\":");
    number(Some(record.bytes_out), out);
    out.extend_from_slice(b",\"duration_ms\":");
    milliseconds(record.duration, out);
    out.extend_from_slice(b",\"listener\":");
    text(Some(record.listener), out);
    out.extend_from_slice(b",\"service\":");
    text(record.service, out);
    out.push(b',');
    attempt(record.last, out);
    out.extend_from_slice(b",\"attempts\":");
    let attempts = record.tries.len() + usize::from(record.last.is_some());
    number(Some(attempts as u64), out);
    out.extend_from_slice(b",\"tries\":[");
    for (index, one) in record.tries.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        attempt(Some(one), out);
        out.extend_from_slice(b",\"reason\":");
        text(one.reason, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"reason\":");
    text(record.reason, out);
    out.extend_from_slice(b",\"code\":");
    text(record.code, out);
    out.extend_from_slice(b",\"trace_id\":");
    text(record.trace_id, out);
    out.extend_from_slice(b"}\n");
}

/// The second that was written last: to reckon a date for every line would cost as much as a third of the line.
#[derive(Debug, Default)]
pub(super) struct Second {
    /// Since the epoch.
    number: u64,
    /// As far as the point before its parts.
    text: String,
}

impl Second {
    fn write(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        if self.number != since.as_secs() || self.text.is_empty() {
            self.number = since.as_secs();
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(self.number);
            self.text = humantime::format_rfc3339_seconds(whole).to_string();
            self.text.pop();
        }
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'.');
        let micros = since.subsec_micros();
        decimals((micros / 1_000) as u16, out);
        decimals((micros % 1_000) as u16, out);
        out.push(b'Z');
    }
}

/// The fields of an attempt, of the last one or of an earlier one.
fn attempt(attempt: Option<&Try>, out: &mut Vec<u8>) {
    let about = attempt.map(|attempt| attempt.endpoint.about());
    out.extend_from_slice(b"\"endpoint\":");
    text(about.map(|about| about.key.as_str()), out);
    out.extend_from_slice(b",\"address\":");
    match about.map(|about| about.address) {
        Some(at) => {
            out.push(b'"');
            address(at.ip(), Some(at.port()), out);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"pod\":");
    text(about.and_then(|about| about.pod.as_deref()), out);
    out.extend_from_slice(b",\"endpoint_state\":");
    text(attempt.map(|attempt| attempt.endpoint_state), out);
    let connection = attempt.and_then(|attempt| attempt.connection);
    out.extend_from_slice(b",\"connection\":");
    number(connection, out);
    out.extend_from_slice(match (connection, attempt) {
        (Some(_), Some(attempt)) if attempt.reused => b",\"reused\":true",
        (Some(_), Some(_)) => b",\"reused\":false",
        _ => b",\"reused\":null",
    });
    out.extend_from_slice(b",\"connection_request\":");
    number(attempt.and_then(|attempt| attempt.connection_request), out);
}

fn text(text: Option<&str>, out: &mut Vec<u8>) {
    let Some(text) = text else {
        out.extend_from_slice(b"null");
        return;
    };
    let is_plain = |byte: u8| (byte >= b' ') & (byte != b'"') & (byte != b'\\');
    // To look at all of them is quicker than to stop at the first: many are looked at in one step.
    let bytes = text.bytes();
    if bytes.fold(true, |plain, byte| plain & is_plain(byte)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing into memory cannot fail, and a text is always JSON.
        let _ = serde_json::to_writer(out, text);
    }
}

fn number(number: Option<u64>, out: &mut Vec<u8>) {
    match number {
        Some(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

/// With three decimals: microseconds.
fn milliseconds(duration: Duration, out: &mut Vec<u8>) {
    let micros = duration.as_nanos().saturating_add(500) / 1_000;
    let micros = u64::try_from(micros).unwrap_or(u64::MAX);
    number(Some(micros / 1_000), out);
    out.push(b'.');
    decimals((micros % 1_000) as u16, out);
}

/// Three digits.
fn decimals(number: u16, out: &mut Vec<u8>) {
    let digits = [number / 100, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8);
    out.extend_from_slice(&digits);
}

fn address(ip: IpAddr, port: Option<u16>, out: &mut Vec<u8>) {
    match (ip, port) {
        (IpAddr::V4(ip), port) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number(Some(octet.into()), out);
            }
            if let Some(port) = port {
                out.push(b':');
                number(Some(port.into()), out);
            }
        }
        // Writing into memory cannot fail.
        (ip, Some(port)) => drop(write!(out, "{}", SocketAddr::new(ip, port))),
        (ip, None) => drop(write!(out, "{ip}")),
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    use super::*;
    use crate::telemetry::Client;

    fn record() -> Record<'static> {
        Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001),
            client: Client {
                ip: [10, 0, 200, 1].into(),
                port: Some(65_535),
            },
            method: Some(&Method::GET),
            authority: Some("shop.example.com"),
            path: Some("/a?b=\"c\"\\\u{1}\u{e9}"),
            status: Some(StatusCode::OK),
            bytes_in: 0,
            bytes_out: u64::MAX,
            duration: Duration::from_nanos(1_070_600),
            listener: "http",
            service: Some("web"),
            last: None,
            tries: &[],
            reason: None,
            code: None,
            trace_id: None,
        }
    }

    fn line(record: &Record<'_>) -> Value {
        let mut out = Vec::new();
        write(record, &mut Second::default(), &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        assert!(!out.contains(&b'\n'));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn writes_every_field_and_escapes_what_a_client_sent() {
        let expected = json!({
            "time": "2023-11-14T22:13:20.000001Z",
            "target": "tidegate::access",
            "client": "10.0.200.1:65535",
            "method": "GET",
            "authority": "shop.example.com",
            "path": "/a?b=\"c\"\\\u{1}\u{e9}",
            "status": 200,
            "bytes_in": 0,
            "bytes_out": u64::MAX,
            "duration_ms": 1.071,
            "listener": "http",
            "service": "web",
            "endpoint": null,
            "address": null,
            "pod": null,
            "endpoint_state": null,
            "connection": null,
            "reused": null,
            "connection_request": null,
            "attempts": 0,
            "tries": [],
            "reason": null,
            "code": null,
            "trace_id": null,
        });
        assert_eq!(line(&record()), expected);
    }

    #[test]
    fn writes_addresses_and_durations_as_everybody_does() {
        for ip in ["10.0.0.1", "255.255.255.255", "::1", "2001:db8::7"] {
            let ip: IpAddr = ip.parse().unwrap();
            for port in [None, Some(0), Some(80)] {
                let client = Client { ip, port };
                let line = line(&Record { client, ..record() });
                assert_eq!(line["client"], client.to_string());
            }
        }
        let mut second = Second::default();
        for micros in [
            0,
            1,
            999_999,
            1_000_000,
            1_001_000,
            0,
            1_764_000_000_999_999,
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
            let mut out = Vec::new();
            second.write(time, &mut out);
            let expected = humantime::format_rfc3339_micros(time).to_string();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        for (micros, text) in [(0, "0.000"), (5_000, "5.000"), (61_000_020, "61000.020")] {
            let mut out = Vec::new();
            milliseconds(Duration::from_micros(micros), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
