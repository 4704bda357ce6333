//! The keys of a WebSocket's handshake (RFC 6455, section 4.2.2), for a client that has none: over HTTP/2 there are none (RFC
//! 8441, section 5), and the endpoint has to show that it understood all the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// What an endpoint is sent as `Sec-WebSocket-Key`.
#[derive(Debug, Clone)]
pub(super) struct Key(String);

/// What every endpoint puts behind a key.
const SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Key {
    /// A key that has not been used before.
    pub(super) fn new(rng: &mut fastrand::Rng) -> Self {
        Self(STANDARD.encode(rng.u128(..).to_be_bytes()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the answer to it, as `Sec-WebSocket-Accept` has it.
    pub(super) fn is_accepted_by(&self, accept: Option<&HeaderValue>) -> bool {
        let text = format!("{}{SUFFIX}", self.0);
        let right = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
        accept.is_some_and(|accept| accept == right.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn knows_the_answer_to_a_key() {
        let key = Key("dGhlIHNhbXBsZSBub25jZQ==".to_owned());
        let right = HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(key.is_accepted_by(Some(&right)));
        assert!(!key.is_accepted_by(None));
        let other = Key::new(&mut fastrand::Rng::with_seed(1));
        assert_eq!(other.as_str().len(), 24);
        assert!(!other.is_accepted_by(Some(&right)));
    }
}
