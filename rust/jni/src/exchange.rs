//! The native methods on one exchange: answering, streaming, WebSocket.

use std::ffi::OsString;
use std::fs::File;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use httpkit_core::server::{Answered, Exchange, INLINE, Interest, Pings, Reply, Sent, Work};
use httpkit_core::ws::Opcode;
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::{jboolean, jint, jlong};

use crate::abi;
use crate::arrays::{array, bytes, in_buffer, size};
use crate::content::{Part, send_body, with_payload};
use crate::error::{BridgeError, Result};
use crate::handle::HandleTable;
use crate::server::take_from;
use crate::work::{give_up, hand_over};

pub(crate) static EXCHANGES: HandleTable<Exchange> = HandleTable::new();

/// An answer's bytes as Java passes them.
pub(crate) struct AnswerBytes<'local> {
    pub(crate) buffer: JByteArray<'local>,
    pub(crate) head: jint,
    pub(crate) body: jint,
    pub(crate) large: JByteArray<'local>,
    pub(crate) large_start: jint,
    pub(crate) large_len: jint,
}

#[allow(clippy::too_many_arguments)] // One crossing per answer: its parts are its arguments.
pub(crate) fn answer<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    exchange: jlong,
    status: jint,
    flags: jint,
    declared: jlong,
    buffer: JByteArray<'local>,
    head: jint,
    body: jint,
    large: JByteArray<'local>,
    large_start: jint,
    large_len: jint,
) -> Result<jint> {
    let bytes = AnswerBytes {
        buffer,
        head,
        body,
        large,
        large_start,
        large_len,
    };
    let flags = flags as u32 & !INLINE;
    let answered = respond(env, exchange, status, flags, declared, &bytes)?;
    Ok(answered_code(&answered))
}

#[allow(clippy::too_many_arguments)] // As above, and the next piece of work comes back.
pub(crate) fn answer_and_take<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    exchange: jlong,
    status: jint,
    flags: jint,
    declared: jlong,
    buffer: JByteArray<'local>,
    head: jint,
    body: jint,
    large: JByteArray<'local>,
    large_start: jint,
    large_len: jint,
) -> Result<JByteArray<'local>> {
    let bytes = AnswerBytes {
        buffer,
        head,
        body,
        large,
        large_start,
        large_len,
    };
    let flags = flags as u32 | INLINE;
    let answered = respond(env, exchange, status, flags, declared, &bytes)?;
    if let Answered::Done(Some(next)) = answered
        && let Some(array) = hand_over(env, Work::Request(next))?
    {
        return Ok(array);
    }
    // Not for as long as this thread waits for work.
    env.delete_local_ref(bytes.large);
    take_from(env, handle)
}

fn respond(
    env: &mut Env<'_>,
    handle: jlong,
    status: jint,
    flags: u32,
    declared: jlong,
    bytes: &AnswerBytes<'_>,
) -> Result<Answered> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(Answered::Stale);
    };
    let status = final_status(status)?;
    let (head, body) = (size(bytes.head)?, size(bytes.body)?);
    let large = if bytes.large.is_null() {
        0
    } else {
        size(bytes.large_len)?
    };
    let total = (body + large) as u64;
    let mut answered = Answered::Stale;
    in_buffer(env, &bytes.buffer, head + body, |buffer| {
        let (headers, body) = buffer.split_at(head);
        answered = exchange.respond(
            &Reply {
                status,
                headers,
                flags,
                declared,
            },
            body,
            total,
        );
    })?;
    if matches!(answered, Answered::More) && large > 0 {
        let part = Part {
            start: size(bytes.large_start)?,
            len: large,
        };
        let owned = flags & abi::OWNED as u32 != 0;
        answered = send_body(env, &exchange, &bytes.large, part, flags, owned)?;
    }
    if matches!(answered, Answered::Done(_)) {
        EXCHANGES.remove(handle);
    }
    Ok(answered)
}

