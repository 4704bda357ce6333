//! Blocks of HTTP/2's fields: what is read is what another reader reads.

use http::{HeaderName, HeaderValue};
use tidegate::http2::hpack::{Decoder, Field};

use crate::dice::{Change, changed, pick, time};

/// Blocks of the examples of RFC 7541 (appendix C), with and without Huffman's code, and one that changes the table's size.
const BLOCKS: [&[u8]; 8] = [
    b"\x82\x86\x84\x41\x0fwww.example.com",
    b"\x82\x86\x84\xbe\x58\x08no-cache",
    b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
    b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
    b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
    b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    b"\x3f\x31\x04\x0c/sample/path\x10\x08password\x06secret",
    b"\x20\x3f\xe1\x1f\x53\x03a=b\x0f\x13\x01c",
];

const PIECES: [&[u8]; 16] = [
    b"",
    b"\0",
    b" ",
    b"\x7f",
    b"\xff",
    b"\x80",
    b"\x20",
    b"\x3f\x01",
    b"\x40",
    b"\x0f",
    b"\x10",
    b"\xbe",
    b"\xbf",
    b"\xc0",
    b"\x41\x01a",
    b"\x7e\x01b",
];

#[test]
fn blocks_mean_what_another_reader_reads() {
    bolero::check!()
        .with_type::<Vec<(u8, Vec<Change>)>>()
        .with_iterations(usize::MAX)
        .with_test_time(time())
        .for_each(|dice| {
            let (mut ours, mut other) = (Decoder::new(4096), loona_hpack::Decoder::new());
            for (seed, changes) in dice.iter().take(6) {
                let block = changed(pick(&BLOCKS, *seed), changes, &PIECES);
                let mut read = Vec::new();
                if ours
                    .decode(&block, |field, size| read.push((field.clone(), size)))
                    .is_err()
                {
                    return;
                }
                // The other one does not take a block that only changes the table's size.
                if read.is_empty() {
                    return;
                }
                let fields = other
                    .decode(&block)
                    .unwrap_or_else(|why| panic!("{why:?}: {block:x?}"));
                assert_eq!(read.len(), fields.len(), "{read:?} of {block:x?}");
                for ((field, size), (name, value)) in read.iter().zip(&fields) {
                    assert_eq!(*size, name.len() + value.len() + 32);
                    assert!(
                        is_same(field, name, value),
                        "{field:?} of {name:x?}: {value:x?}"
                    );
                }
            }
        });
}

/// Whether a field is this one, or why it is none can be seen.
fn is_same(field: &Field, name: &[u8], value: &[u8]) -> bool {
    let is = |of: &str, text: &[u8]| name == of.as_bytes() && value == text;
    match field {
        Field::Method(method) => is(":method", method.as_str().as_bytes()),
        Field::Scheme(scheme) => is(":scheme", scheme.as_str().as_bytes()),
        Field::Authority(authority) => is(":authority", authority.as_str().as_bytes()),
        Field::Path(path) => is(":path", path.as_str().as_bytes()),
        Field::Protocol(protocol) => is(":protocol", protocol),
        Field::Regular(known, text) => is(known.as_str(), text.as_bytes()),
        Field::Malformed(_) => {
            name.starts_with(b":")
                || matches!(
                    name,
                    b"te" | b"connection" | b"transfer-encoding" | b"upgrade"
                )
                || matches!(name, b"keep-alive" | b"proxy-connection")
                || HeaderName::from_lowercase(name).is_err()
                || HeaderValue::from_bytes(value).is_err()
                || value.trim_ascii() != value
        }
    }
}
