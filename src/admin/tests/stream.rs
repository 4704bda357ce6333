use control::EventKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::admin::serve::{Until, serve, serve_up_to};

/// The admin side on a socket.
struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    until: Until,
    serving: JoinHandle<std::io::Result<()>>,
}

fn served(bench: &Bench) -> Served {
    let listener = bind(&"127.0.0.1:0".parse().unwrap(), 0o600, Owners::default()).unwrap();
    let stop = CancellationToken::new();
    let until = Until::stopped(stop.clone());
    Served {
        address: listener.tcp().unwrap(),
        serving: tokio::spawn(serve(listener, bench.router.clone(), until.clone())),
        stop,
        until,
    }
}

async fn opened(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn until(stream: &mut TcpStream, mark: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(mark) {
        let got = stream.read_buf(&mut read).await.unwrap();
        assert!(got > 0, "ended after {:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

const GET_EVENTS: &str = "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn streams_events() {
    let bench = Bench::new(drop);
    let served = served(&bench);
    let mut stream = opened(served.address, GET_EVENTS).await;
    // The head comes before there is anything to tell, and nothing is lost that happens after it.
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let (service, key) = ("web".into(), "web-1".into());
    bench.admin.handle.tell(EventKind::State {
        service,
        key,
        from: Some(State::Ready),
        to: State::Draining,
        reason: Some(Reason::Fallback),
    });
    let text = until(&mut stream, "\n\n").await;
    let line = text
        .lines()
        .find(|line| line.starts_with("data: "))
        .unwrap();
    assert!(!text.contains("event: "), "{text}");
    let mut event: Value = serde_json::from_str(&line["data: ".len()..]).unwrap();
    let time = event.as_object_mut().unwrap().remove("time").unwrap();
    assert!(
        humantime::parse_rfc3339(time.as_str().unwrap()).is_ok(),
        "{time}"
    );
    assert_eq!(
        event,
        json!({
            "event": "state", "service": "web", "endpoint": "web-1", "from": "ready", "to": "draining", "reason": "fallback",
            "report": null,
        })
    );
    // At the end the stream is closed properly, and so is the listener.
    served.stop.cancel();
    assert!(until(&mut stream, "0\r\n\r\n").await.ends_with("0\r\n\r\n"));
    served.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn after_a_hand_over_streams_end_and_calls_are_answered() {
    let (hold, held) = tokio::sync::oneshot::channel();
    let mut held = Some(held);
    let bench = Bench::new(move |request| {
        if let (control::Request::DrainPod(_, answer), Some(held)) = (request, held.take()) {
            tokio::spawn(async move {
                let _: Result<(), _> = held.await;
                drop(answer.send(crate::control::PodAnswer {
                    drained: true,
                    reason: String::new(),
                    endpoints: Vec::new(),
                }));
            });
        }
    });
    let served = served(&bench);
    let ask = |path| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut events = opened(served.address, &ask("/api/v1/events")).await;
    until(&mut events, "\r\n\r\n").await;
    let mut idle = opened(served.address, &ask("/healthz")).await;
    until(&mut idle, "ok\n").await;
    let mut hook = opened(served.address, &ask("/drain?ip=10.0.0.1")).await;
    // Asked on another connection, it is answered after the hook has been read.
    let mut other = opened(served.address, &ask("/healthz")).await;
    until(&mut other, "ok\n").await;
    served.until.hand_over();
    for stream in [&mut events, &mut idle, &mut other] {
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    }
    assert!(TcpStream::connect(served.address).await.is_err());
    hold.send(()).unwrap();
    assert!(until(&mut hook, "}").await.contains("\"drained\":true"));
    served.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn shapes_every_kind_of_event() {
    let of = |kind| {
        let event = api::Event::from(&control::Event {
            time: moment(0),
            kind,
        });
        let mut event = serde_json::to_value(event).unwrap();
        assert_eq!(event["time"], "2026-11-22T10:00:00.250Z");
        event
            .as_object_mut()
            .unwrap()
            .retain(|key, value| key != "time" && !value.is_null());
        event
    };
    let mut end = of(EventKind::DrainEnd(Arc::new(report())));
    assert_eq!(end["report"]["outcome"], "cut");
    end.as_object_mut().unwrap().remove("report");
    assert_eq!(
        end,
        json!({"event": "drain_end", "service": "web", "endpoint": "web-1", "reason": "hook"})
    );
    assert_eq!(
        of(EventKind::DrainStart(Arc::new(report())))["event"],
        "drain_start"
    );
    assert_eq!(
        of(EventKind::Source {
            service: "web".into(),
            to: "down",
            reason: Some("gone".into())
        }),
        json!({"event": "source", "service": "web", "to": "down", "reason": "gone"})
    );
    assert_eq!(
        of(EventKind::Config {
            to: "success",
            reason: None
        }),
        json!({"event": "config", "to": "success"})
    );
}

#[tokio::test(start_paused = true)]
async fn keeps_a_silent_stream_alive() {
    let bench = Bench::new(drop);
    let served = served(&bench);
    let mut stream = opened(served.address, GET_EVENTS).await;
    until(&mut stream, "\r\n\r\n").await;
    let began = tokio::time::Instant::now();
    assert!(until(&mut stream, "\n\n").await.contains("\r\n:"));
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn tells_a_slow_listener_what_it_missed() {
    let bench = Bench::new(drop);
    let served = served(&bench);
    let mut stream = opened(served.address, GET_EVENTS).await;
    until(&mut stream, "\r\n\r\n").await;
    for _ in 0..100 {
        bench.admin.handle.tell(EventKind::Config {
            to: "success",
            reason: None,
        });
    }
    let text = until(&mut stream, "}\n\n").await;
    assert!(text.contains("events lost: too slow"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn gives_slow_clients_up() {
    let bench = Bench::new(drop);
    let served = served(&bench);
    let silent = "";
    let slow = "GET /healthz HTTP/1.1\r\nhost: loc";
    let idle = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for text in [silent, slow, idle] {
        let mut stream = opened(served.address, text).await;
        let began = tokio::time::Instant::now();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        let took = began.elapsed().as_secs_f64();
        assert!(
            (9.9..10.5).contains(&took),
            "{text:?} was kept for {took} s"
        );
    }
}

#[tokio::test]
async fn answers_a_body_that_is_too_large() {
    let bench = Bench::new(drop);
    let served = served(&bench);
    let text = "POST /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 70000\r\n\r\n";
    let mut stream = opened(served.address, text).await;
    assert!(
        until(&mut stream, "\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 413 ")
    );
}

#[tokio::test]
async fn says_why_it_cannot_listen() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(&address.into(), 0o600, Owners::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("{address}: the port is taken: ")),
        "{error}"
    );
    let elsewhere = bind(&"192.0.2.1:0".parse().unwrap(), 0o600, Owners::default())
        .unwrap_err()
        .to_string();
    assert!(
        elsewhere.contains("not an address of this machine"),
        "{elsewhere}"
    );
}

#[tokio::test]
async fn closes_connections_beyond_its_limit() {
    let bench = Bench::new(drop);
    let listener = bind(&"127.0.0.1:0".parse().unwrap(), 0o600, Owners::default()).unwrap();
    let address = listener.tcp().unwrap();
    tokio::spawn(serve_up_to(
        1,
        listener,
        bench.router.clone(),
        Until::stopped(CancellationToken::new()),
    ));
    let get = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut first = opened(address, get).await;
    until(&mut first, "ok\n").await;
    // A reset or a plain end, as the bytes cross.
    let mut rest = Vec::new();
    let _ = opened(address, get).await.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    first.write_all(get.as_bytes()).await.unwrap();
    until(&mut first, "ok\n").await;
}
