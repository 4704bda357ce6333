//! One HTTP/1.1 connection of a client, with a plain answer to the question that matters: was the request written?

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<UnsyncBoxBody<Bytes, io::Error>>,
}

/// There was no response.
#[derive(Debug, Error)]
pub(super) enum Unanswered {
    /// The connection was closed before a byte was written; here is the request.
    #[error("the connection was closed before the request was written")]
    Unsent(Box<Request<UnsyncBoxBody<Bytes, io::Error>>>),
    /// The request, or a part of it, was written.
    #[error("{0}")]
    Sent(hyper::Error),
}

impl Connection {
    /// Connects. The connection is driven by a task of `tasks` and ends once it is dropped.
    pub(super) async fn open(address: SocketAddr, tasks: &TaskTracker) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "client connection ended");
            }
        });
        Ok(Self { sender })
    }

    /// Whether it can take a request, as far as is known.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Returns once the last exchange is over. Whether another may follow.
    pub(super) async fn is_kept(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Sends a request and returns the head of its response.
    pub(super) async fn send(
        &mut self,
        request: Request<UnsyncBoxBody<Bytes, io::Error>>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let sent = self.sender.try_send_request(request).await;
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Unanswered::Unsent(Box::new(request)),
            None => Unanswered::Sent(error.into_error()),
        })
    }
}
