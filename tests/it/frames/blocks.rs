//! Blocks of fields: in pieces (RFC 9113, sections 4.3 and 6.10), and as they are packed (RFC 7541).

use super::{Scene, UNPACKED, asking, opening};
use crate::support::StreamClient;
use crate::support::stream_client::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, PROTOCOL_ERROR,
    REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};

#[test]
fn a_head_may_be_cut_anywhere() {
    let scene = Scene::start();
    let mut client = scene.client();
    let fields = [asking("/cut"), block(&[("x-cut", "value")])].concat();
    let mut stream = 1;
    for at in 0..=fields.len() {
        let (front, back) = fields.split_at(at);
        client.frame(HEADERS, END_STREAM, stream, front);
        client.frame(CONTINUATION, END_HEADERS, stream, back);
        stream += 2;
    }
    for each in (1..stream).step_by(2) {
        assert_eq!(client.answer(each).status(), 200);
    }
    // A byte in a frame of its own, and empty ones. More pieces than a few may be taken for an attack.
    for at in 0..fields.len() {
        client.frame(HEADERS, END_STREAM, stream, &[]);
        client.frame(CONTINUATION, 0, stream, &fields[..at]);
        client.frame(CONTINUATION, 0, stream, &fields[at..=at]);
        client.frame(CONTINUATION, 0, stream, &fields[at + 1..]);
        client.frame(CONTINUATION, END_HEADERS, stream, &[]);
        assert_eq!(client.answer(stream).status(), 200);
        stream += 2;
    }
    let requests = scene.a.requests();
    assert_eq!(requests.len(), fields.len() * 2 + 1);
    assert!(
        requests
            .iter()
            .all(|it| it.head.field("x-cut") == Some("value") && it.path() == "/cut")
    );
}

#[test]
fn trailers_may_be_cut_too() {
    let scene = Scene::start();
    let mut client = scene.client();
    let stream = client.open("POST", "/held", &[], 0);
    client.data(stream, b"body", 0);
    let trailers = block(&[("x-one", "1"), ("x-two", "2")]);
    client.frame(HEADERS, END_STREAM, stream, &trailers[..5]);
    client.frame(CONTINUATION, 0, stream, &trailers[5..9]);
    client.frame(CONTINUATION, END_HEADERS, stream, &trailers[9..]);
    let exchange = scene.a.held();
    let request = exchange.whole_request();
    assert_eq!(
        (&request.body[..], request.trailers.len()),
        (&b"body"[..], 2)
    );
    exchange.answer("ok");
    assert_eq!(client.answer(stream).text(), "ok");
}

#[test]
fn nothing_comes_between_the_pieces_of_a_head() {
    let scene = Scene::start();
    let begun = frame(HEADERS, END_STREAM, 3, &asking("/between")[..10]);
    for (what, between) in [
        ("DATA of another stream", frame(DATA, 0, 1, b"x")),
        ("DATA of its own", frame(DATA, 0, 3, b"x")),
        ("another head", opening(5, "/between", END_STREAM)),
        ("its own head again", opening(3, "/between", END_STREAM)),
        (
            "another's CONTINUATION",
            frame(CONTINUATION, END_HEADERS, 1, &asking("/between")),
        ),
        (
            "the connection's CONTINUATION",
            frame(CONTINUATION, END_HEADERS, 0, &[]),
        ),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PING", frame(PING, 0, 0, b"12345678")),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("RST_STREAM", frame(RST_STREAM, 0, 3, &CANCEL.to_be_bytes())),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
        ("an unknown frame", frame(0xbb, 0, 0, b"x")),
        (
            "an unknown frame of the stream",
            frame(0xbb, END_HEADERS, 3, b"x"),
        ),
    ] {
        let frames = [opening(1, "/held", 0), begun.clone(), between];
        scene.breaks(what, &frames, &[PROTOCOL_ERROR]);
    }
    assert_eq!(scene.a.asked("/between"), 0);
}

#[test]
fn a_continuation_continues_something() {
    let scene = Scene::start();
    let one = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "1")]));
    for (what, before) in [
        ("nothing", vec![]),
        ("a whole head", vec![opening(1, "/held", 0)]),
        ("an ended stream", vec![opening(1, "/held", END_STREAM)]),
        (
            "DATA",
            vec![opening(1, "/held", 0), frame(DATA, 0, 1, b"x")],
        ),
        (
            "a head that has ended in pieces",
            vec![
                frame(HEADERS, END_STREAM, 1, &asking("/held")),
                frame(CONTINUATION, END_HEADERS, 1, &[]),
            ],
        ),
    ] {
        let frames = [&before[..], std::slice::from_ref(&one)].concat();
        scene.breaks(what, &frames, &[PROTOCOL_ERROR]);
    }
}

