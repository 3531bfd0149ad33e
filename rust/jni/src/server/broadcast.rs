//! One piece of data for many channels, in one call down.

use std::sync::Arc;

use httpkit_core::server::Payload;
use jni::Env;
use jni::objects::{JByteArray, JClass, JLongArray};
use jni::sys::{jint, jlong};

use super::exchange::sent_code;
use super::exchanges::EXCHANGES;
use super::websocket::sendable;
use crate::border::abi;
use crate::border::arrays::bytes;
use crate::border::error::{BridgeError, Result};

/// Sends on every channel: `channels` is a handle and `flags << 32 | limit` for each, and the outcome replaces the
/// latter. The payload is copied once; what peers have not read of a large one is shared by all of them.
pub(crate) fn send<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    channels: JLongArray<'local>,
    opcode: jint,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
) -> Result<()> {
    let opcode = match opcode {
        abi::OPCODE_CHUNK => None,
        frame => Some(sendable(frame)?),
    };
    let payload = Arc::new(bytes(env, &array, start, len)?);
    let mut calls = vec![0; channels.len(env)?];
    channels.get_region(env, 0, &mut calls)?;
    if !calls.len().is_multiple_of(2) {
        return Err(BridgeError::Argument(format!("{} numbers", calls.len())));
    }
    for call in calls.chunks_exact_mut(2) {
        let (flags, limit) = ((call[1] >> 32) as u32, call[1] as u32 as usize);
        let sent = EXCHANGES.with(call[0], abi::SENT_CLOSED, |exchange| {
            let payload = Payload::Shared(payload.clone());
            sent_code(match opcode {
                None => exchange.send_chunk(payload, flags, limit),
                Some(opcode) => exchange.send_frame(opcode, payload, flags, limit),
            })
        });
        call[1] = jlong::from(sent);
    }
    Ok(channels.set_region(env, 0, &calls)?)
}
