//! An endpoint's life.

mod key;

pub use key::{EndpointId, EndpointKey, ServiceName};
