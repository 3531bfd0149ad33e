//! Methods and header names that have a number, so that requests cross the border without their text.

use crate::error::Violation;
use crate::grammar::is_token;

/// The methods of the contract; the index is the id.
pub const METHODS: [&str; 19] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "TRACE",
    "OPTIONS",
    "CONNECT",
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "ACL",
    "MOVE",
    "COPY",
    "MKCOL",
    "LIST",
];

/// Id of a method that is valid but not in [`METHODS`].
pub const EXTENSION_METHOD: u8 = 255;

/// Id of a header that is not in [`KNOWN_HEADERS`].
pub const UNKNOWN_HEADER: u8 = 255;

/// Id of a method, `None` if it is not one of [`METHODS`] exactly.
pub fn known_method(method: &[u8]) -> Option<u8> {
    METHODS
        .iter()
        .position(|m| m.as_bytes() == method)
        .map(|id| id as u8)
}

/// Id of any acceptable method: a token (RFC 9110 9.1) without lower-case letters.
///
/// `get` is refused because http-kit always did so, and because a handler could not tell it from `GET`.
pub(super) fn method_id(method: &[u8]) -> Result<u8, Violation> {
    if let Some(id) = known_method(method) {
        return Ok(id);
    }
    let good = |&b: &u8| is_token(b) && !b.is_ascii_lowercase();
    if method.is_empty() || !method.iter().all(good) {
        return Err(Violation::Method);
    }
    Ok(EXTENSION_METHOD)
}

/// Header names with an id, in lower case; the index is the id.
pub const KNOWN_HEADERS: &[&str] = &[
    "te",
    "dnt",
    "via",
    "date",
    "from",
    "host",
    "link",
    "vary",
    "depth",
    "range",
    "accept",
    "cf-ray",
    "cookie",
    "expect",
    "origin",
    "pragma",
    "referer",
    "sec-gpc",
    "trailer",
    "upgrade",
    "warning",
    "cdn-loop",
    "if-match",
    "if-range",
    "priority",
    "forwarded",
    "overwrite",
    "sec-ch-ua",
    "x-api-key",
    "x-real-ip",
    "connection",
    "keep-alive",
    "tracestate",
    "user-agent",
    "content-md5",
    "destination",
    "traceparent",
    "content-type",
    "max-forwards",
    "x-csrf-token",
    "x-request-id",
    "authorization",
    "cache-control",
    "content-range",
    "if-none-match",
    "last-event-id",
    "accept-charset",
    "content-length",
    "http2-settings",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "accept-encoding",
    "accept-language",
    "idempotency-key",
    "x-forwarded-for",
    "content-encoding",
    "content-language",
    "content-location",
    "proxy-connection",
    "sec-ch-ua-mobile",
    "x-correlation-id",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-requested-with",
    "if-modified-since",
    "sec-websocket-key",
    "transfer-encoding",
    "x-forwarded-proto",
    "sec-ch-ua-platform",
    "content-disposition",
    "if-unmodified-since",
    "proxy-authorization",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "upgrade-insecure-requests",
    "access-control-request-method",
    "access-control-request-headers",
];

/// Id of a header name in any letter case; `name` is a token.
pub fn known_header(name: &[u8]) -> Option<u8> {
    let id = SLOTS[slot(name)?];
    let known = KNOWN_HEADERS.get(id as usize)?;
    same_name(name, known.as_bytes()).then_some(id)
}

/// Setting bit 5 turns letters to lower case. The other characters of `known` have it set, and the bytes that they
/// could be confused with (control characters) are not allowed in tokens.
fn same_name(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len() && name.iter().zip(known).all(|(a, b)| a | 0x20 == *b)
}

/// A hash without collisions among known names: found by trial, checked at compile time.
const SEED: u32 = 0x639d_b14f;

const fn slot(name: &[u8]) -> Option<usize> {
    if name.len() < 2 {
        return None;
    }
    let [len, first] = [name.len() as u32 & 0xff, name[0] as u32 | 0x20];
    let [middle, late] = [
        name[name.len() / 2] as u32 | 0x20,
        name[name.len() - 2] as u32 | 0x20,
    ];
    let key = len | first << 8 | middle << 16 | late << 24;
    Some((key.wrapping_mul(SEED) >> 24) as usize)
}

const SLOTS: [u8; 256] = {
    let mut slots = [UNKNOWN_HEADER; 256];
    let mut id = 0;
    while id < KNOWN_HEADERS.len() {
        let Some(slot) = slot(KNOWN_HEADERS[id].as_bytes()) else {
            panic!("a known header of one letter");
        };
        assert!(
            slots[slot] == UNKNOWN_HEADER,
            "two known headers meet: look for another SEED"
        );
        slots[slot] = id as u8;
        id += 1;
    }
    slots
};

/// Id of a name that is in [`KNOWN_HEADERS`]; does not compile for another one.
pub(crate) const fn id_of(name: &str) -> u8 {
    let mut id = 0;
    while id < KNOWN_HEADERS.len() {
        if same(KNOWN_HEADERS[id].as_bytes(), name.as_bytes()) {
            return id as u8;
        }
        id += 1;
    }
    panic!("not a known header");
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_under_its_index_in_any_case() {
        for (id, name) in KNOWN_HEADERS.iter().enumerate() {
            assert_eq!(known_header(name.as_bytes()), Some(id as u8), "{name}");
            let upper = name.to_ascii_uppercase();
            assert_eq!(known_header(upper.as_bytes()), Some(id as u8), "{upper}");
            assert_eq!(id_of(name), id as u8, "{name}");
        }
    }

    #[test]
    fn names_are_lower_case_words_that_the_comparison_can_tell_apart() {
        assert!(KNOWN_HEADERS.is_sorted_by_key(|n| (n.len(), *n)));
        assert!(KNOWN_HEADERS.len() < UNKNOWN_HEADER as usize);
        let word = |n: &&str| {
            n.bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        };
        assert!(KNOWN_HEADERS.iter().all(word));
    }

    #[test]
    fn near_misses_have_no_id() {
        for name in [
            "",
            "x",
            "hosts",
            "hos",
            "h-st",
            "cookie2",
            "x-forwarded-fox",
        ] {
            assert_eq!(known_header(name.as_bytes()), None, "{name}");
        }
        assert_eq!(known_header(&[b'a'; 300]), None);
    }

    #[test]
    fn methods_are_exact_and_extensions_have_no_lower_case() {
        for (id, name) in METHODS.iter().enumerate() {
            assert_eq!(method_id(name.as_bytes()), Ok(id as u8));
            assert!(
                method_id(name.to_ascii_lowercase().as_bytes()).is_err(),
                "{name}"
            );
        }
        for name in ["QUERY", "SEARCH", "GET1", "M-SEARCH", "X"] {
            assert_eq!(method_id(name.as_bytes()), Ok(EXTENSION_METHOD), "{name}");
        }
        for name in ["", "G@T", "GeT", "G\u{e9}T", "GET:", "(GET)"] {
            assert_eq!(method_id(name.as_bytes()), Err(Violation::Method), "{name}");
        }
    }
}
