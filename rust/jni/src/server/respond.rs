//! Whole responses, and the first pieces of long ones.

use httpkit_core::server::{Exchange, Gzip, INLINE, Responded, ResponseHead, Server, Work};
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::{jint, jlong};

use super::content::{Part, SHARED, SHORT, send_shared, write_body};
use super::exchange::{final_status, forget_done, responded_code};
use super::exchanges::EXCHANGES;
use super::take_from;
use super::work::hand_over;
use crate::border::abi;
use crate::border::arrays::{bytes_of, copy, in_buffer, in_buffer_with, size};
use crate::border::error::Result;

/// Below this size, a body is copied once more, which costs less than a second call for its array.
const BRIEF: usize = 1024;
/// Suffices, as a rule, for what the core adds to the header lines.
const ROOM: usize = 256;

/// A response's bytes as Java passes them.
struct ResponseBytes<'local> {
    buffer: JByteArray<'local>,
    head: jint,
    body: jint,
    large: JByteArray<'local>,
    large_start: jint,
    large_len: jint,
}

impl<'local> ResponseBytes<'local> {
    /// The body's array, and where it is in there.
    fn body(&self) -> Result<(&JByteArray<'local>, Part)> {
        Ok(match self.large.is_null() {
            true => (&self.buffer, Part::new(self.head, self.body)?),
            false => (&self.large, Part::new(self.large_start, self.large_len)?),
        })
    }
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
    let (array, body) = bytes.body()?;
    if (BRIEF..SHORT).contains(&body.len) {
        return write_in_place(env, exchange, response, bytes);
    }
    let head = size(bytes.head)?;
    let first = if bytes.large.is_null() { body.len } else { 0 };
    let mut sent = Responded::Stale;
    in_buffer(env, &bytes.buffer, head + first, |buffer| {
        let (headers, first) = buffer.split_at(head);
        sent = exchange.respond(
            &ResponseHead {
                headers,
                ..response
            },
            first,
            body.len as u64,
        );
    })?;
    if matches!(sent, Responded::More) {
        let owned = response.flags & abi::OWNED as u32 != 0;
        sent = write_body(env, exchange, array, body, response.flags, owned)?;
    }
    Ok(sent)
}

/// The body is copied only to where it is written from.
fn write_in_place(
    env: &Env<'_>,
    exchange: &Exchange,
    response: ResponseHead<'_>,
    bytes: &ResponseBytes<'_>,
) -> Result<Responded> {
    let (array, body) = bytes.body()?;
    let head = size(bytes.head)?;
    let room = head + ROOM;
    let respond = |headers: &[u8], behind: &mut [u8]| {
        copy(env, array, body.start, &mut behind[room..])?;
        let response = ResponseHead {
            headers,
            ..response
        };
        Ok(exchange.respond_in_place(&response, behind, room))
    };
    in_buffer_with(env, &bytes.buffer, head, room + body.len, respond)
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
    let (array, body) = bytes.body()?;
    let body = bytes_of(env, array, body.start, body.len)?;
    Ok(exchange.code(gzip, &body))
}
