//! The Huffman code of strings (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length count upwards, and the first of a length follows the last of the length
//! before. So it is told by the symbols in the order of their codes. Text is made of symbols of up to eight bits; they are
//! found by the next byte's bits in a table of half a KiB, one load a symbol, and the bits come four bytes at a time. A
//! table by more bits would give two symbols at once and crowd the caches for a string or two of a request.

use super::Flaw;

/// Lengths of codes, and the symbols that have them in the order of their codes. EOS would be the last.
const CODE: [(u8, &[u8]); 21] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
    (19, &[92, 195, 208]),
    (20, &[128, 130, 131, 162, 184, 194, 224, 226]),
    (
        21,
        &[
            153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230,
        ],
    ),
    (
        22,
        &[
            129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185,
            186, 187, 189, 190, 196, 198, 228, 232, 233,
        ],
    ),
    (
        23,
        &[
            1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166,
            168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239,
        ],
    ),
    (
        24,
        &[9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237],
    ),
    (25, &[199, 207, 234, 235]),
    (
        26,
        &[
            192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255,
        ],
    ),
    (
        27,
        &[
            203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252,
            253, 254,
        ],
    ),
    (
        28,
        &[
            2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28,
            29, 30, 31, 127, 220, 249,
        ],
    ),
    (30, &[10, 13, 22]),
];

/// How many of [`CODE`]'s lengths fit into a byte.
const SHORT_LENGTHS: usize = 4;

