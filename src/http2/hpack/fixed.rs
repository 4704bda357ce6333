//! The fixed part of the table (RFC 7541, appendix A), made when the program is.

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method};

use super::field::{Field, NO_AUTHORITY, Name, OF_CONNECTION, STATUS};
use super::table::{Entry, size};

/// The entries by number, from 1 on.
pub(super) static FIXED: [Entry; 61] = [
    entry(
        ":authority",
        "",
        Name::Authority,
        Field::Malformed(NO_AUTHORITY),
    ),
    entry(":method", "GET", Name::Method, Field::Method(Method::GET)),
    entry(":method", "POST", Name::Method, Field::Method(Method::POST)),
    path("/"),
    path("/index.html"),
    entry(":scheme", "http", Name::Scheme, Field::Scheme(Scheme::HTTP)),
    entry(
        ":scheme",
        "https",
        Name::Scheme,
        Field::Scheme(Scheme::HTTPS),
    ),
    malformed(":status", "200", STATUS),
    malformed(":status", "204", STATUS),
    malformed(":status", "206", STATUS),
    malformed(":status", "304", STATUS),
    malformed(":status", "400", STATUS),
    malformed(":status", "404", STATUS),
    malformed(":status", "500", STATUS),
    regular("accept-charset", ""),
    regular("accept-encoding", "gzip, deflate"),
    regular("accept-language", ""),
    regular("accept-ranges", ""),
    regular("accept", ""),
    regular("access-control-allow-origin", ""),
    regular("age", ""),
    regular("allow", ""),
    regular("authorization", ""),
    regular("cache-control", ""),
    regular("content-disposition", ""),
    regular("content-encoding", ""),
    regular("content-language", ""),
    regular("content-length", ""),
    regular("content-location", ""),
    regular("content-range", ""),
    regular("content-type", ""),
    regular("cookie", ""),
    regular("date", ""),
    regular("etag", ""),
    regular("expect", ""),
    regular("expires", ""),
    regular("from", ""),
    regular("host", ""),
    regular("if-match", ""),
    regular("if-modified-since", ""),
    regular("if-none-match", ""),
    regular("if-range", ""),
    regular("if-unmodified-since", ""),
    regular("last-modified", ""),
    regular("link", ""),
    regular("location", ""),
    regular("max-forwards", ""),
    regular("proxy-authenticate", ""),
    regular("proxy-authorization", ""),
    regular("range", ""),
    regular("referer", ""),
    regular("refresh", ""),
    regular("retry-after", ""),
    regular("server", ""),
    regular("set-cookie", ""),
    regular("strict-transport-security", ""),
    malformed("transfer-encoding", "", OF_CONNECTION),
    regular("user-agent", ""),
    regular("vary", ""),
    regular("via", ""),
    regular("www-authenticate", ""),
];

const fn path(path: &'static str) -> Entry {
    let field = Field::Path(PathAndQuery::from_static(path));
    entry(":path", path, Name::Path, field)
}

const fn malformed(name: &str, value: &str, why: &'static str) -> Entry {
    entry(name, value, Name::Malformed(why), Field::Malformed(why))
}

const fn regular(name: &'static str, value: &'static str) -> Entry {
    let field = Field::Regular(
        HeaderName::from_static(name),
        HeaderValue::from_static(value),
    );
    entry(
        name,
        value,
        Name::Regular(HeaderName::from_static(name)),
        field,
    )
}

const fn entry(text: &str, value: &str, name: Name, field: Field) -> Entry {
    Entry {
        name,
        field,
        name_length: text.len(),
        size: size(text.len(), value.len()),
    }
}
