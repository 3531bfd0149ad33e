//! Connections as byte streams: TCP, Unix sockets, TLS and hosted transports.

mod copied;
pub mod hosted;
mod identity;
mod ocsp;
#[cfg_attr(windows, path = "platform_windows.rs")]
pub mod platform;
mod server_keys;
pub mod stream;
pub mod tls;
pub mod tls_server;
pub mod x509;

/// Whether a write failed because the connection is gone, and not for a reason of ours.
pub(crate) fn is_lost(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut,
    };
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut
    )
}
