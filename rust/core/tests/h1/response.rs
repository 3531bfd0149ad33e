//! Answers: their first line, their length, and whether the connection outlives them (§3.4, 3.5).

use httpkit_core::h1::response::*;
use httpkit_core::h1::{Version, Violation};
use proptest::prelude::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("ASCII")
}

#[test]
fn status_lines_carry_the_phrases_of_the_contract() {
    for (status, line) in [
        (200, "HTTP/1.1 200 OK\r\n"),
        (100, "HTTP/1.1 100 Continue\r\n"),
        (101, "HTTP/1.1 101 Switching Protocols\r\n"),
        (404, "HTTP/1.1 404 Not Found\r\n"),
        (413, "HTTP/1.1 413 Request Entity Too Large\r\n"),
        (414, "HTTP/1.1 414 Request-URI Too Long\r\n"),
        (425, "HTTP/1.1 425 Unordered Collection\r\n"),
        (429, "HTTP/1.1 429 Too Many Requests\r\n"),
        (199, "HTTP/1.1 199 Informational\r\n"),
        (299, "HTTP/1.1 299 Successful\r\n"),
        (399, "HTTP/1.1 399 Redirection\r\n"),
        (418, "HTTP/1.1 418 Client Error\r\n"),
        (599, "HTTP/1.1 599 Server Error\r\n"),
        (999, "HTTP/1.1 999 Unknown Status\r\n"),
    ] {
        assert_eq!(written(|out| status_line(out, status)), line);
    }
}

#[test]
fn every_status_line_is_well_formed() {
    for status in 100..1000 {
        let line = written(|out| status_line(out, status));
        let rest = line
            .strip_prefix(&format!("HTTP/1.1 {status} "))
            .expect("version and code");
        assert!(rest.len() > 2 && rest.ends_with("\r\n"), "{line:?}");
    }
}

#[test]
fn lengths_are_omitted_where_a_status_forbids_a_body() {
    for (status, no_body, rule) in [
        (100, true, LengthHeader::Absent),
        (101, true, LengthHeader::Absent),
        (200, false, LengthHeader::OfBody),
        (204, true, LengthHeader::Absent),
        (205, true, LengthHeader::Zero),
        (206, false, LengthHeader::OfBody),
        (304, true, LengthHeader::AsGiven),
        (404, false, LengthHeader::OfBody),
    ] {
        assert_eq!(
            (is_bodyless(status), length_header(status)),
            (no_body, rule),
            "{status}"
        );
    }
}

#[test]
fn streams_are_chunked_for_1_1_and_end_with_the_connection_for_1_0() {
    use StreamFraming::*;
    for (status, version, head, websocket, framing) in [
        (200, Version::Http11, false, false, Chunked),
        (200, Version::Http10, false, false, UntilClose),
        (200, Version::Http11, true, false, Whole),
        (200, Version::Http11, false, true, Whole),
        (204, Version::Http11, false, false, Whole),
        (205, Version::Http10, false, false, Whole),
        (304, Version::Http11, false, false, Whole),
        (100, Version::Http11, false, false, Whole),
    ] {
        assert_eq!(
            stream_framing(status, version, head, websocket),
            framing,
            "{status}"
        );
    }
}

#[test]
fn the_connection_follows_request_and_handler() {
    use Version::*;
    const CLOSE: &[u8] = b"Connection: Close\r\n";
    const KEEP: &[u8] = b"Connection: Keep-Alive\r\n";
    // version, [close, keep-alive, websocket, handler's close, until close] -> closes, line
    for (version, [close, keep_alive, websocket, handler_close, until_close], closes, line) in [
        (Http11, [false, false, false, false, false], false, &b""[..]),
        (Http11, [false, true, false, false, false], false, b""),
        (Http11, [true, false, false, false, false], true, CLOSE),
        (Http11, [true, true, false, false, false], true, CLOSE),
        (Http11, [true, false, false, true, false], true, CLOSE),
        (Http11, [false, false, false, true, false], true, b""),
        (Http11, [false, false, true, false, false], true, CLOSE),
        (Http10, [false, false, false, false, false], true, b""),
        (Http10, [true, true, false, false, false], true, b""),
        (Http10, [false, true, false, false, false], false, KEEP),
        (Http10, [false, true, false, true, false], true, b""),
        (Http10, [false, true, true, false, false], true, CLOSE),
        (Http10, [false, false, false, false, true], true, CLOSE),
        (Http10, [false, true, false, false, true], true, CLOSE),
    ] {
        let persistence = Persistence {
            version,
            close,
            keep_alive,
            websocket,
            handler_close,
            until_close,
            stopping: false,
        };
        assert_eq!(
            persistence.rule(),
            ConnectionRule {
                close: closes,
                line
            },
            "{persistence:?}"
        );
    }
}

#[test]
fn a_stopping_server_says_close_unless_the_handler_has() {
    for (version, handler_close, line) in [
        (Version::Http11, false, CONNECTION_CLOSE),
        (Version::Http10, false, CONNECTION_CLOSE),
        (Version::Http11, true, b""),
    ] {
        let persistence = Persistence {
            version,
            keep_alive: true,
            handler_close,
            stopping: true,
            ..Persistence::default()
        };
        let close = true;
        assert_eq!(persistence.rule(), ConnectionRule { close, line });
    }
}

#[test]
fn error_responses_close_and_say_why_but_not_to_head() {
    let date = b"Sun, 06 Nov 1994 08:49:37 GMT";
    let answer = |head_request, server| {
        written(|out| error_response(out, Violation::BodyTooLarge, head_request, server, date))
    };
    let head = "HTTP/1.1 413 Request Entity Too Large\r\ncontent-length: 22\r\n\
        Connection: Close\r\nServer: http-kit\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    assert_eq!(answer(true, Some(b"http-kit")), head);
    assert_eq!(
        answer(false, Some(b"http-kit")),
        format!("{head}Request body too large")
    );
    assert_eq!(answer(true, None), head.replace("Server: http-kit\r\n", ""));
}

#[test]
fn the_interim_response_carries_server_and_date_only() {
    let answer = written(|out| continue_response(out, Some(b"s"), b"d"));
    assert_eq!(
        answer,
        "HTTP/1.1 100 Continue\r\nServer: s\r\nDate: d\r\n\r\n"
    );
}

#[test]
fn violations_map_to_the_four_statuses() {
    for (violation, status) in [
        (Violation::BodyTooLarge, 413),
        (Violation::LineTooLong, 414),
        (Violation::HeaderLineTooLong, 431),
        (Violation::TooManyFields, 431),
        (Violation::ChunkExtension, 400),
        (Violation::ChunkExtensionsTooLarge, 413),
        (Violation::HeadTooLarge, 431),
        (Violation::Method, 400),
        (Violation::ProxyLine, 400),
    ] {
        assert_eq!(violation.status(), status, "{violation}");
    }
}

proptest! {
    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them(n in 1u64..) {
        prop_assert_eq!(written(|out| content_length(out, n)), format!("content-length: {n}\r\n"));
        prop_assert_eq!(written(|out| chunk_header(out, n)), format!("{n:x}\r\n"));
    }
}

#[test]
fn zero_and_the_largest_length_are_written() {
    assert_eq!(
        written(|out| content_length(out, 0)),
        "content-length: 0\r\n"
    );
    let largest = written(|out| content_length(out, u64::MAX));
    assert_eq!(largest, "content-length: 18446744073709551615\r\n");
}
