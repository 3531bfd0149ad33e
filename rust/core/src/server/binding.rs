//! Making the socket that a server listens on: TCP, a Unix domain socket, or one that another program opened.

use std::fs::{File, TryLockError};
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::config::Config;
use crate::net::platform::{self, StdUnixListener};

/// A starting server needs its folder for less than a millisecond.
const LONGEST_LOCK: Duration = Duration::from_secs(2);

/// The wildcard address listens on both IP versions, as the JVM's own sockets do.
pub(super) fn inet(address: SocketAddr, config: &Config) -> io::Result<TcpListener> {
    if address.ip().is_unspecified() && address.is_ipv4() {
        let dual = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
        match listen(dual, config) {
            // A machine without IPv6.
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    listen(address, config)
}

fn listen(address: SocketAddr, config: &Config) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    platform::share(&socket, config.reuse_port)?;
    (config.claim)(platform::borrow(&socket))?;
    if config.receive_buffer > 0 {
        socket.set_recv_buffer_size(config.receive_buffer)?;
    }
    platform::bound_unsent(&socket);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(platform::backlog(config.backlog))?;
    Ok(socket.into())
}

pub(super) fn unix(path: &Path, config: &Config) -> io::Result<StdUnixListener> {
    platform::require_unix_sockets()?;
    // Until it listens, it looks like the socket of a server that has ended.
    let alone = lock_folder(path);
    if config.unix_socket_replace && alone.is_some() {
        remove_stale(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket
        .bind(&unix_address(path)?)
        .map_err(|e| explained(e, path))?;
    if let Some(mode) = config.unix_socket_mode {
        // Before it listens: until then, every connection is refused.
        platform::set_mode(path, mode)?;
    }
    socket.listen(platform::backlog(config.backlog))?;
    Ok(socket.into())
}

fn unix_address(path: &Path) -> io::Result<SockAddr> {
    SockAddr::unix(path).map_err(|e| {
        let longest =
            "the path of a Unix domain socket has at most 107 bytes on Linux, 103 on macOS";
        io::Error::new(e.kind(), longest)
    })
}

/// What is in the way of a socket, if it is something else: to the system, every path that exists is in use.
fn explained(error: io::Error, path: &Path) -> io::Error {
    if error.kind() != io::ErrorKind::AddrInUse {
        return error;
    }
    let why = match std::fs::symlink_metadata(path).map(|found| found.file_type()) {
        Ok(found) if found.is_symlink() => {
            "the file is a symbolic link; delete it, or use the path that it leads to"
        }
        Ok(found) if !platform::is_socket(found) => {
            "the file exists and is no socket; delete it, or use another path"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), why)
}

/// Keeps servers that start at the same time from replacing each other's sockets, until the file is closed. None if the
/// folder cannot be locked: it is not readable, or another program has locked it for long. Then nothing is replaced.
fn lock_folder(path: &Path) -> Option<File> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = File::open(folder).ok()?;
    let deadline = Instant::now() + LONGEST_LOCK;
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return None,
        }
    }
}

/// Deletes the socket of a server that has ended. Everything else stays, and binding says that the path is in use.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if platform::is_socket(found.file_type()) => {}
        _ => return Ok(()),
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server whose backlog is full would block us.
    probe.set_nonblocking(true)?;
    match probe.connect(&unix_address(path)?) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Ok(()),
    }
}
