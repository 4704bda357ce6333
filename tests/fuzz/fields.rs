//! Fields of a connection: they stay on it, both ways, and take nothing with them that a message needs.

use std::time::Duration;

use crate::dice::{pick, time};
use crate::world::{everything, play};

const NAMES: [&str; 18] = [
    "connection",
    "connection",
    "Connection",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "http2-settings",
    "te",
    "trailer",
    "cookie",
    "authorization",
    "x-one",
    "x-two",
    "via",
    "x-forwarded-for",
    "accept",
    "proxy-authenticate",
    "x-three",
];

const VALUES: [&str; 16] = [
    "close",
    "keep-alive",
    "x-one",
    "X-One, x-two",
    "host",
    "cookie, authorization",
    "content-length,transfer-encoding",
    "x-forwarded-for, via",
    "upgrade",
    ",,x-three ,",
    "\"x-one\"",
    "trailers",
    "deflate",
    "plain",
    "",
    "x-one x-two",
];

/// Never passed on.
const OF_CONNECTIONS: [&str; 6] = [
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "http2-settings",
    "transfer-encoding",
    "connection",
];

/// Never named away.
const NEEDED: [&str; 2] = ["cookie", "authorization"];

/// What `Connection` names, by a plain reading.
fn named(fields: &[(&str, &str)]) -> Vec<String> {
    let values = fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let tokens = values.flat_map(|(_, value)| value.split(','));
    tokens
        .map(|token| token.trim().to_ascii_lowercase())
        .collect()
}

fn check<'f>(
    sent: &[(&str, &str)],
    arrived: impl Iterator<Item = (&'f str, &'f str)>,
    to_endpoint: bool,
) {
    let named = named(sent);
    let arrived: Vec<(&str, &str)> = arrived.collect();
    for (name, value) in &arrived {
        let own = match *name {
            // What tidegate itself says of its connection.
            "connection" => ["close", "keep-alive", "te", "close, te", "te, close"].contains(value),
            "te" => *value == "trailers",
            name => !OF_CONNECTIONS.contains(&name),
        };
        assert!(own, "{name}: {value} arrived");
        let is_tracer = name.starts_with("x-") && !name.starts_with("x-forwarded");
        assert!(
            !(is_tracer && named.iter().any(|token| token == name)),
            "{name} arrived although Connection names it"
        );
    }
    for name in NEEDED {
        let was = sent.iter().filter(|(own, _)| *own == name).count();
        let is = arrived.iter().filter(|(own, _)| *own == name).count();
        assert_eq!(was, is, "{name}");
    }
    if to_endpoint {
        assert_eq!(
            arrived.iter().filter(|(name, _)| *name == "host").count(),
            1
        );
    }
}

#[test]
fn what_belongs_to_a_connection_stays_on_it() {
    bolero::check!()
        .with_type::<Vec<(u8, u8)>>()
        .with_iterations(usize::MAX)
        .with_test_time(time())
        .for_each(|dice| {
            let fields: Vec<(&str, &str)> = dice
                .iter()
                .take(8)
                .map(|(name, value)| (pick(&NAMES, *name), pick(&VALUES, *value)))
                .collect();
            let lines: String = fields
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            let request = format!("GET / HTTP/1.1\r\nhost: shop.test\r\n{lines}\r\n");
            play(everything, async |world| {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{lines}\r\nok");
                world.script.borrow_mut().answer = Some(answer.into_bytes());
                let (heard, _) = world
                    .send(&[request.as_bytes()], Duration::from_millis(100))
                    .await;
                let script = world.script.borrow();
                assert!(script.faults.is_empty(), "{:#?}", script.faults);
                let [(_, arrived)] = &script.requests[..] else {
                    panic!("{:?} arrived", script.requests)
                };
                let pairs = arrived.fields.iter();
                check(
                    &fields,
                    pairs.map(|(name, value)| (&**name, &**value)),
                    true,
                );
                let heard = String::from_utf8_lossy(&heard).into_owned();
                let head = heard.split("\r\n\r\n").next().unwrap();
                assert!(head.starts_with("HTTP/1.1 200"), "{heard}");
                let lines: Vec<(String, String)> = head
                    .lines()
                    .skip(1)
                    .filter_map(|line| line.split_once(':'))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                    .collect();
                check(
                    &fields,
                    lines.iter().map(|(name, value)| (&**name, &**value)),
                    false,
                );
            });
        });
}