fn final_status(status: jint) -> Result<u16> {
    u16::try_from(status)
        .ok()
        .filter(|status| (200..=999).contains(status))
        .ok_or_else(|| BridgeError::Argument(format!("status {status}")))
}

#[allow(clippy::too_many_arguments)] // One crossing: the head's parts and the file's.
pub(crate) fn answer_file<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    status: jint,
    flags: jint,
    buffer: JByteArray<'local>,
    head: jint,
    path: JByteArray<'local>,
) -> Result<jint> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let status = final_status(status)?;
    let path = PathBuf::from(OsString::from_vec(env.convert_byte_array(&path)?));
    let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (len, file) = opened.map_err(|e| BridgeError::Io(e, path.display().to_string()))?;
    let answered = in_buffer(env, &buffer, size(head)?, |headers| {
        let reply = Reply {
            status,
            headers,
            flags: flags as u32 & !INLINE,
            declared: -1,
        };
        exchange.respond_file(&reply, file, len)
    })?;
    if matches!(answered, Answered::Done(_)) {
        EXCHANGES.remove(handle);
    }
    Ok(answered_code(&answered))
}

pub(crate) fn body<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
    owned: jboolean,
) -> Result<jint> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let part = part(start, len)?;
    let answered = send_body(env, &exchange, &array, part, 0, owned)?;
    if matches!(answered, Answered::Done(_)) {
        EXCHANGES.remove(handle);
    }
    Ok(answered_code(&answered))
}

fn part(start: jint, len: jint) -> Result<Part> {
    let (start, len) = (size(start)?, size(len)?);
    Ok(Part { start, len })
}

fn answered_code(answered: &Answered) -> jint {
    match answered {
        Answered::Stale => abi::SENT_CLOSED,
        Answered::More => abi::ANSWER_MORE,
        Answered::Done(_) => abi::SENT_ACCEPTED,
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
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let status =
        u16::try_from(status).map_err(|_| BridgeError::Argument(format!("status {status}")))?;
    let headers = bytes(env, &buffer, 0, head)?;
    let reply = Reply {
        status,
        headers: &headers,
        flags: flags as u32,
        declared: -1,
    };
    if array.is_null() {
        return Ok(sent_code(exchange.stream(&reply, &[])));
    }
    let sent = with_payload(env, &array, part(start, len)?, |first| {
        exchange.stream(&reply, first)
    })?;
    Ok(sent_code(sent))
}

#[allow(clippy::too_many_arguments)] // An array's part is three of them.
pub(crate) fn chunk<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
    flags: jint,
    limit: jint,
) -> Result<jint> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let (part, limit) = (part(start, len)?, size(limit)?);
    let sent = with_payload(env, &array, part, |piece| {
        exchange.chunk(piece, flags as u32, limit)
    })?;
    Ok(sent_code(sent))
}

pub(crate) fn end<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<jint> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let sent = exchange.end();
    if sent == Sent::Accepted {
        EXCHANGES.remove(handle);
    }
    Ok(sent_code(sent))
}

#[allow(clippy::too_many_arguments)] // An array's part is three of them.
pub(crate) fn message<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    opcode: jint,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
    flags: jint,
    limit: jint,
) -> Result<jint> {
    let opcode = u8::try_from(opcode)
        .ok()
        .and_then(Opcode::from_u8)
        .filter(|opcode| !matches!(opcode, Opcode::Close | Opcode::Continuation))
        .ok_or_else(|| BridgeError::Argument(format!("opcode {opcode}")))?;
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let (part, limit) = (part(start, len)?, size(limit)?);
    let sent = with_payload(env, &array, part, |payload| {
        exchange.message(opcode, payload, flags as u32, limit)
    })?;
    Ok(sent_code(sent))
}

pub(crate) fn close_websocket<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    code: jint,
    reason: JByteArray<'local>,
) -> Result<jboolean> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(false);
    };
    let code =
        u16::try_from(code).map_err(|_| BridgeError::Argument(format!("close code {code}")))?;
    let reason = String::from_utf8(env.convert_byte_array(&reason)?)
        .map_err(|_| BridgeError::Argument("the close reason is not UTF-8".into()))?;
    Ok(exchange.close(code, &reason))
}

