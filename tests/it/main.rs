//! Integration tests: the real binary over real sockets, judged from outside. One file for each subject; each test names
//! the promise it holds tidegate to.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod affinity;
mod balance;
mod body;
mod cli;
mod connect;
mod deadline;
mod discovery;
mod drain;
mod fallback;
mod frames;
mod grpc;
mod hardening;
mod health;
mod http2;
mod http2_endpoints;
mod identity;
mod kubernetes;
mod layers;
mod leaving;
mod limits;
mod load;
mod log;
mod manifests;
mod real;
mod refusal;
mod reload;
mod request;
mod retry;
mod rollout;
mod routes;
mod shutdown;
mod smuggling;
mod state;
mod stream_tunnel;
mod streams_rollout;
mod systemd;
mod tunnel;
mod upgrade;
mod upstream_tls;
mod user;
mod wait;
