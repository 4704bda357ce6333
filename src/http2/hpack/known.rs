//! Names of responses that have a number in the fixed table, and what their values usually do.

/// A name's number, and what its values do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) index: u8,
    pub(super) habit: Habit,
}

/// What the values of a name do from response to response of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// The next response says the same: of the server, of the site, of the second. With the place where the last value is
    /// remembered.
    Repeats(usize),
    /// The next may say the same, or none again.
    MayRepeat(usize),
    /// Of one resource, or of one response.
    Differs,
    /// Of one client, and not to be guessed by trying what shrinks (RFC 7541, section 7.1).
    Secret,
}

/// How many places there are.
pub(super) const PLACES: usize = 14;

/// The name, which is a token in any case.
pub(super) fn known(name: &[u8]) -> Option<Known> {
    use Habit::{Differs, MayRepeat, Repeats, Secret};
    let (index, habit) = match name.len() {
        3 if is(name, b"via") => (60, Repeats(0)),
        3 if is(name, b"age") => (21, Differs),
        4 if is(name, b"date") => (33, Repeats(1)),
        4 if is(name, b"vary") => (59, Repeats(2)),
        4 if is(name, b"etag") => (34, Differs),
        4 if is(name, b"link") => (45, MayRepeat(3)),
        5 if is(name, b"allow") => (22, MayRepeat(4)),
        6 if is(name, b"server") => (54, Repeats(5)),
        6 if is(name, b"cookie") => (32, Secret),
        7 if is(name, b"expires") => (36, MayRepeat(6)),
        7 if is(name, b"refresh") => (52, Differs),
        8 if is(name, b"location") => (46, Differs),
        10 if is(name, b"set-cookie") => (55, Secret),
        11 if is(name, b"retry-after") => (53, Differs),
        12 if is(name, b"content-type") => (31, Repeats(7)),
        13 if is(name, b"cache-control") => (24, Repeats(8)),
        13 if is(name, b"last-modified") => (44, Differs),
        13 if is(name, b"accept-ranges") => (18, Repeats(9)),
        13 if is(name, b"content-range") => (30, Differs),
        13 if is(name, b"authorization") => (23, Secret),
        14 if is(name, b"content-length") => (28, Differs),
        16 if is(name, b"content-encoding") => (26, Repeats(10)),
        16 if is(name, b"content-language") => (27, MayRepeat(11)),
        16 if is(name, b"content-location") => (29, Differs),
        16 if is(name, b"www-authenticate") => (61, Secret),
        18 if is(name, b"proxy-authenticate") => (48, Secret),
        19 if is(name, b"content-disposition") => (25, Differs),
        19 if is(name, b"proxy-authorization") => (49, Secret),
        25 if is(name, b"strict-transport-security") => (56, Repeats(12)),
        27 if is(name, b"access-control-allow-origin") => (20, Repeats(13)),
        _ => return None,
    };
    Some(Known { index, habit })
}

/// Whether a token is this name, but for its case.
#[inline]
fn is<const LENGTH: usize>(token: &[u8], name: &[u8; LENGTH]) -> bool {
    // The bit makes letters small, and of a token's other characters none to one of a name.
    let differ = |differ, (byte, known): (&u8, &u8)| differ | ((byte | 0x20) ^ known);
    token
        .first_chunk::<LENGTH>()
        .is_some_and(|token| token.iter().zip(name).fold(0, differ) == 0)
}
