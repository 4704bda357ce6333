use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use tokio::net::TcpSocket;

use super::*;

/// For what asks nobody.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

fn admin(address: SocketAddr) -> Admin {
    let board = Arc::new(Board::new());
    board.sights.send_modify(|sights| {
        sights.insert("demo-1".into(), Sight::default());
    });
    Admin::new(address, "demo".into(), board)
}

fn state(admin: &Admin, id: &str) -> Option<&'static str> {
    let sights = admin.board.sights.borrow();
    sights.get(id).map(Sight::state)
}

fn event(to: &str, reason: Option<&str>) -> Value {
    json!({"event": "state", "service": "demo", "endpoint": "demo-1", "to": to, "reason": reason})
}

#[test]
fn takes_events_as_they_become_whole() {
    let mut text = b": hello\n\nid: 1\ndata: {\"a\":\ndata: 1}\n\ndata:{\"b\"".to_vec();
    assert_eq!(take_event(&mut text), Some(json!({"a": 1})));
    assert_eq!(take_event(&mut text), None);
    text.extend_from_slice(b":2}\n\n");
    assert_eq!(take_event(&mut text), Some(json!({"b": 2})));
    assert!(text.is_empty());
}

#[test]
fn notes_only_what_leads_further() {
    let admin = admin(NOWHERE);
    assert_eq!(state(&admin, "demo-1"), Some("starting"));
    admin.note_event(&event("ready", None));
    assert_eq!(state(&admin, "demo-1"), Some("ready"));
    admin.note_event(&event("draining", Some("source")));
    admin.note_event(&event("ready", None));
    assert_eq!(state(&admin, "demo-1"), Some("draining"));
    let report = json!({"id": "demo-1", "outcome": "clean"});
    admin.note_event(&json!({"event": "drain_end", "service": "demo", "report": report}));
    assert_eq!(state(&admin, "demo-1"), Some("drained"));
    let outcome = admin.board.sights.borrow()["demo-1"].outcome.clone();
    assert_eq!(outcome.as_deref(), Some("clean"));
}

#[test]
fn takes_no_word_for_a_promise_that_is_none() {
    let admin = admin(NOWHERE);
    admin.note_event(&event("draining", Some("fallback")));
    assert_eq!(state(&admin, "demo-1"), Some("starting"));
    let other = json!({"event": "state", "service": "web", "endpoint": "demo-1", "to": "drained"});
    admin.note_event(&other);
    assert_eq!(state(&admin, "demo-1"), Some("starting"));
    let stranger = json!({"event": "state", "service": "demo", "endpoint": "x", "to": "ready"});
    admin.note_event(&stranger);
    assert_eq!(state(&admin, "x"), None);
}

#[tokio::test]
async fn says_why_a_proxy_is_not_ready() {
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let admin = admin(deaf.local_addr().unwrap());
    let fault = admin.ready(Duration::ZERO).await.unwrap_err();
    assert!(format!("{fault:#}").starts_with("the proxy did not become ready: "));
}
