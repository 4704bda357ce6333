//! Tidegate between clients and servers that others wrote: what a test's own client takes for a good ending means little if
//! the libraries that people use see another.
//!
//! The programs are scripts of `tests/real`, run by the Python that `tests/setup.sh` installs under `target/real`, and curl.

mod boundaries;
mod curl;
mod grpc;
mod program;
mod websocket;

use program::Program;
