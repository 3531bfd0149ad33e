//! Connections as byte streams: TCP, Unix sockets, TLS and foreign transports.

pub mod foreign;
mod identity;
#[cfg_attr(windows, path = "platform_windows.rs")]
pub mod platform;
pub mod stream;
pub mod tls;
pub mod tls_server;
mod x509;
