//! What can be no field of a request.

use super::plain::write_string;
use super::*;

/// What a literal is, told twice: inserted, and by its number.
fn told(name: &[u8], value: &[u8]) -> Result<(String, Vec<u8>), &'static str> {
    let mut decoder = Decoder::new(1 << 17);
    let mut block = vec![0x40];
    write_string(&mut block, name, false);
    write_string(&mut block, value, true);
    block.push(0xbe);
    let fields = decoded(&mut decoder, &block).unwrap();
    let [first, second] = &fields[..] else {
        unreachable!("{fields:?}")
    };
    assert_eq!(first, second);
    assert_eq!(first.1, name.len() + value.len() + 32);
    first.0.clone()
}

#[test]
fn what_is_right_is_a_field() {
    let long = "v".repeat(5000);
    for (name, value) in [
        (":method", "GET"),
        (":method", "X-STRANGE!"),
        (":scheme", "https"),
        (":scheme", "web+x.1-y"),
        (":authority", "shop.test:8080"),
        (":authority", "[::1]"),
        (":path", "/"),
        (":path", "*"),
        (":path", "/a?b=c%20d"),
        (":path", "//"),
        (":protocol", "websocket"),
        (":protocol", "x/1"),
        ("te", "trailers"),
        ("accept", ""),
        ("cookie", "a=b; c"),
        ("x_y", "a b\tc"),
        ("x-y", "caf\u{e9}"),
        ("x-long", &long),
    ] {
        let field = Ok((name.to_owned(), value.as_bytes().to_vec()));
        assert_eq!(told(name.as_bytes(), value.as_bytes()), field);
    }
    for length in [1, 23, 24, 55, 56, 119, 120, 247, 248] {
        let value = vec![b'v'; length];
        assert_eq!(told(b"x", &value), Ok(("x".to_owned(), value)));
    }
}

#[test]
fn what_is_wrong_is_said() {
    const NAME: &str = "a name is empty, or not of a token's characters in lower case";
    const SPACE: &str = "a value begins or ends with white space";
    const CONTROL: &str = "a value has a control character";
    const UNKNOWN: &str = "a pseudo field is unknown";
    for (name, value, why) in [
        ("", "a", NAME),
        ("X-y", "a", NAME),
        ("Host", "a", NAME),
        ("x y", "a", NAME),
        ("x:y", "a", NAME),
        ("x\0", "a", NAME),
        ("\u{e9}", "a", NAME),
        (":", "a", UNKNOWN),
        (":Method", "GET", UNKNOWN),
        (":host", "a", UNKNOWN),
        (":status", "200", field::STATUS),
        ("x", "a\0b", CONTROL),
        ("x", "a\rb", CONTROL),
        ("x", "a\nb", CONTROL),
        ("x", "\n", CONTROL),
        ("x", "\u{7f}", CONTROL),
        ("x", " a", SPACE),
        ("x", "a ", SPACE),
        ("x", "\ta", SPACE),
        ("x", "a\t", SPACE),
        ("x", " ", SPACE),
        (":method", "", ":method is not a token"),
        (":method", "GET ", ":method is not a token"),
        (":method", "a/b", ":method is not a token"),
        (":scheme", "", ":scheme is not a scheme"),
        (":scheme", "1a", ":scheme is not a scheme"),
        (":scheme", "ht~tp", ":scheme is not a scheme"),
        (":scheme", "http:", ":scheme is not a scheme"),
        (":authority", "", field::NO_AUTHORITY),
        (":authority", "a b", ":authority is not an authority"),
        (":authority", "a/b", ":authority is not an authority"),
        (":path", "", ":path does not begin at the root"),
        (":path", "a", ":path does not begin at the root"),
        (":path", "**", ":path does not begin at the root"),
        (":path", "?a", ":path does not begin at the root"),
        (":path", "http://a/", ":path does not begin at the root"),
        (":path", "/a#b", ":path has a fragment"),
        (":path", "/a b", ":path is not a path"),
        (":path", "/a\0", ":path is not a path"),
        (":protocol", "", ":protocol is not a protocol"),
        (":protocol", "a b", ":protocol is not a protocol"),
        ("connection", "close", field::OF_CONNECTION),
        ("proxy-connection", "a", field::OF_CONNECTION),
        ("keep-alive", "a", field::OF_CONNECTION),
        ("transfer-encoding", "chunked", field::OF_CONNECTION),
        ("upgrade", "h2c", field::OF_CONNECTION),
        ("te", "", "te is not trailers"),
        ("te", "gzip", "te is not trailers"),
        ("te", "trailers, gzip", "te is not trailers"),
    ] {
        assert_eq!(
            told(name.as_bytes(), value.as_bytes()),
            Err(why),
            "{name:?}: {value:?}"
        );
    }
    let long = vec![b'a'; 1 << 16];
    assert_eq!(told(&long, b"a"), Err(NAME));
}

#[test]
fn the_table_is_right_behind_what_is_wrong() {
    let mut decoder = Decoder::new(4096);
    // `x: a` and a NUL, inserted; the same name with another value; and `X: a` inserted, whose name helps nobody.
    let block = [
        0x40, 1, b'x', 2, b'a', 0, 0x7e, 1, b'b', 0x40, 1, b'X', 1, b'a', 0x7e, 1, b'b',
    ];
    let fields = decoded(&mut decoder, &block).unwrap();
    let right: Vec<bool> = fields.iter().map(|(field, _)| field.is_ok()).collect();
    assert_eq!(right, [false, true, false, false]);
    assert_eq!(decoder.table.size(), 35 + 34 + 34 + 34);
    let again = decoded(&mut decoder, &[0xc1, 0xc0, 0xbf, 0xbe]).unwrap();
    assert_eq!(again, fields);
}