/// The symbol, and the length in bits, of the code that a byte begins with; no length where it is longer than the byte.
#[derive(Clone, Copy)]
struct Short {
    symbol: u8,
    bits: u8,
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct Long {
    /// The last of them, at the high end of a word of which all that follows it is ones.
    last: u32,
    /// The first, as a number.
    first: u32,
    bits: u32,
    symbols: &'static [u8],
}

static SHORT: [Short; 256] = short();
static LONG: [Long; CODE.len() - SHORT_LENGTHS] = long();

/// The longest code.
const BITS_MAX: u32 = 30;

/// What a string of so many bytes is at most without its code: the shortest have five bits.
pub(super) fn length_max(coded: usize) -> usize {
    coded * 8 / 5
}

/// Decodes a string into the front of `out`, which must have room for [`length_max`], and says how long it is.
pub(super) fn decode(coded: &[u8], out: &mut [u8]) -> Result<usize, Flaw> {
    // The next bits, from the high end, and how many there are.
    let (mut bits, mut held) = (0u64, 0u32);
    let mut rest = coded;
    let mut length = 0;
    let mut put = |symbol| {
        if let Some(place) = out.get_mut(length) {
            *place = symbol;
        }
        length += 1;
    };
    while let Some((next, behind)) = rest.split_first_chunk() {
        // What is held is less than a longest code.
        bits |= u64::from(u32::from_be_bytes(*next)) << (32 - held);
        held += 32;
        rest = behind;
        while held >= BITS_MAX {
            let (symbol, width) = next_code(bits)?;
            put(symbol);
            bits <<= width;
            held -= width;
        }
    }
    for byte in rest {
        bits |= u64::from(*byte) << (56 - held);
        held += 8;
    }
    // Padding is the beginning of EOS, which is ones; no code of less than eight bits is. So ones follow for ever.
    bits |= u64::MAX >> held;
    while held >= 8 || bits != u64::MAX {
        let (symbol, width) = next_code(bits)?;
        if width > held {
            return Err(Flaw("a string's padding is not the beginning of EOS"));
        }
        put(symbol);
        bits = !(!bits << width);
        held -= width;
    }
    Ok(length)
}

/// The symbol at the high end of `bits`, and how many of them it takes.
#[inline]
fn next_code(bits: u64) -> Result<(u8, u32), Flaw> {
    let short = SHORT[(bits >> 56) as usize];
    if short.bits > 0 {
        return Ok((short.symbol, u32::from(short.bits)));
    }
    long_code((bits >> 32) as u32)
}

#[cold]
#[inline(never)]
fn long_code(bits: u32) -> Result<(u8, u32), Flaw> {
    LONG.iter()
        .find(|long| bits <= long.last)
        .and_then(|long| {
            let place = (bits >> (32 - long.bits)) - long.first;
            Some((*long.symbols.get(place as usize)?, long.bits))
        })
        .ok_or(Flaw("a string has too much padding or EOS in it"))
}

const fn short() -> [Short; 256] {
    let mut table = [Short { symbol: 0, bits: 0 }; 256];
    let mut filled = 0;
    let mut group = 0;
    while group < SHORT_LENGTHS {
        let (bits, symbols) = CODE[group];
        let mut place = 0;
        while place < symbols.len() {
            // Every byte that begins with the code.
            let end = filled + (1 << (8 - bits));
            while filled < end {
                table[filled] = Short {
                    symbol: symbols[place],
                    bits,
                };
                filled += 1;
            }
            place += 1;
        }
        group += 1;
    }
    table
}

const fn long() -> [Long; CODE.len() - SHORT_LENGTHS] {
    const NONE: Long = Long {
        last: 0,
        first: 0,
        bits: 0,
        symbols: &[],
    };
    let mut table = [NONE; CODE.len() - SHORT_LENGTHS];
    let (mut next, mut width) = (0u32, 0u32);
    let mut group = 0;
    while group < CODE.len() {
        let (bits, symbols) = CODE[group];
        let bits = bits as u32;
        next <<= bits - width;
        width = bits;
        let first = next;
        next += symbols.len() as u32;
        if group >= SHORT_LENGTHS {
            let last = ((next - 1) << (32 - bits)) | (u32::MAX >> bits);
            table[group - SHORT_LENGTHS] = Long {
                last,
                first,
                bits,
                symbols,
            };
        }
        group += 1;
    }
    table
}

/// What a string is in the code, bit by bit: for tests.
#[cfg(test)]
pub(super) fn encode(plain: &[u8]) -> Vec<u8> {
    let mut codes = [(0u32, 0u32); 256];
    let (mut next, mut width) = (0u32, 0u32);
    for (bits, symbols) in CODE {
        next <<= u32::from(bits) - width;
        width = u32::from(bits);
        for symbol in symbols {
            codes[usize::from(*symbol)] = (next, width);
            next += 1;
        }
    }
    let mut bits = Vec::new();
    for byte in plain {
        let (code, width) = codes[usize::from(*byte)];
        bits.extend((0..width).rev().map(|bit| code >> bit & 1 == 1));
    }
    while bits.len() % 8 != 0 {
        bits.push(true);
    }
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    bits.chunks(8).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Flaw> {
        let mut out = vec![0; length_max(coded.len())];
        let length = decode(coded, &mut out)?;
        assert!(length <= out.len());
        out.truncate(length);
        Ok(out)
    }

    #[test]
    fn every_symbol_has_a_code_and_eos_has_the_last() {
        let mut symbols: Vec<u8> = CODE
            .iter()
            .flat_map(|(_, symbols)| *symbols)
            .copied()
            .collect();
        symbols.sort_unstable();
        assert_eq!(symbols, (0..=255).collect::<Vec<u8>>());
        // Codes of appendix B from all parts of it; the last but EOS is the last of the longest.
        for (symbol, code, bits) in [
            (b'0', 0, 5),
            (b' ', 0x14, 6),
            (b':', 0x5c, 7),
            (b'&', 0xf8, 8),
            (b'!', 0x3f8, 10),
            (b'\'', 0x7fa, 11),
            (b'#', 0xffa, 12),
            (0, 0x1ff8, 13),
            (b'^', 0x3ffc, 14),
            (b'{', 0x7ffe, 15),
            (b'\\', 0x7fff0, 19),
            (226, 0xfffed, 20),
            (230, 0x1fffe8, 21),
            (129, 0x3fffd2, 22),
            (239, 0x7ffff4, 23),
            (9, 0xffffea, 24),
            (235, 0x1ffffef, 25),
            (255, 0x3ffffee, 26),
            (254, 0x7fffff0, 27),
            (249, 0xffffffe, 28),
            (22, 0x3ffffffe_u32, 30),
        ] {
            let padded = u64::from(code) << (64 - bits) | u64::MAX >> bits;
            assert_eq!(next_code(padded), Ok((symbol, bits)), "{symbol}");
        }
        assert!(next_code(u64::MAX).is_err());
    }

    #[test]
    fn reads_the_examples() {
        for (coded, plain) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], &b"www.example.com"[..]),
            (b"\xa8\xeb\x10\x64\x9c\xbf", b"no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", b"custom-key"),
            (b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff", b"Mon, 21 Oct 2013 20:13:21 GMT"),
            (b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3", b"https://www.example.com"),
        ] {
            assert_eq!(decoded(coded).as_deref(), Ok(plain));
            assert_eq!(encode(plain), coded);
        }
        assert_eq!(decoded(b"").as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn refuses_padding_that_is_long_or_not_ones_and_eos() {
        for before in 0..20 {
            let with = |end: &[u8]| {
                // Codes of eight bits, so that what follows begins a byte.
                let mut coded = encode(&vec![b'&'; before]);
                coded.extend_from_slice(end);
                decoded(&coded)
            };
            assert!(with(b"").is_ok());
            // `0` and three zeros, `0` and two ones and a zero, a whole byte of ones, EOS, EOS and `0`.
            for end in [
                &[0][..],
                &[0b0000_0110],
                &[0xff],
                &[0xff; 4],
                &[0xff, 0xff, 0xff, 0b1111_1100, 0b0001_1111],
            ] {
                assert!(with(end).is_err(), "{end:?} behind {before}");
            }
            assert_eq!(
                with(&[0b0000_0111]).map(|plain| plain.len()),
                Ok(before + 1)
            );
        }
    }

    proptest! {
        #[test]
        fn reads_back_any_bytes(plain in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decoded(&encode(&plain)), Ok(plain));
        }

        #[test]
        fn reads_back_any_text(plain in "[ -~]{0,100}") {
            prop_assert_eq!(decoded(&encode(plain.as_bytes())), Ok(plain.into_bytes()));
        }

        /// What is no string of the code is refused, and what is one is the only form of it.
        #[test]
        fn what_is_read_is_what_would_be_written(coded in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(plain) = decoded(&coded) {
                prop_assert_eq!(encode(&plain), coded);
            }
        }
    }
}