#[allow(clippy::too_many_arguments)] // One crossing: all that the handshake settles.
pub(crate) fn upgrade<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    headers: JByteArray<'local>,
    len: jint,
    hear: jint,
    ping_interval: jlong,
    ping_timeout: jlong,
) -> Result<jboolean> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(false);
    };
    let headers = bytes(env, &headers, 0, len)?;
    Ok(exchange.upgrade(&headers, interest(hear), pings(ping_interval, ping_timeout)))
}

pub(crate) fn listen<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    hear: jint,
) -> Result<()> {
    if let Some(exchange) = EXCHANGES.get(handle) {
        exchange.listen(interest(hear));
    }
    Ok(())
}

/// Both in msecs; without an interval there are no pings.
fn pings(interval: jlong, timeout: jlong) -> Option<Pings> {
    let msecs = |n: jlong| {
        u64::try_from(n)
            .ok()
            .filter(|n| *n > 0)
            .map(Duration::from_millis)
    };
    Some(Pings {
        interval: msecs(interval)?,
        timeout: msecs(timeout)?,
    })
}

pub(crate) fn interest(hear: jint) -> Interest {
    Interest {
        pings: hear & abi::HEAR_PINGS != 0,
        pongs: hear & abi::HEAR_PONGS != 0,
        manual_pong: hear & abi::MANUAL_PONG != 0,
    }
}

pub(crate) fn hold<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES
        .get(handle)
        .is_some_and(|exchange| exchange.hold()))
}

pub(crate) fn settle<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    if let Some(exchange) = EXCHANGES.get(handle) {
        exchange.settle();
    }
    Ok(())
}

pub(crate) fn abort<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES
        .get(handle)
        .is_some_and(|exchange| exchange.abort()))
}

pub(crate) fn abandon<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    if let Some(exchange) = EXCHANGES.get(handle) {
        give_up(&exchange);
    }
    Ok(())
}

pub(crate) fn when_drained<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES
        .get(handle)
        .is_some_and(|exchange| exchange.when_drained()))
}

pub(crate) fn await_room<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    limit: jint,
) -> Result<jboolean> {
    let limit = size(limit)?;
    Ok(EXCHANGES
        .get(handle)
        .is_some_and(|exchange| exchange.await_room(limit)))
}

pub(crate) fn is_open<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES
        .get(handle)
        .is_some_and(|exchange| exchange.is_open()))
}

pub(crate) fn pending_bytes<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jlong> {
    Ok(EXCHANGES
        .get(handle)
        .map_or(0, |exchange| exchange.pending_bytes() as jlong))
}

/// The local and the peer's address: number of octets, octets, port each; null when stale or without addresses.
pub(crate) fn addresses<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JByteArray<'local>> {
    let ends = EXCHANGES
        .get(handle)
        .and_then(|exchange| exchange.addresses());
    let block = ends.map(|(local, peer)| {
        let mut block = Vec::with_capacity(40);
        for end in [local, peer] {
            let ip = end.ip().to_canonical();
            match ip {
                IpAddr::V4(ip) => {
                    block.push(4);
                    block.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    block.push(16);
                    block.extend_from_slice(&ip.octets());
                }
            }
            block.extend_from_slice(&end.port().to_le_bytes());
        }
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

pub(crate) fn refuse<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    if let Some(exchange) = EXCHANGES.remove(handle) {
        exchange.refuse_all();
    }
    Ok(())
}

pub(crate) fn overload<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<()> {
    if let Some(exchange) = EXCHANGES.get(handle) {
        exchange.overload();
    }
    Ok(())
}

fn sent_code(sent: Sent) -> jint {
    match sent {
        Sent::Closed => abi::SENT_CLOSED,
        Sent::Accepted => abi::SENT_ACCEPTED,
        Sent::Full => abi::SENT_FULL,
    }
}
