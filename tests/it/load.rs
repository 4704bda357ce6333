//! Clients that never pause while something is done to tidegate, and take note of each answer that does not come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use crate::support::{Client, Endpoint, Exchange, StreamClient, Tidegate, eventually};

/// A message of four bytes to a client.
pub(crate) const PING: &[u8] = b"\x82\x04ping";

/// Clients that never pause, until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Result<(), String>>>,
}

type Work = fn(SocketAddr, &AtomicBool, &AtomicUsize) -> Result<(), String>;

impl Load {
    pub(crate) fn on(address: SocketAddr, plain: usize, streams: usize) -> Self {
        let (stop, answered) = (Arc::default(), Arc::default());
        let mut load = Self {
            stop,
            answered,
            clients: Vec::new(),
        };
        let works = [(plain, keep_alive as Work), (streams, http2 as Work)];
        for (count, work) in works {
            for _ in 0..count {
                let (stop, answered) = (load.stop.clone(), load.answered.clone());
                load.clients
                    .push(thread::spawn(move || work(address, &stop, &answered)));
            }
        }
        load
    }

    /// Waits for more answers.
    pub(crate) fn goes_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually("the load goes on", || {
            let now = self.answered.load(Ordering::Relaxed);
            let failed = self.clients.iter().any(JoinHandle::is_finished);
            (failed || now > before + 200).then_some(())
        });
    }

    /// Every request was answered, and no connection was broken off.
    #[track_caller]
    pub(crate) fn was_never_disturbed(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert_eq!(client.join().unwrap(), Ok(()));
        }
    }
}

/// Takes a new connection only when it is told that the old one closes.
fn keep_alive(
    address: SocketAddr,
    stop: &AtomicBool,
    answered: &AtomicUsize,
) -> Result<(), String> {
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(address);
        while !stop.load(Ordering::Relaxed) {
            client.try_send("GET / HTTP/1.1\r\nHost: s\r\n\r\n");
            let response = client
                .try_response()
                .ok_or_else(|| format!("no answer but {:?}", client.end()))?;
            if response.status != 200 {
                return Err(format!("{response:?}"));
            }
            answered.fetch_add(1, Ordering::Relaxed);
            if response.head.field("connection") == Some("close") {
                break;
            }
        }
    }
    Ok(())
}

fn http2(address: SocketAddr, stop: &AtomicBool, answered: &AtomicUsize) -> Result<(), String> {
    while !stop.load(Ordering::Relaxed) {
        let mut client = StreamClient::connect(address);
        while client.seen().goaways.is_empty() && !stop.load(Ordering::Relaxed) {
            let stream = client.get("/");
            if stream.reset.is_some() || stream.status() != 200 {
                return Err(format!("{stream:?}"));
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// A tunnel that passes bytes on.
pub(crate) fn tunnel(tidegate: &Tidegate, a: &Endpoint) -> (Client, Exchange) {
    let mut client = tidegate.connect();
    client.send(
        "GET /held/tunnel HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let exchange = a.held();
    exchange.switch();
    assert_eq!(client.response_head().0, 101);
    (client, exchange)
}
