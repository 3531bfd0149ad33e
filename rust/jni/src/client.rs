//! The client's native methods: conversions around `httpkit_core::client`.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use httpkit_core::client::{
    Bytes, CallError, Ceilings, Client, ClientConfig, Coding, Decoder, Event, State, Version,
    decode_whole,
};
use jni::Env;
use jni::objects::{JByteArray, JClass, JLongArray};
use jni::sys::{jboolean, jint, jlong};
use parking_lot::Mutex;

use crate::client_spec::{read_address, read_call, read_tls};
use crate::client_upcalls::{self, JavaSink, kind_number};
use crate::error::{BridgeError, Result};
use crate::faults;
use crate::handle::HandleTable;
use crate::{abi, arrays};

pub(crate) static CLIENTS: HandleTable<Arc<Client>> = HandleTable::new();
pub(crate) static DECODERS: HandleTable<Arc<Mutex<Decoder>>> = HandleTable::new();

fn bytes(env: &Env<'_>, array: &JByteArray<'_>, start: jint, len: jint) -> Result<Vec<u8>> {
    match array.is_null() {
        true => Ok(Vec::new()),
        false => arrays::bytes(env, array, start, len),
    }
}

fn count(n: jlong) -> Option<usize> {
    usize::try_from(n).ok().filter(|n| *n > 0)
}

fn id(id: jlong) -> u64 {
    id as u64
}

fn size(n: jint) -> usize {
    usize::try_from(n).unwrap_or(0)
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
    }))))
}

pub(crate) fn run<'local>(env: &mut Env<'local>, _: JClass<'local>, client: jlong) -> Result<()> {
    let Some(found) = CLIENTS.get(client) else {
        return Ok(());
    };
    // Without memory for it the client stays, and with it the calls that wait: Java tries again.
    // SAFETY: the sink is dropped with the loop, before this frame ends.
    let sink = Rc::new(unsafe { JavaSink::new(env) }?);
    let result = found.run(sink);
    CLIENTS.remove(client);
    result.map_err(|error| BridgeError::Io(error, "client loop".into()))
}

pub(crate) fn stop<'local>(_: &mut Env<'local>, _: JClass<'local>, client: jlong) -> Result<()> {
    if let Some(client) = CLIENTS.get(client) {
        client.stop();
    }
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
    if let Some(client) = CLIENTS.get(client) {
        client.set_tls(context);
    }
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
    let spec = bytes(env, &spec, 0, spec_length)?;
    let body = bytes(env, &body, body_offset, body_length)?;
    let spec = Box::new(read_call(&spec, body)?);
    Ok(CLIENTS
        .get(client)
        .is_some_and(|client| client.call(id(call), spec)))
}

pub(crate) fn credit<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    call: jlong,
    n: jint,
) -> Result<()> {
    if let Some(client) = CLIENTS.get(client) {
        client.credit(id(call), size(n));
    }
    Ok(())
}

pub(crate) fn cancel<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    call: jlong,
) -> Result<()> {
    if let Some(client) = CLIENTS.get(client) {
        client.cancel(id(call));
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)] // An array crosses with its part.
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
    let data = Bytes::from(bytes(env, &data, offset, length)?);
    Ok(CLIENTS
        .get(client)
        .is_some_and(|client| client.send_body(id(call), data, last)))
}

pub(crate) fn send_failed<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    call: jlong,
) -> Result<()> {
    if let Some(client) = CLIENTS.get(client) {
        client.send_failed(id(call));
    }
    Ok(())
}

pub(crate) fn stats<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    out: JLongArray<'local>,
) -> Result<jboolean> {
    let Some(client) = CLIENTS.get(client) else {
        return Ok(false);
    };
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
}

pub(crate) fn transport_ready<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    transport: jlong,
) -> Result<()> {
    if let Some(client) = CLIENTS.get(client) {
        client.transport_ready(id(transport));
    }
    Ok(())
}

pub(crate) fn transport_failed<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    transport: jlong,
) -> Result<()> {
    if let Some(client) = CLIENTS.get(client) {
        client.transport_failed(id(transport));
    }
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
    let data = Bytes::from(bytes(env, &data, offset, length)?);
    Ok(CLIENTS
        .get(client)
        .is_some_and(|client| client.transport_received(id(transport), data)))
}

pub(crate) fn transport_eof<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    transport: jlong,
) -> Result<()> {
    if let Some(client) = CLIENTS.get(client) {
        client.transport_eof(id(transport));
    }
    Ok(())
}

pub(crate) fn transport_written<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    client: jlong,
    transport: jlong,
    n: jint,
) -> Result<()> {
    if let Some(client) = CLIENTS.get(client) {
        client.transport_written(id(transport), size(n));
    }
    Ok(())
}

pub(crate) fn decoder_open<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    head_request: jboolean,
) -> Result<jlong> {
    let decoder = Decoder::new(head_request);
    Ok(DECODERS.insert(Arc::new(Mutex::new(decoder))))
}

