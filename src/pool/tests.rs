//! What is touched, counted: the work that a pool does for one endpoint does not grow with the others.

use std::net::SocketAddr;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::*;
use crate::endpoint::{About, Life};
use crate::net::{MemoryNet, Stream};
use crate::snapshot::ServiceSettings;

/// A pool with one idle connection to each of many endpoints.
struct Stage {
    pool: Rc<Pool>,
    service: Arc<Service>,
    lives: Vec<Life>,
    far: Vec<Option<DuplexStream>>,
}

impl Stage {
    fn new(count: u16) -> Self {
        let settings = Arc::new(ServiceSettings::named("web".into()));
        let service = Arc::new(Service::new(settings, 1));
        let dialer = Dialer::Memory(MemoryNet::default());
        let mut stage = Self {
            pool: Pool::new(0, dialer, Metrics::new(), 1),
            service,
            lives: Vec::new(),
            far: Vec::new(),
        };
        for number in 0..count {
            let about = About {
                service: "web".into(),
                key: format!("web-{number}").as_str().into(),
                address: SocketAddr::from(([127, 0, 0, 1], 9000 + number)),
                pod: None,
                zone: None,
            };
            stage
                .lives
                .push(Life::begin(about, mpsc::unbounded_channel().0));
            let end = stage.connect(usize::from(number));
            stage.far.push(Some(end));
        }
        stage
    }

    /// Has an idle connection to an endpoint that has none. Returns its other end.
    fn connect(&self, number: usize) -> DuplexStream {
        let slot = self.pool.slot(self.lives[number].endpoint(), &self.service);
        let Checkout::Open(permit) = slot.checkout(Instant::now(), false, false) else {
            panic!("no connection is open");
        };
        let (near, end) = duplex(64);
        let connection = h1::Connection::new(Stream::from(near), 1, permit);
        slot.checkin(Box::new(Connection::Http1(connection)), Instant::now());
        end
    }

    fn idle(&self) -> usize {
        let slots = self.pool.slots.borrow();
        slots.values().map(|slot| slot.idle_count()).sum()
    }

    /// Who asks to be looked at.
    fn rung(&self) -> Vec<EndpointId> {
        let mut rung = self.pool.rung.borrow_mut();
        let rung = rung.as_mut().unwrap();
        std::iter::from_fn(|| rung.try_recv().ok()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_has_its_own_endpoint_looked_at_and_no_other() {
    let mut stage = Stage::new(100);
    assert_eq!(stage.idle(), 100);
    assert!(stage.rung().is_empty());
    stage.far[42].take();
    let ended = stage.lives[42].endpoint().id();
    let rung = stage.rung();
    assert_eq!(rung, [ended]);
    stage.pool.look_at(rung.into_iter());
    assert_eq!(stage.idle(), 99);
    assert!(stage.rung().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_bell_that_is_answered_rings_again() {
    let mut stage = Stage::new(2);
    let first = stage.lives[0].endpoint().id();
    for _ in 0..3 {
        // Looked at, and nothing has ended.
        stage.pool.look_at([first].into_iter());
        assert_eq!(stage.idle(), 2);
        stage.far[0].take();
        assert_eq!(stage.rung(), [first]);
        stage.pool.look_at([first].into_iter());
        assert_eq!(stage.idle(), 1);
        stage.far[0] = Some(stage.connect(0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_touches_the_connections_of_its_own_endpoint_alone() {
    let stage = Stage::new(100);
    let order = Order {
        endpoint: stage.lives[7].endpoint().id(),
        since: Instant::now(),
        deadline: None,
    };
    stage.pool.drain(&[order]);
    assert_eq!(stage.idle(), 99);
    assert!(stage.rung().is_empty(), "nobody else is to be looked at");
    assert_eq!(stage.pool.slots.borrow().len(), 99, "its slot is gone");
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_for_too_long_is_found_without_a_bell() {
    let stage = Stage::new(300);
    assert!(stage.rung().is_empty());
    tokio::time::advance(Duration::from_secs(31)).await;
    stage.pool.age().await;
    assert_eq!(stage.idle(), 0);
}
