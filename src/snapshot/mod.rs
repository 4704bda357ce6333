//! What is known of services, published: routes, members and limits, as workers see them.
//!
//! A worker reads one pointer to route and one to choose; the writer swaps them. A snapshot is immutable and only a hint
//! (law 5): a worker may hold one that is out of date, and then [`Endpoint::acquire`](crate::endpoint::Endpoint::acquire)
//! refuses it. Each service has a pointer of its own, so that an update costs what its own service has and nothing for the
//! others.

mod affinity;
mod budget;
mod places;
mod routes;
mod service;
mod settings;
mod tiers;
mod waiting;

pub use affinity::{Affinity, token};
pub use budget::RetryBudget;
pub use routes::{Drafts, Publisher, Reader, Route, Routes, Split, Way};
pub use service::{Ask, NotChosen, Service, ServiceSnapshot};
pub use settings::{
    AllDraining, HealthCheck, Limits, Probe, Protocol, Retry, ServiceSettings, Timeouts,
};
pub use tiers::{Tier, Tiers};
pub use waiting::{Waiting, WaitingRoom};
