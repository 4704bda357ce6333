//! Writes blocks of fields (RFC 7541, section 6).
//!
//! What repeats is remembered by its name, the last value of each: so what an endpoint says in every response is found
//! without hashing, by one comparison, and is one byte. Which names may repeat is known for those of the fixed table; any
//! other one's value goes into the client's table when it comes the second time in a row, since what is never said again
//! would only drive out what is.
//!
//! Strings go without Huffman's code. It would save a fifth of what is said the first time only, for more instructions than
//! all the rest takes.

use bytes::{BufMut, BytesMut};
use http::StatusCode;

use super::decode::{INDEXED, INSERTED, SECRET, UPDATE};
use super::integer;
use super::known::{Habit, Known, PLACES, known};
use super::sizes::Sizes;
use super::table::size;

/// One direction's encoder, for responses.
#[derive(Debug, Default)]
pub struct Encoder {
    sizes: Sizes,
    /// The last value of each name that has a place.
    known: [Memo; PLACES],
    /// The last fields of other names, each where [`place`] says; empty until there is one.
    others: Vec<Other>,
}

/// A value, and the number under which it was inserted, if it was.
#[derive(Debug, Default)]
struct Memo {
    text: Vec<u8>,
    number: u64,
}

/// A field: its name as it came, and its value behind it.
#[derive(Debug, Default)]
struct Other {
    name_length: usize,
    memo: Memo,
}

/// How a field is told.
enum Form {
    Indexed(usize),
    Inserted,
    Literal,
}

/// How many fields of unknown names are remembered.
const OTHERS: usize = 16;

impl Encoder {
    /// An encoder whose client's table has the size that it has at first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the client's SETTINGS_HEADER_TABLE_SIZE. Of a larger table than it has at first nothing is used.
    pub fn resize(&mut self, max: usize) {
        self.sizes.resize(max);
    }

    /// Begins the block of a response.
    pub fn begin(&mut self, out: &mut BytesMut, status: StatusCode) {
        self.begin_trailers(out);
        let index = match status.as_u16() {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => return named(out, 0, SECRET - 1, STATUS, status.as_str().as_bytes()),
        };
        out.put_u8(INDEXED | index);
    }

    /// Begins a block of trailers.
    pub fn begin_trailers(&mut self, out: &mut BytesMut) {
        for max in self.sizes.due() {
            integer::write(out, UPDATE, UPDATE - 1, max);
        }
    }

    /// Appends a field, which has been found to be valid. Its name may have any case, and is written in lower case.
    pub fn field(&mut self, out: &mut BytesMut, name: &[u8], value: &[u8]) {
        let Some(Known { index, habit }) = known(name) else {
            return self.other(out, name, value);
        };
        if value.is_empty() {
            return out.put_u8(INDEXED | index);
        }
        let form = match habit {
            Habit::Differs => Form::Literal,
            Habit::Secret => return named(out, SECRET, SECRET - 1, index, value),
            Habit::Repeats(place) => self.form(place, true, name, value),
            Habit::MayRepeat(place) => self.form(place, false, name, value),
        };
        match form {
            Form::Indexed(index) => integer::write(out, INDEXED, !INDEXED, index),
            Form::Inserted => named(out, INSERTED, INSERTED - 1, index, value),
            Form::Literal => named(out, 0, SECRET - 1, index, value),
        }
    }

    /// How a field is told whose last value is remembered. A new one is inserted `at_once`, or when it comes again.
    fn form(&mut self, place: usize, at_once: bool, name: &[u8], value: &[u8]) -> Form {
        let size = size(name.len(), value.len());
        if size > self.sizes.entry_max() {
            return Form::Literal;
        }
        let memo = &mut self.known[place];
        if memo.text == value {
            if let Some(index) = self.sizes.index(memo.number) {
                return Form::Indexed(index);
            }
        } else {
            memo.text.clear();
            memo.text.extend_from_slice(value);
            memo.number = 0;
            if !at_once {
                return Form::Literal;
            }
        }
        memo.number = self.sizes.insert(size);
        Form::Inserted
    }

    #[inline(never)]
    fn other(&mut self, out: &mut BytesMut, name: &[u8], value: &[u8]) {
        let form = self.form_of_other(name, value);
        match form {
            Form::Indexed(index) => return integer::write(out, INDEXED, !INDEXED, index),
            Form::Inserted => out.put_u8(INSERTED),
            Form::Literal => out.put_u8(0),
        }
        integer::write(out, 0, !CODED, name.len());
        let at = out.len();
        out.put_slice(name);
        out[at..].make_ascii_lowercase();
        integer::write(out, 0, !CODED, value.len());
        out.put_slice(value);
    }

    fn form_of_other(&mut self, name: &[u8], value: &[u8]) -> Form {
        let size = size(name.len(), value.len());
        if size > self.sizes.entry_max() {
            return Form::Literal;
        }
        if self.others.is_empty() {
            self.others.resize_with(OTHERS, Other::default);
        }
        let Other { name_length, memo } = &mut self.others[place(name)];
        let is_same = *name_length == name.len() && {
            let (known, last) = memo.text.split_at(*name_length);
            last == value && known == name
        };
        if !is_same {
            *name_length = name.len();
            memo.text.clear();
            memo.text.extend_from_slice(name);
            memo.text.extend_from_slice(value);
            memo.number = 0;
            return Form::Literal;
        }
        if let Some(index) = self.sizes.index(memo.number) {
            return Form::Indexed(index);
        }
        memo.number = self.sizes.insert(size);
        Form::Inserted
    }
}

/// Where a field of an unknown name is remembered. Two names that have one place are said in full; nothing else is lost.
fn place(name: &[u8]) -> usize {
    let [first, .., last] = name else {
        return 0;
    };
    (name.len() + 7 * usize::from(*first) + 3 * usize::from(*last)) % OTHERS
}

/// Writes a literal whose name has a number in the bits of `mask`.
#[inline]
fn named(out: &mut BytesMut, pattern: u8, mask: u8, index: u8, value: &[u8]) {
    // Each write costs, so that all short numbers are one.
    match u8::try_from(value.len()) {
        Ok(length) if length < !CODED && index < mask => {
            out.put_slice(&[pattern | index, length]);
        }
        Ok(length) if length < !CODED => {
            out.put_slice(&[pattern | mask, index - mask, length]);
        }
        _ => {
            integer::write(out, pattern, mask, usize::from(index));
            integer::write(out, 0, !CODED, value.len());
        }
    }
    out.put_slice(value);
}

/// The number of `:status`.
const STATUS: u8 = 8;
/// A string in Huffman's code.
const CODED: u8 = 0x80;
