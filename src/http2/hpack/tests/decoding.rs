//! What the decoder makes of blocks that any encoder could have written, and of any bytes.

use proptest::prelude::*;

use super::plain::{FIXED, Plain, PlainTable, Told, write_number, write_string};
use super::*;

#[test]
fn the_fixed_table_is_that_of_the_appendix() {
    let mut decoder = Decoder::new(0);
    for (index, (name, value)) in FIXED.iter().enumerate() {
        let told = decoded(&mut decoder, &[0x80 | (index + 1) as u8]).unwrap();
        let [(field, size)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(*size, name.len() + value.len() + 32);
        match field {
            Ok((told, held)) => assert_eq!((&**told, &held[..]), (*name, value.as_bytes())),
            Err(_) => assert!([":authority", ":status", "transfer-encoding"].contains(name)),
        }
        // A value that all of these names may have but those that have none.
        let mut block = Vec::new();
        write_number(&mut block, 0, 4, index + 1);
        write_string(
            &mut block,
            if *name == ":path" { b"/x" } else { b"x" },
            false,
        );
        let told = decoded(&mut decoder, &block).unwrap();
        match &told[0].0 {
            Ok((told, _)) => assert_eq!(told, name),
            Err(_) => assert!([":status", "transfer-encoding"].contains(name)),
        }
    }
}

#[test]
fn refuses_numbers_that_are_in_no_table() {
    for block in [
        &[0x80][..],
        &[0xbe],
        &[0xff, 0x00],
        &[0x7f, 0x00, 0x00],
        &[0x0f, 0x2f, 0x00],
    ] {
        let flaw = decoded(&mut Decoder::new(4096), block);
        assert_eq!(
            flaw,
            Err(Flaw("a field's number is not in the table")),
            "{block:x?}"
        );
    }
}

#[test]
fn the_size_changes_in_front_of_a_block_at_most_twice_and_within_bounds() {
    let decode = |blocks: &[&[u8]]| {
        let mut decoder = Decoder::new(4096);
        let told: Vec<_> = blocks
            .iter()
            .map(|block| decoded(&mut decoder, block))
            .collect();
        told.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(decoder.table.inserted().count())
    };
    // `a: b` inserted, then the table's sizes: 31, 4096, 4097, 0.
    let insert: &[u8] = &[0x40, 1, b'a', 1, b'b'];
    let (small, whole, large, none) =
        ([0x3f, 0x00], [0x3f, 0xe1, 0x1f], [0x3f, 0xe2, 0x1f], [0x20]);
    assert_eq!(decode(&[insert]), Ok(1));
    assert_eq!(decode(&[insert, &whole]), Ok(1));
    assert_eq!(decode(&[insert, &small]), Ok(0));
    assert_eq!(decode(&[insert, &[&none[..], &whole[..]].concat()]), Ok(0));
    assert_eq!(
        decode(&[insert, &[&none[..], &whole[..], insert].concat()]),
        Ok(1)
    );
    assert_eq!(
        decode(&[&large]),
        Err(Flaw("the table's size is larger than we allow"))
    );
    let flaw = Err(Flaw(
        "the table's size changes within a block, or too often",
    ));
    assert_eq!(decode(&[&[insert, &none].concat()]), flaw);
    assert_eq!(decode(&[&[0x82, 0x20]]), flaw);
    assert_eq!(decode(&[&[0x20, 0x20, 0x20]]), flaw);
}

#[test]
fn a_path_is_what_it_is_also_behind_another() {
    let mut decoder = Decoder::new(4096);
    let paths = [
        "/a", "/a", "/ab", "/a", "/", "", "", "/a b", "/a b", "/a", "/a",
    ];
    let long = "/".repeat(400);
    for path in paths.into_iter().chain([&*long, &*long, "/a"]) {
        for coded in [false, true, true, false] {
            let mut block = vec![4];
            write_string(&mut block, path.as_bytes(), coded);
            block.push(0x82);
            let told = decoded(&mut decoder, &block).unwrap();
            let expected = decoded(&mut Decoder::new(4096), &block).unwrap();
            assert_eq!(told, expected);
            assert_eq!(told[0].0.is_ok(), path.starts_with('/') && path != "/a b");
            let last = decoder.last_path.as_ref().unwrap();
            assert_eq!(last.text == block[1..block.len() - 1], path.len() < 256);
            // Without its last byte it is none.
            assert!(decoded(&mut decoder, &block[..block.len() - 2]).is_err());
        }
    }
}

/// A field of requests, often one that was there before.
fn field() -> impl Strategy<Value = Plain> {
    let names = prop::sample::select(
        &[
            ":authority",
            ":path",
            "accept",
            "cookie",
            "x-a",
            "x-b",
            "user-agent",
            "x-a-name-that-is-longer-than-most-others",
        ][..],
    );
    let values = prop_oneof![
        prop::sample::select(&["a", "b", "gzip, deflate", "x.test"][..]).prop_map(str::to_owned),
        "[a-z0-9.]{1,300}",
    ];
    (names, values).prop_filter_map("a host", |(name, value)| {
        let value = if name == ":path" {
            format!("/{}", value.replace(' ', ""))
        } else {
            value
        };
        (name != ":authority" || value.len() < 200 && !value.contains(','))
            .then(|| (name.as_bytes().to_vec(), value.into_bytes()))
    })
}

/// How to tell one: the form, whether strings are in the code, and whether a name is told by its number where it can be.
fn told() -> impl Strategy<Value = (Told, bool, bool, bool)> {
    let forms = vec![Told::Indexed, Told::Inserted, Told::Literal, Told::Secret];
    (
        prop::sample::select(forms),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
}

/// Writes a field in a form, or in another where it cannot be told in that one.
fn write(
    block: &mut Vec<u8>,
    table: &mut PlainTable,
    field: &Plain,
    (told, name_coded, value_coded, by_number): (Told, bool, bool, bool),
) {
    let place =
        |found: &dyn Fn(&Plain) -> bool| table.all().iter().rposition(found).map(|place| place + 1);
    if told == Told::Indexed
        && let Some(index) = place(&|held| held == field)
    {
        return write_number(block, 0x80, 7, index);
    }
    let (pattern, bits) = match told {
        Told::Indexed | Told::Inserted => (0x40, 6),
        Told::Literal => (0, 4),
        Told::Secret => (0x10, 4),
    };
    // Of a path's two numbers the first, as most encoders do.
    let named = match &field.0[..] {
        b":path" => Some(4),
        name => place(&|held| held.0 == name),
    };
    match named.filter(|_| by_number) {
        Some(index) => write_number(block, pattern, bits, index),
        None => {
            block.push(pattern);
            write_string(block, &field.0, name_coded);
        }
    }
    write_string(block, &field.1, value_coded);
    if pattern == 0x40 {
        table.insert(field.clone());
    }
}

proptest! {
    #[test]
    fn reads_what_any_encoder_writes(
        max in prop_oneof![Just(4096usize), 0usize..400],
        blocks in prop::collection::vec(
            (prop::option::of(0usize..400), prop::collection::vec((field(), told()), 0..12)), 1..12
        ),
    ) {
        let mut decoder = Decoder::new(max);
        let mut table = PlainTable::new(max);
        for (resized, fields) in blocks {
            let mut block = Vec::new();
            if let Some(resized) = resized.filter(|resized| *resized <= max) {
                write_number(&mut block, 0x20, 5, resized);
                table.resize(resized);
            }
            let mut expected = Vec::new();
            for (field, told) in fields {
                write(&mut block, &mut table, &field, told);
                let size = field.0.len() + field.1.len() + 32;
                expected.push((Ok((String::from_utf8(field.0).unwrap(), field.1)), size));
            }
            // A part of it is no block, or some of the fields.
            for end in 0..block.len() {
                let mut part = Decoder::new(0);
                if let Ok(fields) = decoded(&mut part, &block[..end]) {
                    prop_assert!(fields.len() <= expected.len());
                }
            }
            prop_assert_eq!(decoded(&mut decoder, &block), Ok(expected));
            prop_assert_eq!(decoder.table.size(), table.size());
            prop_assert_eq!(decoder.table.inserted().count(), table.inserted.len());
        }
    }

    /// Any bytes do no harm, whatever they leave in the table.
    #[test]
    fn any_bytes_stay_within_the_bounds(
        max in 0usize..500,
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
    ) {
        let mut decoder = Decoder::new(max);
        for block in blocks {
            let _ = decoded(&mut decoder, &block);
            let sizes = decoder.table.inserted().map(|entry| entry.size).sum::<usize>();
            prop_assert_eq!(decoder.table.size(), sizes);
            prop_assert!(sizes <= max);
        }
    }
}

#[test]
fn a_block_of_one_long_string_leaves_no_room_behind() {
    let mut decoder = Decoder::new(4096);
    let mut block = vec![0, 1, b'a'];
    write_string(&mut block, &[b'a'; 40_000], true);
    let told = decoded(&mut decoder, &block).unwrap();
    assert_eq!(told[0].1, 40_000 + 1 + 32);
    assert_eq!(decoder.plain.capacity(), 0);
}