/// A request's head with these bytes behind it.
fn packed(more: &[u8]) -> Vec<u8> {
    let fields = [&asking("/packed")[..], more].concat();
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)
}

#[test]
fn what_cannot_be_unpacked_ends_the_connection() {
    let scene = Scene::start();
    let before = |size: &[u8]| {
        let fields = [size, &asking("/packed")].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)
    };
    for (what, wrong) in [
        ("index 0", packed(&[0x80])),
        ("an index behind the static table", packed(&[0xbe])),
        ("an index far behind", packed(&[0xff, 0xff, 0xff, 0x7f])),
        (
            "an index larger than any number",
            packed(&[
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ]),
        ),
        ("a name behind the table", packed(&[0x7f, 0x20, 1, b'v'])),
        (
            "a name behind the table, not remembered",
            packed(&[0x0f, 0x7f, 1, b'v']),
        ),
        ("a number that does not end", packed(&[0xff, 0xff])),
        (
            "a string longer than its block",
            packed(&[0x00, 1, b'x', 9, b'v']),
        ),
        (
            "a name longer than its block",
            packed(&[0x00, 0x7f, 0xff, 0xff, 0x03, b'x']),
        ),
        ("a string without its length", packed(&[0x00, 1, b'x'])),
        ("a name and nothing else", packed(&[0x00])),
        // Five bits of `a` (00011), and then not the front of EOS.
        ("a padding of zeros", packed(&[0x00, 1, b'x', 0x81, 0x18])),
        (
            "a padding of a whole byte",
            packed(&[0x00, 1, b'x', 0x82, 0x1f, 0xff]),
        ),
        ("nothing but padding", packed(&[0x00, 1, b'x', 0x81, 0xff])),
        (
            "EOS",
            packed(&[0x00, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
        ),
        (
            "EOS between letters",
            packed(&[0x00, 1, b'x', 0x85, 0x1f, 0xff, 0xff, 0xff, 0xe3]),
        ),
        (
            "a padding of zeros in a name",
            packed(&[0x00, 0x81, 0x18, 1, b'v']),
        ),
        ("a table larger than it may be", before(&[0x3f, 0xe2, 0x1f])),
        (
            "a table of 4 GiB",
            before(&[0x3f, 0xe0, 0xff, 0xff, 0xff, 0x0f]),
        ),
        ("another size behind the fields", packed(&[0x20])),
        (
            "another size between the fields",
            packed(&[&[0x20][..], &block(&[("x", "1")])].concat()),
        ),
    ] {
        scene.breaks(what, &[wrong], &UNPACKED);
    }
    // It is no matter where the block ends up: in trailers, or with a stream that has been reset.
    let trailers = [
        opening(1, "/held", 0),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
    ];
    scene.breaks("trailers", &trailers, &UNPACKED);
    assert_eq!(scene.a.asked("/packed"), 0);
}

/// A head in few bytes: those fields that are not in the static table are remembered, or named by what was remembered.
fn short(client: &mut StreamClient, stream: u32, fields: &[u8]) -> u16 {
    client.frame(HEADERS, END_HEADERS | END_STREAM, stream, fields);
    client.answer(stream).status()
}

#[test]
fn what_is_remembered_holds_for_the_whole_connection() {
    let scene = Scene::start();
    let mut client = scene.client();
    // GET, http; `:path` and `:authority` by their static names, and a field that is new.
    let first = [
        &[0x82, 0x86][..],
        b"\x44\x07/static",
        b"\x41\x09shop.test",
        b"\x40\x03x-a\x0bremembered!",
    ]
    .concat();
    assert_eq!(short(&mut client, 1, &first), 200);
    // The newest comes first: x-a, :authority, :path.
    assert_eq!(short(&mut client, 3, &[0x82, 0x86, 0xc0, 0xbf, 0xbe]), 200);
    // A name that was remembered, with a value that is not; and one that must never be.
    let name = [
        &[0x82, 0x86, 0xc0, 0xbf][..],
        b"\x0f\x2f\x01n",
        b"\x1f\x2f\x06secret",
    ]
    .concat();
    assert_eq!(short(&mut client, 5, &name), 200);
    // In Huffman code, and remembered: `x-b: www.example.com`.
    let code = [
        0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
    ];
    let huffman = [
        &[0x82, 0x86, 0xc0, 0xbf, 0x40, 3][..],
        b"x-b",
        &[0x8c],
        &code,
    ]
    .concat();
    assert_eq!(short(&mut client, 7, &huffman), 200);
    assert_eq!(short(&mut client, 9, &[0x82, 0x86, 0xc1, 0xc0, 0xbe]), 200);
    // What is malformed is remembered all the same: the block was right. Here `x-c: 1` with a field of a connection.
    let wrong = [
        &[0x82, 0x86, 0xc1, 0xc0][..],
        b"\x40\x03x-c\x011",
        b"\x00\x0aconnection\x01x",
    ]
    .concat();
    client.frame(HEADERS, END_HEADERS | END_STREAM, 11, &wrong);
    let answer = client.answer(11);
    assert!(
        answer.reset == Some(PROTOCOL_ERROR) || answer.status() == 400,
        "{answer:?}"
    );
    assert_eq!(short(&mut client, 13, &[0x82, 0x86, 0xc2, 0xc1, 0xbe]), 200);
    let seen: Vec<_> = scene
        .a
        .requests()
        .into_iter()
        .map(|request| {
            let of = |name: &str| {
                request
                    .head
                    .fields
                    .iter()
                    .filter(|(own, _)| own == name)
                    .map(|(_, value)| value.clone())
                    .collect::<Vec<_>>()
                    .join("|")
            };
            assert_eq!(
                (request.path(), request.head.field("host")),
                ("/static", Some("shop.test"))
            );
            (of("x-a"), of("x-b"), of("x-c"))
        })
        .collect();
    let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(
        seen,
        [
            text("remembered!", "", ""),
            text("remembered!", "", ""),
            text("n|secret", "", ""),
            text("", "www.example.com", ""),
            text("", "www.example.com", ""),
            text("", "", "1"),
        ]
    );
}

/// Streams that are refused, or reset by their client at once, change the table as others do.
#[test]
fn what_is_not_served_is_remembered_too() {
    let scene = Scene::with(|setup| setup.listener("limits: { streams: 1 }"));
    let mut client = scene.client();
    let held = client.ask("/held");
    let exchange = scene.a.held();
    let first = [&[0x82, 0x86][..], b"\x44\x08/refused", b"\x41\x09shop.test"].concat();
    client.frame(HEADERS, END_HEADERS | END_STREAM, 3, &first);
    assert_eq!(client.answer(3).reset, Some(REFUSED_STREAM));
    // Trailers for a stream that is gone.
    client.frame(HEADERS, END_HEADERS, 5, &[0x82, 0x86, 0xbf, 0xbe]);
    client.reset(5, CANCEL);
    exchange.answer("ok");
    assert_eq!(client.answer(held).text(), "ok");
    scene.tidegate.in_flight("a", 0);
    assert_eq!(short(&mut client, 7, &[0x82, 0x86, 0xbf, 0xbe]), 200);
    assert_eq!(scene.a.asked("/refused"), 1);
}

#[test]
fn a_client_may_change_the_size_of_its_table() {
    let scene = Scene::start();
    let mut client = scene.client();
    let first = [&[0x82, 0x86][..], b"\x44\x03/in", b"\x41\x09shop.test"].concat();
    assert_eq!(short(&mut client, 1, &first), 200);
    assert_eq!(short(&mut client, 3, &[0x82, 0x86, 0xbf, 0xbe]), 200);
    // To nothing and up again: all is forgotten, and then new things are remembered.
    let again = [
        &[0x20, 0x3f, 0xe1, 0x1f, 0x82, 0x86][..],
        b"\x44\x04/new",
        b"\x41\x09shop.test",
    ]
    .concat();
    assert_eq!(short(&mut client, 5, &again), 200);
    assert_eq!(short(&mut client, 7, &[0x82, 0x86, 0xbf, 0xbe]), 200);
    // There is room for one of 32 + 10 + 9 bytes, and not for two: `:path` goes when `:authority` comes.
    let small = [
        &[0x3f, 0x14, 0x82, 0x86][..],
        b"\x44\x06/small",
        b"\x41\x09shop.test",
    ]
    .concat();
    assert_eq!(short(&mut client, 9, &small), 200);
    let named = [&[0x82, 0x86, 0xbe][..], b"\x04\x06/named"].concat();
    assert_eq!(short(&mut client, 11, &named), 200);
    // What is larger than the table empties it.
    let large = [
        &[0x82, 0x86, 0xbe][..],
        b"\x44\x06/large",
        b"\x40\x01x\x7f\x49",
        &[b'v'; 200],
    ]
    .concat();
    assert_eq!(short(&mut client, 13, &large), 200);
    assert_eq!(
        scene.a.paths(),
        ["/in", "/in", "/new", "/new", "/small", "/named", "/large"]
    );
    scene.client_breaks(
        client,
        "an entry that is gone",
        &[frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            15,
            &[0x82, 0x86, 0x84, 0xbe],
        )],
        &UNPACKED,
    );
}