pub(crate) fn decoder_close<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    decoder: jlong,
) -> Result<()> {
    DECODERS.remove(decoder);
    Ok(())
}

pub(crate) fn decoder_feed<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    decoder: jlong,
    data: JByteArray<'local>,
    offset: jint,
    length: jint,
) -> Result<JByteArray<'local>> {
    let Some(decoder) = DECODERS.get(decoder) else {
        return Err(BridgeError::State("the decoder is closed".into()));
    };
    let data = bytes(env, &data, offset, length)?;
    let records = feed(&mut decoder.lock(), &data);
    Ok(env.byte_array_from_slice(&records)?)
}

/// The records of what `decoder` sees in `data`.
fn feed(decoder: &mut Decoder, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 64);
    let mut rest = data;
    loop {
        match decoder.next(&mut rest) {
            Ok(Event::More | Event::End) => break,
            Ok(Event::Status) => {
                out.push(abi::DECODED_STATUS);
                out.push(match decoder.version() {
                    Version::Http10 => abi::HEAD_HTTP10 as u8,
                    Version::Http11 => 0,
                });
                out.extend(decoder.status().to_be_bytes());
            }
            Ok(Event::Headers | Event::Trailers) => {
                let mut block = Vec::new();
                decoder.headers().encode(&mut block);
                push(&mut out, abi::DECODED_HEADERS, &block);
            }
            Ok(Event::Body(piece)) => push(&mut out, abi::DECODED_BODY, piece),
            Err(error) => {
                push_error(&mut out, &error);
                break;
            }
        }
    }
    out.push(abi::DECODED_STATE);
    out.push(state_number(decoder.state()));
    out.extend(((data.len() - rest.len()) as u32).to_be_bytes());
    out
}

fn push(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

fn push_error(out: &mut Vec<u8>, error: &CallError) {
    let message = error.message.as_bytes();
    // A line is at most 16190 characters, so that its message always fits.
    let message = &message[..message.len().min(usize::from(u16::MAX))];
    out.extend([abi::DECODED_ERROR, kind_number(error.kind) as u8]);
    out.extend((message.len() as u16).to_be_bytes());
    out.extend(message);
}

fn state_number(state: State) -> u8 {
    match state {
        State::Status => abi::STATE_STATUS,
        State::Headers => abi::STATE_HEADERS,
        State::Fixed => abi::STATE_FIXED,
        State::ChunkSize => abi::STATE_CHUNK_SIZE,
        State::Chunk => abi::STATE_CHUNK,
        State::ChunkEnd => abi::STATE_CHUNK_END,
        State::Trailers => abi::STATE_TRAILERS,
        State::UntilClose => abi::STATE_UNTIL_CLOSE,
        State::Done => abi::STATE_DONE,
    }
}

#[allow(clippy::too_many_arguments)] // Each limit has an error of its own.
pub(crate) fn decode_content<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    coding: jint,
    data: JByteArray<'local>,
    offset: jint,
    length: jint,
    filter: jlong,
    limit: jlong,
    room: jlong,
) -> Result<JByteArray<'local>> {
    faults::point();
    let coding = match coding {
        abi::CODING_GZIP => Coding::Gzip,
        abi::CODING_DEFLATE => Coding::Deflate,
        other => return Err(BridgeError::Argument(format!("coding {other}"))),
    };
    let data = bytes(env, &data, offset, length)?;
    let [filter, limit, room] = [filter, limit, room].map(|most| u64::try_from(most).ok());
    let most = Ceilings {
        filter,
        limit,
        room,
    };
    match decode_whole(coding, &data, most) {
        Ok(decoded) => Ok(env.byte_array_from_slice(&decoded)?),
        Err(error) => {
            client_upcalls::throw(env, &error)?;
            Ok(JByteArray::null())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_tell_every_event_and_what_was_eaten() {
        let mut decoder = Decoder::new(false);
        let records = feed(
            &mut decoder,
            b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 1\r\n\r\n...",
        );
        let mut want = vec![1, 0, 0, 200];
        want.extend([2, 0, 0, 0, 27]);
        want.extend(b"\0\x02\0\x01\0\x01ab\0\x0e\0\x01content-length1");
        want.extend([3, 0, 0, 0, 1, b'.']);
        want.extend([5, 8, 0, 0, 0, 45]);
        assert_eq!(records.len(), want.len());
        assert_eq!(records, want);
    }

    #[test]
    fn an_error_is_the_last_record_but_one() {
        let mut decoder = Decoder::new(false);
        let records = feed(&mut decoder, b"garbage\r\n");
        let message = b"not http protocol? garbage";
        let mut want = vec![4, 7, 0, message.len() as u8];
        want.extend(message);
        want.extend([5, 0, 0, 0, 0, 9]);
        assert_eq!(records, want);
    }
}
