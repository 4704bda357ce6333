//! The proxies that are compared: each set up as its manual would have it for this work, with one worker.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::child::Child;
use super::patience::until;
use super::ports;
use super::tidegate::{self, Tidegate};

/// A running proxy.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) address: SocketAddr,
    /// Where it speaks TLS.
    pub(crate) tls: SocketAddr,
    pub(crate) child: Child,
}

/// What all of them are told.
pub(crate) struct Setup<'s> {
    /// Where configs and logs go.
    pub(crate) dir: &'s Path,
    pub(crate) endpoints: &'s [SocketAddr],
    /// Every request is logged to a file.
    pub(crate) access_log: bool,
    /// The peers add `X-Forwarded-For` and `-Proto`, too, as tidegate always does.
    pub(crate) forwarded: bool,
}

/// Makes the certificate that all of them show, on P-256: `bench.crt`, `bench.key`, and both in `bench.pem`.
pub(crate) fn certify(dir: &Path) -> anyhow::Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["bench.example.com".to_owned()])?;
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(dir.join("bench.crt"), &cert)?;
    std::fs::write(dir.join("bench.key"), &key)?;
    std::fs::write(dir.join("bench.pem"), format!("{cert}{key}"))?;
    Ok(())
}

impl Contender {
    /// tidegate with its defaults: metrics, all timeouts and all limits are on. Its log has every request or none.
    pub(crate) fn tidegate(setup: &Setup<'_>) -> anyhow::Result<Self> {
        let list: Vec<_> = setup
            .endpoints
            .iter()
            .map(|at| format!("\"{at}\""))
            .collect();
        let source = format!("source: {{ list: [{}] }}", list.join(", "));
        let sample = u8::from(setup.access_log);
        let rest = format!("access_log: {{ sample: {sample} }}\nworkers: 1");
        let tls = ports::free()?;
        let listener = format!(
            "{{ name: https, address: \"{tls}\", tls: {{ certificates: [{{ cert: bench.crt, key: bench.key }}] }} }}"
        );
        let Tidegate { child, address, .. } =
            Tidegate::start_with(setup.dir, &source, false, &[listener], &rest)?;
        Ok(Self {
            name: "tidegate",
            version: tidegate::version()?,
            address,
            tls,
            child,
        })
    }

    /// HAProxy, if it is installed.
    pub(crate) fn haproxy(setup: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        let Some(version) = first_line(Command::new("haproxy").arg("-v")) else {
            return Ok(None);
        };
        let (address, tls) = (ports::free()?, ports::free()?);
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
            "global\n  nbthread 1\n  maxconn 2000\n\
             defaults\n  mode http\n  {log}\n  timeout connect 1s\n  timeout client 75s\n  timeout server 60s\n  \
             timeout http-request 10s\n  timeout http-keep-alive 75s\n  http-reuse always\n\
             frontend http\n  bind {address}\n  bind {tls} ssl crt {pem} alpn h2,http/1.1\n  \
             default_backend web\n\
             backend web\n  balance random(2)\n  {fields}\n"
        );
        for (number, endpoint) in setup.endpoints.iter().enumerate() {
            config.push_str(&format!("  server web-{number} {endpoint}\n"));
        }
        let path = setup.dir.join("haproxy.cfg");
        std::fs::write(&path, config)?;
        let mut command = Command::new("haproxy");
        // In the foreground, as one process.
        command.arg("-db").arg("-f").arg(path);
        Self::started("HAProxy", version, (address, tls), command, setup).map(Some)
    }

    /// nginx, if it is installed.
    pub(crate) fn nginx(setup: &Setup<'_>) -> anyhow::Result<Option<Self>> {
        // Debian keeps it where not every user's path leads.
        let program = ["nginx", "/usr/sbin/nginx"]
            .into_iter()
            .find_map(|program| Some((program, first_line(Command::new(program).arg("-v"))?)));
        let Some((program, version)) = program else {
            return Ok(None);
        };
        let (address, tls) = (ports::free()?, ports::free()?);
        let path = setup.dir.join("nginx.conf");
        std::fs::write(&path, nginx_config(setup, address, tls))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(setup.dir).arg("-c").arg(path);
        command.args(["-e", "stderr"]);
        Self::started("nginx", version, (address, tls), command, setup).map(Some)
    }

    fn started(
        name: &'static str,
        version: String,
        (address, tls): (SocketAddr, SocketAddr),
        command: Command,
        setup: &Setup<'_>,
    ) -> anyhow::Result<Self> {
        let child = Child::start(command, name, setup.dir)?;
        let answers = || {
            ureq::get(format!("http://{address}/1"))
                .call()
                .ok()
                .filter(|answer| answer.status() == 200)
        };
        until(name, Duration::from_secs(10), answers).with_context(|| {
            let said = std::fs::read_to_string(setup.dir.join(format!("{name}.err")));
            said.unwrap_or_default()
        })?;
        Ok(Self {
            name,
            version,
            address,
            tls,
            child,
        })
    }
}

fn nginx_config(setup: &Setup<'_>, address: SocketAddr, tls: SocketAddr) -> String {
    let dir = setup.dir.display();
    let log = if setup.access_log {
        "access_log nginx.access.log combined buffer=64k flush=1s;"
    } else {
        "access_log off;"
    };
    let fields = if setup.forwarded {
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;"
    } else {
        ""
    };
    let servers: String = setup
        .endpoints
        .iter()
        .map(|endpoint| format!("server {endpoint}; "))
        .collect();
    // As root its workers would become another user, who may not enter the directory.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "daemon off; worker_processes 1; pid nginx.pid; {user}\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  {log}\n\
           client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;\n\
           uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;\n\
           keepalive_timeout 75s; keepalive_requests 1000000000;\n\
           client_header_timeout 10s; client_body_timeout 60s; send_timeout 60s;\n\
           proxy_connect_timeout 1s; proxy_read_timeout 60s; proxy_send_timeout 60s;\n\
           upstream web {{ random two least_conn; {servers}\n\
             keepalive 1024; keepalive_timeout 30s; keepalive_requests 1000000000; }}\n\
           ssl_certificate {dir}/bench.crt; ssl_certificate_key {dir}/bench.key;\n\
           http2_max_requests 1000000000;\n\
           server {{ listen {address}; listen {tls} ssl http2; location / {{\n\
             proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_set_header Host $host; {fields} }} }}\n}}\n"
    )
}

/// What a program says of itself; none when there is no such program.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Some(said.lines().next()?.trim().to_owned())
}
