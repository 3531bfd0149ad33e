//! As `platform.rs`, for Windows. Sockets are the only descriptors, and Unix domain sockets are not supported: what
//! never exists has the type of a TCP socket here, so that its users need no case for Windows.

use std::fs::{File, FileType};
use std::io;
use std::net::TcpListener;
pub(crate) use std::net::TcpListener as StdUnixListener;
use std::os::windows::fs::FileExt;
pub use std::os::windows::io::{AsSocket, BorrowedSocket, OwnedSocket};
use std::path::{Path, PathBuf};

use socket2::Socket;
pub(crate) use tokio::net::{TcpListener as UnixListener, TcpStream as UnixStream, tcp as unix};

pub(crate) use super::copied::copy as send_file;

/// Whether several sockets may listen on one port. On Windows, that would take the port from another process.
pub(crate) const CAN_SHARE_PORTS: bool = false;

/// WSAEMFILE and WSAENOBUFS.
const NO_ROOM: [i32; 2] = [10024, 10055];

/// The path whose UTF-8 the embedder has. What is no UTF-8 becomes a name that no file has.
pub fn path(bytes: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// As [`path`], for a Unix domain socket.
///
/// # Errors
/// `Unsupported`.
pub fn socket_path(_: Vec<u8>) -> io::Result<PathBuf> {
    Err(no_unix_sockets())
}

fn no_unix_sockets() -> io::Error {
    let message = "Unix domain sockets are not supported on Windows";
    io::Error::new(io::ErrorKind::Unsupported, message)
}

pub(crate) fn borrow(socket: &impl AsSocket) -> BorrowedSocket<'_> {
    socket.as_socket()
}

pub(crate) fn read_at(file: &File, to: &mut [u8], at: u64) -> io::Result<usize> {
    // It moves the file's own position too, which we do not use.
    file.seek_read(to, at)
}

/// Windows has no filter: connections that it completes between the last accept and the listener's end are reset.
pub(crate) fn ignore_newcomers(_: &TcpListener) {}

/// Windows has no such bound.
pub(crate) fn bound_unsent(_: &Socket) {}

/// What `listen` is to be told for a backlog of that many connections: above 200, it heeds only a number below zero
/// (SOMAXCONN_HINT).
pub(crate) fn backlog(connections: i32) -> i32 {
    match connections {
        ..=200 => connections,
        _ => -connections.min(65535),
    }
}

/// Here, SO_REUSEADDR would let this socket take over the port of another.
pub(crate) fn share(_: &Socket, port: bool) -> io::Result<()> {
    match port {
        false => Ok(()),
        true => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Whether a stream socket listens. None can be lent here.
pub(crate) fn listens(_: &Socket) -> io::Result<bool> {
    Ok(false)
}

/// How many descriptors the process may open.
pub(crate) fn descriptors() -> u64 {
    u64::MAX
}

/// Whether nothing could be opened for want of descriptors or memory.
pub(crate) fn is_want_of_room(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| NO_ROOM.contains(&code))
}

pub(crate) async fn connect_unix(_: &Path) -> io::Result<UnixStream> {
    Err(no_unix_sockets())
}

/// Fails where there are no Unix domain sockets.
pub(crate) fn require_unix_sockets() -> io::Result<()> {
    Err(no_unix_sockets())
}

pub(crate) fn is_socket(_: FileType) -> bool {
    false
}

pub(crate) fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There is no service manager of that kind.
///
/// # Errors
/// Always.
pub fn notify_manager(_: &[u8], _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
