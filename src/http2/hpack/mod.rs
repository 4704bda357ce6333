//! HPACK (RFC 7541): the fields of requests out of their blocks, and those of responses into theirs.
//!
//! A field that a client repeats comes as the number of a table's entry. So an entry is the [`Field`] itself, checked and
//! in the form in which it is used: a repeated field costs a look into the table, and nothing is read twice. Responses go
//! the same way: what an endpoint says over and over is inserted into the client's table once, and is one byte from then on.
//!
//! * [`Decoder`] and [`Encoder`]: one direction of a connection each.
//! * [`Field`]: a field of a request, or why it can be none.
//! * [`Flaw`]: why a block cannot be read. Both ends' tables differ from there on, so that it ends the connection.

mod decode;
mod encode;
mod field;
mod fixed;
mod huffman;
mod integer;
mod known;
mod sizes;
mod table;

pub use decode::Decoder;
pub use encode::Encoder;
pub use field::Field;

/// Why a block cannot be read: an error of the connection (RFC 9113, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Flaw(&'static str);

/// What an entry counts beyond its name and its value (RFC 7541, section 4.1).
const ENTRY_OVERHEAD: usize = 32;

#[cfg(test)]
mod tests;
