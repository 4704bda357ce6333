//! What a client's SETTINGS say of our frames, and of our table of fields (RFC 9113, section 6.5.2; RFC 7541, section 4.2).
//! The client sees for itself that each answer keeps to them.

use super::{Scene, acknowledged, set, setting};
use crate::support::StreamClient;
use crate::support::stream_client::{END_STREAM, PREFACE, PROTOCOL_ERROR, SETTINGS, frame};

#[test]
fn what_a_setting_may_not_be_ends_the_connection() {
    let scene = Scene::start();
    for (number, value) in [
        (2, 2),
        (2, u32::MAX),
        (5, 0),
        (5, 16_383),
        (5, 1 << 24),
        (5, u32::MAX),
    ] {
        let what = format!("{number} is {value}");
        scene.breaks(&what, &[setting(number, value)], &[PROTOCOL_ERROR]);
        // Also where the next one of the same frame would mend it.
        let mended = [&setting(number, value)[9..], &setting(number, 16_384)[9..]].concat();
        if number == 5 {
            scene.breaks(&what, &[frame(SETTINGS, 0, 0, &mended)], &[PROTOCOL_ERROR]);
        }
        // And in the first ones.
        let mut client = StreamClient::silent(scene.tidegate.address());
        client.send(PREFACE);
        client.send(&setting(number, value));
        client.end();
        let codes: Vec<u32> = client.seen().goaways.iter().map(|it| it.1).collect();
        assert!(
            codes.iter().all(|code| *code == PROTOCOL_ERROR),
            "{what}: {codes:?}"
        );
    }
    for (number, value) in [
        (2, 0),
        (2, 1),
        (3, 0),
        (3, u32::MAX),
        (5, 16_384),
        (6, 0),
        (6, u32::MAX),
    ] {
        scene.ignores(&format!("{number} is {value}"), &[setting(number, value)]);
    }
}

/// Frames may be larger then, and never larger than that: those of bodies and of heads.
#[test]
fn frames_are_no_larger_than_the_client_takes() {
    let scene = Scene::start();
    let mut client = scene.client();
    let (value, body) = ("X".repeat(60_000), "x".repeat(1_000_000));
    let get = |client: &mut StreamClient| {
        let stream = client.ask("/held");
        let length = body.len();
        scene.a.held().send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Long: {value}\r\n\r\n{body}"
        ));
        let answer = client.answer(stream);
        assert!(answer.text() == body && answer.field("x-long") == Some(&*value));
    };
    get(&mut client);
    for size in [16_385, 20_000, (1 << 24) - 1, 16_384, 30_000] {
        set(&mut client, 5, size);
        get(&mut client);
    }
}

/// Answers whose fields repeat, and change, so that a table is worth having.
fn talk(scene: &Scene, client: &mut StreamClient) {
    for round in 0..6 {
        let stream = client.open("GET", "/held", &[], END_STREAM);
        let fields: String = (0..8)
            .map(|at| format!("x-{at}: {}\r\n", "v".repeat(at * 20 + round % 2)))
            .collect();
        scene.a.held().send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: test\r\n{fields}\r\nok"
        ));
        let answer = client.answer(stream);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
        for at in 0..8 {
            let value = answer.field(&format!("x-{at}")).map(str::len);
            assert_eq!(value, Some(at * 20 + round % 2));
        }
    }
}

#[test]
fn our_table_is_no_larger_than_the_client_takes() {
    let scene = Scene::start();
    // In the first SETTINGS.
    for size in [0, 1, 50, 200, 4_096, 65_536, u32::MAX] {
        let mut client = StreamClient::silent(scene.tidegate.address());
        client.send(&[PREFACE.to_vec(), setting(1, size)].concat());
        acknowledged(&mut client, 1);
        talk(&scene, &mut client);
    }
    // In the middle, up and down.
    let mut client = scene.client();
    talk(&scene, &mut client);
    for size in [200, 0, 4_096, 100, 8_192, 50, 1 << 20, 0] {
        set(&mut client, 1, size);
        talk(&scene, &mut client);
    }
    // Twice before the next answer: the smaller one has to be told.
    for pair in [[0, 4_096], [4_096, 0], [60, 300], [0, 1 << 20]] {
        client.send(&[setting(1, pair[0]), setting(1, pair[1])].concat());
        talk(&scene, &mut client);
        let both = [&setting(1, pair[1])[9..], &setting(1, pair[0])[9..]].concat();
        client.send(&frame(SETTINGS, 0, 0, &both));
        talk(&scene, &mut client);
    }
}

/// A setting that comes while an answer is under way holds for what follows.
#[test]
fn settings_may_change_within_an_answer() {
    let scene = Scene::start();
    let mut client = scene.client();
    let stream = client.open("GET", "/held", &[("te", "trailers")], END_STREAM);
    let exchange = scene.a.held();
    exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\nX-Long: 12345678\r\n\r\n");
    exchange.chunk("one");
    client.body_of(stream, 3);
    set(&mut client, 1, 0);
    exchange.chunk("two");
    exchange.send("0\r\nx-sum: 6\r\n\r\n");
    let answer = client.answer(stream);
    assert_eq!(answer.text(), "onetwo");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "6".to_owned())]);
    talk(&scene, &mut client);
}
