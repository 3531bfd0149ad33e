//! The number of written bytes that the kernel still holds: a system call that no safe crate wraps.

use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{TIOCOUTQ, c_int, ioctl};

/// Bytes that were written to `socket` and that its peer has not taken; 0 if the kernel cannot tell.
pub(crate) fn in_send_queue(socket: BorrowedFd<'_>) -> u64 {
    let mut bytes: c_int = 0;
    // SAFETY: the descriptor is open, as its owner has lent it, and this request writes one `int` to where the
    // third argument points.
    let result = unsafe { ioctl(socket.as_raw_fd(), TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        u64::try_from(bytes).unwrap_or(0)
    } else {
        0
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
