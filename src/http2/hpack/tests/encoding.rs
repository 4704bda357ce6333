//! What the encoder writes, read by the plain table and by our decoder.

use bytes::BytesMut;
use http::StatusCode;
use proptest::prelude::*;

use super::plain::{Plain, PlainTable, Told};
use super::*;

/// An encoder, and the client that reads what it writes.
struct Both {
    encoder: Encoder,
    client: PlainTable,
}

impl Both {
    fn new() -> Self {
        Self {
            encoder: Encoder::new(),
            client: PlainTable::new(4096),
        }
    }

    /// The fields of a response as the client reads them, `:status` among them, and the block's length.
    fn respond(&mut self, status: u16, fields: &[(&str, &str)]) -> (Vec<(Plain, Told)>, usize) {
        let mut block = BytesMut::new();
        self.encoder
            .begin(&mut block, StatusCode::from_u16(status).unwrap());
        for (name, value) in fields {
            self.encoder
                .field(&mut block, name.as_bytes(), value.as_bytes());
        }
        (self.client.read(&block), block.len())
    }

    /// How the client is told this one field, time after time.
    fn told(&mut self, name: &str, values: &[&str]) -> Vec<Told> {
        values
            .iter()
            .map(|value| {
                let (fields, _) = self.respond(200, &[(name, value)]);
                let ((read_name, read_value), told) = fields.into_iter().next_back().unwrap();
                assert_eq!(read_name, name.to_ascii_lowercase().into_bytes());
                assert_eq!(read_value, value.as_bytes());
                told
            })
            .collect()
    }
}

