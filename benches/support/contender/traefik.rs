//! Traefik: two entry points and a file of routes, on one processor of Go's.

use std::process::Command;

use serde_json::json;

use super::{Places, Plan, Setup, first_line, installed};

pub(super) fn plan(setup: &Setup<'_>, places: Places) -> anyhow::Result<Option<Plan>> {
    let program = installed().join("python/bin/traefik");
    let Some(version) = first_line(Command::new(&program).arg("version")) else {
        return Ok(None);
    };
    let version = version.rsplit(' ').next().unwrap_or_default();
    let path = setup.dir.join("traefik.routes.yaml");
    std::fs::write(&path, routes(setup))?;
    let mut command = Command::new(program);
    command.env("GOMAXPROCS", "1").args([
        format!("--entrypoints.http.address={}", places.clear),
        format!("--entrypoints.https.address={}", places.tls),
        format!("--providers.file.filename={}", path.display()),
        "--providers.file.watch=false".to_owned(),
        "--serverstransport.maxidleconnsperhost=1024".to_owned(),
        "--serverstransport.forwardingtimeouts.dialtimeout=1s".to_owned(),
        "--serverstransport.forwardingtimeouts.responseheadertimeout=60s".to_owned(),
        "--global.checknewversion=false".to_owned(),
        "--global.sendanonymoususage=false".to_owned(),
        "--log.level=ERROR".to_owned(),
    ]);
    if setup.access_log {
        let log = setup.dir.join("traefik.access.log");
        command.arg("--accesslog.bufferingsize=100");
        command.arg(format!("--accesslog.filepath={}", log.display()));
    }
    Ok(Some(Plan {
        version: format!("Traefik {version}"),
        command,
    }))
}

/// JSON is YAML.
fn routes(setup: &Setup<'_>) -> String {
    let servers: Vec<_> = setup
        .endpoints
        .iter()
        .map(|endpoint| json!({ "url": format!("http://{endpoint}") }))
        .collect();
    let certificate = json!({
        "certFile": setup.dir.join("bench.crt"),
        "keyFile": setup.dir.join("bench.key"),
    });
    json!({
        "http": {
            "routers": {
                "clear": { "rule": "PathPrefix(`/`)", "entryPoints": ["http"], "service": "web" },
                "tls": { "rule": "PathPrefix(`/`)", "entryPoints": ["https"], "service": "web", "tls": {} },
            },
            "services": { "web": { "loadBalancer": { "strategy": "p2c", "servers": servers } } },
        },
        "tls": { "stores": { "default": { "defaultCertificate": certificate } } },
    })
    .to_string()
}
