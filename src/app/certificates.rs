//! Certificates follow their files: what is renewed is in force within two seconds, and no connection notices.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;
use tracing::{info, warn};

use super::changes::{Changes, PAUSE};
use crate::config;
use crate::kubernetes::Part;
use crate::net::tls::{Acceptor, Connector};
use crate::telemetry::Metrics;

/// The certificates of all listeners, and what is shown to and believed of endpoints.
#[derive(Debug, Clone)]
pub(super) struct Certificates {
    listeners: Rc<RefCell<HashMap<Arc<str>, Followed>>>,
    services: Rc<RefCell<Vec<Believed>>>,
    metrics: Arc<Metrics>,
}

/// Those of one listener.
#[derive(Debug)]
struct Followed {
    acceptor: Acceptor,
    changes: Changes,
}

/// What a service believes of its endpoints, and shows them.
#[derive(Debug)]
pub(super) struct Believed {
    service: Arc<str>,
    connector: Connector,
    changes: Changes,
}

impl Certificates {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            listeners: Rc::default(),
            services: Rc::default(),
            metrics,
        }
    }

    /// A listener's are followed from now on, in place of what it had before.
    pub(super) fn follow(&self, listener: &Arc<str>, acceptor: Acceptor) {
        self.tell_expiries(listener, &acceptor);
        let changes = Changes::of(acceptor.files());
        let followed = Followed { acceptor, changes };
        self.listeners
            .borrow_mut()
            .insert(listener.clone(), followed);
    }

    /// Every listener shows what objects of a cluster have for it, and nothing else of them.
    pub(super) fn offer(&self, part: &Part) {
        for (listener, followed) in &*self.listeners.borrow() {
            followed.acceptor.offer(part.offers(listener));
            self.tell_expiries(listener, &followed.acceptor);
        }
    }

    /// A listener is gone, or speaks TLS no more.
    pub(super) fn forget(&self, listener: &str) {
        self.listeners.borrow_mut().remove(listener);
        self.metrics
            .certificate_expiries(listener, std::iter::empty());
    }

    /// The files of these services are followed from now on, and of no others.
    pub(super) fn follow_services(&self, services: Vec<Believed>) {
        self.services.replace(services);
    }

    /// Looks at the files, for as long as it is polled.
    pub(super) async fn run(self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            for (listener, followed) in &mut *self.listeners.borrow_mut() {
                if followed.changes.look() {
                    self.refresh(listener, &followed.acceptor);
                }
            }
            for believed in &mut *self.services.borrow_mut() {
                if believed.changes.look() {
                    believed.refresh();
                }
            }
        }
    }

    fn refresh(&self, listener: &str, acceptor: &Acceptor) {
        let refreshed = acceptor.refresh();
        self.metrics.certificate_reload(listener, refreshed.is_ok());
        match refreshed {
            Ok(()) => {
                info!(listener, "new certificates are in force");
                self.tell_expiries(listener, acceptor);
            }
            Err(error) => warn!(
                listener,
                %error,
                "failed to read new certificates; the old ones stay in force"
            ),
        }
    }

    fn tell_expiries(&self, listener: &str, acceptor: &Acceptor) {
        let expiries = acceptor.expiries();
        let told = expiries
            .iter()
            .map(|expiry| (expiry.cert.to_string_lossy(), expiry.not_after));
        let told: Vec<_> = told.collect();
        self.metrics
            .certificate_expiries(listener, told.iter().map(|(cert, end)| (&**cert, *end)));
    }
}

impl Believed {
    fn refresh(&self) {
        let service = &*self.service;
        match self.connector.refresh() {
            Ok(()) => info!(service, "new certificates are in force"),
            Err(error) => warn!(
                service,
                %error,
                "failed to read new certificates; the old ones stay in force"
            ),
        }
    }
}

/// What these services believe of their endpoints, as its files look now.
pub(super) fn believed(services: &[config::Service]) -> Vec<Believed> {
    let connectors = services.iter().filter_map(|service| {
        let connector = service.settings.tls.clone()?;
        Some(Believed {
            service: service.settings.name.shared(),
            changes: Changes::of(connector.files()),
            connector,
        })
    });
    connectors.collect()
}

/// Reads what services need to speak TLS with their endpoints.
///
/// # Errors
/// The first service whose files are not in order, and why.
pub(super) fn read_for(services: &[config::Service]) -> anyhow::Result<()> {
    for service in services {
        if let Some(connector) = &service.settings.tls {
            let place = || format!("service {}", service.settings.name);
            connector.refresh().with_context(place)?;
        }
    }
    Ok(())
}
