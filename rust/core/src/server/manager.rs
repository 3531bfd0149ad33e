//! Telling a service manager (systemd) how the program is doing.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Sends `message`, such as `READY=1`, to the socket that the variable `NOTIFY_SOCKET` names; see `sd_notify(3)`.
///
/// # Errors
/// If there is no such socket.
pub fn notify_manager(socket: &[u8], message: &[u8]) -> io::Result<()> {
    let address = match socket.split_first() {
        Some((b'@', name)) => abstract_address(name)?,
        _ => SocketAddr::from_pathname(Path::new(OsStr::from_bytes(socket)))?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address)?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
