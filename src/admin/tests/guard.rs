use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use control::Request as Ask;
use futures_util::stream;

use super::*;

const DRAIN: &str = "/api/v1/services/web/endpoints/web-1/drain";

/// A writer that answers and counts what would change something.
fn bench(settings: Settings) -> (Bench, Arc<AtomicUsize>) {
    let changes = Arc::new(AtomicUsize::new(0));
    let counted = changes.clone();
    let bench = Bench::with(settings, move |request| match request {
        Ask::Drain(_, answer) => {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(answer.send(Ok(drain_answer())));
        }
        Ask::Undrain { answer, .. } => {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(answer.send(Err(HandleError::Leaving)));
        }
        Ask::DrainPod(_, answer) => {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(answer.send(PodAnswer {
                drained: true,
                reason: String::new(),
                endpoints: vec![],
            }));
        }
        Ask::Services(answer) => drop(answer.send(vec![])),
        _ => {}
    });
    (bench, changes)
}

async fn with(bench: &Bench, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("host", "localhost")];
    all.extend(headers);
    bench.send(method, path, &all, Body::empty()).await
}

#[tokio::test]
async fn asks_for_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, "sesame\n").unwrap();
    let (bench, changes) = bench(Settings {
        token_file: Some(file.clone()),
        ..Settings::default()
    });
    for headers in [
        &[][..],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Bearer sesame2")],
        &[("authorization", "Basic sesame")],
        &[
            ("authorization", "Bearer sesame"),
            ("authorization", "Bearer wrong"),
        ],
    ] {
        for method in ["POST", "DELETE"] {
            let answer = with(&bench, method, DRAIN, headers).await;
            assert_eq!(answer.status, 401, "{method} {headers:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert!(answer.error().contains("--token-file"), "{}", answer.text);
            assert!(!answer.text.contains("sesame"), "{}", answer.text);
        }
    }
    assert_eq!(changes.load(Ordering::Relaxed), 0);
    let sesame = [("authorization", "Bearer sesame")];
    assert_eq!(with(&bench, "POST", DRAIN, &sesame).await.status, 200);
    // Reads and the hook need none.
    assert_eq!(bench.call("GET", "/api/v1/services").await.status, 200);
    assert_eq!(bench.call("GET", "/drain?pod=a/b").await.status, 200);
    assert_eq!(bench.call("POST", "/drain?pod=a/b").await.status, 200);

    fs::write(&file, "tahini").unwrap();
    assert_eq!(with(&bench, "POST", DRAIN, &sesame).await.status, 401);
    let tahini = [("authorization", "bearer tahini")];
    assert_eq!(with(&bench, "POST", DRAIN, &tahini).await.status, 200);
    for empty in ["", " \n"] {
        fs::write(&file, empty).unwrap();
        for headers in [&tahini[..], &[], &[("authorization", "Bearer ")]] {
            assert_eq!(with(&bench, "POST", DRAIN, headers).await.status, 403);
        }
    }
    fs::remove_file(&file).unwrap();
    let refused = with(&bench, "POST", DRAIN, &tahini).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused
            .error()
            .contains("admin.token_file is missing or empty"),
        "{}",
        refused.text
    );
}

#[tokio::test]
async fn asks_for_no_token_where_none_is_configured() {
    let (bench, _) = bench(Settings::default());
    assert_eq!(bench.call("POST", DRAIN).await.status, 200);
}

