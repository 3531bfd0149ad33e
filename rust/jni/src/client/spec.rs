//! The array into which Java packs a call: read here and checked completely, so that a mistake in Java is an exception
//! and never a wrong request.

use httpkit_core::client::{Address, Bytes, CallSpec, Method, Millis, Route, Timeouts, Upload};
use httpkit_core::net::tls::{TlsContext, TlsMode};

use crate::border::abi;
use crate::border::error::{BridgeError, Result};
use crate::border::fields::{Fields, unknown};

/// One address record.
pub(super) fn read_address(record: &[u8]) -> Result<Address> {
    let mut fields = Fields(record);
    let address = fields.address()?;
    fields.end()?;
    Ok(Address::Inet(address))
}

fn millis(fields: &mut Fields<'_>) -> Result<Millis> {
    Ok(Millis(fields.i32()?))
}

/// None if it is negative.
fn limit(fields: &mut Fields<'_>) -> Result<Option<u64>> {
    Ok(u64::try_from(fields.i64()?).ok())
}

/// Trust anchors and key material.
pub(super) fn read_tls(material: &[u8]) -> Result<TlsContext> {
    let mut fields = Fields(material);
    let anchors = fields.list()?;
    let chain = fields.list()?;
    let key = fields.long_bytes()?.to_vec();
    fields.end()?;
    TlsContext::new(anchors, chain, key).map_err(BridgeError::Argument)
}

/// A call; the fields' order is that of `spec`'s bytes.
pub(super) fn read_call(spec: &[u8], body: Vec<u8>) -> Result<CallSpec> {
    let mut fields = Fields(spec);
    let flags = fields.u32()?;
    let method = read_method(fields.u8()?)?;
    let tls = read_tls_mode(fields.u8()?)?;
    let sni = fields.u8()? != 0;
    let route = fields.u8()?;
    let proxy_tls = read_tls_mode(fields.u8()?)?;
    let upload = read_upload(fields.u8()?, fields.i64()?)?;
    let policy = fields.i64()?;
    let (max_wire, max_decoded) = (limit(&mut fields)?, limit(&mut fields)?);
    let max_body = limit(&mut fields)?;
    let timeouts = read_timeouts(&mut fields)?;
    let window = fields.u32()? as usize;
    let host = fields.string()?;
    let tls_name = fields.string()?;
    let route = read_route(&mut fields, route, proxy_tls)?;
    let count = fields.u8()?;
    let addresses = (0..count)
        .map(|_| fields.address().map(Address::Inet))
        .collect::<Result<_>>()?;
    let head = Bytes::copy_from_slice(fields.long_bytes()?);
    fields.end()?;
    Ok(CallSpec {
        streamed: flags & abi::CALL_STREAM != 0,
        raw: flags & abi::CALL_RAW != 0,
        hosted: flags & abi::CALL_HOSTED != 0,
        hosted_tls: flags & abi::CALL_HOSTED_TLS != 0,
        method,
        tls,
        sni,
        route,
        upload,
        policy,
        max_wire,
        max_decoded,
        max_body,
        timeouts,
        window,
        host,
        tls_name,
        addresses,
        head,
        body: Bytes::from(body),
    })
}

fn read_method(number: u8) -> Result<Method> {
    match number {
        abi::METHOD_OTHER => Ok(Method::Other),
        abi::METHOD_GET => Ok(Method::Get),
        abi::METHOD_HEAD => Ok(Method::Head),
        _ => unknown("method"),
    }
}

fn read_tls_mode(number: u8) -> Result<Option<TlsMode>> {
    match number {
        abi::TLS_NONE => Ok(None),
        abi::TLS_VERIFY => Ok(Some(TlsMode::Verify)),
        abi::TLS_VERIFY_CHAIN => Ok(Some(TlsMode::VerifyChain)),
        abi::TLS_TRUST_ALL => Ok(Some(TlsMode::TrustAll)),
        _ => unknown("TLS mode"),
    }
}

fn read_upload(kind: u8, length: i64) -> Result<Upload> {
    match (kind, u64::try_from(length)) {
        (abi::UPLOAD_WHOLE, _) => Ok(Upload::Whole),
        (abi::UPLOAD_LENGTH, Ok(length)) => Ok(Upload::Length(length)),
        (abi::UPLOAD_CHUNKED, _) => Ok(Upload::Chunked),
        _ => unknown("kind of body"),
    }
}

