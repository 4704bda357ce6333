//! What tidegate tells about itself: metrics, logs, and one line for each request.

mod access;
mod json;
pub mod log;
mod metrics;
mod sink;

pub use access::{AccessLog, AccessLogEnd, Client, Record, Try, WorkerLog};
pub use log::Format;
pub use metrics::{Gone, Metrics, WorkerMetrics};
pub use sink::Losses;
