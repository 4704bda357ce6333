use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kubernetes::part::{Note, Part};
use crate::net::tls::Held;
use crate::route::{Ask, RouteTable, Scheme};

/// Objects to be translated.
#[derive(Debug, Default)]
struct Given {
    ingresses: Vec<Value>,
    classes: Vec<Value>,
    services: Vec<Value>,
    secrets: Vec<Value>,
}

fn objects<K: kube::Resource + serde::de::DeserializeOwned>(all: &[Value]) -> Objects<K> {
    let read = |object: &Value| serde_json::from_value::<K>(object.clone()).unwrap();
    Objects::of(all.iter().map(read))
}

fn settings() -> IngressSettings {
    IngressSettings {
        https: Some("https".into()),
        ..IngressSettings::default()
    }
}

impl Given {
    fn of(ingresses: &[Value]) -> Self {
        Self {
            ingresses: ingresses.to_vec(),
            services: vec![
                json!({ "metadata": { "namespace": "shop", "name": "web" },
                    "spec": { "ports": [{ "name": "http", "port": 80 }] } }),
                json!({ "metadata": { "namespace": "shop", "name": "api" },
                    "spec": { "ports": [{ "name": "http", "port": 80 }] } }),
            ],
            ..Self::default()
        }
    }

    fn translate(&self, settings: &IngressSettings) -> (Part, Vec<Note>) {
        let world = World {
            ingresses: &objects(&self.ingresses),
            classes: &objects(&self.classes),
            services: &objects(&self.services),
            secrets: &objects(&self.secrets),
            pods: false,
        };
        let mut draft = Draft::default();
        let ours = ours(&world, settings);
        let mut certificates = Certificates::default();
        translate(world, settings, &ours, &mut certificates, &mut draft);
        draft.finish()
    }

    fn routes(&self) -> Vec<String> {
        let (part, _) = self.translate(&settings());
        let words = part.routes.iter();
        words
            .map(|(matcher, service)| format!("{matcher} {service}"))
            .collect()
    }

    fn reasons(&self) -> Vec<&'static str> {
        let (_, notes) = self.translate(&settings());
        notes.iter().map(|note| note.reason).collect()
    }
}

fn backend(service: &str) -> Value {
    json!({ "service": { "name": service, "port": { "number": 80 } } })
}

fn path(kind: &str, path: &str, service: &str) -> Value {
    json!({ "path": path, "pathType": kind, "backend": backend(service) })
}

fn ingress(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["ingressClassName"] = "tidegate".into();
    json!({ "metadata": { "namespace": "shop", "name": name, "uid": name,
        "creationTimestamp": "2026-11-01T10:00:00Z" }, "spec": spec })
}

fn rule(host: &str, paths: &[Value]) -> Value {
    json!({ "rules": [{ "host": host, "http": { "paths": paths } }] })
}

#[test]
fn hosts_and_paths_become_routes() {
    let paths = [
        path("Exact", "/health/", "api"),
        path("Prefix", "/api/", "api"),
        path("ImplementationSpecific", "/old", "web"),
        path("Prefix", "/", "web"),
    ];
    let given = Given::of(&[
        ingress("a", &rule("Shop.Example.com", &paths)),
        ingress("b", &rule("*.example.com", &paths[3..])),
        ingress("c", &rule("", &paths[1..2])),
    ]);
    assert_eq!(
        given.routes(),
        [
            "shop.example.com=/health/ shop/api:http",
            "shop.example.com/api shop/api:http",
            "shop.example.com/old shop/web:http",
            "shop.example.com/ shop/web:http",
            "*.example.com/ shop/web:http",
            "*/api shop/api:http",
        ]
    );
    assert_eq!(given.reasons(), [""; 0]);
    let (part, _) = given.translate(&settings());
    assert_eq!(part.services.len(), 2);
}

