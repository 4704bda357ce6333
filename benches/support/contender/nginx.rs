//! nginx: one worker process.

use std::process::Command;

use super::{Places, Plan, Setup, first_line};

pub(super) fn plan(setup: &Setup<'_>, places: Places) -> anyhow::Result<Option<Plan>> {
    let program = ["nginx", "/usr/sbin/nginx"]
        .into_iter()
        .find_map(|program| Some((program, first_line(Command::new(program).arg("-v"))?)));
    let Some((program, said)) = program else {
        return Ok(None);
    };
    // "nginx version: nginx/1.22.1"
    let version = said.rsplit('/').next().unwrap_or(&said);
    let path = setup.dir.join("nginx.conf");
    std::fs::write(&path, config(setup, places))?;
    let mut command = Command::new(program);
    command.arg("-p").arg(setup.dir).arg("-c").arg(path);
    command.args(["-e", "stderr"]);
    Ok(Some(Plan {
        version: format!("nginx {version}"),
        command,
    }))
}

fn config(setup: &Setup<'_>, places: Places) -> String {
    let Places { clear, tls } = places;
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
    // Before 1.23.4 TLS 1.3 has to be asked for; everybody else speaks it.
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
           ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {dir}/bench.crt; ssl_certificate_key {dir}/bench.key;\n\
           http2_max_requests 1000000000;\n\
           server {{ listen {clear}; listen {tls} ssl http2;\n\
             proxy_http_version 1.1;\n\
             location / {{ proxy_pass http://web; proxy_set_header Connection \"\"; proxy_set_header Host $host; {fields} }}\n\
             location /ws {{ proxy_pass http://web; proxy_set_header Upgrade $http_upgrade;\n\
               proxy_set_header Connection upgrade; proxy_set_header Host $host; {fields} }} }}\n}}\n"
    )
}
