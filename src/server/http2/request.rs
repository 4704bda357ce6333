//! The fields of a request, or those behind its body, as they are decoded (RFC 9113, section 8).

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, uri};

use crate::http1::content_length;
use crate::http2::hpack::Field;

/// What a field block comes to.
#[derive(Debug, Default)]
pub(super) struct Fields {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<Bytes>,
    regular: HeaderMap,
    has_regular: bool,
    length: Option<u64>,
    /// Why it is none (section 8.1.1).
    malformed: Option<&'static str>,
    /// What the fields come to, as the limit of a field list counts them.
    size: usize,
}

/// A request's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: Parts,
    /// Bytes that its body is said to have.
    pub(super) length: Option<u64>,
}

impl Fields {
    /// Takes a field, unless all together are larger than `most`.
    pub(super) fn take(&mut self, field: &Field, size: usize, most: usize) {
        self.size = self.size.saturating_add(size);
        if self.size > most || self.malformed.is_some() {
            return;
        }
        let is_new = match field {
            Field::Regular(name, value) => {
                self.has_regular = true;
                return self.take_regular(name, value);
            }
            Field::Malformed(why) => {
                self.malformed = Some(why);
                return;
            }
            Field::Method(method) => self.method.replace(method.clone()).is_none(),
            Field::Scheme(scheme) => self.scheme.replace(scheme.clone()).is_none(),
            Field::Authority(authority) => self.authority.replace(authority.clone()).is_none(),
            Field::Path(path) => self.path.replace(path.clone()).is_none(),
            Field::Protocol(protocol) => self.protocol.replace(protocol.clone()).is_none(),
        };
        if self.has_regular {
            self.malformed = Some("a pseudo field behind a regular one");
        } else if !is_new {
            self.malformed = Some("a pseudo field twice");
        }
    }

    fn take_regular(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == CONTENT_LENGTH {
            let Some(length) = content_length(value.as_bytes()) else {
                self.malformed = Some("a content length that is no number");
                return;
            };
            match self.length.replace(length) {
                None => {}
                // Said twice: once is enough.
                Some(before) if before == length => return,
                Some(_) => {
                    self.malformed = Some("two content lengths");
                    return;
                }
            }
        }
        if self.regular.is_empty() {
            self.regular.reserve(8);
        }
        // Fails only for tens of thousands, where a limit of the configuration is that high.
        if self
            .regular
            .try_append(name.clone(), value.clone())
            .is_err()
        {
            self.malformed = Some("too many fields");
        }
    }

    /// Whether they were larger than `most`, so that not all were kept.
    pub(super) fn is_too_large(&self, most: usize) -> bool {
        self.size > most
    }

    /// The head that they are; an error says why they are none.
    pub(super) fn into_head(self) -> Result<Head, &'static str> {
        if let Some(why) = self.malformed {
            return Err(why);
        }
        let method = self.method.ok_or("no :method")?;
        let is_connect = method == Method::CONNECT;
        if self.protocol.is_some() && !is_connect {
            return Err("a :protocol without CONNECT");
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        if is_connect && self.protocol.is_none() {
            if self.scheme.is_some() || self.path.is_some() {
                return Err("CONNECT with a :scheme or a :path");
            }
            parts.uri = Uri::from(self.authority.ok_or("CONNECT without an :authority")?);
        } else {
            let scheme = self.scheme.ok_or("no :scheme")?;
            let path = self.path.ok_or("no :path")?;
            parts.uri = target(scheme, self.authority, path)?;
        }
        if let Some(protocol) = self.protocol {
            let protocol = std::str::from_utf8(&protocol).map_err(|_| "a :protocol of no name")?;
            parts.extensions.insert(h2::ext::Protocol::from(protocol));
        }
        parts.method = method;
        parts.version = Version::HTTP_2;
        parts.headers = self.regular;
        Ok(Head {
            parts,
            length: self.length,
        })
    }

    /// The trailers that they are.
    pub(super) fn into_trailers(self) -> Result<HeaderMap, &'static str> {
        if let Some(why) = self.malformed {
            return Err(why);
        }
        let Self {
            method,
            scheme,
            authority,
            path,
            protocol,
            ..
        } = &self;
        let pseudo = method.is_some() || scheme.is_some() || authority.is_some();
        if pseudo || path.is_some() || protocol.is_some() {
            return Err("a pseudo field behind the body");
        }
        Ok(self.regular)
    }
}

