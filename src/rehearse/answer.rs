//! What an endpoint answers.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;

use super::script::{Drip, Script};
use super::upstream::{BYTES, ENDPOINT, Face, NUMBER, PHASE, Phase, RECEIVED, Work};

/// Does what a request asks. An error closes the connection.
pub(super) async fn answer(
    face: Arc<Face>,
    connection: u64,
    nth: u64,
    request: Request<Incoming>,
) -> io::Result<Response<UnsyncBoxBody<Bytes, io::Error>>> {
    let script = Script::read(request.uri().path(), request.uri().query().unwrap_or(""));
    if script == Script::Settle {
        return Ok(Response::new(whole(String::new())));
    }
    let number = request
        .headers()
        .get(NUMBER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let (phase, work) = face.arrive(number, request.method() == Method::POST);
    let received = read(request.into_body()).await?;
    let response = Response::builder()
        .header(ENDPOINT, &face.id)
        .header(PHASE, phase.as_str())
        .header("x-connection", connection)
        .header("x-connection-request", nth)
        .header(RECEIVED, received);
    let response = match script {
        Script::Drop => return Err(io::ErrorKind::ConnectionAborted.into()),
        Script::Status(code) => response
            .status(StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE))
            .body(whole(format!("{} was asked to answer {code}\n", face.id))),
        Script::Stream(drip) => response
            .header(BYTES, drip.bytes())
            .body(dripping(drip, false, work)),
        Script::Abort(drip) => response
            .header(BYTES, drip.bytes() + 1)
            .body(dripping(drip, true, work)),
        Script::Slow(pause) => {
            tokio::time::sleep(pause).await;
            response.body(whole(greeting(&face, phase)))
        }
        Script::Quick | Script::Upload | Script::Settle => {
            response.body(whole(greeting(&face, phase)))
        }
    };
    response.map_err(io::Error::other)
}

async fn read(mut body: Incoming) -> io::Result<u64> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
    Ok(bytes)
}

fn greeting(face: &Face, phase: Phase) -> String {
    format!(
        "This is {} at {}, {}.\n",
        face.id,
        face.address,
        phase.as_str()
    )
}

fn whole(text: String) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn dripping(drip: Drip, abort: bool, work: Work) -> UnsyncBoxBody<Bytes, io::Error> {
    let chunk = Bytes::from(vec![b'~'; drip.size]);
    let chunks = stream::unfold((0, work), move |(sent, work)| {
        let chunk = chunk.clone();
        async move {
            if sent > 0 {
                tokio::time::sleep(drip.every).await;
            }
            match sent.cmp(&drip.chunks) {
                std::cmp::Ordering::Less => Some((Ok(Frame::data(chunk)), (sent + 1, work))),
                std::cmp::Ordering::Equal if abort => Some((
                    Err(io::ErrorKind::ConnectionAborted.into()),
                    (sent + 1, work),
                )),
                _ => None,
            }
        }
    });
    StreamBody::new(chunks).boxed_unsync()
}
