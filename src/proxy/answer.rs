//! What a client is answered, whatever it speaks.

use http::StatusCode;

use super::Body;
use crate::http1::Fields;

/// An answer. How it is framed is for the client's protocol to say.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The fields, none of them of the connection but those that switch protocols.
    pub fields: Fields,
    /// The body.
    pub body: Body,
    /// It is the connection's last, where that carries one request at a time.
    pub close: bool,
}

impl Answer {
    pub(super) fn new(status: StatusCode, fields: impl Into<Fields>, body: Body) -> Self {
        Self {
            status,
            fields: fields.into(),
            body,
            close: false,
        }
    }

    /// The body alone: the head's bytes, and with them the buffer that they came in, are let go.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.body
    }
}
