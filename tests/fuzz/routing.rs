//! Target and host: what is forwarded is what was routed.

use std::time::Duration;

use tidegate::route::{Host, Matcher, Path};

use crate::dice::{pick, time};
use crate::world::play;

const HOSTS: [&str; 14] = [
    "shop.test",
    "SHOP.test",
    "shop.test:8080",
    "shop.test.",
    "a.shop.test",
    "a.b.shop.test:1",
    ".shop.test",
    "xshop.test",
    "shop.test.evil",
    "other",
    "127.0.0.1",
    "[::1]:80",
    "shop%2etest",
    "api.test",
];

const PIECES: [&str; 18] = [
    "/", "api", "API", "apis", "x", "..", ".", "%2e%2e", "%2f", "//", ";", "?", "%61pi", "/api",
    "/api/", "a", "%00", "?/api",
];

/// Host and path of each route; an empty host is any.
const ROUTES: [(&str, &str); 6] = [
    ("shop.test", "/"),
    ("shop.test", "/api"),
    ("*.shop.test", "/"),
    ("", "/x"),
    ("api.test", "/api/x"),
    ("", "/"),
];

fn routes() -> Vec<Matcher> {
    let host = |text: &str| match text.strip_prefix("*.") {
        Some(below) => Host::Below(below.into()),
        None if text.is_empty() => Host::Any,
        None => Host::Exact(text.into()),
    };
    let matcher =
        |(text, path): &(&str, &str)| Matcher::new(host(text), Path::Prefix((*path).into()));
    ROUTES.iter().map(matcher).collect()
}

/// Where a plain reading of what arrived would have sent it.
fn meant(host: &str, target: &str) -> Option<usize> {
    let path = target.split('?').next().unwrap_or_default();
    let host = host.to_ascii_lowercase();
    let name = match host.rfind(':') {
        Some(colon) if !host.ends_with(']') => &host[..colon],
        _ => &host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits_host = |text: &str| match text.strip_prefix("*.") {
        Some(below) => name
            .strip_suffix(below)
            .is_some_and(|front| front.len() > 1 && front.ends_with('.')),
        None => text.is_empty() || text == name,
    };
    let fits_path = |prefix: &str| {
        let prefix = prefix.trim_end_matches('/');
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // An exact host before one below it, and that before any; then the longer path.
    let rank = |(text, prefix): &(&str, &str)| {
        let host = match *text {
            "" => 0,
            text if text.starts_with('*') => 1,
            _ => 2,
        };
        (host, prefix.len())
    };
    let fitting = ROUTES
        .iter()
        .enumerate()
        .filter(|(_, (text, prefix))| fits_host(text) && fits_path(prefix));
    fitting
        .max_by_key(|(_, route)| rank(route))
        .map(|(number, _)| number)
}

#[test]
fn what_is_forwarded_is_what_was_routed() {
    bolero::check!()
        .with_type::<(u8, u8, Vec<u8>, u8)>()
        .with_iterations(usize::MAX)
        .with_test_time(time())
        .for_each(|(host, other, pieces, form)| {
            let path: String = pieces
                .iter()
                .take(6)
                .map(|piece| pick(&PIECES, *piece))
                .collect();
            let path = format!("/{path}");
            let (host, other) = (pick(&HOSTS, *host), pick(&HOSTS, *other));
            let target = match form % 3 {
                0 => format!("http://{other}{path}"),
                _ => path.clone(),
            };
            let request =
                format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            play(routes, async |world| {
                world
                    .send(&[request.as_bytes()], Duration::from_millis(100))
                    .await;
                let script = world.script.borrow();
                assert!(script.faults.is_empty(), "{:#?}", script.faults);
                for (service, arrived) in &script.requests {
                    let hosts: Vec<&str> = arrived.all("host").collect();
                    assert_eq!(arrived.target, path, "the path is left alone");
                    assert_eq!(
                        Some(*service),
                        meant(hosts[0], &arrived.target),
                        "{request} arrived as {arrived:?}"
                    );
                    let said = if form % 3 == 0 { other } else { host };
                    assert_eq!(hosts, [said]);
                }
            });
        });
}
