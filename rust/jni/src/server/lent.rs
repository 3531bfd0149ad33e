//! Sockets that systemd, or another program, opened before the JVM was started.

use std::os::fd::{FromRawFd, OwnedFd};

use httpkit_core::server::{Address, Lent};
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::jint;
use libc::{F_DUPFD_CLOEXEC, fcntl};

use crate::border::error::{BridgeError, Result};
use crate::border::faults;

/// The first descriptor that is no standard stream.
const FIRST: jint = 3;

/// The listening socket of this process with that descriptor, which stays open and the caller's.
pub(super) fn address(descriptor: jint) -> Result<Address> {
    let none = || {
        BridgeError::Argument(format!(
            ":listen-socket {descriptor} is not a listening socket"
        ))
    };
    // SAFETY: takes any number, and touches no memory; it fails for one that is no open descriptor.
    let copy = unsafe { fcntl(descriptor, F_DUPFD_CLOEXEC, FIRST) };
    if copy < 0 {
        return Err(none());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows of it.
    let copy = unsafe { OwnedFd::from_raw_fd(copy) };
    Ok(Address::Lent(Lent::new(copy).map_err(|_| none())?))
}

/// Tells a service manager; see `sd_notify(3)`.
pub(crate) fn notify_manager<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    socket: JByteArray<'local>,
    message: JByteArray<'local>,
) -> Result<()> {
    faults::point();
    let socket = env.convert_byte_array(&socket)?;
    let message = env.convert_byte_array(&message)?;
    httpkit_core::server::notify_manager(&socket, &message).map_err(|e| {
        let name = String::from_utf8_lossy(&socket);
        BridgeError::Io(e, format!("cannot write to NOTIFY_SOCKET, {name}"))
    })
}
