//! Request heads: the tables of the contract, §4.3.

use httpkit_core::h1::{BodyFraming, HeadParser, Limits, RequestHead, Version, Violation};
use proptest::prelude::*;

use crate::feed::{feed, one, one_within};

fn with_headers(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

fn with_header(line: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: h\r\n", line, b"\r\n\r\n"].concat()
}

fn with_line(line: &[u8]) -> Vec<u8> {
    [line, b"\r\nHost: h\r\n\r\n"].concat()
}

fn parsed(bytes: &[u8]) -> RequestHead {
    let mut head = RequestHead::default();
    let complete = HeadParser::new().parse(bytes, &Limits::default(), &mut head);
    assert_eq!(complete, Ok(true), "{:?}", String::from_utf8_lossy(bytes));
    head
}

#[test]
fn request_lines_that_are_not_exactly_three_words_are_refused() {
    use Violation::*;
    for (line, violation) in [
        (&b"GET  / HTTP/1.1"[..], RequestLine),
        (b"GET /  HTTP/1.1", RequestLine),
        (b" GET / HTTP/1.1", Method),
        (b"GET / HTTP/1.1 ", RequestLine),
        (b"GET /a b HTTP/1.1", RequestLine),
        (b"GET\t/\tHTTP/1.1", RequestLine),
        (b"GET /", RequestLine),
        (b"GET / ", Version),
        (b"GET", RequestLine),
        (b"GET ", RequestLine),
        (b"garbage", RequestLine),
        (b" ", Method),
        (b" / HTTP/1.1", Method),
        (b"get / HTTP/1.1", Method),
        (b"Get / HTTP/1.1", Method),
        (b"G@T / HTTP/1.1", Method),
        (b"G\xc9T / HTTP/1.1", Method),
        (b"GET / HTTP/1.2", Version),
        (b"GET / HTTP/2.0", Version),
        (b"PRI * HTTP/2.0", Version),
        (b"GET / http/1.1", Version),
        (b"GET / HTTP/1.", Version),
        (b"GET / HTTP/1.10", Version),
        (b"GET / HTTP/01.1", Version),
        (b"GET / HTTPS/1.1", Version),
        (b"GET / HTTP/1.1\x00", Version),
        (b"GET /a\tb HTTP/1.1", Target),
        (b"GET /a\0b HTTP/1.1", Target),
        (b"GET /a\x7fb HTTP/1.1", Target),
        (b"GET /a\x80b HTTP/1.1", Target),
        (b"GET /a\x85b HTTP/1.1", Target),
        (b"GET /a\x9fb HTTP/1.1", Target),
        (b"GET /a\xa0b HTTP/1.1", Target),
    ] {
        let text = String::from_utf8_lossy(line);
        assert_eq!(one(&with_line(line)), Err(violation), "{text:?}");
    }
}

#[test]
fn targets_pass_untouched_whatever_their_form() {
    for target in [
        &b"/"[..],
        b"*",
        b"host:443",
        b"foo",
        b"?a=b",
        b"/a?",
        b"/a#f?x",
        b"http://x.y:9/p",
        b"/|\"<>{}^`\\",
        b"//a//b/../c",
        b"/\xa1\xe9\xff",
        b"/%zz",
    ] {
        let request = one(&with_line(&[b"GET ", target, b" HTTP/1.1"].concat()));
        let request = request.expect("valid").expect("complete");
        assert_eq!(
            request.target,
            target,
            "{:?}",
            String::from_utf8_lossy(target)
        );
    }
}

#[test]
fn extension_methods_have_no_id_but_pass() {
    for (method, id) in [
        ("GET", 0),
        ("HEAD", 1),
        ("LIST", 18),
        ("QUERY", 255),
        ("GET1", 255),
    ] {
        let bytes = with_line(format!("{method} / HTTP/1.1").as_bytes());
        let head = parsed(&bytes);
        assert_eq!(
            (head.method.of(&bytes), head.method_id),
            (method.as_bytes(), id)
        );
        assert_eq!(head.is_head(), method == "HEAD");
    }
}

#[test]
fn lines_end_with_crlf_and_nothing_else() {
    for (bytes, violation) in [
        (&b"GET / HTTP/1.1\nHost: h\n\n"[..], Violation::BareLf),
        (b"GET / HTTP/1.1\rX\r\nHost: h\r\n\r\n", Violation::BareCr),
        (b"GET / HTTP/1.1\r\rHost: h\r\n\r\n", Violation::BareCr),
        (
            b"GET / HTTP/1.1\r\nHost: h\r\nX: 1\n\r\n",
            Violation::BareLf,
        ),
        (
            b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
            Violation::BareCr,
        ),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\r\n", Violation::BareCr),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\n", Violation::BareLf),
        (b"\n", Violation::BareLf),
    ] {
        assert_eq!(
            one(bytes),
            Err(violation),
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn one_empty_line_before_a_request_is_skipped_and_counted() {
    let bytes = b"\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\nrest";
    let head = parsed(bytes);
    assert_eq!(
        (head.target.of(bytes), head.len),
        (&b"/a"[..], bytes.len() - 4)
    );
    assert_eq!(
        one(b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Err(Violation::RequestLine)
    );
}

#[test]
fn violations_are_found_before_the_head_is_complete() {
    for (bytes, violation) in [
        (&b"BAD\r\n"[..], Violation::RequestLine),
        (b"GET / HTTP/1.1\r\nHost : h\r\n", Violation::HeaderName),
        (b"\x16\x03\x01\x02\x00\x01\r", Violation::BareCr),
        (b"\x16\x03\x01\x02\x00\x01\n", Violation::BareLf),
    ] {
        // A final CR is judged by what follows it.
        let bytes = [bytes, b"x"].concat();
        assert_eq!(
            one(&bytes),
            Err(violation),
            "{:?}",
            String::from_utf8_lossy(&bytes)
        );
    }
    assert_eq!(
        one(b"\x16\x03\x01\x02\x00\x01"),
        Ok(None),
        "a TLS hello without line ends waits"
    );
}

#[test]
fn header_lines_that_are_not_token_colon_value_are_refused() {
    use Violation::*;
    for (line, violation) in [
        (&b"NoColon"[..], HeaderName),
        (b": v", HeaderName),
        (b"X : v", HeaderName),
        (b"X\t: v", HeaderName),
        (b"X(Y): v", HeaderName),
        (b"X\xe9: v", HeaderName),
        (b"X\0: v", HeaderName),
        (b" X: v", ObsFold),
        (b"\tX: v", ObsFold),
        (b"X: 1\r\n folded", ObsFold),
        (b"X: 1\r\n\tfolded", ObsFold),
        (b"X: 1\r\n ", ObsFold),
        (b"X: a\0b", HeaderValue),
        (b"X: a\x01b", HeaderValue),
        (b"X: a\x0bb", HeaderValue),
        (b"X: a\x7fb", HeaderValue),
        (b"X: a\x1b", HeaderValue),
    ] {
        let text = String::from_utf8_lossy(line);
        assert_eq!(one(&with_header(line)), Err(violation), "{text:?}");
    }
}

#[test]
fn values_are_trimmed_of_blanks_and_otherwise_untouched() {
    for (line, value) in [
        (&b"X: v"[..], &b"v"[..]),
        (b"X:v", b"v"),
        (b"X: \t v \t ", b"v"),
        (b"X:", b""),
        (b"X: \t ", b""),
        (b"X: a\tb", b"a\tb"),
        (b"X: a:b: c", b"a:b: c"),
        (b"X: caf\xe9\x80\xff", b"caf\xe9\x80\xff"),
        (b"!#$%&'*+-.^_`|~09az: t", b"t"),
    ] {
        let request = one(&with_header(line)).expect("valid").expect("complete");
        assert_eq!(
            request.headers[1].1,
            value,
            "{:?}",
            String::from_utf8_lossy(line)
        );
    }
}

#[test]
fn host_is_required_once_and_well_formed() {
    use Violation::*;
    for (version, lines, violation) in [
        ("1.1", "", HostMissing),
        ("1.1", "Host:\r\n", HostInvalid),
        ("1.0", "Host: \r\n", HostInvalid),
        ("1.1", "Host: h\r\nHost: h\r\n", HostRepeated),
        ("1.0", "Host: h\r\nHost: i\r\n", HostRepeated),
        ("1.1", "Host: a@b\r\n", HostInvalid),
        ("1.1", "Host: a/b\r\n", HostInvalid),
        ("1.1", "Host: a\\b\r\n", HostInvalid),
        ("1.1", "Host: a b\r\n", HostInvalid),
        ("1.1", "Host: a\tb\r\n", HostInvalid),
        ("1.1", "Host: h:x\r\n", HostInvalid),
        ("1.1", "Host: h:-1\r\n", HostInvalid),
        ("1.1", "Host: h:65536\r\n", HostInvalid),
        ("1.1", "Host: h:99999999999999999999\r\n", HostInvalid),
        ("1.1", "Host: [::1\r\n", HostInvalid),
        ("1.1", "Host: [::1]x\r\n", HostInvalid),
        ("1.1", "Host: [::1]:x\r\n", HostInvalid),
        ("1.1", "Host: [::1]:65536\r\n", HostInvalid),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\n{lines}\r\n");
        assert_eq!(one(bytes.as_bytes()), Err(violation), "{bytes:?}");
    }
}

/// RFC 3986 3.2.2 and 3.2.3.
const NO_HOSTS: [&[u8]; 36] = [
    b"###",
    b"<a>",
    b"\"a\"",
    b"a b",
    b"a\tb",
    b"a/b",
    b"a\\b",
    b"a@b",
    b"a?b",
    b"a#b",
    b"a|b",
    b"a^b",
    b"a`b",
    b"{a}",
    b"a]",
    b"[a",
    b"a[::1]",
    b"a%",
    b"a%4",
    b"a%4g",
    b"%g1",
    b"b\xfccher",
    b"b\xc3\xbccher",
    b":x",
    b":65536",
    b"a:+1",
    b"[]",
    b"[:]",
    b"[1.2.3.4]",
    b"[::1::]",
    b"[fe80::1%]",
    b"[fe80::1%%]",
    b"[v.a]",
    b"[vg.a]",
    b"[v1.]",
    b"[v1a]",
];

#[test]
fn host_is_a_host_of_rfc_3986_with_an_optional_port_and_nothing_else() {
    for host in NO_HOSTS {
        let text = String::from_utf8_lossy(host);
        let line = [b"GET / HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat();
        assert_eq!(one(&line), Err(Violation::HostInvalid), "{text}");
    }
}

#[test]
fn the_authority_of_a_target_is_as_well_formed_as_host() {
    for host in NO_HOSTS {
        // These end an authority, or the target itself.
        if host.iter().any(|b| b"/?# \t".contains(b)) {
            continue;
        }
        let text = String::from_utf8_lossy(host);
        for target in [
            [b"http://", host].concat(),
            [b"HTTP://", host, b"/p?q"].concat(),
            [b"ws+x.y-1://", host, b"?q"].concat(),
        ] {
            let line = [b"GET ", &target[..], b" HTTP/1.1"].concat();
            assert_eq!(one(&with_line(&line)), Err(Violation::Authority), "{text}");
        }
        let line = [b"CONNECT ", host, b" HTTP/1.1"].concat();
        assert_eq!(one(&with_line(&line)), Err(Violation::Authority), "{text}");
    }
    for line in [
        "GET http:// HTTP/1.1",
        "GET http:///p HTTP/1.1",
        "GET http://#f HTTP/1.1",
    ] {
        assert_eq!(
            one(&with_line(line.as_bytes())),
            Err(Violation::Authority),
            "{line}"
        );
    }
    for line in [
        "GET http://my_svc:8080/<p>?\"q\" HTTP/1.1",
        "GET http://[::1]:81 HTTP/1.1",
        "GET foo?http://### HTTP/1.1",
        "GET 1x://### HTTP/1.1",
        "GET ://### HTTP/1.1",
        "GET mailto:### HTTP/1.1",
        "GET /http://### HTTP/1.1",
        "CONNECT a:443 HTTP/1.1",
        "CONNECT [::1]:443 HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "CONNECT /### HTTP/1.1",
    ] {
        assert!(
            matches!(one(&with_line(line.as_bytes())), Ok(Some(_))),
            "{line}"
        );
    }
}

/// The grammar once more, as a reader of the RFC would write it down.
fn is_host_with_port(value: &str) -> bool {
    // http-kit's own way: the last colon splits, and what is before it may hold more of them.
    let (name, port) = match value.rfind(':').filter(|at| !value[*at..].contains(']')) {
        Some(at) => (&value[..at], &value[at + 1..]),
        None => (value, ""),
    };
    let port_fits = port.is_empty()
        || port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u128>().is_ok_and(|n| n < 65536);
    let unescaped = |text: &str| {
        let mut rest = text.split('%');
        let plain = |part: &str| {
            part.chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:".contains(c))
        };
        let escape = |part: &str| {
            part.get(..2)
                .is_some_and(|hex| hex.chars().all(|c| c.is_ascii_hexdigit()))
                && plain(&part[2..])
        };
        rest.next().is_some_and(plain) && rest.all(escape)
    };
    let literal = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let name_fits = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => unescaped(name),
    };
    !value.is_empty() && port_fits && name_fits
}

#[test]
fn host_splits_at_the_last_colon_outside_of_brackets() {
    for (host, name, port) in [
        ("h", "h", None),
        ("h:8080", "h", Some(8080)),
        ("h:", "h", None),
        ("h:0", "h", Some(0)),
        ("h:65535", "h", Some(65535)),
        ("h:00080", "h", Some(80)),
        ("h:8080:1", "h:8080", Some(1)),
        (":80", ":80", None),
        ("::1", ":", Some(1)),
        ("[::1]", "[::1]", None),
        ("[::1]:", "[::1]", None),
        ("[::1]:81", "[::1]", Some(81)),
        ("EXAMPLE.Org", "EXAMPLE.Org", None),
        ("a,b", "a,b", None),
        ("my_svc:8080", "my_svc", Some(8080)),
        ("a-b.c~d_e", "a-b.c~d_e", None),
        ("!$&'()*+,;=", "!$&'()*+,;=", None),
        ("b%C3%bccher.de:1", "b%C3%bccher.de", Some(1)),
        ("%41", "%41", None),
        (":", ":", None),
        ("192.0.2.1:81", "192.0.2.1", Some(81)),
        ("[2001:db8::1]:8080", "[2001:db8::1]", Some(8080)),
        ("[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]", None),
        ("[fe80::1%eth0]", "[fe80::1%eth0]", None),
        ("[fe80::1%25eth0]:1", "[fe80::1%25eth0]", Some(1)),
        ("[v1F.a:b!]", "[v1F.a:b!]", None),
    ] {
        let request = one(&with_headers(&format!("Host: {host}\r\n")));
        let host_seen = request.expect("valid").expect("complete").host;
        assert_eq!(host_seen, Some((name.into(), port)), "{host}");
    }
    let old = one(b"GET / HTTP/1.0\r\n\r\n")
        .expect("valid")
        .expect("complete");
    assert_eq!((old.version, old.host), (Version::Http10, None));
}

#[test]
fn lengths_are_one_plain_decimal_number() {
    use Violation::*;
    for (lines, violation) in [
        ("Content-Length: 3, 3\r\n", ContentLength),
        ("Content-Length: +3\r\n", ContentLength),
        ("Content-Length: -1\r\n", ContentLength),
        ("Content-Length:\r\n", ContentLength),
        ("Content-Length: 3x\r\n", ContentLength),
        ("Content-Length: 0x3\r\n", ContentLength),
        ("Content-Length: 3 4\r\n", ContentLength),
        ("Content-Length: 2147483648\r\n", ContentLength),
        (
            "Content-Length: 99999999999999999999999999\r\n",
            ContentLength,
        ),
        (
            "Content-Length: 3\r\ncontent-length: 3\r\n",
            ContentLengthRepeated,
        ),
        ("Content-Length: 2147483647\r\n", BodyTooLarge),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            LengthConflict,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            LengthConflict,
        ),
        ("Transfer-Encoding: gzip\r\n", TransferEncoding),
        ("Transfer-Encoding: gzip, chunked\r\n", TransferEncoding),
        ("Transfer-Encoding: chunked, chunked\r\n", TransferEncoding),
        ("Transfer-Encoding: identity\r\n", TransferEncoding),
        ("Transfer-Encoding: chunked;q=1\r\n", TransferEncoding),
        ("Transfer-Encoding: xchunked\r\n", TransferEncoding),
        ("Transfer-Encoding:\r\n", TransferEncoding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            TransferEncodingRepeated,
        ),
        ("Transfer-Encoding: \x0bchunked\r\n", HeaderValue),
        ("Transfer-Encoding : chunked\r\n", HeaderName),
    ] {
        let bytes = with_headers(&format!("Host: h\r\n{lines}"));
        assert_eq!(one(&bytes), Err(violation), "{lines:?}");
    }
}

#[test]
fn framing_follows_the_length_headers() {
    for (lines, framing) in [
        ("", BodyFraming::None),
        ("Content-Length: 0\r\n", BodyFraming::None),
        ("Content-Length: 003\r\n", BodyFraming::Length(3)),
        ("content-length:3\r\n", BodyFraming::Length(3)),
        (
            "Content-Length: 00000000000000000000000000000003\r\n",
            BodyFraming::Length(3),
        ),
        ("Transfer-Encoding: Chunked\r\n", BodyFraming::Chunked),
    ] {
        let head = parsed(&with_headers(&format!("Host: h\r\n{lines}")));
        assert_eq!(head.framing, framing, "{lines:?}");
    }
}

#[test]
fn connection_and_upgrade_are_lists_of_tokens_in_any_case() {
    for (lines, [close, keep_alive, websocket]) in [
        ("", [false, false, false]),
        ("Connection: Close\r\n", [true, false, false]),
        ("Connection: keep-alive , CLOSE\r\n", [true, true, false]),
        (
            "Connection: foo\r\nConnection:\tclose\r\n",
            [true, false, false],
        ),
        ("Connection: closed, xclose\r\n", [false, false, false]),
        ("Connection: Upgrade, Keep-Alive\r\n", [false, true, false]),
        ("Upgrade: foo, WebSocket\r\n", [false, false, true]),
        ("Upgrade: h2c\r\n", [false, false, false]),
    ] {
        let head = parsed(&with_headers(&format!("Host: h\r\n{lines}")));
        let seen = [head.close, head.keep_alive, head.upgrade_websocket];
        assert_eq!(seen, [close, keep_alive, websocket], "{lines:?}");
    }
}

#[test]
fn only_one_expectation_of_http_1_1_counts() {
    for (version, value, expected) in [
        ("1.1", "100-continue", true),
        ("1.1", "100-CONTINUE", true),
        ("1.0", "100-continue", false),
        ("1.1", "foo", false),
        ("1.1", "100-continue, foo", false),
    ] {
        let bytes = format!("POST / HTTP/{version}\r\nHost: h\r\nExpect: {value}\r\n\r\n");
        assert_eq!(
            parsed(bytes.as_bytes()).expect_continue,
            expected,
            "{version} {value}"
        );
    }
}

/// `GET /aaa HTTP/1.1` of exactly n bytes.
fn request_line_of(n: usize) -> Vec<u8> {
    let target = "a".repeat(n - "GET / HTTP/1.1".len());
    with_line(format!("GET /{target} HTTP/1.1").as_bytes())
}

#[test]
fn a_line_may_be_two_bytes_shorter_than_its_limit_and_no_longer() {
    for limit in [200, 8192] {
        let limits = Limits::with_line(limit, 100);
        for (n, good) in [
            (limit - 3, true),
            (limit - 2, true),
            (limit - 1, false),
            (limit, false),
        ] {
            let outcome = one_within(&request_line_of(n), &limits);
            let good_or = |violation| if good { Ok(true) } else { Err(violation) };
            assert_eq!(
                outcome.map(|r| r.is_some()),
                good_or(Violation::LineTooLong),
                "request line of {n}/{limit}"
            );
            let header = format!("X: {}", "y".repeat(n - 3));
            let outcome = one_within(&with_header(header.as_bytes()), &limits);
            assert_eq!(
                outcome.map(|r| r.is_some()),
                good_or(Violation::HeaderLineTooLong),
                "header line of {n}/{limit}"
            );
            let open = |start: &[u8], violation| {
                let bytes = [start, &vec![b'A'; n]].concat();
                let expected = if good { Ok(None) } else { Err(violation) };
                assert_eq!(
                    one_within(&bytes, &limits),
                    expected,
                    "open line of {n}/{limit}"
                );
            };
            open(b"", Violation::LineTooLong);
            open(b"GET / HTTP/1.1\r\n", Violation::HeaderLineTooLong);
        }
    }
}

/// A request whose head is exactly n bytes, in lines of at most 1100.
fn head_of(n: usize) -> Vec<u8> {
    let mut bytes = b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec();
    while bytes.len() + 2 < n {
        let left = n - 2 - bytes.len();
        let line = if left > 1100 { 1000 } else { left };
        bytes.extend_from_slice(format!("X:{}\r\n", "v".repeat(line - 4)).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    assert_eq!(bytes.len(), n);
    bytes
}

#[test]
fn a_head_may_reach_its_limit_with_the_blank_line_and_not_exceed_it() {
    let limits = Limits {
        line: 1200,
        head: 4027,
        body: 0,
        ..Limits::default()
    };
    for (n, expected) in [
        (4026, Ok(true)),
        (4027, Ok(true)),
        (4028, Err(Violation::HeadTooLarge)),
        (5027, Err(Violation::HeadTooLarge)),
    ] {
        assert_eq!(
            one_within(&head_of(n), &limits).map(|r| r.is_some()),
            expected,
            "{n}"
        );
    }
}

#[test]
fn bytes_before_the_head_count_towards_its_limit_once() {
    let limits = Limits {
        line: 1200,
        head: 4027,
        body: 0,
        ..Limits::default()
    };
    let mut head = RequestHead::default();
    let mut parser = HeadParser::new();
    parser.charge(1);
    assert_eq!(parser.parse(&head_of(4026), &limits, &mut head), Ok(true));
    assert_eq!(parser.parse(&head_of(4027), &limits, &mut head), Ok(true));
    parser.charge(2);
    let outcome = parser.parse(&head_of(4026), &limits, &mut head);
    assert_eq!(outcome, Err(Violation::HeadTooLarge));
}

/// A request with `Host` and n - 1 more headers.
fn headers_of(n: usize) -> Vec<u8> {
    let lines: String = (1..n).map(|i| format!("h{i}: {}\r\n", i % 10)).collect();
    with_headers(&format!("Host: h\r\n{lines}"))
}

#[test]
fn a_thousand_headers_pass_and_one_more_is_refused() {
    let limits = Limits::default();
    let outcome = feed([&headers_of(1000)[..]], &limits);
    assert_eq!(outcome.requests[0].headers.len(), 1000);
    for n in [1001, 5000] {
        let outcome = feed([&headers_of(n)[..]], &limits);
        assert_eq!(outcome.violation, Some(Violation::TooManyFields), "{n}");
    }
}

#[test]
fn the_number_of_headers_is_an_option() {
    for (limit, n, good) in [
        (Some(1), 1, true),
        (Some(1), 2, false),
        (Some(5000), 5000, true),
        (Some(5000), 5001, false),
        (None, 5001, true),
    ] {
        let limits = Limits::default().with_fields(limit);
        let bytes = headers_of(n);
        assert!(bytes.len() < limits.head);
        let outcome = feed([&bytes[..]], &limits);
        let violation = (!good).then_some(Violation::TooManyFields);
        assert_eq!(outcome.violation, violation, "{limit:?} {n}");
    }
}

#[test]
fn too_many_headers_are_refused_before_the_head_is_complete() {
    let limits = Limits::default().with_fields(Some(3));
    let open = b"GET / HTTP/1.1\r\nHost: h\r\na:\r\na:\r\na:\r\n";
    assert_eq!(one_within(open, &limits), Err(Violation::TooManyFields));
}

#[test]
fn a_parser_and_a_head_serve_many_requests() {
    let (mut parser, mut head) = (HeadParser::new(), RequestHead::default());
    let limits = Limits::default();
    let full = b"POST /a HTTP/1.0\r\nHost: h:1\r\nConnection: close, keep-alive, upgrade\r\n\
        Upgrade: websocket\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(parser.parse(full, &limits, &mut head), Ok(true));
    assert_eq!(
        parser.parse(b"BAD\r\n", &limits, &mut head),
        Err(Violation::RequestLine)
    );
    let plain = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(parser.parse(plain, &limits, &mut head), Ok(true));
    let fresh = parsed(plain);
    assert_eq!(format!("{head:?}"), format!("{fresh:?}"));
}

#[test]
fn a_head_request_is_known_as_one_when_a_later_line_is_bad() {
    let (mut parser, mut head) = (HeadParser::new(), RequestHead::default());
    let limits = Limits::default();
    assert!(
        parser
            .parse(b"HEAD / HTTP/1.1\r\nHost : h\r\n", &limits, &mut head)
            .is_err()
    );
    assert!(head.is_head());
    assert!(
        parser
            .parse(b"BAD / HTTP/1.3\r\n", &limits, &mut head)
            .is_err()
    );
    assert!(!head.is_head());
}

#[test]
fn a_head_request_is_known_as_one_when_its_own_line_is_bad() {
    let long = format!("/{}", "a".repeat(9000));
    for (line, is_head) in [
        (format!("HEAD {long}"), true),
        (format!("\r\nHEAD {long}"), true),
        ("HEAD /\n".to_owned(), true),
        ("HEAD /\rx".to_owned(), true),
        (format!("GET {long}"), false),
        (format!("HEADER {long}"), false),
        ("HEAD\r\nHEAD / HTTP/1.1\r\n".to_owned(), false),
    ] {
        let mut head = RequestHead::default();
        let parsed = HeadParser::new().parse(line.as_bytes(), &Limits::default(), &mut head);
        assert!(parsed.is_err(), "{line:?}");
        assert_eq!(head.is_head(), is_head, "{line:?}");
    }
}

#[test]
fn more_fields_or_longer_names_than_16_bits_count_are_too_large_whatever_the_limits() {
    let limits = Limits::with_line(1 << 20, 0).with_fields(None);
    let fields = |n| with_headers(&format!("Host: h\r\n{}", "a:\r\n".repeat(n)));
    let name = |n| with_headers(&format!("Host: h\r\n{}: v\r\n", "n".repeat(n)));
    let parse = |bytes: &[u8]| HeadParser::new().parse(bytes, &limits, &mut RequestHead::default());
    assert_eq!(parse(&fields(20_000)), Ok(true));
    assert_eq!(parse(&fields(70_000)), Err(Violation::TooManyFields));
    assert_eq!(parse(&name(65_535)), Ok(true));
    assert_eq!(parse(&name(65_536)), Err(Violation::HeadTooLarge));
}

proptest! {
    #[test]
    fn whatever_arrives_nothing_panics_and_cuts_do_not_matter(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = one(&bytes);
    }

    #[test]
    fn host_is_taken_or_refused_as_the_grammar_says(
        host in r#"(\[(::1|[0-9a-f:]{2,8})\]|[a-c._~!,;=%0-9A-F]{0,6}|[ -~&&[^ @/\\\[\]]]{0,5})(:[0-9]{0,6}|:[ -~&&[^ ]])?"#,
    ) {
        let outcome = one(&with_headers(&format!("Host: {host}\r\n")));
        prop_assert_eq!(outcome.is_ok(), is_host_with_port(&host), "{}", host);
    }

    #[test]
    fn bytes_after_a_head_do_not_change_it(rest in proptest::collection::vec(any::<u8>(), 0..50)) {
        let bytes = [b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", &rest[..]].concat();
        let head = parsed(&bytes);
        prop_assert_eq!(head.len, bytes.len() - rest.len());
        prop_assert_eq!(head.headers.len(), 1);
    }
}
