//! Connections as byte streams: TCP, Unix sockets, TLS and foreign transports.

mod copied;
pub mod foreign;
mod identity;
mod ocsp;
#[cfg_attr(windows, path = "platform_windows.rs")]
pub mod platform;
mod server_keys;
pub mod stream;
pub mod tls;
pub mod tls_server;
mod x509;
