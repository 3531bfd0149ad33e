//! Host and port, as in `Host` and targets (RFC 3986 3.2.2, 3.2.3).
//!
//! Handlers use them in links, log lines and look-ups, so nothing else is accepted. Two habits of http-kit stay. A name
//! may contain colons, and the last one splits off the port; a leading one splits off nothing, so `:80` is a name.

use std::cell::RefCell;
use std::net::Ipv6Addr;

use super::Span;
use crate::grammar::decimal;
use crate::grammar::letters_digits_and;

/// A host with an optional port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Includes the brackets of an IPv6 address; never empty.
    pub name: Span,
    /// `None` when absent or empty.
    pub port: Option<u16>,
}

/// The last value that this thread has split.
struct Last {
    value: Vec<u8>,
    name_len: usize,
    port: Option<u16>,
}

/// Longer values are not kept.
const KEPT: usize = 256;

thread_local! {
    static LAST: RefCell<Last> = const {
        RefCell::new(Last { value: Vec::new(), name_len: 0, port: None })
    };
}

impl Authority {
    /// As [`Self::parse`], for a header that mostly has the same value as in the request before.
    pub(super) fn parse_again(value: &[u8], start: usize) -> Option<Authority> {
        LAST.with_borrow_mut(|last| {
            if !last.value.is_empty() && last.value == value {
                let name = Span::new(start, start + last.name_len);
                let port = last.port;
                return Some(Authority { name, port });
            }
            let found = Self::parse(value, start)?;
            if value.len() <= KEPT {
                last.value.clear();
                last.value.extend_from_slice(value);
                last.name_len = found.name.len();
                last.port = found.port;
            }
            Some(found)
        })
    }

    /// Splits `value`, which starts at `start` of its buffer; `None` if it is not an authority.
    pub(crate) fn parse(value: &[u8], start: usize) -> Option<Authority> {
        let name_len = match value.first()? {
            b'[' => literal_len(value)?,
            _ => name_len(value)?,
        };
        let port = match &value[name_len..] {
            [] => None,
            [b':', digits @ ..] => port_number(digits)?,
            _ => return None,
        };
        let name = Span::new(start, start + name_len);
        Some(Authority { name, port })
    }
}

/// The inner `None` means an empty port, the outer one an invalid port.
fn port_number(digits: &[u8]) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    decimal(digits, u16::MAX.into()).map(|n| Some(n as u16))
}

/// Length of a registered name, or of an IPv4 address.
fn name_len(value: &[u8]) -> Option<usize> {
    if !is_name(value) {
        return None;
    }
    match value.iter().rposition(|&b| b == b':') {
        Some(0) => port_number(&value[1..]).map(|_| value.len()),
        Some(colon) => Some(colon),
        None => Some(value.len()),
    }
}

fn is_name(mut text: &[u8]) -> bool {
    loop {
        let plain = text.iter().position(|&b| !NAME[b as usize]);
        match plain.map(|at| &text[at..]) {
            None => return true,
            Some([b'%', a, b, rest @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                text = rest;
            }
            Some(_) => return false,
        }
    }
}

/// Characters allowed in a name without percent-encoding: unreserved and sub-delims of RFC 3986 2.3 and 2.2, and the
/// colon.
const NAME: [bool; 256] = letters_digits_and(b"-._~!$&'()*+,;=:");

/// Length of an address in brackets, including them.
fn literal_len(value: &[u8]) -> Option<usize> {
    let close = value.iter().position(|&b| b == b']')?;
    let address = &value[1..close];
    let good = match address {
        [b'v' | b'V', future @ ..] => is_future(future),
        _ => is_ipv6(address),
    };
    good.then_some(close + 1)
}

/// An IPv6 address, possibly with a zone that names a link of the sender (RFC 6874): Java's clients leave it in.
fn is_ipv6(address: &[u8]) -> bool {
    let zone_at = address.iter().position(|&b| b == b'%');
    let (ip, zone) = address.split_at(zone_at.unwrap_or(address.len()));
    let zone_fits = match zone {
        [] => true,
        [_, name @ ..] => {
            let plain = |&b: &u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            !name.is_empty() && name.iter().all(plain)
        }
    };
    let ip = std::str::from_utf8(ip).ok().map(str::parse::<Ipv6Addr>);
    zone_fits && matches!(ip, Some(Ok(_)))
}

/// The part after the `v` of an address of a later version.
fn is_future(text: &[u8]) -> bool {
    let Some(dot) = text.iter().position(|&b| b == b'.') else {
        return false;
    };
    let (version, address) = (&text[..dot], &text[dot + 1..]);
    let all_hex = version.iter().all(u8::is_ascii_hexdigit);
    let plain = address.iter().all(|&b| NAME[b as usize]);
    !version.is_empty() && all_hex && !address.is_empty() && plain
}

/// Whether the authority in a target other than a path (RFC 9112 3.2) is valid, if there is one: in the absolute form,
/// and for CONNECT the whole target.
///
/// Other forms are passed through, as http-kit's handlers see them too.
pub(super) fn fits_target(target: &[u8], connect: bool) -> bool {
    match split(target) {
        Some((authority, _)) => Authority::parse(authority, 0).is_some(),
        None => !connect || Authority::parse(target, 0).is_some(),
    }
}

/// The authority of a target in absolute form, and what follows it.
pub(crate) fn split(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = after_scheme(target)?;
    let end = rest.iter().position(|b| b"/?#".contains(b));
    Some(rest.split_at(end.unwrap_or(rest.len())))
}

/// The part after `scheme://`.
fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    let colon = target.iter().position(|&b| b == b':')?;
    let (scheme, rest) = (&target[..colon], target[colon + 1..].strip_prefix(b"//")?);
    let of_scheme = |&b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    let good = scheme.first()?.is_ascii_alphabetic() && scheme.iter().all(of_scheme);
    good.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_means_the_same_whatever_came_before_it() {
        let values = [
            &b"h"[..],
            b"h:80",
            b"h:81",
            b"h:",
            b"h:x",
            b"",
            b":80",
            b"[::1]:8",
            b"[::1]",
            b"[::1",
            b"h h",
        ];
        for first in values {
            for second in values {
                for value in [first, second, second, first] {
                    let found = Authority::parse_again(value, 7);
                    assert_eq!(found, Authority::parse(value, 7), "{value:?}");
                }
            }
        }
    }
}
