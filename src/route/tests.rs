use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::*;

/// A path that begins with `=` is exact.
fn at(host: Host, path: &str) -> Matcher {
    let path = match path.strip_prefix('=') {
        Some(path) => Path::Exact(path.into()),
        None => Path::Prefix(path.into()),
    };
    Matcher::new(host, path)
}

/// A request of which only host and path are of interest.
fn plain<'r>(host: &'r str, path: &'r str, headers: &'r HeaderMap) -> Ask<'r> {
    Ask {
        listener: "http",
        host,
        path,
        query: "",
        method: &Method::GET,
        headers,
        ends_here: &|_| false,
        scheme: &|| Scheme::Http,
    }
}

impl<T> RouteTable<T> {
    fn lead(&self, host: &str, path: &str) -> Option<&T> {
        self.find(&plain(host, path, &HeaderMap::new()))
    }
}

fn exact(host: &str) -> Host {
    Host::Exact(host.into())
}

fn below(host: &str) -> Host {
    Host::Below(host.into())
}

fn table(routes: &[(Host, &str)]) -> RouteTable<usize> {
    let matchers = routes
        .iter()
        .map(|(host, path)| at(host.clone(), path))
        .enumerate();
    RouteTable::build(matchers.map(|(index, matcher)| (matcher, index)))
}

#[test]
fn the_most_specific_host_wins() {
    let routes = table(&[
        (Host::Any, "/"),
        (below("example.com"), "/"),
        (below("b.example.com"), "/"),
        (exact("a.b.example.com"), "/"),
    ]);
    assert_eq!(routes.lead("a.b.example.com", "/"), Some(&3));
    assert_eq!(routes.lead("x.b.example.com", "/"), Some(&2));
    assert_eq!(routes.lead("x.y.b.example.com", "/"), Some(&2));
    assert_eq!(routes.lead("b.example.com", "/"), Some(&1));
    assert_eq!(routes.lead("example.com", "/"), Some(&0));
    assert_eq!(routes.lead(".example.com", "/"), Some(&0));
    assert_eq!(routes.lead("", "/"), Some(&0));
}

fn child(host: &str) -> Host {
    Host::Child(host.into())
}

#[test]
fn a_child_has_one_label_and_comes_before_what_covers_any_depth() {
    let routes = table(&[
        (below("example.com"), "/"),
        (child("example.com"), "/x"),
        (child("b.example.com"), "/"),
        (child("other"), "/"),
    ]);
    assert_eq!(routes.lead("a.example.com", "/x"), Some(&1));
    assert_eq!(routes.lead("a.example.com", "/y"), Some(&0));
    assert_eq!(routes.lead("a.b.example.com", "/x"), Some(&2));
    assert_eq!(routes.lead("a.a.b.example.com", "/x"), Some(&0));
    assert_eq!(routes.lead("a.other:80", "/"), Some(&3));
    assert_eq!(routes.lead("a.b.other", "/"), None);
    assert_eq!(routes.lead("other", "/"), None);
}

#[test]
fn an_exact_path_comes_before_every_prefix_of_its_host() {
    let routes = table(&[
        (Host::Any, "/api/x"),
        (Host::Any, "=/api/x"),
        (Host::Any, "=/api/"),
        (Host::Any, "=/"),
        (exact("a.test"), "/api"),
    ]);
    assert_eq!(routes.lead("b.test", "/api/x"), Some(&1));
    assert_eq!(routes.lead("b.test", "/api/x/"), Some(&0));
    assert_eq!(routes.lead("b.test", "/api/"), Some(&2));
    assert_eq!(routes.lead("b.test", "/api"), None);
    assert_eq!(routes.lead("b.test", "/"), Some(&3));
    assert_eq!(routes.lead("b.test", ""), None);
    assert_eq!(routes.lead("a.test", "/api/x"), Some(&4));
}

