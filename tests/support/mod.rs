//! What tests over real sockets are made of: scripted endpoints, raw clients, and a running tidegate.
//!
//! Everything blocks and reads like a story: a test starts [`Endpoint`]s, [`Setup::start`]s a [`Tidegate`] before them,
//! and plays both sides. Nothing waits for time to pass. What must happen is waited for, up to a bound; what an endpoint
//! holds back it holds until the test lets go; and that something did *not* happen is looked at behind an event that would
//! have come after it.

mod admin;
mod client;
mod endpoint;
mod exchange;
mod files;
mod ledger;
mod message;
mod patience;
mod setup;
mod stream_answer;
pub(crate) mod stream_client;
pub(crate) mod stream_endpoint;
mod tidegate;
mod wire;

pub(crate) use admin::{Answer, Events};
pub(crate) use client::{Client, Response};
pub(crate) use endpoint::{Endpoint, Health};
pub(crate) use exchange::Exchange;
pub(crate) use files::EndpointFile;
pub(crate) use patience::{PATIENCE, SLACK, eventually};
pub(crate) use setup::Setup;
pub(crate) use stream_client::StreamClient;
pub(crate) use stream_endpoint::StreamEndpoint;
pub(crate) use tidegate::{Tidegate, binary};

/// Says that something is not tested by this user or on this machine. The harness shows nothing that a test prints which
/// passes, so this goes past it.
pub(crate) fn not_tested(why: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("test {name} ... NOT TESTED: {why}\n");
    // A closed terminal is told nothing.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// How the other side ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It said that nothing more comes.
    Fin,
    /// It broke the connection off.
    Reset,
    /// The test ended it itself.
    Ours,
}
