//! One listener on one worker: its socket, its connections, and its leaving.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::connection::{Connection, serve};
use super::crowd::{Counted, Crowd};
use super::date::Dates;
use super::door::Acceptor;
use super::{Plan, Settings};
use crate::net::proxy_protocol::{self, Ends};
use crate::net::{Stream, tls};
use crate::proxy::{Entrance, Proxy};

/// A listener on one worker.
#[derive(Debug)]
pub struct Entry {
    pub(super) settings: Settings,
    tls: Option<tls::Acceptor>,
    pub(super) entrance: Rc<Entrance>,
    pub(super) proxy: Rc<Proxy>,
    crowd: Arc<Crowd>,
    local: SocketAddr,
    connections: RefCell<Vec<Rc<Connection>>>,
    leaving: Cell<Option<Plan>>,
    pub(super) dates: Dates,
    broken_start_told: Cell<Option<Instant>>,
    handed_over: Cell<bool>,
    stop: CancellationToken,
    forced: CancellationToken,
    tracker: TaskTracker,
}

/// How long accepting pauses when there is nothing to accept with.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two lines about connections that never came to HTTP, on one worker.
const BROKEN_START_PAUSE: Duration = Duration::from_secs(1);

impl Entry {
    /// A listener that accepts nothing yet. `crowd` is shared with the other workers.
    #[must_use]
    pub fn new(
        settings: Settings,
        tls: Option<tls::Acceptor>,
        proxy: Rc<Proxy>,
        crowd: Arc<Crowd>,
    ) -> Rc<Self> {
        let entrance = Entrance {
            listener: settings.name.clone(),
            trusted_proxies: settings.trusted_proxies.clone(),
            debug_headers: settings.debug_headers,
            tls: settings.tls.is_some(),
            body_timeout: settings.timeouts.body,
            request_timeout: settings.timeouts.request,
            target_bytes_max: settings.limits.target_bytes as usize,
            underscores: settings.underscores,
        };
        Rc::new(Self {
            local: settings.address,
            settings,
            tls,
            entrance: Rc::new(entrance),
            proxy,
            crowd,
            connections: RefCell::default(),
            leaving: Cell::new(None),
            dates: Dates::default(),
            broken_start_told: Cell::new(None),
            handed_over: Cell::new(false),
            stop: CancellationToken::new(),
            forced: CancellationToken::new(),
            tracker: TaskTracker::new(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    /// Open connections on this worker.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Accepts until told to stop; then takes whoever the kernel has begun to accept, and closes the socket.
    pub async fn accept(self: Rc<Self>, mut acceptor: Acceptor) {
        // Whoever waits until it is done waits for those that are accepted last.
        let _counted = self.tracker.token();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                accepted = acceptor.accept() => accepted,
            };
            match accepted {
                Ok(Some((stream, client))) => self.admit(stream, client),
                Ok(None) => break,
                Err(error) => self.pause(&error).await,
            }
        }
        if self.handed_over.get() || matches!(acceptor, Acceptor::Lent(_)) {
            return;
        }
        // Whoever completed a handshake is served: a closed socket would reset them (P11). Without the filter, one that ends
        // between the last look and the closing would be.
        if acceptor.ignore_newcomers() {
            let deaf_end = self.leaving.get().map(|plan| plan.deaf_end);
            let deaf_end = tokio::time::sleep_until(deaf_end.unwrap_or_else(Instant::now));
            tokio::pin!(deaf_end);
            while let Some(Ok(Some((stream, client)))) = tokio::select! {
                biased;
                () = &mut deaf_end => None,
                accepted = acceptor.accept() => Some(accepted),
            } {
                self.admit(stream, client);
            }
        }
        loop {
            match acceptor.accept_waiting() {
                Ok(Some((stream, client))) => self.admit(stream, client),
                Ok(None) => break,
                Err(error) if is_theirs(&error) => {}
                Err(error) => {
                    warn!(listener = %self.name(), %error, "cannot accept who waits");
                    break;
                }
            }
        }
    }

    /// No more connections are accepted.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// No more connections are accepted here: another entry, or another process, goes on with the same socket.
    pub fn hand_over(&self) {
        self.handed_over.set(true);
        self.stop.cancel();
    }

    /// Handed over, and its last connection is closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.handed_over.get() && self.tracker.is_empty()
    }

    /// It leaves: closings are announced, and idle connections go at random moments.
    pub fn leave(&self, plan: Plan) {
        self.leaving.set(Some(plan));
        for connection in self.connections.borrow().iter() {
            connection.leave(&plan, self.proxy.random());
        }
    }

    /// Ends what is left, at once. Returns how many connections that were.
    pub fn force(&self) -> usize {
        self.forced.cancel();
        let connections = self.connections.borrow().clone();
        for connection in &connections {
            connection.force();
        }
        connections.len()
    }

    /// Until every connection is closed.
    pub async fn done(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    pub(super) fn leaving(&self) -> Option<Plan> {
        self.leaving.get()
    }

    fn admit(self: &Rc<Self>, stream: Stream, client: SocketAddr) {
        let metrics = self.proxy.metrics().shared();
        if !self.crowd.open() {
            metrics.downstream_closed(self.name(), "limit");
            return;
        }
        metrics.downstream_connections(self.name(), 1);
        let local = stream
            .tcp()
            .and_then(|tcp| tcp.local_addr().ok())
            .unwrap_or(self.local);
        let ends = Ends { client, local };
        let guest = Guest(self.clone());
        if self.tls.is_some() || self.settings.proxy_protocol {
            self.tracker.spawn_local(async move {
                // Boxed: it is several times what serves the connection from then on.
                let introduced = Box::pin(guest.0.introduce(stream, ends)).await;
                if let Some((stream, ends, counted)) = introduced {
                    guest.0.welcome(stream, ends).await;
                    drop(counted);
                }
            });
        } else if let Some(counted) = self.count(ends) {
            self.tracker.spawn_local(async move {
                guest.0.welcome(stream, ends).await;
                drop(counted);
            });
        }
    }

    /// Counts a connection as its client's. None when it is one too many.
    fn count(&self, ends: Ends) -> Option<Option<Counted>> {
        let counted = self.crowd.enter(ends.client.ip());
        if counted.is_err() {
            let metrics = self.proxy.metrics().shared();
            metrics.downstream_closed(self.name(), "limit");
        }
        counted.ok()
    }

    /// Counts a stream as its client's. `Err` when it is one too many.
    pub(super) fn count_stream(&self, client: SocketAddr) -> Result<Option<Counted>, ()> {
        self.crowd.enter_stream(client.ip())
    }

    /// What comes before HTTP: who the client is, and TLS.
    async fn introduce(
        &self,
        mut stream: Stream,
        mut ends: Ends,
    ) -> Option<(Stream, Ends, Option<Counted>)> {
        if self.settings.proxy_protocol {
            ends = self.ends(&mut stream, ends).await?;
        }
        let counted = self.count(ends)?;
        let stream = match (&self.tls, stream) {
            (Some(tls), Stream::Tcp(tcp)) => self.handshake(tls, tcp).await?,
            (_, stream) => stream,
        };
        Some((stream, ends, counted))
    }

    /// The PROXY header, within the time a head has.
    async fn ends(&self, stream: &mut Stream, own: Ends) -> Option<Ends> {
        let read =
            tokio::time::timeout(self.settings.timeouts.header, proxy_protocol::read(stream));
        let read = tokio::select! {
            biased;
            () = self.forced.cancelled() => return None,
            read = read => read,
        };
        match read {
            Ok(Ok(told)) => Some(told.unwrap_or(own)),
            Ok(Err(error)) => {
                self.tell_broken_start(&error);
                None
            }
            Err(_) => {
                self.tell_broken_start(&"the PROXY header took too long");
                None
            }
        }
    }

    /// TLS, within the time a head has.
    async fn handshake(&self, tls: &tls::Acceptor, tcp: TcpStream) -> Option<Stream> {
        let shaken = tokio::select! {
            biased;
            () = self.forced.cancelled() => return None,
            shaken = tokio::time::timeout(self.settings.timeouts.header, tls.accept(tcp)) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => {
                self.tell_broken_start(&error);
                None
            }
            Err(_) => {
                self.tell_broken_start(&"the TLS handshake took too long");
                None
            }
        }
    }

    /// A connection that never came to HTTP leaves no line in the access log, so it is told here; but anybody can cause as
    /// many as they like, so not each of them.
    fn tell_broken_start(&self, error: &dyn fmt::Display) {
        let now = Instant::now();
        let told = self.broken_start_told.get();
        if told.is_some_and(|told| now.saturating_duration_since(told) < BROKEN_START_PAUSE) {
            debug!(listener = %self.name(), %error, "a connection was closed before HTTP began");
        } else {
            self.broken_start_told.set(Some(now));
            info!(listener = %self.name(), %error, "a connection was closed before HTTP began; more within a second are not told");
        }
    }

    /// Serves a connection to its end.
    async fn welcome(self: &Rc<Self>, stream: Stream, ends: Ends) {
        let connection = Connection::new(self, stream, ends.client, ends.local);
        if let Some(plan) = self.leaving.get() {
            connection.leave(&plan, self.proxy.random());
        }
        let seat = Seat::take(self.clone(), connection);
        serve(self.clone(), seat.connection.clone()).await;
    }

    /// Work of a connection beside the connection itself.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.tracker.spawn_local(work);
    }

    /// A connection that went before it was accepted is nobody's fault. Without descriptors or memory, accepting again at
    /// once would only burn the processor.
    async fn pause(&self, error: &io::Error) {
        if is_theirs(error) {
            return;
        }
        warn!(listener = %self.name(), %error, "cannot accept; pausing");
        tokio::time::sleep(PAUSE).await;
    }
}

/// A connection that is counted among all. However it ends, by a panic too, it is counted out.
struct Guest(Rc<Entry>);

impl Drop for Guest {
    fn drop(&mut self) {
        let entry = &self.0;
        entry.crowd.close();
        let metrics = entry.proxy.metrics().shared();
        metrics.downstream_connections(entry.name(), -1);
    }
}

/// The place of a connection among those of its listener, for as long as it is served.
struct Seat {
    entry: Rc<Entry>,
    connection: Rc<Connection>,
}

impl Seat {
    fn take(entry: Rc<Entry>, connection: Rc<Connection>) -> Self {
        let mut connections = entry.connections.borrow_mut();
        connection.index.set(connections.len());
        connections.push(connection.clone());
        drop(connections);
        Self { entry, connection }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut connections = self.entry.connections.borrow_mut();
        let index = self.connection.index.get();
        connections.swap_remove(index);
        if let Some(moved) = connections.get(index) {
            moved.index.set(index);
        }
    }
}

/// Whether a connection went before it was accepted: nobody's fault, and no reason to stop.
fn is_theirs(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// A moment from now on; far in the future when there is none.
pub(super) fn earlier(limit: Instant, other: Option<Instant>) -> Instant {
    other.map_or(limit, |other| limit.min(other))
}

#[cfg(test)]
pub(super) mod tests;
