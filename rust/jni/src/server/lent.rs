//! Sockets that systemd, or another program, opened before the JVM was started.

use httpkit_core::server::{Address, Lent};
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::jint;

use crate::border::error::{BridgeError, Result};
use crate::border::faults;
use crate::border::platform::duplicate;

/// The listening socket of this process with that descriptor, which stays open and the caller's. `name` is for errors.
pub(super) fn address(name: &[u8], descriptor: jint) -> Result<Address> {
    let none = || {
        let name = String::from_utf8_lossy(name);
        BridgeError::Argument(format!("{name} is not a listening socket"))
    };
    let copy = duplicate(descriptor).map_err(|_| none())?;
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
    httpkit_core::net::platform::notify_manager(&socket, &message).map_err(|e| {
        let name = String::from_utf8_lossy(&socket);
        BridgeError::Io(e, format!("cannot write to NOTIFY_SOCKET, {name}"))
    })
}
