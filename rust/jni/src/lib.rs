//! The border between the JVM and `httpkit-core`.
//!
//! Everything unsafe of the project is in this crate, and nothing else is:
//! it converts, registers and forwards, and decides nothing. The way down is
//! one table of native methods (`natives`), the way up a handful of Java
//! methods, resolved once for each loop (`upcalls` of `server` and `client`). `JNI_OnLoad` and
//! `JNI_OnUnload` are the only symbols that the library exports. Nothing
//! static refers to Java: it would keep the class loader.

// Standard error may be closed, and then the macros panic.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod border;
mod client;
mod natives;
mod server;
