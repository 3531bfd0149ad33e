//! Where does a request end? Two parsers that answer differently are a hole, so ours is compared
//! with a second one: httparse for heads, and for bodies the few lines below.

use httpkit_core::h1::{Limits, Violation};
use proptest::prelude::*;

use crate::feed::{Outcome, feed_every_way};
use httpkit_core::h1::proxy::ProxyMode;

/// Method, target, header lines, body.
type Plain = (Vec<u8>, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

/// Splits a stream by the book, trusting that it is well formed.
fn reference(mut bytes: &[u8]) -> Vec<Plain> {
    let mut requests = Vec::new();
    while let Some((request, rest)) = reference_request(bytes) {
        requests.push(request);
        bytes = rest;
    }
    requests
}

fn reference_request(bytes: &[u8]) -> Option<(Plain, &[u8])> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(len)) = request.parse(bytes) else {
        return None;
    };
    let lines = request
        .headers
        .iter()
        .map(|h| (h.name.into(), h.value.into()))
        .collect();
    let find = |name: &str| {
        request
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name))
    };
    let rest = &bytes[len..];
    let (body, rest) = match (find("transfer-encoding"), find("content-length")) {
        (Some(_), _) => reference_chunks(rest)?,
        (None, Some(n)) => {
            let n = std::str::from_utf8(n.value).ok()?.parse().ok()?;
            (rest.get(..n)?.to_vec(), &rest[n..])
        }
        (None, None) => (Vec::new(), rest),
    };
    let (method, target) = (request.method?.into(), request.path?.into());
    Some(((method, target, lines, body), rest))
}

/// Body of a chunked message without trailers.
fn reference_chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, n))) = httparse::parse_chunk_size(bytes) else {
            return None;
        };
        let end = start + usize::try_from(n).ok()?;
        body.extend_from_slice(bytes.get(start..end)?);
        bytes = bytes.get(end..)?.strip_prefix(b"\r\n")?;
        if n == 0 {
            return Some((body, bytes));
        }
    }
}

fn plain(outcome: &Outcome) -> Vec<Plain> {
    let request = outcome.requests.iter().cloned();
    request
        .map(|r| (r.method, r.target, r.headers, r.body))
        .collect()
}

/// Lines and pieces from which attacks are made, good ones more often than bad ones.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let request_line = prop_oneof![
        4 => Just("GET / HTTP/1.1\r\nHost: h\r\n"),
        4 => Just("POST /p HTTP/1.1\r\nHost: h\r\n"),
        1 => Just("POST  /p HTTP/1.1\r\nHost: h\r\n"),
        1 => Just("POST /p HTTP/1.1 \r\nHost: h\r\n"),
        1 => Just("GET / HTTP/1.1\nHost: h\n"),
    ];
    let header = prop_oneof![
        4 => Just("Content-Length: 5\r\n"),
        3 => Just("Transfer-Encoding: chunked\r\n"),
        1 => Just("Content-Length: 5, 5\r\n"),
        1 => Just("Content-Length: +5\r\n"),
        1 => Just("Content-Length : 5\r\n"),
        1 => Just("Transfer-Encoding: xchunked\r\n"),
        1 => Just("Transfer-Encoding:\r\n chunked\r\n"),
        1 => Just("Transfer-Encoding : chunked\r\n"),
        1 => Just("X: a\r\n b\r\n"),
        1 => Just("X: \rContent-Length: 5\r\n"),
        2 => Just("X-Y: z \r\n"),
    ];
    let body = prop_oneof![
        3 => Just("hello"),
        3 => Just("5\r\nhello\r\n0\r\n\r\n"),
        1 => Just("5;x\r\nhello\r\n0\r\n\r\n"),
        1 => Just("5 \r\nhello\r\n0\r\n\r\n"),
        1 => Just("5\nhello\n0\n\n"),
        1 => Just("5\r\nhelloX\r\n0\r\n\r\n"),
        1 => Just("0\r\n\r\n"),
        2 => Just(""),
    ];
    (request_line, proptest::collection::vec(header, 0..3), body)
        .prop_map(|(line, headers, body)| [line, &headers.concat(), "\r\n", body].concat().into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_we_accept_a_second_parser_reads_alike(
        pieces in proptest::collection::vec(piece(), 1..4),
    ) {
        let bytes = pieces.concat();
        let outcome = feed_every_way(&bytes, &Limits::default(), ProxyMode::Disable);
        let ours = plain(&outcome);
        let theirs = reference(&bytes);
        prop_assert!(ours.len() <= theirs.len(), "we saw a request more");
        prop_assert_eq!(&ours[..], &theirs[..ours.len()]);
        if theirs.len() > ours.len() {
            prop_assert!(outcome.violation.is_some(), "we lost a request in silence");
        }
    }

    #[test]
    fn one_changed_byte_never_makes_us_read_what_a_second_parser_does_not(
        at in 0..200usize,
        byte in any::<u8>(),
    ) {
        let mut bytes = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX: y\r\n\r\nhello\
            POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
            GET /c HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        // httparse wants targets in UTF-8 and takes no trailers.
        prop_assume!(byte.is_ascii());
        let outcome = feed_every_way(&bytes, &Limits::default(), ProxyMode::Disable);
        if outcome.violation.is_none() {
            let theirs = reference(&bytes);
            let ours = plain(&outcome);
            prop_assert_eq!(&ours[..], &theirs[..ours.len().min(theirs.len())]);
        }
    }
}

#[test]
fn nothing_behind_a_violation_is_ever_read() {
    let good = "GET /first HTTP/1.1\r\nHost: h\r\n\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for bad in [
        "BAD\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX : 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\n",
    ] {
        let bytes = [good, bad, smuggled].concat();
        let outcome = feed_every_way(bytes.as_bytes(), &Limits::default(), ProxyMode::Disable);
        let targets: Vec<_> = outcome.requests.iter().map(|r| &r.target[..]).collect();
        assert_eq!(targets, [b"/first"], "{bad:?}");
        assert_eq!(
            outcome.violation.map(Violation::status),
            Some(400),
            "{bad:?}"
        );
    }
}
