//! Envoy: one worker thread, no admin side, no ids of requests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{Places, Plan, Setup, first_line, installed};

pub(super) fn plan(setup: &Setup<'_>, places: Places) -> anyhow::Result<Option<Plan>> {
    let Some(program) = program() else {
        return Ok(None);
    };
    let Some(said) = first_line(Command::new(&program).arg("--version")) else {
        return Ok(None);
    };
    // "PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL"
    let version = said.rsplit("version: ").next().unwrap_or(&said);
    let number = version.split('/').nth(1).unwrap_or(version);
    let path = setup.dir.join("envoy.json");
    std::fs::write(&path, config(setup, places).to_string())?;
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
    command.arg("-c").arg(path);
    Ok(Some(Plan {
        version: format!("Envoy {number}"),
        command,
    }))
}

/// In the wheel; which folder that is depends on Python's version.
fn program() -> Option<PathBuf> {
    let versions = std::fs::read_dir(installed().join("python/lib")).ok()?;
    versions
        .flatten()
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|program| program.exists())
}

fn config(setup: &Setup<'_>, places: Places) -> Value {
    let certificate = json!({
        "certificate_chain": { "filename": setup.dir.join("bench.crt") },
        "private_key": { "filename": setup.dir.join("bench.key") },
    });
    let tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [certificate],
            },
        },
    });
    let http = manager(setup);
    let mut secure = json!({ "filters": [http] });
    secure["transport_socket"] = tls;
    let endpoints: Vec<_> = setup
        .endpoints
        .iter()
        .map(|endpoint| json!({ "endpoint": { "address": address(*endpoint) } }))
        .collect();
    json!({ "static_resources": {
        "listeners": [
            { "name": "http", "address": address(places.clear), "filter_chains": [{ "filters": [http] }] },
            { "name": "https", "address": address(places.tls), "filter_chains": [secure] },
        ],
        "clusters": [{
            "name": "web",
            "type": "STATIC",
            "connect_timeout": "1s",
            "lb_policy": "LEAST_REQUEST",
            "load_assignment": { "cluster_name": "web", "endpoints": [{ "lb_endpoints": endpoints }] },
        }],
    }})
}

fn address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}

/// What it does with HTTP.
fn manager(setup: &Setup<'_>) -> Value {
    let log = json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": setup.dir.join("envoy.access.log"),
        },
    });
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    let logs: &[Value] = if setup.access_log { &[log] } else { &[] };
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "use_remote_address": true,
            "generate_request_id": false,
            "request_headers_timeout": "10s",
            "common_http_protocol_options": { "idle_timeout": "75s" },
            "upgrade_configs": [{ "upgrade_type": "websocket" }],
            "access_log": logs,
            "http_filters": [router],
            "route_config": { "virtual_hosts": [{
                "name": "web",
                "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "web", "timeout": "60s" } }],
            }]},
        },
    })
}
