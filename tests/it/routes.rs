//! Which service a request is for, as clients and endpoints see it.

use crate::support::{Endpoint, Setup, Tidegate};

/// Two services, `a` and `b`, and these routes, a line each.
fn start(a: &Endpoint, b: &Endpoint, routes: &[&str]) -> Tidegate {
    Setup::config(&config(a, b, routes)).start()
}

fn config(a: &Endpoint, b: &Endpoint, routes: &[&str]) -> String {
    let routes: String = routes
        .iter()
        .map(|route| format!("  - {route}\n"))
        .collect();
    format!(
        "listeners:\n  - {{ name: http, address: 127.0.0.1:0 }}\nroutes:\n{routes}services:\n  \
         - {{ name: a, source: {{ list: [\"{}\"] }} }}\n  - {{ name: b, source: {{ list: [\"{}\"] }} }}\n\
         admin:\n  address: 127.0.0.1:0\nworkers: 2\n",
        a.address(),
        b.address()
    )
}

#[test]
fn an_exact_path_is_that_path_alone() {
    let (a, b) = (Endpoint::start("a"), Endpoint::start("b"));
    let tidegate = start(&a, &b, &["{ service: a }", "{ exact: /api, service: b }"]);
    for (path, name) in [
        ("/api", "b"),
        ("/api?x=/", "b"),
        ("/api/", "a"),
        ("/api/x", "a"),
        ("/API", "a"),
        ("/%61pi", "a"),
        ("/", "a"),
    ] {
        assert_eq!(tidegate.get(path).text(), name, "{path}");
    }
}
