//! `listeners`: where clients come in.

use crate::document::{Item, Mapping};
use crate::net::{Network, tls};
use crate::proxy::Underscores;
use crate::server::{Limits, Settings, Timeouts};

use super::addresses::Addresses;
use super::files::{Files, Need};
use super::values::{Seen, count, name, size, take, time};

/// Reads all of them. One whose name is `offered` certificates from elsewhere needs none of its own.
pub(super) fn listeners(
    list: &Item<'_>,
    offered: &dyn Fn(&str) -> bool,
    files: &mut Files,
    addresses: &mut Addresses,
) -> Option<Vec<Settings>> {
    let items = list.list(false)?;
    if items.is_empty() {
        list.fault("is empty, should have a listener, as { name: http, address: 0.0.0.0:8080 }");
    }
    let mut names = Seen::default();
    let read = |item: &Item<'_>| {
        let mut keys = item.mapping()?;
        let listener = listener(&mut keys, &mut names, offered, files, addresses);
        keys.finish();
        listener
    };
    Some(items.iter().filter_map(read).collect())
}

fn listener(
    keys: &mut Mapping<'_>,
    names: &mut Seen,
    offered: &dyn Fn(&str) -> bool,
    files: &mut Files,
    addresses: &mut Addresses,
) -> Option<Settings> {
    let own_name = keys.required("name").and_then(|item| {
        let text = name(&item)?;
        names.note(&item, text, &format!("listener {text}"));
        Some(text)
    });
    let owner = own_name.map_or("a listener".into(), |text| format!("listener {text}"));
    let address = keys
        .required("address")
        .and_then(|item| addresses.read(&item, &owner));
    let (mut trusted_proxies, mut tls) = (Vec::new(), None);
    let (mut proxy_protocol, mut debug_headers) = (false, false);
    let (mut bounds, mut times) = (Limits::default(), Timeouts::default());
    take(
        &mut trusted_proxies,
        keys.optional("trusted_proxies"),
        networks,
    );
    take(
        &mut proxy_protocol,
        keys.optional("proxy_protocol"),
        Item::boolean,
    );
    take(
        &mut debug_headers,
        keys.optional("debug_headers"),
        Item::boolean,
    );
    let mut underscores = Underscores::default();
    take(&mut underscores, keys.optional("underscores"), |item| {
        item.word(&UNDERSCORES)
    });
    take(&mut tls, keys.optional("tls"), |item| {
        let is_offered = own_name.is_some_and(offered);
        self::tls(item, is_offered, files).map(Some)
    });
    let mut http2 = true;
    take(&mut http2, keys.optional("http2"), Item::boolean);
    if let Some(tls) = &mut tls {
        tls.http2 = http2;
    }
    take(&mut times, keys.optional("timeouts"), timeouts);
    take(&mut bounds, keys.optional("limits"), limits);
    Some(Settings {
        name: own_name?.into(),
        address: address?,
        trusted_proxies,
        proxy_protocol,
        underscores,
        tls,
        http2,
        debug_headers,
        timeouts: times,
        limits: bounds,
    })
}

fn networks(list: &Item<'_>) -> Option<Vec<Network>> {
    let read = |item: &Item<'_>| {
        let text = item.text()?;
        Network::parse(text)
            .map_err(|right| item.fault(format!("is {text:?}, {right}")))
            .ok()
    };
    Some(list.list(false)?.iter().filter_map(read).collect())
}

fn timeouts(item: &Item<'_>) -> Option<Timeouts> {
    let mut keys = item.mapping()?;
    let mut timeouts = Timeouts::default();
    take(&mut timeouts.header, keys.optional("header"), time);
    take(&mut timeouts.body, keys.optional("body"), time);
    take(
        &mut timeouts.request,
        keys.optional("request"),
        Item::duration,
    );
    take(&mut timeouts.keep_alive, keys.optional("keep_alive"), time);
    take(&mut timeouts.ping, keys.optional("ping"), Item::duration);
    take(
        &mut timeouts.max_connection_age,
        keys.optional("max_connection_age"),
        Item::duration,
    );
    keys.finish();
    Some(timeouts)
}

