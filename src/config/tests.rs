use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::balance::{HashKey, Policy};
use crate::discovery::Port;
use crate::document;
use crate::endpoint::ServiceName;
use crate::net::tls;
use crate::proxy::Underscores;
use crate::route::{
    self, Action, Host, NewPath, Redirect, RedirectStatus, Scheme, Share, Timeouts, To,
};
use crate::snapshot::AllDraining;

/// The smallest config with something of everything that the faults below are put into.
const GOOD: &str = "\
listeners:
  - name: http
    address: 127.0.0.1:8080
routes:
  - { service: web }
services:
  - name: web
    source:
      file: { path: endpoints/web.yaml }
    drain:
      timeout: 30s
admin:
  address: 127.0.0.1:9901
";

fn path() -> &'static Path {
    Path::new("/etc/tidegate/tidegate.yaml")
}

fn good(text: &str) -> Config {
    Config::parse(text, path()).unwrap_or_else(|faults| panic!("{}", lines(path(), &faults)))
}

/// GOOD, with parts of it replaced.
fn with(changes: &[(&str, &str)]) -> String {
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

fn faults(text: &str) -> Vec<String> {
    let faults = Config::parse(text, path()).err().unwrap_or_default();
    faults.iter().map(ToString::to_string).collect()
}

/// A table of cases, one a line: a part of GOOD, what it is replaced with (`\n` begins a line), and how the only fault
/// then begins and goes on.
fn each_is_one_fault(table: &str) {
    for [from, to, begins, contains] in cases(table) {
        is_one_fault(&with(&[(&from, &to)]), &begins, &contains);
    }
}

/// As [`each_is_one_fault`], with a further key of the listener.
fn in_listener(table: &str) {
    with_further("routes:", "    ", table);
}

/// As [`each_is_one_fault`], with a further key of the service.
fn in_service(table: &str) {
    with_further("    drain:", "    ", table);
}

/// As [`each_is_one_fault`], with a further key of the file.
fn at_top(table: &str) {
    with_further("admin:", "", table);
}

fn with_further(line: &str, indent: &str, table: &str) {
    for [key, begins, contains] in cases(table) {
        let text = with(&[(line, &format!("{indent}{key}\n{line}"))]);
        is_one_fault(&text, &begins, &contains);
    }
}

fn is_one_fault(text: &str, begins: &str, contains: &str) {
    let said = faults(text);
    assert_eq!(said.len(), 1, "{text}: {said:#?}");
    assert!(said[0].starts_with(begins), "{text}: {said:#?}");
    assert!(said[0].contains(contains), "{text}: {said:#?}");
}

fn cases<const N: usize>(table: &str) -> Vec<[String; N]> {
    let cells = |line: &str| {
        let cells = line.trim().split(" | ").map(|it| it.replace("\\n", "\n"));
        cells.collect::<Vec<_>>().try_into().unwrap()
    };
    table.trim().lines().map(cells).collect()
}

#[test]
fn reads_the_smallest_config_with_defaults() {
    let config = good(GOOD);
    let [listener] = &config.listeners[..] else {
        panic!()
    };
    assert_eq!(&*listener.name, "http");
    assert_eq!(listener.timeouts, server::Timeouts::default());
    assert_eq!(listener.limits, server::Limits::default());
    assert_eq!(config.routes[0].matcher.host, Host::Any);
    assert_eq!(config.routes[0].matcher.path, route::Path::any());
    assert_eq!(config.services[0].settings.name.as_str(), "web");
    assert_eq!(
        *config.services[0].settings,
        ServiceSettings::named("web".into())
    );
    assert_eq!(
        config.services[0].source,
        discovery::Settings::File {
            path: "/etc/tidegate/endpoints/web.yaml".into(),
            port: None
        }
    );
    assert_eq!(config.admin, admin::Settings::default());
    assert_eq!(config.shutdown, Shutdown::default());
    assert_eq!(config.workers, None);
}

#[test]
fn reads_every_key() {
    let config = good(FULL);
    let listener = &config.listeners[1];
    assert_eq!(listener.trusted_proxies.len(), 2);
    assert!(listener.debug_headers && listener.proxy_protocol);
    assert_eq!(listener.underscores, Underscores::Drop);
    let tls = listener.tls.as_ref().unwrap();
    assert_eq!(tls.min_version, tls::Version::Tls13);
    assert_eq!(
        tls.certificates[0].cert,
        Path::new("/etc/tidegate/tls/a.crt")
    );
    assert_eq!(tls.certificates[1].key, Path::new("/b.key"));
    let clients = tls.clients.as_ref().unwrap();
    assert!(clients.optional);
    assert_eq!(
        clients.authorities,
        Path::new("/etc/tidegate/tls/clients.crt")
    );
    assert_eq!(listener.timeouts.header, Duration::from_secs(3));
    assert_eq!(listener.timeouts.keep_alive, Duration::from_secs(120));
    let limits = &listener.limits;
    assert_eq!((limits.header_bytes, limits.headers), (32 * 1024, 50));
    assert_eq!((limits.target_bytes, limits.connections), (8192, 10));
    assert_eq!(limits.connections_per_client, 3);
    assert_eq!(limits.streams_per_client, 30);
    assert!(!listener.http2 && !tls.http2);
    assert_eq!(listener.timeouts.ping, Duration::ZERO);
    assert_eq!(
        listener.timeouts.max_connection_age,
        Duration::from_secs(300)
    );
    assert_eq!((limits.streams, limits.stream_window), (7, 64 * 1024));
    assert_eq!(limits.connection_window, 2 * 1024 * 1024);
    assert_eq!((limits.resets, limits.stream_errors), (5, 9));

    let hosts = config.routes.iter().map(|it| it.matcher.host.clone());
    let hosts = hosts.collect::<Vec<_>>();
    let exact = Host::Exact("shop.example.com".into());
    let below = Host::Below("example.com".into());
    assert_eq!(
        hosts,
        [
            exact,
            below,
            Host::Exact("[::1]".into()),
            Host::Exact("b.example.com".into()),
            Host::Exact("c.example.com".into()),
            Host::Exact("d.example.com".into()),
            Host::Any
        ]
    );
    reads_every_action(&config.routes);
    assert_eq!(
        config.routes[0].matcher.path,
        route::Path::Prefix("/api".into())
    );
    assert_eq!(config.routes[1].matcher.path, route::Path::any());
    let conditions = &config.routes[1].matcher.conditions;
    assert_eq!(
        conditions.to_string(),
        " on https GET x-a:  x-b: 2 3 ?a= ?v=2"
    );
    let one = route::Path::Exact("/api/".into());
    assert_eq!(config.routes[2].matcher.path, one);

    let api = &config.services[0];
    let port = Some(Port::Name("http".into()));
    let file = "/etc/tidegate/../api.yaml".into();
    assert_eq!(api.source, discovery::Settings::File { path: file, port });
    let settings = &*api.settings;
    let key = HashKey::Header("x-user".parse().unwrap());
    assert_eq!(settings.balance, Policy::Hash(key));
    assert_eq!(settings.drain.timeout, Duration::from_secs(60));
    assert_eq!(settings.drain.idle_grace, Duration::from_secs(4));
    assert_eq!(settings.drain.spread, Duration::from_millis(500));
    assert_eq!(settings.all_draining, AllDraining::Reject);
    assert_eq!(settings.timeouts.connect, Duration::from_millis(250));
    assert_eq!(settings.timeouts.request, Duration::ZERO);
    assert_eq!(settings.timeouts.idle, Duration::from_secs(10));
    assert_eq!(
        settings.timeouts.upstream_keep_alive,
        Duration::from_secs(9)
    );
    assert_eq!((settings.retry.attempts, settings.retry.budget), (1, 0.07));
    assert_eq!(settings.limits.connections_per_endpoint, 5);
    assert_eq!(settings.limits.pending, 0);
    assert_eq!(settings.limits.request_body, 10 << 20);
    assert_eq!(settings.slow_start, Duration::from_secs(30));

    let web = &config.services[1];
    assert_eq!(
        web.settings.balance,
        Policy::Hash(HashKey::Cookie("sid".into()))
    );
    let addresses = ["10.0.0.1:80", "[::1]:80"].map(|it| it.parse().unwrap());
    assert_eq!(web.source, discovery::Settings::List(addresses.into()));
    let by_address = Policy::Hash(HashKey::ClientAddress);
    assert_eq!(config.services[2].settings.balance, by_address);

    assert_eq!(
        config.admin.token_file.as_deref(),
        Some(Path::new("/etc/tidegate/token"))
    );
    assert!(config.admin.per_endpoint_metrics);
    assert_eq!(config.admin.probes_address, "0.0.0.0:9902".parse().ok());
    assert_eq!(config.admin.hosts, ["tidegate.internal"]);
    assert_eq!(config.admin.calls_per_second, 50);
    assert_eq!(config.shutdown.wait_period, Duration::ZERO);
    assert_eq!(config.access_log_sample, 0.25);
    assert_eq!(config.log_level, "warn,tidegate::pool=debug");
    assert!(config.reload_on_change);
    assert_eq!(config.workers, Some(4));
}

fn reads_every_action(routes: &[Route]) {
    let Action {
        to,
        changes,
        timeouts,
    } = &routes[3].action;
    let share = |name: &str, weight| Share {
        service: Some(name.into()),
        weight,
    };
    let shares = vec![share("web", 90), share("third", 0), share("api", 1)];
    assert_eq!(*to, To::Services(shares));
    assert_eq!(
        routes[3]
            .action
            .services()
            .map(|it| it.as_str())
            .collect::<Vec<_>>(),
        ["web", "api"]
    );
    let wanted = Timeouts {
        request: Some(Duration::ZERO),
        attempt: Some(Duration::from_millis(1500)),
    };
    assert_eq!(*timeouts, wanted);
    assert_eq!(changes.host.as_deref(), Some("b.internal"));
    assert_eq!(changes.path, Some(NewPath::prefix("/", "/v2")));
    let names = |fields: &[(http::HeaderName, http::HeaderValue)]| {
        let names = fields.iter().map(|(name, _)| name.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&changes.request.set), ["x-a", "x-b"]);
    assert_eq!(names(&changes.request.add), ["x-a"]);
    assert_eq!(changes.request.remove, ["x-c"]);
    assert_eq!(changes.response.remove, ["server"]);
    let redirect = Redirect {
        scheme: Some(Scheme::Https),
        host: Some("d.example.com".into()),
        port: Some(8443),
        path: Some(NewPath::prefix("/x", "")),
        status: RedirectStatus::PermanentRedirect,
    };
    assert_eq!(routes[4].action.to, To::Redirect(redirect));
    let redirect = Redirect {
        path: Some(NewPath::Whole("/gone/".into())),
        ..Redirect::default()
    };
    assert_eq!(routes[5].action.to, To::Redirect(redirect));
    assert_eq!(routes[6].action, ServiceName::from("third").into());
}

#[test]
fn refuses_actions_that_contradict_themselves_or_the_protocol() {
    each_is_one_fault(
        r#"
            - { service: web } | - { path: / } | 5:5: service: | is missing
            - { service: web } | - { service: web, redirect: { port: 1 } } | 5:31: redirect: | keep one of
            - { service: web } | - { service: web, services: [{ service: web }] } | 5:31: services: | keep one of
            - { service: web } | - { services: [] } | 5:17: services: | nobody a share
            - { service: web } | - { services: [{ service: web, weight: 0 }] } | 5:17: services: | nobody a share
            - { service: web } | - { services: [{ service: web }, { service: web }] } | 5:47: service: | there twice
            - { service: web } | - { services: [{ service: web, weight: -1 }] } | 5:42: weight: | from 0 to 1000000
            - { service: web } | - { services: [{ service: wep }] } | 5:29: service: | did you mean web?
            - { service: web } | - { redirect: {} } | 5:17: redirect: | where they are
            - { service: web } | - { redirect: { status: 301 } } | 5:17: redirect: | where they are
            - { service: web } | - { redirect: { port: 80, status: 304 } } | 5:37: status: | 301, 302, 303, 307, 308
            - { service: web } | - { redirect: { port: 0 } } | 5:25: port: | from 1 to 65535
            - { service: web } | - { redirect: { scheme: ftp } } | 5:27: scheme: | http, https
            - { service: web } | - { redirect: { host: "a:1" } } | 5:25: host: | no port
            - { service: web } | - { redirect: { path: /a?b } } | 5:25: path: | the query stays
            - { service: web } | - { redirect: { path: /a, prefix: /b } } | 5:37: prefix: | keep one of
            - { service: web } | - { redirect: { port: 1 }, rewrite: { path: /a } } | 5:39: rewrite: | answered here
            - { service: web } | - { service: web, rewrite: { path: /a/../b } } | 5:38: path: | read them differently
            - { service: web } | - { service: web, rewrite: { path: "/a b" } } | 5:38: path: | percent-encoded
            - { service: web } | - { service: web, rewrite: { path: "/a\tb" } } | 5:38: path: | percent-encoded
            - { service: web } | - { service: web, rewrite: { prefix: //a } } | 5:40: prefix: | read them differently
            - { service: web } | - { service: web, exact: /a, rewrite: { prefix: /b } } | 5:51: prefix: | say path
            - { service: web } | - { service: web, request_headers: { set: { host: a } } } | 5:47: host: | rewrite
            - { service: web } | - { service: web, request_headers: { set: { X-Forwarded-Prefix: a } } } | 5:47: X-Forwarded-Prefix: | the proxy's own
            - { service: web } | - { service: web, request_headers: { add: { connection: a } } } | 5:47: connection: | the connection's
            - { service: web } | - { service: web, request_headers: { remove: [upgrade] } } | 5:49: remove: | the connection's
            - { service: web } | - { service: web, request_headers: { remove: [trailer] } } | 5:49: remove: | frames the message
            - { service: web } | - { service: web, request_headers: { remove: [sec-websocket-key] } } | 5:49: remove: | the connection's
            - { service: web } | - { service: web, request_headers: { set: { x-a: b }, remove: [X-A] } } | 5:66: remove: | also set
            - { service: web } | - { service: web, response_headers: { set: { content-length: "1" } } } | 5:48: content-length: | frames the message
            - { service: web } | - { service: web, response_headers: { remove: [transfer-encoding] } } | 5:50: remove: | frames the message
            - { service: web } | - { service: web, response_headers: { remove: [te] } } | 5:50: remove: | the connection's
            - { service: web } | - { service: web, response_headers: { set: { x-a: "b\tc" } } } | 5:53: x-a: | printable
            - { service: web } | - { service: web, timeouts: { request: 5 } } | 5:42: request: | no unit
            - { service: web } | - { service: web, timeouts: { request: 5s, attempt: 6s } } | 5:55: attempt: | longer than request
            - { service: web } | - { redirect: { port: 1 }, timeouts: { request: 5s } } | 5:40: timeouts: | answered here
        "#,
    );
}

const FULL: &str = r#"
listeners:
  - { name: http, address: "[::]:8080" }
  - name: https
    address: 0.0.0.0:8443
    trusted_proxies: [10.0.0.0/8, "::1"]
    proxy_protocol: true
    underscores: drop
    debug_headers: true
    tls:
      certificates: [{ cert: tls/a.crt, key: tls/a.key }, { cert: /b.crt, key: /b.key }]
      min_version: "1.3"
      client_certificates: { ca: tls/clients.crt, required: false }
    http2: false
    timeouts: { header: 3s, keep_alive: 2m, ping: 0s, max_connection_age: 5m }
    limits: { header_size: 32KiB, headers: 50, target_size: 8KiB, connections: 10, connections_per_client: 3, streams: 7, streams_per_client: 30,
      stream_window: 64KiB, connection_window: 2MiB, resets: 5, stream_errors: 9 }
routes:
  - { host: Shop.Example.com, path: /api/, service: api }
  - { host: "*.example.com", service: web, listeners: [https], method: GET, headers: { X-B: "2 3", x-a: "" }, query: { v: "2", a: "" } }
  - { host: "[::1]", exact: /api/, service: web }
  - host: b.example.com
    services: [{ service: web, weight: 90 }, { service: third, weight: 0 }, { service: api }]
    rewrite: { host: B.internal, prefix: /v2/ }
    timeouts: { request: 0s, attempt: 1500ms }
    request_headers: { set: { x-b: "1", X-A: "2" }, add: { x-a: "3" }, remove: [X-C] }
    response_headers: { remove: [server] }
  - { host: c.example.com, path: /x, redirect: { scheme: https, host: D.example.com, port: 8443, prefix: /, status: 308 } }
  - { host: d.example.com, redirect: { path: /gone/ }, response_headers: { set: { cache-control: no-store } } }
  - { service: third }
services:
  - name: api
    source: { file: { path: ../api.yaml, port: http } }
    balance: hash
    hash_on: { header: X-User }
    affinity: { cookie: sid, keep_until_deadline: true }
    protocol: auto
    tls: { server_name: api.test, ca: tls/ca.crt, client_certificate: { cert: a.crt, key: a.key }, dangerously_unverified: true }
    upstream_ping: 8s
    drain: { timeout: 1m, idle_grace: 4s, spread: 500ms, websocket_close_code: 1001 }
    all_draining: reject
    connect_timeout: 0.25s
    request_timeout: 0s
    idle_timeout: 10s
    tunnel_idle_timeout: 20s
    upstream_keep_alive: 9s
    retry: { attempts: 1, budget: 7% }
    limits: { connections_per_endpoint: 5, pending: 0, request_body: 10MiB }
    slow_start: 30s
    upgrades: [WebSocket, spdy/3.1, CONNECT]
    health: { http: "/healthz?full=1", interval: 10s, timeout: 2s, healthy: 2, unhealthy: 4 }
  - name: web
    source: { list: ["10.0.0.1:80", "[::1]:80"] }
    balance: hash
    hash_on: { cookie: sid }
    affinity: connection
    health: { tcp: true }
  - name: third
    source: { list: [] }
    affinity: { header: X-User }
    balance: hash
    health: { grpc: "" }
kubernetes: { namespaces: [shop], pods: true, lease: { name: inner, duration: 20s },
  ingress: { class: inner, controller: example.com/inner, https: https, publish: [203.0.113.7, lb.example.com] } }
admin:
  address: 127.0.0.1:9901
  token_file: token
  per_endpoint_metrics: true
  probes_address: 0.0.0.0:9902
  calls_per_second: 50
  hosts: [Tidegate.internal]
  hook_token_file: token
shutdown: { wait_period: 0s, grace_period: 1s, upgrade_timeout: 5s }
access_log: { sample: 0.25 }
log: { level: "warn,tidegate::pool=debug" }
state_dir: state
peers: [10.0.0.1:9902]
webhook: { limit: 20s }
reload_on_change: true
user: tidegate
workers: 4
"#;

#[test]
fn refuses_unknown_keys_and_names_the_nearest() {
    each_is_one_fault(
        r#"
            timeout: 30s | timout: 30s | 11:7: timout: | did you mean timeout?
            services: | servises: | 6:1: servises: | did you mean services?
            listeners: | listener: | 1:1: listener: | did you mean listeners?
            routes: | route: | 4:1: route: | did you mean routes?
            admin: | adnim: | 12:1: adnim: | did you mean admin?
            name: http | nmae: http | 2:5: nmae: | did you mean name?
            name: web | nam: web | 7:5: nam: | did you mean name?
            file: | flie: | 9:7: flie: | did you mean file?
            service: web | servcie: web | 5:7: servcie: | did you mean service?
        "#,
    );
    at_top(
        r#"
            colour: red | 12:1: colour: | known here: listeners,
        "#,
    );
}

#[test]
fn refuses_values_of_the_wrong_kind() {
    each_is_one_fault(
        r#"
            30s | 30 parsecs | 11:16: timeout: | 250ms, 30s or 5m
            30s | 30 | 11:16: timeout: | has no unit
            30s | -5s | 11:16: timeout: | "-5s"
            30s | 5x | 11:16: timeout: | "5x"
            127.0.0.1:8080 | 127.0.0.1:99999 | 3:14: address: | 99999
            127.0.0.1:8080 | localhost:80 | 3:14: address: | names are not looked up
            127.0.0.1:8080 | 8080 | 3:14: address: | 127.0.0.1:8080
            drain:\n      timeout: 30s | drain: 30s | 10:12: drain: | a mapping
            admin:\n  address: 127.0.0.1:9901 | admin: [] | 12:8: admin: | a mapping
            admin: | admin:\n  calls_per_second: 0 | 13:21: calls_per_second: | from 1 to 1000000
            127.0.0.1:9901 | "unix:" | 13:12: address: | names no file
            127.0.0.1:9901 | unix:/a\n  socket: { mode: "0888" } | 14:19: mode: | as "0660"
            127.0.0.1:9901 | 127.0.0.1:9901\n  socket: { mode: "0660" } | 14:11: socket: | only for an address that is a file
            admin: | admin:\n  hosts: [a.example:80] | 13:11: hosts: | no port
        "#,
    );
    in_listener(
        r#"
            trusted_proxies: [10.0.0.0/33] | 4:23: trusted_proxies: | 10.0.0.0/8
            limits: { header_size: 1KiB } | 4:28: header_size: | from 8KiB to 1MiB
            limits: { headers: 0 } | 4:24: headers: | from 1 to
            limits: { streams: 0 } | 4:24: streams: | from 1 to
            limits: { stream_window: 1KiB } | 4:30: stream_window: | from 64KiB to 16MiB
            http2: maybe | 4:12: http2: | true or false
            timeouts: { header: 0s } | 4:25: header: | is zero
        "#,
    );
    in_service(
        r#"
            protocol: h3 | 10:15: protocol: | http1, h2, auto
            tls: { server_name: "a b" } | 10:25: server_name: | DNS name
            tls: { client_certificate: { cert: a.crt } } | 10:32: key: | is missing
            upstream_ping: 5 | 10:20: upstream_ping: | has no unit
            balance: fastest | 10:14: balance: | least_request, peak_ewma
            all_draining: no | 10:19: all_draining: | serve, reject
            retry: { attempts: 3 } | 10:24: attempts: | from 1 to 2
            retry: { budget: 0.2 } | 10:22: budget: | from 0% to 100%
            limits: { pending: -1 } | 10:24: pending: | from 0
            limits: { request_body: 5 } | 10:29: request_body: | 10MiB
            upstream_keep_alive: 0s | 10:26: upstream_keep_alive: | is zero
        "#,
    );
    at_top(
        r#"
            workers: 0 | 12:10: workers: | auto or a number from 1 to 512
            workers: "4" | 12:10: workers: | auto or a number
            access_log: { sample: 2 } | 12:23: sample: | 0.0 to 1.0
            log: { level: inof } | 12:15: level: | "inof" is no level
            log: { level: "tidegate=loud" } | 12:15: level: | error, warn, info, debug, trace, off or a filter
            log: { lavel: info } | 12:8: lavel: | did you mean level?
            reload_on_change: yes | 12:19: reload_on_change: | true or false
        "#,
    );
}

#[test]
fn refuses_text_that_is_no_config() {
    assert_eq!(faults("").len(), 1);
    assert!(faults("")[0].starts_with("1:1: the file is empty"));
    assert!(faults("# nothing\n---\n")[0].starts_with("1:1: the file is empty"));
    assert!(faults("just words")[0].starts_with("1:1: is \"just words\", should be a mapping"));
    let second = faults(&format!("{GOOD}---\na: 1\n"));
    assert!(
        second[0].starts_with("15:1: is a second document"),
        "{second:?}"
    );
    let torn = faults(&with(&[("- { service: web }", "- { service: web")]));
    assert_eq!(torn.len(), 1);
    assert!(torn[0].contains("is not YAML"), "{torn:?}");
    let two_lines = faults(&with(&[("admin:", "\"ad\\nmin\":")]));
    assert!(
        two_lines[0].starts_with("12:1: ad\\nmin: is no known key"),
        "{two_lines:?}"
    );
    let twice = faults(&with(&[("admin:", "routes: []\nadmin:")]));
    assert!(
        twice[0].starts_with("12:1: routes: stands here twice"),
        "{twice:?}"
    );
}

#[test]
fn refuses_a_config_without_the_necessary() {
    let said = faults("workers: auto\n");
    let begin = ["listeners", "routes", "services"].map(|key| format!("1:1: {key}: is missing"));
    assert_eq!(said, begin);
    each_is_one_fault(
        r#"
            routes:\n  - { service: web } | routes: [] | 4:9: routes: | { service: web }
            routes:\n  - { service: web } | routes: | 4:1: routes: | is empty
            name: http\n    address: 127.0.0.1:8080 | name: http | 2:5: address: | is missing
            name: web\n    source:\n      file: { path: endpoints/web.yaml } | name: web | 7:5: source: | is missing
            { path: endpoints/web.yaml } | { port: http } | 9:13: path: | is missing
        "#,
    );
    let no_services = "services: []\nlisteners: [{ name: a, address: 127.0.0.1:80 }]\nroutes: [{ service: web }]\n";
    assert_eq!(faults(no_services).len(), 1, "{:?}", faults(no_services));
    let no_listeners = faults(&with(&[(
        "\n  - name: http\n    address: 127.0.0.1:8080",
        " []",
    )]));
    assert!(
        no_listeners[0].starts_with("1:12: listeners: is empty"),
        "{no_listeners:?}"
    );
}

#[test]
fn refuses_what_is_there_twice() {
    each_is_one_fault(
        r#"
            address: 127.0.0.1:8080 | address: 127.0.0.1:8080\n  - name: http\n    address: 127.0.0.1:81 | 4:11: name: | listener http is there twice, first on line 2
            address: 127.0.0.1:8080 | address: 127.0.0.1:8080\n  - name: two\n    address: 127.0.0.1:8080 | 5:14: address: | 127.0.0.1:8080 of listener http
            address: 127.0.0.1:8080 | address: 127.0.0.1:8080\n  - name: two\n    address: 0.0.0.0:8080 | 5:14: address: | 127.0.0.1:8080 of listener http
            address: 127.0.0.1:8080 | address: 127.0.0.1:8080\n  - name: two\n    address: "[::]:8080" | 5:14: address: | 127.0.0.1:8080 of listener http
            127.0.0.1:9901 | 127.0.0.1:8080 | 13:12: address: | listener http
            127.0.0.1:9901 | 127.0.0.1:9901\n  probes_address: 0.0.0.0:9901 | 14:19: probes_address: | of admin
            timeout: 30s | timeout: 30s\n  - { name: web, source: { list: [] } } | 12:13: name: | service web is there twice, first on line 7
            { service: web } | { service: web }\n  - { service: web, path: / } | 6:5: routes: | every host / is there twice, first on line 5
            { service: web } | { service: web, exact: /a }\n  - { service: web, exact: /a } | 6:5: routes: | every host exactly /a is there twice, first on line 5
            - { service: web } | - { host: A.b, path: /x, service: web }\n  - { host: a.b, path: /x/, service: web } | 6:5: routes: | a.b /x is there twice
            file: { path: endpoints/web.yaml } | list: ["10.0.0.1:80", "10.0.0.1:80"] | 9:29: list: | 10.0.0.1:80 is there twice
        "#,
    );
    let admin = "admin:\n  address: 127.0.0.1:9901\n";
    let said = faults(&with(&[(admin, ""), ("127.0.0.1:8080", "0.0.0.0:9901")]));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("3:14: address: "), "{said:?}");
    assert!(said[0].contains("of admin (its default)"), "{said:?}");
}

#[test]
fn refuses_routes_that_lead_nowhere_or_can_never_match() {
    let route = "- { service: web }";
    let host = |host: &str| with(&[(route, &format!("- {{ service: web, host: {host} }}"))]);
    each_is_one_fault(
        r#"
            - { service: web } | - { service: wep } | 5:16: service: | did you mean web?
            - { service: web } | - { service: elsewhere } | 5:16: service: | add it to services
            - { service: web } | - { service: web, path: api } | 5:27: path: | begin with /
            - { service: web } | - { service: web, path: /a?b } | 5:27: path: | queries
            - { service: web } | - { service: web, path: /a/* } | 5:27: path: | /api/x
            - { service: web } | - { service: web, path: /ü } | 5:27: path: | percent-encoded
            - { service: web } | - { service: web, exact: a } | 5:28: exact: | begin with /
            - { service: web } | - { service: web, exact: /a?b } | 5:28: exact: | queries
            - { service: web } | - { service: web, exact: /a, path: /b } | 5:38: path: | stands beside exact
            - { service: web } | - { service: web, listeners: [htp] } | 5:33: listeners: | did you mean http?
            - { service: web } | - { service: web, method: get } | 5:29: method: | as it is sent: GET
            - { service: web } | - { service: web, method: "A B" } | 5:29: method: | a method
            - { service: web } | - { service: web, headers: { host: a } } | 5:32: host: | is what host is for
            - { service: web } | - { service: web, headers: { X-Forwarded-For: a } } | 5:32: X-Forwarded-For: | trusted_proxies
            - { service: web } | - { service: web, headers: { te: trailers } } | 5:32: te: | the connection's
            - { service: web } | - { service: web, headers: { content-length: "0" } } | 5:32: content-length: | frames the message
            - { service: web } | - { service: web, headers: { x_a: "0" } } | 5:32: x_a: | underscore
            - { service: web } | - { service: web, headers: { "a b": "0" } } | 5:32: a b: | the name of a field
            - { service: web } | - { service: web, headers: { x-a: "0 " } } | 5:37: x-a: | without spaces
            - { service: web } | - { service: web, headers: { x-a: "0", X-A: "1" } } | 5:42: X-A: | there twice
            - { service: web } | - { service: web, query: { "a=b": "0" } } | 5:30: a=b: | percent-encoded
            - { service: web } | - { service: web, query: { a: "x&y" } } | 5:33: a: | percent-encoded
            - { service: web } | - { service: web, method: GET }\n  - { service: web, method: GET } | 6:5: routes: | every host / GET is there twice
            - { service: web } | - web | 5:5: routes: | a mapping
        "#,
    );
    for (wrong, right) in [
        ("http://a.example", "no scheme"),
        ("a.example:80", "no port"),
        ("\"*\"", "left out"),
        ("\"*example.com\"", "first label"),
        ("a.*.com", "first label"),
        ("\"*.*.com\"", "first label"),
        ("bücher.example", "xn--"),
        ("a..b", "host name"),
        ("a.example.", "host name"),
        ("\"[::1\"", "host name"),
    ] {
        let said = faults(&host(wrong));
        assert_eq!(said.len(), 1, "{wrong}: {said:?}");
        assert!(said[0].starts_with("5:27: host: "), "{said:?}");
        assert!(said[0].contains(right), "{wrong}: {said:?}");
    }
}

#[test]
fn refuses_names_that_cannot_be_labels() {
    let long = "x".repeat(101);
    for wrong in ["a b", "\"\"", "a/b", "ü", "..", &long] {
        let said = faults(&with(&[("name: http", &format!("name: {wrong}"))]));
        assert_eq!(said.len(), 1, "{wrong}: {said:?}");
        assert!(said[0].starts_with("2:11: name: "), "{said:?}");
        // A service whose name cannot be read is no reason to blame its routes.
        let said = faults(&with(&[("name: web", &format!("name: {wrong}"))]));
        assert_eq!(said.len(), 1, "{wrong}: {said:?}");
    }
    assert!(faults(&with(&[("name: http", &format!("name: {}", &long[1..]))])).is_empty());
}

#[test]
fn reads_a_service_of_kubernetes_and_describes_it() {
    let file = "file: { path: endpoints/web.yaml }";
    let config = |source: &str| with(&[(file, source)]);
    let read = |source: &str| good(&config(source)).describe()["services"][0]["source"].clone();
    assert_eq!(
        read("kubernetes: { namespace: shop, service: web, port: http, pods: true }"),
        serde_json::json!({ "kubernetes": { "namespace": "shop", "service": "web", "port": "http", "pods": true } })
    );
    assert_eq!(
        read("kubernetes: { service: web }"),
        serde_json::json!({ "kubernetes": { "namespace": "default", "service": "web", "port": null, "pods": false } })
    );
    for (wrong, begin) in [
        ("{ namespace: shop }", "9:19: service: "),
        ("{ service: Web }", "9:30: service: is \"Web\""),
        ("{ service: a.b }", "9:30: service: is \"a.b\""),
        (
            "{ service: web, namespace: -x }",
            "9:46: namespace: is \"-x\"",
        ),
        ("{ service: web, port: 0 }", "9:41: port: is 0"),
        ("{ service: web, pods: 1 }", "9:41: pods: "),
        ("{ service: web, podz: true }", "9:35: podz: "),
    ] {
        let said = faults(&config(&format!("kubernetes: {wrong}")));
        assert_eq!(said.len(), 1, "{wrong}: {said:?}");
        assert!(said[0].starts_with(begin), "{wrong}: {said:?}");
    }
}

#[test]
fn says_honestly_what_comes_later() {
    let file = "file: { path: endpoints/web.yaml }";
    for kind in ["etcd", "dns", "xds", "register"] {
        let said = faults(&with(&[(file, &format!("{kind}: {{ x: y }}"))]));
        assert_eq!(said.len(), 1, "{said:?}");
        let begin = format!("9:7: {kind}: comes with a later version");
        assert!(said[0].starts_with(&begin), "{said:?}");
        assert!(
            said[0].ends_with("use file, list or kubernetes"),
            "{said:?}"
        );
    }
    in_service(
        r#"
            upgrades: [h2c] | 10:16: upgrades | websocket
            upgrades: [tls/1.2] | 10:16: upgrades | connect
        "#,
    );
    at_top(
        r#"
            peers: [a] | 12:9: peers: | 127.0.0.1
            peers: [127.0.0.1:0] | 12:9: peers: | port
            peers: { kubernetes: { namespace: a } } | 12:22: service: | missing
            user: "" | 12:7: user: | empty
        "#,
    );
}

#[test]
fn refuses_sources_that_are_not_exactly_one() {
    let file = "file: { path: endpoints/web.yaml }";
    each_is_one_fault(
        r#"
            file: { path: endpoints/web.yaml } | file: { path: a }\n      list: [] | 10:7: list: | stands beside file
            source:\n      file: { path: endpoints/web.yaml } | source: {} | 8:13: source: | should have one of file, list
            file: { path: endpoints/web.yaml } | list: [web:80] | 9:14: list: | names are not looked up
            file: { path: endpoints/web.yaml } | list: ["10.0.0.1:0"] | 9:14: list: | should have the port
            file: { path: endpoints/web.yaml } | file: { path: a, port: 70000 } | 9:30: port: | from 1 to 65535
            file: { path: endpoints/web.yaml } | file: { path: a, port: "No!" } | 9:30: port: | its name
            file: { path: endpoints/web.yaml } | file: | 9: | a mapping
        "#,
    );
    let port = |port| {
        good(&with(&[(
            file,
            &format!("file: {{ path: a, port: {port} }}"),
        )]))
    };
    let source = &port("8080").services[0].source;
    let number = Some(Port::Number(8080));
    assert!(matches!(source, discovery::Settings::File { port, .. } if *port == number));
}

#[test]
fn refuses_what_contradicts_itself() {
    in_service(
        r#"
            health: /healthz | 10:13: health: | a mapping
            health: { interval: 5s } | 10:13: health: | one of http, tcp, grpc
            health: { http: healthz } | 10:21: http: | should be a path
            health: { http: /a#b } | 10:21: http: | should be a path
            health: { http: "/a b" } | 10:21: http: | should be a path
            health: { http: null } | 10:21: http: | should be a text
            health: { tcp: false } | 10:20: tcp: | should be true
            health: { tcp: true, grpc: "" } | 10:26: grpc: | beside tcp
            health: { tcp: true, interval: 0s } | 10:36: interval: | is zero
            health: { tcp: true, timeout: 0s } | 10:35: timeout: | is zero
            health: { tcp: true, healthy: 0 } | 10:35: healthy: | from 1 to 100
            health: { tcp: true, unhealty: 3 } | 10:26: unhealty: | did you mean unhealthy?
            health: { grpc: web }\n    tls: {} | 10:15: grpc: | should be h2 or auto
            affinity: sticky | 10:15: affinity: | { cookie: NAME }
            affinity: { cookie: "a b" } | 10:25: cookie: | name of a cookie
            affinity: { cookie: a, header: b } | 10:28: header: | beside cookie
            affinity: { keep_until_deadline: true } | 10:15: affinity: | one of cookie, header
            hash_on: client_address | 10:5: hash_on: | only with balance: hash
            balance: hash\n    hash_on: url | 11:14: hash_on: | { header: NAME }
            balance: hash\n    hash_on: { header: "a b" } | 11:24: header: | name of a header
            balance: hash\n    hash_on: { header: a, cookie: b } | 11:27: cookie: | beside header
            balance: hsah\n    hash_on: client_address | 10:14: balance: | did you mean hash?
        "#,
    );
    at_top(
        r#"
            shutdown: { wait_period: 5s, grace_period: 5s } | 12:26: wait_period: | shorter
            shutdown: { grace_period: 10s } | 12:27: grace_period: | 15s by default
            shutdown: { wait_period: soon, grace_period: 1s } | 12:26: wait_period: | soon
            shutdown: { upgrade_timeout: 0s } | 12:30: upgrade_timeout: | longer than 0s
        "#,
    );
}

#[test]
fn refuses_tls_without_certificates() {
    let tls = |tls: &str| faults(&with(&[("routes:", &format!("    tls: {tls}\nroutes:"))]));
    for (text, begins) in [
        ("{}", "4:10: certificates: is missing"),
        ("{ certificates: [] }", "4:26: certificates: is empty"),
        ("{ certificates: [{ cert: a }] }", "4:27: key: is missing"),
        (
            "{ certificates: [{ cert: a, key: b }], min_version: \"1.1\" }",
            "4:62: min_version: ",
        ),
        (
            "{ certificates: [{ cert: a, key: b }], client_certificates: { required: true } }",
            "4:70: ca: is missing",
        ),
    ] {
        let said = tls(text);
        assert_eq!(said.len(), 1, "{text}: {said:?}");
        assert!(said[0].starts_with(begins), "{text}: {said:?}");
    }
}

#[test]
fn says_all_faults_in_the_order_of_the_text() {
    let said = faults(&with(&[
        ("service: web", "service: wep"),
        ("timeout: 30s", "timeout: soon"),
        ("admin:", "adnim:"),
        ("127.0.0.1:8080", "127.0.0.1"),
    ]));
    let places = said.iter().map(|it| it.split_once(": ").unwrap().0);
    assert_eq!(
        places.collect::<Vec<_>>(),
        ["3:14", "5:16", "11:16", "12:1"]
    );
}

#[test]
fn blames_no_route_for_a_service_that_cannot_be_read() {
    let entry = "  - name: web\n    source:\n      file: { path: endpoints/web.yaml }\n    drain:\n      timeout: 30s\n";
    for broken in [
        "  - web\n",
        "  - { source: { list: [] } }\n",
        "  - { name: web, source: 5 }\n",
    ] {
        let said = faults(&with(&[(entry, broken)]));
        assert_eq!(said.len(), 1, "{broken}: {said:?}");
        assert!(said[0].starts_with("7:"), "{said:?}");
    }
}

#[test]
fn looks_at_the_files_it_names() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tidegate.yaml");
    let token = "admin:\n  token_file: token";
    fs::write(&file, with(&[("admin:", token), ("http\n", "a b\n")])).unwrap();
    let said = Config::read(&file).unwrap_err().to_string();
    let lines = said.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("tidegate.yaml:2:11: name: "), "{said}");
    assert!(
        lines[1].contains("tidegate.yaml:13:15: token_file: "),
        "{said}"
    );

    fs::write(dir.path().join("token"), "secret").unwrap();
    fs::write(&file, with(&[("admin:", token)])).unwrap();
    let (config, warnings) = Config::check(&file).unwrap();
    assert_eq!(config.path, file);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].to_string().starts_with("9:21: path: "));
    fs::create_dir(dir.path().join("endpoints")).unwrap();
    fs::write(dir.path().join("endpoints/web.yaml"), "endpoints: []").unwrap();
    assert_eq!(Config::check(&file).unwrap().1, []);
}

#[test]
fn says_in_one_line_why_there_is_no_file_to_read() {
    let dir = TempDir::new().unwrap();
    let said = |path: &Path| Config::read(path).unwrap_err().to_string();
    let missing = said(&dir.path().join("nosuch.yaml"));
    assert!(
        missing.contains("nosuch.yaml: cannot be read: "),
        "{missing}"
    );
    assert!(
        missing.ends_with("create it, or name another with -c FILE"),
        "{missing}"
    );
    assert!(said(dir.path()).contains("cannot be read"));
    let binary = dir.path().join("binary");
    fs::write(&binary, [0xff, 0xfe]).unwrap();
    assert!(said(&binary).ends_with("write it in UTF-8"));
}

#[test]
fn finds_the_first_file_that_is_there() {
    let dir = TempDir::new().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let nowhere = first_of(&[&a, &b]).unwrap_err().to_string();
    assert!(
        nowhere.starts_with("no config file: looked for "),
        "{nowhere}"
    );
    assert_eq!(nowhere.lines().count(), 1);
    fs::write(&b, "").unwrap();
    assert_eq!(first_of(&[&a, &b]).unwrap(), b);
    fs::write(&a, "").unwrap();
    assert_eq!(first_of(&[&a, &b]).unwrap(), a);
    assert_eq!(find(Some(Path::new("given"))).unwrap(), Path::new("given"));
}

#[test]
fn the_reference_says_what_the_defaults_are() {
    let smallest = include_str!("../../config/tidegate.yaml");
    assert_eq!(good(DEFAULT), good(smallest));
}

#[test]
fn the_reference_has_every_key() {
    let mut described = BTreeSet::new();
    let text = good(DEFAULT).describe().to_string();
    keys(&document::parse(&text).unwrap()[0], "", &mut described);
    let mut written = BTreeSet::new();
    keys(&document::parse(DEFAULT).unwrap()[0], "", &mut written);
    assert_eq!(written, described);

    for source in [
        include_str!("file.rs"),
        include_str!("health.rs"),
        include_str!("listener.rs"),
        include_str!("route.rs"),
        include_str!("action.rs"),
        include_str!("conditions.rs"),
        include_str!("service.rs"),
        include_str!("source.rs"),
        include_str!("process.rs"),
    ] {
        for call in ["optional(\"", "required(\""] {
            for rest in source.split(call).skip(1) {
                let key = rest.split('"').next().unwrap();
                assert!(DEFAULT.contains(&format!("{key}:")), "{key}");
            }
        }
    }
}

fn keys(node: &document::Node, under: &str, found: &mut BTreeSet<String>) {
    match &node.value {
        document::Value::Mapping(entries) => {
            for (key, node) in entries {
                let path = format!("{under}/{}", key.text);
                keys(node, &path, found);
                found.insert(path);
            }
        }
        document::Value::Sequence(nodes) => nodes.iter().for_each(|it| keys(it, under, found)),
        document::Value::Scalar { .. } => {}
    }
}

#[test]
fn what_it_describes_reads_as_itself() {
    for text in [GOOD, FULL, DEFAULT] {
        let config = good(text);
        assert_eq!(good(&config.describe().to_string()), config);
    }
}

#[test]
fn the_files_in_the_tree_are_good() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["default.yaml", "tidegate.yaml"] {
        let (_, warnings) = Config::check(&tree.join(name)).unwrap();
        assert_eq!(warnings, [], "{name}");
    }
}

proptest! {
    #[test]
    fn judges_any_text_without_a_panic(
        which in 0..3_usize,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "[-{}\\[\\]:,\"'|>&*!%#@?~ \n\ta-z0-9.ü]{0,4}"), 1..4),
        end in any::<prop::sample::Index>(),
        torn: bool,
    ) {
        let mut text = [GOOD, FULL, DEFAULT][which].chars().collect::<Vec<_>>();
        for (at, length, put) in cuts {
            let at = at.index(text.len());
            let to = (at + length).min(text.len());
            text.splice(at..to, put.chars());
            if text.is_empty() {
                text.push('x');
            }
        }
        if torn {
            text.truncate(end.index(text.len()));
        }
        let text = text.into_iter().collect::<String>();
        match Config::parse(&text, path()) {
            Ok(config) => prop_assert_eq!(good(&config.describe().to_string()), config),
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                prop_assert!(faults.iter().all(|it| it.at.line > 0 && it.at.column > 0));
                prop_assert!(faults.is_sorted_by_key(|it| it.at));
                prop_assert!(faults.iter().all(|it| !it.to_string().contains('\n')));
            }
        }
    }
}
