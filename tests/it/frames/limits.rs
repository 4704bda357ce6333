//! How many streams there may be, and how large a head (RFC 9113, sections 5.1.2 and 10.5.1).

use super::{Fate, Scene, asking, fate, opening};
use crate::support::StreamClient;
use crate::support::stream_client::{
    CANCEL, COMPRESSION_ERROR, CONTINUATION, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS,
    PROTOCOL_ERROR, REFUSED_STREAM, block, frame,
};

/// A stream is over for the limit once both sides have ended it, or one has reset it.
#[test]
fn streams_that_are_over_make_room() {
    let scene = Scene::with(|setup| setup.listener("limits: { streams: 3 }"));
    let mut client = scene.client();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push((client.open("POST", "/held", &[], 0), scene.a.held()));
    }
    let refused = |client: &mut StreamClient| {
        let stream = client.ask("/refused");
        assert_eq!(client.answer(stream).reset, Some(REFUSED_STREAM));
    };
    refused(&mut client);
    refused(&mut client);
    // Its upload is over, and its answer is not.
    client.data(held[0].0, b"", END_STREAM);
    held[0].1.whole_request();
    refused(&mut client);
    let (stream, exchange) = held.remove(0);
    exchange.answer("ok");
    assert_eq!(client.answer(stream).text(), "ok");
    assert_eq!(client.get("/room").status(), 200);
    // Reset by the client ...
    let (stream, exchange) = held.remove(0);
    client.reset(stream, CANCEL);
    exchange.end();
    assert_eq!(client.get("/room").status(), 200);
    // ... and by us.
    let wrong = client.open("GET", "/wrong", &[("connection", "x")], END_STREAM);
    assert!(client.answer(wrong).is_over());
    for _ in 0..10 {
        assert_eq!(client.get("/room").status(), 200);
    }
    held.push((client.ask("/held"), scene.a.held()));
    held.push((client.ask("/held"), scene.a.held()));
    refused(&mut client);
    assert_eq!(scene.a.asked("/refused"), 0);
}

/// What is refused has its own body, trailers and reset to come: they are nobody's fault, and not counted as one.
#[test]
fn a_stream_that_is_refused_may_still_send() {
    let scene = Scene::with(|setup| setup.listener("limits: { streams: 1, stream_errors: 5 }"));
    let mut client = scene.client();
    let held = client.ask("/held");
    let exchange = scene.a.held();
    for _ in 0..5 {
        let stream = client.open("POST", "/refused", &[], 0);
        client.data(stream, b"body", 0);
        client.reset(stream, CANCEL);
        assert_eq!(client.answer(stream).reset, Some(REFUSED_STREAM));
        let stream = client.open("POST", "/refused", &[], 0);
        client.data(stream, b"body", END_STREAM);
        assert_eq!(client.answer(stream).reset, Some(REFUSED_STREAM));
    }
    exchange.answer("ok");
    assert_eq!(client.answer(held).text(), "ok");
    assert_eq!(client.get("/room").status(), 200);
    assert_eq!(scene.a.asked("/refused"), 0);
}

/// A head in as many frames as it needs.
fn in_frames(fields: &[u8]) -> Vec<u8> {
    let mut pieces = fields.chunks(16_384).peekable();
    let mut frames = Vec::new();
    let mut kind = HEADERS;
    let mut flags = END_STREAM;
    while let Some(piece) = pieces.next() {
        let last = u8::from(pieces.peek().is_none()) * END_HEADERS;
        frames.extend(frame(kind, flags | last, 1, piece));
        (kind, flags) = (CONTINUATION, 0);
    }
    frames
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let scene = Scene::start();
    let value = "v".repeat(1_000);
    let many = vec![("x", "1"); 101];
    for (what, fields) in [
        ("100 KiB in fields", block(&[("x-large", &value[..]); 100])),
        (
            "100 KiB in one field",
            block(&[("x-large", &value.repeat(100)[..])]),
        ),
        ("101 fields", block(&many)),
        ("300 KiB", block(&[("x-large", &value[..]); 300])),
    ] {
        let mut client = scene.client();
        let _ = client.try_send(&in_frames(&[asking("/large"), fields].concat()));
        match fate(&mut client, 1) {
            Fate::Whole(answer) => assert_eq!(answer.status(), 431, "{what}"),
            Fate::Reset(code) | Fate::Broken(Some(code)) => assert!(
                [PROTOCOL_ERROR, ENHANCE_YOUR_CALM, COMPRESSION_ERROR, CANCEL].contains(&code),
                "{what}: {code}"
            ),
            Fate::Broken(None) => panic!("{what}: no word"),
        }
    }
    // Just below the limit all is well.
    let mut client = scene.client();
    let fields = block(&[("x-large", &value[..]); 50]);
    client.send(&in_frames(&[asking("/fits"), fields].concat()));
    assert_eq!(client.answer(1).status(), 200);
    assert_eq!(scene.a.asked("/large"), 0);
}

