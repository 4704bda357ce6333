//! Reads blocks of fields (RFC 7541, section 6).

use super::field::{Field, Name};
use super::table::{Entry, Table, size};
use super::{Flaw, huffman, integer};

/// One direction's decoder, for requests.
#[derive(Debug)]
pub struct Decoder {
    pub(super) table: Table,
    /// What the client may let the table hold.
    table_max: usize,
    /// Strings, out of their code.
    pub(super) plain: Vec<u8>,
    /// The last path that was told as a literal.
    pub(super) last_path: Option<LastPath>,
}

/// A path as a literal. Many clients never let one into the table, also where it is the same again: that of a service's
/// method, or of a check.
#[derive(Debug)]
pub(super) struct LastPath {
    /// As it is in blocks, its length in front of it.
    pub(super) text: Vec<u8>,
    field: Field,
    size: usize,
}

/// What an idle connection keeps in memory for decoding strings.
const PLAIN_KEPT: usize = 1024;

/// The longest text of a path that is remembered.
const PATH_MAX: usize = 256;

/// A block may begin with the smallest and the last of the table's sizes since the block before (section 4.2).
const UPDATES_MAX: usize = 2;

impl Decoder {
    /// A decoder whose table holds at most `max` bytes, which is what our SETTINGS_HEADER_TABLE_SIZE says.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            table: Table::new(max),
            table_max: max,
            plain: Vec::new(),
            last_path: None,
        }
    }

    /// Reads one whole block and tells each field in order, with its size (RFC 7541, section 4.1). The table is kept right
    /// also where fields are malformed.
    ///
    /// # Errors
    /// Why it cannot be read. Then nor can any other block of the connection.
    pub fn decode(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(&Field, usize),
    ) -> Result<(), Flaw> {
        let mut rest = block;
        self.updates(&mut rest)?;
        while let [first, behind @ ..] = rest {
            rest = behind;
            if first & INDEXED != 0 {
                let entry = self
                    .table
                    .entry(integer::read(*first, !INDEXED, &mut rest)?)?;
                each(&entry.field, entry.size);
            } else if *first == PATH {
                self.path(&mut rest, &mut each)?;
            } else if first & UPDATE == 0 || first & INSERTED != 0 {
                self.literal(*first, &mut rest, &mut each)?;
            } else {
                return Err(Flaw(
                    "the table's size changes within a block, or too often",
                ));
            }
        }
        if self.plain.len() > PLAIN_KEPT {
            self.plain = Vec::new();
        }
        Ok(())
    }

    /// Reads the changes of the table's size in front of the fields.
    fn updates(&mut self, rest: &mut &[u8]) -> Result<(), Flaw> {
        for _ in 0..UPDATES_MAX {
            let [first @ UPDATE..INSERTED, behind @ ..] = *rest else {
                break;
            };
            *rest = behind;
            let max = integer::read(*first, UPDATE - 1, rest)?;
            if max > self.table_max {
                return Err(Flaw("the table's size is larger than we allow"));
            }
            self.table.resize(max);
        }
        Ok(())
    }

    fn literal(
        &mut self,
        first: u8,
        rest: &mut &[u8],
        each: &mut impl FnMut(&Field, usize),
    ) -> Result<(), Flaw> {
        let is_inserted = first & INSERTED != 0;
        let mask = if is_inserted {
            INSERTED - 1
        } else {
            SECRET - 1
        };
        let (name, name_length) = self.name(integer::read(first, mask, rest)?, rest)?;
        let value = string(rest, &mut self.plain)?;
        let size = size(name_length, value.len());
        if !is_inserted {
            each(&name.with(value, first & SECRET != 0), size);
            return Ok(());
        }
        let field = name.clone().with(value, false);
        each(&field, size);
        self.table.insert(Entry {
            name,
            field,
            name_length,
            size,
        });
        Ok(())
    }

    /// Reads a path behind its name's number.
    fn path(&mut self, rest: &mut &[u8], each: &mut impl FnMut(&Field, usize)) -> Result<(), Flaw> {
        // The length is in front, so that what begins with the same text is the same path.
        if let Some(last) = &self.last_path
            && let Some(behind) = rest.strip_prefix(&last.text[..])
        {
            *rest = behind;
            each(&last.field, last.size);
            return Ok(());
        }
        let before = *rest;
        let value = string(rest, &mut self.plain)?;
        let size = size(":path".len(), value.len());
        let field = Name::Path.with(value, false);
        each(&field, size);
        let text = &before[..before.len() - rest.len()];
        if text.len() <= PATH_MAX {
            let mut kept = self
                .last_path
                .take()
                .map_or_else(Vec::new, |last| last.text);
            kept.clear();
            kept.extend_from_slice(text);
            self.last_path = Some(LastPath {
                text: kept,
                field,
                size,
            });
        }
        Ok(())
    }

    /// The name with this number, or the one that follows, and its length.
    fn name(&mut self, index: usize, rest: &mut &[u8]) -> Result<(Name, usize), Flaw> {
        if index > 0 {
            let entry = self.table.entry(index)?;
            return Ok((entry.name.clone(), entry.name_length));
        }
        let text = string(rest, &mut self.plain)?;
        Ok((Name::of(text), text.len()))
    }
}

/// Takes a string off the front of `rest` (section 5.2); `plain` is where it goes that is in the code.
fn string<'a, 'block: 'a>(
    rest: &mut &'block [u8],
    plain: &'a mut Vec<u8>,
) -> Result<&'a [u8], Flaw> {
    const END: Flaw = Flaw("the block ends within a field");
    let (first, behind) = rest.split_first().ok_or(END)?;
    *rest = behind;
    let length = integer::read(*first, !CODED, rest)?;
    let (text, behind) = rest.split_at_checked(length).ok_or(END)?;
    *rest = behind;
    if first & CODED == 0 {
        return Ok(text);
    }
    let room = huffman::length_max(length);
    if plain.len() < room {
        plain.resize(room, 0);
    }
    let length = huffman::decode(text, plain)?;
    Ok(&plain[..length])
}

/// A field of the table.
pub(super) const INDEXED: u8 = 0x80;
/// A literal that is inserted.
pub(super) const INSERTED: u8 = 0x40;
/// A change of the table's size.
pub(super) const UPDATE: u8 = 0x20;
/// A literal that nobody may ever insert. Without any of these bits it is one that is not inserted here.
pub(super) const SECRET: u8 = 0x10;
/// A literal that is not inserted, of the name of number 4.
const PATH: u8 = 0x04;
/// A string in Huffman's code.
const CODED: u8 = 0x80;