#[test]
fn what_cannot_be_served_answers_503_and_the_rest_works() {
    let mut resource = path("Prefix", "/files", "");
    resource["backend"] = json!({ "resource": { "kind": "Bucket", "name": "b" } });
    let mut by_name = path("Prefix", "/name", "");
    by_name["backend"] = json!({ "service": { "name": "web", "port": { "name": "grpc" } } });
    let paths = [
        path("Prefix", "/", "web"),
        path("Prefix", "/gone", "gone"),
        path("Prefix", "api", "web"),
        path("ImplementationSpecific", "/a(/|$)(.*)", "web"),
        resource,
        by_name,
    ];
    let given = Given::of(&[ingress("a", &rule("x", &paths))]);
    assert_eq!(
        given.routes(),
        [
            "x/ shop/web:http",
            "x/gone shop/gone:80",
            "x/files shop/a:unsupported",
            "x/name shop/web:grpc",
        ]
    );
    assert_eq!(
        given.reasons(),
        [
            "ServiceNotFound",
            "PathInvalid",
            "PathInvalid",
            "BackendUnsupported",
            "PortNotFound"
        ]
    );
}

#[test]
fn the_oldest_wins_and_the_other_is_told() {
    let mut old = ingress("z", &rule("x", &[path("Prefix", "/", "web")]));
    old["metadata"]["creationTimestamp"] = "2026-10-01T10:00:00Z".into();
    let young = rule(
        "x",
        &[path("Prefix", "/", "api"), path("Exact", "/", "api")],
    );
    let given = Given::of(&[ingress("a", &young), old]);
    assert_eq!(given.routes(), ["x/ shop/web:http", "x=/ shop/api:http"]);
    let (_, notes) = given.translate(&settings());
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].about.name.to_string(), "shop/a");
    assert!(notes[0].text.contains("x/ belongs to ingress shop/z"));
}

#[test]
fn a_default_backend_has_what_nobody_asks_for() {
    let mut first = rule("x", &[path("Prefix", "/api", "api")]);
    first["defaultBackend"] = backend("web");
    let second = rule("x", &[path("Prefix", "/", "api")]);
    let given = Given::of(&[ingress("a", &first), ingress("b", &second)]);
    assert_eq!(
        given.routes(),
        [
            "x/api shop/api:http",
            "x/ shop/api:http",
            "*/ shop/web:http"
        ]
    );
    assert_eq!(given.reasons(), [""; 0]);
    let alone = Given::of(&[ingress("a", &first)]);
    assert_eq!(
        alone.routes(),
        [
            "x/api shop/api:http",
            "x/ shop/web:http",
            "*/ shop/web:http"
        ]
    );
}

#[test]
fn a_class_says_whose_an_ingress_is() {
    let class = |name: &str, controller: &str, default: &str| {
        json!({ "metadata": { "name": name,
            "annotations": { "ingressclass.kubernetes.io/is-default-class": default } },
            "spec": { "controller": controller } })
    };
    let ours = "tidegate.dev/ingress";
    let is_ours = |named: Option<&str>, legacy: Option<&str>, classes: &[Value]| {
        let mut one = ingress("a", &json!({ "defaultBackend": backend("web") }));
        one["spec"]["ingressClassName"] = json!(named);
        one["metadata"]["annotations"] = legacy.map_or(
            json!({}),
            |name| json!({ "kubernetes.io/ingress.class": name }),
        );
        let mut given = Given::of(&[one]);
        given.classes = classes.to_vec();
        !given.routes().is_empty()
    };
    let classes = [
        class("inner", ours, "false"),
        class("nginx", "k8s.io/ingress-nginx", "true"),
    ];
    assert!(is_ours(Some("inner"), None, &classes));
    assert!(!is_ours(Some("nginx"), None, &classes));
    assert!(is_ours(Some("tidegate"), None, &classes), "by our own name");
    assert!(is_ours(None, Some("tidegate"), &classes));
    assert!(is_ours(None, Some("inner"), &classes));
    assert!(!is_ours(None, Some("nginx"), &classes));
    assert!(!is_ours(Some("nginx"), Some("tidegate"), &classes));
    assert!(!is_ours(None, None, &classes), "somebody else's default");
    assert!(is_ours(None, None, &[class("inner", ours, "true")]));
    let taken = [class("tidegate", "example.com/other", "false")];
    assert!(!is_ours(Some("tidegate"), None, &taken));
}

