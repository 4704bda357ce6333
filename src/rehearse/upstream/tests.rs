use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::*;
use crate::rehearse::client::Connection;

const LIMIT: Duration = Duration::from_secs(10);

async fn upstream(id: &str, at: Option<SocketAddr>) -> Upstream {
    Upstream::start(id.into(), at, Arc::default())
        .await
        .unwrap()
}

async fn connect(upstream: &Upstream) -> Connection {
    Connection::open(upstream.face().address, &TaskTracker::new())
        .await
        .unwrap()
}

fn request(path: &str, number: u64) -> Request<UnsyncBoxBody<Bytes, io::Error>> {
    Request::post(path)
        .header("host", "test")
        .header(NUMBER, number)
        .body(
            Full::new(Bytes::from_static(b"12345"))
                .map_err(|never| match never {})
                .boxed_unsync(),
        )
        .unwrap()
}

fn header<'a>(response: &'a Response<Incoming>, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

#[tokio::test]
async fn answers_who_it_is_and_in_which_phase() {
    let upstream = upstream("a-1", None).await;
    let mut connection = connect(&upstream).await;
    let first = connection.send(request("/upload", 1)).await.unwrap();
    assert_eq!(header(&first, ENDPOINT), "a-1");
    assert_eq!(header(&first, PHASE), "running");
    assert_eq!(header(&first, RECEIVED), "5");
    assert_eq!(header(&first, "x-connection-request"), "1");
    first.into_body().collect().await.unwrap();
    assert!(connection.is_kept().await);

    upstream.leave();
    let second = connection.send(request("/", 2)).await.unwrap();
    assert_eq!(header(&second, PHASE), "draining");
    assert_eq!(header(&second, "x-connection"), "1");
    assert_eq!(header(&second, "x-connection-request"), "2");
    assert_eq!(upstream.face().requests(), 2);
}

#[tokio::test]
async fn streams_whole_bodies_and_aborts_others() {
    let upstream = upstream("a-1", None).await;
    let mut connection = connect(&upstream).await;
    let path = "/stream?chunks=3&every=1ms&size=10";
    let whole = connection.send(request(path, 1)).await.unwrap();
    assert_eq!(header(&whole, BYTES), "30");
    assert_eq!(upstream.face().in_flight(), 1);
    let body = whole.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes().len(), 30);
    assert_eq!(upstream.face().in_flight(), 0);

    assert!(connection.is_kept().await);
    let broken = connection
        .send(request("/abort?chunks=2", 2))
        .await
        .unwrap();
    assert!(broken.into_body().collect().await.is_err());

    let mut connection = connect(&upstream).await;
    assert!(connection.send(request("/drop", 3)).await.is_err());
    let mut connection = connect(&upstream).await;
    let refused = connection.send(request("/status?code=503", 4)).await;
    assert_eq!(refused.unwrap().status(), 503);
}

#[tokio::test]
async fn finishes_what_is_in_flight_and_frees_its_address() {
    let first = upstream("a-1", None).await;
    let address = first.face().address;
    let mut idle = connect(&first).await;
    let answered = idle.send(request("/", 1)).await.unwrap();
    answered.into_body().collect().await.unwrap();
    let mut busy = connect(&first).await;
    let slow = request("/stream?chunks=5&every=20ms", 2);
    let response = busy.send(slow).await.unwrap();

    let (stopped, body) = tokio::join!(first.stop(LIMIT), response.into_body().collect());
    assert!(stopped);
    assert_eq!(body.unwrap().to_bytes().len(), 5 * 1024);
    assert!(!idle.is_kept().await);
    let second = upstream("a-2", Some(address)).await;
    assert_eq!(second.face().address, address);
}

#[tokio::test]
async fn gives_up_what_does_not_finish() {
    let upstream = upstream("a-1", None).await;
    let mut busy = connect(&upstream).await;
    let endless = request("/stream?chunks=100&every=60s", 1);
    let _response = busy.send(endless).await.unwrap();
    assert!(!upstream.stop(Duration::from_millis(1)).await);
}

#[tokio::test]
async fn tells_late_arrivals_from_those_that_were_on_their_way() {
    let upstream = upstream("a-1", None).await;
    let face = Arc::clone(upstream.face());
    let mut connection = connect(&upstream).await;
    let mut send = async |number| {
        let response = connection.send(request("/", number)).await.unwrap();
        response.into_body().collect().await.unwrap();
        assert!(connection.is_kept().await);
    };
    send(0).await;
    let told = Instant::now();
    upstream.leave();
    send(1).await;
    // Number 2 was written before the acknowledgement, and read after it.
    let mark = Mark {
        at: Instant::now(),
        number: 3,
    };
    send(2).await;
    upstream.settle().await.unwrap();
    let settled = Instant::now();
    assert_eq!(face.late(mark, settled), 0);
    assert_eq!(face.in_between(told, Some((mark, settled))), 2);

    // Written after the acknowledgement, and early enough not to be told apart by its arrival.
    send(3).await;
    assert_eq!(face.late(mark, Instant::now()), 1);
    assert_eq!(face.late(mark, settled), 1);
    // As old as it says it is, but nothing takes that long.
    send(0).await;
    assert_eq!(face.late(mark, settled), 2);
    assert_eq!(face.in_between(told, Some((mark, settled))), 2);
}

#[tokio::test]
async fn notes_posts_that_arrive_again_anywhere() {
    let ledger = Arc::new(Ledger::default());
    let mut upstreams = Vec::new();
    for id in ["a-1", "a-2"] {
        let upstream = Upstream::start(id.into(), None, Arc::clone(&ledger));
        upstreams.push(upstream.await.unwrap());
    }
    for upstream in &upstreams {
        upstream.settle().await.unwrap();
        assert_eq!(upstream.face().requests(), 0);
        let mut connection = connect(upstream).await;
        connection.send(request("/", 7)).await.unwrap();
    }
    assert_eq!(ledger.repeated(), 1);
}
