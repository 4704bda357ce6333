//! What is published: routes, services and their members.

mod settings;

pub use settings::{AllDraining, Limits, Retry, ServiceSettings, Timeouts};