#[test]
fn annotations_that_keep_somebody_out_close_the_whole_ingress() {
    let with = |key: &str, value: &str| {
        let mut one = ingress("a", &rule("x", &[path("Prefix", "/", "web")]));
        one["metadata"]["annotations"] =
            json!({ format!("nginx.ingress.kubernetes.io/{key}"): value });
        Given::of(&[one])
    };
    let open = ["x/ shop/web:http"];
    assert_eq!(with("rewrite-target", "/").routes(), open);
    assert_eq!(with("rewrite-target", "/").reasons(), ["AnnotationIgnored"]);
    assert_eq!(with("proxy-buffer-size", "8k").reasons(), [""; 0]);
    assert_eq!(
        with("auth-url", "http://a").routes(),
        ["x/ shop/a:unsupported"]
    );
    assert_eq!(
        with("auth-url", "http://a").reasons(),
        ["AnnotationUnsupported"]
    );
    assert_eq!(with("canary", "true").routes(), [""; 0]);
    assert_eq!(with("canary", "false").routes(), open);
}

#[test]
fn a_secret_breaks_only_its_own_hosts() {
    let pair = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
    let data = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let secret = |name: &str, kind: &str, cert: &str| {
        json!({ "metadata": { "namespace": "shop", "name": name }, "type": kind,
            "data": { "tls.crt": data(cert), "tls.key": data(&pair.signing_key.serialize_pem()) } })
    };
    let mut spec = rule("x", &[path("Prefix", "/", "web")]);
    let tls =
        |secret: &str| json!({ "hosts": [format!("{secret}.example.com")], "secretName": secret });
    spec["tls"] = json!([tls("gone"), tls("opaque"), tls("torn"), tls("good"), { "hosts": ["y"] }]);
    let mut given = Given::of(&[ingress("a", &spec)]);
    given.secrets = vec![
        secret("opaque", "Opaque", &pair.cert.pem()),
        secret("torn", "kubernetes.io/tls", "no PEM"),
        secret("good", "kubernetes.io/tls", &pair.cert.pem()),
    ];
    let (part, notes) = given.translate(&settings());
    assert_eq!(part.routes.len(), 1);
    let offers = part.offers("https");
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].names, ["good.example.com"]);
    assert_eq!(offers[0].held.name(), "secret shop/good");
    assert!(notes.iter().all(|note| note.reason == "SecretUnusable"));
    let texts: Vec<_> = notes.iter().map(|note| &*note.text).collect();
    assert!(texts[0].contains("shop/gone does not exist"), "{texts:?}");
    assert!(texts[1].contains("shop/opaque is not of type"), "{texts:?}");
    assert!(texts[2].contains("shop/torn cannot be used"), "{texts:?}");
    assert!(!texts[2].contains("PRIVATE"), "{texts:?}");
    let without = IngressSettings::default();
    let (part, notes) = given.translate(&without);
    assert!(part.certificates.is_empty());
    assert_eq!(notes[0].reason, "TlsNotServed");
}

#[test]
fn a_secret_is_read_once_for_each_version() {
    let pair = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
    let name = Name::new("shop", "tls");
    let secrets = |version: &str| {
        use k8s_openapi::ByteString;
        let mut secret = Secret {
            type_: Some("kubernetes.io/tls".into()),
            ..Secret::default()
        };
        (secret.metadata.name, secret.metadata.namespace) =
            (Some("tls".into()), Some("shop".into()));
        secret.metadata.resource_version = Some(version.into());
        let data = [
            ("tls.crt", pair.cert.pem()),
            ("tls.key", pair.signing_key.serialize_pem()),
        ];
        let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
        secret.data = Some(data.into());
        Objects::of([secret])
    };
    let mut certificates = Certificates::default();
    let mut find = |version: &str| -> Held { certificates.find(&secrets(version), &name).unwrap() };
    let (first, same, next) = (find("1"), find("1"), find("2"));
    assert!(first == same && first != next);
}

/// What the specification says a path matches, element by element.
fn naive(kind: &str, path: &str, asked: &str) -> Option<(usize, bool)> {
    let elements = |text: &str| -> Vec<String> {
        let text = text.trim_matches('/');
        let split = text.split('/').filter(|element| !element.is_empty());
        split.map(ToOwned::to_owned).collect()
    };
    match kind {
        "Exact" => (path == asked).then_some((path.len(), true)),
        _ => {
            let (own, asked) = (elements(path), elements(asked));
            asked
                .starts_with(&own)
                .then(|| (path.trim_end_matches('/').len(), false))
        }
    }
}

