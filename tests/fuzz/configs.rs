//! Config texts: what is printed reads as the same, and nothing makes the reader panic.

use std::path::Path;

use tidegate::config::{Config, DEFAULT};

use crate::dice::{Change, changed, pick, time};

const SHORT: &str = "listeners: [{ name: http, address: \"127.0.0.1:80\" }]\nroutes: [{ host: a.test, path: /x, service: web }, { service: web }]\n\
    services: [{ name: web, source: { list: [\"10.0.0.1:80\"] }, retry: { attempts: 2, budget: 20% }, affinity: { cookie: c } }]\n";

const PIECES: [&[u8]; 30] = [
    b"",
    b"\n",
    b" ",
    b"  ",
    b"- ",
    b": ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"'",
    b"&a ",
    b"*a",
    b"|",
    b"null",
    b"true",
    b"false",
    b"0",
    b"9999999999999999999",
    b"1",
    b"-",
    b"ms",
    b"s",
    b"MiB",
    b"#",
    b"%",
    b"\t",
    b"hash",
    b"/a",
];

#[test]
fn what_is_printed_reads_as_the_same() {
    bolero::check!()
        .with_type::<(u8, Vec<Change>, u16)>()
        .with_iterations(usize::MAX)
        .with_test_time(time())
        .for_each(|(seed, changes, shift)| {
            let path = Path::new("/etc/tidegate/tidegate.yaml");
            let seed = pick(&[DEFAULT, SHORT], *seed);
            // The reference is longer than two bytes of a die reach.
            let changes: Vec<Change> = changes
                .iter()
                .map(|(at, gone, piece)| (at.wrapping_add(*shift), *gone, *piece))
                .collect();
            let bytes = changed(seed.as_bytes(), &changes, &PIECES);
            let text = String::from_utf8_lossy(&bytes);
            let Ok(config) = Config::parse(&text, path) else {
                return;
            };
            let printed = config.describe().to_string();
            match Config::parse(&printed, path) {
                Ok(again) => {
                    assert_eq!(again, config, "{text}");
                    assert_eq!(again.describe(), config.describe());
                }
                Err(faults) => panic!("{faults:?} in {printed} of {text}"),
            }
        });
}
