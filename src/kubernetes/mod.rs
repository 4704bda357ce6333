//! Kubernetes' words, turned into ours: endpoint slices that the API server tells of, and objects that add to the config.
//!
//! One list and one watch for each namespace, whatever the number of its services ([`Cluster`]); they live on a thread of
//! their own, where the parsing of a long list holds up nobody. `watch` speaks the protocol and says what was seen,
//! `mirror` keeps the namespace as it was told, a `view` says what that means for a service, and `reflector` joins them and
//! tells every service that listens; `pods` adds what pods say of their own end, for the services that want it.
//!
//! Of other objects (`objects`) all are looked at together: `controller` follows them, `ingress` says what Ingresses mean
//! and `backend` where they lead, a `draft` becomes the [`Part`] of the config that they are, and `desk` writes back what
//! their authors should know, on the replica that holds the `lease`. `migration` judges manifests before they are installed.
//!
//! Invariants: what cannot be seen changes nothing (law 6, P9), and neither does it make anyone unready who once was
//! ready. Terminating is told at once; everything else may be gathered for some milliseconds (P2). A whole slice that goes
//! while the service has others counts for a moment more: its endpoints may be on their way into one of those.

mod api;
mod backend;
mod certificates;
mod cluster;
mod controller;
mod desk;
mod draft;
mod gateway;
mod ingress;
mod lease;
mod migration;
mod mirror;
mod objects;
mod part;
mod pause;
mod place;
mod pods;
mod reflector;
mod slice;
mod view;
mod watch;

pub use cluster::{Cluster, Followed};
pub use migration::{Judgement, Manifests, Verdict};
pub use part::{
    GatewayPort, GatewaySettings, IngressSettings, Known, LeaseSettings, Part, Publish, Settings,
};
