//! HTTP/1.1's bytes (RFC 9112), as both ends read and write them: `pool` with endpoints, `server` with clients.
//!
//! * [`Inbox`]: what has been read and not been taken yet.
//! * [`give`]: where its buffers go, to be used anew.
//! * [`End`]: where a head ends, however it comes.
//! * [`Fields`]: the fields of a message on their way through.
//! * [`Chunks`]: the chunked coding.
//! * [`ConnectionTokens`] and its neighbours: fields that belong to one connection only.
//!
//! Both ends are strict: what another reader could take differently is refused.

mod chunked;
mod end;
mod fields;
mod inbox;
mod lines;
mod spare;

pub use chunked::{Chunk, Chunks, write_end, write_size};
pub use end::End;
pub use fields::{ConnectionTokens, content_length, is_forbidden_trailer, is_hop_by_hop};
pub use inbox::Inbox;
pub use lines::{Fields, Lines};
pub use spare::give;
