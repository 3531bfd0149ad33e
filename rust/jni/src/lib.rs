//! The border between the JVM and `httpkit-core`.
//!
//! Everything unsafe of the project is in this crate, and nothing else is:
//! it converts, registers and forwards, and decides nothing. The way down is
//! one table of native methods (`natives`), the way up a handful of Java
//! methods, resolved once for each loop (`upcalls`). `JNI_OnLoad` and
//! `JNI_OnUnload` are the only symbols that the library exports. Nothing
//! static refers to Java: it would keep the class loader.

// Standard error may be closed, and then the macros panic.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod abi;
mod arrays;
mod client;
mod client_spec;
mod client_upcalls;
mod content;
mod encoded;
mod error;
mod exchange;
mod faults;
mod handle;
mod natives;
mod send_queue;
mod server;
mod upcalls;
mod work;