#[test]
fn a_host_without_the_path_hides_no_wider_one() {
    let routes = table(&[
        (exact("shop.example.com"), "/api"),
        (below("example.com"), "/static"),
        (Host::Any, "/"),
    ]);
    assert_eq!(routes.lead("shop.example.com", "/api/x"), Some(&0));
    assert_eq!(routes.lead("shop.example.com", "/static/x"), Some(&1));
    assert_eq!(routes.lead("shop.example.com", "/apis"), Some(&2));
}

#[test]
fn the_host_decides_before_the_length_of_the_path() {
    let routes = table(&[(exact("a.test"), "/"), (Host::Any, "/long/path")]);
    assert_eq!(routes.lead("a.test", "/long/path"), Some(&0));
}

#[test]
fn prefixes_match_whole_elements() {
    let routes = table(&[
        (Host::Any, "/api"),
        (Host::Any, "/api-v2"),
        (Host::Any, "/api/users/"),
    ]);
    for (path, to) in [
        ("/api", Some(&0)),
        ("/api/", Some(&0)),
        ("/api/x", Some(&0)),
        ("/api/user", Some(&0)),
        ("/api/users", Some(&2)),
        ("/api/users/", Some(&2)),
        ("/api/users/7/cart", Some(&2)),
        ("/api-v2/users", Some(&1)),
        ("/api-v", None),
        ("/apis", None),
        ("/ap", None),
        ("/", None),
        ("", None),
        ("*", None),
    ] {
        assert_eq!(routes.lead("a.test", path), to, "{path}");
    }
}

#[test]
fn the_root_covers_everything() {
    let routes = table(&[(Host::Any, "/")]);
    for path in ["/", "", "*", "/x", "//x", "example.com:443"] {
        assert_eq!(routes.lead("a.test", path), Some(&0), "{path}");
    }
}

#[test]
fn spellings_of_a_host_are_the_same() {
    let routes = table(&[(exact("shop.example.com"), "/"), (exact("[::1]"), "/")]);
    for host in [
        "shop.example.com",
        "Shop.Example.COM",
        "shop.example.com.",
        "shop.example.com:8080",
        "SHOP.example.com.:8080",
        "shop.example.com:",
    ] {
        assert_eq!(routes.lead(host, "/"), Some(&0), "{host}");
    }
    for host in ["[::1]", "[::1]:80", "::1"] {
        assert_eq!(routes.lead(host, "/"), Some(&1), "{host}");
    }
    for host in [
        "shop.example.com..",
        "[shop.example.co]",
        "xshop.example.com",
    ] {
        assert_eq!(routes.lead(host, "/"), None, "{host}");
    }
}

#[test]
fn of_two_equal_routes_the_first_wins() {
    let routes = table(&[
        (Host::Any, "/api/"),
        (Host::Any, "/api"),
        (exact("A.test"), "/"),
        (exact("a.test."), "/"),
    ]);
    assert_eq!(routes.lead("b.test", "/api"), Some(&0));
    assert_eq!(routes.lead("a.test", "/api"), Some(&2));
}

/// `GET`, `name: value`, `?name=value` and `on listener`, with commas between.
fn conditions(text: &str) -> Conditions {
    let mut conditions = Conditions::default();
    for part in text.split(", ").filter(|part| !part.is_empty()) {
        if let Some(listener) = part.strip_prefix("on ") {
            conditions.listeners.push(listener.into());
        } else if let Some((name, value)) = part.split_once(": ") {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            let value = HeaderValue::from_str(value).unwrap();
            conditions.headers.push((name, value));
        } else if let Some(pair) = part.strip_prefix('?') {
            let (name, value) = pair.split_once('=').unwrap();
            conditions.query.push((name.into(), value.into()));
        } else {
            conditions.method = Some(part.parse().unwrap());
        }
    }
    conditions
}

fn conditional(routes: &[(Host, &str, &str)]) -> RouteTable<usize> {
    let matchers = routes.iter().map(|(host, path, text)| Matcher {
        conditions: conditions(text),
        ..at(host.clone(), path)
    });
    RouteTable::build(matchers.zip(0..))
}

fn fields(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in list {
        fields.append(*name, HeaderValue::from_str(value).unwrap());
    }
    fields
}

