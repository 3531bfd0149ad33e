//! The border between the JVM and `httpkit-core`.
//!
//! All of the project's unsafe code is in this crate. It converts, registers and forwards, and decides nothing but how
//! Java's arrays are kept (`server::content`). Downcalls go through one table of native methods (`natives`); upcalls go
//! to a handful of Java methods, resolved once for each server and each loop of a client (`upcalls` of `server` and
//! `client`). `JNI_OnLoad` and `JNI_OnUnload` are the only exported symbols. Nothing static refers to Java, because that
//! would keep the class loader alive, except to the JDK's exception classes (`border::error`).

// Standard error may be closed, and then these macros panic.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod border;
mod client;
mod natives;
mod server;
