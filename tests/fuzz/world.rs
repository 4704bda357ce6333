//! A proxy in memory, on one thread, whose clock moves only when everybody waits: what would take minutes takes none.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate::control::{self, Desired, DesiredService, Handle, Writer};
use tidegate::discovery::{self, Fixed};
use tidegate::endpoint::ServiceName;
use tidegate::net::{Dialer, MemoryNet};
use tidegate::proxy;
use tidegate::route::Matcher;
use tidegate::server::{self, Crowd, Door, Room};
use tidegate::snapshot::{Publisher, ServiceSettings};
use tidegate::telemetry::{AccessLog, Metrics};
use tidegate::worker::{Mail, Worker, mailboxes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::strict::{Canonical, take};

/// What reached the endpoints, and what they answer.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Requests that can be read in one way only, and the number of the service that they reached.
    pub(crate) requests: Vec<(usize, Canonical)>,
    /// What came besides, and why that is none.
    pub(crate) faults: Vec<String>,
    /// What every request is answered with, and then the connection ends; none for a plain answer.
    pub(crate) answer: Option<Vec<u8>>,
}

/// Everything.
pub(crate) struct World {
    pub(crate) script: Rc<RefCell<Script>>,
    pub(crate) handle: Handle,
    door: mpsc::UnboundedSender<DuplexStream>,
    // Dropping these would end it.
    _mail: Vec<mpsc::Sender<Mail>>,
    _stop: CancellationToken,
}

impl World {
    /// One service behind each of these routes, with one endpoint each.
    pub(crate) async fn behind(routes: Vec<Matcher>) -> Self {
        let net = MemoryNet::default();
        let script = Rc::<RefCell<Script>>::default();
        for service in 0..routes.len() {
            listen(&net, service, &script);
        }
        let metrics = Metrics::new();
        let publisher = Publisher::new();
        let (boxes, inboxes) = mailboxes(1);
        for inbox in inboxes {
            let worker = Worker {
                settings: proxy::Settings {
                    worker: 0,
                    per_endpoint_metrics: false,
                    access_log_sample: 0.0,
                    seed: 1,
                },
                reader: publisher.reader(),
                metrics: metrics.clone(),
                log: AccessLog::none(),
                inbox,
            };
            tokio::task::spawn_local(worker.run(Dialer::Memory(net.clone())));
        }
        let (handle, inbox) = control::channel();
        let build = |settings: &discovery::Settings| -> Box<dyn discovery::Source> {
            match settings {
                discovery::Settings::List(addresses) => Box::new(Fixed::new(addresses)),
                other => panic!("{other:?}"),
            }
        };
        let writer = Writer::new(
            control::Settings::default(),
            inbox,
            boxes.commands.clone(),
            publisher,
            metrics,
            Box::new(build),
        );
        let stop = CancellationToken::new();
        tokio::task::spawn_local(writer.run(stop.clone()));
        handle.reload(desired(routes)).await.unwrap();
        let door = open(&boxes.mail).await;
        // Until everybody has heard: this moment has an end once nobody has work.
        tokio::time::sleep(Duration::from_millis(10)).await;
        Self {
            script,
            handle,
            door,
            _mail: boxes.mail,
            _stop: stop,
        }
    }

    /// Sends these bytes on a connection of their own. Returns what comes back until the connection ends, or until `patience`
    /// is over.
    pub(crate) async fn send(&self, pieces: &[&[u8]], patience: Duration) -> (Vec<u8>, bool) {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        self.door.send(far).unwrap();
        let mut heard = Vec::new();
        let exchange = async {
            for piece in pieces {
                // Whoever has had enough says why.
                let _ = near.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            while let Ok(1..) = near.read_buf(&mut heard).await {}
        };
        let ended = timeout(patience, exchange).await.is_ok();
        (heard, ended)
    }
}

fn desired(routes: Vec<Matcher>) -> Arc<Desired> {
    let name = |service: usize| ServiceName::from(&*format!("service-{service}"));
    let services = (0..routes.len()).map(|service| DesiredService {
        settings: Arc::new(ServiceSettings::named(name(service))),
        source: discovery::Settings::List(vec![address(service)]),
    });
    let services = services.collect();
    let routes = routes.into_iter().enumerate();
    let routes = routes.map(|(service, matcher)| (matcher, name(service).into()));
    Arc::new(Desired::new(services, routes.collect()))
}

fn address(service: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, service as u8 + 1], 80))
}

fn listen(net: &MemoryNet, service: usize, script: &Rc<RefCell<Script>>) {
    let (mut accept, script) = (net.listen(address(service)), script.clone());
    tokio::task::spawn_local(async move {
        while let Some(stream) = accept.recv().await {
            tokio::task::spawn_local(converse(stream, service, script.clone()));
        }
    });
}

/// An endpoint that reads strictly.
async fn converse(mut stream: DuplexStream, service: usize, script: Rc<RefCell<Script>>) {
    const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let mut unread = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut unread).await {
        loop {
            match take(&unread) {
                Ok(None) => break,
                Ok(Some((request, length))) => {
                    unread.drain(..length);
                    let answer = {
                        let mut script = script.borrow_mut();
                        script.requests.push((service, request));
                        if !unread.is_empty() {
                            let text = unread.escape_ascii().to_string();
                            script
                                .faults
                                .push(format!("bytes behind a request: {text}"));
                        }
                        script.answer.clone()
                    };
                    // Whoever asked may have gone.
                    if let Some(answer) = answer {
                        let _ = stream.write_all(&answer).await;
                        return;
                    }
                    let _ = stream.write_all(PLAIN).await;
                }
                Err(why) => {
                    let text = unread.escape_ascii().to_string();
                    script.borrow_mut().faults.push(format!("{why}: {text}"));
                    return;
                }
            }
        }
    }
}

async fn open(mail: &[mpsc::Sender<Mail>]) -> mpsc::UnboundedSender<DuplexStream> {
    let settings = server::Settings {
        name: "http".into(),
        address: SocketAddr::from(([127, 0, 0, 1], 8080)),
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
        tls: None,
        underscores: proxy::Underscores::default(),
        http2: true,
        debug_headers: false,
        timeouts: server::Timeouts::default(),
        limits: server::Limits::default(),
    };
    let crowd = Crowd::new(&settings.limits, Room::for_connections(u32::MAX));
    let (door, connections) = mpsc::unbounded_channel();
    let listen = Mail::Listen {
        settings,
        tls: None,
        door: Door::Memory(connections),
        crowd,
    };
    mail[0].send(listen).await.unwrap();
    door
}

/// A world with its runtime, kept from one case to the next.
pub(crate) struct Stage {
    runtime: LocalRuntime,
    world: World,
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// Plays a case. A case that fails leaves its world behind, and the next one begins in a new one.
pub(crate) fn play(routes: impl FnOnce() -> Vec<Matcher>, case: impl AsyncFnOnce(&World)) {
    let stage = STAGE.with(|stage| stage.borrow_mut().take());
    let stage = stage.unwrap_or_else(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        let world = runtime.block_on(World::behind(routes()));
        Stage { runtime, world }
    });
    stage.world.script.replace(Script::default());
    stage.runtime.block_on(case(&stage.world));
    STAGE.with(|place| place.borrow_mut().replace(stage));
}

/// Everything is for one service.
pub(crate) fn everything() -> Vec<Matcher> {
    use tidegate::route::{Host, Path};
    vec![Matcher::new(Host::Any, Path::any())]
}
