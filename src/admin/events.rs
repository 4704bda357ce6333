//! The stream of events, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::broadcast::error::RecvError;

use super::guard::Connection;
use super::{Admin, api};

/// Everything that happens from now on: the listening has begun before the head of the answer is sent.
pub(super) async fn stream(
    State(admin): State<Admin>,
    Extension(connection): Extension<Connection>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = admin.handle.events();
    let stream = stream::unfold((events, connection.stop), |(mut events, stop)| async move {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            event = events.recv() => match event {
                Ok(event) => written(&api::Event::from(&*event)),
                Err(RecvError::Lagged(lost)) => Event::default().comment(format!("{lost} events lost: too slow")),
                Err(RecvError::Closed) => return None,
            },
        };
        Some((Ok(event), (events, stop)))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn written(event: &api::Event) -> Event {
    Event::default()
        .json_data(event)
        .unwrap_or_else(|error| Event::default().comment(error.to_string()))
}

/// A comment is sent after so long a silence, so that nobody in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
