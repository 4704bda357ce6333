//! A request on its way to an endpoint: checked, routed, and what follows from both.

use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http_body::Body as _;
use tokio::time::Instant;

use super::account::Account;
use super::change::Change;
use super::choice;
use super::inspect::{Target, inspect};
use super::retry::Retries;
use super::routing::{Lead, Routed};
use super::times::Times;
use super::upgrade::Wish;
use super::upload::Upload;
use super::{Answer, Downstream, Failure, Inbound, Proxy};
use crate::snapshot::{Service, ServiceSettings};

/// A request on its way, through all its attempts.
pub(super) struct Flow<'r> {
    pub(super) parts: &'r Parts,
    pub(super) target: Target,
    pub(super) service: Arc<Service>,
    pub(super) settings: Arc<ServiceSettings>,
    pub(super) route: Arc<str>,
    /// What the route changes of it.
    pub(super) change: Option<Box<Change>>,
    pub(super) downstream: &'r Rc<Downstream>,
    pub(super) upload: Upload,
    pub(super) account: Account,
    pub(super) hash: Option<u64>,
    /// The tunnel that the client asks for, and may have.
    pub(super) wish: Option<Wish>,
    pub(super) session: Option<u64>,
    pub(super) started: Instant,
    /// What the route gives it.
    pub(super) times: Times,
    pub(super) retries: Retries,
}

impl Proxy {
    /// Takes a request up: checks and routes it. `Err`: what it is answered without an endpoint.
    ///
    /// A function of its own, and not the beginning of [`Proxy::handle`]: what is on its way into the flow would have a place in
    /// that future beside it, for as long as the request lasts.
    pub(super) fn take_up<'r>(
        self: &Rc<Self>,
        parts: &'r Parts,
        incoming: Inbound,
        downstream: &'r Rc<Downstream>,
    ) -> Result<Flow<'r>, Box<Answer>> {
        let started = self.clock.now();
        let mut account = Account::begin(self, downstream, parts, started);
        if let Some(flaw) = downstream.flaw.get() {
            return Err(Box::new(flaw.respond(account, parts)));
        }
        let target = match inspect(parts, &downstream.entrance) {
            Ok(target) => target,
            Err(failure) => return Err(Box::new(failure.respond(account, parts))),
        };
        account.routed_by(&target);
        let routed = match self.route(&target, parts, downstream, None) {
            Ok(Lead::To(routed)) => routed,
            Ok(Lead::Elsewhere(elsewhere)) => {
                let goes_on = !incoming.is_end_stream();
                let answer = elsewhere.respond(account, (parts, &target), downstream, goes_on);
                return Err(Box::new(answer));
            }
            Err(failure) => return Err(Box::new(failure.respond(account, parts))),
        };
        let Routed {
            service,
            label,
            change,
            timeouts,
        } = routed;
        account.service(&service);
        let settings = service.settings();
        let wanted = self.wanted(parts, &target, &settings, (incoming, started), downstream);
        let (wish, upload) = match wanted {
            Ok(wanted) => wanted,
            Err(failure) => return Err(Box::new(failure.respond(account, parts))),
        };
        service.budget().note_request(self.settings.worker, started);
        Ok(Flow {
            hash: choice::hash_of(&settings.balance, parts, account.client().ip),
            session: choice::session_of(&settings.affinity, parts),
            retries: Retries::new(&settings.retry),
            parts,
            target,
            service,
            settings,
            route: label,
            change,
            downstream,
            upload,
            account,
            wish,
            started,
            times: Times::new(timeouts, started),
        })
    }

    /// The tunnel that a request asks for, and the body that it has.
    fn wanted(
        &self,
        parts: &Parts,
        target: &Target,
        settings: &ServiceSettings,
        (incoming, started): (Inbound, Instant),
        downstream: &Downstream,
    ) -> Result<(Option<Wish>, Upload), Failure> {
        let rng = &mut self.rng.borrow_mut();
        let wish = Wish::of(parts, target.present(), &settings.upgrades, rng)?;
        let whole = downstream.entrance.request_timeout;
        let until = (!whole.is_zero()).then(|| started + whole);
        let max = settings.limits.request_body;
        let upload = Upload::new(parts, target.present(), incoming, max, until)?;
        Ok((wish, upload))
    }
}
