//! How a pool hears that an idle connection has something to say, which can only be its end.
//!
//! Each slot has a bell of its own, and the pool hears which one it was: what ends at one endpoint is looked at there, and
//! not at the others, however many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use tokio::sync::mpsc::UnboundedSender;

use crate::endpoint::EndpointId;

/// A slot's bell.
#[derive(Debug)]
pub(super) struct Bell {
    endpoint: EndpointId,
    rung: AtomicBool,
    /// Not bounded, but never longer than there are slots: a bell that has rung is silent until it is answered.
    tell: UnboundedSender<EndpointId>,
}

impl Bell {
    pub(super) fn new(endpoint: EndpointId, tell: UnboundedSender<EndpointId>) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            rung: AtomicBool::new(false),
            tell,
        })
    }

    /// What a connection rings it by.
    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }

    /// To be called before the slot is looked at: what happens from now on rings again.
    pub(super) fn answer(&self) {
        // Sequentially consistent, as in `wake`: who looks after this sees what had happened before a ring that found it rung.
        self.rung.store(false, Ordering::SeqCst);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // Without a listener the pool is at its end.
            let _ = self.tell.send(self.endpoint);
        }
    }
}
