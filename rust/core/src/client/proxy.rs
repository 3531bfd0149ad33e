//! Through proxies: CONNECT (RFC 9110, 9.3.6) and SOCKS5 (RFC 1928, 1929).

use super::decode::{Decoder, Event};
use super::error::CallError;
use crate::net::stream::Stream;
use std::net::IpAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Makes an HTTP proxy connect to `host:port`.
pub(super) async fn tunnel(
    stream: &mut Stream,
    host: &str,
    port: u16,
    authorization: &str,
) -> Result<(), CallError> {
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if !authorization.is_empty() {
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    match read_head(stream).await? {
        200..=299 => Ok(()),
        status => Err(CallError::protocol(format!(
            "Proxy refused the tunnel with status {status}"
        ))),
    }
}

/// Reads byte by byte: bytes after the head belong to the target, and there is no place to keep them.
async fn read_head(stream: &mut Stream) -> Result<u16, CallError> {
    let mut decoder = Decoder::new(true);
    loop {
        let byte = [stream.read_u8().await?];
        let mut input = &byte[..];
        loop {
            match decoder.next(&mut input)? {
                Event::More => break,
                Event::End => return Ok(decoder.status()),
                _ => {}
            }
        }
    }
}

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Makes a SOCKS5 proxy connect to `host:port`; it resolves the name.
pub(super) async fn socks5(
    stream: &mut Stream,
    host: &str,
    port: u16,
    credentials: Option<&(String, String)>,
) -> Result<(), CallError> {
    let greeting: &[u8] = match credentials {
        None => &[VERSION, 1, NO_AUTHENTICATION],
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USER_PASSWORD],
    };
    stream.write_all(greeting).await?;
    stream.flush().await?;
    match (read_array::<2>(stream).await?, credentials) {
        ([VERSION, NO_AUTHENTICATION], _) => {}
        ([VERSION, USER_PASSWORD], Some(credentials)) => log_in(stream, credentials).await?,
        ([VERSION, _], _) => return Err(refused("it wants another authentication")),
        _ => return Err(refused("it does not speak SOCKS5")),
    }
    stream.write_all(&connect_request(host, port)?).await?;
    stream.flush().await?;
    read_reply(stream).await
}

async fn log_in(stream: &mut Stream, credentials: &(String, String)) -> Result<(), CallError> {
    let mut request = vec![1];
    for text in [&credentials.0, &credentials.1] {
        push_short(&mut request, text)?;
    }
    stream.write_all(&request).await?;
    stream.flush().await?;
    match read_array::<2>(stream).await? {
        [_, 0] => Ok(()),
        _ => Err(refused("wrong user or password")),
    }
}

fn connect_request(host: &str, port: u16) -> Result<Vec<u8>, CallError> {
    let mut request = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            request.push(NAME);
            push_short(&mut request, host)?;
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

fn push_short(out: &mut Vec<u8>, text: &str) -> Result<(), CallError> {
    let length =
        u8::try_from(text.len()).map_err(|_| refused("name, user or password is too long"))?;
    out.push(length);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

async fn read_reply(stream: &mut Stream) -> Result<(), CallError> {
    let [version, code, _, kind] = read_array::<4>(stream).await?;
    if version != VERSION {
        return Err(refused("it does not speak SOCKS5"));
    }
    if code != 0 {
        return Err(refused(reply_text(code)));
    }
    let address = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await?),
        _ => return Err(refused("its response is malformed")),
    };
    let mut rest = vec![0; address + 2];
    stream.read_exact(&mut rest).await?;
    Ok(())
}

fn reply_text(code: u8) -> &'static str {
    match code {
        2 => "connection not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "general failure",
    }
}

async fn read_array<const N: usize>(stream: &mut Stream) -> Result<[u8; N], CallError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn refused(reason: &str) -> CallError {
    CallError::protocol(format!("SOCKS5 proxy refused: {reason}"))
}
