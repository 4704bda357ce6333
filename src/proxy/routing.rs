//! Where a request goes: what its route says, now or once the routes have changed.

use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::change::Change;
use super::inspect::{self, Target};
use super::redirect::{Elsewhere, spoken};
use super::times::Times;
use super::upgrade::Wish;
use super::{Downstream, Failure, Flow, Proxy, choice, headers};
use crate::route::{Ask, Timeouts};
use crate::snapshot::{Service, Way};

/// What a route says of a request.
#[derive(Debug)]
pub(super) enum Lead {
    /// To a service.
    To(Routed),
    /// The client is sent elsewhere.
    Elsewhere(Elsewhere),
}

/// A request's service.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) service: Arc<Service>,
    /// The route's.
    pub(super) label: Arc<str>,
    /// What the route changes of the request; nothing, for most.
    pub(super) change: Option<Box<Change>>,
    /// The route's.
    pub(super) timeouts: Timeouts,
}

impl Proxy {
    /// What the routes say of a request. Where several services have a share, it stays with the one that it `has`.
    pub(super) fn route(
        &self,
        target: &Target,
        parts: &Parts,
        downstream: &Downstream,
        has: Option<&Arc<Service>>,
    ) -> Result<Lead, Failure> {
        let ask = Ask {
            listener: &downstream.entrance.listener,
            host: target.authority_text(),
            path: target.path(),
            query: target.query(),
            method: asked_method(parts),
            headers: &parts.headers,
            ends_here: &|name| {
                let trusted = headers::is_trusted(downstream);
                !headers::is_passed_on(name, trusted)
                    || headers::tokens(&parts.headers, target.present()).contains(name.as_str())
            },
            scheme: &|| spoken(parts, downstream),
        };
        let mut reader = self.reader.borrow_mut();
        let Some(route) = reader.routes().find(&ask) else {
            // To whoever looks for an open proxy it is all the same.
            return Err(match parts.method {
                Method::CONNECT => Failure::NOT_ALLOWED,
                _ => Failure::NoRoute,
            });
        };
        let service = match &route.way {
            Way::Service(service) => service,
            Way::Split(split) => match has.filter(|service| split.has(service)) {
                Some(service) => service,
                None => {
                    let chosen = split.choose(&mut self.rng.borrow_mut());
                    chosen.ok_or(Failure::NoService)?
                }
            },
            Way::Redirect(redirect) => {
                let redirect = redirect.clone();
                return Ok(Lead::Elsewhere(Elsewhere {
                    redirect,
                    changes: route.changes.clone(),
                }));
            }
        };
        Ok(Lead::To(Routed {
            service: service.clone(),
            label: route.label.clone(),
            change: match &route.changes {
                Some(changes) => Some(Change::of(changes, parts, target)?),
                None => None,
            },
            timeouts: route.timeouts,
        }))
    }

    /// The routes may have changed since the request was routed, and its service may have been left without endpoints for
    /// that: it goes where they lead now (P7). False when they lead nowhere that takes it.
    pub(super) fn route_anew(&self, flow: &mut Flow<'_>) -> bool {
        let has = Some(&flow.service);
        let Ok(Lead::To(routed)) = self.route(&flow.target, flow.parts, flow.downstream, has)
        else {
            return false;
        };
        if !Arc::ptr_eq(&routed.service, &flow.service) {
            let settings = routed.service.settings();
            let wish = {
                let rng = &mut self.rng.borrow_mut();
                Wish::of(flow.parts, flow.target.present(), &settings.upgrades, rng)
            };
            let Ok(wish) = wish else {
                return false;
            };
            (flow.settings, flow.wish) = (settings, wish);
            flow.hash =
                choice::hash_of(&flow.settings.balance, flow.parts, flow.account.client().ip);
            flow.session = choice::session_of(&flow.settings.affinity, flow.parts);
            flow.account.service(&routed.service);
            flow.service = routed.service;
        }
        (flow.route, flow.change) = (routed.label, routed.change);
        flow.times = Times::new(routed.timeouts, flow.started);
        true
    }
}

/// The method that the endpoint would get: a WebSocket asked for by a stream is one asked for by GET (RFC 8441).
fn asked_method(parts: &Parts) -> &Method {
    match inspect::protocol(parts) {
        Some(_) => &Method::GET,
        None => &parts.method,
    }
}
