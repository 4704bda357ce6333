//! Caddy: its reverse proxy, on one processor of Go's.

use std::process::Command;

use super::{Places, Plan, Setup, first_line};

pub(super) fn plan(setup: &Setup<'_>, places: Places) -> anyhow::Result<Option<Plan>> {
    let Some(version) = first_line(Command::new("caddy").arg("version")) else {
        return Ok(None);
    };
    let path = setup.dir.join("Caddyfile");
    std::fs::write(&path, config(setup, places))?;
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]);
    // It keeps things at home.
    command.arg(path).env("GOMAXPROCS", "1");
    command.env("HOME", setup.dir).env_remove("XDG_DATA_HOME");
    command.env_remove("XDG_CONFIG_HOME");
    Ok(Some(Plan {
        version: format!("Caddy {version}"),
        command,
    }))
}

fn config(setup: &Setup<'_>, places: Places) -> String {
    let dir = setup.dir.display();
    let log = if setup.access_log {
        // Or it would compress what it has written, too.
        format!(
            "log {{\n    output file {dir}/caddy.access.log {{\n      roll_disabled\n    }}\n  }}"
        )
    } else {
        String::new()
    };
    let endpoints: Vec<_> = setup.endpoints.iter().map(ToString::to_string).collect();
    format!(
        "{{\n  admin off\n  auto_https off\n  default_sni bench.example.com\n  \
         log default {{\n    level ERROR\n    exclude http.log.access\n  }}\n  \
         servers {{\n    protocols h1 h2\n    timeouts {{\n      read_header 10s\n      idle 75s\n    }}\n  }}\n}}\n\
         (web) {{\n  bind 127.0.0.1\n  {log}\n  reverse_proxy {} {{\n    lb_policy random_choose 2\n    \
         transport http {{\n      dial_timeout 1s\n      response_header_timeout 60s\n      keepalive 30s\n      \
         keepalive_idle_conns_per_host 1024\n    }}\n  }}\n}}\n\
         http://:{} {{\n  import web\n}}\n\
         https://:{} {{\n  import web\n  tls {dir}/bench.crt {dir}/bench.key\n}}\n",
        endpoints.join(" "),
        places.clear.port(),
        places.tls.port(),
    )
}
