//! The composition root: the only place where everything meets. A config goes in, a running proxy comes out.

mod certificates;
mod changes;
mod descriptors;
mod leave;
mod listeners;
mod reload;
mod scrape;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::admin::{self, Admin, Probes};
use crate::config::Config;
use crate::control::{self, BuildSource, Desired, DesiredService, Handle, Writer};
use crate::discovery::{self, File, Fixed};
use crate::kubernetes::Cluster;
use crate::proxy;
use crate::snapshot::Publisher;
use crate::telemetry::{AccessLog, AccessLogEnd, Format, Metrics};
use crate::worker::{self, Mail, Mailboxes, Worker, mailboxes};
use certificates::Certificates;
use changes::Changes;
use leave::Ask;
use listeners::{Listening, Place};
use reload::{InForce, LastReload};

/// What is decided outside the config.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How the access log looks.
    pub format: Format,
    /// Whether requests are logged at all; the demo has its own table.
    pub access_log: bool,
}

/// Everything that has to be had before the first request: what can fail, fails here.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    listeners: Vec<Listening>,
    admin: TcpListener,
    probes: Option<TcpListener>,
    workers: usize,
}

/// A proxy that runs.
pub struct App {
    in_force: InForce,
    mail: Vec<tokio::sync::mpsc::Sender<Mail>>,
    handle: Handle,
    metrics: Arc<Metrics>,
    probes: Arc<Probes>,
    admin_settings: watch::Sender<Arc<admin::Settings>>,
    last_reload: Arc<Mutex<LastReload>>,
    places: Vec<Place>,
    certificates: Certificates,
    threads: Vec<JoinHandle<()>>,
    log: Option<AccessLog>,
    log_end: Option<AccessLogEnd>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How long accepting waits for the first sets: connections wait in the kernel's queue, which is better than a 503.
const FIRST_SETS: Duration = Duration::from_secs(1);

impl Bound {
    /// Binds every address of a config.
    ///
    /// # Errors
    /// The first address that cannot be had, and why.
    pub fn bind(config: Config) -> anyhow::Result<Self> {
        let workers = match config.workers {
            Some(workers) => workers,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        if let Some(dir) = &config.state_dir {
            std::fs::create_dir_all(dir).with_context(|| format!("state_dir {}", dir.display()))?;
        }
        certificates::read_for(&config.services)?;
        let bind = |settings| Listening::bind(settings, workers);
        let listeners = config
            .listeners
            .iter()
            .map(bind)
            .collect::<Result<_, _>>()?;
        let admin = admin::bind(config.admin.address).context("admin")?;
        let probes = config
            .admin
            .probes_address
            .map(admin::bind)
            .transpose()
            .context("admin.probes_address")?;
        Ok(Self {
            config,
            listeners,
            admin,
            probes,
            workers,
        })
    }

    /// Runs until a signal, then leaves. For a current-thread local runtime.
    ///
    /// # Errors
    /// When a thread or a signal handler cannot be had.
    pub async fn run(self, options: Options) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
        let app = self.start(options).await?;
        app.until_told(&mut signals).await
    }

    /// Starts everything.
    ///
    /// # Errors
    /// When a thread cannot be had.
    pub async fn start(self, options: Options) -> anyhow::Result<App> {
        descriptors::raise_limit();
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
        let mut threads = Vec::new();
        for (number, inbox) in inboxes.into_iter().enumerate() {
            let settings = proxy::Settings {
                worker: number,
                per_endpoint_metrics: self.config.admin.per_endpoint_metrics,
                access_log_sample: self.config.access_log_sample,
                seed: fastrand::u64(..),
            };
            let (reader, metrics, log) = (publisher.reader(), metrics.clone(), log.clone());
            let worker = Worker {
                settings,
                reader,
                metrics,
                log,
                inbox,
            };
            threads.push(worker::spawn(worker).context("worker")?);
        }
        let (handle, tasks, stop) =
            start_writer(&boxes, publisher, &metrics, self.config.state_dir.clone());
        let (admin_settings, admin_watch) = watch::channel(Arc::new(self.config.admin.clone()));
        let mut app = App {
            last_reload: Arc::new(Mutex::new(LastReload::first(&self.config))),
            in_force: InForce::new(self.config),
            mail: boxes.mail,
            handle,
            places: Vec::new(),
            certificates: Certificates::new(metrics.clone()),
            metrics,
            probes: Arc::default(),
            admin_settings,
            threads,
            log: Some(log),
            log_end,
            stop,
            tasks,
        };
        app.certificates
            .follow_services(&app.in_force.config().services);
        let (certificates, stop) = (app.certificates.clone(), app.stop.clone());
        app.tasks
            .spawn_local(async move { stop.run_until_cancelled(certificates.run()).await });
        app.serve_admin(self.admin, self.probes, admin_watch);
        app.begin(self.listeners).await;
        Ok(app)
    }
}

/// Starts the writer, on this thread.
fn start_writer(
    boxes: &Mailboxes,
    publisher: Publisher,
    metrics: &Arc<Metrics>,
    state_dir: Option<PathBuf>,
) -> (Handle, TaskTracker, CancellationToken) {
    let (handle, inbox) = control::channel();
    let writer = Writer::new(
        control::Settings {
            state_dir,
            ..control::Settings::default()
        },
        inbox,
        boxes.commands.clone(),
        publisher,
        metrics.clone(),
        build(),
    );
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn_local(writer.run(stop.clone()));
    (handle, tasks, stop)
}

/// Builds sources: here, since those of Kubernetes stand above the writer that starts them.
fn build() -> BuildSource {
    let cluster = Cluster::default();
    Box::new(move |settings| match settings {
        discovery::Settings::List(addresses) => Box::new(Fixed::new(addresses)),
        discovery::Settings::File { path, port } => Box::new(File::new(path.clone(), port.clone())),
        discovery::Settings::Kubernetes(service) => cluster.source(service),
    })
}

impl App {
    /// How the writer is asked.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Services and routes first, then connections: whoever comes finds something.
    async fn begin(&mut self, listeners: Vec<Listening>) {
        // An error means that the writer is gone, which its own end has told.
        let _ = self.handle.reload(desired(self.in_force.config())).await;
        let _ = tokio::time::timeout(FIRST_SETS, self.first_sets()).await;
        for listening in listeners {
            self.listen(listening).await;
        }
        self.probes.accepting.store(true, Ordering::SeqCst);
        let shutdown = &self.in_force.config().shutdown;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            workers = self.mail.len(),
            wait_period_ms = shutdown.wait_period.as_millis() as u64,
            grace_period_ms = shutdown.grace_period.as_millis() as u64,
            "tidegate serves"
        );
    }

