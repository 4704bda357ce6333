//! Connections that end otherwise than they should.

use std::net::SocketAddr;

use super::*;
use crate::clock::Clock;
use crate::net::Dialer;
use crate::pool::Pool;
use crate::proxy::{self, Belongings};
use crate::server::{Limits, Room, Timeouts};
use crate::snapshot::Publisher;
use crate::telemetry::{AccessLog, Metrics};

/// A listener without any route.
pub(in crate::server) fn entry(crowd: &Arc<Crowd>, timeouts: Timeouts) -> Rc<Entry> {
    let metrics = Metrics::new();
    let belongings = Belongings {
        pool: Pool::new(0, Dialer::default(), metrics.clone(), 1),
        clock: Clock::new(),
        reader: Publisher::new().reader(),
        metrics: metrics.worker(),
        log: AccessLog::none().worker(),
        neighbours: Vec::new(),
    };
    let fixed = proxy::Settings {
        worker: 0,
        per_endpoint_metrics: false,
        access_log_sample: 0.0,
        seed: 1,
    };
    let settings = Settings {
        name: "http".into(),
        address: SocketAddr::from(([127, 0, 0, 1], 80)),
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
        tls: None,
        underscores: proxy::Underscores::default(),
        http2: true,
        debug_headers: false,
        timeouts,
        limits: Limits::default(),
    };
    let proxy = Proxy::new(fixed, belongings);
    Entry::new(settings, None, proxy, crowd.clone())
}

#[test]
fn a_panic_ends_one_connection_and_counts_it_out() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let crowd = Crowd::new(&Limits::default(), Room::for_connections(1));
        let entry = entry(&crowd, Timeouts::default());
        assert!(crowd.open());
        let guest = Guest(entry.clone());
        let (_client, ours) = tokio::io::duplex(64);
        let client = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = Connection::new(&entry, ours.into(), client, client);
        let work = entry.tracker.spawn_local(async move {
            let _seat = Seat::take(guest.0.clone(), connection);
            tokio::task::yield_now().await;
            panic!("a bug");
        });
        tokio::task::yield_now().await;
        assert_eq!(entry.connections(), 1);
        assert!(work.await.unwrap_err().is_panic());
        assert_eq!(entry.connections(), 0);
        assert!(crowd.open(), "there is room again");
        entry.done().await;
    });
}
