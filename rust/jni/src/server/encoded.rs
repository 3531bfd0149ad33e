//! The native method for pre-encoded responses (http-kit's `IHandler` API).

use httpkit_core::server::Encoded;
use jni::Env;
use jni::objects::{JByteArray, JClass};
use jni::sys::{jint, jlong};

use super::exchanges::EXCHANGES;
use super::websocket::interest;
use crate::border::abi;
use crate::border::arrays::bytes;
use crate::border::error::{BridgeError, Result, number};

#[allow(clippy::too_many_arguments)] // Part of an array takes three of them.
pub(crate) fn respond<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
    more: jlong,
    flags: jint,
) -> Result<jint> {
    EXCHANGES.with(handle, Ok(abi::SENT_CLOSED), |exchange| {
        let more = number(more, "remaining bytes")?;
        let response = bytes(env, &array, start, len)?;
        match exchange.respond_encoded(&response, more, interest(flags)) {
            Encoded::Malformed => Err(BridgeError::Argument(
                "the bytes are not an encoded final response".into(),
            )),
            Encoded::Stale => Ok(abi::SENT_CLOSED),
            Encoded::More => Ok(abi::RESPONSE_MORE),
            Encoded::Upgraded => Ok(abi::RESPONSE_UPGRADED),
            Encoded::Done => {
                EXCHANGES.remove(handle);
                Ok(abi::SENT_ACCEPTED)
            }
        }
    })
}