fn limits(item: &Item<'_>) -> Option<Limits> {
    let mut keys = item.mapping()?;
    let mut limits = Limits::default();
    // Every client may send 8 KiB (RFC 9110, section 4.1, asks for as much of a target alone), and `http` keeps no target
    // beyond 64 KiB.
    take(
        &mut limits.header_bytes,
        keys.optional("header_size"),
        |item| size(item, 8 * KIB..=1024 * KIB),
    );
    take(&mut limits.headers, keys.optional("headers"), |item| {
        count(item, 1..=10_000)
    });
    take(
        &mut limits.target_bytes,
        keys.optional("target_size"),
        |item| size(item, 1..=64 * KIB),
    );
    take(
        &mut limits.connections,
        keys.optional("connections"),
        |item| count(item, 1..=10_000_000),
    );
    take(
        &mut limits.connections_per_client,
        keys.optional("connections_per_client"),
        |item| count(item, 0..=10_000_000),
    );
    http2_limits(&mut limits, &mut keys);
    keys.finish();
    Some(limits)
}

fn http2_limits(limits: &mut Limits, keys: &mut Mapping<'_>) {
    take(&mut limits.streams, keys.optional("streams"), |item| {
        count(item, 1..=10_000)
    });
    take(
        &mut limits.streams_per_client,
        keys.optional("streams_per_client"),
        |item| count(item, 0..=10_000_000),
    );
    // Below what every client begins with, SETTINGS would have to be waited for.
    take(
        &mut limits.stream_window,
        keys.optional("stream_window"),
        |item| size(item, 64 * KIB..=16 * 1024 * KIB),
    );
    take(
        &mut limits.connection_window,
        keys.optional("connection_window"),
        |item| size(item, 64 * KIB..=64 * 1024 * KIB),
    );
    take(&mut limits.resets, keys.optional("resets"), |item| {
        count(item, 1..=10_000)
    });
    take(
        &mut limits.stream_errors,
        keys.optional("stream_errors"),
        |item| count(item, 1..=1_000_000),
    );
}

fn tls(item: &Item<'_>, is_offered: bool, files: &mut Files) -> Option<tls::Settings> {
    let mut keys = item.mapping()?;
    let list = keys.required("certificates");
    let certificates = list.and_then(|item| certificates(&item, is_offered, files));
    let mut min_version = tls::Version::default();
    take(&mut min_version, keys.optional("min_version"), |item| {
        item.word(&TLS_VERSIONS)
    });
    let mut clients = None;
    take(&mut clients, keys.optional("client_certificates"), |item| {
        client_certificates(item, files).map(Some)
    });
    keys.finish();
    Some(tls::Settings {
        certificates: certificates?,
        min_version,
        http2: true,
        clients,
    })
}

fn client_certificates(item: &Item<'_>, files: &mut Files) -> Option<tls::ClientCertificates> {
    let mut keys = item.mapping()?;
    let authorities = keys
        .required("ca")
        .and_then(|item| files.file(&item, Need::AtStart));
    let mut required = true;
    take(&mut required, keys.optional("required"), Item::boolean);
    keys.finish();
    Some(tls::ClientCertificates {
        authorities: authorities?,
        optional: !required,
    })
}

fn certificates(
    list: &Item<'_>,
    may_be_empty: bool,
    files: &mut Files,
) -> Option<Vec<tls::Certificate>> {
    let items = list.list(false)?;
    if items.is_empty() && !may_be_empty {
        list.fault("is empty, should have a certificate, as { cert: shop.crt, key: shop.key }");
    }
    let read = |item: &Item<'_>| {
        let mut keys = item.mapping()?;
        let mut file = |key: Option<Item<'_>>| files.file(&key?, Need::AtStart);
        let cert = file(keys.required("cert"));
        let key = file(keys.required("key"));
        keys.finish();
        Some(tls::Certificate {
            cert: cert?,
            key: key?,
        })
    };
    Some(items.iter().filter_map(read).collect())
}

/// The words for what becomes of underscores.
pub(super) const UNDERSCORES: [(&str, Underscores); 3] = [
    ("reject", Underscores::Reject),
    ("drop", Underscores::Drop),
    ("pass", Underscores::Pass),
];

/// The words for versions of TLS.
pub(super) const TLS_VERSIONS: [(&str, tls::Version); 2] =
    [("1.2", tls::Version::Tls12), ("1.3", tls::Version::Tls13)];

const KIB: u64 = 1024;