/// What is too large is answered, but not listened to for ever: a head may be in 128 frames, and be twice as large as one that is
/// served, and a frame.
#[test]
fn a_head_that_goes_on_and_on_ends_the_connection() {
    let scene = Scene::with(|setup| setup.listener("limits: { header_size: 8KiB }"));
    let in_pieces = |count: usize| {
        let begin = frame(HEADERS, END_STREAM, 1, &asking("/pieces"));
        let more = frame(CONTINUATION, 0, 1, &[]).repeat(count - 2);
        [begin, more, frame(CONTINUATION, END_HEADERS, 1, &[])].concat()
    };
    let of_size = |size: usize| {
        let value = |length: usize| {
            let value = "v".repeat(length);
            [asking("/size"), block(&[("x-large", &value)])].concat()
        };
        let over = value(size).len() - size;
        let fields = value(size - over);
        assert_eq!(fields.len(), size);
        in_frames(&fields)
    };
    let most = 2 * 8 * 1024 + 16 * 1024;
    for (what, status, within, behind) in [
        ("frames", 200, in_pieces(128), in_pieces(129)),
        ("bytes", 431, of_size(most), of_size(most + 1)),
    ] {
        let mut client = scene.client();
        client.send(&within);
        assert_eq!(client.answer(1).status(), status, "{what}");
        assert_eq!(client.get("/x").status(), 200, "{what}");
        scene.breaks(what, &[behind], &[ENHANCE_YOUR_CALM]);
    }
    assert_eq!((scene.a.asked("/pieces"), scene.a.asked("/size")), (1, 0));
}

/// Trailers are no way around it, and their request never looks whole.
#[test]
fn trailers_that_are_too_large_are_refused() {
    let scene = Scene::start();
    let value = "v".repeat(1_000);
    let mut client = scene.client();
    client.send(&opening(1, "/held", 0));
    let exchange = scene.a.held();
    let _ = client.try_send(&in_frames(&block(&[("x-large", &value[..]); 300])));
    match fate(&mut client, 1) {
        Fate::Whole(answer) => assert!([400, 431].contains(&answer.status()), "{answer:?}"),
        Fate::Reset(_) | Fate::Broken(Some(_)) => {}
        Fate::Broken(None) => panic!("no word"),
    }
    exchange.end();
    assert!(!exchange.request().whole);
}

/// Few resets are everyday life; `limits.resets` of them at a time are not an attack yet.
#[test]
fn some_resets_are_forgiven() {
    let scene = Scene::start();
    let mut client = scene.client();
    let mut stream = 1;
    for _ in 0..20 {
        let mut some = Vec::new();
        for _ in 0..10 {
            some.extend(opening(stream, "/reset", END_STREAM));
            some.extend(frame(3, 0, stream, &CANCEL.to_be_bytes()));
            stream += 2;
        }
        client.send(&some);
        // By then they have been looked at.
        client.settle();
        client.settle();
    }
    assert_eq!(client.get("/x").status(), 200);
    assert!(client.seen().goaways.is_empty());
}

/// Cancelling an answer that has begun is right, however often; none of it stays behind.
#[test]
fn answers_may_be_cancelled_once_they_have_begun() {
    let scene = Scene::start();
    let mut client = scene.client();
    for _ in 0..60 {
        let stream = client.ask("/held");
        let exchange = scene.a.held();
        exchange.begin();
        client.until("a head", |seen| {
            (seen.streams.get(&stream)?.status() == 200).then_some(())
        });
        client.reset(stream, CANCEL);
        exchange.end();
    }
    scene.tidegate.in_flight("a", 0);
    assert_eq!(client.get("/x").status(), 200);
}

/// `limits.stream_errors`: so many mistakes are forgiven, and one more is not.
#[test]
fn mistakes_are_counted() {
    let scene = Scene::with(|setup| setup.listener("limits: { stream_errors: 10 }"));
    let mut client = scene.client();
    let mut wrong = 0;
    let fate = loop {
        let stream = client.open("GET", "/wrong", &[("connection", "x")], END_STREAM);
        match fate(&mut client, stream) {
            Fate::Reset(PROTOCOL_ERROR) => wrong += 1,
            other => break other,
        }
        assert!(wrong <= 11, "{wrong}");
    };
    assert!(wrong >= 9, "{wrong}");
    assert!(
        matches!(fate, Fate::Broken(Some(ENHANCE_YOUR_CALM))),
        "{fate:?}"
    );
    assert_eq!(scene.a.asked("/wrong"), 0);
}
