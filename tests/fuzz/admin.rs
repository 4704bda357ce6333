//! Bytes at the admin side: whatever is asked is answered, and without the token nothing changes.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tidegate::admin::{Admin, Admissions, Probes, Rates, Settings, router};
use tidegate::control::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::dice::{Change, PIECES, changed, pick, time};
use crate::world::{World, everything, play};

const SEEDS: [&str; 14] = [
    "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /api/v1/services HTTP/1.1\r\nhost: 127.0.0.1:9901\r\n\r\n",
    "GET /api/v1/services/service-0 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "POST /api/v1/services/service-0/endpoints/10.0.0.1:80/drain HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer wrong\r\n\r\n",
    "POST /api/v1/services/service-0/endpoints/10.0.0.1:80/drain?timeout=1s&wait=true HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "DELETE /api/v1/services/service-0/endpoints/10.0.0.1%3a80/drain HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost\r\n\r\n",
    "GET /api/v1/drains HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /api/v1/config HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /drain?pod=shop/none&limit=1ms HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "POST /drain?ip=10.9.9.9 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello",
    "POST /admission HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}",
    "PUT /api/v1/services/service-0/endpoints/10.0.0.1:80/drain HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
];

thread_local! {
    static TOKEN: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

/// A file with a token that no seed knows.
fn token() -> PathBuf {
    TOKEN.with(|dir| {
        let mut dir = dir.borrow_mut();
        let dir = dir.get_or_insert_with(|| tempfile::TempDir::new().unwrap());
        let file = dir.path().join("token");
        if !file.exists() {
            std::fs::write(&file, "a token that nobody guesses\n").unwrap();
        }
        file
    })
}

async fn ask(world: &World, bytes: &[u8]) -> Vec<u8> {
    let settings = Settings {
        token_file: Some(token()),
        ..Settings::default()
    };
    let (_settings, watched) = watch::channel(Arc::new(settings));
    let admin = Admin {
        handle: world.handle.clone(),
        probes: Arc::new(Probes::default()),
        settings: watched,
        metrics: Arc::new(|| Box::pin(async { "tidegate_up 1\n".to_owned() })),
        config: Arc::new(|| json!({})),
        others: Arc::new(|| Ok(Vec::new())),
        admissions: Admissions::default(),
        rates: Rates::default(),
    };
    let router = router(&admin);
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(far), service);
    let mut heard = Vec::new();
    let talking = async {
        // Whoever has had enough says why.
        let _ = near.write_all(bytes).await;
        let _ = near.shutdown().await;
        while let Ok(1..) = near.read_buf(&mut heard).await {}
    };
    // An event stream has no end of its own.
    let both = async { tokio::join!(talking, serving) };
    let _ = tokio::time::timeout(Duration::from_secs(30), both).await;
    heard
}

#[test]
fn whatever_is_asked_is_answered_and_changes_nothing() {
    bolero::check!()
        .with_type::<(u8, Vec<Change>)>()
        .with_iterations(usize::MAX)
        .with_test_time(time())
        .for_each(|(seed, changes)| {
            let bytes = changed(pick(&SEEDS, *seed).as_bytes(), changes, &PIECES);
            play(everything, async |world| {
                let heard = ask(world, &bytes).await;
                let text = String::from_utf8_lossy(&heard);
                if let Some(status) = text
                    .strip_prefix("HTTP/1.1 ")
                    .and_then(|rest| rest.get(..3))
                {
                    assert!(!status.starts_with('5') || status == "503", "{text}");
                }
                let service = world.handle.service("service-0").await.unwrap();
                let states: Vec<State> = service
                    .endpoints
                    .iter()
                    .map(|endpoint| endpoint.state)
                    .collect();
                assert_eq!(states, [State::Ready], "{}", bytes.escape_ascii());
            });
        });
}
