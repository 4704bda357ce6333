use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use control::{DrainRequest, PodName, PodRequest, Request as Ask};

use super::*;

/// A writer that has one service with one endpoint, and keeps what it was asked for.
fn writer(asked: &Arc<Mutex<Vec<String>>>) -> impl FnMut(Ask) + Send + 'static {
    let asked = asked.clone();
    move |request| {
        let note = |text: String| asked.lock().unwrap().push(text);
        match request {
            Ask::Services(answer) => drop(answer.send(vec![service(vec![endpoint("web-1")])])),
            Ask::Service(name, answer) => {
                let known = (name == "web").then(|| service(vec![endpoint("web-1")]));
                drop(answer.send(known));
            }
            Ask::Drain(request, answer) => {
                note(format!("{request:?}"));
                drop(answer.send(refusal(&request).map_or_else(|| Ok(drain_answer()), Err)));
            }
            Ask::Undrain {
                service,
                endpoint,
                answer,
            } => {
                note(format!("{service} {endpoint}"));
                let refused = match &*endpoint {
                    "by-source" => Err(HandleError::DrainedBySource(endpoint)),
                    _ => Ok(UndrainAnswer {
                        service: "web".into(),
                        key: "web-1".into(),
                        state: State::Ready,
                    }),
                };
                drop(answer.send(refused));
            }
            Ask::DrainPod(PodRequest { pod, limit, .. }, answer) => {
                note(format!("{pod:?} {limit:?}"));
                let here = matches!(&pod, PodName::Name(name) if name == "shop/web-1");
                drop(answer.send(PodAnswer {
                    drained: !here,
                    reason: if here { "limit" } else { "serves nothing here" }.into(),
                    endpoints: if here { vec![drain_answer()] } else { vec![] },
                }));
            }
            Ask::Totals(answer) => drop(answer.send(Vec::new())),
            Ask::Gone(answer) => drop(answer.send(crate::telemetry::Gone::default())),
            Ask::Reload(_, answer) => drop(answer.send(())),
            Ask::Drains(answer) => drop(answer.send(DrainsView {
                running: vec![RunningDrain {
                    report: Report {
                        since: SystemTime::now() - Duration::from_secs(5),
                        deadline: Some(SystemTime::now() + Duration::from_secs(25)),
                        ended: None,
                        took: None,
                        outcome: None,
                        ..report()
                    },
                    in_flight: 1,
                    holders: vec![Holder {
                        route: "shop.example.com/api".into(),
                        kind: "tunnel",
                        age: Duration::from_millis(61_500),
                    }],
                }],
                done: vec![Arc::new(report())],
            })),
            Ask::Ready(answer) => drop(answer.send(vec![])),
            Ask::Tell(_)
            | Ask::HandOver(_)
            | Ask::GoOn
            | Ask::Inherit(..)
            | Ask::Adopt(_)
            | Ask::Relayed(_) => {
                panic!("no call asks for that")
            }
        }
    }
}

fn refusal(request: &DrainRequest) -> Option<HandleError> {
    match &*request.endpoint {
        _ if request.service == "nowhere" => Some(HandleError::NoService(request.service.clone())),
        "nobody" => Some(HandleError::NoEndpoint {
            service: request.service.clone(),
            endpoint: request.endpoint.clone(),
        }),
        "10.0.0.1:80" => Some(HandleError::Ambiguous {
            address: request.endpoint.clone(),
            ids: vec!["web-1".into(), "web-2".into()],
        }),
        _ => None,
    }
}

fn bench() -> (Bench, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::default();
    (Bench::new(writer(&asked)), asked)
}

fn report_json() -> Value {
    json!({
        "service": "web", "id": "web-1", "address": "10.0.0.1:80", "pod": "shop/web-1", "cause": "hook",
        "seen": {"hook": "2026-11-22T10:00:00.250Z", "source": "2026-11-22T10:00:01.250Z"},
        "since": "2026-11-22T10:00:00.250Z", "deadline": "2026-11-22T10:00:30.250Z", "limited_by": "pod",
        "in_flight_at_start": 4, "finished": 2, "retried": 1,
        "cut": {"request": 1, "stream": 0, "tunnel": 0}, "started_after": {"fallback": 3, "affinity": 0},
        "ended": "2026-11-22T10:00:30.250Z", "outcome": "cut", "duration_ms": 30_010,
    })
}

