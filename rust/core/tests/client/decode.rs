//! The response grammar, at every split of the input.

use httpkit_core::client::*;
use proptest::prelude::*;

/// What a decoder made of its input, body pieces joined.
#[derive(Debug, Default, PartialEq, Clone)]
struct Outcome {
    events: Vec<String>,
    body: Vec<u8>,
    error: Option<CallError>,
    done: bool,
    left: usize,
    reusable: bool,
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| *byte as char).collect()
}

fn headers(decoder: &Decoder) -> String {
    let mut block = Vec::new();
    decoder.headers().encode(&mut block);
    let count = u16::from_le_bytes([block[0], block[1]]);
    let mut rest = &block[2..];
    let mut out = Vec::new();
    for _ in 0..count {
        let name = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
        let value = usize::from(u16::from_le_bytes([rest[2], rest[3]]));
        out.push(format!(
            "{}={}",
            text(&rest[4..4 + name]),
            text(&rest[4 + name..4 + name + value])
        ));
        rest = &rest[4 + name + value..];
    }
    assert!(rest.is_empty());
    out.join("|")
}

fn feed(head_request: bool, pieces: &[&[u8]]) -> Outcome {
    let mut decoder = Decoder::new(head_request);
    let mut outcome = Outcome::default();
    let mut pieces = pieces.iter();
    while let Some(mut input) = pieces.next().copied() {
        loop {
            match decoder.next(&mut input) {
                Ok(Event::More) => break,
                Ok(Event::Status) => outcome.events.push(format!("status {}", decoder.status())),
                Ok(Event::Headers) => outcome
                    .events
                    .push(format!("headers {}", headers(&decoder))),
                Ok(Event::Trailers) => {
                    outcome
                        .events
                        .push(format!("trailers {}", headers(&decoder)));
                }
                Ok(Event::Body(piece)) => {
                    assert!(!piece.is_empty());
                    outcome.body.extend_from_slice(piece);
                }
                Ok(Event::End) => {
                    outcome.done = true;
                    outcome.left = input.len() + pieces.map(|piece| piece.len()).sum::<usize>();
                    outcome.reusable = decoder.reusable();
                    return outcome;
                }
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            }
        }
    }
    outcome
}

/// The outcome, the same however the input is split.
fn decode_as(head_request: bool, input: &[u8]) -> Outcome {
    let whole = feed(head_request, &[input]);
    if input.len() < 400 {
        for at in 0..=input.len() {
            let split = feed(head_request, &[&input[..at], &input[at..]]);
            assert_eq!(split, whole, "split at {at}");
        }
    }
    let single: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(feed(head_request, &single), whole);
    whole
}

fn decode(input: impl AsRef<[u8]>) -> Outcome {
    decode_as(false, input.as_ref())
}

fn refused(input: impl AsRef<[u8]>, kind: ErrorKind, message: &str) {
    let outcome = decode(input.as_ref());
    assert_eq!(
        outcome.error,
        Some(CallError::new(kind, message.to_owned())),
        "{}",
        text(input.as_ref())
    );
}

fn protocol(input: impl AsRef<[u8]>, message: &str) {
    refused(input, ErrorKind::Protocol, message);
}

