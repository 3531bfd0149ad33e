//! One piece of data for many channels, in one call down.

use std::sync::Arc;

use httpkit_core::server::Sent;
use httpkit_core::ws::Opcode;
use jni::Env;
use jni::objects::{JByteArray, JClass, JLongArray};
use jni::sys::{jint, jlong};

use super::exchange::sent_code;
use super::exchanges::EXCHANGES;
use super::websocket::sendable;
use crate::border::abi;
use crate::border::arrays::bytes;
use crate::border::error::{BridgeError, Result};

/// One of the sends.
struct Call {
    handle: jlong,
    flags: u32,
    limit: usize,
}

impl Call {
    fn new(numbers: &[jlong]) -> Self {
        Self {
            handle: numbers[0],
            flags: (numbers[1] >> 32) as u32,
            limit: numbers[1] as u32 as usize,
        }
    }

    fn make(&self, opcode: Option<Opcode>, payload: Arc<Vec<u8>>) -> Sent {
        EXCHANGES.with(self.handle, Sent::Closed, |exchange| match opcode {
            None => exchange.send_chunk(payload, self.flags, self.limit),
            Some(opcode) => exchange.send_frame(opcode, payload, self.flags, self.limit),
        })
    }
}

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
    let mut numbers = vec![0; channels.len(env)?];
    channels.get_region(env, 0, &mut numbers)?;
    if !numbers.len().is_multiple_of(2) {
        return Err(BridgeError::Argument(format!("{} numbers", numbers.len())));
    }
    let calls: Arc<[Call]> = numbers.chunks_exact(2).map(Call::new).collect();
    let outcomes = match calls.iter().find_map(|call| EXCHANGES.get(call.handle)) {
        Some(any) => {
            let each = calls.clone();
            any.broadcast(calls.len(), move |n| each[n].make(opcode, payload.clone()))
        }
        None => vec![Sent::Closed; calls.len()],
    };
    for (numbers, sent) in numbers.chunks_exact_mut(2).zip(outcomes) {
        numbers[1] = sent_code(sent).into();
    }
    Ok(channels.set_region(env, 0, &numbers)?)
}
