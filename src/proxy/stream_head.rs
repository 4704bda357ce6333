//! The head of a request as an HTTP/2 endpoint gets it (RFC 9113, section 8.3): the same fields as over HTTP/1.1, the target
//! in pseudo fields, and nothing of a connection.

use http::header::{CONTENT_LENGTH, TE, VIA};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Uri, Version};

use super::change::Outgoing;
use super::headers::{
    FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, is_passed_on, is_trusted, takes_trailers,
    tokens,
};
use super::inspect::Target;
use super::upload::Framing;
use super::{Downstream, Failure, Underscores};

/// The head. Its scheme is the client's own: an endpoint builds links by it.
pub(super) fn request(
    outgoing: Outgoing<'_>,
    downstream: &Downstream,
    framing: Framing,
) -> Result<Request<()>, Failure> {
    let Outgoing {
        parts,
        asked,
        target,
        fields,
    } = outgoing;
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri(target, downstream)?;
    let headers = request.headers_mut();
    headers.reserve(fields.len() + 6);
    let present = asked.present();
    let tokens = tokens(fields, present);
    let trusted = is_trusted(downstream);
    let drops = downstream.entrance.underscores == Underscores::Drop;
    for (name, value) in fields {
        let is_dropped = drops && name.as_str().contains('_');
        if is_passed_on(name, trusted) && !tokens.contains(name.as_str()) && !is_dropped {
            headers.append(name, value.clone());
        }
    }
    add_forwarded(headers, parts, asked, downstream, trusted)?;
    if present.te && takes_trailers(&parts.headers) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Framing::Sized(length) = framing {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    Ok(request)
}

fn uri(target: &Target, downstream: &Downstream) -> Result<Uri, Failure> {
    const NO_TARGET: Failure = Failure::BadRequest("the target cannot be told to the endpoint");
    let own = downstream.local.to_string();
    let authority = match target.authority_text() {
        // HTTP/1.0 without a host: where it came in is the best guess at what it meant.
        "" => &*own,
        text => text,
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if downstream.entrance.tls {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    });
    uri.authority = Some(Authority::try_from(authority).map_err(|_| NO_TARGET)?);
    let path = PathAndQuery::try_from(target.path_and_query()).map_err(|_| NO_TARGET)?;
    uri.path_and_query = Some(path);
    Uri::from_parts(uri).map_err(|_| NO_TARGET)
}

/// `Via` and `X-Forwarded-*`, as over HTTP/1.1.
fn add_forwarded(
    headers: &mut HeaderMap,
    parts: &Parts,
    target: &Target,
    downstream: &Downstream,
    trusted: bool,
) -> Result<(), Failure> {
    headers.append(
        VIA,
        HeaderValue::from_static(match parts.version {
            Version::HTTP_10 => "1.0 tidegate",
            Version::HTTP_2 => "2.0 tidegate",
            _ => "1.1 tidegate",
        }),
    );
    let mut chain = Vec::new();
    if trusted {
        for value in parts.headers.get_all(FORWARDED_FOR) {
            chain.extend_from_slice(value.as_bytes());
            chain.extend_from_slice(b", ");
        }
    }
    let client = downstream.client.ip().to_canonical().to_string();
    chain.extend_from_slice(client.as_bytes());
    let proto = if downstream.entrance.tls {
        "https"
    } else {
        "http"
    };
    let given = |name| parts.headers.get(name).filter(|_| trusted).cloned();
    let value = |bytes: &[u8]| {
        HeaderValue::from_bytes(bytes)
            .map_err(|_| Failure::BadRequest("a field has no valid value"))
    };
    headers.insert(FORWARDED_FOR, value(&chain)?);
    let told = given(FORWARDED_PROTO).unwrap_or(HeaderValue::from_static(proto));
    headers.insert(FORWARDED_PROTO, told);
    let told = match given(FORWARDED_HOST) {
        Some(told) => told,
        None => value(target.authority_text().as_bytes())?,
    };
    if !told.is_empty() {
        headers.insert(FORWARDED_HOST, told);
    }
    Ok(())
}
