//! HAProxy: one thread, and the two random choices that tidegate makes.

use std::process::Command;

use super::{Places, Plan, Setup, first_line};

pub(super) fn plan(setup: &Setup<'_>, places: Places) -> anyhow::Result<Option<Plan>> {
    let Some(said) = first_line(Command::new("haproxy").arg("-v")) else {
        return Ok(None);
    };
    // "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - ..."
    let version = said.split(' ').nth(2).unwrap_or(&said);
    let path = setup.dir.join("haproxy.cfg");
    std::fs::write(&path, config(setup, places))?;
    let mut command = Command::new("haproxy");
    // In the foreground, as one process.
    command.arg("-db").arg("-f").arg(path);
    Ok(Some(Plan {
        version: format!("HAProxy {version}"),
        command,
    }))
}

fn config(setup: &Setup<'_>, places: Places) -> String {
    let Places { clear, tls } = places;
    let pem = setup.dir.join("bench.pem");
    let pem = pem.display();
    let log = if setup.access_log {
        "log stdout format raw local0\n  option httplog"
    } else {
        "no log"
    };
    let fields = if setup.forwarded {
        "option forwardfor\n  http-request set-header X-Forwarded-Proto http"
    } else {
        ""
    };
    let mut config = format!(
        "global\n  nbthread 1\n  maxconn 4000\n\
         defaults\n  mode http\n  {log}\n  timeout connect 1s\n  timeout client 75s\n  timeout server 60s\n  \
         timeout http-request 10s\n  timeout http-keep-alive 75s\n  timeout tunnel 1h\n  http-reuse always\n\
         frontend http\n  bind {clear}\n  bind {tls} ssl crt {pem} alpn h2,http/1.1\n  \
         default_backend web\n\
         backend web\n  balance random(2)\n  {fields}\n"
    );
    for (number, endpoint) in setup.endpoints.iter().enumerate() {
        config.push_str(&format!("  server web-{number} {endpoint}\n"));
    }
    config
}
