//! Integers (RFC 7541, section 5.1): in the low bits of a first byte, and what does not fit there in groups of seven bits.

use bytes::{BufMut, BytesMut};

use super::Flaw;

/// Nothing in a block that is read at all is longer.
const MAX: u64 = 1 << 28;

/// That many groups are more than [`MAX`] needs; an encoder may waste some on zeros.
const GROUPS_MAX: u32 = 5;

/// The integer whose first byte, just taken off the front of `rest`, has it in the bits of `mask`.
#[inline]
pub(super) fn read(first: u8, mask: u8, rest: &mut &[u8]) -> Result<usize, Flaw> {
    let value = first & mask;
    if value < mask {
        return Ok(usize::from(value));
    }
    groups(value, rest)
}

fn groups(first: u8, rest: &mut &[u8]) -> Result<usize, Flaw> {
    let mut value = u64::from(first);
    for group in 0..GROUPS_MAX {
        let Some((byte, behind)) = rest.split_first() else {
            return Err(Flaw("the block ends within an integer"));
        };
        *rest = behind;
        value += u64::from(byte & 0x7f) << (7 * group);
        if value > MAX {
            break;
        }
        if byte & 0x80 == 0 {
            return Ok(value as usize);
        }
    }
    Err(Flaw("an integer is too large"))
}

/// Writes an integer; its first byte has it in the bits of `mask`, and `pattern` beside them.
#[inline]
pub(super) fn write(out: &mut BytesMut, pattern: u8, mask: u8, value: usize) {
    if value < usize::from(mask) {
        out.put_u8(pattern | value as u8);
    } else {
        write_groups(out, pattern | mask, value - usize::from(mask));
    }
}

fn write_groups(out: &mut BytesMut, first: u8, mut value: usize) {
    out.put_u8(first);
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8], mask: u8) -> Result<(usize, usize), Flaw> {
        let (first, mut rest) = bytes.split_first().unwrap();
        read(*first, mask, &mut rest).map(|value| (value, rest.len()))
    }

    fn written(pattern: u8, mask: u8, value: usize) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(&mut out, pattern, mask, value);
        out.to_vec()
    }

    /// RFC 7541, appendix C.1.
    #[test]
    fn reads_and_writes_the_examples() {
        for (value, mask, bytes) in [
            (10, 0x1f, &[0x0a][..]),
            (1337, 0x1f, &[0x1f, 0x9a, 0x0a]),
            (42, 0xff, &[0x2a]),
        ] {
            assert_eq!(read_all(bytes, mask), Ok((value, 0)));
            assert_eq!(written(0, mask, value), bytes);
        }
        assert_eq!(read_all(&[0xea], 0x1f), Ok((10, 0)), "other bits");
        assert_eq!(written(0xe0, 0x1f, 10), [0xea]);
    }

    #[test]
    fn zeros_may_be_wasted_but_not_for_ever() {
        assert_eq!(
            read_all(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00, 9], 0x7f),
            Ok((127, 1))
        );
        let flaw = Err(Flaw("an integer is too large"));
        assert_eq!(
            read_all(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 0x7f),
            flaw
        );
    }

    #[test]
    fn refuses_what_is_too_large_or_not_whole() {
        let most = written(0, 0x7f, 1 << 28);
        assert_eq!(read_all(&most, 0x7f), Ok((1 << 28, 0)));
        for value in [(1 << 28) + 1, 1 << 32, usize::MAX] {
            let flaw = Err(Flaw("an integer is too large"));
            assert_eq!(read_all(&written(0, 0x7f, value), 0x7f), flaw, "{value}");
        }
        for end in 1..most.len() {
            let flaw = Err(Flaw("the block ends within an integer"));
            assert_eq!(read_all(&most[..end], 0x7f), flaw);
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(value in 0usize..=1 << 28, bits in 1u32..=8, pattern: u8) {
            let mask = (0xffu16 >> (8 - bits)) as u8;
            let bytes = written(pattern & !mask, mask, value);
            prop_assert_eq!(bytes[0] & !mask, pattern & !mask);
            prop_assert_eq!(read_all(&bytes, mask), Ok((value, 0)));
        }
    }
}