#[test]
fn a_route_whose_conditions_do_not_hold_hides_no_other() {
    let routes = conditional(&[
        (exact("a.test"), "=/x", "POST"),
        (exact("a.test"), "/x", "x-canary: on"),
        (exact("a.test"), "/", "?v=2"),
        (below("test"), "/x", "on https"),
        (Host::Any, "/", ""),
    ]);
    let on = fields(&[("x-canary", "on")]);
    let none = HeaderMap::new();
    for (method, query, listener, headers, to) in [
        (Method::POST, "v=2", "https", &on, 0),
        (Method::GET, "v=2", "https", &on, 1),
        (Method::GET, "v=2", "https", &none, 2),
        (Method::GET, "v=1&v=2", "https", &none, 3),
        (Method::GET, "", "http", &none, 4),
    ] {
        let ask = Ask {
            method: &method,
            query,
            listener,
            headers,
            ..plain("a.test", "/x", &none)
        };
        assert_eq!(routes.find(&ask), Some(&to), "{ask:?}");
    }
}

#[test]
fn of_routes_for_one_path_the_most_specific_comes_first() {
    let routes = conditional(&[
        (Host::Any, "/", ""),
        (Host::Any, "/", "?a=1, ?b=2"),
        (Host::Any, "/", "x-a: 1"),
        (Host::Any, "/", "x-a: 1, x-b: 2"),
        (Host::Any, "/", "GET"),
        (Host::Any, "/", "GET, ?a=1"),
        (Host::Any, "/", "on http"),
        (Host::Any, "/", "GET"),
    ]);
    let none = HeaderMap::new();
    let both = fields(&[("x-a", "1"), ("x-b", "2")]);
    let one = fields(&[("x-a", "1"), ("x-b", "3")]);
    let ask = |listener, method, headers, query| {
        let ask = Ask {
            listener,
            method,
            headers,
            query,
            ..plain("a.test", "/", &none)
        };
        routes.find(&ask).copied()
    };
    assert_eq!(ask("http", &Method::GET, &both, "a=1&b=2"), Some(6));
    assert_eq!(ask("https", &Method::GET, &both, "a=1&b=2"), Some(5));
    assert_eq!(ask("https", &Method::GET, &both, "b=2"), Some(4));
    assert_eq!(ask("https", &Method::PUT, &both, "a=1&b=2"), Some(3));
    assert_eq!(ask("https", &Method::PUT, &one, "a=1&b=2"), Some(2));
    assert_eq!(ask("https", &Method::PUT, &none, "x&b=2&a=1"), Some(1));
    assert_eq!(ask("https", &Method::PUT, &none, "b=2&a"), Some(0));
}

#[test]
fn fields_of_one_name_are_one() {
    let routes = conditional(&[(Host::Any, "/", "x-a: 1"), (Host::Any, "/", "cookie: a; b")]);
    let none = HeaderMap::new();
    let ask = |headers: HeaderMap, gone: &str| {
        let ask = Ask {
            headers: &headers,
            ends_here: &|name| name == gone,
            scheme: &|| Scheme::Http,
            ..plain("a.test", "/", &none)
        };
        routes.find(&ask).copied()
    };
    assert_eq!(ask(fields(&[("x-a", "1")]), ""), Some(0));
    assert_eq!(ask(fields(&[("x-a", "1"), ("x-a", "1")]), ""), None);
    assert_eq!(ask(fields(&[("x-a", "12")]), ""), None);
    assert_eq!(ask(fields(&[("x-a", "")]), ""), None);
    assert_eq!(ask(fields(&[("x-a", "1")]), "x-a"), None);
    assert_eq!(ask(fields(&[("cookie", "a; b")]), ""), Some(1));
    assert_eq!(
        ask(fields(&[("cookie", "a"), ("cookie", "b")]), ""),
        Some(1)
    );
    assert_eq!(ask(fields(&[("cookie", "a")]), ""), None);
    // Of what a condition names twice, all has to hold.
    let routes = conditional(&[(Host::Any, "/", "x-a: 1, x-a: 2")]);
    let headers = fields(&[("x-a", "1"), ("x-a", "2")]);
    assert_eq!(routes.find(&plain("a.test", "/", &headers)), None);
}

