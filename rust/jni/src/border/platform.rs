//! System calls that no safe crate wraps. This file is for Unix; `platform_windows.rs` has the same items for Windows.
//! No other file here asks which system it is built for.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{F_DUPFD_CLOEXEC, c_int, fcntl};

/// The first descriptor that is no standard stream.
const FIRST: c_int = 3;

/// Bytes that were written to `socket` and that its peer has not taken; 0 if the kernel cannot tell.
pub(crate) fn in_send_queue(socket: BorrowedFd<'_>) -> u64 {
    let mut bytes: c_int = 0;
    if read_queue(socket, &mut bytes) == 0 {
        u64::try_from(bytes).unwrap_or(0)
    } else {
        0
    }
}

#[cfg(target_os = "linux")]
fn read_queue(socket: BorrowedFd<'_>, bytes: &mut c_int) -> c_int {
    // SAFETY: the descriptor is open, as its owner has lent it, and this request writes one `int` to where the
    // third argument points.
    unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut *bytes) }
}

#[cfg(target_os = "macos")]
fn read_queue(socket: BorrowedFd<'_>, bytes: &mut c_int) -> c_int {
    let mut size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open, as its owner has lent it, and this option is one `int`, written to where the
    // fourth argument points, which has the size that the fifth says.
    unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NWRITE,
            (&raw mut *bytes).cast(),
            &raw mut size,
        )
    }
}

/// A duplicate of any open descriptor.
pub(crate) fn duplicate(descriptor: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes any number, and touches no memory; it fails for one that is no open descriptor.
    let copy = unsafe { fcntl(descriptor, F_DUPFD_CLOEXEC, FIRST) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Where a bound port is not our own, makes it so.
pub(crate) fn claim(_: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

/// Returns freed memory to the system. glibc keeps it otherwise; other libraries return it by themselves.
pub(crate) fn trim_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: glibc's own function; it takes the allocator's locks and may be called on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::in_send_queue;

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not know the system call for send queues")]
    fn what_a_peer_does_not_read_is_counted_until_it_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        assert_eq!(in_send_queue(socket.as_fd()), 0);
        socket.set_nonblocking(true).unwrap();
        let mut written = 0;
        loop {
            match socket.write(&[0; 100_000]) {
                Ok(n) => written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("{e}"),
            }
        }
        let full = in_send_queue(socket.as_fd());
        assert!(full > 0 && full <= written as u64, "{full} of {written}");
        peer.read_exact(&mut vec![0; written]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while in_send_queue(socket.as_fd()) > 0 {
            assert!(
                Instant::now() < deadline,
                "{}",
                in_send_queue(socket.as_fd())
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
