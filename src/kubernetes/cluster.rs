//! The thread that watches, and those who listen to it: the sources of services, and whoever takes up what objects mean.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::controller;
use super::part::{Known, Settings};
use super::reflector::{Reflector, Subscriber, Told};
use crate::discovery::{Heard, KubernetesService, Observation, Observer, Source};

/// The cluster that the environment names. Its thread starts with the first source, and ends with the cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug)]
struct Thread {
    subscribe: mpsc::Sender<Wish>,
    handle: JoinHandle<()>,
}

/// Somebody wants to hear of something.
#[derive(Debug)]
enum Wish {
    /// Of a service in a namespace.
    Service(String, Subscriber),
    /// Of what objects add to the config.
    Part(Box<Settings>, watch::Sender<Known>),
}

/// A service that somebody looks at now and then.
#[derive(Debug)]
pub struct Followed {
    told: watch::Receiver<Told>,
}

/// A service's endpoint slices, watched.
#[derive(Debug)]
struct Slices {
    service: KubernetesService,
    subscribe: Option<mpsc::Sender<Wish>>,
}

/// Wishes that may wait, and subscribers of one namespace. Sources wait their turn; whoever cannot wait comes first.
const WISHES_MAX: usize = 64;

impl Cluster {
    /// The source of a service.
    #[must_use]
    pub fn source(&self, service: &KubernetesService) -> Box<dyn Source> {
        Box::new(Slices {
            service: service.clone(),
            subscribe: self.subscribe(),
        })
    }

    /// What a service has, for somebody who looks now and then. None when nothing can be watched.
    #[must_use]
    pub fn follow(&self, service: &KubernetesService) -> Option<Followed> {
        let (wish, told) = wish(service);
        self.subscribe()?.try_send(wish).ok()?;
        Some(Followed { told })
    }

    /// What objects add to the config, now and whenever that changes. None when nothing can be watched.
    #[must_use]
    pub fn part(&self, settings: &Settings) -> Option<watch::Receiver<Known>> {
        let (tell, known) = watch::channel(Known::default());
        let wish = Wish::Part(Box::new(settings.clone()), tell);
        self.subscribe()?.try_send(wish).ok()?;
        Some(known)
    }

    fn subscribe(&self) -> Option<mpsc::Sender<Wish>> {
        let mut thread = self.thread.lock().ok()?;
        if thread.is_none() {
            *thread = match Thread::start() {
                Ok(thread) => Some(thread),
                Err(error) => {
                    error!(%error, "the thread that watches Kubernetes cannot be started");
                    None
                }
            };
        }
        thread.as_ref().map(|thread| thread.subscribe.clone())
    }
}

impl Followed {
    /// Its endpoints, as they are known.
    ///
    /// # Errors
    /// Why nothing is known yet.
    pub fn now(&self) -> Result<Arc<Observation>, String> {
        self.told.borrow().now()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        if let Some(Thread { subscribe, handle }) = thread {
            drop(subscribe);
            // An error is a panic, which has been told.
            let _ = handle.join();
        }
    }
}

impl Thread {
    fn start() -> std::io::Result<Self> {
        let (subscribe, wishes) = mpsc::channel(WISHES_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = std::thread::Builder::new()
            .name("kubernetes".into())
            .spawn(move || runtime.block_on(serve(wishes)))?;
        Ok(Self { subscribe, handle })
    }
}

/// One reflector for each namespace that somebody wants to hear of, until the cluster is gone.
async fn serve(mut wishes: mpsc::Receiver<Wish>) {
    let mut reflectors: HashMap<String, mpsc::Sender<Subscriber>> = HashMap::new();
    // Dropped at the end, and with it whatever still runs.
    let mut tasks = tokio::task::JoinSet::new();
    let mut parts = tokio::task::JoinSet::new();
    while let Some(wish) = wishes.recv().await {
        while tasks.try_join_next().is_some() || parts.try_join_next().is_some() {}
        let (namespace, subscriber) = match wish {
            Wish::Service(namespace, subscriber) => (namespace, subscriber),
            Wish::Part(settings, tell) => {
                parts.spawn(controller::run(*settings, tell));
                continue;
            }
        };
        reflectors.retain(|_, reflector| !reflector.is_closed());
        let refused = match reflectors.get(&namespace) {
            Some(reflector) => match reflector.send(subscriber).await {
                Ok(()) => continue,
                // Its last subscriber went at this very moment.
                Err(error) => error.0,
            },
            None => subscriber,
        };
        let (send, subscribers) = mpsc::channel(WISHES_MAX);
        tasks.spawn(Reflector::new(refused).run(namespace.clone(), subscribers));
        reflectors.insert(namespace, send);
    }
    // Whoever holds a lease lets it go.
    let all = async { while parts.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_WORDS, all).await;
}

/// What may still be written when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn wish(service: &KubernetesService) -> (Wish, watch::Receiver<Told>) {
    let (tell, told) = watch::channel(Told::default());
    let name = Arc::from(service.service.as_str());
    let subscriber = Subscriber::new(name, service.port.clone(), service.pods, tell);
    (Wish::Service(service.namespace.clone(), subscriber), told)
}

impl Slices {
    async fn listen(self, out: Observer) {
        let (wish, mut told) = wish(&self.service);
        let is_heard = match &self.subscribe {
            Some(subscribe) => subscribe.send(wish).await.is_ok(),
            None => false,
        };
        if !is_heard {
            let fault = "tidegate has no thread to watch Kubernetes with, see its log";
            out.tell(Heard::Fault(fault.into())).await;
            return;
        }
        let mut last = Told::default();
        while told.changed().await.is_ok() {
            let now = told.borrow_and_update().clone();
            let news = now.since(&last);
            last = now;
            for heard in news {
                out.tell(heard).await;
            }
        }
    }
}

impl Source for Slices {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn run(self: Box<Self>, out: Observer, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            if stop.run_until_cancelled(self.listen(out)).await.is_some() {
                stop.cancelled().await;
            }
        }
        .boxed()
    }
}
