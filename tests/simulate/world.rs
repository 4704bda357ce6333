//! A proxy with everything around it, on one thread.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidegate::control::{
    self, Desired, DesiredService, DrainAnswer, DrainRequest, EventKind, Handle, Reason, State,
    Writer,
};
use tidegate::discovery::{self, Heard, Observation, Observed, ObservedState, Observer, Source};
use tidegate::net::{Dialer, MemoryNet};
use tidegate::route::{Host, Matcher};
use tidegate::server::{self, Crowd, Door, Plan};
use tidegate::snapshot::{Publisher, ServiceSettings};
use tidegate::telemetry::{AccessLog, Metrics};
use tidegate::worker::{Left, Mail, Worker, mailboxes};
use tidegate::{drain::Report, proxy};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::endpoint::Endpoint;

/// What the writer told, and when.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) at: Instant,
    pub(crate) kind: EventKind,
}

/// Everything.
pub(crate) struct World {
    pub(crate) net: MemoryNet,
    pub(crate) handle: Handle,
    pub(crate) endpoints: Vec<Rc<Endpoint>>,
    pub(crate) told: Rc<RefCell<Vec<Told>>>,
    /// What the source says of each endpoint; none while it is not listed.
    pub(crate) listed: RefCell<Vec<Option<Observed>>>,
    source: mpsc::UnboundedSender<Heard>,
    doors: Vec<mpsc::UnboundedSender<DuplexStream>>,
    mail: Vec<mpsc::Sender<Mail>>,
    workers: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    turn: RefCell<usize>,
}

/// A source that says what the test says.
struct Scripted {
    heard: mpsc::UnboundedReceiver<Heard>,
}

impl Source for Scripted {
    fn kind(&self) -> &'static str {
        "list"
    }

    fn run(mut self: Box<Self>, out: Observer, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    heard = self.heard.recv() => match heard {
                        Some(heard) => out.tell(heard).await,
                        None => return,
                    },
                }
            }
        })
    }
}

pub(crate) const WORKERS: usize = 2;

/// The address of the n-th endpoint.
pub(crate) fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number as u8 + 1], 80))
}

/// The n-th endpoint, as a source lists it.
pub(crate) fn observed(number: usize) -> Observed {
    Observed {
        key: format!("web-{number}").as_str().into(),
        address: address(number),
        pod: Some(format!("default/web-{number}").as_str().into()),
        zone: None,
        weight: 1,
        state: ObservedState::Ready,
        drain_timeout: None,
        latched: false,
    }
}

/// A service that drains within this time.
pub(crate) fn service(timeout: Duration) -> ServiceSettings {
    let mut settings = ServiceSettings::named("web".into());
    settings.drain.timeout = timeout;
    settings
}

/// Plays something on a runtime whose clock moves only when everybody waits.
pub(crate) fn play<T>(scene: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(scene)
}

impl World {
    /// So many endpoints, all ready.
    pub(crate) async fn with(endpoints: usize, settings: ServiceSettings, seed: u64) -> Self {
        let net = MemoryNet::default();
        let metrics = Metrics::new();
        let publisher = Publisher::new();
        let (boxes, inboxes) = mailboxes(WORKERS);
        let mut workers = Vec::new();
        for (number, inbox) in inboxes.into_iter().enumerate() {
            let worker = Worker {
                settings: proxy::Settings {
                    worker: number,
                    per_endpoint_metrics: false,
                    access_log_sample: 0.0,
                    seed: seed + number as u64,
                },
                reader: publisher.reader(),
                metrics: metrics.clone(),
                log: AccessLog::none(),
                inbox,
            };
            let dialer = Dialer::Memory(net.clone());
            workers.push(tokio::task::spawn_local(worker.run(dialer)));
        }
        let (handle, inbox) = control::channel();
        let (source, heard) = mpsc::unbounded_channel();
        let heard = std::cell::Cell::new(Some(heard));
        let build = move |_: &discovery::Settings| -> Box<dyn Source> {
            let heard = heard.take().unwrap();
            Box::new(Scripted { heard })
        };
        let writer = Writer::new(
            control::Settings::default(),
            inbox,
            boxes.commands.clone(),
            publisher,
            metrics,
            Box::new(build),
        );
        let told = listen(&handle);
        let stop = CancellationToken::new();
        tokio::task::spawn_local(writer.run(stop.clone()));
        let world = Self {
            endpoints: (0..endpoints)
                .map(|number| Endpoint::listen(&net, address(number)))
                .collect(),
            listed: RefCell::new(
                (0..endpoints)
                    .map(|number| Some(observed(number)))
                    .collect(),
            ),
            net,
            told,
            source,
            doors: open_doors(&boxes.mail).await,
            mail: boxes.mail,
            workers,
            stop,
            turn: RefCell::new(0),
            handle,
        };
        world.say();
        world.reload(settings).await;
        world.calm().await;
        world
    }

