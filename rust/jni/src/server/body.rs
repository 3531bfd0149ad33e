//! The native methods between a request and its response: the body as it arrives, and informational responses.

use httpkit_core::server::{BodyFault, Read};
use jni::Env;
use jni::objects::{JByteArray, JClass, JString};
use jni::sys::{jboolean, jint, jlong};

use super::exchanges::EXCHANGES;
use crate::border::abi;
use crate::border::arrays::{array, bytes, fill, size};
use crate::border::error::{BridgeError, Result};

/// Most bytes per call.
const MOST: usize = 64 * 1024;

pub(crate) fn read<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    into: JByteArray<'local>,
    start: jint,
    len: jint,
) -> Result<jint> {
    EXCHANGES.with(handle, Ok(abi::BODY_OVER), |exchange| {
        let (start, len) = (size(start)?, size(len)?.min(MOST));
        let mut read = Read::Later;
        fill(env, &into, start, len, |buffer| {
            read = exchange.read_body(buffer);
            match read {
                Read::Data(n) => n,
                _ => 0,
            }
        })?;
        Ok(match read {
            Read::Data(n) => n as jint,
            Read::Later => abi::BODY_LATER,
            Read::End => abi::BODY_END,
            Read::Failed(BodyFault::Early) => abi::BODY_EARLY,
            Read::Failed(BodyFault::Over) => abi::BODY_OVER,
            Read::Failed(BodyFault::Broken(_) | BodyFault::TimedOut) => abi::BODY_BROKEN,
        })
    })
}

/// Status and message for the rule or the time limit that the body breaks; null if it breaks none.
pub(crate) fn fault<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JString<'local>> {
    let fault = EXCHANGES.with(handle, None, |exchange| exchange.body_fault());
    match fault {
        Some((status, message)) => Ok(env.new_string(format!("{status} {message}"))?),
        None => Ok(JString::null()),
    }
}

pub(crate) fn trailers<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JByteArray<'local>> {
    let trailers = EXCHANGES.with(handle, Vec::new(), |exchange| exchange.trailers());
    let fields: Vec<_> = trailers.into_iter().flat_map(<[_; 2]>::from).collect();
    array(env, (!fields.is_empty()).then(|| fields.join(&b'\n')))
}

pub(crate) fn inform<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    status: jint,
    headers: JByteArray<'local>,
    len: jint,
) -> Result<jboolean> {
    EXCHANGES.with(handle, Ok(false), |exchange| {
        let status = u16::try_from(status)
            .ok()
            .filter(|status| (100..=199).contains(status) && *status != 101)
            .ok_or_else(|| BridgeError::Argument(format!("status {status}")))?;
        Ok(exchange.inform(status, &bytes(env, &headers, 0, len)?))
    })
}
