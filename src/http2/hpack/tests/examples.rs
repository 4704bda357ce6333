//! Appendix C of RFC 7541, but for the integers (see `integer`).

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

/// A block, its fields, what is in the table behind it, and that one's size.
type Example<'a> = (
    &'a str,
    &'a [(&'a str, &'a str)],
    &'a [(&'a str, &'a str)],
    usize,
);

/// Decodes blocks one after another, and compares each one's fields and what is in the table behind it: what a field is, and
/// what `:status` and a value that a request cannot have are instead.
fn check(table_max: usize, blocks: &[Example<'_>]) {
    let mut decoder = Decoder::new(table_max);
    for (block, fields, table, table_size) in blocks {
        let told = decoded(&mut decoder, &bytes(block)).unwrap();
        let expected: Vec<_> = fields.iter().map(|field| expected(field)).collect();
        assert_eq!(told, expected);
        let held: Vec<_> = decoder
            .table
            .inserted()
            .map(|entry| (text(&entry.field), entry.size))
            .collect();
        let expected: Vec<_> = table.iter().map(|field| self::expected(field)).collect();
        assert_eq!(held, expected);
        assert_eq!(decoder.table.size(), *table_size);
        assert_eq!(
            held.iter().map(|(_, size)| size).sum::<usize>(),
            *table_size
        );
    }
}

fn expected((name, value): &(&str, &str)) -> Shown {
    let field = match *name {
        ":status" => Err(field::STATUS),
        name => Ok((name.to_owned(), value.as_bytes().to_vec())),
    };
    (field, name.len() + value.len() + 32)
}

#[test]
fn literals() {
    let custom = ("custom-key", "custom-header");
    check(
        4096,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &[custom],
            &[custom],
            55,
        )],
    );
    check(
        4096,
        &[
            (
                "040c 2f73 616d 706c 652f 7061 7468",
                &[(":path", "/sample/path")],
                &[],
                0,
            ),
            (
                "1008 7061 7373 776f 7264 0673 6563 7265 74",
                &[("password", "secret")],
                &[],
                0,
            ),
            ("82", &[(":method", "GET")], &[], 0),
        ],
    );
}

#[test]
fn a_secret_stays_one() {
    let mut decoder = Decoder::new(4096);
    let mut secrets = Vec::new();
    for form in ["00", "10", "40"] {
        let block = bytes(&format!("{form}08 7061 7373 776f 7264 0673 6563 7265 74"));
        let tell = |field: &Field, _| {
            let Field::Regular(_, value) = field else {
                unreachable!()
            };
            secrets.push(value.is_sensitive());
        };
        decoder.decode(&block, tell).unwrap();
    }
    assert_eq!(secrets, [false, true, false]);
}

#[test]
fn requests() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let authority = (":authority", "www.example.com");
    let cache = ("cache-control", "no-cache");
    let custom = ("custom-key", "custom-value");
    let (get, http, root) = ((":method", "GET"), (":scheme", "http"), (":path", "/"));
    for [first, second, third] in [plain, coded] {
        check(
            4096,
            &[
                (first, &[get, http, root, authority], &[authority], 57),
                (
                    second,
                    &[get, http, root, authority, cache],
                    &[cache, authority],
                    110,
                ),
                (
                    third,
                    &[
                        get,
                        (":scheme", "https"),
                        (":path", "/index.html"),
                        authority,
                        custom,
                    ],
                    &[custom, cache, authority],
                    164,
                ),
            ],
        );
    }
}

#[test]
fn responses() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70
         6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d
         54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049
         5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e
         3d31",
    ];
    let coded = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
         77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
         9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let private = ("cache-control", "private");
    let first_date = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
    let second_date = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
    let location = ("location", "https://www.example.com");
    let gzip = ("content-encoding", "gzip");
    let cookie = (
        "set-cookie",
        "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    );
    let status = |code| (":status", code);
    for [first, second, third] in [plain, coded] {
        check(
            256,
            &[
                (
                    first,
                    &[status("302"), private, first_date, location],
                    &[location, first_date, private, status("302")],
                    222,
                ),
                (
                    second,
                    &[status("307"), private, first_date, location],
                    &[status("307"), location, first_date, private],
                    222,
                ),
                (
                    third,
                    &[status("200"), private, second_date, location, gzip, cookie],
                    &[cookie, gzip, second_date],
                    215,
                ),
            ],
        );
    }
}
