//! The client's native methods: conversions around `httpkit_core::client`.

pub(crate) mod decoder;
mod spec;
pub(crate) mod upcalls;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use httpkit_core::client::{Bytes, Client, ClientConfig};
use jni::Env;
use jni::objects::{JByteArray, JClass, JLongArray};
use jni::sys::{jboolean, jint, jlong};

use crate::border::abi;
use crate::border::arrays::{bytes_or_none, size};
use crate::border::error::{BridgeError, Result};
use crate::border::faults;
use crate::border::handle::HandleTable;
use crate::border::platform::in_send_queue;
use spec::{read_address, read_call, read_tls};
use upcalls::JavaSink;

pub(crate) static CLIENTS: HandleTable<Arc<Client>> = HandleTable::new();

fn count(n: jlong) -> Option<usize> {
    usize::try_from(n).ok().filter(|n| *n > 0)
}

fn id(id: jlong) -> u64 {
    id as u64
}

pub(crate) fn open<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    max_connections: jlong,
    max_per_host: jlong,
    bind: JByteArray<'local>,
) -> Result<jlong> {
    let bind = match bind.is_null() {
        true => None,
        false => Some(read_address(&env.convert_byte_array(&bind)?)?),
    };
    Ok(CLIENTS.insert(Arc::new(Client::new(ClientConfig {
        max_connections: count(max_connections),
        max_per_host: count(max_per_host),
        bind,
        unsent: Some(in_send_queue),
    }))))
}

pub(crate) fn run<'local>(env: &mut Env<'local>, _: JClass<'local>, client: jlong) -> Result<()> {
    let Some(found) = CLIENTS.get(client) else {
        return Ok(());
    };
    // If memory is short, this fails, and the client stays with its queued calls: Java tries again.
    let sink = Arc::new(JavaSink::new(env)?);
    let result = upcalls::on_this_thread(env, || found.run(sink));
    CLIENTS.remove(client);
    result.map_err(|error| BridgeError::Io(error, "client loop".into()))
}

pub(crate) fn stop<'local>(_: &mut Env<'local>, _: JClass<'local>, client: jlong) -> Result<()> {
    CLIENTS.with(client, (), |client| client.stop());
    Ok(())
}

pub(crate) fn tls<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    material: JByteArray<'local>,
) -> Result<()> {
    faults::point();
    let context = read_tls(&env.convert_byte_array(&material)?)?;
    CLIENTS.with(client, (), |client| client.set_tls(context));
    Ok(())
}

#[allow(clippy::too_many_arguments)] // One crossing per call: its parts are its arguments.
pub(crate) fn call<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    call: jlong,
    spec: JByteArray<'local>,
    spec_length: jint,
    body: JByteArray<'local>,
    body_offset: jint,
    body_length: jint,
) -> Result<jboolean> {
    faults::point();
    let spec = bytes_or_none(env, &spec, 0, spec_length)?;
    let body = bytes_or_none(env, &body, body_offset, body_length)?;
    let spec = Box::new(read_call(&spec, body)?);
    Ok(CLIENTS.with(client, false, |client| client.call(id(call), spec)))
}

pub(crate) fn credit<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    call: jlong,
    n: jint,
) -> Result<()> {
    let n = size(n)?;
    CLIENTS.with(client, (), |client| client.credit(id(call), n));
    Ok(())
}

pub(crate) fn cancel<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    call: jlong,
) -> Result<()> {
    CLIENTS.with(client, (), |client| client.cancel(id(call)));
    Ok(())
}

#[allow(clippy::too_many_arguments)] // An array crosses with its offset and length.
pub(crate) fn send<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    call: jlong,
    data: JByteArray<'local>,
    offset: jint,
    length: jint,
    last: jboolean,
) -> Result<jboolean> {
    let data = Bytes::from(bytes_or_none(env, &data, offset, length)?);
    Ok(CLIENTS.with(client, false, |client| {
        client.send_body(id(call), data, last)
    }))
}

pub(crate) fn send_failed<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    call: jlong,
) -> Result<()> {
    CLIENTS.with(client, (), |client| client.send_failed(id(call)));
    Ok(())
}

pub(crate) fn stats<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    out: JLongArray<'local>,
) -> Result<jboolean> {
    CLIENTS.with(client, Ok(false), |client| {
        let stats = client.stats();
        let counters = [
            (abi::STAT_OPEN, &stats.open),
            (abi::STAT_IDLE, &stats.idle),
            (abi::STAT_ACTIVE, &stats.active),
            (abi::STAT_QUEUED, &stats.queued),
            (abi::STAT_OPENED, &stats.opened),
            (abi::STAT_REQUESTS, &stats.calls),
            (abi::STAT_REUSED, &stats.reused),
            (abi::STAT_RETRIED, &stats.retries),
            (abi::STAT_NATIVE_TLS, &stats.tls),
            (abi::STAT_HOSTED, &stats.hosted),
            (abi::STAT_BUFFERED, &stats.buffered),
            (abi::STAT_CONNECTING, &stats.connecting),
        ];
        let mut numbers = [0; abi::CLIENT_STATS];
        for (place, counter) in counters {
            numbers[place] = counter.load(Ordering::Relaxed) as jlong;
        }
        out.set_region(env, 0, &numbers)?;
        Ok(true)
    })
}

pub(crate) fn transport_ready<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    transport: jlong,
) -> Result<()> {
    CLIENTS.with(client, (), |client| client.transport_ready(id(transport)));
    Ok(())
}

pub(crate) fn transport_failed<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    transport: jlong,
) -> Result<()> {
    CLIENTS.with(client, (), |client| client.transport_failed(id(transport)));
    Ok(())
}

pub(crate) fn transport_received<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    transport: jlong,
    data: JByteArray<'local>,
    offset: jint,
    length: jint,
) -> Result<jboolean> {
    let data = Bytes::from(bytes_or_none(env, &data, offset, length)?);
    Ok(CLIENTS.with(client, false, |client| {
        client.transport_received(id(transport), data)
    }))
}

pub(crate) fn transport_eof<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    transport: jlong,
) -> Result<()> {
    CLIENTS.with(client, (), |client| client.transport_eof(id(transport)));
    Ok(())
}

pub(crate) fn transport_written<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    transport: jlong,
    n: jint,
) -> Result<()> {
    let n = size(n)?;
    CLIENTS.with(client, (), |client| {
        client.transport_written(id(transport), n)
    });
    Ok(())
}
