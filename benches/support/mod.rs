//! What the benches share: the process under test, its clients and endpoints, and the looking at it.
//!
//! Everything is on the loopback, and every process is ended by whoever started it.

pub(crate) mod bars;
pub(crate) mod child;
pub(crate) mod contender;
pub(crate) mod cpu;
pub(crate) mod curves;
pub(crate) mod descriptors;
pub(crate) mod endpoints;
pub(crate) mod events;
pub(crate) mod footprint;
pub(crate) mod h2load;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod origin;
pub(crate) mod patience;
pub(crate) mod picture;
pub(crate) mod pin;
pub(crate) mod ports;
pub(crate) mod scrape;
pub(crate) mod stats;
pub(crate) mod syscalls;
pub(crate) mod tidegate;
pub(crate) mod traffic;
pub(crate) mod tunnels;
pub(crate) mod websocket;
pub(crate) mod workers;
