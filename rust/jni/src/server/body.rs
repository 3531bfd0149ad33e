//! The native methods that read a request's body as it arrives.

use httpkit_core::server::{BodyFault, Read};
use jni::Env;
use jni::objects::{JByteArray, JClass, JString};
use jni::sys::{jint, jlong};

use super::exchanges::EXCHANGES;
use crate::border::abi;
use crate::border::arrays::{fill, size};
use crate::border::error::Result;

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
