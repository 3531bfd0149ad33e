//! Files that the kernel cannot send directly.

use std::fs::File;
use std::io;

use socket2::SockRef;

use super::platform::{AsSocket, read_at};

/// Bytes copied per call.
const COPIED: usize = 64 * 1024;

/// Reads a piece of a file and sends it. Returns 0 at the end of the file.
pub(crate) fn copy(
    socket: &impl AsSocket,
    file: &File,
    at: u64,
    count: usize,
) -> io::Result<usize> {
    let mut piece = vec![0; count.min(COPIED)];
    match read_at(file, &mut piece, at)? {
        0 => Ok(0),
        read => SockRef::from(socket).send(&piece[..read]),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_file_that_the_kernel_cannot_send_is_copied_piece_by_piece() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let content: Vec<u8> = (0..COPIED + 1000).map(|n| (n % 251) as u8).collect();
        let name = std::env::temp_dir().join(format!("httpkit-copied-{}", std::process::id()));
        File::create_new(&name)
            .unwrap()
            .write_all(&content)
            .unwrap();
        let file = File::open(&name).unwrap();
        std::fs::remove_file(&name).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all)
        });
        let mut at = 0;
        loop {
            match copy(&socket, &file, at, 1 << 20).unwrap() {
                0 => break,
                sent => at += sent as u64,
            }
        }
        drop(socket);
        assert_eq!(reader.join().unwrap().unwrap(), content);
    }
}
