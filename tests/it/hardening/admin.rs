//! The admin side under attack.

use crate::support::{Client, Endpoint, Setup};

const DRAIN: &str = "/api/v1/services/web/endpoints/a/drain";

#[test]
fn no_reading_method_changes_anything() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    let paths = [
        "/",
        "/healthz",
        "/metrics",
        "/api/v1/services",
        "/api/v1/config",
        "/api/v1/drains",
        DRAIN,
        "/api/v1/services/web/endpoints/a/drain?timeout=1s&wait=true",
        "/admission",
    ];
    for path in paths {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            let status = tidegate.admin(method, path).status;
            assert!(status < 500, "{method} {path}: {status}");
        }
    }
    assert_eq!(tidegate.admin("HEAD", "/drain?ip=127.0.0.1").status, 405);
    for id in ["a", "b"] {
        assert_eq!(tidegate.lives(id)[0]["state"], "ready");
    }
    let drains = tidegate.admin("GET", "/api/v1/drains").ok();
    assert_eq!(drains["drains"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_foreign_page_reaches_neither_the_hook_nor_a_drain() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b]).start();
    for fields in [
        "Origin: http://evil.test\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        for (method, path) in [
            ("POST", DRAIN),
            ("DELETE", DRAIN),
            ("GET", "/drain?ip=127.0.0.1"),
            ("POST", "/drain?ip=127.0.0.1"),
        ] {
            let status = tidegate.admin_with(method, path, fields).status;
            assert_eq!(status, 403, "{method} {path} {fields}");
        }
    }
    assert_eq!(tidegate.lives("a")[0]["state"], "ready");
}

#[test]
fn it_answers_under_attack_and_tells_no_token() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = Setup::of(&[&a, &b])
        .admin("token_file: token")
        .with_file("token", "correct-horse\n")
        .start();
    // Some say nothing, some never end their head, some send more than anybody reads.
    let mut attackers: Vec<Client> = (0..200)
        .map(|number| {
            let mut client = Client::connect(tidegate.admin_address());
            match number % 3 {
                0 => {}
                1 => client.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: "),
                _ => client.try_send(format!(
                    "POST {DRAIN} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong-battery\r\nContent-Length: 100000000\r\n\r\n{}",
                    "x".repeat(100_000)
                )),
            }
            client
        })
        .collect();
    for number in 0..1_000 {
        let mut client = Client::connect(tidegate.admin_address());
        client.send(format!(
            "POST {DRAIN} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong-battery-{number}\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(client.response().status, 401);
    }
    assert_eq!(tidegate.admin("GET", "/healthz").status, 200);
    assert_eq!(tidegate.get("/").status, 200);
    let mut greedy = attackers.swap_remove(2);
    assert_eq!(greedy.response().status, 413);
    let right = "Authorization: Bearer correct-horse\r\n";
    assert_eq!(tidegate.admin_with("POST", DRAIN, right).status, 200);
    for secret in ["wrong-battery", "correct-horse"] {
        assert_eq!(tidegate.tells(secret), 0, "{secret}");
        let logged = tidegate
            .access_log()
            .iter()
            .any(|line| line.to_string().contains(secret));
        assert!(!logged, "{secret}");
    }
}