    /// Puts other settings in force.
    pub(crate) async fn reload(&self, settings: ServiceSettings) {
        let service = DesiredService {
            settings: Arc::new(settings),
            source: discovery::Settings::List(Vec::new()),
        };
        let everything = Matcher {
            host: Host::Any,
            path: "/".into(),
        };
        let desired = Desired {
            services: vec![service],
            routes: vec![(everything, "web".into())],
        };
        self.handle.reload(desired).await.unwrap();
    }

    /// The source says all that is listed.
    pub(crate) fn say(&self) {
        let all: Vec<Observed> = self.listed.borrow().iter().flatten().cloned().collect();
        self.source
            .send(Heard::Observation(Arc::new(Observation::from(all))))
            .unwrap();
    }

    /// The source says something else of one endpoint.
    pub(crate) fn list(&self, number: usize, change: impl FnOnce(&mut Option<Observed>)) {
        change(&mut self.listed.borrow_mut()[number]);
        self.say();
    }

    /// The source cannot see.
    pub(crate) fn fail(&self, why: &str) {
        self.source.send(Heard::Fault(why.to_owned())).unwrap();
    }

    pub(crate) fn list_as(&self, number: usize, state: ObservedState) {
        self.list(number, |listed| {
            *listed = Some(Observed {
                state,
                ..observed(number)
            });
        });
    }

    /// A client with one of the workers, in turn.
    pub(crate) fn connect(&self) -> Client {
        let mut turn = self.turn.borrow_mut();
        *turn += 1;
        self.connect_to(*turn % WORKERS)
    }

    pub(crate) fn connect_to(&self, worker: usize) -> Client {
        let (near, far) = tokio::io::duplex(64 * 1024);
        // A worker that has left takes nobody; the client sees an end.
        let _ = self.doors[worker].send(far);
        Client::over(near)
    }

    pub(crate) async fn drain(
        &self,
        number: usize,
        timeout: Option<Duration>,
        wait: bool,
    ) -> DrainAnswer {
        let request = DrainRequest {
            service: "web".into(),
            endpoint: format!("web-{number}"),
            timeout,
            wait,
        };
        self.handle.drain(request).await.unwrap()
    }

    pub(crate) async fn undrain(&self, number: usize) {
        self.handle
            .undrain("web", &format!("web-{number}"))
            .await
            .unwrap();
    }

    /// The state and reason of an endpoint's newest life; none when it is gone.
    pub(crate) async fn state(&self, number: usize) -> Option<(State, Option<Reason>)> {
        let service = self.handle.service("web").await.unwrap();
        let key = format!("web-{number}");
        let view = service
            .endpoints
            .iter()
            .find(|view| view.key.as_str() == key)?;
        Some((view.state, view.reason))
    }

    /// Reports of drains that are over, the newest first.
    pub(crate) async fn reports(&self) -> Vec<Arc<Report>> {
        self.handle.drains().await.unwrap().done
    }

    /// Until everything that can happen at this moment has.
    pub(crate) async fn calm(&self) {
        sleep(Duration::from_millis(1)).await;
    }

    /// tidegate leaves. Returns how much was cut.
    pub(crate) async fn leave(&mut self, wait: Duration, grace: Duration) -> u32 {
        let plan = Plan::new(Instant::now(), wait, grace);
        let (done, mut all_done) = mpsc::channel(1);
        let left = Left {
            cut: Arc::new(AtomicU32::new(0)),
            forced: Arc::new(AtomicU32::new(0)),
            done,
        };
        for mail in &self.mail {
            mail.send(Mail::Leave(plan, left.clone())).await.unwrap();
        }
        let cut = left.cut.clone();
        drop(left);
        timeout(grace + Duration::from_secs(1), all_done.recv())
            .await
            .expect("nothing runs past the budget (P11)");
        cut.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Ends everything, and sees that it ends.
    pub(crate) async fn end(mut self) {
        self.mail.clear();
        self.doors.clear();
        for worker in std::mem::take(&mut self.workers) {
            worker.abort();
            let _ = worker.await;
        }
        self.stop.cancel();
    }
}

fn listen(handle: &Handle) -> Rc<RefCell<Vec<Told>>> {
    let told = Rc::<RefCell<Vec<Told>>>::default();
    let (mut events, all) = (handle.events(), told.clone());
    tokio::task::spawn_local(async move {
        while let Ok(event) = events.recv().await {
            all.borrow_mut().push(Told {
                at: Instant::now(),
                kind: event.kind.clone(),
            });
        }
    });
    told
}

async fn open_doors(mail: &[mpsc::Sender<Mail>]) -> Vec<mpsc::UnboundedSender<DuplexStream>> {
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
    let crowd = Crowd::new(&settings.limits);
    let mut doors = Vec::new();
    for mail in mail {
        let (door, connections) = mpsc::unbounded_channel();
        let listen = Mail::Listen {
            settings: settings.clone(),
            tls: None,
            door: Door::Memory(connections),
            crowd: crowd.clone(),
        };
        mail.send(listen).await.unwrap();
        doors.push(door);
    }
    doors
}
