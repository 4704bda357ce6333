//! The composition root: the only place where everything meets. A config goes in, a running proxy comes out.

mod admin_side;
mod certificates;
mod changes;
mod descriptors;
mod inherited;
mod leave;
mod listeners;
mod objects;
mod peers;
mod privilege;
mod reload;
mod scrape;
mod signals;
mod start;
mod systemd;
mod upgrade;

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

pub use inherited::Inherited;
pub use privilege::harden;
pub use upgrade::Predecessor;

use crate::admin::{self, Listener, Probes, Until};
use crate::config::Config;
use crate::control::{self, Desired, DesiredService, Handle};
use crate::kubernetes::{Cluster, Part};
use crate::net::Address;
use crate::server::{Plan, Room};
use crate::snapshot::Publisher;
use crate::telemetry::{AccessLog, AccessLogEnd, Format, Metrics, log};
use crate::worker::{Mail, mailboxes};
use admin_side::admin_addresses;
use certificates::Certificates;
use inherited::{Kind, Set};
use listeners::{Listening, Place};
use objects::Objects;
use privilege::{Identity, owners};
use reload::{InForce, LastReload};
use signals::Signals;
use start::{start_workers, start_writer};
use systemd::Systemd;
use upgrade::Program;

/// What is decided outside the config.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the access log looks.
    pub format: Format,
    /// Whether requests are logged at all; the demo has its own table.
    pub access_log: bool,
    /// Whom a reload tells of another level; none when it was fixed outside the config.
    pub log_level: Option<log::Level>,
}

/// Everything that has to be had before the first request: what can fail, fails here.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    program: Program,
    listeners: Vec<Listening>,
    admin: Vec<(Kind, Listener)>,
    /// What it goes on with of those that listened before it.
    adopted: Vec<(Kind, String)>,
    workers: usize,
    room: Arc<Room>,
}

/// A proxy that runs.
pub struct App {
    program: Program,
    in_force: InForce,
    cluster: Arc<Cluster>,
    objects: Objects,
    mail: Vec<tokio::sync::mpsc::Sender<Mail>>,
    handle: Handle,
    metrics: Arc<Metrics>,
    probes: Arc<Probes>,
    admin_settings: watch::Sender<Arc<admin::Settings>>,
    last_reload: Arc<Mutex<LastReload>>,
    places: Vec<Place>,
    /// Those of the admin side, for whoever goes on with them.
    admin_sockets: Vec<Set>,
    admin_until: Until,
    systemd: Systemd,
    watchdog: Option<JoinHandle<()>>,
    room: Arc<Room>,
    certificates: Certificates,
    threads: Vec<thread::JoinHandle<()>>,
    log_level: Option<log::Level>,
    log: Option<AccessLog>,
    log_end: Option<AccessLogEnd>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// How the process that has taken over hears of the drains that end here; cancelled when there are no more.
    touch: Option<(CancellationToken, JoinHandle<()>)>,
}

/// Sockets that nobody accepts on yet.
struct Doors {
    listeners: Vec<Listening>,
    admin: Vec<(Kind, Listener)>,
    admin_settings: watch::Receiver<Arc<admin::Settings>>,
}

