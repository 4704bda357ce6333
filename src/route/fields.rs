//! Which fields a route may look at, and which it may change: what belongs to a connection, frames a message or tells of its
//! way has one meaning, and the proxy alone gives it.

use http::HeaderName;
use http::header::{
    CONTENT_LENGTH, DATE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};

/// Whether a condition may be on a request's field.
///
/// # Errors
/// Why not, to be read after the name.
pub fn may_be_asked(name: &HeaderName) -> Result<(), &'static str> {
    if *name == HOST {
        return Err("is what host is for");
    }
    ours(name)
}

/// Whether a field of a request may be set or removed.
///
/// # Errors
/// Why not, to be read after the name.
pub fn may_be_changed(name: &HeaderName) -> Result<(), &'static str> {
    if *name == HOST {
        return Err("is what rewrite: { host: ... } is for");
    }
    ours(name)
}

/// Whether a field of a response may be set or removed.
///
/// # Errors
/// Why not, to be read after the name.
pub fn may_be_changed_back(name: &HeaderName) -> Result<(), &'static str> {
    if *name == DATE {
        return Err("says when the endpoint answered, and stays");
    }
    ours(name)
}

fn ours(name: &HeaderName) -> Result<(), &'static str> {
    let text = name.as_str();
    if matches!(*name, CONTENT_LENGTH | TRANSFER_ENCODING | TRAILER | EXPECT) {
        return Err("frames the message, and is the proxy's own");
    }
    if matches!(
        *name,
        UPGRADE | TE | PROXY_AUTHENTICATE | PROXY_AUTHORIZATION
    ) || matches!(
        text,
        "connection" | "keep-alive" | "proxy-connection" | "http2-settings"
    ) || text.starts_with("sec-websocket-")
    {
        return Err("is the connection's, and ends at the proxy");
    }
    if matches!(*name, FORWARDED | VIA) || text == "x-real-ip" || text.starts_with("x-forwarded-") {
        return Err("tells of the message's way, and is the proxy's own (trusted_proxies)");
    }
    if text.contains('_') {
        return Err("has an underscore, which some endpoints read as a hyphen");
    }
    Ok(())
}
