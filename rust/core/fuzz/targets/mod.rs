//! What the fuzzers call, and the test `fuzz` on the stable toolchain: each target takes any bytes and panics if a
//! promise is broken.

mod serving;

pub mod chunked;
pub mod client;
pub mod coding;
pub mod handshake;
pub mod head;
pub mod proxy;
pub mod response;
pub mod server;
pub mod tls;
pub mod ws;
