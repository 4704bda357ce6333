//! How a connection comes about: connect, TLS, and for HTTP/2 the first words, all within `connect_timeout`. Nothing of a
//! request is written by any of it, so that whatever fails here sends any method elsewhere (P10).
//!
//! For HTTP/1.1 each request opens a connection of its own, by its own task. A connection that many will share is opened
//! by a task of nobody's, and those who wait for it watch the [`Dial`].

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use thiserror::Error;
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::http2::{self, Drive, Shared};
use super::{Connection, Permit, Pool, Slot, h1};
use crate::clock::Task;
use crate::net::tls::UpstreamTlsError;

/// A connection that is being opened for all who wait.
#[derive(Debug, Default)]
pub struct Dial {
    outcome: Cell<Option<Result<(), NotOpened>>>,
    waiting: std::cell::RefCell<Vec<std::rc::Weak<Task>>>,
    /// The endpoint drains: nobody needs it any more.
    cancelled: Notify,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// Refused, reset, unreachable, or no common language.
    Unconnected,
    /// Not in time.
    Timeout,
}

#[derive(Debug, Error)]
enum DialError {
    #[error(transparent)]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] UpstreamTlsError),
    #[error("the endpoint does not speak HTTP/2 here: {0}")]
    NotHttp2(io::Error),
}

/// What has been opened.
enum Opened {
    Http1(Box<Connection>),
    Http2(Rc<Shared>, Box<Drive>),
}

impl DialError {
    /// Whether the endpoint said no: it could be reached, and takes no connection.
    fn is_refusal(&self) -> bool {
        let error = match self {
            Self::Connect(error) | Self::Tls(UpstreamTlsError::Other(error)) => error,
            Self::Tls(_) | Self::NotHttp2(_) => return false,
        };
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
        )
    }
}

impl Dial {
    /// How it went, once it is over. Until then `task` is woken when it is.
    pub fn poll(&self, cx: &mut Context<'_>, task: &Rc<Task>) -> Poll<Result<(), NotOpened>> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        task.register(cx.waker());
        let task = Rc::downgrade(task);
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.ptr_eq(&task)) {
            waiting.push(task);
        }
        Poll::Pending
    }

    fn finish(&self, outcome: Result<(), NotOpened>) {
        self.outcome.set(Some(outcome));
        for task in self.waiting.take() {
            if let Some(task) = task.upgrade() {
                task.wake();
            }
        }
    }

    pub(super) fn cancel(&self) {
        self.cancelled.notify_one();
    }
}

impl Pool {
    /// Opens a connection for the request that asks. None when it turned out to be one to share, which the slot has then.
    ///
    /// # Errors
    /// [`NotOpened`]; the reason is in the log.
    pub async fn open(
        self: &Rc<Self>,
        permit: Permit,
    ) -> Result<Option<Box<Connection>>, NotOpened> {
        let slot = permit.slot().clone();
        match self.speak(&slot, permit).await {
            Ok(Opened::Http1(connection)) => {
                slot.endpoint().ejection().connected();
                slot.speaks(false);
                Ok(Some(connection))
            }
            Ok(Opened::Http2(shared, drive)) => {
                slot.endpoint().ejection().connected();
                self.share(&slot, shared, *drive);
                Ok(None)
            }
            Err(error) => {
                let why = tell(&slot, &error);
                if error.is_refusal() {
                    self.eject(&slot);
                }
                Err(why)
            }
        }
    }

    /// Others are preferred to an endpoint that refuses connections, for a while.
    fn eject(&self, slot: &Slot) {
        let now = tokio::time::Instant::now();
        let Some(length) = slot.endpoint().ejection().refused(now) else {
            return;
        };
        let (service, about) = (slot.service().name().as_str(), slot.endpoint().about());
        let (endpoint, address) = (&about.key, about.address);
        self.metrics().ejected(service);
        let ejected_ms = length.as_millis() as u64;
        warn!(service, %endpoint, %address, ejected_ms, "it refuses connections; others are preferred for a while");
    }

    /// Opens a connection for all who wait for one there.
    #[must_use]
    pub fn open_for_all(self: &Rc<Self>, permit: Permit) -> Rc<Dial> {
        let (pool, slot) = (self.clone(), permit.slot().clone());
        let dial = Rc::new(Dial::default());
        slot.dials(&dial);
        let (known, timeout) = (dial.clone(), slot.service().settings().timeouts.connect);
        self.drivers.spawn_local(async move {
            let opened = async {
                match pool.open(permit).await {
                    Ok(Some(connection)) => {
                        slot.checkin(connection, tokio::time::Instant::now());
                        Ok(())
                    }
                    Ok(None) => Ok(()),
                    Err(why) => Err(why),
                }
            };
            let outcome = tokio::select! {
                biased;
                // Who is not called back looks again.
                () = dial.cancelled.notified() => Ok(()),
                opened = opened => opened,
                () = tokio::time::sleep(timeout), if !timeout.is_zero() => Err(NotOpened::Timeout),
            };
            slot.dialled(&dial);
            dial.finish(outcome);
        });
        known
    }

    async fn speak(&self, slot: &Slot, permit: Permit) -> Result<Opened, DialError> {
        let settings = slot.service().settings();
        let address = slot.endpoint().about().address;
        let stream = self.dialer().dial(address).await?;
        let stream = match &settings.tls {
            Some(connector) => connector.secure(stream, address.ip()).await?,
            None => stream,
        };
        let id = self.next_connection();
        if !settings.protocol.is_http2(stream.chose_http2()) {
            let connection = h1::Connection::new(stream, id, permit);
            return Ok(Opened::Http1(Box::new(Connection::Http1(connection))));
        }
        let spoken = http2::handshake(stream)
            .await
            .map_err(DialError::NotHttp2)?;
        let (shared, drive) = Shared::new(spoken, id, permit, settings.timeouts.upstream_ping);
        Ok(Opened::Http2(shared, Box::new(drive)))
    }

    fn share(&self, slot: &Slot, shared: Rc<Shared>, drive: Drive) {
        slot.speaks(true);
        slot.share(shared);
        self.drivers.spawn_local(drive);
    }
}

/// An endpoint that cannot be reached is everyday; one that speaks another language is a mistake of somebody's, told once
/// until it is right.
fn tell(slot: &Slot, error: &DialError) -> NotOpened {
    let about = slot.endpoint().about();
    let (service, endpoint, address) = (slot.service().name().as_str(), &about.key, about.address);
    let everyday = match error {
        DialError::Connect(_) | DialError::Tls(UpstreamTlsError::Other(_)) => true,
        DialError::Tls(_) | DialError::NotHttp2(_) => false,
    };
    if everyday || slot.is_complained_of() {
        debug!(service, %endpoint, %address, %error, "cannot connect");
    } else {
        warn!(service, %endpoint, %address, %error, "cannot connect");
    }
    NotOpened::Unconnected
}