#[test]
fn status_lines_may_have_blanks_and_no_reason() {
    for line in [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 200 ",
        " HTTP/1.1   200   OK",
        "\tHTTP/1.1\t200\tOK really",
    ] {
        let outcome = decode(format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(outcome.events, ["status 200", "headers content-length=0"]);
        assert!(outcome.done && outcome.reusable);
    }
}

#[test]
fn other_status_lines_are_refused() {
    let rest = "\r\nContent-Length: 0\r\n\r\n";
    for (line, message) in [
        ("", "not http protocol? "),
        ("garbage", "not http protocol? garbage"),
        ("SSH-2.0-OpenSSH", "not http protocol? SSH-2.0-OpenSSH"),
        ("HTTP/1.1", "not http protocol? HTTP/1.1"),
        ("HTTP/1.2 200 OK", "Unsupported HTTP version: HTTP/1.2"),
        ("HTTP/2 200", "Unsupported HTTP version: HTTP/2"),
        ("http/1.1 200 OK", "Unsupported HTTP version: http/1.1"),
        ("HTTP/1.1 099 X", "Invalid HTTP status code: 099"),
        ("HTTP/1.1 2x0 X", "Invalid HTTP status code: 2x0"),
        ("HTTP/1.1 20 X", "Invalid HTTP status code: 20"),
        ("HTTP/1.1 2000 X", "Invalid HTTP status code: 2000"),
        ("HTTP/1.1 200\n", "Expected CR before LF"),
    ] {
        protocol(format!("{line}{rest}"), message);
    }
}

#[test]
fn header_values_are_trimmed_and_repeats_joined() {
    let outcome = decode(
        "HTTP/1.1 200 OK\r\nX-A:  padded \t\r\nSet-Cookie: a=1\r\nX-Empty:\r\nX-UPPER: v\r\n\
         set-cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(
        outcome.events[1],
        "headers x-a=padded|set-cookie=a=1\nb=2|x-empty=|x-upper=v|content-length=0"
    );
    let latin = decode(b"HTTP/1.1 204 N\r\nX-A: caf\xe9\r\n\r\n");
    assert_eq!(latin.events[1], "headers x-a=caf\u{e9}");
}

#[test]
fn many_headers_keep_their_order_and_join() {
    let mut input = "HTTP/1.1 204 N\r\n".to_owned();
    let mut want = Vec::new();
    for nth in 0..60 {
        input.push_str(&format!("X{}: {nth}\r\n", nth % 30));
    }
    for nth in 0..30 {
        want.push(format!("x{nth}={nth}\n{}", nth + 30));
    }
    let outcome = decode(format!("{input}\r\n"));
    assert_eq!(outcome.events[1], format!("headers {}", want.join("|")));
}

#[test]
fn broken_headers_are_refused() {
    for (line, message) in [
        (" b", "Malformed HTTP header:  b"),
        ("\tb: c", "Malformed HTTP header: \tb: c"),
        ("no colon", "Malformed HTTP header: no colon"),
        (": x", "Malformed HTTP header: : x"),
        ("X-A : a", "Invalid HTTP header name: X-A "),
        ("X(A): x", "Invalid HTTP header name: X(A)"),
        ("X-A: a\u{1}b", "Invalid character in HTTP header value"),
        ("X-A: a\rb", "Invalid character in HTTP header value"),
        ("X-A: a\u{7f}", "Invalid character in HTTP header value"),
        ("X-A: a\n", "Expected CR before LF"),
    ] {
        protocol(
            format!("HTTP/1.1 200 OK\r\nX: 1\r\n{line}\r\n\r\n"),
            message,
        );
    }
}

#[test]
fn lines_and_heads_are_limited() {
    let line = |length: usize| format!("X:{}", "a".repeat(length - 2));
    let with = |line: &str| format!("HTTP/1.1 204 N\r\n{line}\r\n\r\n");
    assert!(decode(with(&line(16190))).done);
    refused(
        with(&line(16191)),
        ErrorKind::LineTooLarge,
        "exceed max line 16192",
    );
    refused(
        "a".repeat(16192),
        ErrorKind::LineTooLarge,
        "exceed max line 16192",
    );
    let large = format!("{}\r\n", line(16000));
    assert!(decode(format!("HTTP/1.1 204 N\r\n{}\r\n", large.repeat(4))).done);
    refused(
        format!("HTTP/1.1 204 N\r\n{}\r\n", large.repeat(5)),
        ErrorKind::HeadersTooLarge,
        "HTTP headers exceed 65536 bytes",
    );
    let interim = format!("HTTP/1.1 100 C\r\n{large}{large}\r\n");
    refused(
        format!("{}HTTP/1.1 204 N\r\n\r\n", interim.repeat(3)),
        ErrorKind::HeadersTooLarge,
        "HTTP headers exceed 65536 bytes",
    );
    refused(
        format!(
            "HTTP/1.1 200 N\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}",
            large.repeat(5)
        ),
        ErrorKind::HeadersTooLarge,
        "HTTP headers exceed 65536 bytes",
    );
    refused(
        format!(
            "HTTP/1.1 200 N\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            "\r\n".repeat(40_000)
        ),
        ErrorKind::HeadersTooLarge,
        "HTTP headers exceed 65536 bytes",
    );
}

#[test]
fn interim_responses_are_skipped() {
    let interim =
        "HTTP/1.1 100 Continue\r\nX: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    let outcome = decode(format!("{interim}HTTP/1.1 204 N\r\nY: 2\r\n\r\n"));
    assert_eq!(outcome.events, ["status 204", "headers y=2"]);
    let switched = decode("HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\nzzz");
    assert_eq!(switched.events, ["status 101", "headers upgrade=x"]);
    assert_eq!((switched.left, switched.reusable), (3, false));
}

#[test]
fn some_responses_have_no_body_whatever_their_headers_say() {
    for status in [204, 205, 304] {
        let outcome = decode(format!("HTTP/1.1 {status} N\r\nContent-Length: 5\r\n\r\n"));
        assert!(outcome.done && outcome.reusable, "{status}");
    }
    for field in [
        "Content-Length: 3",
        "Content-Length: zz",
        "Transfer-Encoding: chunked",
    ] {
        let input = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n...");
        let outcome = decode_as(true, input.as_bytes());
        assert_eq!((outcome.done, outcome.left), (true, 3), "{field}");
    }
}

#[test]
fn content_length_frames_the_body() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n";
    assert!(!decode(head).done);
    let outcome = decode(format!("{head}..."));
    assert_eq!((outcome.body, outcome.left), (b".".to_vec(), 2));
}

