//! Blocks against the examples of RFC 7541, and both directions against a plain reading of it.

mod decoding;
mod encoding;
mod examples;
mod malformed;
mod plain;

use super::*;

/// A field as text or why it is none, and its size.
type Shown = (Result<(String, Vec<u8>), &'static str>, usize);

/// A field as text, or why it is none.
fn text(field: &Field) -> Result<(String, Vec<u8>), &'static str> {
    let told = |name: &str, value: &[u8]| Ok((name.to_owned(), value.to_vec()));
    match field {
        Field::Method(method) => told(":method", method.as_str().as_bytes()),
        Field::Scheme(scheme) => told(":scheme", scheme.as_str().as_bytes()),
        Field::Authority(authority) => told(":authority", authority.as_str().as_bytes()),
        Field::Path(path) => told(":path", path.as_str().as_bytes()),
        Field::Protocol(protocol) => told(":protocol", protocol),
        Field::Regular(name, value) => told(name.as_str(), value.as_bytes()),
        Field::Malformed(why) => Err(why),
    }
}

/// All fields of a block.
fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Shown>, Flaw> {
    let mut fields = Vec::new();
    decoder.decode(block, |field, size| fields.push((text(field), size)))?;
    Ok(fields)
}
