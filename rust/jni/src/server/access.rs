//! The native methods for the access log.

use httpkit_core::server::Ended;
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::jlong;

use super::{SERVERS, server};
use crate::border::abi;
use crate::border::arrays::array;
use crate::border::error::Result;

const _: () = assert!(
    Ended::Done as u8 == abi::ACCESS_DONE
        && Ended::Aborted as u8 == abi::ACCESS_ABORTED
        && Ended::TimedOut as u8 == abi::ACCESS_TIMED_OUT
);

pub(crate) fn take<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JByteArray<'local>> {
    let Some(server) = SERVERS.get(handle) else {
        return Ok(JByteArray::null());
    };
    let Some((records, count)) = server.take_access() else {
        return Ok(JByteArray::null());
    };
    let taken = array(env, Some(records));
    if taken.is_err() {
        server.note_access_dropped(count as u64);
    }
    taken
}

pub(crate) fn lost<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    count: jlong,
) -> Result<jlong> {
    let Some(server) = SERVERS.get(handle) else {
        return Ok(0);
    };
    Ok(server.note_access_dropped(count.max(0) as u64) as jlong)
}

pub(crate) fn close<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    server(handle)?.close_access();
    Ok(())
}
