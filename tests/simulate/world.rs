//! A proxy with everything around it, on one thread.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidegate::control::{
    self, Desired, DesiredService, DrainAnswer, DrainRequest, EventKind, Handle, HandleError,
    PodAnswer, PodName, PodRequest, Reason, State, Writer,
};
use tidegate::discovery::{
    self, Fixed, Heard, Observation, Observed, ObservedState, Observer, Source,
};
use tidegate::drain::Cause;
use tidegate::endpoint::{EndpointKey, ServiceName};
use tidegate::net::{Dialer, MemoryNet};
use tidegate::route::{Action, Host, Matcher, Path};
use tidegate::server::{self, Crowd, Door, Plan, Room};
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

/// What the test did, and when: all that the model knows besides what was told.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) at: Instant,
    pub(crate) deed: Deed,
}

/// Something that the test did.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// The source says this of an endpoint, or no longer has this id.
    Listed(EndpointKey, Option<Observed>),
    /// An operator, or a hook, wants it drained.
    Asked(EndpointKey, Option<Duration>),
    /// There is no such endpoint.
    Refused(EndpointKey),
    /// Somebody was told that it is drained.
    Settled(EndpointKey),
    /// An operator wants it back.
    Undrained(EndpointKey),
}

/// Everything.
pub(crate) struct World {
    pub(crate) net: MemoryNet,
    pub(crate) handle: Handle,
    pub(crate) endpoints: Vec<Rc<Endpoint>>,
    pub(crate) told: Rc<RefCell<Vec<Told>>>,
    pub(crate) done: RefCell<Vec<Done>>,
    /// What the source says of each endpoint; none while it is not listed.
    pub(crate) listed: RefCell<Vec<Option<Observed>>>,
    /// How long a drain of the service may take.
    pub(crate) timeout: Duration,
    /// Faults of endpoints must not be seen by clients, since there is always another endpoint.
    pub(crate) must_shield: Cell<bool>,
    /// By which plan tidegate leaves.
    pub(crate) plan: Cell<Option<Plan>>,
    source: mpsc::UnboundedSender<Heard>,
    doors: RefCell<Vec<mpsc::UnboundedSender<DuplexStream>>>,
    mail: RefCell<Vec<mpsc::Sender<Mail>>>,
    workers: RefCell<Vec<JoinHandle<()>>>,
    own: RefCell<Vec<JoinHandle<()>>>,
    stop: CancellationToken,
    turn: Cell<usize>,
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

const WORKERS: usize = 2;

/// The address of the n-th endpoint.
pub(crate) fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number as u8 + 1], 80))
}

/// The n-th endpoint, as a source lists it.
pub(crate) fn observed(number: usize) -> Observed {
    observed_as(number, &format!("web-{number}"))
}

