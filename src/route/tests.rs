use proptest::prelude::*;

use super::*;

/// A path that begins with `=` is exact.
fn at(host: Host, path: &str) -> Matcher {
    let path = match path.strip_prefix('=') {
        Some(path) => Path::Exact(path.into()),
        None => Path::Prefix(path.into()),
    };
    Matcher { host, path }
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
    assert_eq!(routes.find("a.b.example.com", "/"), Some(&3));
    assert_eq!(routes.find("x.b.example.com", "/"), Some(&2));
    assert_eq!(routes.find("x.y.b.example.com", "/"), Some(&2));
    assert_eq!(routes.find("b.example.com", "/"), Some(&1));
    assert_eq!(routes.find("example.com", "/"), Some(&0));
    assert_eq!(routes.find(".example.com", "/"), Some(&0));
    assert_eq!(routes.find("", "/"), Some(&0));
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
    assert_eq!(routes.find("a.example.com", "/x"), Some(&1));
    assert_eq!(routes.find("a.example.com", "/y"), Some(&0));
    assert_eq!(routes.find("a.b.example.com", "/x"), Some(&2));
    assert_eq!(routes.find("a.a.b.example.com", "/x"), Some(&0));
    assert_eq!(routes.find("a.other:80", "/"), Some(&3));
    assert_eq!(routes.find("a.b.other", "/"), None);
    assert_eq!(routes.find("other", "/"), None);
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
    assert_eq!(routes.find("b.test", "/api/x"), Some(&1));
    assert_eq!(routes.find("b.test", "/api/x/"), Some(&0));
    assert_eq!(routes.find("b.test", "/api/"), Some(&2));
    assert_eq!(routes.find("b.test", "/api"), None);
    assert_eq!(routes.find("b.test", "/"), Some(&3));
    assert_eq!(routes.find("b.test", ""), None);
    assert_eq!(routes.find("a.test", "/api/x"), Some(&4));
}

#[test]
fn a_host_without_the_path_hides_no_wider_one() {
    let routes = table(&[
        (exact("shop.example.com"), "/api"),
        (below("example.com"), "/static"),
        (Host::Any, "/"),
    ]);
    assert_eq!(routes.find("shop.example.com", "/api/x"), Some(&0));
    assert_eq!(routes.find("shop.example.com", "/static/x"), Some(&1));
    assert_eq!(routes.find("shop.example.com", "/apis"), Some(&2));
}

#[test]
fn the_host_decides_before_the_length_of_the_path() {
    let routes = table(&[(exact("a.test"), "/"), (Host::Any, "/long/path")]);
    assert_eq!(routes.find("a.test", "/long/path"), Some(&0));
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
        assert_eq!(routes.find("a.test", path), to, "{path}");
    }
}

#[test]
fn the_root_covers_everything() {
    let routes = table(&[(Host::Any, "/")]);
    for path in ["/", "", "*", "/x", "//x", "example.com:443"] {
        assert_eq!(routes.find("a.test", path), Some(&0), "{path}");
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
        assert_eq!(routes.find(host, "/"), Some(&0), "{host}");
    }
    for host in ["[::1]", "[::1]:80", "::1"] {
        assert_eq!(routes.find(host, "/"), Some(&1), "{host}");
    }
    for host in [
        "shop.example.com..",
        "[shop.example.co]",
        "xshop.example.com",
    ] {
        assert_eq!(routes.find(host, "/"), None, "{host}");
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
    assert_eq!(routes.find("b.test", "/api"), Some(&0));
    assert_eq!(routes.find("a.test", "/api"), Some(&2));
}

#[test]
fn an_empty_table_finds_nothing() {
    assert_eq!(RouteTable::<u8>::default().find("a.test", "/"), None);
}

#[test]
fn finds_among_ten_thousand_hosts_and_paths() {
    let hosts = (0..10_000).map(|i| (at(exact(&format!("shop-{i}.example.com")), "/"), i));
    let paths = (0..10_000).map(|i| (at(Host::Any, &format!("/tenants/{i}")), 10_000 + i));
    let routes = RouteTable::build(hosts.chain(paths));
    for i in 0..10_000 {
        assert_eq!(
            routes.find(&format!("shop-{i}.example.com:80"), "/x"),
            Some(&i)
        );
        assert_eq!(
            routes.find("a.test", &format!("/tenants/{i}/x")),
            Some(&(10_000 + i))
        );
    }
}

/// The naive model: try every route, keep the best.
fn naive(routes: &[Matcher], host: &str, path: &str) -> Option<usize> {
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
        Some((host, path))
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
        1 => Just(Host::Any),
        2 => name().prop_map(Host::Exact),
        2 => name().prop_map(Host::Below),
        2 => name().prop_map(Host::Child),
    ];
    let path = prop_oneof![
        2 => path().prop_map(Path::Prefix),
        1 => path().prop_map(Path::Exact),
    ];
    (host, path).prop_map(|(host, path)| Matcher { host, path })
}

proptest! {
    #[test]
    fn agrees_with_the_naive_model(
        routes in prop::collection::vec(matcher(), 0..24),
        host in name(),
        decoration in prop::sample::select(vec!["", ".", ":8080", ".:8080"]),
        capitals in prop::bool::ANY,
        path in path(),
    ) {
        let host = if capitals { host.to_uppercase() } else { host } + decoration;
        let wanted = naive(&routes, &host, &path);
        let table = RouteTable::build(routes.into_iter().zip(0..));
        prop_assert_eq!(table.find(&host, &path).copied(), wanted);
    }

    #[test]
    fn any_input_is_answered(host in ".{0,40}", path in ".{0,40}") {
        let routes = table(&[(below("b.c"), "/a"),
            (exact("é"), "/"),
            (Host::Any, "/é"),
            (Host::Any, "=/é"),
            (child("é"), "/"),]);
        let _ = routes.find(&host, &path);
    }
}
