//! The admin's listener: HTTP/1 connections, with limits on their number and on every wait for the client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::guard::Connection;
use super::listen::{Listener, Socket};
use super::spare::{Lent, Spares};

/// When it ends.
#[derive(Debug, Clone)]
pub struct Until {
    /// Accepts no more: streams end, and each connection ends with the answer that it waits for.
    handed_over: CancellationToken,
    /// Calls under way have a moment to be answered, and it returns.
    stop: CancellationToken,
}

impl Until {
    /// Until it is stopped.
    #[must_use]
    pub fn stopped(stop: CancellationToken) -> Self {
        Self {
            handed_over: stop.child_token(),
            stop,
        }
    }

    /// Another process accepts on the same sockets.
    pub fn hand_over(&self) {
        self.handed_over.cancel();
    }
}

/// Serves connections until told to stop.
///
/// # Errors
/// When the socket cannot be given to the runtime; nothing that a client does ends it.
pub async fn serve(listener: Listener, router: Router, until: Until) -> io::Result<()> {
    serve_up_to(CONNECTIONS_MAX, listener, router, until).await
}

pub(super) async fn serve_up_to(
    most: usize,
    listener: Listener,
    router: Router,
    until: Until,
) -> io::Result<()> {
    let listener = listener.accepting()?;
    let places = Arc::new(Semaphore::new(most));
    let connections = TaskTracker::new();
    let spares = Spares::new()?;
    loop {
        let accepted = tokio::select! {
            biased;
            () = until.handed_over.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                spares.survive(&error).await;
                continue;
            }
        };
        // Refused at once rather than left waiting: whoever asks can tell, and ask another replica.
        let Ok(place) = places.clone().try_acquire_owned() else {
            warn!("an admin connection is closed: there are too many");
            continue;
        };
        let (router, until, lender) = (router.clone(), until.clone(), spares.clone());
        connections.spawn(async move {
            if let Err(error) = connection(stream, lender, router, until).await {
                debug!(%error, "an admin connection failed");
            }
            drop(place);
        });
        spares.refill();
    }
    // Whoever comes now comes to the other process, if there is one.
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn connection(
    stream: Socket,
    spares: Arc<Spares>,
    router: Router,
    until: Until,
) -> Result<(), hyper::Error> {
    let mut local = None;
    if let Socket::Left(stream) = &stream {
        // A socket that takes no options still works; a client that does not take its answer is given up by the system.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNREAD_MAX));
        let Ok(address) = stream.local_addr() else {
            return Ok(());
        };
        local = Some(address);
    }
    let stream = Lent::new(stream, spares);
    let known = Connection {
        local,
        stop: until.handed_over.clone(),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(known.clone());
        router.clone().oneshot(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        biased;
        served = serving.as_mut() => return served,
        () = until.handed_over.cancelled() => {}
    }
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        served = serving.as_mut() => return served,
        () = until.stop.cancelled() => {}
    }
    // An error means that the time is over: what is still asked, nobody can answer any more.
    tokio::time::timeout(LAST_MOMENT, serving)
        .await
        .unwrap_or(Ok(()))
}

/// Open connections; hooks and event streams hold theirs for as long as they wait.
const CONNECTIONS_MAX: usize = 2048;
/// To the whole head of a request, from the beginning of a connection or the end of the answer before.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEADER_BYTES: usize = 64 * 1024;
/// A client that takes nothing of its answer for so long is gone.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// For calls under way when the listener stops.
const LAST_MOMENT: Duration = Duration::from_millis(500);