#[test]
fn an_empty_table_finds_nothing() {
    assert_eq!(RouteTable::<u8>::default().lead("a.test", "/"), None);
}

#[test]
fn finds_among_ten_thousand_hosts_and_paths() {
    let hosts = (0..10_000).map(|i| (at(exact(&format!("shop-{i}.example.com")), "/"), i));
    let paths = (0..10_000).map(|i| (at(Host::Any, &format!("/tenants/{i}")), 10_000 + i));
    let routes = RouteTable::build(hosts.chain(paths));
    for i in 0..10_000 {
        assert_eq!(
            routes.lead(&format!("shop-{i}.example.com:80"), "/x"),
            Some(&i)
        );
        assert_eq!(
            routes.lead("a.test", &format!("/tenants/{i}/x")),
            Some(&(10_000 + i))
        );
    }
}

/// The naive model: try every route, keep the best.
fn naive(routes: &[Matcher], ask: &Ask<'_>) -> Option<usize> {
    let (host, path) = (ask.host, ask.path);
    let host = host.to_lowercase();
    let host = host.strip_suffix(":8080").unwrap_or(&host);
    let host = host.strip_suffix('.').unwrap_or(host);
    let elements: Vec<&str> = path.split('/').skip(1).collect();
    let rank = |matcher: &Matcher| {
        let host = match &matcher.host {
            Host::Any => 0,
            Host::Below(parent) => {
                let name = host.strip_suffix(parent.as_str())?.strip_suffix('.')?;
                (!name.is_empty()).then_some(2 * parent.len())?
            }
            Host::Child(parent) => {
                let (name, rest) = host.split_once('.')?;
                (!name.is_empty() && rest == parent).then_some(2 * parent.len() + 1)?
            }
            Host::Exact(exact) => (exact == host).then_some(usize::MAX)?,
        };
        let path = match &matcher.path {
            Path::Exact(exact) => (exact == path).then_some(usize::MAX)?,
            Path::Prefix(prefix) => {
                let prefix: Vec<&str> = prefix.split('/').filter(|e| !e.is_empty()).collect();
                elements.starts_with(&prefix).then_some(prefix.len())?
            }
        };
        let Conditions {
            listeners,
            method,
            headers,
            query,
            ..
        } = &matcher.conditions;
        let pairs: Vec<&str> = ask.query.split('&').collect();
        let hold = (listeners.is_empty() || listeners.iter().any(|it| &**it == ask.listener))
            && method.as_ref().is_none_or(|it| it == ask.method)
            && headers.iter().all(|(n, v)| ask.headers.get(n) == Some(v))
            && query
                .iter()
                .all(|(n, v)| pairs.contains(&&*format!("{n}={v}")));
        let count = (
            !listeners.is_empty(),
            method.is_some(),
            headers.len(),
            query.len(),
        );
        hold.then_some((host, path, count))
    };
    let ranked = routes.iter().enumerate();
    let ranked = ranked.filter_map(|(index, matcher)| Some((rank(matcher)?, index)));
    // The first of equal ones, as `max` would take the last.
    ranked
        .max_by_key(|&(rank, index)| (rank, std::cmp::Reverse(index)))
        .map(|(_, index)| index)
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 1..5)
        .prop_map(|labels| labels.join("."))
}

