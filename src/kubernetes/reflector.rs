//! One namespace, watched once for all its services.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::mirror::{Changed, Mirror};
use super::place::Place;
use super::pods::{self, Leaving, PodMeta};
use super::slice::Slice;
use super::view::View;
use super::watch::{Seen, Watch};
use crate::discovery::{Heard, Observation, Port};

/// Who listens to a service.
#[derive(Debug)]
pub(super) struct Subscriber {
    service: Arc<str>,
    view: View,
    tell: watch::Sender<Told>,
}

/// All that was told to a subscriber, so that it may come late and misses nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    set: Option<Arc<Observation>>,
    /// How many of the sets came from another list than the first.
    relists: u64,
    fault: Option<Arc<str>>,
    faults: u64,
}

/// The state of a namespace and those who listen to it.
#[derive(Debug)]
pub(super) struct Reflector {
    mirror: Mirror,
    leaving: Leaving,
    subscribers: Vec<Subscriber>,
    /// Whether everything was listed once.
    is_listed: bool,
    fault: Option<Arc<str>>,
    /// Services with changes that may still be gathered, and until when.
    dirty: HashMap<Arc<str>, Instant>,
}

/// How long changes are gathered that are not urgent (P2).
const GATHER: Duration = Duration::from_millis(10);

/// Events that may wait.
const SEEN_MAX: usize = 256;

impl Told {
    /// What a source has to say, that has said `last`.
    pub(super) fn since(&self, last: &Self) -> Vec<Heard> {
        let is_new = match (&self.set, &last.set) {
            (Some(now), Some(last)) => !Arc::ptr_eq(now, last),
            (now, _) => now.is_some(),
        };
        let mut news = Vec::new();
        if let Some(set) = self.set.clone().filter(|_| is_new) {
            news.push(if self.relists > last.relists {
                Heard::Relist(set)
            } else {
                Heard::Observation(set)
            });
        }
        match &self.fault {
            Some(fault) if self.faults > last.faults => news.push(Heard::Fault(fault.to_string())),
            None if !is_new && self.set.is_some() => news.push(Heard::Same),
            _ => {}
        }
        news
    }
}

impl Subscriber {
    pub(super) fn new(
        service: Arc<str>,
        port: Option<Port>,
        pods: bool,
        tell: watch::Sender<Told>,
    ) -> Self {
        Self {
            service,
            view: View::new(port, pods),
            tell,
        }
    }

    /// Tells the set as it is now.
    fn look(&mut self, mirror: &Mirror, leaving: &Leaving, relist: bool) {
        let read = self.view.look(mirror.slices(&self.service), leaving);
        self.tell.send_modify(|told| match read {
            Ok(set) => {
                if told.set.as_ref().is_none_or(|known| **known != set) {
                    told.relists += u64::from(relist && told.set.is_some());
                    told.set = Some(Arc::new(set));
                }
                told.fault = None;
            }
            Err(fault) => {
                // A wrong port is this service's own trouble: tidegate becomes ready without it.
                told.set.get_or_insert_default();
                told.blame(&fault.into());
            }
        });
    }
}

impl Told {
    /// The set, or why there is none.
    pub(super) fn now(&self) -> Result<Arc<Observation>, String> {
        self.set.clone().ok_or_else(|| {
            let fault = self.fault.as_deref();
            fault
                .unwrap_or("the API server has not answered yet")
                .to_owned()
        })
    }

    fn blame(&mut self, fault: &Arc<str>) {
        self.faults += u64::from(self.fault.as_ref() != Some(fault));
        self.fault = Some(fault.clone());
    }
}

impl Reflector {
    /// For a first subscriber.
    pub(super) fn new(first: Subscriber) -> Self {
        Self {
            mirror: Mirror::default(),
            leaving: Leaving::default(),
            subscribers: vec![first],
            is_listed: false,
            fault: None,
            dirty: HashMap::new(),
        }
    }

    /// Watches a namespace until nobody listens any more.
    pub(super) async fn run(self, namespace: String, subscribers: mpsc::Receiver<Subscriber>) {
        let (out, seen) = mpsc::channel(SEEN_MAX);
        let place = Place::Namespace(namespace);
        let watch = Watch::<EndpointSlice, Slice>::of(&place, "endpointslices", out);
        tokio::join!(watch.run(), self.serve(&place, subscribers, seen));
    }

