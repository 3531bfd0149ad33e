//! What differs between operating systems. This file is for Unix; `platform_windows.rs` has the same items for Windows.
//! No other file of the core asks which system it is built for.

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileType, Permissions};
use std::io;
use std::net::TcpListener;
pub use std::os::fd::{AsFd as AsSocket, BorrowedFd as BorrowedSocket, OwnedFd as OwnedSocket};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, PermissionsExt};
pub(crate) use std::os::unix::net::UnixListener as StdUnixListener;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use socket2::Socket;
pub(crate) use tokio::net::{UnixListener, UnixStream, unix};

#[cfg(target_os = "linux")]
use super::copied::copy;

/// Whether several sockets may listen on one port.
pub(crate) const CAN_SHARE_PORTS: bool = true;

/// The path whose bytes the embedder has.
pub fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// As [`path`], for a Unix domain socket.
///
/// # Errors
/// `Unsupported` if the system has none.
pub fn socket_path(bytes: Vec<u8>) -> io::Result<PathBuf> {
    Ok(path(bytes))
}

pub(crate) fn borrow(socket: &impl AsSocket) -> BorrowedSocket<'_> {
    socket.as_fd()
}

pub(crate) fn read_at(file: &File, to: &mut [u8], at: u64) -> io::Result<usize> {
    file.read_at(to, at)
}

/// Sends from the page cache straight to the socket, if system and file system support it.
#[cfg(target_os = "linux")]
pub(crate) fn send_file(
    socket: &impl AsSocket,
    file: &File,
    at: u64,
    count: usize,
) -> io::Result<usize> {
    let mut from = at;
    match rustix::fs::sendfile(socket, file, Some(&mut from), count) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => copy(socket, file, at, count),
        sent => Ok(sent?),
    }
}

/// No safe crate has macOS's `sendfile`.
#[cfg(not(target_os = "linux"))]
pub(crate) use super::copied::copy as send_file;

/// Makes the kernel drop attempts to connect, which are repeated after a second, and refused by then. Otherwise, it
/// would reset those that it completes between the last accept and the listener's end.
#[cfg(target_os = "linux")]
pub(crate) fn ignore_newcomers(listener: &TcpListener) {
    use socket2::{SockFilter, SockRef};
    // Byte 13 of a TCP header has its flags; bit 1 is SYN. Each line: code, jump if true, if false, operand.
    const DROP_SYN: [(u16, u8, u8, u32); 4] = [
        (0x30, 0, 0, 13),       // load the byte
        (0x45, 0, 1, 2),        // if it has the bit,
        (0x06, 0, 0, 0),        // drop the packet,
        (0x06, 0, 0, u32::MAX), // else accept it
    ];
    let program = DROP_SYN.map(|(code, jt, jf, k)| SockFilter::new(code, jt, jf, k));
    // An old kernel cannot do it: then some may be reset.
    let _ = SockRef::from(listener).attach_filter(&program);
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn ignore_newcomers(_: &TcpListener) {}

/// Bounds what the kernel takes of a response before its peer has room for it, on this listener's connections. By
/// default that is megabytes: copying them for many peers that do not read stops the loop for seconds, and uses up the
/// memory that all of the machine's connections share.
#[cfg(target_os = "linux")]
pub(crate) fn bound_unsent(listener: &Socket) {
    // The kernel asks for more when half of it is left: a loop that is busy for 10 ms still sends 39 MB/s to each peer.
    const UNSENT: u32 = 768 * 1024;
    // Without it, as on a Unix domain socket, the kernel takes more.
    let _ = listener.set_tcp_notsent_lowat(UNSENT);
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn bound_unsent(_: &Socket) {}

/// What `listen` is to be told for a backlog of that many connections.
pub(crate) fn backlog(connections: i32) -> i32 {
    connections
}

/// Before a TCP socket is bound: connections of an earlier server do not hold its port, and, with `port`, neither do
/// other listeners that asked for the same.
pub(crate) fn share(socket: &Socket, port: bool) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(port)
}

/// Whether a stream socket listens.
#[cfg(target_os = "linux")]
pub(crate) fn listens(socket: &Socket) -> io::Result<bool> {
    socket.is_listener()
}

/// macOS does not say; a socket without a peer at least may listen.
#[cfg(not(target_os = "linux"))]
pub(crate) fn listens(socket: &Socket) -> io::Result<bool> {
    Ok(socket.peer_addr().is_err())
}

/// How many descriptors the process may open.
pub(crate) fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whether nothing could be opened for want of descriptors or memory.
pub(crate) fn is_want_of_room(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

pub(crate) async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Fails where there are no Unix domain sockets.
pub(crate) fn require_unix_sockets() -> io::Result<()> {
    Ok(())
}

pub(crate) fn is_socket(kind: FileType) -> bool {
    kind.is_socket()
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Tells a service manager (systemd) how the program is doing: sends `message`, such as `READY=1`, to the socket that
/// the variable `NOTIFY_SOCKET` names; see `sd_notify(3)`.
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
