//! Whole responses, and the first pieces of long ones.

use httpkit_core::server::{Exchange, Gzip, INLINE, Responded, ResponseHead, Server, Work};
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::{jint, jlong};

use super::content::{Part, SHARED, send_shared, write_body};
use super::exchange::{final_status, forget_done, responded_code};
use super::exchanges::EXCHANGES;
use super::take_from;
use super::work::hand_over;
use crate::border::abi;
use crate::border::arrays::{bytes_of, in_buffer, size};
use crate::border::error::Result;

/// A response's bytes as Java passes them.
struct ResponseBytes<'local> {
    buffer: JByteArray<'local>,
    head: jint,
    body: jint,
    large: JByteArray<'local>,
    large_start: jint,
    large_len: jint,
}

#[allow(clippy::too_many_arguments)] // One crossing per response: its parts are its arguments.
pub(crate) fn respond<'local>(
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
    let bytes = ResponseBytes {
        buffer,
        head,
        body,
        large,
        large_start,
        large_len,
    };
    let flags = flags as u32 & !INLINE;
    let sent = write_response(env, exchange, status, flags, declared, &bytes)?;
    Ok(responded_code(&sent))
}

#[allow(clippy::too_many_arguments)] // As above, and the next piece of work comes back.
pub(crate) fn respond_and_take<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    server: jlong,
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
    let bytes = ResponseBytes {
        buffer,
        head,
        body,
        large,
        large_start,
        large_len,
    };
    let flags = flags as u32 | INLINE;
    let sent = write_response(env, exchange, status, flags, declared, &bytes)?;
    if let Responded::Done(Some(next)) = sent
        && let Some(array) = hand_over(env, Work::Request(next))?
    {
        Server::note_direct_work();
        return Ok(array);
    }
    // Do not hold it while this thread waits for work.
    env.delete_local_ref(bytes.large);
    take_from(env, server)
}

fn write_response(
    env: &mut Env<'_>,
    handle: jlong,
    status: jint,
    flags: u32,
    declared: jlong,
    bytes: &ResponseBytes<'_>,
) -> Result<Responded> {
    EXCHANGES.with(handle, Ok(Responded::Stale), |exchange| {
        let response = ResponseHead {
            status: final_status(status)?,
            headers: &[],
            flags,
            declared,
        };
        let sent = match Gzip::of(flags) {
            Some(gzip) => write_coded(env, exchange, response, bytes, gzip)?,
            None => write_plain(env, exchange, response, bytes)?,
        };
        forget_done(handle, &sent);
        Ok(sent)
    })
}

fn write_plain(
    env: &mut Env<'_>,
    exchange: &Exchange,
    response: ResponseHead<'_>,
    bytes: &ResponseBytes<'_>,
) -> Result<Responded> {
    let (head, body) = (size(bytes.head)?, size(bytes.body)?);
    let large = match bytes.large.is_null() {
        true => 0,
        false => size(bytes.large_len)?,
    };
    let total = (body + large) as u64;
    let mut sent = Responded::Stale;
    in_buffer(env, &bytes.buffer, head + body, |buffer| {
        let (headers, body) = buffer.split_at(head);
        sent = exchange.respond(
            &ResponseHead {
                headers,
                ..response
            },
            body,
            total,
        );
    })?;
    if matches!(sent, Responded::More) && large > 0 {
        let part = Part::new(bytes.large_start, bytes.large_len)?;
        let owned = response.flags & abi::OWNED as u32 != 0;
        sent = write_body(env, exchange, &bytes.large, part, response.flags, owned)?;
    }
    Ok(sent)
}

fn write_coded(
    env: &mut Env<'_>,
    exchange: &Exchange,
    response: ResponseHead<'_>,
    bytes: &ResponseBytes<'_>,
    gzip: Gzip,
) -> Result<Responded> {
    let coded = code_body(env, exchange, bytes, gzip)?;
    let total = coded.len();
    // A long one follows its head: what the peer does not read is shared then.
    let (body, long) = match total {
        0..SHARED => (&coded[..], false),
        _ => (&[][..], true),
    };
    let mut sent = Responded::Stale;
    in_buffer(env, &bytes.buffer, size(bytes.head)?, |headers| {
        let response = ResponseHead {
            headers,
            ..response
        };
        sent = exchange.respond(&response, body, total as u64);
    })?;
    if long && matches!(sent, Responded::More) {
        sent = send_shared(exchange, coded, response.flags);
    }
    Ok(sent)
}

/// The whole body, compressed.
fn code_body(
    env: &mut Env<'_>,
    exchange: &Exchange,
    bytes: &ResponseBytes<'_>,
    gzip: Gzip,
) -> Result<Vec<u8>> {
    let (array, start, len) = if bytes.large.is_null() {
        (&bytes.buffer, bytes.head, bytes.body)
    } else {
        (&bytes.large, bytes.large_start, bytes.large_len)
    };
    let body = bytes_of(env, array, size(start)?, size(len)?)?;
    Ok(exchange.code(gzip, &body))
}
