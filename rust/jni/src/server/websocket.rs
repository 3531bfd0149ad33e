//! The native methods on a WebSocket.

use std::time::Duration;

use httpkit_core::server::{Interest, Pings};
use httpkit_core::ws::Opcode;
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::{jboolean, jint, jlong};

use super::content::{Part, with_payload};
use super::exchange::sent_code;
use super::exchanges::EXCHANGES;
use crate::border::abi;
use crate::border::arrays::{bytes, size};
use crate::border::error::{BridgeError, Result, number};

#[allow(clippy::too_many_arguments)] // Part of an array takes three of them.
pub(crate) fn send_frame<'local>(
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
    let opcode = sendable(opcode)?;
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let (part, limit) = (Part::new(start, len)?, size(limit)?);
        let sent = with_payload(env, &array, part, |payload| {
            exchange.send_frame(opcode, payload, flags as u32, limit)
        })?;
        Ok(sent_code(sent))
    })
}

/// The opcode of a message, a ping or a pong.
pub(super) fn sendable(opcode: jint) -> Result<Opcode> {
    u8::try_from(opcode)
        .ok()
        .and_then(Opcode::from_u8)
        .filter(|opcode| !matches!(opcode, Opcode::Close | Opcode::Continuation))
        .ok_or_else(|| BridgeError::Argument(format!("opcode {opcode}")))
}

pub(crate) fn close<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    code: jint,
    reason: JByteArray<'local>,
) -> Result<jboolean> {
    EXCHANGES.with(handle, Ok(false), |exchange| {
        let code = number(code, "close code")?;
        let reason = String::from_utf8(env.convert_byte_array(&reason)?)
            .map_err(|_| BridgeError::Argument("the close reason is not UTF-8".into()))?;
        Ok(exchange.close(code, &reason))
    })
}

#[allow(clippy::too_many_arguments)] // One crossing: everything that the handshake sets.
pub(crate) fn upgrade<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    headers: JByteArray<'local>,
    len: jint,
    flags: jint,
    ping_interval: jlong,
    ping_timeout: jlong,
) -> Result<jboolean> {
    EXCHANGES.with(handle, Ok(false), |exchange| {
        let headers = bytes(env, &headers, 0, len)?;
        Ok(exchange.upgrade(
            &headers,
            interest(flags),
            pings(ping_interval, ping_timeout),
        ))
    })
}

pub(crate) fn set_interest<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    flags: jint,
) -> Result<()> {
    EXCHANGES.with(handle, (), |exchange| {
        exchange.set_interest(interest(flags))
    });
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

pub(crate) fn interest(flags: jint) -> Interest {
    Interest {
        pings: flags & abi::INTEREST_PINGS != 0,
        pongs: flags & abi::INTEREST_PONGS != 0,
        manual_pong: flags & abi::INTEREST_MANUAL_PONG != 0,
    }
}
