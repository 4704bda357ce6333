//! What a name and a value make: a field of a request, or why they can make none (RFC 9113, sections 8.2 and 8.3).
//!
//! A block with a malformed field is still a block: its other fields are read and the tables stay right, for the next
//! request on the connection may be well. So a malformed name is a name too, and remembered as one.

use bytes::Bytes;
use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method};

/// A field of a request, checked. To clone it copies nothing.
#[derive(Debug, Clone)]
pub enum Field {
    /// `:method`, a token.
    Method(Method),
    /// `:scheme`.
    Scheme(Scheme),
    /// `:authority`, not empty.
    Authority(Authority),
    /// `:path`: `*`, or from the root and without a fragment.
    Path(PathAndQuery),
    /// `:protocol` of an extended CONNECT (RFC 8441).
    Protocol(Bytes),
    /// Any other field.
    Regular(HeaderName, HeaderValue),
    /// What can be no field of a request, and why.
    Malformed(&'static str),
}

/// What a name says of the value to come.
#[derive(Debug, Clone)]
pub(super) enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Regular(HeaderName),
    /// With it no value is a field.
    Malformed(&'static str),
}

pub(super) const STATUS: &str = ":status is not for requests";
pub(super) const OF_CONNECTION: &str = "a field is for a connection";
pub(super) const NO_AUTHORITY: &str = ":authority is empty";

impl Name {
    /// The name that is written like this.
    pub(super) fn of(text: &[u8]) -> Self {
        if let [b':', pseudo @ ..] = text {
            return match pseudo {
                b"method" => Self::Method,
                b"scheme" => Self::Scheme,
                b"authority" => Self::Authority,
                b"path" => Self::Path,
                b"protocol" => Self::Protocol,
                b"status" => Self::Malformed(STATUS),
                _ => Self::Malformed("a pseudo field is unknown"),
            };
        }
        // These have no number of their own in `http`.
        if matches!(text, b"keep-alive" | b"proxy-connection") {
            return Self::Malformed(OF_CONNECTION);
        }
        match HeaderName::from_lowercase(text) {
            Ok(CONNECTION | TRANSFER_ENCODING | UPGRADE) => Self::Malformed(OF_CONNECTION),
            Ok(name) => Self::Regular(name),
            Err(_) => {
                Self::Malformed("a name is empty, or not of a token's characters in lower case")
            }
        }
    }

    /// The field of this name with a value. A `secret` one is never to be indexed by anyone (RFC 7541, section 6.2.3).
    pub(super) fn with(self, value: &[u8], secret: bool) -> Field {
        let made = match self {
            Self::Regular(name) => regular(name, value, secret),
            Self::Path => path(value),
            Self::Authority => authority(value),
            Self::Method => method(value),
            Self::Scheme => scheme(value),
            Self::Protocol => protocol(value),
            Self::Malformed(why) => Err(why),
        };
        made.unwrap_or_else(Field::Malformed)
    }
}

fn regular(name: HeaderName, value: &[u8], secret: bool) -> Result<Field, &'static str> {
    const SPACE: [u8; 2] = *b" \t";
    if let ([first, ..], [.., last]) = (value, value)
        && (SPACE.contains(first) || SPACE.contains(last))
    {
        return Err("a value begins or ends with white space");
    }
    if name == TE && value != b"trailers" {
        return Err("te is not trailers");
    }
    let mut value = HeaderValue::from_maybe_shared(shared(value))
        .map_err(|_| "a value has a control character")?;
    value.set_sensitive(secret);
    Ok(Field::Regular(name, value))
}

fn path(value: &[u8]) -> Result<Field, &'static str> {
    if value != b"*" && value.first() != Some(&b'/') {
        return Err(":path does not begin at the root");
    }
    let path = PathAndQuery::from_maybe_shared(shared(value)).map_err(|_| ":path is not a path")?;
    // The type drops a fragment without a word.
    if path.as_str().len() < value.len() {
        return Err(":path has a fragment");
    }
    Ok(Field::Path(path))
}

fn authority(value: &[u8]) -> Result<Field, &'static str> {
    if value.is_empty() {
        return Err(NO_AUTHORITY);
    }
    Authority::from_maybe_shared(shared(value))
        .map(Field::Authority)
        .map_err(|_| ":authority is not an authority")
}

fn method(value: &[u8]) -> Result<Field, &'static str> {
    Method::from_bytes(value)
        .map(Field::Method)
        .map_err(|_| ":method is not a token")
}

fn scheme(value: &[u8]) -> Result<Field, &'static str> {
    // The type takes an empty one, and characters that no scheme has (RFC 3986, section 3.1).
    let is_of_schemes = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    if !value.first().is_some_and(u8::is_ascii_alphabetic) || !value.iter().all(is_of_schemes) {
        return Err(":scheme is not a scheme");
    }
    Scheme::try_from(value)
        .map(Field::Scheme)
        .map_err(|_| ":scheme is not a scheme")
}

fn protocol(value: &[u8]) -> Result<Field, &'static str> {
    // A token, and perhaps a version (RFC 9110, section 7.8).
    let is_of_protocols =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(byte);
    if value.is_empty() || !value.iter().all(is_of_protocols) {
        return Err(":protocol is not a protocol");
    }
    Ok(Field::Protocol(shared(value)))
}

/// A copy to be shared, in an allocation of its own: a slice of what was read would keep all of that in memory for as long
/// as the table has the entry.
///
/// [`Bytes`] of a vector allocate a second time when they are cloned first, and whoever is told of a field clones it. So
/// all but long ones are kept beside their count, in sizes that fill those of the allocator.
fn shared(text: &[u8]) -> Bytes {
    match text.len() {
        0 => Bytes::new(),
        1..=23 => Beside::<23>::bytes(text),
        24..=55 => Beside::<55>::bytes(text),
        56..=119 => Beside::<119>::bytes(text),
        120..=247 => Beside::<247>::bytes(text),
        _ => Bytes::copy_from_slice(text),
    }
}

/// Up to `ROOM` bytes.
struct Beside<const ROOM: usize> {
    length: u8,
    text: [u8; ROOM],
}

impl<const ROOM: usize> Beside<ROOM> {
    #[inline]
    fn bytes(text: &[u8]) -> Bytes {
        let mut beside = Self {
            length: text.len() as u8,
            text: [0; ROOM],
        };
        beside.text[..text.len()].copy_from_slice(text);
        Bytes::from_owner(beside)
    }
}

impl<const ROOM: usize> AsRef<[u8]> for Beside<ROOM> {
    fn as_ref(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}