/// How long accepting waits for the first sets: connections wait in the kernel's queue, which is better than a 503.
const FIRST_SETS: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Bound {
    /// Binds every address of a config, but those that are inherited.
    ///
    /// # Errors
    /// The first address that cannot be had, and why.
    pub fn bind(config: Config, mut inherited: Inherited) -> anyhow::Result<Self> {
        let workers = match config.workers {
            Some(workers) => workers,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let identity = config.user.as_deref().map(Identity::of);
        let identity = identity.transpose()?.flatten();
        if let Some(dir) = &config.state_dir {
            std::fs::create_dir_all(dir).with_context(|| format!("state_dir {}", dir.display()))?;
        }
        certificates::read_for(&config.services)?;
        descriptors::raise_limit();
        let room = Room::for_connections(descriptors::room_for_clients());
        let bind = |settings| Listening::first(settings, workers, &mut inherited, &room);
        let listeners = config
            .listeners
            .iter()
            .map(bind)
            .collect::<Result<Vec<_>, _>>()?;
        let mut admin = Vec::new();
        for (kind, address) in admin_addresses(&config) {
            let socket = inherited
                .take(kind, kind.as_str(), &address)
                .and_then(|mut set| set.sockets.pop());
            let socket = match socket {
                Some(socket) => Listener::of(socket, &address),
                None => {
                    let file = &config.admin.socket;
                    let owners = owners(file).with_context(|| kind.key())?;
                    admin::bind(&address, file.mode, owners).with_context(|| kind.key())?
                }
            };
            admin.push((kind, socket));
        }
        inherited.nothing_is_left()?;
        if let Some(identity) = identity {
            if let Some(dir) = &config.state_dir {
                identity.own(dir)?;
            }
            if let Address::Unix(path) = &config.admin.address
                && config.admin.socket.owner.is_none()
            {
                identity.own(path)?;
            }
            identity.assume()?;
            // Rather now than when they are renewed.
            for listening in &listeners {
                listening.read_again()?;
            }
            certificates::read_for(&config.services)?;
        }
        Ok(Self {
            program: Program::of_this_process(),
            config,
            listeners,
            admin,
            adopted: inherited.taken().to_vec(),
            workers,
            room,
        })
    }

    /// Runs until a signal, then leaves. For a current-thread local runtime.
    ///
    /// # Errors
    /// When a thread or a signal handler cannot be had.
    pub async fn run(
        self,
        options: Options,
        predecessor: Option<Predecessor>,
    ) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
        let mut app = self.start(options, predecessor).await?;
        app.systemd = Systemd::from_env();
        app.systemd.ready();
        app.watchdog = app.systemd.watchdog(&app.handle, &app.tasks);
        // Large, and once in a life: a process that leaves passes all it has from hand to hand.
        Box::pin(app.until_told(&mut signals)).await
    }

    /// Starts everything. After a process that goes on until this one can serve, if there is one.
    ///
    /// # Errors
    /// When a thread cannot be had, or that process goes on after all.
    pub async fn start(
        self,
        options: Options,
        mut predecessor: Option<Predecessor>,
    ) -> anyhow::Result<App> {
        let metrics = Metrics::new();
        let publisher = Publisher::new();
        let (boxes, inboxes) = mailboxes(self.workers);
        let (log, log_end) = if options.access_log {
            let (log, end) =
                AccessLog::start(options.format, std::io::stdout()).context("access log")?;
            (log, Some(end))
        } else {
            (AccessLog::none(), None)
        };
        let threads = start_workers(&self.config, inboxes, &publisher, &metrics, &log)?;
        let control = control::Settings {
            state_dir: self.config.state_dir.clone(),
            inherited: predecessor.as_mut().map(|before| before.drains.take()),
            ..control::Settings::default()
        };
        let cluster = Arc::new(Cluster::default());
        let (handle, tasks, stop) =
            start_writer(&boxes, publisher, &metrics, control, cluster.clone());
        let (admin_settings, admin_watch) = watch::channel(Arc::new(self.config.admin.clone()));
        let config = Arc::new(self.config);
        let mut app = App {
            program: self.program,
            last_reload: Arc::new(Mutex::new(LastReload::first(config.clone()))),
            in_force: InForce::new(config),
            cluster,
            objects: Objects::default(),
            mail: boxes.mail,
            handle,
            places: Vec::new(),
            admin_sockets: Vec::new(),
            admin_until: Until::stopped(stop.clone()),
            systemd: Systemd::default(),
            watchdog: None,
            room: self.room,
            certificates: Certificates::new(metrics.clone()),
            metrics,
            probes: Arc::default(),
            admin_settings,
            threads,
            log_level: options.log_level,
            log: Some(log),
            log_end,
            stop,
            tasks,
            touch: None,
        };
        app.certificates
            .follow_services(certificates::believed(&app.in_force.config().services));
        let (certificates, stop) = (app.certificates.clone(), app.stop.clone());
        app.tasks
            .spawn_local(async move { stop.run_until_cancelled(certificates.run()).await });
        let cluster = app.cluster.clone();
        app.objects
            .follow(&cluster, app.in_force.config().kubernetes.as_ref());
        if app.objects.are_wanted() {
            app.probes.wait_for(Some("nothing is heard yet".into()));
        }
        let doors = Doors {
            listeners: self.listeners,
            admin: self.admin,
            admin_settings: admin_watch,
        };
        match predecessor {
            None => app.begin(doors).await,
            Some(predecessor) => app.follow(predecessor, doors, &self.adopted).await?,
        }
        Ok(app)
    }
}

impl App {
    /// How the writer is asked.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Services and routes first, then connections: whoever comes finds something.
    async fn begin(&mut self, doors: Doors) {
        self.serve_admin(doors.admin, doors.admin_settings);
        let _ = tokio::time::timeout(FIRST_SETS, self.first_part()).await;
        self.prepare().await;
        let _ = tokio::time::timeout(FIRST_SETS, self.first_sets(&[])).await;
        self.accept(doors.listeners).await;
    }

    async fn prepare(&self) {
        let desired = desired(self.in_force.config(), self.in_force.part());
        // An error means that the writer is gone, which its own end has told.
        let _ = self.put_in_force(desired).await;
    }

    async fn accept(&mut self, listeners: Vec<Listening>) {
        for listening in listeners {
            self.listen(listening).await;
        }
        self.probes.accepting.store(true, Ordering::SeqCst);
        let shutdown = &self.in_force.config().shutdown;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            workers = self.mail.len(),
            "tidegate serves"
        );
        let plan = Plan::new(Instant::now(), shutdown.wait_period, shutdown.grace_period);
        leave::tell(&plan, "what SIGTERM will begin");
    }

    /// Until every source has delivered, but those of some services.
    async fn first_sets(&self, but: &[String]) {
        let mut events = self.handle.events();
        while self.handle.waiting_for().await.is_ok_and(|waiting| {
            waiting
                .iter()
                .any(|name| !but.iter().any(|but| but == name.as_str()))
        }) {
            // Whatever happens, it is worth another look; a lost event is one, too. An empty set is none.
            let _ = tokio::time::timeout(LOOK_AGAIN, events.recv()).await;
        }
    }
}

/// The services and routes of a config and of what a cluster's objects add, as the writer takes them. Of two routes that
/// ask the same the file's is found. Long work with a large config: to be done [aside](reload::aside).
fn desired(config: &Config, part: &Part) -> Arc<Desired> {
    let service = |service: &crate::config::Service| DesiredService {
        settings: service.settings.clone(),
        source: service.source.clone(),
    };
    let route = |route: &crate::config::Route| (route.matcher.clone(), route.action.clone());
    let services = config.services.iter().map(service);
    let routes = config.routes.iter().map(route);
    Arc::new(Desired::new(
        services.chain(part.services.iter().cloned()).collect(),
        routes.chain(part.routes.iter().cloned()).collect(),
    ))
}