#[test]
fn clients_of_http_are_sent_to_https_where_an_ingress_asks_for_it() {
    let annotated = |name: &str, value: &str| {
        let mut ingress = ingress("a", &rule("a.test", &[path("Prefix", "/", "web")]));
        let other = ingress["spec"]["rules"][0].clone();
        let rules = ingress["spec"]["rules"].as_array_mut().unwrap();
        for host in ["x.b.test", "c.test"] {
            rules.push(with_host(other.clone(), host));
        }
        ingress["spec"]["tls"] = json!([{ "hosts": ["a.test", "*.b.test"] }]);
        let key = format!("nginx.ingress.kubernetes.io/{name}");
        ingress["metadata"]["annotations"] = json!({ key: value });
        Given::of(&[ingress])
    };
    let redirected = |given: &Given| {
        let routes = given.routes().into_iter();
        let redirected = routes.filter(|it| it.ends_with("/ by http redirect 308"));
        let hosts = redirected.map(|it| it.split_once('/').unwrap().0.to_owned());
        hosts.collect::<Vec<_>>().join(" ")
    };
    for (name, value, wanted) in [
        ("ssl-redirect", "true", "a.test x.b.test"),
        ("force-ssl-redirect", "true", "a.test x.b.test c.test"),
        ("ssl-redirect", "false", ""),
        ("force-ssl-redirect", "false", ""),
        ("ssl-redirect", "True", ""),
        ("affinity-mode", "true", ""),
    ] {
        let given = annotated(name, value);
        assert_eq!(redirected(&given), wanted, "{name}: {value}");
        let is_told = given.reasons().contains(&"AnnotationIgnored");
        assert_eq!(is_told, value == "True", "{name}: {value}");
    }
    // Nobody is sent where nothing is.
    let plain = IngressSettings::default();
    let (part, _) = annotated("ssl-redirect", "true").translate(&plain);
    assert!(
        part.routes
            .iter()
            .all(|(matcher, _)| matcher.conditions.scheme.is_none())
    );
}

fn with_host(mut rule: Value, host: &str) -> Value {
    rule["host"] = json!(host);
    rule
}

proptest! {
    /// The longest path wins, and of two of the same length the exact one.
    #[test]
    fn paths_match_as_the_specification_says(
        paths in prop::collection::btree_set(("Exact|Prefix", "(/[ab]{1,2}){0,3}/?"), 1..6),
        asked in "(/[ab]{1,2}){0,4}/?",
    ) {
        let asked = if asked.is_empty() { "/" } else { &asked };
        let paths: Vec<_> = paths.into_iter().filter(|(_, path)| !path.is_empty()).collect();
        let all: Vec<Value> = paths.iter().enumerate()
            .map(|(index, (kind, text))| path(kind, text, &format!("s{index}")))
            .collect();
        let mut given = Given::of(&[ingress("a", &rule("x", &all))]);
        given.services = (0..all.len()).map(|index| json!({
            "metadata": { "namespace": "shop", "name": format!("s{index}") },
            "spec": { "ports": [{ "port": 80 }] },
        })).collect();
        let (part, _) = given.translate(&settings());
        let table = RouteTable::build(part.routes.into_iter().map(|(matcher, to)| (matcher, Arc::new(to))));
        let ask = Ask {
            listener: "http",
            host: "x",
            path: asked,
            query: "",
            method: &http::Method::GET,
            headers: &http::HeaderMap::new(),
            ends_here: &|_| false,
            scheme: &|| Scheme::Https,
        };
        let found = table.find(&ask).map(|to| to.to_string());
        let best = paths.iter().enumerate()
            .filter_map(|(index, (kind, text))| Some((naive(kind, text, asked)?, std::cmp::Reverse(index))))
            .max();
        let expected = best.map(|(_, std::cmp::Reverse(index))| format!("shop/s{index}:80"));
        prop_assert_eq!(found, expected);
    }
}
