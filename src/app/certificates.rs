//! Certificates follow their files: what is renewed is in force within two seconds, and no connection notices.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tracing::{info, warn};

use super::changes::{Changes, PAUSE};
use crate::net::tls::Acceptor;
use crate::telemetry::Metrics;

/// The certificates of all listeners.
#[derive(Debug, Clone)]
pub(super) struct Certificates {
    listeners: Rc<RefCell<HashMap<Arc<str>, Followed>>>,
    metrics: Arc<Metrics>,
}

/// Those of one listener.
#[derive(Debug)]
struct Followed {
    acceptor: Acceptor,
    changes: Changes,
}

impl Certificates {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            listeners: Rc::default(),
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

    /// A listener is gone, or speaks TLS no more.
    pub(super) fn forget(&self, listener: &str) {
        self.listeners.borrow_mut().remove(listener);
        self.metrics
            .certificate_expiries(listener, std::iter::empty());
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
