//! The native methods on one exchange: files, streams, and its state.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use httpkit_core::net::platform;
use httpkit_core::server::{Exchange, INLINE, Refusal, Responded, ResponseHead, Sent, Work};
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::{jboolean, jint, jlong};

use super::content::{Part, with_payload, write_body};
use super::exchanges::EXCHANGES;
use super::take_from;
use super::work::{give_up, hand_over};
use crate::border::abi;
use crate::border::arrays::{array, bytes, in_buffer, size};
use crate::border::error::{BridgeError, Result, number};
use crate::border::fields::push_address;

pub(super) fn forget_done(handle: jlong, sent: &Responded) {
    if matches!(sent, Responded::Done(_)) {
        EXCHANGES.remove(handle);
    }
}

pub(super) fn final_status(status: jint) -> Result<u16> {
    u16::try_from(status)
        .ok()
        .filter(|status| (200..=999).contains(status))
        .ok_or_else(|| BridgeError::Argument(format!("status {status}")))
}

/// A file, and how many bytes from `at` on are to be sent: all, or `wanted`, which it must have.
fn open_part(path: &Path, at: u64, wanted: Option<u64>) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let there = file.metadata()?.len().checked_sub(at);
    match (there, wanted) {
        (Some(there), None) => Ok((file, there)),
        (Some(there), Some(wanted)) if wanted <= there => Ok((file, wanted)),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("it has no {} bytes from {at} on", wanted.unwrap_or(0)),
        )),
    }
}

#[allow(clippy::too_many_arguments)] // One crossing: the head's parts and the file's.
pub(crate) fn respond_file<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    status: jint,
    flags: jint,
    buffer: JByteArray<'local>,
    head: jint,
    path: JByteArray<'local>,
    offset: jlong,
    length: jlong,
) -> Result<jint> {
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let status = final_status(status)?;
        let at = number(offset, "offset")?;
        let path = platform::path(env.convert_byte_array(&path)?);
        let (file, len) = open_part(&path, at, u64::try_from(length).ok())
            .map_err(|e| BridgeError::Io(e, path.display().to_string()))?;
        let sent = in_buffer(env, &buffer, size(head)?, |headers| {
            let response = ResponseHead {
                status,
                headers,
                flags: flags as u32 & !INLINE,
                declared: -1,
            };
            exchange.respond_file(&response, file, at, len)
        })?;
        forget_done(handle, &sent);
        Ok(responded_code(&sent))
    })
}

pub(crate) fn send_body<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
    owned: jboolean,
) -> Result<jint> {
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let part = Part::new(start, len)?;
        let sent = write_body(env, exchange, &array, part, 0, owned)?;
        forget_done(handle, &sent);
        Ok(responded_code(&sent))
    })
}

pub(super) fn responded_code(sent: &Responded) -> jint {
    match sent {
        Responded::Stale => abi::SENT_CLOSED,
        Responded::More => abi::RESPONSE_MORE,
        Responded::Done(_) => abi::SENT_ACCEPTED,
    }
}

#[allow(clippy::too_many_arguments)] // One crossing: the head's parts and the first piece.
pub(crate) fn stream<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    status: jint,
    flags: jint,
    buffer: JByteArray<'local>,
    head: jint,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
) -> Result<jint> {
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let status = final_status(status)?;
        let headers = bytes(env, &buffer, 0, head)?;
        let response = ResponseHead {
            status,
            headers: &headers,
            flags: flags as u32,
            declared: -1,
        };
        if array.is_null() {
            return Ok(sent_code(exchange.stream(&response, &[])));
        }
        let sent = with_payload(env, &array, Part::new(start, len)?, |first| {
            exchange.stream(&response, first)
        })?;
        Ok(sent_code(sent))
    })
}

#[allow(clippy::too_many_arguments)] // Part of an array takes three of them.
pub(crate) fn send_chunk<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
    flags: jint,
    limit: jint,
) -> Result<jint> {
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let (part, limit) = (Part::new(start, len)?, size(limit)?);
        let sent = with_payload(env, &array, part, |piece| {
            exchange.send_chunk(piece, flags as u32, limit)
        })?;
        Ok(sent_code(sent))
    })
}

pub(crate) fn end_stream<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jint> {
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let sent = exchange.end_stream();
        if sent == Sent::Accepted {
            EXCHANGES.remove(handle);
        }
        Ok(sent_code(sent))
    })
}

pub(crate) fn watch_peer<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES.with(handle, false, |exchange| exchange.watch_peer()))
}

pub(crate) fn uncork<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    EXCHANGES.with(handle, (), |exchange| exchange.uncork());
    Ok(())
}

pub(crate) fn heartbeat<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    millis: jint,
) -> Result<jboolean> {
    let interval = Duration::from_millis(size(millis)?.max(1) as u64);
    Ok(EXCHANGES.with(handle, false, |exchange| exchange.heartbeat(interval)))
}

pub(crate) fn abort<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES.with(handle, false, |exchange| exchange.abort()))
}

pub(crate) fn abandon<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    EXCHANGES.with(handle, (), give_up);
    Ok(())
}

pub(crate) fn when_drained<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jint> {
    Ok(EXCHANGES.with(handle, abi::SENT_CLOSED, |exchange| {
        sent_code(exchange.when_drained())
    }))
}

pub(crate) fn await_room<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    limit: jint,
) -> Result<jboolean> {
    let limit = size(limit)?;
    Ok(EXCHANGES.with(handle, false, |exchange| exchange.await_room(limit)))
}

pub(crate) fn is_open<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES.with(handle, false, |exchange| exchange.is_open()))
}

pub(crate) fn pending_bytes<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jlong> {
    Ok(EXCHANGES.with(handle, 0, |exchange| exchange.pending_bytes() as jlong))
}

/// The local and the peer's address, one record each; null if stale or without addresses.
pub(crate) fn addresses<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JByteArray<'local>> {
    let ends = EXCHANGES.with(handle, None, Exchange::addresses);
    let block = ends.map(|(local, peer)| {
        let mut block = Vec::with_capacity(46);
        push_address(&mut block, local);
        push_address(&mut block, peer);
        block
    });
    array(env, block)
}

pub(crate) fn take_events<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JByteArray<'local>> {
    match EXCHANGES.get(handle) {
        Some(exchange) => Ok(hand_over(env, Work::Events(exchange))?.unwrap_or_default()),
        None => Ok(JByteArray::null()),
    }
}

pub(crate) fn take_after<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    server: jlong,
    channel: jlong,
) -> Result<JByteArray<'local>> {
    if let Some(exchange) = EXCHANGES.get(channel)
        && let Some(events) = hand_over(env, Work::Events(exchange))?
    {
        return Ok(events);
    }
    take_from(env, server)
}

pub(crate) fn refuse<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    stopping: jboolean,
) -> Result<()> {
    if let Some(exchange) = EXCHANGES.remove(handle) {
        exchange.refuse_all(match stopping {
            true => Refusal::Stopping,
            false => Refusal::Overload,
        });
    }
    Ok(())
}

pub(crate) fn overload<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<()> {
    EXCHANGES.with(handle, (), |exchange| exchange.overload());
    Ok(())
}

pub(super) fn sent_code(sent: Sent) -> jint {
    match sent {
        Sent::Closed => abi::SENT_CLOSED,
        Sent::Accepted => abi::SENT_ACCEPTED,
        Sent::Full => abi::SENT_FULL,
    }
}
