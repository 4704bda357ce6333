//! The whole router, against a writer that the test plays.

mod calls;
mod guard;
mod stream;

use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::control::{
    self, DrainAnswer, DrainView, DrainsView, EndpointView, HandleError, Holder, PodAnswer, Reason,
    RunningDrain, ServiceView, State, UndrainAnswer,
};
use crate::drain::{Cause, Counts, Cut, LimitedBy, Outcome, Report, StartedAfter};
use crate::endpoint::EndpointId;

/// An admin side whose writer is a function.
struct Bench {
    admin: Admin,
    settings: watch::Sender<Arc<Settings>>,
    router: Router,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().into()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

impl Bench {
    fn new(writer: impl FnMut(control::Request) + Send + 'static) -> Self {
        Self::with(Settings::default(), writer)
    }

    fn with(settings: Settings, mut writer: impl FnMut(control::Request) + Send + 'static) -> Self {
        let (handle, mut asked) = Handle::scripted();
        tokio::spawn(async move {
            while let Some(request) = asked.recv().await {
                writer(request);
            }
        });
        let (settings, watched) = watch::channel(Arc::new(settings));
        let admin = Admin {
            handle,
            probes: Arc::new(Probes {
                accepting: AtomicBool::new(true),
                ..Probes::default()
            }),
            settings: watched,
            metrics: Arc::new(|| Box::pin(async { "tidegate_up 1\n".to_string() })),
            config: Arc::new(
                || json!({"config": {"workers": 2}, "last_reload": {"result": "success"}}),
            ),
            others: Arc::new(|| Ok(Vec::new())),
            admissions: Admissions::default(),
            rates: Rates::default(),
        };
        let router = router(&admin);
        Self {
            admin,
            settings,
            router,
        }
    }

    /// One request with `Host: localhost`, by a connection to 127.0.0.1.
    async fn call(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, &[("host", "localhost")], Body::empty())
            .await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(self.router.clone(), request.body(body).unwrap()).await
    }
}

async fn answer(router: Router, mut request: Request<Body>) -> Answer {
    request.extensions_mut().insert(super::guard::Connection {
        local: "127.0.0.1:9901".parse().ok(),
        stop: CancellationToken::new(),
    });
    let response = router.oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let text = body.collect().await.unwrap().to_bytes();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        text: String::from_utf8(text.to_vec()).unwrap(),
    }
}

/// A moment: 2026-11-22T10:00:00.250Z and so many seconds.
fn moment(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_341_600_250) + Duration::from_secs(seconds)
}

fn endpoint(id: &str) -> EndpointView {
    EndpointView {
        key: id.into(),
        life: EndpointId::next(),
        address: "10.0.0.1:80".parse().unwrap(),
        pod: None,
        state: State::Ready,
        reason: None,
        weight: 1,
        zone: None,
        in_flight: 0,
        connections: 3,
        drain: None,
    }
}

fn service(endpoints: Vec<EndpointView>) -> ServiceView {
    ServiceView {
        name: "web".into(),
        source: "file",
        source_up: true,
        source_fault: None,
        source_age: Some(Duration::from_millis(1500)),
        endpoints,
    }
}

fn drain_answer() -> DrainAnswer {
    DrainAnswer {
        service: "web".into(),
        key: "web-1".into(),
        state: State::Draining,
        drained: false,
        reason: "operator",
        in_flight: 2,
        cut: Cut::default(),
        deadline: Some(moment(30)),
        limited_by: Some(LimitedBy::Service),
    }
}

fn report() -> Report {
    Report {
        service: "web".into(),
        key: "web-1".into(),
        life: EndpointId::next(),
        address: "10.0.0.1:80".parse().unwrap(),
        pod: Some("shop/web-1".into()),
        cause: Cause::Hook,
        seen: vec![(Cause::Hook, moment(0)), (Cause::Source, moment(1))],
        since: moment(0),
        deadline: Some(moment(30)),
        limited_by: LimitedBy::Pod,
        in_flight_at_start: 4,
        counts: Counts {
            finished: 2,
            retried: 1,
            cut: Cut {
                request: 1,
                stream: 0,
                tunnel: 0,
            },
            started_after: StartedAfter {
                fallback: 3,
                affinity: 0,
            },
        },
        ended: Some(moment(30)),
        took: Some(Duration::from_millis(30_010)),
        outcome: Some(Outcome::Cut),
    }
}