#[test]
fn broken_framing_is_refused_after_the_headers() {
    for (fields, message) in [
        ("Content-Length: +2", "Invalid Content-Length: +2"),
        ("Content-Length:", "Invalid Content-Length: "),
        ("Content-Length: 2, 2", "Invalid Content-Length: 2, 2"),
        (
            "Content-Length: 2\r\nContent-Length: 2",
            "Invalid Content-Length: 2\n2",
        ),
        (
            "Content-Length: 9223372036854775808",
            "Invalid Content-Length: 9223372036854775808",
        ),
        (
            "Transfer-Encoding: gzip, chunked",
            "Unsupported Transfer-Encoding: gzip, chunked",
        ),
        (
            "Transfer-Encoding: identity",
            "Unsupported Transfer-Encoding: identity",
        ),
    ] {
        let input = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nok");
        protocol(&input, message);
        assert_eq!(decode(&input).events.len(), 2, "{fields}");
    }
    assert!(!decode("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nok").done);
}

#[test]
fn length_and_coding_together_are_refused_before_the_headers() {
    let input = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n";
    protocol(
        input,
        "Response contains both Transfer-Encoding and Content-Length",
    );
    assert_eq!(decode(input).events, ["status 200"]);
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nX-T: h\r\nTransfer-Encoding: ChUnKeD\r\n\r\n";

#[test]
fn chunks_are_joined() {
    for (body, want) in [
        ("0\r\n\r\n", ""),
        ("2\r\nok\r\n0\r\n\r\n", "ok"),
        ("2;x=y\r\nok\r\n0\r\n\r\n", "ok"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("002\r\nok\r\n\r\n\r\n1\r\n!\r\n0;last\r\n\r\n", "ok!"),
        (
            "2; a = \"b;\\\"\" ; c\r\nok\r\n0;z=\"\u{e9}\"\r\n\r\n",
            "ok",
        ),
    ] {
        let outcome = decode(format!("{CHUNKED}{body}"));
        assert_eq!((text(&outcome.body).as_str(), outcome.done), (want, true));
        assert!(outcome.reusable);
    }
}

#[test]
fn trailers_are_merged_and_some_are_forbidden() {
    let outcome = decode(format!("{CHUNKED}2\r\nok\r\n0\r\nX-T: t\r\nY: z\r\n\r\n"));
    assert_eq!(
        outcome.events[2],
        "trailers x-t=h\nt|transfer-encoding=ChUnKeD|y=z"
    );
    for field in [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "trailer",
        "upgrade",
        "authorization",
        "proxy-authorization",
        "cookie",
        "expect",
    ] {
        let upper = field.to_uppercase();
        protocol(
            format!("{CHUNKED}0\r\n{upper}: 3\r\n\r\n"),
            &format!("Forbidden trailer field: {field}"),
        );
    }
}

#[test]
fn broken_chunks_are_refused() {
    let size = |size: &str| format!("Expected a non-negative chunk size, got {size}");
    for (body, message) in [
        ("0x2\r\nok\r\n", size("0x2")),
        ("zz\r\n", size("zz")),
        ("-1\r\n", size("-1")),
        (" 2\r\nok\r\n", size(" 2")),
        ("2 ;x\r\nok\r\n", size("2 ")),
        (";x\r\n", size("")),
        ("80000000\r\nok", size("80000000")),
        ("10000000000000000\r\nok", size("10000000000000000")),
        (
            "2\r\nokX\r\n",
            "Expected an empty line, but found X".to_owned(),
        ),
        ("2\nok\n0\n\n", "Expected CR before LF".to_owned()),
        ("2\r\nok\n0\r\n\r\n", "Expected CR before LF".to_owned()),
    ] {
        protocol(format!("{CHUNKED}{body}"), &message);
    }
    assert_eq!(decode(format!("{CHUNKED}7fffffff\r\nok")).body, b"ok");
}

#[test]
fn chunk_extensions_are_those_of_the_grammar() {
    for extension in [
        ";",
        ";;a",
        ";a;",
        "; ",
        ";a=",
        ";a b",
        ";a ",
        ";a=\"b",
        ";a=b\"",
        ";a=\"b\\\"",
        ";a=\"\0\"",
        ";\0",
        ";a\x01",
        ";a=\x7f",
        ";\u{e9}",
        ";a\r;b",
        ";a=\"\r\"",
    ] {
        let message = "Invalid chunk extension";
        protocol(format!("{CHUNKED}2{extension}\r\nok\r\n0\r\n\r\n"), message);
        protocol(format!("{CHUNKED}0{extension}\r\n\r\n"), message);
    }
}

#[test]
fn the_extensions_of_a_body_and_zeros_before_sizes_have_16_kib_together() {
    let wire = |chunk: &str, times: usize| format!("{CHUNKED}{}0\r\n\r\n", chunk.repeat(times));
    for (chunk, most) in [
        ("1;aaa\r\na\r\n".to_owned(), 4_096),
        (format!("1;{}\r\na\r\n", "a".repeat(8_191)), 2),
        (format!("{}1\r\na\r\n", "0".repeat(8)), 16_384),
    ] {
        assert!(decode(wire(&chunk, most)).done, "{most}");
        protocol(
            wire(&chunk, most + 1),
            "Chunk extensions exceed 16384 bytes",
        );
    }
    assert!(decode(wire("00000001\r\na\r\n", 5_000)).done);
}

#[test]
fn the_end_of_the_connection_completes_only_an_unframed_body() {
    let finish = |input: &str| {
        let mut decoder = Decoder::new(false);
        let mut rest = input.as_bytes();
        while !matches!(decoder.next(&mut rest), Ok(Event::More)) {}
        (decoder.finish().is_ok(), decoder.reusable())
    };
    assert_eq!(finish("HTTP/1.1 200 OK\r\n\r\nbody"), (true, false));
    assert_eq!(finish("HTTP/1.0 200 OK\r\n\r\n"), (true, false));
    for cut in [
        "",
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\nContent-",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n",
        "HTTP/1.1 100 C\r\n\r\n",
    ] {
        assert_eq!(finish(cut), (false, false), "{cut}");
    }
}

proptest! {
    #[test]
    fn any_bytes_split_anyhow_give_one_outcome(
        tail in proptest::collection::vec(any::<u8>(), 0..200),
        start in prop::sample::select(vec![
            "", "HTTP/1.1 200 OK\r\n", CHUNKED, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n",
        ]),
        at in 0usize..300,
    ) {
        let mut input = start.as_bytes().to_vec();
        input.extend(tail);
        let at = at.min(input.len());
        prop_assert_eq!(feed(false, &[&input]), feed(false, &[&input[..at], &input[at..]]));
    }
}
