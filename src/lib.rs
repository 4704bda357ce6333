//! tidegate, a reverse proxy that lets an endpoint leave without losing a request.

pub mod admin;
pub mod app;
pub mod balance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod discovery;
pub mod document;
pub mod drain;
pub mod ending;
pub mod endpoint;
pub mod gate;
pub mod net;
pub mod pool;
pub mod proxy;
pub mod rehearse;
pub mod route;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod worker;
