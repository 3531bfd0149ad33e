//! The PROXY protocol, versions 1 and 2: the real peer behind a load balancer.
//!
//! Addresses are numeric only; nothing is ever looked up. The header comes once per connection, before its first
//! request, and applies to all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::Violation;
use crate::grammar::decimal;

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyMode {
    /// Never: such a header is a malformed request.
    #[default]
    Disable,
    /// Always: anything else is refused.
    Enable,
    /// Perhaps: anything that does not begin like one is a request.
    Optional,
}

/// The content of a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// `None` when the balancer does not say (`UNKNOWN`, `LOCAL`, Unix sockets).
    pub source: Option<SocketAddr>,
    /// The address that the peer connected to; present whenever `source` is.
    pub destination: Option<SocketAddr>,
    /// The balancer says that the peer came to it through TLS.
    pub tls: bool,
    /// Bytes of the header; the request begins after them.
    pub len: usize,
}

/// What a connection begins with, as far as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyOutcome {
    /// Not known yet.
    NeedMore,
    /// No PROXY header: the buffer begins with a request.
    None,
    /// A complete PROXY header.
    Header(ProxyHeader),
}

const V1_PREFIX: &[u8] = b"PROXY ";
/// The longest line of version 1, with CRLF.
const V1_MAX: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2's field about TLS (`PP2_TYPE_SSL`).
const TLS_FIELD: u8 = 0x20;
/// Addresses and TLVs of version 2. The protocol allows 65535, but all of it is buffered before the first response, and
/// real headers stay far below this.
const V2_MAX: usize = 16 * 1024;

/// Whether these bytes begin with a PROXY header.
pub(crate) fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(V1_PREFIX) || bytes.starts_with(V2_SIGNATURE)
}

/// Reads the PROXY header at the start of a connection; `buf` is everything received so far.
pub fn parse(buf: &[u8], mode: ProxyMode) -> Result<ProxyOutcome, Violation> {
    if mode == ProxyMode::Disable {
        return Ok(ProxyOutcome::None);
    }
    if buf.starts_with(V1_PREFIX) {
        return parse_v1(buf);
    }
    if buf.starts_with(V2_SIGNATURE) {
        return parse_v2(buf);
    }
    if V1_PREFIX.starts_with(buf) || V2_SIGNATURE.starts_with(buf) {
        return Ok(ProxyOutcome::NeedMore);
    }
    match mode {
        ProxyMode::Optional => Ok(ProxyOutcome::None),
        _ => Err(Violation::ProxyLine),
    }
}

fn parse_v1(buf: &[u8]) -> Result<ProxyOutcome, Violation> {
    let start = &buf[..buf.len().min(V1_MAX)];
    let Some(cr) = start.iter().position(|&b| b == b'\r' || b == b'\n') else {
        return if buf.len() < V1_MAX {
            Ok(ProxyOutcome::NeedMore)
        } else {
            Err(Violation::ProxyLine)
        };
    };
    match &start[cr..] {
        [b'\r'] if cr + 1 < V1_MAX => Ok(ProxyOutcome::NeedMore),
        [b'\r', b'\n', ..] => v1_line(&buf[V1_PREFIX.len()..cr], cr + 2),
        _ => Err(Violation::ProxyLine),
    }
}

fn v1_line(line: &[u8], len: usize) -> Result<ProxyOutcome, Violation> {
    let text = std::str::from_utf8(line).map_err(|_| Violation::ProxyLine)?;
    let mut words = text.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(outcome(None, len));
    }
    let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) = (
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
    ) else {
        return Err(Violation::ProxyLine);
    };
    let source = v1_address(family, source, source_port)?;
    let destination = v1_address(family, destination, destination_port)?;
    Ok(outcome(Some((source, destination)), len))
}

fn v1_address(family: Option<&str>, ip: &str, port: &str) -> Result<SocketAddr, Violation> {
    let ip = match family {
        Some("TCP4") => ip.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some("TCP6") => ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let port = decimal(port.as_bytes(), u16::MAX.into()).filter(|&port| port > 0);
    let (Some(ip), Some(port)) = (ip, port) else {
        return Err(Violation::ProxyLine);
    };
    Ok(SocketAddr::new(ip, port as u16))
}

fn parse_v2(buf: &[u8]) -> Result<ProxyOutcome, Violation> {
    let fixed = V2_SIGNATURE.len() + 4;
    let Some(&[version_command, family, high, low]) = buf.get(V2_SIGNATURE.len()..fixed) else {
        return Ok(ProxyOutcome::NeedMore);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(version_command, 0x20 | 0x21) || length > V2_MAX {
        return Err(Violation::ProxyLine);
    }
    let Some(payload) = buf.get(fixed..fixed + length) else {
        return Ok(ProxyOutcome::NeedMore);
    };
    // LOCAL: the balancer speaks for itself (a health check), whatever addresses follow.
    let (addresses, tls) = match version_command {
        0x20 => (None, false),
        _ => (
            v2_addresses(family, payload)?,
            came_through_tls(family, payload),
        ),
    };
    let mut header = header(addresses, fixed + length);
    header.tls = tls;
    Ok(ProxyOutcome::Header(header))
}

/// Whether the fields after the addresses say that the peer came through TLS. Fields that cannot be read say nothing.
fn came_through_tls(family: u8, payload: &[u8]) -> bool {
    let addresses = match family >> 4 {
        0 => 0,
        1 => 2 * (4 + 2),
        2 => 2 * (16 + 2),
        _ => 2 * 108,
    };
    let mut fields = payload.get(addresses..).unwrap_or_default();
    while let [kind, high, low, rest @ ..] = fields {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, behind)) = rest.split_at_checked(length) else {
            return false;
        };
        if *kind == TLS_FIELD {
            return value.first().is_some_and(|client| client & 1 != 0);
        }
        fields = behind;
    }
    false
}

/// Source and destination of a payload.
fn v2_addresses(family: u8, payload: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, Violation> {
    // The lower half is stream or datagram (or unspecified); only the address family matters.
    if family & 0x0f > 2 {
        return Err(Violation::ProxyLine);
    }
    let addresses = match family >> 4 {
        0 | 3 => return Ok(None),
        1 => v2_pair::<4>(payload),
        2 => v2_pair::<16>(payload),
        _ => None,
    };
    addresses.map(Some).ok_or(Violation::ProxyLine)
}

fn v2_pair<const N: usize>(payload: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = payload.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let &[a, b, c, d] = rest.first_chunk::<4>()?;
    Some((
        SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([a, b])),
        SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes([c, d])),
    ))
}

fn outcome(addresses: Option<(SocketAddr, SocketAddr)>, len: usize) -> ProxyOutcome {
    ProxyOutcome::Header(header(addresses, len))
}

fn header(addresses: Option<(SocketAddr, SocketAddr)>, len: usize) -> ProxyHeader {
    let (source, destination) = addresses.unzip();
    ProxyHeader {
        source,
        destination,
        tls: false,
        len,
    }
}

/// An address as `:remote-addr` shows it: IPv6 in eight groups, never shortened, and IPv4 even if it came through an
/// IPv6 socket.
pub fn address_text(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let groups: Vec<String> = ip.segments().iter().map(|g| format!("{g:x}")).collect();
            groups.join(":")
        }
    }
}
