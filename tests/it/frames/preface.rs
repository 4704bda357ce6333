//! How a connection begins (RFC 9113, sections 3.4 and 6.5.3).

use super::{Scene, opening, setting};
use crate::support::StreamClient;
use crate::support::stream_client::{END_STREAM, PREFACE, SETTINGS, frame};

#[test]
fn a_preface_may_come_byte_by_byte() {
    let scene = Scene::start();
    let mut client = StreamClient::silent(scene.tidegate.address());
    let mut all = PREFACE.to_vec();
    all.extend(setting(4, 1 << 20));
    all.extend(opening(1, "/bytes", END_STREAM));
    for byte in all {
        client.send(&[byte]);
    }
    assert_eq!(client.answer(1).text(), "a");
    assert_eq!(client.seen().acknowledged, 1);
}

#[test]
fn requests_may_come_with_the_preface() {
    let scene = Scene::start();
    let mut client = StreamClient::silent(scene.tidegate.address());
    let mut all = PREFACE.to_vec();
    // Also without a setting in them.
    all.extend(frame(SETTINGS, 0, 0, &[]));
    for stream in [1, 3, 5] {
        all.extend(opening(stream, "/at-once", END_STREAM));
    }
    client.send(&all);
    for stream in [1, 3, 5] {
        assert_eq!(client.answer(stream).text(), "a");
    }
    assert_eq!(client.seen().acknowledged, 1);
}

/// Ours come without waiting for anything but the client's first bytes.
#[test]
fn settings_are_exchanged_and_acknowledged_once_each() {
    let scene = Scene::start();
    let mut client = scene.client();
    client.settle();
    assert_eq!(client.seen().acknowledged, 1);
    let said = client.seen().settings.clone();
    assert_eq!(said.get(&3), Some(&128), "streams");
    assert_eq!(said.get(&4), Some(&(256 * 1024)), "the window of a stream");
    assert_eq!(said.get(&8), Some(&1), "RFC 8441");
    for _ in 0..5 {
        client.send(&setting(1, 4096));
    }
    client.settle();
    assert_eq!(client.seen().acknowledged, 6);
    // A number that nobody knows is passed over (section 6.5.2).
    client.send(&setting(0xf00d, u32::MAX));
    assert_eq!(client.get("/x").status(), 200);
    assert_eq!(client.seen().acknowledged, 7);
}

/// Ours are not acknowledged: that is the client's fault, but it is not at once an error.
#[test]
fn a_client_is_served_before_it_acknowledges() {
    let scene = Scene::start();
    let mut client = StreamClient::silent(scene.tidegate.address());
    client.send(PREFACE);
    client.send(&setting(4, 1 << 20));
    client.send(&opening(1, "/x", END_STREAM));
    assert_eq!(client.answer(1).status(), 200);
}

#[test]
fn what_begins_otherwise_is_not_served() {
    let scene = Scene::start();
    for (at, wrong) in [(0, b'p'), (4, b'/'), (18, b'X'), (23, b'\r')] {
        let mut preface = PREFACE.to_vec();
        preface[at] = wrong;
        let mut client = scene.tidegate.connect();
        client.try_send(&preface);
        client.try_send(setting(4, 1));
        client.try_send(opening(1, "/first", END_STREAM));
        client.end();
        let text = String::from_utf8_lossy(&client.unread);
        assert!(!text.contains("HTTP/1.1 200"), "{at}: {text:?}");
    }
    assert_eq!(scene.a.asked("/first"), 0);
}
