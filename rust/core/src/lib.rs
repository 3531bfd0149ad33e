//! HTTP/1.1 and WebSocket, server and client: bytes, sockets and time.
//!
//! This crate knows neither the JVM nor Ring. An embedder implements
//! [`server::Sink`] (and its client twin) and gets requests, messages and
//! closings through it; everything else goes down by plain function calls.
#![forbid(unsafe_code)]
// Standard error may be closed, and then the macros panic.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod client;
pub mod error;
mod grammar;
pub mod h1;
pub mod net;
pub mod server;
pub mod ws;
