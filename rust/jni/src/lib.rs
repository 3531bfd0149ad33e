//! The border between the JVM and `httpkit-core`.
//!
//! Everything unsafe of the project is in this crate, and nothing else is:
//! it converts, registers and forwards, and decides nothing. The way down is
//! one table of native methods (`natives`), the way up a handful of Java
//! methods resolved once, at load (`upcalls`). `JNI_OnLoad` is the only symbol
//! that the library exports.

mod abi;
mod arrays;
mod client;
mod client_spec;
mod client_upcalls;
mod encoded;
mod error;
mod exchange;
mod faults;
mod handle;
mod natives;
mod server;
mod upcalls;
mod work;
