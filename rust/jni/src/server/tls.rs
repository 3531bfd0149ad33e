//! The native methods for TLS: setting the material, reading a session's parameters.

use httpkit_core::net::tls_server::{ClientAuth, Identity, TlsMaterial, TlsServer};
use httpkit_core::server::{Exchange, TlsInfo};
use jni::objects::{JByteArray, JClass, JLongArray, JObject, JObjectArray};
use jni::refs::IntoAuto;
use jni::sys::{jint, jlong};
use jni::{Env, jni_str};

use super::exchanges::EXCHANGES;
use super::{SERVERS, read_address, server};
use crate::border::abi;
use crate::border::error::{BridgeError, Result};

type Bytes<'local> = JByteArray<'local>;
type Arrays<'local> = JObjectArray<'local, Bytes<'local>>;

/// The bound port, -1 for a Unix domain socket.
pub(crate) fn listen<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    address_kind: jint,
    address: JByteArray<'local>,
    port: jint,
) -> Result<jint> {
    let server = server(handle)?;
    let address = env.convert_byte_array(&address)?;
    let address = read_address(address_kind, address, port)?;
    let port = server
        .listen_tls(&address)
        .map_err(|e| BridgeError::Io(e, format!("cannot listen on {address}")))?;
    Ok(port.map_or(-1, jint::from))
}

/// Without a server, the material is only checked.
#[expect(clippy::too_many_arguments, reason = "a native method")]
pub(crate) fn set<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    chains: JObjectArray<'local, Arrays<'local>>,
    keys: Arrays<'local>,
    staples: Arrays<'local>,
    anchors: Arrays<'local>,
    crls: Arrays<'local>,
    flags: jint,
) -> Result<JLongArray<'local>> {
    let mut identities = Vec::new();
    for (at, key) in read_all(env, &keys)?.into_iter().enumerate() {
        let chain = chains.get_element(env, at)?.auto();
        let chain = read_all(env, &chain)?;
        let staple = staples.get_element(env, at)?.auto();
        let ocsp = match staple.is_null() {
            true => None,
            false => Some(env.convert_byte_array(&*staple)?),
        };
        identities.push(Identity { chain, key, ocsp });
    }
    let material = TlsMaterial {
        identities,
        anchors: read_all(env, &anchors)?,
        crls: read_all(env, &crls)?,
        client_auth: match flags & (abi::SERVER_TLS_WANT | abi::SERVER_TLS_NEED) {
            0 => ClientAuth::None,
            abi::SERVER_TLS_WANT => ClientAuth::Want,
            _ => ClientAuth::Need,
        },
        tls12: flags & abi::SERVER_TLS_12 != 0,
        tls13: flags & abi::SERVER_TLS_13 != 0,
        redirect: flags & abi::SERVER_TLS_REDIRECT != 0,
    };
    let until = match SERVERS.get(handle) {
        Some(server) => server.tls().set(material),
        None => TlsServer::default().set(material),
    }
    .map_err(BridgeError::Argument)?;
    let until: Vec<jlong> = until
        .into_iter()
        .map(|seconds| jlong::try_from(seconds.unwrap_or(u64::MAX)).unwrap_or(jlong::MAX))
        .collect();
    let array = env.new_long_array(until.len())?;
    array.set_region(env, 0, &until)?;
    Ok(array)
}

fn read_all(env: &mut Env<'_>, arrays: &Arrays<'_>) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for at in 0..arrays.len(env)? {
        let array = arrays.get_element(env, at)?.auto();
        all.push(env.convert_byte_array(&*array)?);
    }
    Ok(all)
}

/// Version, suite, name, and the peer's chain as an array of arrays; null if there is no session.
pub(crate) fn session<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JObjectArray<'local, JObject<'local>>> {
    match EXCHANGES.with(handle, None, Exchange::tls) {
        Some(info) => Ok(describe(env, &info)?),
        None => Ok(JObjectArray::<JObject>::null()),
    }
}

fn describe<'local>(
    env: &mut Env<'local>,
    info: &TlsInfo,
) -> jni::errors::Result<JObjectArray<'local, JObject<'local>>> {
    let object = env.find_class(jni_str!("java/lang/Object"))?;
    let parts: JObjectArray<'local> = env.new_object_array(4, &object, JObject::null())?;
    let texts = [Some(info.version), Some(&info.cipher), info.name.as_deref()];
    for (at, text) in texts.into_iter().enumerate() {
        if let Some(text) = text {
            let text = env.new_string(text)?;
            parts.set_element(env, at, &text)?;
        }
    }
    if !info.peer_chain.is_empty() {
        let bytes = env.find_class(jni_str!("[B"))?;
        let count = info.peer_chain.len() as i32;
        let chain: JObjectArray<'local> = env.new_object_array(count, &bytes, JObject::null())?;
        for (at, certificate) in info.peer_chain.iter().enumerate() {
            let certificate = env.byte_array_from_slice(certificate)?;
            chain.set_element(env, at, &certificate)?;
            env.delete_local_ref(certificate);
        }
        parts.set_element(env, 3, &chain)?;
    }
    Ok(parts)
}