/// The same, under another id.
pub(crate) fn observed_as(number: usize, id: &str) -> Observed {
    Observed {
        key: id.into(),
        address: address(number),
        pod: Some(format!("default/{id}").as_str().into()),
        zone: None,
        weight: 1,
        state: ObservedState::Ready,
        drain_timeout: None,
        latched: false,
        pod_end: None,
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
    /// So many endpoints, all ready, and two workers.
    pub(crate) async fn with(endpoints: usize, settings: ServiceSettings, seed: u64) -> Self {
        Self::with_workers(WORKERS, endpoints, settings, seed).await
    }

    /// So many workers and endpoints, all ready.
    pub(crate) async fn with_workers(
        workers: usize,
        endpoints: usize,
        settings: ServiceSettings,
        seed: u64,
    ) -> Self {
        let net = MemoryNet::default();
        let metrics = Metrics::new();
        let publisher = Publisher::new();
        let (boxes, inboxes) = mailboxes(workers);
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
        let build = move |settings: &discovery::Settings| -> Box<dyn Source> {
            match (settings, heard.take()) {
                (_, Some(heard)) => Box::new(Scripted { heard }),
                (discovery::Settings::List(addresses), None) => Box::new(Fixed::new(addresses)),
                (other, None) => panic!("{other:?}"),
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
        let (told, listening) = listen(&handle);
        let stop = CancellationToken::new();
        workers.push(tokio::task::spawn_local(writer.run(stop.clone())));
        let world = Self {
            endpoints: (0..endpoints)
                .map(|number| Endpoint::listen(&net, address(number)))
                .collect(),
            listed: RefCell::new(vec![None; endpoints]),
            net,
            told,
            done: RefCell::default(),
            timeout: settings.drain.timeout,
            must_shield: Cell::new(false),
            plan: Cell::new(None),
            source,
            doors: RefCell::new(open_doors(&boxes.mail).await),
            mail: RefCell::new(boxes.mail),
            workers: RefCell::new(workers),
            own: RefCell::new(vec![listening]),
            stop,
            turn: Cell::new(0),
            handle,
        };
        for number in 0..endpoints {
            world.note(number, Some(observed(number)));
        }
        world.say();
        world.reload(settings).await;
        world.calm().await;
        world
    }

    /// Puts other settings in force.
    pub(crate) async fn reload(&self, settings: ServiceSettings) {
        self.reload_among(0, settings).await;
    }

    /// The same, beside so many other services of an endpoint each, with a route to each.
    pub(crate) async fn reload_among(&self, others: usize, settings: ServiceSettings) {
        let other = |number: usize| ServiceName::from(&*format!("other-{number}"));
        let everything = Matcher::new(Host::Any, Path::any());
        let route = |number: usize| {
            let host = Host::Exact(format!("{number}.example.com"));
            (Matcher::new(host, Path::any()), other(number).into())
        };
        let here = std::iter::once((everything, settings.name.clone().into()));
        let routes = here.chain((0..others).map(route)).collect();
        let service = |number| DesiredService {
            settings: Arc::new(ServiceSettings::named(other(number))),
            source: discovery::Settings::List(vec![SocketAddr::from(([10, 1, 0, 1], 80))]),
        };
        let services = (0..others).map(service).collect();
        self.take_up(settings, services, routes).await;
    }

    /// Leaves the service without a route.
    pub(crate) async fn unroute(&self, settings: ServiceSettings) {
        self.take_up(settings, Vec::new(), Vec::new()).await;
    }

    async fn take_up(
        &self,
        settings: ServiceSettings,
        mut services: Vec<DesiredService>,
        routes: Vec<(Matcher, Action)>,
    ) {
        services.push(DesiredService {
            settings: Arc::new(settings),
            source: discovery::Settings::List(Vec::new()),
        });
        let desired = Desired::new(services, routes);
        self.handle.reload(Arc::new(desired)).await.unwrap();
    }

    fn did(&self, deed: Deed) {
        let at = Instant::now();
        trace(&deed);
        self.done.borrow_mut().push(Done { at, deed });
    }

    /// Changes what is said of an endpoint. Another id there means that the one before has gone.
    fn note(&self, number: usize, now: Option<Observed>) {
        let before = std::mem::replace(&mut self.listed.borrow_mut()[number], now.clone());
        if let Some(before) = before
            && now.as_ref().is_none_or(|now| now.key != before.key)
        {
            self.did(Deed::Listed(before.key, None));
        }
        if let Some(now) = now {
            self.did(Deed::Listed(now.key.clone(), Some(now)));
        }
    }

    /// The source says all that is listed.
    pub(crate) fn say(&self) {
        let all: Vec<Observed> = self.listed.borrow().iter().flatten().cloned().collect();
        self.source
            .send(Heard::Observation(Arc::new(Observation::from(all))))
            .unwrap();
    }

    /// A list that has only these, after the watch was lost.
    pub(crate) fn relist(&self, numbers: std::ops::Range<usize>) {
        let all: Vec<Observed> = numbers.map(observed).collect();
        let list = Arc::new(Observation::from(all));
        self.source.send(Heard::Relist(list)).unwrap();
    }

    /// The source says something else of one endpoint.
    pub(crate) fn list(&self, number: usize, change: impl FnOnce(&mut Option<Observed>)) {
        let mut listed = self.listed.borrow()[number].clone();
        change(&mut listed);
        self.note(number, listed);
        self.say();
    }

    /// The source cannot see.
    pub(crate) fn fail(&self, why: &str) {
        self.source.send(Heard::Fault(why.to_owned())).unwrap();
    }

    pub(crate) fn list_as(&self, number: usize, state: ObservedState) {
        self.list(number, |listed| {
            let known = listed.take().unwrap_or_else(|| observed(number));
            *listed = Some(Observed { state, ..known });
        });
    }

    /// The id that an endpoint has now, or would have.
    pub(crate) fn key(&self, number: usize) -> EndpointKey {
        let listed = &self.listed.borrow()[number];
        listed
            .as_ref()
            .map_or_else(|| observed(number).key, |listed| listed.key.clone())
    }

    /// A client with one of the workers, in turn.
    pub(crate) fn connect(&self) -> Client {
        self.turn.set(self.turn.get() + 1);
        let workers = self.mail.borrow().len();
        self.connect_to(self.turn.get() % workers)
    }

    pub(crate) fn connect_to(&self, worker: usize) -> Client {
        let (near, far) = tokio::io::duplex(64 * 1024);
        // A worker that has left takes nobody; the client sees an end.
        if let Some(door) = self.doors.borrow().get(worker) {
            let _ = door.send(far);
        }
        Client::over(near)
    }

    pub(crate) async fn drain(
        &self,
        number: usize,
        timeout: Option<Duration>,
        wait: bool,
    ) -> DrainAnswer {
        self.try_drain(number, timeout, wait).await.unwrap()
    }

    /// The same, where there may be no such endpoint.
    pub(crate) async fn try_drain(
        &self,
        number: usize,
        timeout: Option<Duration>,
        wait: bool,
    ) -> Result<DrainAnswer, HandleError> {
        let key = self.key(number);
        let request = DrainRequest {
            service: "web".into(),
            endpoint: key.to_string(),
            timeout,
            wait,
        };
        self.did(Deed::Asked(key.clone(), timeout));
        let answer = self.handle.drain(request).await;
        match &answer {
            Ok(answer) => self.hear(answer),
            Err(_) => self.did(Deed::Refused(key)),
        }
        answer
    }

    /// A hook asks for a pod.
    pub(crate) async fn drain_pod(&self, number: usize, limit: Duration) -> PodAnswer {
        let key = self.key(number);
        self.did(Deed::Asked(key.clone(), None));
        let pod = PodName::Name(format!("default/{key}"));
        let request = PodRequest {
            pod,
            cause: Cause::Hook,
            limit,
            elsewhere: Vec::new(),
        };
        let answer = self.handle.drain_pod(request).await.unwrap();
        if answer.endpoints.is_empty() {
            self.did(Deed::Refused(key));
        }
        answer.endpoints.iter().for_each(|answer| self.hear(answer));
        answer
    }

    fn hear(&self, answer: &DrainAnswer) {
        if answer.drained {
            self.did(Deed::Settled(answer.key.clone()));
        }
    }

    pub(crate) async fn undrain(&self, number: usize) {
        self.try_undrain(number).await.unwrap();
    }

    /// The same, where nobody may have asked.
    pub(crate) async fn try_undrain(&self, number: usize) -> Result<(), HandleError> {
        let key = self.key(number);
        self.handle.undrain("web", key.as_str()).await?;
        self.did(Deed::Undrained(key));
        Ok(())
    }

    /// The state and reason of an endpoint's newest life; none when it is gone.
    pub(crate) async fn state(&self, number: usize) -> Option<(State, Option<Reason>)> {
        self.state_of(&self.key(number)).await
    }

    /// The same, by its id.
    pub(crate) async fn state_of(&self, key: &EndpointKey) -> Option<(State, Option<Reason>)> {
        let service = self.handle.service("web").await.unwrap();
        let view = service.endpoints.iter().find(|view| view.key == *key)?;
        Some((view.state, view.reason))
    }

    /// Reports of drains that are over, the newest first.
    pub(crate) async fn reports(&self) -> Vec<Arc<Report>> {
        self.handle.drains().await.unwrap().done
    }

    /// Until everything that can happen at this moment has, and a little longer.
    pub(crate) async fn calm(&self) {
        sleep(Duration::from_millis(1)).await;
        self.settle().await;
    }

    /// Until everything that can happen at this moment has: the clock stands still while anybody has work.
    pub(crate) async fn settle(&self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }

    /// tidegate leaves. Returns how much was cut.
    pub(crate) async fn leave(&self, wait: Duration, grace: Duration) -> u32 {
        let plan = Plan::new(Instant::now(), wait, grace);
        self.plan.set(Some(plan));
        let (done, mut all_done) = mpsc::channel(1);
        let left = Left {
            cut: Arc::new(AtomicU32::new(0)),
            forced: Arc::new(AtomicU32::new(0)),
            done,
        };
        let mail = self.mail.borrow().clone();
        for mail in &mail {
            mail.send(Mail::Leave(plan, left.clone())).await.unwrap();
        }
        let cut = left.cut.clone();
        drop(left);
        timeout(grace, all_done.recv())
            .await
            .expect("nothing runs past the budget (P11)");
        cut.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Upstream connections of all workers: idle, and busy.
    pub(crate) async fn census(&self) -> (u64, u64) {
        let (mut idle, mut busy) = (0, 0);
        let mail = self.mail.borrow().clone();
        for mail in &mail {
            let (answer, answered) = tokio::sync::oneshot::channel();
            mail.send(Mail::Report(answer)).await.unwrap();
            for census in answered.await.unwrap().census.values() {
                idle += census.idle;
                busy += census.busy;
            }
        }
        (idle, busy)
    }

    /// Ends everything, and sees that it ends: no task is left behind (P12).
    pub(crate) async fn end(self) {
        if self.plan.get().is_none() {
            self.leave(Duration::ZERO, Duration::from_secs(1)).await;
        }
        self.mail.take();
        self.doors.take();
        self.stop.cancel();
        for task in self.workers.take() {
            let ended = timeout(Duration::from_secs(1), task).await;
            ended.expect("a worker ends when it has left").unwrap();
        }
        for endpoint in &self.endpoints {
            endpoint.refuse();
            endpoint.crash();
        }
        self.own.take().iter().for_each(JoinHandle::abort);
        self.settle().await;
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        assert_eq!(tasks, 0, "P12: tasks are left");
    }
}

/// More turns than anything takes that happens at one moment.
const TURNS: usize = 100;

/// A seed that is played alone tells what happens.
pub(crate) fn trace(what: &dyn std::fmt::Debug) {
    thread_local! {
        static BEGAN: Option<Instant> = std::env::var_os("TIDEGATE_SEED").map(|_| Instant::now());
    }
    if let Some(began) = BEGAN.with(|began| *began) {
        eprintln!("{:>8} ms  {what:?}", began.elapsed().as_millis());
    }
}

fn listen(handle: &Handle) -> (Rc<RefCell<Vec<Told>>>, JoinHandle<()>) {
    let told = Rc::<RefCell<Vec<Told>>>::default();
    let (mut events, all) = (handle.events(), told.clone());
    let task = tokio::task::spawn_local(async move {
        while let Ok(event) = events.recv().await {
            trace(&event.kind);
            all.borrow_mut().push(Told {
                at: Instant::now(),
                kind: event.kind.clone(),
            });
        }
    });
    (told, task)
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
    let crowd = Crowd::new(&settings.limits, Room::for_connections(u32::MAX));
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
