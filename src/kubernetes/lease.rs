//! A Lease: of all replicas one at a time writes to the API server what nobody's traffic needs.
//!
//! Whoever finds it free takes it, its holder renews it, and one that has not been renewed for its whole duration is free.
//! That is judged by our own clock, from when a change was seen, so that no two machines have to agree on the time. Every
//! write names the version it was made from: of two that take it at the same moment one is refused. Whoever cannot renew
//! in time stops writing before another can begin.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::api::{ApiError, sort, within};
use super::part::LeaseSettings;
use super::place::Place;

/// A lease as one replica sees it.
#[derive(Debug)]
pub(super) struct Lease {
    settings: LeaseSettings,
    place: Place,
    namespace: String,
    /// Who we are: unique, also over restarts of a pod.
    holder: String,
    /// What it said when it last changed, and since when it has.
    seen: Option<(LeaseSpec, Instant)>,
    /// When we last wrote it, while we hold it.
    renewed: Option<Instant>,
    fault: Option<String>,
}

/// What is to be done about a lease that says this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is somebody else's.
    Wait,
    /// It is ours, and stays so.
    Renew,
    /// It is free.
    Take,
}

impl Lease {
    pub(super) fn new(settings: &LeaseSettings, namespace: &str) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        let host = if host.is_empty() { "tidegate" } else { host };
        Self {
            settings: settings.clone(),
            place: Place::Namespace(namespace.to_owned()),
            namespace: namespace.to_owned(),
            holder: format!("{host}_{:016x}", fastrand::u64(..)),
            seen: None,
            renewed: None,
            fault: None,
        }
    }

    pub(super) fn holder(&self) -> &str {
        &self.holder
    }

    /// Takes it when it is free and renews it, for ever; says whether we hold it.
    pub(super) async fn keep(&mut self, client: &Client, held: &watch::Sender<bool>) {
        let api = Api::namespaced(client.clone(), &self.namespace);
        loop {
            let pause = match self.round(&api).await {
                Ok(()) => {
                    self.fault = None;
                    self.settings.duration / 3
                }
                Err(error) => {
                    let fault = error.to_string();
                    if self.fault.as_ref() != Some(&fault) {
                        warn!(
                            error = fault,
                            "the lease cannot be had; statuses and events are not written, traffic does not need them"
                        );
                    }
                    self.fault = Some(fault);
                    // Often enough to renew it in time, and more seldom when nothing is to be lost.
                    match self.renewed {
                        Some(_) => self.settings.duration / 6,
                        None => self.settings.duration,
                    }
                }
            };
            self.look(held);
            let pause = pause.mul_f64(0.9 + 0.2 * fastrand::f64());
            // It is given up in time, also between two rounds.
            match self.ends() {
                Some(end) if end < Instant::now() + pause => {
                    sleep(end.saturating_duration_since(Instant::now())).await;
                    self.look(held);
                }
                _ => sleep(pause).await,
            }
        }
    }

    /// Lets it go, so that another need not wait until it is over.
    pub(super) async fn let_go(&mut self, client: &Client) {
        if self.renewed.take().is_none() {
            return;
        }
        let api = Api::namespaced(client.clone(), &self.namespace);
        let outcome = async {
            let lease = self.read(&api).await?;
            let Some(lease) = lease.filter(|lease| self.is_ours(lease.spec.as_ref())) else {
                return Ok(());
            };
            self.write(&api, lease, "").await
        };
        match outcome.await {
            Ok(()) => info!("the lease is let go"),
            Err(error) => warn!(%error, "the lease cannot be let go; it is over by itself"),
        }
    }

    /// Until when we hold it for certain: a while before others may take it.
    fn ends(&self) -> Option<Instant> {
        Some(self.renewed? + self.settings.duration * 2 / 3)
    }

    fn look(&mut self, held: &watch::Sender<bool>) {
        if self.ends().is_some_and(|end| end <= Instant::now()) {
            self.renewed = None;
        }
        let is_held = self.renewed.is_some();
        held.send_if_modified(|held| {
            let changed = *held != is_held;
            *held = is_held;
            if changed && is_held {
                info!(
                    lease = self.settings.name,
                    "this replica writes statuses and events"
                );
            } else if changed {
                info!(
                    lease = self.settings.name,
                    "another replica may write statuses and events"
                );
            }
            changed
        });
    }

    async fn round(&mut self, api: &Api<Object>) -> Result<(), ApiError> {
        let Some(lease) = self.read(api).await? else {
            return self.create(api).await;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        match self.step(&spec, Instant::now()) {
            Step::Wait => {
                self.renewed = None;
                Ok(())
            }
            Step::Renew | Step::Take => {
                let holder = self.holder.clone();
                self.write(api, lease, &holder).await
            }
        }
    }

    /// What a lease that says this means now.
    fn step(&mut self, spec: &LeaseSpec, now: Instant) -> Step {
        let since = match &self.seen {
            Some((seen, since)) if seen == spec => *since,
            _ => {
                self.seen = Some((spec.clone(), now));
                now
            }
        };
        if self.is_ours(Some(spec)) {
            return Step::Renew;
        }
        let is_free = spec.holder_identity.as_deref().is_none_or(str::is_empty);
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        if is_free || now >= since + duration {
            Step::Take
        } else {
            Step::Wait
        }
    }

    fn is_ours(&self, spec: Option<&LeaseSpec>) -> bool {
        let holder = spec.and_then(|spec| spec.holder_identity.as_ref());
        holder == Some(&self.holder)
    }

    async fn read(&self, api: &Api<Object>) -> Result<Option<Object>, ApiError> {
        match within(api.get(&self.settings.name)).await? {
            Ok(lease) => Ok(Some(lease)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(self.sort(error, "get")),
        }
    }

    async fn create(&mut self, api: &Api<Object>) -> Result<(), ApiError> {
        let lease = Object::default();
        let lease = self.said(lease, &self.holder)?;
        let asked = Instant::now();
        let created = within(api.create(&PostParams::default(), &lease)).await?;
        self.done(created, asked, "create")
    }

    async fn write(
        &mut self,
        api: &Api<Object>,
        lease: Object,
        holder: &str,
    ) -> Result<(), ApiError> {
        let lease = self.said(lease, holder)?;
        // It counts from before the write: nobody may think it older than we do.
        let asked = Instant::now();
        let name = self.settings.name.clone();
        let written = within(api.replace(&name, &PostParams::default(), &lease)).await?;
        self.done(written, asked, "update")
    }

    fn done(
        &mut self,
        written: kube::Result<Object>,
        asked: Instant,
        verb: &'static str,
    ) -> Result<(), ApiError> {
        match written {
            Ok(lease) => {
                let is_ours = self.is_ours(lease.spec.as_ref());
                self.renewed = is_ours.then_some(asked);
                Ok(())
            }
            // Another one was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.renewed = None;
                Ok(())
            }
            Err(error) => Err(self.sort(error, verb)),
        }
    }

    /// The lease as this holder writes it; what else it says stays.
    fn said(&self, lease: Object, holder: &str) -> Result<Object, ApiError> {
        let old = lease.spec.unwrap_or_default();
        let is_new = old.holder_identity.as_deref() != Some(holder);
        let transitions = old.lease_transitions.unwrap_or_default();
        let now = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        let spec = json!({
            "holderIdentity": holder,
            "leaseDurationSeconds": self.settings.duration.as_secs().max(1),
            "renewTime": now,
            "acquireTime": if is_new { json!(now) } else { json!(old.acquire_time) },
            "leaseTransitions": transitions.saturating_add(i32::from(is_new)),
        });
        let mut metadata = lease.metadata;
        metadata.name = Some(self.settings.name.clone());
        metadata.managed_fields = None;
        let spec = serde_json::from_value(spec);
        Ok(Object {
            metadata,
            spec: Some(spec.map_err(|error| ApiError::Garbled(error.to_string()))?),
        })
    }

    fn sort(&self, error: kube::Error, verb: &'static str) -> ApiError {
        sort(error, verb, "leases", &self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        let settings = LeaseSettings::default();
        let mut lease = Lease::new(&settings, "tidegate");
        lease.holder = "us".into();
        lease
    }

    fn spec(holder: &str, second: u64) -> LeaseSpec {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let time = humantime::format_rfc3339_micros(at).to_string();
        let spec =
            json!({ "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": time });
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn is_taken_when_it_is_free_or_was_not_renewed_for_its_whole_duration() {
        let (mut lease, now) = (lease(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(lease.step(&spec("", 0), now), Step::Take);
        assert_eq!(lease.step(&LeaseSpec::default(), now), Step::Take);
        assert_eq!(lease.step(&spec("us", 0), now), Step::Renew);
        // However old it says it is: our clock counts, from when it was seen.
        assert_eq!(lease.step(&spec("other", 0), now), Step::Wait);
        assert_eq!(lease.step(&spec("other", 0), after(14)), Step::Wait);
        assert_eq!(lease.step(&spec("other", 5), after(15)), Step::Wait);
        assert_eq!(lease.step(&spec("other", 5), after(29)), Step::Wait);
        assert_eq!(lease.step(&spec("other", 5), after(30)), Step::Take);
    }

    #[tokio::test(start_paused = true)]
    async fn is_given_up_before_another_may_take_it() {
        let mut lease = lease();
        let (tell, held) = watch::channel(false);
        lease.renewed = Some(Instant::now());
        lease.look(&tell);
        assert!(*held.borrow());
        tokio::time::advance(Duration::from_millis(9_900)).await;
        lease.look(&tell);
        assert!(*held.borrow());
        tokio::time::advance(Duration::from_millis(200)).await;
        lease.look(&tell);
        assert!(!*held.borrow());
    }

    #[test]
    fn says_who_holds_it_and_counts_who_held_it() {
        let lease = lease();
        let old = Object {
            spec: Some(spec("other", 0)),
            ..Object::default()
        };
        let taken = lease.said(old, "us").unwrap().spec.unwrap();
        assert_eq!(taken.holder_identity.as_deref(), Some("us"));
        assert_eq!(taken.lease_transitions, Some(1));
        assert_eq!(taken.acquire_time, taken.renew_time);
        let object = Object {
            spec: Some(taken.clone()),
            ..Object::default()
        };
        let renewed = lease.said(object, "us").unwrap().spec.unwrap();
        assert_eq!(renewed.acquire_time, taken.acquire_time);
        assert_eq!(renewed.lease_transitions, Some(1));
    }
}