fn read_timeouts(fields: &mut Fields<'_>) -> Result<Timeouts> {
    let (connect, idle, keepalive) = (millis(fields)?, millis(fields)?, millis(fields)?);
    let (deadline, shown) = (millis(fields)?, millis(fields)?);
    let pool = millis(fields)?;
    Ok(Timeouts {
        connect,
        idle,
        keepalive,
        deadline: (deadline.0 >= 0).then_some((deadline, shown)),
        pool: (pool.0 >= 0).then_some(pool),
    })
}

fn read_route(fields: &mut Fields<'_>, kind: u8, tls: Option<TlsMode>) -> Result<Route> {
    let proxy_name = fields.string()?;
    let host = fields.string()?;
    let port = fields.u16()?;
    let authorization = fields.string()?;
    let (user, password) = (fields.string()?, fields.string()?);
    match kind {
        abi::ROUTE_DIRECT => Ok(Route::Direct),
        abi::ROUTE_TUNNEL => Ok(Route::Tunnel {
            host,
            port,
            authorization,
            tls: tls.map(|mode| (mode, proxy_name)),
        }),
        abi::ROUTE_SOCKS5 => Ok(Route::Socks5 {
            host,
            port,
            credentials: (!user.is_empty()).then_some((user, password)),
        }),
        _ => unknown("route"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    /// A spec with every field present.
    fn packed() -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(13_u32.to_le_bytes());
        out.extend([1, 1, 1, 1, 3, 1]);
        for number in [10_i64, -7, -1, 99, 77] {
            out.extend(number.to_le_bytes());
        }
        for number in [1_i32, 2, -3, 400, 500, -1, 65536] {
            out.extend(number.to_le_bytes());
        }
        for text in ["host", "tls", "proxy", "target"] {
            out.extend((text.len() as u16).to_le_bytes());
            out.extend(text.as_bytes());
        }
        out.extend(443_u16.to_le_bytes());
        for text in ["auth", "", ""] {
            out.extend((text.len() as u16).to_le_bytes());
            out.extend(text.as_bytes());
        }
        out.push(2);
        out.extend([4, 127, 0, 0, 1, 80, 0]);
        out.push(16);
        out.extend(Ipv6Addr::LOCALHOST.octets());
        out.extend([2, 0, 0, 0, 81, 0]);
        out.extend(b"\x03\x00\x00\x00GET");
        out
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        let spec = read_call(&packed(), b"body".to_vec()).unwrap();
        assert!(spec.streamed && !spec.raw && spec.hosted && spec.hosted_tls && spec.sni);
        assert_eq!(spec.method, Method::Get);
        assert_eq!(spec.tls, Some(TlsMode::Verify));
        assert_eq!(spec.upload, Upload::Length(10));
        assert_eq!((spec.policy, spec.max_wire), (-7, None));
        assert_eq!((spec.max_decoded, spec.window), (Some(99), 65536));
        assert_eq!(spec.max_body, Some(77));
        assert_eq!(spec.timeouts.connect, Millis(1));
        assert_eq!(spec.timeouts.idle, Millis(2));
        assert_eq!(spec.timeouts.keepalive, Millis(-3));
        assert_eq!(spec.timeouts.deadline, Some((Millis(400), Millis(500))));
        assert_eq!(spec.timeouts.pool, None);
        assert_eq!((&spec.host[..], &spec.tls_name[..]), ("host", "tls"));
        let tunnel = Route::Tunnel {
            host: "target".to_owned(),
            port: 443,
            authorization: "auth".to_owned(),
            tls: Some((TlsMode::TrustAll, "proxy".to_owned())),
        };
        assert_eq!(spec.route, tunnel);
        assert_eq!(spec.addresses.len(), 2);
        assert_eq!(
            spec.addresses[0],
            Address::Inet("127.0.0.1:80".parse().unwrap())
        );
        assert_eq!(
            spec.addresses[1],
            Address::Inet("[::1%2]:81".parse().unwrap())
        );
        assert_eq!(
            (&spec.head[..], &spec.body[..]),
            (&b"GET"[..], &b"body"[..])
        );
    }

    #[test]
    fn a_spec_of_any_other_length_is_refused() {
        let whole = packed();
        for cut in 0..whole.len() {
            assert!(read_call(&whole[..cut], Vec::new()).is_err(), "{cut}");
        }
        let longer = [whole, vec![0]].concat();
        assert!(read_call(&longer, Vec::new()).is_err());
    }

    #[test]
    fn tls_material_without_anchors_or_key_is_fine_and_rubbish_is_not() {
        assert!(read_tls(&[0; 8]).is_ok());
        assert!(read_tls(&[0; 7]).is_err());
        let key = [&[0; 4][..], &[1, 0, 0, 0, 9]].concat();
        assert!(read_tls(&key).is_err());
    }
}