    async fn serve(
        mut self,
        place: &Place,
        mut subscribers: mpsc::Receiver<Subscriber>,
        mut seen: mpsc::Receiver<Seen<Slice>>,
    ) {
        let mut sweep = tokio::time::interval(SWEEP);
        // Pods are many, and watched only for somebody who wants to hear of them.
        let (out, mut pods) = mpsc::channel(SEEN_MAX);
        let mut out = Some(out);
        let mut watching = FuturesUnordered::new();
        loop {
            if self.subscribers.iter().any(|one| one.view.hears_pods())
                && let Some(out) = out.take()
            {
                watching.push(Watch::<PodMeta, pods::Kept>::of(place, "pods", out).run());
            }
            let due = self.next();
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(one) = pods.recv(), if !watching.is_empty() => self.seen_pod(one, Instant::now()),
                Some(one) = seen.recv() => self.seen(one, Instant::now()),
                Some(subscriber) = subscribers.recv() => self.admit(subscriber),
                () = due => self.due(Instant::now()),
                _ = sweep.tick() => {
                    self.subscribers.retain(|one| !one.tell.is_closed());
                    self.leaving.sweep(Instant::now());
                }
                Some(()) = watching.next() => {}
            }
            if self.subscribers.is_empty() && subscribers.is_empty() {
                break;
            }
        }
    }

    fn admit(&mut self, mut subscriber: Subscriber) {
        if self.is_listed {
            subscriber.look(&self.mirror, &self.leaving, false);
        }
        if let Some(fault) = &self.fault {
            subscriber.tell.send_modify(|told| told.blame(fault));
        }
        self.subscribers.push(subscriber);
    }

    /// What cannot be seen of pods takes nothing from what the slices say.
    fn seen_pod(&mut self, seen: Seen<pods::Kept>, now: Instant) {
        let (is_new, pod) = match seen {
            Seen::All(pods) => (self.leaving.replace(&pods, now), None),
            Seen::One(pod) => (self.leaving.see(&pod), Some(pod.uid)),
            Seen::Gone(pod) => (self.leaving.gone(&pod, now), Some(pod.uid)),
            Seen::Same => (false, None),
            Seen::Nothing(error) | Seen::Absent(error) => {
                warn!(
                    error,
                    "pods cannot be seen; what the endpoint slices say stays in force"
                );
                (false, None)
            }
        };
        if !is_new {
            return;
        }
        for one in &mut self.subscribers {
            one.view.stir(pod.as_deref());
        }
        if self.is_listed {
            self.look(|one| one.view.hears_pods());
        }
    }

    fn seen(&mut self, seen: Seen<Slice>, now: Instant) {
        if let Seen::Nothing(fault) | Seen::Absent(fault) = seen {
            let fault = Arc::from(fault);
            for one in &self.subscribers {
                one.tell.send_modify(|told| told.blame(&fault));
            }
            self.fault = Some(fault);
            return;
        }
        let recovered = self.fault.take().is_some() && self.is_listed;
        match seen {
            Seen::All(slices) => {
                self.mirror.replace(slices);
                self.dirty.clear();
                let relist = std::mem::replace(&mut self.is_listed, true);
                for one in &mut self.subscribers {
                    one.look(&self.mirror, &self.leaving, relist);
                }
            }
            Seen::One(slice) => {
                let changed = self.mirror.apply(*slice);
                self.changed(changed, now);
            }
            Seen::Gone(slice) => {
                let changed = self.mirror.delete(&slice, now);
                self.changed(changed, now);
            }
            Seen::Same => self.look(|_| true),
            Seen::Nothing(_) | Seen::Absent(_) => {}
        }
        if recovered {
            self.look(|_| true);
        }
    }

    fn changed(&mut self, changed: Changed, now: Instant) {
        for service in changed.services {
            if changed.is_urgent {
                self.dirty.remove(&service);
                self.look(|one| one.service == service);
            } else {
                self.dirty.entry(service).or_insert(now + GATHER);
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        self.dirty.values().copied().chain(self.mirror.next()).min()
    }

    fn due(&mut self, now: Instant) {
        for service in self.mirror.due(now) {
            self.dirty.insert(service, now);
        }
        let due: Vec<Arc<str>> = self
            .dirty
            .extract_if(|_, at| *at <= now)
            .map(|(service, _)| service)
            .collect();
        self.look(|one| due.contains(&one.service));
    }

    fn look(&mut self, wanted: impl Fn(&Subscriber) -> bool) {
        for one in self.subscribers.iter_mut().filter(|one| wanted(one)) {
            one.look(&self.mirror, &self.leaving, false);
        }
    }
}

/// How often it is asked who still listens.
const SWEEP: Duration = Duration::from_secs(1);