#[tokio::test]
async fn answers_the_probes() {
    let (bench, _) = bench();
    for probe in ["/healthz", "/readyz", "/lbz"] {
        let answer = bench.call("GET", probe).await;
        assert_eq!((answer.status, &*answer.text), (200, "ok\n"), "{probe}");
        assert_eq!(bench.call("HEAD", probe).await.status, 200);
    }
    bench.admin.probes.leaving.store(true, Ordering::Relaxed);
    assert_eq!(bench.call("GET", "/readyz").await.status, 200);
    let lbz = bench.call("GET", "/lbz").await;
    assert_eq!(lbz.status, 503);
    assert!(lbz.error().contains("leaving"), "{}", lbz.text);
    bench.admin.probes.accepting.store(false, Ordering::Relaxed);
    let readyz = bench.call("GET", "/readyz").await;
    assert_eq!(readyz.status, 503);
    assert!(readyz.error().contains("do not accept"), "{}", readyz.text);
    assert_eq!(bench.call("GET", "/healthz").await.status, 200);
    bench.admin.probes.alive.store(false, Ordering::Relaxed);
    assert_eq!(bench.call("GET", "/healthz").await.status, 503);
}

#[tokio::test]
async fn is_not_ready_before_the_sources_are() {
    let bench = Bench::new(|request| {
        if let Ask::Ready(answer) = request {
            drop(answer.send(vec!["web".into(), "api".into()]));
        }
    });
    for probe in ["/readyz", "/lbz"] {
        let answer = bench.call("GET", probe).await;
        assert_eq!(answer.status, 503);
        assert!(answer.error().contains("web, api"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_source_that_comes_later_makes_nobody_unready() {
    let mut asked = 0;
    let bench = Bench::new(move |request| {
        if let Ask::Ready(answer) = request {
            let names = [&["web"][..], &[], &["api"]][asked.min(2)];
            drop(answer.send(names.iter().map(|name| (*name).into()).collect()));
            asked += 1;
        }
    });
    for status in [503, 200, 200, 200] {
        assert_eq!(bench.call("GET", "/readyz").await.status, status);
    }
}

#[tokio::test]
async fn says_so_when_the_writer_is_gone() {
    let mut bench = Bench::new(drop);
    bench.admin.handle = Handle::scripted().0;
    bench.router = router(&bench.admin);
    for (method, path) in [
        ("GET", "/readyz"),
        ("GET", "/api/v1/services"),
        ("POST", "/api/v1/services/web/endpoints/web-1/drain"),
        ("GET", "/drain?pod=shop/web-1"),
    ] {
        let answer = bench.call(method, path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.error(), "tidegate is leaving: ask another replica");
    }
}

#[tokio::test]
async fn shows_metrics_and_config() {
    let (bench, _) = bench();
    let metrics = bench.call("GET", "/metrics").await;
    assert_eq!(metrics.text, "tidegate_up 1\n");
    assert_eq!(
        metrics.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let config = bench.call("GET", "/api/v1/config").await;
    assert_eq!(config.json()["last_reload"]["result"], "success");
}

#[tokio::test]
async fn shows_services() {
    let (bench, _) = bench();
    let web = json!({
        "name": "web", "source": "file", "source_up": true, "source_fault": null, "source_age_ms": 1500,
        "endpoints": [{
            "id": "web-1", "address": "10.0.0.1:80", "pod": null, "state": "ready", "reason": null, "weight": 1,
            "zone": null, "in_flight": 0, "connections": 3, "drain": null,
        }],
    });
    let all = bench.call("GET", "/api/v1/services").await;
    assert_eq!(all.json(), json!({ "services": [web.clone()] }));
    assert_eq!(all.header("content-type"), "application/json");
    assert_eq!(all.header("cache-control"), "no-store");
    assert_eq!(all.header("x-content-type-options"), "nosniff");
    assert_eq!(bench.call("GET", "/api/v1/services/web").await.json(), web);
    let unknown = bench.call("GET", "/api/v1/services/nowhere").await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown
            .error()
            .starts_with("there is no service \"nowhere\": "),
        "{}",
        unknown.text
    );
}

#[tokio::test]
async fn shows_an_endpoint_that_drains() {
    let bench = Bench::new(|request| {
        if let Ask::Service(_, answer) = request {
            let leaving = EndpointView {
                pod: Some("shop/web-1".into()),
                zone: Some("a".into()),
                state: State::Draining,
                reason: Some(Reason::Drain(Cause::Operator)),
                in_flight: 2,
                drain: Some(DrainView {
                    since: moment(0),
                    deadline: Some(moment(30)),
                    left: Some(Duration::from_millis(12_345)),
                    cut: Cut::default(),
                    cause: Cause::Operator,
                }),
                ..endpoint("web-1")
            };
            drop(answer.send(Some(service(vec![leaving]))));
        }
    });
    let mut answer = bench.call("GET", "/api/v1/services/web").await.json();
    let drain = answer["endpoints"][0]["drain"].as_object_mut().unwrap();
    assert!(drain.remove("age_ms").unwrap().is_u64());
    assert_eq!(
        answer["endpoints"],
        json!([{
            "id": "web-1", "address": "10.0.0.1:80", "pod": "shop/web-1", "state": "draining", "reason": "operator",
            "weight": 1, "zone": "a", "in_flight": 2, "connections": 3,
            "drain": {
                "since": "2026-11-22T10:00:00.250Z", "deadline": "2026-11-22T10:00:30.250Z", "left_ms": 12_345,
                "cut": {"request": 0, "stream": 0, "tunnel": 0}, "reason": "operator",
            },
        }])
    );
}

#[tokio::test]
async fn writes_large_answers_too() {
    let bench = Bench::new(|request| {
        if let Ask::Services(answer) = request {
            drop(answer.send(vec![service(vec![endpoint("web-1"); 10_000])]));
        }
    });
    let answer = bench.call("GET", "/api/v1/services").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let services: api::Services = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(services.services[0].endpoints.len(), 10_000);
}

#[tokio::test]
async fn shows_drains() {
    let (bench, _) = bench();
    let answer = bench.call("GET", "/api/v1/drains").await;
    let drains = answer.json();
    assert_eq!(drains["drains"], json!([report_json()]));
    let running = &drains["running"][0];
    assert_eq!(running["id"], "web-1");
    assert_eq!(running["outcome"], Value::Null);
    assert_eq!(running["in_flight"], 1);
    assert_eq!(
        running["held_by"],
        json!([{"route": "shop.example.com/api", "kind": "tunnel", "age_ms": 61_500}])
    );
    assert!(
        (4_900..10_000).contains(&running["age_ms"].as_u64().unwrap()),
        "{running}"
    );
    assert!(
        (15_000..25_001).contains(&running["left_ms"].as_u64().unwrap()),
        "{running}"
    );
    // What the command line reads back is what was written.
    let read: api::Drains = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), drains);
}

#[tokio::test]
async fn drains_an_endpoint() {
    let (bench, asked) = bench();
    let answer = bench
        .call("POST", "/api/v1/services/web/endpoints/web-1/drain")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({
            "service": "web", "id": "web-1", "state": "draining", "drained": false, "reason": "operator", "in_flight": 2,
            "cut": {"request": 0, "stream": 0, "tunnel": 0}, "deadline": "2026-11-22T10:00:30.250Z", "limited_by": "service",
        })
    );
    let path = "/api/v1/services/web/endpoints/a%2Fb%3A80/drain?timeout=1.5s&wait=true";
    assert_eq!(bench.call("POST", path).await.status, 200);
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("timeout: None, wait: false"), "{asked:?}");
    assert!(
        asked[1].contains("endpoint: \"a/b:80\", timeout: Some(1.5s), wait: true"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn refuses_drains_with_what_to_do() {
    let (bench, _) = bench();
    for (service, id, status, says) in [
        ("nowhere", "web-1", 404, "there is no service \"nowhere\""),
        (
            "web",
            "nobody",
            404,
            "service \"web\" has no endpoint \"nobody\"",
        ),
        (
            "web",
            "10.0.0.1:80",
            409,
            "web-1, web-2; name one by its id",
        ),
    ] {
        let answer = bench
            .call(
                "POST",
                &format!("/api/v1/services/{service}/endpoints/{id}/drain"),
            )
            .await;
        assert_eq!(answer.status, status);
        assert!(answer.error().contains(says), "{}", answer.text);
        let ids = if status == 409 {
            json!(["web-1", "web-2"])
        } else {
            Value::Null
        };
        assert_eq!(answer.json()["ids"], ids);
    }
}

#[tokio::test]
async fn puts_an_endpoint_back() {
    let (bench, asked) = bench();
    let path = |id: &str| format!("/api/v1/services/web/endpoints/{id}/drain");
    let answer = bench.call("DELETE", &path("web-1")).await;
    assert_eq!(
        answer.json(),
        json!({"service": "web", "id": "web-1", "state": "ready"})
    );
    assert_eq!(*asked.lock().unwrap(), ["web web-1"]);
    for (id, says) in [("by-source", "put it back there")] {
        let answer = bench.call("DELETE", &path(id)).await;
        assert_eq!(answer.status, 409);
        assert!(answer.error().contains(says), "{}", answer.text);
    }
}

#[tokio::test]
async fn answers_the_hook() {
    let (bench, asked) = bench();
    let here = bench.call("GET", "/drain?pod=shop/web-1").await;
    assert_eq!(here.status, 200);
    let mut here = here.json();
    assert_eq!(here["replicas"][0]["endpoints"][0]["id"], "web-1");
    here["replicas"][0]
        .as_object_mut()
        .unwrap()
        .remove("endpoints");
    assert_eq!(
        here,
        json!({"drained": false, "reason": "limit", "replicas": [{"replica": "self", "drained": false, "reason": "limit"}]})
    );
    let elsewhere = bench.call("POST", "/drain?ip=10.0.0.9&limit=10m").await;
    assert_eq!(
        elsewhere.json(),
        json!({
            "drained": true, "reason": "serves nothing here",
            "replicas": [{"replica": "self", "drained": true, "reason": "serves nothing here", "endpoints": []}],
        })
    );
    bench.call("GET", "/drain?ip=fd00::9&limit=500ms").await;
    assert_eq!(
        *asked.lock().unwrap(),
        [
            "Name(\"shop/web-1\") 25s".to_string(),
            format!("Address({:?}) 600s", IpAddr::from([10, 0, 0, 9])),
            "Address(fd00::9) 500ms".into(),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn never_holds_a_hook_beyond_its_limit() {
    let mut kept = Vec::new();
    let bench = Bench::new(move |request| kept.push(request));
    let began = tokio::time::Instant::now();
    let answer = bench.call("GET", "/drain?pod=shop/web-1&limit=3s").await;
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["drained"], false);
    assert!(answer.json()["reason"].as_str().unwrap().contains("limit"));
}

#[tokio::test(start_paused = true)]
async fn answers_reads_in_time_even_when_the_writer_does_not() {
    let mut kept = Vec::new();
    let bench = Bench::new(move |request| kept.push(request));
    let answer = bench.call("GET", "/api/v1/services").await;
    assert_eq!(answer.status, 504);
    assert_eq!(
        answer.error(),
        "no answer in time: tidegate is busy, ask again"
    );
}

#[tokio::test]
async fn reads_parameters_strictly() {
    let (bench, asked) = bench();
    let drain = "/api/v1/services/web/endpoints/web-1/drain";
    for (method, path, says) in [
        (
            "POST",
            format!("{drain}?timeout=30"),
            "parameter timeout: \"30\" has no unit",
        ),
        (
            "POST",
            format!("{drain}?timeout=soon"),
            "as 250ms, 30s or 5m",
        ),
        ("POST", format!("{drain}?timeout="), "parameter timeout"),
        (
            "POST",
            format!("{drain}?wait=yes"),
            "should be true or false",
        ),
        (
            "POST",
            format!("{drain}?timout=3s"),
            "\"timout\" is not known: this call takes timeout, wait",
        ),
        (
            "POST",
            format!("{drain}?wait=true&wait=false"),
            "given twice",
        ),
        (
            "DELETE",
            format!("{drain}?wait=true"),
            "this call takes none",
        ),
        ("GET", "/drain".into(), "pod=NAMESPACE/NAME"),
        (
            "GET",
            "/drain?pod=a/b&ip=10.0.0.1".into(),
            "one of the parameters",
        ),
        ("GET", "/drain?pod=web-1".into(), "should be NAMESPACE/NAME"),
        ("GET", "/drain?pod=a/b/c".into(), "should be NAMESPACE/NAME"),
        ("GET", "/drain?ip=web".into(), "should be an address"),
        (
            "GET",
            "/drain?pod=a/b&limit=11m".into(),
            "should be at most 10m",
        ),
        ("GET", "/drain?pod=a/b&limit=25".into(), "has no unit"),
        (
            "POST",
            "/drain?pod=a/b&wait=true".into(),
            "this call takes pod, ip, limit",
        ),
        (
            "GET",
            "/api/v1/services?state=ready".into(),
            "this call takes none",
        ),
    ] {
        let answer = bench.call(method, &path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        assert!(answer.error().contains(says), "{path}: {}", answer.text);
    }
    assert!(asked.lock().unwrap().is_empty());
    assert_eq!(bench.call("GET", "/healthz?verbose").await.status, 200);
}

#[tokio::test]
async fn knows_its_paths_and_methods() {
    let (bench, asked) = bench();
    for path in [
        "/nothing",
        "/api/v1/",
        "/api/v1/services/",
        "/api/v1/services/web/endpoints/web-1",
        "/api/v1/services/web/endpoints/web-1/undrain",
        "/api/v1/services/web/endpoints//drain",
        "/admission",
    ] {
        let answer = bench.call("GET", path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.error().starts_with("there is nothing"),
            "{}",
            answer.text
        );
    }
    for (method, path, allow) in [
        ("POST", "/healthz", "GET,HEAD"),
        ("DELETE", "/api/v1/services", "GET,HEAD"),
        ("PUT", "/drain?pod=a/b", "GET,POST"),
        ("HEAD", "/drain?pod=a/b", "GET,POST"),
        (
            "GET",
            "/api/v1/services/web/endpoints/web-1/drain",
            "POST,DELETE",
        ),
        (
            "HEAD",
            "/api/v1/services/web/endpoints/web-1/drain",
            "POST,DELETE",
        ),
        (
            "PUT",
            "/api/v1/services/web/endpoints/web-1/drain",
            "POST,DELETE",
        ),
    ] {
        let answer = bench.call(method, path).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        let allowed = answer.header("allow").replace(",HEAD", "");
        assert_eq!(allowed, allow.replace(",HEAD", ""), "{method} {path}");
        if method != "HEAD" {
            assert!(answer.error().contains("use "), "{}", answer.text);
        }
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn serves_a_page_that_needs_nobody_else() {
    let (bench, _) = bench();
    for (path, kind) in [
        ("/", "text/html"),
        ("/dashboard.js", "text/javascript"),
        ("/dashboard.css", "text/css"),
    ] {
        let answer = bench.call("GET", path).await;
        assert!(answer.header("content-type").starts_with(kind));
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        for outside in [
            "://",
            "src=\"//",
            "@import",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!answer.text.contains(outside), "{path} has {outside}");
        }
    }
}

#[tokio::test]
async fn the_probes_listener_serves_little_to_everybody() {
    let (bench, _) = bench();
    let router = probes_router(&bench.admin);
    let ask = async |path: &str| {
        let request = Request::builder()
            .uri(path)
            .header("host", "10.9.8.7:9902")
            .body(Body::empty());
        answer(router.clone(), request.unwrap()).await
    };
    for path in [
        "/healthz",
        "/readyz",
        "/lbz",
        "/metrics",
        "/drain?pod=shop/web-1",
    ] {
        assert_eq!(ask(path).await.status, 200, "{path}");
    }
    for path in [
        "/",
        "/api/v1/services",
        "/api/v1/config",
        "/api/v1/services/web/endpoints/web-1/drain",
    ] {
        assert_eq!(ask(path).await.status, 404, "{path}");
    }
}
