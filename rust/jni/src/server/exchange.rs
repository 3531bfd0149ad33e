//! The native methods on one exchange: responding, streaming, and its state.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use httpkit_core::server::{Answered, Exchange, INLINE, Reply, Sent, Work};
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::{jboolean, jint, jlong};

use super::content::{Part, send_body, with_payload};
use super::exchanges::EXCHANGES;
use super::take_from;
use super::work::{give_up, hand_over};
use crate::border::abi;
use crate::border::arrays::{array, bytes, in_buffer, size};
use crate::border::error::{BridgeError, Result};
use crate::border::fields::push_address;

/// A response's bytes as Java passes them.
pub(crate) struct AnswerBytes<'local> {
    pub(crate) buffer: JByteArray<'local>,
    pub(crate) head: jint,
    pub(crate) body: jint,
    pub(crate) large: JByteArray<'local>,
    pub(crate) large_start: jint,
    pub(crate) large_len: jint,
}

#[allow(clippy::too_many_arguments)] // One crossing per response: its parts are its arguments.
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
    // Do not hold it while this thread waits for work.
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
    EXCHANGES.with(handle, Ok(Answered::Stale), |exchange| {
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
            let part = Part::new(bytes.large_start, bytes.large_len)?;
            let owned = flags & abi::OWNED as u32 != 0;
            answered = send_body(env, exchange, &bytes.large, part, flags, owned)?;
        }
        forget_done(handle, &answered);
        Ok(answered)
    })
}

fn forget_done(handle: jlong, answered: &Answered) {
    if matches!(answered, Answered::Done(_)) {
        EXCHANGES.remove(handle);
    }
}

fn final_status(status: jint) -> Result<u16> {
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
pub(crate) fn answer_file<'local>(
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
        let at =
            u64::try_from(offset).map_err(|_| BridgeError::Argument(format!("offset {offset}")))?;
        let path = PathBuf::from(OsString::from_vec(env.convert_byte_array(&path)?));
        let (file, len) = open_part(&path, at, u64::try_from(length).ok())
            .map_err(|e| BridgeError::Io(e, path.display().to_string()))?;
        let answered = in_buffer(env, &buffer, size(head)?, |headers| {
            let reply = Reply {
                status,
                headers,
                flags: flags as u32 & !INLINE,
                declared: -1,
            };
            exchange.respond_file(&reply, file, at, len)
        })?;
        forget_done(handle, &answered);
        Ok(answered_code(&answered))
    })
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
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let part = Part::new(start, len)?;
        let answered = send_body(env, exchange, &array, part, 0, owned)?;
        forget_done(handle, &answered);
        Ok(answered_code(&answered))
    })
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
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let status = final_status(status)?;
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
        let sent = with_payload(env, &array, Part::new(start, len)?, |first| {
            exchange.stream(&reply, first)
        })?;
        Ok(sent_code(sent))
    })
}

#[allow(clippy::too_many_arguments)] // Part of an array takes three of them.
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
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let (part, limit) = (Part::new(start, len)?, size(limit)?);
        let sent = with_payload(env, &array, part, |piece| {
            exchange.chunk(piece, flags as u32, limit)
        })?;
        Ok(sent_code(sent))
    })
}

pub(crate) fn end<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<jint> {
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let sent = exchange.end();
        if sent == Sent::Accepted {
            EXCHANGES.remove(handle);
        }
        Ok(sent_code(sent))
    })
}

pub(crate) fn hold<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES.with(handle, false, |exchange| exchange.hold()))
}

pub(crate) fn settle<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    EXCHANGES.with(handle, (), |exchange| exchange.settle());
    Ok(())
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
) -> Result<jboolean> {
    Ok(EXCHANGES.with(handle, false, |exchange| exchange.when_drained()))
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