fn path() -> impl Strategy<Value = String> {
    // Characters on both sides of the slash, so that sorting by bytes would be found out.
    let element = prop::sample::select(vec!["a", "b", "a-", "a!", "a0", "ab"]);
    (prop::collection::vec(element, 0..4), prop::bool::ANY).prop_map(|(elements, slash)| {
        let end = if slash || elements.is_empty() {
            "/"
        } else {
            ""
        };
        let path: String = elements
            .iter()
            .map(|element| format!("/{element}"))
            .collect();
        path + end
    })
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let host = prop_oneof![
        4 => Just(Host::Any),
        2 => name().prop_map(Host::Exact),
        2 => name().prop_map(Host::Below),
        2 => name().prop_map(Host::Child),
    ];
    let path = prop_oneof![
        2 => path().prop_map(Path::Prefix),
        1 => path().prop_map(Path::Exact),
    ];
    (host, path, some_conditions()).prop_map(|(host, path, conditions)| Matcher {
        conditions,
        ..Matcher::new(host, path)
    })
}

fn some_conditions() -> impl Strategy<Value = Conditions> {
    let known = [
        "on http", "on https", "GET", "POST", "x-a: 1", "x-a: 2", "x-b: 1", "?a=1", "?a=2", "?b=1",
    ];
    prop_oneof![
        1 => Just(Conditions::default()),
        1 => prop::sample::subsequence(known.to_vec(), 0..4)
            .prop_map(|parts| conditions(&parts.join(", "))),
    ]
}

proptest! {
    #[test]
    fn agrees_with_the_naive_model(
        routes in prop::collection::vec(matcher(), 0..24),
        host in name(),
        decoration in prop::sample::select(vec!["", ".", ":8080", ".:8080"]),
        capitals in prop::bool::ANY,
        path in path(),
        (listener, post, a, b, query) in (
            prop::sample::select(vec!["http", "https"]),
            prop::bool::ANY,
            prop::sample::select(vec!["1", "2"]),
            prop::sample::select(vec!["1", "2"]),
            prop::sample::select(vec!["", "a=1", "b=1&a=2", "a=1&b=1", "a"]),
        ),
    ) {
        let headers = fields(&[("x-a", a), ("x-b", b)]);
        let host = if capitals { host.to_uppercase() } else { host } + decoration;
        let method = if post { Method::POST } else { Method::GET };
        let ask = Ask {
            listener,
            query,
            method: &method,
            ..plain(&host, &path, &headers)
        };
        let wanted = naive(&routes, &ask);
        let table = RouteTable::build(routes.into_iter().zip(0..));
        prop_assert_eq!(table.find(&ask).copied(), wanted);
    }

    #[test]
    fn any_input_is_answered(host in ".{0,40}", path in ".{0,40}") {
        let routes = table(&[(below("b.c"), "/a"),
            (exact("é"), "/"),
            (Host::Any, "/é"),
            (Host::Any, "=/é"),
            (child("é"), "/"),]);
        let _ = routes.lead(&host, &path);
    }
}

#[test]
fn others_have_their_hosts_for_themselves() {
    let matcher = |host: Host, others: &[Host], scheme| Matcher {
        conditions: Conditions {
            others: others.into(),
            scheme,
            ..Conditions::default()
        },
        ..Matcher::new(host, Path::any())
    };
    let (a, below) = (Host::Exact("a.test".into()), Host::Below("b.test".into()));
    let child = Host::Child("c.test".into());
    let others = [a, below, child];
    let routes = RouteTable::build([(matcher(Host::Any, &others, None), 0)]);
    for (host, is_found) in [
        ("x.test", true),
        ("a.test", false),
        ("A.test:80", false),
        ("x.a.test", true),
        ("b.test", true),
        ("x.b.test", false),
        ("x.y.b.test", false),
        ("xb.test", true),
        ("x.c.test", false),
        ("x.y.c.test", true),
    ] {
        assert_eq!(routes.lead(host, "/").is_some(), is_found, "{host}");
    }
    // What a client speaks: the test's speaks http.
    let by = |scheme, to| (matcher(Host::Any, &[], scheme), to);
    let routes = RouteTable::build([
        by(None, 0),
        by(Some(Scheme::Https), 1),
        by(Some(Scheme::Http), 2),
    ]);
    assert_eq!(routes.lead("x.test", "/"), Some(&2));
    let routes = RouteTable::build([by(Some(Scheme::Https), 1), by(None, 0)]);
    assert_eq!(routes.lead("x.test", "/"), Some(&0));
}
