//! The native methods that decode: a stand-alone response, and content codings.

use std::sync::Arc;

use httpkit_core::client::{
    CallError, Ceilings, Coding, Decoder, Event, State, Version, decode_whole,
};
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::{jboolean, jint, jlong};
use parking_lot::Mutex;

use super::upcalls::{self, kind_number};
use crate::border::abi;
use crate::border::arrays::bytes_or_none;
use crate::border::error::{BridgeError, Result};
use crate::border::faults;
use crate::border::handle::HandleTable;

pub(crate) static DECODERS: HandleTable<Arc<Mutex<Decoder>>> = HandleTable::new();

pub(crate) fn open<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    head_request: jboolean,
) -> Result<jlong> {
    let decoder = Decoder::new(head_request);
    Ok(DECODERS.insert(Arc::new(Mutex::new(decoder))))
}

pub(crate) fn close<'local>(_: &mut Env<'local>, _: JClass<'local>, decoder: jlong) -> Result<()> {
    DECODERS.remove(decoder);
    Ok(())
}

pub(crate) fn feed_bytes<'local>(
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
    let data = bytes_or_none(env, &data, offset, length)?;
    let records = feed(&mut decoder.lock(), &data);
    Ok(env.byte_array_from_slice(&records)?)
}

/// Feeds `data` to `decoder`, and returns its events as records.
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
                out.extend(decoder.status().to_le_bytes());
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
    out.extend(((data.len() - rest.len()) as u32).to_le_bytes());
    out
}

fn push(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

fn push_error(out: &mut Vec<u8>, error: &CallError) {
    let message = error.message.as_bytes();
    // A line has at most 16190 characters, so its message always fits.
    let message = &message[..message.len().min(usize::from(u16::MAX))];
    out.extend([abi::DECODED_ERROR, kind_number(error.kind) as u8]);
    out.extend((message.len() as u16).to_le_bytes());
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

#[allow(clippy::too_many_arguments)] // Each limit has its own error.
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
    let data = bytes_or_none(env, &data, offset, length)?;
    let [filter, limit, room] = [filter, limit, room].map(|most| u64::try_from(most).ok());
    let most = Ceilings {
        filter,
        limit,
        room,
    };
    match decode_whole(coding, &data, most) {
        Ok(decoded) => Ok(env.byte_array_from_slice(&decoded)?),
        Err(error) => {
            upcalls::throw(env, &error)?;
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
        let mut want = vec![1, 0, 200, 0];
        want.extend([2, 27, 0, 0, 0]);
        want.extend(b"\x02\0\x01\0\x01\0ab\x0e\0\x01\0content-length1");
        want.extend([3, 1, 0, 0, 0, b'.']);
        want.extend([5, 8, 45, 0, 0, 0]);
        assert_eq!(records.len(), want.len());
        assert_eq!(records, want);
    }

    #[test]
    fn an_error_is_the_last_record_but_one() {
        let mut decoder = Decoder::new(false);
        let records = feed(&mut decoder, b"garbage\r\n");
        let message = b"not http protocol? garbage";
        let mut want = vec![4, 7, message.len() as u8, 0];
        want.extend(message);
        want.extend([5, 0, 9, 0, 0, 0]);
        assert_eq!(records, want);
    }
}
