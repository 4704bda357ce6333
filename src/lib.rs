//! tidegate, a reverse proxy that lets an endpoint leave without losing a request.
//!
//! Like the gate it is named after, it lets out and lets nothing in. The central idea: **an endpoint is a counted gate.**
//! One atomic word holds "closed" and the number of requests inside ([`gate::Gate`]). A request enters by
//! [`acquire`](endpoint::Endpoint::acquire) and leaves by dropping its guard ([`endpoint::InFlight`]). Draining closes the
//! gate; drained means closed and empty. The phase is derived from the word and never stored beside it, so a wrong
//! combination cannot be written down.
//!
//! The promises (`P1` to `P16`) are listed in the README; comments and tests quote their numbers. This page is the guided
//! tour: the laws by which the code keeps them, its layers, and two walks.
//!
//! # Laws
//!
//! 1. **No entry after drain.** Once [`Life::drain`](endpoint::Life::drain) has returned, no acquire on that endpoint
//!    succeeds. (`tests/loom.rs`)
//! 2. **Drained once.** The edge to drained is seen exactly once, and only when closed and empty. (`tests/loom.rs`)
//! 3. **A life only moves forward**: ready, draining, drained, gone. What comes back is a new life under the same key.
//!    (property test in `gate/word.rs`)
//! 4. **In flight until both directions end**: the request's body and the response's. A response's head ends nothing.
//! 5. **The snapshot is a hint; acquire is the truth.** A stale one costs a second pick, never a wrong admission.
//! 6. **Silence is not news.** A source that fails or stalls drains nothing. (property test in `control/reconcile.rs`)
//! 7. **A deadline cuts requests, never the count.** The count reaches zero because holders let go.
//! 8. **Every drain ends**, clean or cut, within its deadline plus what P5 allows.
//! 9. **One writer.** Only [`control`] admits, drains, buries and publishes. Workers share snapshots, gates and mailboxes,
//!    nothing else. A [`Life`](endpoint::Life) can drain, is not `Clone`, and stays in the writer's registry.
//!
//! # Layers
//!
//! A module uses only modules in lower rows, and of its own row none that uses it; `tests/it/layers.rs` reads every `use`
//! and fails on a breach.
//!
//! | row | modules | character |
//! |---|---|---|
//! | 12 | [`cli`], [`rehearse`], `main` | commands |
//! | 11 | [`app`] | composition root: the only place where everything meets |
//! | 10 | [`config`] | the file, turned into everyone's settings |
//! | 9 | [`admin`] | API, probes, dashboard |
//! | 8 | [`kubernetes`] | Kubernetes' words, turned into ours |
//! | 7 | [`worker`] | threads |
//! | 6 | [`server`] | downstream connections |
//! | 5 | [`proxy`] | the request path |
//! | 4 | [`control`], [`pool`] | the one writer; upstream connections |
//! | 3 | [`discovery`], [`health`], [`snapshot`] | what is known; what is published |
//! | 2 | [`balance`], [`drain`], [`ending`], [`route`] | decisions, pure |
//! | 1 | [`clock`], [`document`], [`endpoint`], [`http1`], [`http2`], [`net`], [`telemetry`] | things |
//! | 0 | [`gate`] | the core: std only, no I/O, no clock, no async |
//!
//! Rows 0 and 2 and `control/reconcile.rs` do no I/O and read no clock: time comes in as an argument. Settings flow down,
//! never the file's shape: each module defines a plain `Settings`, and [`config`] builds it.
//!
//! # A request walks
//!
//! 1. `server/listener.rs` accepts on the worker's own socket; a limit refuses the excess.
//! 2. `server/connection.rs` keeps the connection's time, and hands each request to the proxy; over HTTP/2 `server/http2`
//!    does, where each stream has a task, limits and an end of its own.
//! 3. [`Proxy::handle`](proxy::Proxy::handle) checks the head (`proxy/inspect.rs`) and matches a route.
//! 4. `proxy/admit.rs` picks an endpoint, **takes a place in flight**, and then a connection: an idle one, or the right to
//!    open one. Refused because the endpoint drains since: another pick. All connections in use: the place is given back and
//!    the request waits without one.
//! 5. `proxy/exchange.rs` runs one attempt: until the first byte is written a drain calls it back ([`pool::Signal`]); at
//!    the drain's deadline it is cut.
//! 6. `proxy/retry.rs` decides by what was sent whether a failed attempt may be repeated (P10).
//! 7. `proxy/body` passes the answer on and holds the place until both directions have ended. The last drop releases; if
//!    that was the edge, the writer hears of it.
//! 8. `proxy/account.rs` counts and logs. Every failure becomes its response in `proxy/failure.rs`, and nowhere else.
//!
//! # An endpoint update walks
//!
//! 1. A source (say `discovery/file`) sees a change and tells *all* it knows as one
//!    [`Observation`](discovery::Observation). "I cannot see" is a fault and not an empty set.
//! 2. `control/writer.rs` hears it. Observations, requests of operators, drained edges, confirmations and deadlines all
//!    meet in this one loop.
//! 3. `control/reconcile.rs` compares known with observed, and says what follows for each endpoint's newest life.
//! 4. The writer applies it in a fixed order: **admit, publish, drain.** New before old.
//! 5. [`Service::publish`](snapshot::Service::publish) swaps one pointer. The snapshots before and after it share all
//!    members but those near the changed ones ([`balance::Members`]).
//! 6. [`Life::drain`](endpoint::Life::drain) closes the gate: from here on nothing starts. The workers are told
//!    ([`control::Command`]): they close idle connections, call back what is unwritten, and confirm. Then the drain is
//!    acknowledged.
//! 7. The last place is given back: drained. Or the deadline comes, the workers cut each kind of work in its own way
//!    ([`ending`]), guards drop, drained.
//! 8. The writer writes the report, buries the life and forgets it.

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
pub mod health;
pub mod http1;
pub mod http2;
pub mod kubernetes;
pub mod net;
pub mod pool;
pub mod proxy;
pub mod rehearse;
pub mod route;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod worker;