#[test]
fn what_repeats_is_one_byte() {
    let mut both = Both::new();
    let fields = [
        ("Server", "nginx/1.27"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("content-type", "text/html"),
        ("content-length", "612"),
        ("X-Served-By", "web-1"),
    ];
    let lengths = [0; 3].map(|_| both.respond(200, &fields).1);
    // `:status`, three by number, six bytes of a length; and the last one's name and value, until it has come twice.
    assert_eq!(lengths[1..], [1 + 3 + 6 + 1 + 12 + 6, 1 + 3 + 6 + 1]);
    assert!(lengths[0] > 60);
}

#[test]
fn each_name_has_its_habit() {
    use Told::{Indexed, Inserted, Literal, Secret};
    let mut both = Both::new();
    for name in [
        "Server",
        "DATE",
        "vary",
        "Content-Type",
        "cache-control",
        "via",
    ] {
        let told = both.told(name, &["a", "a", "b", "b", "a"]);
        assert_eq!(
            told,
            [Inserted, Indexed, Inserted, Indexed, Inserted],
            "{name}"
        );
    }
    for name in ["expires", "Allow", "x-one", "X-Two", "x", ""] {
        let told = both.told(name, &["a", "a", "a", "b", "a", "a", "a"]);
        let expected = [
            Literal, Inserted, Indexed, Literal, Literal, Inserted, Indexed,
        ];
        assert_eq!(told, expected, "{name}");
    }
    for name in ["content-length", "ETag", "location", "last-modified", "age"] {
        assert_eq!(both.told(name, &["a", "a", "a"]), [Literal; 3], "{name}");
    }
    for name in ["set-cookie", "WWW-Authenticate"] {
        assert_eq!(both.told(name, &["a", "a", "a"]), [Secret; 3], "{name}");
    }
    // The fixed table has these without a value.
    assert_eq!(both.told("Vary", &["", ""]), [Indexed; 2]);
    // Spelled in another way it is another one, and still the same field.
    assert_eq!(
        both.told("X-ONE", &["a", "a", "a"]),
        [Literal, Inserted, Indexed]
    );
    // One must not drive out all others.
    let long = "a".repeat(1024);
    assert_eq!(both.told("server", &[&long, &long]), [Literal; 2]);
    assert_eq!(both.told("x-one", &[&long, &long]), [Literal; 2]);
}

#[test]
fn knows_names_as_the_fixed_table_has_them() {
    let mut places = Vec::new();
    for (index, (name, _)) in super::plain::FIXED.iter().enumerate() {
        for name in [(*name).to_owned(), name.to_ascii_uppercase()] {
            let Some(found) = known::known(name.as_bytes()) else {
                continue;
            };
            assert_eq!(usize::from(found.index), index + 1, "{name}");
            if let known::Habit::Repeats(place) | known::Habit::MayRepeat(place) = found.habit {
                places.push(place);
            }
        }
        // One character else is another name.
        for at in 0..name.len() {
            let mut other = name.as_bytes().to_vec();
            other[at] = if other[at] == b'q' { b'z' } else { b'q' };
            assert_eq!(known::known(&other), None, "{name}");
        }
    }
    places.sort_unstable();
    let expected: Vec<_> = (0..known::PLACES).flat_map(|place| [place; 2]).collect();
    assert_eq!(places, expected, "each place is one name's");
}

#[test]
fn every_status_arrives() {
    let mut both = Both::new();
    for status in 100..1000 {
        let (fields, length) = both.respond(status, &[]);
        assert_eq!(fields.len(), 1);
        let (name, value) = &fields[0].0;
        assert_eq!(
            (&name[..], &value[..]),
            (&b":status"[..], status.to_string().as_bytes())
        );
        assert!(length == 1 || length == 5);
    }
}

#[test]
fn the_size_is_told_in_front_of_the_next_block() {
    let begun = |sizes: &[usize]| {
        let mut encoder = Encoder::new();
        for max in sizes {
            encoder.resize(*max);
        }
        let mut block = BytesMut::new();
        encoder.begin(&mut block, StatusCode::OK);
        let first = block.len();
        encoder.begin_trailers(&mut block);
        assert_eq!(block.len(), first, "told once");
        block.to_vec()
    };
    assert_eq!(begun(&[]), [0x88]);
    assert_eq!(begun(&[4096]), [0x88]);
    assert_eq!(begun(&[1 << 20]), [0x88], "we use no more");
    assert_eq!(begun(&[0]), [0x20, 0x88]);
    assert_eq!(begun(&[10, 5, 20]), [0x25, 0x34, 0x88]);
    assert_eq!(begun(&[20, 5]), [0x25, 0x88]);
    assert_eq!(begun(&[0, 4096]), [0x20, 0x3f, 0xe1, 0x1f, 0x88]);
    assert_eq!(begun(&[0, 1 << 20]), [0x20, 0x3f, 0xe1, 0x1f, 0x88]);
}

/// A field of responses. Few values, so that some repeat.
fn field() -> impl Strategy<Value = (String, String)> {
    let names = prop::sample::select(vec![
        "Server",
        "date",
        "Content-Type",
        "content-length",
        "vary",
        "Expires",
        "set-cookie",
        "x-a",
        "X-A",
        "x-bb",
        "etag",
        "X-A-Name-That-Is-Longer-Than-Most",
    ]);
    let values = prop_oneof![
        4 => prop::sample::select(vec!["", "a", "b"]).prop_map(str::to_owned),
        1 => "[ -~]{1,200}",
        1 => Just("c".repeat(900)),
    ];
    (names, values).prop_map(|(name, value)| (name.to_owned(), value))
}

proptest! {
    #[test]
    fn clients_read_what_is_written(
        blocks in prop::collection::vec(
            (
                prop::collection::vec(prop_oneof![0usize..300, 0usize..6000], 0..3),
                prop::collection::vec(field(), 0..15),
                any::<bool>(),
            ),
            1..30,
        ),
    ) {
        let mut both = Both::new();
        let mut decoder = Decoder::new(4096);
        for (sizes, fields, is_trailers) in blocks {
            for max in sizes {
                both.encoder.resize(max);
            }
            let mut block = BytesMut::new();
            if is_trailers {
                both.encoder.begin_trailers(&mut block);
            } else {
                both.encoder.begin(&mut block, StatusCode::OK);
            }
            for (name, value) in &fields {
                both.encoder.field(&mut block, name.as_bytes(), value.as_bytes());
            }
            let expected: Vec<Plain> = (!is_trailers)
                .then(|| (b":status".to_vec(), b"200".to_vec()))
                .into_iter()
                .chain(fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase().into(), value.into())))
                .collect();
            let read = both.client.read(&block).into_iter().map(|(field, _)| field);
            prop_assert_eq!(read.collect::<Vec<_>>(), expected.clone());
            // Our decoder sees the same sizes, and keeps the same table.
            let told = decoded(&mut decoder, &block).unwrap();
            let sizes: Vec<_> = told.iter().map(|(_, size)| *size).collect();
            let expected: Vec<_> = expected.iter().map(|(name, value)| name.len() + value.len() + 32).collect();
            prop_assert_eq!(sizes, expected);
            prop_assert_eq!(decoder.table.size(), both.client.size());
        }
    }
}