fn target(
    scheme: Scheme,
    authority: Option<Authority>,
    path: PathAndQuery,
) -> Result<Uri, &'static str> {
    let mut parts = uri::Parts::default();
    // Without an authority there is no target with a scheme.
    parts.scheme = authority.is_some().then_some(scheme);
    parts.authority = authority;
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| "pseudo fields that are no target")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: [Field; 1] = [Field::Method(Method::GET)];

    fn http() -> Field {
        Field::Scheme(Scheme::HTTP)
    }

    fn path(path: &'static str) -> Field {
        Field::Path(PathAndQuery::from_static(path))
    }

    fn authority() -> Field {
        Field::Authority(Authority::from_static("a.test:1"))
    }

    fn regular(name: &'static str, value: &'static str) -> Field {
        Field::Regular(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    }

    fn fields(all: &[Field]) -> Fields {
        let mut fields = Fields::default();
        for field in all {
            fields.take(field, 40, 1000);
        }
        fields
    }

    fn head(all: &[Field]) -> Result<Head, &'static str> {
        fields(all).into_head()
    }

    #[test]
    fn a_head_is_what_its_fields_say() {
        let usual = [&GET[..], &[http(), path("/x?y"), authority()]].concat();
        let more = [
            regular("content-length", "5"),
            regular("content-length", "5"),
            regular("x", "y"),
        ];
        let head = head(&[&usual[..], &more].concat()).unwrap();
        assert_eq!(head.length, Some(5));
        let parts = head.parts;
        assert_eq!(
            (parts.method, parts.version),
            (Method::GET, Version::HTTP_2)
        );
        assert_eq!(parts.uri, "http://a.test:1/x?y");
        assert_eq!(parts.headers.len(), 2);
    }

    #[test]
    fn a_target_may_lack_its_host() {
        let head = head(&[&GET[..], &[http(), path("/x")]].concat()).unwrap();
        assert_eq!(head.parts.uri, "/x");
    }

    #[test]
    fn connect_has_a_host_alone_unless_it_names_a_protocol() {
        let connect = Field::Method(Method::CONNECT);
        let plain = head(&[connect.clone(), authority()]).unwrap();
        assert_eq!(plain.parts.uri, "a.test:1");
        let protocol = Field::Protocol(Bytes::from_static(b"websocket"));
        let all = [
            connect.clone(),
            protocol.clone(),
            http(),
            path("/"),
            authority(),
        ];
        let extended = head(&all).unwrap().parts;
        assert_eq!(extended.uri, "http://a.test:1/");
        let named = extended.extensions.get().map(h2::ext::Protocol::as_str);
        assert_eq!(named, Some("websocket"));
        for wrong in [
            &[connect.clone()][..],
            &[connect.clone(), authority(), path("/")],
            &[connect.clone(), authority(), http()],
            &[connect, authority(), protocol.clone()],
            &[
                Field::Method(Method::GET),
                protocol,
                http(),
                path("/"),
                authority(),
            ],
        ] {
            assert!(head(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_none() {
        let usual = [&GET[..], &[http(), path("/"), authority()]].concat();
        for left_out in 0..3 {
            let mut fields = usual.clone();
            fields.remove(left_out);
            assert!(head(&fields).is_err(), "{fields:?}");
        }
        for twice in &usual {
            assert!(
                head(&[&usual[..], std::slice::from_ref(twice)].concat()).is_err(),
                "{twice:?}"
            );
        }
        for more in [
            vec![
                regular("content-length", "5"),
                regular("content-length", "6"),
            ],
            vec![regular("content-length", "+5")],
            vec![Field::Malformed("no field")],
        ] {
            assert!(head(&[&usual[..], &more].concat()).is_err(), "{more:?}");
        }
        let late = [&usual[..3], &[regular("x", "y"), usual[3].clone()]].concat();
        assert!(head(&late).is_err());
    }

    #[test]
    fn trailers_have_no_pseudo_fields() {
        let trailers = fields(&[regular("x", "y")]).into_trailers().unwrap();
        assert_eq!(trailers["x"], "y");
        for pseudo in [GET[0].clone(), http(), path("/"), authority()] {
            assert!(
                fields(std::slice::from_ref(&pseudo))
                    .into_trailers()
                    .is_err(),
                "{pseudo:?}"
            );
        }
        assert!(
            fields(&[Field::Malformed("no field")])
                .into_trailers()
                .is_err()
        );
    }

    #[test]
    fn what_is_too_large_is_counted_and_not_kept() {
        let mut fields = Fields::default();
        for _ in 0..100 {
            fields.take(&regular("x", "y"), 34, 340);
        }
        assert!(fields.is_too_large(340) && !fields.is_too_large(3400));
        assert_eq!(fields.regular.len(), 10);
    }
}
