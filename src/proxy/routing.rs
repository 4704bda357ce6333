//! Where a request goes: the service that its route leads to, now or once the routes have changed.

use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::inspect::{self, Target};
use super::upgrade::Wish;
use super::{Downstream, Failure, Flow, Proxy, choice, headers};
use crate::route::Ask;
use crate::snapshot::Service;

impl Proxy {
    /// The service, and the route's label.
    pub(super) fn route(
        &self,
        target: &Target,
        parts: &Parts,
        downstream: &Downstream,
    ) -> Result<(Arc<Service>, Arc<str>), Failure> {
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
                    || headers::tokens(&parts.headers, target.present()).contains(name)
            },
        };
        let mut reader = self.reader.borrow_mut();
        match reader.routes().find(&ask) {
            Some(route) => Ok((route.service.clone(), route.label.clone())),
            // To whoever looks for an open proxy it is all the same.
            None if parts.method == Method::CONNECT => Err(Failure::NOT_ALLOWED),
            None => Err(Failure::NoRoute),
        }
    }

    /// The routes may have changed since the request was routed, and its service may have been left without endpoints for
    /// that: it goes where they lead now (P7). False when they lead nowhere that takes it.
    pub(super) fn route_anew(&self, flow: &mut Flow<'_>) -> bool {
        let Ok((service, route)) = self.route(&flow.target, flow.parts, flow.downstream) else {
            return false;
        };
        if !Arc::ptr_eq(&service, &flow.service) {
            let settings = service.settings();
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
            flow.account.service(&service);
            (flow.service, flow.route) = (service, route);
        }
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
