//! What a cluster's objects add to the config, and what is configured of that.

use std::sync::Arc;
use std::time::Duration;

use super::objects::Name;
use crate::control::DesiredService;
use crate::net::tls::Offer;
use crate::route::{Action, Matcher};

/// Which objects are watched, and what is done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where; everywhere when there are none.
    pub namespaces: Vec<String>,
    /// Whether the services' pods are watched, too.
    pub pods: bool,
    /// Who of all replicas writes.
    pub lease: LeaseSettings,
    /// The Ingress controller, if it is one.
    pub ingress: Option<IngressSettings>,
    /// The controller of the Gateway API, if it is one.
    pub gateway: Option<GatewaySettings>,
}

/// The Lease by which of all replicas one writes statuses and events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Its name, in the namespace that tidegate itself is in.
    pub name: String,
    /// How long it holds without being renewed, in whole seconds.
    pub duration: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            name: "tidegate".into(),
            duration: Duration::from_secs(15),
        }
    }
}

/// Where clients reach the Ingresses, for their status.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Publish {
    /// Nobody is told.
    #[default]
    Nothing,
    /// There: IP addresses and names.
    Addresses(Vec<String>),
    /// Where this Service is reached from outside.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// tidegate as an Ingress controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressSettings {
    /// The class of the Ingresses that are ours, by its name.
    pub class: String,
    /// What an IngressClass says in `spec.controller` that is ours.
    pub controller: String,
    /// The listener that shows the certificates of `spec.tls`.
    pub https: Option<Arc<str>>,
    /// What their status says.
    pub publish: Publish,
}

impl Default for IngressSettings {
    fn default() -> Self {
        Self {
            class: "tidegate".into(),
            controller: "tidegate.dev/ingress".into(),
            https: None,
            publish: Publish::Nothing,
        }
    }
}

/// tidegate as a controller of the Gateway API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySettings {
    /// What a GatewayClass says in `spec.controllerName` that is ours.
    pub controller: String,
    /// Which listener of ours serves a Gateway's listener, by its port.
    pub ports: Vec<GatewayPort>,
    /// What the status of a Gateway says of its addresses.
    pub publish: Publish,
}

/// A port that a Gateway's listener may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPort {
    /// Its number.
    pub number: u16,
    /// The listener of ours.
    pub listener: Arc<str>,
    /// Whether that speaks TLS.
    pub tls: bool,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            controller: "tidegate.dev/gateway".into(),
            ports: Vec::new(),
            publish: Publish::Nothing,
        }
    }
}

/// What the objects add to the config. Two that are equal mean the same.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Part {
    /// Routes, none of them twice. Those of the file come first.
    pub routes: Vec<(Matcher, Action)>,
    /// Services that the routes lead to.
    pub services: Vec<DesiredService>,
    /// Certificates, for each listener that has some.
    pub certificates: Vec<(Arc<str>, Vec<Offer>)>,
}

impl Part {
    /// The certificates for a listener.
    #[must_use]
    pub fn offers(&self, listener: &str) -> &[Offer] {
        let mut all = self.certificates.iter();
        let found = all.find(|(name, _)| **name == *listener);
        found.map_or(&[], |(_, offers)| offers)
    }
}

/// What is known of the part.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The part; nothing before everything was listed once.
    pub part: Option<Arc<Part>>,
    /// Why there is none yet.
    pub waiting: String,
}

/// Something about an object that whoever wrote it should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Note {
    pub(super) about: About,
    /// In CamelCase, as events have it.
    pub(super) reason: &'static str,
    /// One sentence: what, and what to do.
    pub(super) text: String,
}

/// The object that a note is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct About {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) name: Name,
    pub(super) uid: String,
}
