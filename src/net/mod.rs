//! Streams and how they come about.
//!
//! One small enum instead of a type parameter: everything above names concrete types, and the simulation puts a whole
//! proxy on in-memory streams.

mod address;
mod courier;
mod dial;
mod memory;
mod network;
pub mod proxy_protocol;
mod socket;
mod stream;
pub mod tls;

pub use address::{Address, UNIX};
pub use courier::{Courier, SOCKETS_MAX};
pub use dial::{Dialer, MemoryNet};
pub use network::Network;
pub use socket::{
    BindError, accept_waiting, bind_listeners, bound_to, ignore_newcomers, into_tokio,
};
pub use stream::Stream;