    async fn first_sets(&self) {
        let mut events = self.handle.events();
        while self
            .handle
            .waiting_for()
            .await
            .is_ok_and(|waiting| !waiting.is_empty())
        {
            // Whatever happens, it is worth another look; a lost event is one, too.
            let _ = events.recv().await;
        }
    }

    fn serve_admin(
        &self,
        socket: TcpListener,
        probes: Option<TcpListener>,
        settings: watch::Receiver<Arc<admin::Settings>>,
    ) {
        let last_reload = self.last_reload.clone();
        let losses = self.log.as_ref().map(AccessLog::losses).unwrap_or_default();
        let admin = Admin {
            handle: self.handle.clone(),
            probes: self.probes.clone(),
            settings,
            metrics: scrape::scraper(
                &self.metrics,
                &self.handle,
                &self.mail,
                losses,
                &self.in_force.config().admin,
            ),
            config: Arc::new(move || {
                last_reload
                    .lock()
                    .map_or(serde_json::Value::Null, |last| last.describe())
            }),
        };
        tell_address("admin", &socket);
        self.tasks
            .spawn_local(serve(socket, admin::router(&admin), self.stop.clone()));
        if let Some(socket) = probes {
            tell_address("probes", &socket);
            self.tasks.spawn_local(serve(
                socket,
                admin::probes_router(&admin),
                self.stop.clone(),
            ));
        }
    }

    async fn until_told(mut self, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        let mut changes = Changes::of(std::iter::once(&*self.in_force.config().path));
        loop {
            let config = self.in_force.config();
            let ask = tokio::select! {
                biased;
                ask = signals.next() => ask,
                () = changes.next(), if config.reload_on_change => Ask::Reload,
            };
            match ask {
                Ask::Reload => self.reload().await,
                Ask::Leave { wait } => return Ok(self.leave(wait, signals).await),
            }
        }
    }
}

fn tell_address(what: &str, socket: &TcpListener) {
    if let Ok(address) = socket.local_addr() {
        info!(admin = what, %address, "listening");
    }
}

async fn serve(socket: TcpListener, router: axum::Router, stop: CancellationToken) {
    if let Err(error) = admin::serve(socket, router, stop).await {
        tracing::error!(%error, "the admin side has ended");
    }
}

/// The services and routes of a config, as the writer takes them.
fn desired(config: &Config) -> Desired {
    let service = |service: &crate::config::Service| DesiredService {
        settings: service.settings.clone(),
        source: service.source.clone(),
    };
    Desired {
        services: config.services.iter().map(service).collect(),
        routes: config
            .routes
            .iter()
            .map(|route| (route.matcher.clone(), route.service.clone()))
            .collect(),
    }
}

/// The signals that mean something.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signal handler");
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Ask {
        tokio::select! {
            biased;
            _ = self.term.recv() => Ask::Leave { wait: true },
            _ = self.int.recv() => Ask::Leave { wait: false },
            _ = self.hup.recv() => Ask::Reload,
        }
    }

    /// The exit code of the next signal that ends a process: 128 and its number.
    async fn fatal(&mut self) -> u8 {
        tokio::select! {
            biased;
            _ = self.term.recv() => 143,
            _ = self.int.recv() => 130,
        }
    }
}
