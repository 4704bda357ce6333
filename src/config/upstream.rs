//! `protocol` and `tls` of a service: how its endpoints are spoken to.

use crate::document::Item;
use crate::net::tls::{Certificate, Connector, UpstreamSettings, is_server_name};
use crate::snapshot::Protocol;

use super::files::{Files, Need};
use super::values::take;

/// Reads `tls`; what is offered inside follows from the protocol.
pub(super) fn tls(item: &Item<'_>, protocol: Protocol, files: &mut Files) -> Option<Connector> {
    let mut keys = item.mapping()?;
    let mut settings = UpstreamSettings {
        protocols: match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
            Protocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        },
        ..UpstreamSettings::default()
    };
    take(
        &mut settings.server_name,
        keys.optional("server_name"),
        |item| {
            let text = item.name()?;
            if !is_server_name(text) {
                item.fault(format!(
                    "is {text:?}, should be a DNS name or an IP address"
                ));
                return None;
            }
            Some(Some(text.to_owned()))
        },
    );
    take(&mut settings.authorities, keys.optional("ca"), |item| {
        files.file(item, Need::AtStart).map(Some)
    });
    take(
        &mut settings.certificate,
        keys.optional("client_certificate"),
        |item| {
            let mut keys = item.mapping()?;
            let cert = keys.required("cert");
            let cert = cert.and_then(|item| files.file(&item, Need::AtStart));
            let key = keys.required("key");
            let key = key.and_then(|item| files.file(&item, Need::AtStart));
            keys.finish();
            Some(Some(Certificate {
                cert: cert?,
                key: key?,
            }))
        },
    );
    take(
        &mut settings.unverified,
        keys.optional("dangerously_unverified"),
        Item::boolean,
    );
    keys.finish();
    Some(Connector::new(settings))
}

/// The words for what is spoken to endpoints.
pub(super) const PROTOCOLS: [(&str, Protocol); 3] = [
    ("http1", Protocol::Http1),
    ("h2", Protocol::Http2),
    ("auto", Protocol::Auto),
];
