//! As `platform.rs`, for Windows.

use std::ffi::c_int;
use std::io;
use std::os::windows::io::{AsRawSocket, BorrowedSocket, OwnedSocket};

use windows_sys::Win32::Networking::WinSock::{SO_EXCLUSIVEADDRUSE, SOL_SOCKET, setsockopt};

/// What the library exports. Without a list, linkers of MinGW's kind export everything, and cargo-zigbuild drops the
/// one that rustc makes.
#[used]
// SAFETY: linkers read this section as options, and load none of it.
#[unsafe(link_section = ".drectve")]
static EXPORTS: [u8; 40] = *b" -export:JNI_OnLoad -export:JNI_OnUnload";

/// Windows does not tell.
pub(crate) fn in_send_queue(_: BorrowedSocket<'_>) -> u64 {
    0
}

/// Programs do not inherit sockets by number.
pub(crate) fn duplicate(_: c_int) -> io::Result<OwnedSocket> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Otherwise another process could bind the same port, and get its connections.
pub(crate) fn claim(socket: BorrowedSocket<'_>) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the socket is open, as its owner has lent it, and this option is one `int`, which is where the fourth
    // argument points.
    let result = unsafe {
        setsockopt(
            socket.as_raw_socket() as usize,
            SOL_SOCKET,
            SO_EXCLUSIVEADDRUSE,
            (&raw const on).cast(),
            size_of::<c_int>() as c_int,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Windows returns freed memory by itself.
pub(crate) fn trim_memory() {}