#[tokio::test]
async fn knows_its_host() {
    let (bench, changes) = bench(Settings::default());
    for (hosts, status) in [
        (&["localhost:9901"][..], 200),
        (&["127.0.0.1:9901"], 200),
        (&["[::1]"], 200),
        (&[], 400),
        (&["localhost", "localhost"], 400),
        (&["local host"], 400),
        (&["user@localhost"], 400),
        (&["evil.example"], 403),
        (&["10.0.0.1:9901"], 403),
    ] {
        let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let answer = bench.send("GET", "/healthz", &headers, Body::empty()).await;
        assert_eq!(answer.status, status, "{hosts:?}");
        if status == 403 {
            assert!(answer.error().contains("admin.hosts"), "{}", answer.text);
        }
    }
    // The authority of an absolute target replaces the header.
    let absolute = |host| bench.send("GET", host, &[("host", "localhost")], Body::empty());
    assert_eq!(absolute("http://evil.example/healthz").await.status, 403);
    assert_eq!(absolute("http://localhost/healthz").await.status, 200);
    // Nothing is done, and nothing is told of what there is.
    for path in [DRAIN, "/drain?pod=a/b", "/nothing"] {
        let evil = [("host", "evil.example")];
        assert_eq!(
            bench.send("POST", path, &evil, Body::empty()).await.status,
            403
        );
    }
    assert_eq!(changes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn takes_new_names_from_a_reload() {
    let (bench, _) = bench(Settings::default());
    let ask = || {
        bench.send(
            "GET",
            "/healthz",
            &[("host", "tide.example:9901")],
            Body::empty(),
        )
    };
    assert_eq!(ask().await.status, 403);
    bench.settings.send_replace(Arc::new(Settings {
        hosts: vec!["tide.example".into()],
        ..Settings::default()
    }));
    assert_eq!(ask().await.status, 200);
}

#[tokio::test]
async fn refuses_other_sites_pages() {
    let (bench, changes) = bench(Settings::default());
    for header in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:3000"),
        ("origin", "localhost"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        for (method, path) in [
            ("POST", DRAIN),
            ("DELETE", DRAIN),
            ("GET", "/drain?pod=a/b"),
            ("POST", "/drain?pod=a/b"),
        ] {
            let answer = with(&bench, method, path, &[header]).await;
            assert_eq!(answer.status, 403, "{method} {path} {header:?}");
            assert!(answer.error().contains("another site"), "{}", answer.text);
        }
        assert_eq!(
            with(&bench, "GET", "/api/v1/services", &[header])
                .await
                .status,
            200
        );
    }
    assert_eq!(changes.load(Ordering::Relaxed), 0);
    let own = [
        ("origin", "http://localhost"),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(with(&bench, "POST", DRAIN, &own).await.status, 200);
    let typed = [("sec-fetch-site", "none")];
    assert_eq!(
        with(&bench, "GET", "/drain?pod=a/b", &typed).await.status,
        200
    );
}

#[tokio::test]
async fn takes_bodies_within_bounds() {
    let (bench, changes) = bench(Settings::default());
    let local = [("host", "localhost")];
    let whole = |bytes: usize| Body::from(vec![b'x'; bytes]);
    let pieces = |count: usize| {
        let piece = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024]));
        Body::from_stream(stream::iter((0..count).map(move |_| piece())))
    };
    assert_eq!(
        bench
            .send("POST", DRAIN, &local, whole(65_536))
            .await
            .status,
        200
    );
    assert_eq!(
        bench.send("POST", DRAIN, &local, pieces(64)).await.status,
        200
    );
    let before = changes.load(Ordering::Relaxed);
    for body in [whole(65_537), pieces(65)] {
        let answer = bench.send("POST", DRAIN, &local, body).await;
        assert_eq!(answer.status, 413);
        assert!(answer.error().contains("65536 bytes"), "{}", answer.text);
    }
    let broken = stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
    let answer = bench
        .send("POST", DRAIN, &local, Body::from_stream(broken))
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(changes.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn waits_for_no_body() {
    let (bench, changes) = bench(Settings::default());
    let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = bench
        .send("POST", DRAIN, &[("host", "localhost")], silent)
        .await;
    assert_eq!(answer.status, 408);
    assert_eq!(changes.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn bounds_the_calls_of_a_second_and_never_refuses_what_watches() {
    let (bench, changes) = bench(Settings {
        calls_per_second: 5,
        ..Settings::default()
    });
    let mut last = bench.call("GET", "/api/v1/services").await;
    for _ in 0..5 {
        assert_eq!(last.status, 200);
        last = bench.call("GET", "/api/v1/services").await;
    }
    assert_eq!((last.status, last.header("retry-after")), (429, "1"));
    assert!(last.error().contains("admin.calls_per_second"));
    assert_eq!(bench.call("POST", DRAIN).await.status, 429);
    assert_eq!(changes.load(Ordering::Relaxed), 0);
    for path in ["/healthz", "/metrics"] {
        assert_eq!(bench.call("GET", path).await.status, 200, "{path}");
    }
    let hook = "/drain?pod=shop/web-1";
    assert_eq!(bench.call("POST", hook).await.status, 200, "of its own");
    // A page of somebody else's takes nothing from anybody.
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    for _ in 0..10 {
        let foreign = [("host", "evil.example")];
        let refused = bench.send("GET", "/", &foreign, Body::empty()).await;
        assert_eq!(refused.status, 403);
    }
    assert_eq!(bench.call("GET", "/api/v1/services").await.status, 200);
    assert_eq!(bench.admin.rates.refused(), [("api", 2), ("hook", 0)]);
}
